//! Laws 1 to 4: what a restriction ends, in what order acts count, and what gives consent again.
//!
//! Which scope, sender and spelling an act reaches is in [`super::scopes`].

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::cases::{Case, case};
use super::histories::{
    PURPOSES, confirmation_of, event_of, genuine_terms, instant, other_terms, restriction, source,
};
use super::*;
use crate::domain::facts::Facts;
use crate::domain::rules::CLOCK_TOLERANCE;
use crate::domain::standing::effect_of;
use crate::domain::vocabulary::Effect;

// Law 1: a withdrawal is always accepted, in every state, also before any grant; twice is once.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_restriction_in_any_state_denies_all_in_its_scope_and_nothing_else(
        case in case(), act in restriction(), source in source()
    ) {
        let stop = Event { time_source: source, ..on(case.afterwards(), act) };
        let after = case.and(stop.clone());
        if concerns(restriction_of(&stop), &case) {
            let verdict = after.verdict();
            prop_assert_eq!(verdict.decision, Decision::Deny);
            prop_assert!(verdict.reasons().contains(&restriction_of(&stop).kind.into()));
        } else {
            prop_assert_eq!(after.verdict(), case.verdict());
        }
    }

    #[test]
    fn a_restriction_before_any_grant_denies(case in case(), act in restriction()) {
        let first = Case { events: Vec::new(), inbound: None, ..case }.and(on(Timestamp::EPOCH, act));
        if concerns(restriction_of(&first.events[0]), &first) && !is_confirmed(&first) {
            prop_assert_eq!(first.verdict().decision, Decision::Deny);
            let reason = first.verdict().reasons().into_iter().find(|r| is_restricted(*r));
            prop_assert_eq!(reason, Some(restriction_of(&first.events[0]).kind.into()));
        }
    }

    #[test]
    fn a_restriction_applied_twice_is_applied_once(case in case(), stop in event_of(restriction())) {
        let once = case.and(stop);
        let mut facts = Facts::fold(&once.events);
        facts.apply(once.events.last().unwrap());
        prop_assert_eq!(facts, Facts::fold(&once.events));
    }
}

// Law 2: the order of acts.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn at_the_same_instant_or_in_a_second_known_only_as_such_the_restriction_wins(
        case in case(), act in restriction(), source in source(), micros in select(vec![0_i64, 1, 999_999])
    ) {
        let time = case.afterwards();
        let stop = Event { time_source: source, recorded_at: Timestamp::MAX, ..on(time, act) };
        let in_that_second = Timestamp::from_micros(time.as_micros() + micros);
        let after = consents_anew(&case.and(stop), in_that_second, source);
        if concerns(restriction_of(&after.events[case.events.len()]), &case) && !is_confirmed(&case) {
            prop_assert_ne!(after.verdict().decision, Decision::Allow);
        }
    }

    #[test]
    fn against_another_clock_a_grant_must_be_later_by_more_than_the_tolerance(
        source in source(), micros in 0..600_000_000_i64, same in any::<bool>()
    ) {
        let other = if source == TimeSource::Caller { TimeSource::Platform } else { TimeSource::Caller };
        let stop_at = Timestamp::from_micros(1_000_000_001);
        let stop = Act::Restricted(withdrawn(Scope::Everything));
        let stop = Event { time_source: source, ..on(stop_at, stop) };
        let time = Timestamp::from_micros(stop_at.as_micros() + micros);
        let grant = Event {
            time_source: if same { source } else { other },
            ..on(time, Act::ConsentGiven(terms("offers")))
        };
        let after = question("offers").and(stop).and(grant);
        let needed = if same { Duration::ZERO } else { CLOCK_TOLERANCE };
        prop_assert_eq!(allows(&after), time.since(stop_at) > needed);
    }

    #[test]
    fn a_recorded_restriction_counts_at_once_whatever_the_question_says(
        case in case(), act in restriction(), at in instant()
    ) {
        let mut after = case.and(on(case.afterwards(), act));
        after.at = at;
        if concerns(restriction_of(after.events.last().unwrap()), &case) {
            prop_assert_eq!(after.verdict().decision, Decision::Deny);
        }
    }

    #[test]
    fn a_clock_that_is_ahead_neither_delays_a_restriction_nor_prolongs_a_consent(event in restricting()) {
        prop_assert!(event.effective_at() <= event.recorded_at);
        let ahead = Event { event_time: event.recorded_at.plus(Duration::from_hours(1)), ..event.clone() };
        prop_assert_eq!(ahead.effective_at(), event.recorded_at);
    }

    #[test]
    fn a_grant_that_loses_is_kept_and_changes_nothing(
        case in case(), grant in event_of(given(genuine_terms())), act in restriction()
    ) {
        let after = case.and(on(case.afterwards(), act));
        if let (Act::ConsentGiven(terms), true) =
            (&grant.act, concerns(restriction_of(after.events.last().unwrap()), &case))
        {
            let more = after.and(grant.clone());
            prop_assert_eq!(more.verdict().decision, Decision::Deny);
            let asked = Terms { sender_id: case.sender.clone(), ..terms.clone() };
            if case.class == case.purpose().message_class && asked.purposes.contains(&case.purpose) {
                let facts = Facts::fold(&more.events);
                let effect = effect_of(&facts, &case.rules, case.purpose(), &grant, &asked);
                // One-time codes that the recipient asks for are judged by their class.
                if !case.purpose().requested_by_recipient {
                    prop_assert_eq!(effect, Effect::Superseded);
                }
            }
        }
    }

    #[test]
    fn an_implied_grant_or_an_import_never_shadows_an_act_of_the_person(
        case in case(), other in event_of(given(other_terms()))
    ) {
        let verdict = case.verdict();
        let genuine = case.events.iter().any(|e| {
            Some(e.event_id) == verdict.rests_on && terms_of(e).into_iter().all(is_act_of_the_person)
        });
        if verdict.decision == Decision::Allow && genuine {
            let after = case.and(other).verdict();
            prop_assert_eq!((after.decision, after.reasons()), (verdict.decision, verdict.reasons()));
        }
    }
}

// Law 3: after a withdrawal only a new act of the person, later than it, gives consent again.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_import_or_an_inference_never_weakens_an_opt_out(
        case in case(), stop in event_of(restriction()), other in event_of(given(other_terms()))
    ) {
        let stopped = case.and(stop);
        if concerns(restriction_of(stopped.events.last().unwrap()), &case) && !allows(&stopped) {
            prop_assert!(!allows(&stopped.and(other)));
        }
    }

    #[test]
    fn a_later_act_of_the_person_gives_consent_again(case in case(), act in restriction(), clock in source()) {
        let stop = Event { time_source: clock, ..on(case.afterwards(), act) };
        let after = case.and(stop);
        let clear = after.afterwards();
        let again = consents_anew(&after, clear, TimeSource::Caller);
        let verdict = again.verdict();
        prop_assert!(!verdict.reasons().iter().any(|reason| is_restricted(*reason)), "{:?}", verdict);
        // With no overlay, and nothing of others in the way, it allows what a consent can allow.
        let by_consent = matches!(
            case.class,
            MessageClass::Marketing | MessageClass::Utility | MessageClass::Authentication
        );
        if by_consent && !verdict.reasons().into_iter().any(is_not_of_the_person) {
            prop_assert_eq!(verdict.reasons(), [Reason::ConsentGiven]);
        }
    }

    #[test]
    fn a_narrower_later_grant_reopens_its_own_purpose_only(
        case in case(), kind in select(RestrictionKind::ALL), other in select(&PURPOSES[..])
    ) {
        let stop = Restriction { kind, ..withdrawn(Scope::Everything) };
        let stopped = case.and(on(case.afterwards(), Act::Restricted(stop)));
        let again = consents_anew(&stopped, stopped.afterwards(), TimeSource::Caller);
        if case.purpose.as_str() != other {
            let mut elsewhere = again.clone();
            elsewhere.purpose = purpose(other);
            elsewhere.class = elsewhere.purpose().message_class;
            if concerns(restriction_of(&again.events[case.events.len()]), &elsewhere) {
                prop_assert!(!allows(&elsewhere));
            }
        }
    }
}

// Law 4: a confirmation of an older request does not beat a newer withdrawal.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_confirmation_of_an_older_request_never_beats_a_newer_restriction(
        case in case(), act in restriction(), which in any::<Index>(), delay in 1..100_000_u64
    ) {
        let requests: Vec<Event> = case
            .events
            .iter()
            .filter(|event| matches!(event.act, Act::ConsentGiven(_)))
            .cloned()
            .collect();
        let stop = on(case.afterwards(), act);
        if !requests.is_empty() && concerns(restriction_of(&stop), &case) {
            let asked = which.get(&requests);
            let Act::ConsentGiven(terms) = &asked.act else { unreachable!("filtered") };
            let confirmation = Event {
                spelling: asked.spelling,
                ..on(stop.event_time.plus(Duration::from_secs(delay)), confirmation_of(asked, terms.clone()))
            };
            let mut after = case.and(stop).and(confirmation);
            after.at = after.afterwards();
            after.inbound = None;
            prop_assert_eq!(after.verdict().decision, Decision::Deny);
            prop_assert!(after.verdict().reasons().iter().any(|reason| is_restricted(*reason)));
        }
    }

    #[test]
    fn a_confirmation_counts_only_for_the_address_that_was_asked(
        case in case(), spelling in select(&Spelling::ALL[..])
    ) {
        let apart = Case { events: Vec::new(), spelling, ..case.clone() };
        let mut confirmed = consents_anew(&apart, case.afterwards(), TimeSource::Caller);
        confirmed.spelling = case.spelling;
        confirmed.inbound = None;
        if !spelling.grants(case.spelling) {
            prop_assert_ne!(confirmed.verdict().reasons()[0], Reason::ConsentGiven);
        }
    }
}
