//! What an erasure leaves: every restriction, no consent, and a denial until the person consents anew.
//!
//! That facts with erasures among their events depend on no order is law 10, whose histories have them;
//! that the rows of the side tables are gone is for the tests of the ledger.

use proptest::prelude::*;
use proptest::sample::Index;

use super::cases::{Case, case};
use super::histories::{
    confirmation_of, erasure, event_of, genuine_terms, instant, other_terms, source,
};
use super::*;
use crate::domain::facts::Facts;
use crate::domain::standing::standing;
use crate::domain::vocabulary::ConsentState;

/// The person's data are erased after everything else; whether a window is open is another matter.
fn erased(case: &Case, act: Act, source: TimeSource) -> Case {
    let erasure = Event {
        time_source: source,
        ..on(case.afterwards(), act)
    };
    Case {
        inbound: None,
        ..case.and(erasure)
    }
}

/// Adds events that came at any later time, and asks after all of them.
fn and_later(erased: &Case, more: Vec<Event>) -> Case {
    let start = erased.afterwards().as_micros();
    let mut after = erased.clone();
    for event in more {
        let at = |time: Timestamp| Timestamp::from_micros(start + time.as_micros());
        after = after.and(Event {
            event_time: at(event.event_time),
            recorded_at: at(event.recorded_at),
            ..event
        });
    }
    after.at = after.afterwards();
    after
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_erased_person_is_sent_nothing_of_any_class(
        case in case(), act in erasure(), source in source()
    ) {
        let after = erased(&case, act, source);
        for class in MessageClass::ALL {
            let asked = Case { class: *class, ..after.clone() };
            let verdict = asked.verdict();
            prop_assert_eq!(verdict.decision, Decision::Deny);
            prop_assert!(verdict.reasons().contains(&Reason::NoConsent), "{:?}", verdict);
        }
    }

    #[test]
    fn an_erasure_keeps_every_restriction_and_drops_every_consent(
        case in case(), act in erasure(), source in source()
    ) {
        let (before, after) = (Facts::fold(&case.events), Facts::fold(&erased(&case, act, source).events));
        prop_assert!(after.grants.is_empty());
        prop_assert!(after.is_erased());
        let kept = Facts { grants: before.grants.clone(), erased: before.erased.clone(), ..after };
        prop_assert_eq!(kept, before);
    }

    #[test]
    fn erased_twice_is_erased_once(case in case(), act in erasure(), again in erasure(), source in source()) {
        let once = erased(&case, act, source);
        let mut facts = Facts::fold(&once.events);
        facts.apply(once.events.last().unwrap());
        prop_assert_eq!(&facts, &Facts::fold(&once.events));
        let twice = erased(&once, again, source);
        prop_assert_eq!(twice.verdict().reasons(), once.verdict().reasons());
    }

    #[test]
    fn it_does_not_matter_when_an_erasure_arrives(
        case in case(), erasure in event_of(erasure()), place in any::<Index>()
    ) {
        let last = case.and(erasure);
        let mut events = case.events.clone();
        events.insert(place.index(events.len() + 1), last.events.last().unwrap().clone());
        prop_assert_eq!(Facts::fold(&events), Facts::fold(&last.events));
    }

    #[test]
    fn nothing_permits_after_an_erasure_but_a_newer_act_of_the_person(
        case in case(), act in erasure(), source in source(),
        imports in prop::collection::vec(event_of(given(other_terms())), 0..3),
        old in prop::collection::vec(event_of(given(genuine_terms())), 0..3),
    ) {
        // Consents from before that are reported late, then imports and inferences from after.
        let mut after = erased(&case, act, source);
        for late in old {
            after = after.and(late);
        }
        let after = and_later(&after, imports);
        prop_assert_eq!(after.verdict().decision, Decision::Deny);
    }

    #[test]
    fn a_request_from_before_an_erasure_is_not_confirmed_after_it(
        case in case(), act in erasure(), terms in genuine_terms()
    ) {
        let request = on(case.afterwards(), Act::ConsentGiven(terms.clone()));
        let after = erased(&case.and(request.clone()), act, TimeSource::Caller);
        let confirmation = on(after.afterwards(), confirmation_of(&request, terms));
        let mut confirmed = after.and(confirmation);
        confirmed.at = confirmed.afterwards();
        prop_assert_eq!(confirmed.verdict().decision, Decision::Deny);
        prop_assert!(Facts::fold(&confirmed.events).grants.is_empty());
    }

    #[test]
    fn a_new_consent_counts_as_it_would_without_the_erasure(case in case(), act in erasure()) {
        let after = erased(&case, act, TimeSource::Caller);
        let again = consents_anew(&after, after.afterwards(), TimeSource::Caller);
        let plain = Case { inbound: None, ..case };
        let plain = consents_anew(&plain, after.afterwards(), TimeSource::Caller);
        if plain.verdict().reasons() == [Reason::ConsentGiven] {
            prop_assert_eq!(again.verdict().reasons(), [Reason::ConsentGiven]);
        }
    }

    #[test]
    fn a_message_that_opened_a_window_before_an_erasure_is_not_answered_after_it(
        case in case(), act in erasure(), later in 1..80_000_u64
    ) {
        let mut after = erased(&case, act, TimeSource::Gate);
        let erasure = after.events.last().unwrap().effective_at();
        after.class = MessageClass::Service;
        after.inbound = Some(erasure);
        after.at = erasure.plus(Duration::from_secs(later));
        prop_assert_eq!(after.verdict().decision, Decision::Deny);
    }

    #[test]
    fn a_message_from_before_an_erasure_counts_for_nothing_once_the_person_consents_anew(
        case in case(), act in erasure(), before in 0..9_u64, class in 0..MessageClass::ALL.len(),
        more in prop::collection::vec(event_of(given(genuine_terms())), 0..3),
    ) {
        let erased = erased(&case, act, TimeSource::Gate);
        let erasure = erased.events.last().unwrap().effective_at();
        let mut after = and_later(&erased, more);
        after.class = MessageClass::ALL[class];
        after.at = erasure.plus(Duration::from_hours(2));
        let forgotten = after.verdict();
        after.inbound = Some(Timestamp::from_micros(erasure.as_micros() - i64::try_from(before).unwrap()));
        prop_assert_eq!(after.verdict(), forgotten);
    }

    #[test]
    fn an_erased_person_reads_as_never_seen_but_for_what_restricts(case in case(), act in erasure()) {
        let after = erased(&case, act, TimeSource::Gate);
        let facts = Facts::fold(&after.events);
        let sender = after.sender.as_ref();
        let state = standing(
            &facts, &after.rules, after.purpose(), sender, after.spelling, &[], after.at,
        ).state;
        let restricted = RestrictionKind::ALL.iter().any(|kind| ConsentState::from(*kind) == state);
        prop_assert!(restricted || state == ConsentState::Unknown, "{:?}", state);
    }

    #[test]
    fn what_is_handed_to_another_address_of_the_person_is_erased_there_too(
        case in case(), act in erasure(), source in source()
    ) {
        let gone = Facts::fold(&erased(&case, act, source).events);
        let taken = gone.inheritance(reports::subject(70), case.spelling, case.spelling);
        prop_assert!(taken.grants.is_empty());
        prop_assert_eq!(taken.erasures.len(), gone.erased.iter().count());
    }

    #[test]
    fn an_erasure_at_any_time_never_allows_what_was_denied(case in case(), erasure in event_of(erasure())) {
        if !allows(&case) {
            prop_assert!(!allows(&case.and(erasure)));
        }
    }

    #[test]
    fn an_erasure_at_any_time_leaves_nothing_that_is_not_later(
        case in case(), erasure in event_of(erasure()), at in instant()
    ) {
        let mut after = case.and(erasure.clone());
        after.at = at;
        let facts = Facts::fold(&after.events);
        prop_assert!(facts.grants.iter().all(|grant| grant.mark.at > erasure.effective_at()));
        prop_assert!(facts.grants.iter().all(|g| g.prior.is_none_or(|(at, _)| at > erasure.effective_at())));
    }
}
