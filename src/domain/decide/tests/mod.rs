//! Tables of cases for the decision, one step after the other.

mod asking;
mod capped;
mod explained;
mod grants;
mod hours;
mod identity;
mod platform;
mod restrictions;
mod timing;

use super::*;
use crate::domain::activity::Sent;
use crate::domain::event::tests::{at, event, purpose, terms, withdrawal};
use crate::domain::event::{
    Act, Confirmation as Confirms, ConfirmedRequest, Event, Failure, Implied, RegistryCheck,
    Restriction, Scope, Suppression, Terms,
};
use crate::domain::id::{NoticeId, RegistryName};
use crate::domain::policy::tests::{code, lenient, policy};
use crate::domain::policy::{Confirmation, Requirements};
use crate::domain::rules::tests::{NOWHERE, catalog, rules, rules_with};
use crate::domain::vocabulary::{ConsentType, FailureKind, RegistryResult, SuppressionBasis};
use crate::domain::vocabulary::{
    ImpliedBasis, IndicationMethod, RestrictionKind, TimeSource, WithdrawalMethod,
};
use std::time::Duration;

const DAY: i64 = 86_400;

fn sender(id: &str) -> SenderId {
    SenderId::parse(id).unwrap()
}

fn given(id: u128, seconds: i64, key: &str) -> Event {
    event(id, at(seconds), Act::ConsentGiven(terms(key)))
}

fn with(id: u128, seconds: i64, change: impl FnOnce(&mut Terms)) -> Event {
    let mut terms = terms("offers");
    change(&mut terms);
    event(id, at(seconds), Act::ConsentGiven(terms))
}

fn stop(id: u128, seconds: i64, scope: Scope) -> Event {
    event(id, at(seconds), withdrawal(scope))
}

struct Ask<'a> {
    key: &'a str,
    class: Option<MessageClass>,
    sender: Option<&'a str>,
    spelling: Spelling,
    inbound: Option<i64>,
    place: Place,
    sends: Vec<Sent>,
    at: i64,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            key: "offers",
            class: None,
            sender: None,
            spelling: Spelling::Verbatim,
            inbound: None,
            place: NOWHERE.clone(),
            sends: Vec::new(),
            at: DAY,
        }
    }
}

fn ask(events: &[Event], rules: &Rules, ask: &Ask<'_>) -> Verdict {
    let asked = &rules.catalog.purposes[ask.key];
    let sender = ask.sender.map(sender);
    let question = Question {
        place: &ask.place,
        purpose: asked,
        class: ask.class.unwrap_or(asked.message_class),
        sender: sender.as_ref(),
        spelling: ask.spelling,
    };
    let activity = Activity {
        sends: ask.sends.clone(),
        last_inbound: ask.inbound.map(at),
    };
    let verdict = decide(
        &Facts::fold(events),
        &activity,
        rules,
        &question,
        at(ask.at),
    );
    let holds = verdict.holds_until.is_none_or(|end| at(ask.at) < end);
    assert!(holds, "an answer holds when it is given: {verdict:?}");
    verdict
}

fn reason(events: &[Event], rules: &Rules, question: &Ask<'_>) -> Reason {
    let verdict = ask(events, rules, question);
    assert_eq!(verdict.decision, verdict.reasons()[0].decision());
    verdict.reasons()[0]
}

/// What is decided about MARKETING at an instant, and if it waits, until when.
fn marketing_at(events: &[Event], rules: &Rules, seconds: i64, place: &Place) -> Answer {
    let asked = Ask {
        place: place.clone(),
        at: seconds,
        ..Ask::default()
    };
    Answer::of(&ask(events, rules, &asked))
}

/// An answer as the tables have it.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Denied(Vec<Reason>),
    /// By the first reason, until this second.
    Waits(Reason, i64),
}

impl Answer {
    fn of(verdict: &Verdict) -> Self {
        match (verdict.decision, verdict.not_before) {
            (Decision::Allow, None) => Self::Allowed,
            (Decision::Deny, None) => Self::Denied(verdict.reasons()),
            (Decision::Defer, Some(first)) => {
                assert_eq!(first.as_micros() % 1_000_000, 0);
                Self::Waits(verdict.reasons()[0], first.as_micros() / 1_000_000)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Rules of one place for everybody.
fn everywhere(requirements: Requirements) -> Rules {
    rules_with(catalog(), policy(&[("ZZ", requirements)]))
}

fn sent(seconds: i64, key: &str, class: MessageClass) -> Sent {
    Sent {
        purpose: purpose(key),
        class,
        at: at(seconds),
    }
}

fn failed(id: u128, seconds: i64, kind: FailureKind) -> Event {
    let failure = Failure {
        kind,
        sender_id: sender("1001"),
        code: String::new(),
        provider: String::new(),
    };
    event(id, at(seconds), Act::DeliveryFailed(failure))
}

fn looked_up(id: u128, seconds: i64, registry: &str, result: RegistryResult) -> Event {
    let check = RegistryCheck {
        registry: RegistryName::parse(registry).unwrap(),
        list_version: None,
        result,
    };
    event(id, at(seconds), Act::RegistryChecked(check))
}

/// What is said of an answer to a message of the person that came at `inbound`, to the microsecond.
fn answering(event: &Event, inbound: Timestamp) -> Option<Reason> {
    let (rules, sender) = (rules(), sender("1001"));
    let question = Question {
        place: &NOWHERE,
        purpose: &rules.catalog.purposes["support"],
        class: MessageClass::Service,
        sender: Some(&sender),
        spelling: Spelling::Verbatim,
    };
    let activity = Activity {
        sends: Vec::new(),
        last_inbound: Some(inbound),
    };
    let facts = Facts::fold([event]);
    let minute_later = inbound.plus(Duration::from_mins(1));
    decide(&facts, &activity, &rules, &question, minute_later).reason()
}

fn marketing(events: &[Event]) -> Reason {
    reason(events, &rules(), &Ask::default())
}

fn suppression(basis: SuppressionBasis, seconds: i64, until: Option<i64>) -> Event {
    let act = Act::Suppressed(Suppression {
        received_by: None,
        basis,
        scope: Scope::AllMarketing,
        sender_id: None,
        until: until.map(at),
        withdrawal_method: None,
    });
    event(8, at(seconds), act)
}

#[test]
fn nothing_known_is_no_consent() {
    let verdict = ask(&[], &rules(), &Ask::default());
    assert_eq!(
        (verdict.decision, verdict.reasons()),
        (Decision::Deny, vec![Reason::NoConsent])
    );
    assert_eq!(verdict.rests_on, None);
}

#[test]
fn a_grant_allows_its_purpose_and_names_the_event_that_carries_it() {
    let grant = given(1, 100, "offers");
    let verdict = ask(std::slice::from_ref(&grant), &rules(), &Ask::default());
    assert_eq!(
        (verdict.decision, verdict.reasons()),
        (Decision::Allow, vec![Reason::ConsentGiven])
    );
    assert_eq!(verdict.rests_on, Some(grant.event_id));
    assert_eq!(
        reason(
            &[grant],
            &rules(),
            &Ask {
                key: "orders",
                ..Ask::default()
            }
        ),
        Reason::NoConsent
    );
}

#[test]
fn a_withdrawal_ends_it_and_a_later_act_gives_it_again() {
    let (first, stop, again) = (
        given(1, 100, "offers"),
        stop(2, 200, Scope::Everything),
        given(3, 300, "offers"),
    );
    assert_eq!(marketing(&[first.clone(), stop.clone()]), Reason::Withdrawn);
    assert_eq!(marketing(&[first, stop, again]), Reason::ConsentGiven);
}

#[test]
fn at_the_same_instant_the_restriction_wins() {
    assert_eq!(
        marketing(&[given(1, 200, "offers"), stop(2, 200, Scope::AllMarketing)]),
        Reason::Withdrawn
    );
}

#[test]
fn a_restriction_known_to_the_second_counts_to_its_end() {
    let mut grant = given(1, 200, "offers");
    grant.event_time = Timestamp::from_micros(200_700_000);
    assert_eq!(
        marketing(&[grant, stop(2, 200, Scope::Everything)]),
        Reason::Withdrawn
    );
}

#[test]
fn an_import_or_an_implied_grant_never_outweighs_a_withdrawal() {
    let import = with(2, 300, |t| t.indication_method = IndicationMethod::Import);
    let implied = with(3, 300, |t| {
        t.consent_type = ConsentType::Implied;
        t.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(DAY),
        });
    });
    for grant in [import, implied] {
        assert_eq!(
            marketing(std::slice::from_ref(&grant)),
            Reason::ConsentGiven
        );
        assert_eq!(
            marketing(&[stop(1, 200, Scope::Everything), grant]),
            Reason::Withdrawn
        );
    }
}

#[test]
fn clocks_of_two_sources_are_taken_to_differ_by_the_tolerance() {
    let mut stop = stop(1, 1_000, Scope::Everything);
    stop.time_source = TimeSource::Platform;
    let within = given(2, 1_000 + 300, "offers");
    let beyond = given(2, 1_000 + 302, "offers");
    assert_eq!(marketing(&[stop.clone(), within]), Reason::Withdrawn);
    assert_eq!(marketing(&[stop, beyond]), Reason::ConsentGiven);
}
