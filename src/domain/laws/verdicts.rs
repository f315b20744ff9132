//! What all decisions have in common, and the comparison with the naive model.
//!
//! The laws that have a number are in the other files.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestCaseError;
use proptest::test_runner::TestRunner;

use super::cases::{Case, case, crowded};
use super::histories::{instant, source, suppression};
use super::model::Model;
use super::timing::due;
use super::*;
use crate::domain::event::IdentityChange;
use crate::domain::facts::Facts;
use crate::domain::id::EventId;
use crate::domain::standing::standing;
use crate::domain::vocabulary::ConsentState;

// What every decision has in common.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_first_reason_carries_the_decision_and_an_allow_rests_on_reasons_that_allow(case in case()) {
        let verdict = case.verdict();
        // What is never free again within a month is denied for the reason that otherwise defers.
        let first = verdict.reasons()[0].decision();
        let never = first == Decision::Defer && verdict.decision == Decision::Deny;
        prop_assert!(verdict.decision == first || never, "{:?}", verdict);
        prop_assert_eq!(verdict.not_before.is_some(), verdict.decision == Decision::Defer);
        if verdict.decision == Decision::Allow {
            prop_assert!(verdict.reasons().iter().all(|r| r.decision() == Decision::Allow));
        } else {
            prop_assert!(verdict.reasons().iter().all(|r| r.decision() != Decision::Allow));
        }
        let denying: Vec<Reason> =
            verdict.reasons().into_iter().filter(|r| r.decision() == Decision::Deny).collect();
        prop_assert!(denying.is_sorted_by_key(|reason| step(*reason)), "{:?}", verdict.reasons());
        prop_assert!(verdict.rests_on.is_none_or(|id| is_known(&case, id)));
    }

    #[test]
    fn consent_is_given_by_a_grant_of_this_purpose_address_and_sender(case in case()) {
        let verdict = case.verdict();
        if verdict.reasons() == [Reason::ConsentGiven] {
            let facts = Facts::fold(&case.events);
            let mut carriers = facts.grants.iter().filter(|g| Some(g.mark.event_id) == verdict.rests_on);
            prop_assert!(carriers.any(|grant| grant.purpose == case.purpose
                && grant.spelling.grants(case.spelling)
                && (grant.sender.is_none() || grant.sender == case.sender)));
        }
    }

    #[test]
    fn only_the_two_given_states_permit_a_send_by_consent(case in case()) {
        let own = Case { class: case.purpose().message_class, ..case };
        if own.verdict().reasons() == [Reason::ConsentGiven] {
            let facts = Facts::fold(&own.events);
            let sender = own.sender.as_ref();
            let candidates = &own.place.jurisdictions;
            let standing =
                standing(&facts, &own.rules, own.purpose(), sender, own.spelling, candidates, own.at);
            prop_assert!(matches!(standing.state, ConsentState::Given | ConsentState::RenewedConsentGiven));
        }
    }

    #[test]
    fn one_more_restricting_act_never_allows(case in case(), stop in restricting()) {
        let after = case.and(stop);
        prop_assert!(allows(&case) || !allows(&after) || is_confirmed(&case));
    }

    #[test]
    fn one_more_restricting_act_never_allows_what_a_consent_could_carry(case in due(), stop in restricting()) {
        let after = case.and(stop);
        prop_assert!(allows(&case) || !allows(&after), "{:?}", case.verdict());
        if let (Some(before), Some(later)) = (case.verdict().not_before, after.verdict().not_before) {
            prop_assert!(before <= later);
        }
    }

    #[test]
    fn who_left_an_address_consents_to_nothing_there_any_more(case in case(), source in source()) {
        // Where two addresses were in conflict, the notice that one was left is what explains it.
        let left = Act::IdentityChanged(IdentityChange::Former);
        let left = Event { time_source: source, ..on(case.afterwards(), left) };
        let verdict = case.and(left).verdict();
        let conflicts = Facts::fold(&case.events).links.len() > 1;
        prop_assert!(allows(&case) || verdict.decision != Decision::Allow || conflicts);
        prop_assert!(!verdict.reasons().contains(&Reason::ConsentGiven));
    }

    #[test]
    fn an_act_of_the_same_kind_and_scope_never_hides_another(
        case in case(), one in restricting(), other in restricting(), ends in option::of(instant())
    ) {
        let case = crowded(case.and(one));
        let mut act = case.events.last().unwrap().act.clone();
        if let Act::Suppressed(suppression) = &mut act {
            suppression.until = ends;
        }
        let after = case.and(Event { act, ..other });
        prop_assert!(allows(&case) || !allows(&after) || is_confirmed(&case));
    }

    #[test]
    fn a_suppression_beats_every_grant(case in case(), act in suppression()) {
        let time = case.afterwards();
        let Act::Suppressed(suppression) = act else { unreachable!("made by `suppression`") };
        let suppression = Suppression { until: None, ..suppression };
        let covers = suppression.scope == Scope::Everything
            || scope_covers(&suppression.scope, case.purpose(), case.class);
        let covers = covers && sender_covers(suppression.sender_id.as_ref(), case.sender.as_ref());
        let holder_changed = voids(suppression.basis);
        let suppressed = case.and(on(time, Act::Suppressed(suppression)));
        if covers {
            let mut asked = suppressed.clone();
            asked.inbound = Some(time.plus(Duration::from_secs(10)));
            prop_assert_eq!(suppressed.verdict().decision, Decision::Deny);
            let reached = !allows(&asked);
            prop_assert!(reached, "after a message of the person");
            if !holder_changed {
                let again = consents_anew(&suppressed, suppressed.afterwards(), TimeSource::Caller);
                prop_assert_eq!(again.verdict().decision, Decision::Deny);
            }
        }
    }

    #[test]
    fn the_decision_is_that_of_the_naive_model(case in case()) {
        agrees_with_the_model(&case)?;
    }

    #[test]
    fn where_consent_is_given_the_decision_is_that_of_the_naive_model(case in due()) {
        agrees_with_the_model(&case)?;
    }
}

fn agrees_with_the_model(case: &Case) -> Result<(), TestCaseError> {
    let (verdict, expected) = (case.verdict(), Model::of(case).deciding(case.at));
    let reasons = verdict.reasons();
    let decides = |reason: &Reason| match reason.decision() {
        Decision::Allow | Decision::Deny => reasons[0] == *reason,
        // Why it is denied, if it is never free or will be denied by then: see `timing`.
        Decision::Defer if verdict.decision == Decision::Deny => reasons.contains(reason),
        Decision::Defer => reasons[0] == *reason,
    };
    prop_assert!(
        expected.iter().any(decides),
        "{:?} {:?}, not {:?}",
        verdict.decision,
        reasons,
        expected
    );
    Ok(())
}

/// Whether an event of this id is in the history, or came with a link or a move.
pub(super) fn is_known(case: &Case, id: EventId) -> bool {
    let text = id.to_string();
    case.events.iter().any(|event| {
        event.event_id == id || serde_json::to_string(&event.act).unwrap().contains(&text)
    })
}

/// The properties above are worth what the histories reach.
#[test]
fn the_histories_reach_every_reason() {
    let mut runner = TestRunner::new(config());
    let mut seen: BTreeMap<Reason, usize> = BTreeMap::new();
    for _ in 0..20_000 {
        if seen.len() == Reason::ALL.len() {
            break;
        }
        for strategy in [case(), due()] {
            let verdict = strategy.new_tree(&mut runner).unwrap().current().verdict();
            *seen.entry(verdict.reasons()[0]).or_default() += 1;
        }
    }
    for reason in Reason::ALL {
        assert!(seen.contains_key(reason), "{reason}: {seen:?}");
    }
}

/// The step to which a reason belongs.
fn step(reason: Reason) -> u8 {
    match reason {
        Reason::SenderHeld => 1,
        Reason::Suppressed | Reason::PlatformStopped => 2,
        _ if is_restricted(reason) || reason == Reason::PossibleRevocation => 3,
        Reason::IdentityUnverified => 4,
        Reason::NoConsent => 5,
        Reason::ConfirmationPending | Reason::ConfirmationRequired => 6,
        Reason::Expired => 7,
        Reason::NoticeOutdated | Reason::EvidenceIncomplete | Reason::RegistryStale => 8,
        _ => 9,
    }
}
