//! The smallest histories with reports of machines that broke a law: whose an address is, what
//! registries and deliveries say, and when a message may go. Those of people alone are in [`super::found`].

use std::sync::Arc;

use super::found::{by, decisive, grant, seconds};
use super::*;
use crate::domain::activity::{MOST_SENDS, Sent};
use crate::domain::event::{Asked, Failure, IdentityChange, Inherited, Lift, Link, RegistryCheck};
use crate::domain::facts::Facts;
use crate::domain::id::{RegistryName, SubjectId};
use crate::domain::policy::tests::{code, entry, lenient, policy};
use crate::domain::policy::{FrequencyCap, Policy, RegistryKind, RegistryRule};
use crate::domain::rules::tests::{catalog, rules_with};
use crate::domain::vocabulary::{AddressKind, FailureKind, RegistryResult};

fn user(number: u128) -> SubjectId {
    SubjectId(uuid::Uuid::from_u128(number))
}

fn linked_with(time: i64, other: u128, inherited: Inherited) -> Event {
    let link = Link {
        other: user(other),
        kind: AddressKind::UserId,
        here: Spelling::Verbatim,
        inherited,
    };
    by(TimeSource::Platform, on(seconds(time), Act::Linked(link)))
}

fn linked(time: i64, other: u128) -> Event {
    linked_with(time, other, Inherited::default())
}

fn changed(time: i64, change: IdentityChange) -> Event {
    let act = Act::IdentityChanged(change);
    by(TimeSource::Platform, on(seconds(time), act))
}

fn unlinked(time: i64, former: u128) -> Event {
    let kind = AddressKind::UserId;
    let former = user(former);
    changed(time, IdentityChange::Unlinked { former, kind })
}

fn failed(time: i64, kind: FailureKind) -> Event {
    let failure = Failure {
        kind,
        sender_id: SenderId::parse("1001").unwrap(),
        code: String::new(),
        provider: String::new(),
    };
    let act = Act::DeliveryFailed(failure);
    by(TimeSource::Platform, on(seconds(time), act))
}

fn looked_up(time: i64, registry: &str, result: RegistryResult) -> Event {
    let check = RegistryCheck {
        registry: RegistryName::parse(registry).unwrap(),
        list_version: None,
        result,
    };
    on(seconds(time), Act::RegistryChecked(check))
}

fn moved_from(time: i64, former: &[Event]) -> Event {
    let inherited = Facts::fold(former).restrictive_inheritance();
    changed(time, IdentityChange::Successor { inherited })
}

fn copied(event: Event, from: u128) -> Event {
    Event {
        copied_from: Some(user(from)),
        ..event
    }
}

#[test]
fn a_second_doubt_by_another_clock_does_not_hide_the_first() {
    let ours = |event| by(TimeSource::Gate, event);
    let theirs = |event| by(TimeSource::Platform, event);
    let denied = question("offers")
        .and(ours(failed(1_000, FailureKind::IdentityMismatch)))
        .and(theirs(grant(1_100, "offers")));
    assert_eq!(decisive(&denied), Reason::IdentityUnverified);
    let mismatched = denied.and(failed(1_010, FailureKind::IdentityMismatch));
    assert_eq!(decisive(&mismatched), Reason::IdentityUnverified);

    let denied = question("offers")
        .and(linked(10, 71))
        .and(ours(linked(1_000, 72)))
        .and(theirs(grant(1_100, "offers")));
    assert_eq!(decisive(&denied), Reason::IdentityUnverified);
    let named_again = denied.and(linked(1_010, 72));
    assert_eq!(decisive(&named_again), Reason::IdentityUnverified);
}

#[test]
fn a_consent_does_not_come_back_with_a_link_that_once_ended() {
    let allowed = question("offers")
        .and(linked(100, 71))
        .and(copied(grant(150, "offers"), 71));
    assert!(allows(&allowed));
    let again = allowed.and(unlinked(200, 71)).and(linked(300, 71));
    assert_eq!(decisive(&again), Reason::NoConsent);
}

#[test]
fn leaving_an_address_ends_what_another_clock_puts_just_after_it() {
    let left = changed(1_000, IdentityChange::Former);
    let soon = question("offers").and(left).and(grant(1_100, "offers"));
    assert_eq!(decisive(&soon), Reason::NoConsent);
    assert!(allows(&soon.and(grant(1_302, "offers"))));
}

#[test]
fn a_move_or_a_broken_link_that_brings_consents_gives_none() {
    let grants = Facts::fold(&[grant(100, "offers")]).grants.to_vec();
    let inherited = Inherited {
        grants,
        ..Inherited::default()
    };
    let moved = IdentityChange::Successor {
        inherited: inherited.clone(),
    };
    let moved = question("offers").and(changed(200, moved));
    assert_eq!(decisive(&moved), Reason::NoConsent);
    // A grant that does not say by which link it came ends with the link that brought it.
    let by_link = question("offers").and(linked_with(200, 71, inherited));
    assert_eq!(decisive(&by_link.and(unlinked(300, 71))), Reason::NoConsent);
}

#[test]
fn a_listing_goes_with_the_person_and_an_answer_that_a_number_is_not_listed_does_not() {
    let listed = looked_up(100, "dnc", RegistryResult::Listed);
    let moved = question("offers")
        .and(moved_from(200, std::slice::from_ref(&listed)))
        .and(grant(300, "offers"));
    assert_eq!(decisive(&moved), Reason::Suppressed);
    let taken_back = looked_up(150, "dnc", RegistryResult::NotListed);
    let inherited = Facts::fold(&[listed, taken_back]).restrictive_inheritance();
    assert_eq!(inherited, Inherited::default());
}

#[test]
fn what_was_lifted_at_the_former_address_lifts_nothing_at_the_new_one() {
    let order = || suppressed(SuppressionBasis::CourtOrder, Scope::Everything, None);
    let lift = Lift {
        basis: SuppressionBasis::CourtOrder,
        scope: Scope::Everything,
        sender_id: None,
        lifts: None,
        indication_method: None,
    };
    let former = [
        on(seconds(50), Act::Suppressed(order())),
        on(seconds(200), Act::SuppressionLifted(lift)),
    ];
    let here = question("offers")
        .and(grant(10, "offers"))
        .and(on(seconds(100), Act::Suppressed(order())));
    assert_eq!(decisive(&here), Reason::Suppressed);
    assert_eq!(
        decisive(&here.and(moved_from(300, &former))),
        Reason::Suppressed
    );
    // And what was lifted there is not brought back here.
    let elsewhere = question("offers").and(grant(10, "offers"));
    assert!(allows(&elsewhere.and(moved_from(300, &former))));
}

#[test]
fn an_act_that_is_copied_and_handed_over_as_well_is_one_act() {
    let given = Event {
        spelling: Spelling::Mexico52,
        ..grant(100, "offers")
    };
    let copy = Event {
        spelling: Spelling::Verbatim,
        ..copied(given.clone(), 71)
    };
    let there = Facts::fold(&[given]);
    let inherited = there.inheritance(user(71), Spelling::Mexico52, Spelling::Verbatim);
    let case = question("offers")
        .and(copy)
        .and(linked_with(200, 71, inherited));
    let facts = Facts::fold(&case.events);
    assert_eq!(facts.grants.len(), 1);
    assert_eq!(facts.grants[0].prior, None, "it is no renewed consent");
}

#[test]
fn an_ask_that_is_copied_and_handed_over_as_well_does_not_push_another_one_out() {
    let ask = |time| {
        let asked = Asked {
            purposes: vec![purpose("offers")],
            sender_id: None,
            notice: None,
        };
        on(seconds(time), Act::ConsentRequested(asked))
    };
    // Eight of them, the most that any policy allows, and all that is remembered.
    let there: Vec<Event> = (1..=8)
        .map(|time| Event {
            spelling: Spelling::Mexico52,
            ..ask(time)
        })
        .collect();
    let inherited = Facts::fold(&there).restrictive_inheritance();
    let copies = there.into_iter().map(|event| Event {
        spelling: Spelling::Verbatim,
        ..copied(event, 71)
    });
    let case = copies.fold(question("offers"), |case, copy| case.and(copy));
    let facts = Facts::fold(&case.and(linked_with(200, 71, inherited)).events);
    assert_eq!(facts.asks[0].marks.len(), 8);
    assert_eq!(facts.asks[0].marks[7].at, seconds(1));
}

#[test]
fn a_listing_does_not_stand_for_the_answer_that_a_policy_requires() {
    let mut required = lenient();
    required.registries = vec![RegistryRule {
        registry: RegistryName::parse("rnd").unwrap(),
        kind: RegistryKind::ReassignedNumbers,
        max_age: Duration::from_hours(1),
        unless_consent: None,
    }];
    let asked = Case {
        rules: rules_with(catalog(), policy(&[("ZZ", required)])),
        ..question("offers").and(grant(200, "offers"))
    };
    assert_eq!(decisive(&asked), Reason::RegistryStale);
    // The number changed hands before the consent, and whether it has since then nobody knows.
    let listed = asked.and(looked_up(100, "rnd", RegistryResult::Listed));
    assert_eq!(decisive(&listed), Reason::RegistryStale);
    assert!(allows(&listed.and(looked_up(
        300,
        "rnd",
        RegistryResult::NotListed
    ))));
}

#[test]
fn a_listing_in_a_registry_that_no_policy_names_any_more_forbids_whatever_it_may_have_meant() {
    let asked = question("orders").and(grant(100, "orders")).and(looked_up(
        200,
        "gone",
        RegistryResult::Listed,
    ));
    assert_eq!(decisive(&asked), Reason::Suppressed);
    assert!(allows(&asked.and(grant(300, "orders"))));
    let advertised = question("offers")
        .and(looked_up(200, "gone", RegistryResult::Listed))
        .and(grant(300, "offers"));
    assert_eq!(decisive(&advertised), Reason::Suppressed);
}

#[test]
fn one_more_failure_does_not_make_an_address_reachable() {
    const DAY: i64 = 86_400;
    let at = |day: i64, case: &Case| Case {
        at: seconds(day * DAY),
        ..case.clone()
    };
    let failing = [1, 2, 3]
        .into_iter()
        .map(|day| failed(day * DAY, FailureKind::Undeliverable))
        .fold(
            question("offers").and(grant(100, "offers")),
            |case, failed| case.and(failed),
        );
    assert_eq!(decisive(&at(32, &failing)), Reason::Unreachable);
    // An answer in the service window failed, too, more than 30 days after the second.
    let more = failing.and(failed(32 * DAY + 100, FailureKind::Undeliverable));
    let soon = Case {
        at: seconds(32 * DAY + 200),
        ..more.clone()
    };
    assert_eq!(decisive(&soon), Reason::Unreachable);
    assert!(allows(&at(33, &more)));
}

#[test]
fn a_message_is_deferred_to_the_first_instant_at_which_it_is_allowed_whatever_allows_it_then() {
    // One message a day until noon, and as many as one likes from then on.
    let noon = Timestamp::from_micros(43_200_000_000);
    let mut capped = entry(lenient());
    Arc::make_mut(&mut capped.requirements).frequency_caps = vec![FrequencyCap {
        messages: 1,
        per_seconds: 86_400,
    }];
    capped.effective_to = Some(noon);
    let mut free = entry(lenient());
    free.effective_from = noon;
    let entries = std::collections::BTreeMap::from([(code("ZZ"), vec![capped, free])]);
    let policy = Policy::new(entries, Vec::new(), String::new());
    let mut asked = question("offers").and(grant(100, "offers")).under(policy);
    asked.sends = vec![Sent {
        purpose: purpose("offers"),
        class: MessageClass::Marketing,
        at: seconds(1_000),
    }];
    let verdict = asked.verdict();
    assert_eq!(verdict.decision, Decision::Defer);
    assert_eq!(verdict.not_before, Some(noon));
}

#[test]
fn the_message_that_raises_a_doubt_opens_a_window_for_the_answer_to_it() {
    let named = |seconds: i64, other| {
        let time = Timestamp::from_micros(seconds * 1_000_000);
        Event {
            event_time: time,
            recorded_at: time.plus(Duration::from_secs(2)),
            ..linked(seconds, other)
        }
    };
    let asked = |inbound: i64| Case {
        inbound: Some(Timestamp::from_micros(inbound * 1_000_000)),
        ..question("support").and(named(100, 71)).and(named(200, 72))
    };
    assert_eq!(decisive(&asked(200)), Reason::ServiceWindowOpen);
    assert_eq!(decisive(&asked(199)), Reason::IdentityUnverified);
}

#[test]
fn sends_that_are_too_many_to_be_remembered_do_not_hide_one_that_a_cap_counts() {
    let mut catalog = catalog();
    catalog.purposes.get_mut("offers").unwrap().frequency_cap = Some(FrequencyCap {
        messages: 1,
        per_seconds: 1_500,
    });
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let mut asked = Case {
        rules,
        ..question("offers").and(grant(100, "offers"))
    };
    let sent = |time, name, class| Sent {
        purpose: purpose(name),
        class,
        at: seconds(time),
    };
    asked.sends = vec![sent(1_000, "offers", MessageClass::Marketing)];
    assert_eq!(decisive(&asked), Reason::FrequencyCap);
    // So many messages of an order since then that this one is forgotten.
    let most = i64::try_from(MOST_SENDS).unwrap();
    asked.sends = (1..=most)
        .rev()
        .map(|second| sent(1_000 + second, "orders", MessageClass::Utility))
        .collect();
    assert_eq!(decisive(&asked), Reason::FrequencyCap);
}
