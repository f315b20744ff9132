//! What all decisions have in common, and the comparison with the naive model.
//!
//! The laws that have a number are in the other files.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::cases::{Case, case, crowded};
use super::histories::{instant, suppression};
use super::model::deciding;
use super::*;
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
        prop_assert_eq!(verdict.decision, verdict.reasons()[0].decision());
        if verdict.decision == Decision::Allow {
            prop_assert!(verdict.reasons().iter().all(|r| r.decision() == Decision::Allow));
        } else {
            prop_assert!(verdict.reasons().iter().all(|r| r.decision() != Decision::Allow));
        }
        prop_assert!(verdict.reasons().is_sorted_by_key(|reason| step(*reason)), "{:?}", verdict.reasons());
        let known = |id: EventId| case.events.iter().any(|event| event.event_id == id);
        prop_assert!(verdict.rests_on.is_none_or(known));
    }

    #[test]
    fn consent_is_given_by_a_grant_of_this_purpose_address_and_sender(case in case()) {
        let verdict = case.verdict();
        if verdict.reasons() == [Reason::ConsentGiven] {
            let carrier = case.events.iter().find(|e| Some(e.event_id) == verdict.rests_on).unwrap();
            let mut terms = terms_of(carrier).into_iter();
            prop_assert!(carrier.spelling.grants(case.spelling));
            prop_assert!(terms.any(|terms| terms.purposes.contains(&case.purpose)
                && (terms.sender_id.is_none() || terms.sender_id == case.sender)));
        }
    }

    #[test]
    fn only_the_two_given_states_permit_a_send_by_consent(case in case()) {
        let own = Case { class: case.purpose().message_class, ..case };
        if own.verdict().reasons() == [Reason::ConsentGiven] {
            let facts = Facts::fold(&own.events);
            let sender = own.sender.as_ref();
            let standing = standing(&facts, &own.rules, own.purpose(), sender, own.spelling, &[], own.at);
            prop_assert!(matches!(standing.state, ConsentState::Given | ConsentState::RenewedConsentGiven));
        }
    }

    #[test]
    fn one_more_restricting_act_never_allows(case in case(), stop in restricting()) {
        let after = case.and(stop);
        prop_assert!(allows(&case) || !allows(&after));
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
        prop_assert!(allows(&case) || !allows(&after));
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
        let (verdict, expected) = (case.verdict(), deciding(&case));
        if case.class == MessageClass::OptOutConfirmation {
            prop_assert_ne!(verdict.decision, Decision::Allow);
        } else {
            prop_assert!(expected.contains(&verdict.reasons()[0]), "{:?}, not {:?}", verdict.reasons(), expected);
        }
    }
}

/// The properties above are worth what the histories reach.
#[test]
fn the_histories_reach_every_reason_that_can_be_given_yet() {
    let mut runner = TestRunner::new(config());
    let mut seen: BTreeMap<Reason, usize> = BTreeMap::new();
    for _ in 0..3_000 {
        let verdict = case().new_tree(&mut runner).unwrap().current().verdict();
        *seen.entry(verdict.reasons()[0]).or_default() += 1;
    }
    let later = [
        // Reported, permitted or looked up by what does not exist yet.
        Reason::OptOutConfirmationPermitted,
        Reason::IdentityUnverified,
        Reason::RegistryStale,
        Reason::PlatformProhibited,
        Reason::Unreachable,
        Reason::QuietHours,
        Reason::FrequencyCap,
        Reason::PlatformLimited,
    ];
    for reason in Reason::ALL.iter().filter(|reason| !later.contains(*reason)) {
        assert!(
            seen.get(reason).is_some_and(|count| *count >= 1),
            "{reason}: {seen:?}"
        );
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
