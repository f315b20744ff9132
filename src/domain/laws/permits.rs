//! The two messages that need no consent of their own kind: confirming an opt-out, and asking.
//!
//! Whether a permit was used already is for the ledger to know, and not tested here.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::cases::{Case, case};
use super::histories::{SENDERS, event_of, instant, restriction, source};
use super::*;
use crate::domain::event::Asked;
use crate::domain::facts::{Facts, Restricted};
use crate::domain::id::ImportBatchId;
use crate::domain::policy::Asking;
use crate::domain::policy::tests::{lenient, policy};
use crate::domain::rules::tests::{catalog, rules_with};
use crate::domain::vocabulary::WithdrawalMethod;

const MICROS: i64 = 1_000_000;
const FIVE_MINUTES: i64 = 300 * MICROS;

fn sender(id: &str) -> SenderId {
    SenderId::parse(id).unwrap()
}

/// A question to confirm an opt-out, by this sender, so long after an instant.
fn confirming(case: &Case, by: &str, at: Timestamp) -> Case {
    Case {
        class: MessageClass::OptOutConfirmation,
        sender: Some(sender(by)),
        at,
        ..case.clone()
    }
}

fn is_by_the_person(kind: RestrictionKind) -> bool {
    matches!(kind, RestrictionKind::Refused | RestrictionKind::Withdrawn)
}

/// A restriction as a message to a sender: it was written, and by the person.
fn written(to: &str, scope: Scope) -> Restriction {
    Restriction {
        received_by: Some(sender(to)),
        ..withdrawn(scope)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn only_an_opt_out_written_to_this_sender_within_five_minutes_is_confirmed(case in case()) {
        let case = Case { class: MessageClass::OptOutConfirmation, ..case };
        if allows(&case) {
            let facts = Facts::fold(&case.events);
            let here = |known: &&Restricted| known.received_by.is_some() && known.received_by == case.sender;
            let soon = |known: &&Restricted| {
                let since = case.at.as_micros() - known.mark.at.as_micros();
                (-MICROS..FIVE_MINUTES).contains(&since)
            };
            let mut candidates = facts.restrictions.iter().filter(here).filter(soon);
            prop_assert!(candidates.any(|known| is_by_the_person(known.kind)
                && case.verdict().rests_on == Some(known.mark.event_id)));
        }
    }

    #[test]
    fn an_opt_out_may_be_confirmed_for_less_than_five_minutes_by_the_sender_that_it_was_written_to(
        case in case(), to in select(&SENDERS[..]), micros in 0..MICROS, after in -2 * MICROS..2 * FIVE_MINUTES
    ) {
        let time = case.afterwards().plus(Duration::from_hours(48));
        let time = Timestamp::from_micros(time.as_micros() + micros);
        let stop = on(time, Act::Restricted(written(to, Scope::Everything)));
        let at = Timestamp::from_micros(time.as_micros() + after);
        let asked = confirming(&case.and(stop), to, at);
        let second = time.as_micros() - micros;
        let inside = second <= at.as_micros() && at.as_micros() - second < FIVE_MINUTES;
        let verdict = asked.verdict();
        if !inside {
            prop_assert_ne!(verdict.decision, Decision::Allow);
        } else {
            // Nothing of the person stands against it.
            let of_the_person = [Reason::Withdrawn, Reason::Refused, Reason::PlatformStopped, Reason::NoConsent];
            // Whoever was erased before is not written to for that either.
            let erased = Facts::fold(&asked.events).erased.newest().is_some();
            let stands = |reason: &Reason| of_the_person.contains(reason) && !(erased && *reason == Reason::NoConsent);
            prop_assert!(!verdict.reasons().iter().any(stands), "{:?}", verdict);
        }
        for other in SENDERS.iter().filter(|other| **other != to) {
            prop_assert_ne!(confirming(&asked, other, at).verdict().decision, Decision::Allow);
        }
        let by_nobody = Case { sender: None, ..asked };
        prop_assert!(!allows(&by_nobody));
    }

    #[test]
    fn an_import_is_never_confirmed(
        case in case(), to in select(&SENDERS[..]), batch in any::<bool>(), kind in select(RestrictionKind::ALL)
    ) {
        let mut import = Restriction { kind, ..written(to, Scope::Everything) };
        if batch {
            import.import_batch_id = Some(ImportBatchId::parse("batch").unwrap());
        } else {
            import.withdrawal_method = Some(WithdrawalMethod::Import);
        }
        let time = case.afterwards();
        let asked = confirming(&case.and(on(time, Act::Restricted(import))), to, time.plus(Duration::from_secs(2)));
        prop_assert!(!allows(&asked));
    }

    #[test]
    fn a_restriction_by_somebody_else_is_not_overlooked_nor_one_that_is_later_than_the_opt_out(
        case in case(), to in select(&SENDERS[..]), other in restriction(), source in source(),
        seconds in -20..20_i64
    ) {
        let time = case.afterwards().plus(Duration::from_hours(1));
        let stop = on(time, Act::Restricted(written(to, Scope::Everything)));
        let Act::Restricted(other) = other else { unreachable!("made by `restriction`") };
        let other = Restriction { received_by: None, ..other };
        let beside = Timestamp::from_micros(time.as_micros() + seconds * MICROS);
        let theirs = Event { time_source: source, ..on(beside, Act::Restricted(other.clone())) };
        let at = time.plus(Duration::from_secs(60));
        let asked = confirming(&case.and(stop).and(theirs), to, at);
        if concerns(&other, &asked) && (seconds > 0 || !is_by_the_person(other.kind)) {
            prop_assert_ne!(asked.verdict().decision, Decision::Allow);
            prop_assert!(asked.verdict().reasons().contains(&other.kind.into()));
        }
    }

    #[test]
    fn nobody_is_asked_after_a_refusal_or_withdrawal_without_an_act_of_their_own_since(case in case()) {
        let case = Case { class: MessageClass::ConsentRequest, ..case };
        if allows(&case) {
            let facts = Facts::fold(&case.events);
            let tolerance = case.rules.clock_tolerance;
            for event in &case.events {
                if let Act::Restricted(restriction) = &event.act
                    && concerns(restriction, &case)
                {
                    let mark = crate::domain::facts::Mark::of(event);
                    let since = |g: &crate::domain::facts::Grant| {
                        g.is_genuine_act() && g.purpose == case.purpose && g.mark.is_later_than(&mark, tolerance)
                    };
                    prop_assert!(facts.grants.iter().any(since), "{:?}", case.verdict());
                }
            }
        }
    }

    #[test]
    fn a_request_that_was_never_confirmed_reopens_nothing_once_its_time_is_over(
        case in case(), stop in event_of(restriction()), later in 0..1_000_000_u64
    ) {
        let stopped = Case { inbound: None, class: MessageClass::ConsentRequest, ..case.and(stop) };
        if stopped.verdict().reasons().into_iter().any(is_restricted) {
            let time = stopped.afterwards();
            let request = on(time, Act::ConsentGiven(full_consent(&stopped)));
            let mut catalog = (*stopped.rules.catalog).clone();
            catalog.purposes.get_mut(&stopped.purpose).unwrap().confirmation_required = true;
            let rules = rules_with(catalog, (*stopped.rules.policy).clone());
            let request = Event { spelling: stopped.spelling, ..request };
            let waiting = Case { rules, ..stopped.and(request) };
            // All policies here wait for 100 seconds.
            let over = time.plus(Duration::from_secs(100 + later));
            let over = Case { at: over, ..waiting };
            prop_assert!(!allows(&over));
        }
    }

    #[test]
    fn nobody_is_asked_more_often_than_the_policy_says(
        max_total in 0..8_u32, cooldown in select(vec![0_u64, 100, 300, 1_000]),
        times in prop::collection::vec((instant(), select(vec!["offers", "news", "orders"]), any::<bool>()), 1..24)
    ) {
        let mut required = lenient();
        required.asking = Asking { max_total, cooldown: Duration::from_secs(cooldown), is_commercial: false };
        let mut catalog = catalog();
        catalog.purposes.insert(purpose("news"), crate::domain::rules::tests::purpose_of("news", MessageClass::Marketing));
        let rules = rules_with(catalog, policy(&[("ZZ", required)]));
        let mut case = Case { rules, class: MessageClass::ConsentRequest, ..question("offers") };
        let mut times = times;
        times.sort();
        let mut asked: Vec<Timestamp> = Vec::new();
        for (index, (at, name, by_the_second)) in (0..).zip(times) {
            // Two asks with the same words at the same instant are one ask, reported twice.
            let at = Timestamp::from_micros(at.as_micros() + index);
            case = Case { purpose: purpose(name), sender: by_the_second.then(|| sender("1002")), at, ..case };
            if allows(&case) {
                prop_assert!(asked.last().is_none_or(|last| at >= last.plus(Duration::from_secs(cooldown))));
                asked.push(at);
                case = case.and(on(at, Act::ConsentRequested(Asked {
                    purposes: vec![case.purpose.clone()],
                    sender_id: case.sender.clone(),
                    notice: None,
                })));
            }
        }
        prop_assert!(asked.len() <= usize::try_from(max_total).unwrap());
    }

    #[test]
    fn after_a_no_nobody_is_asked_by_the_policy_nor_in_a_window(
        case in case(), act in restriction(), seconds in 0..80_000_u64
    ) {
        let time = case.afterwards();
        let stopped = Case { class: MessageClass::ConsentRequest, ..case }.and(on(time, act));
        if concerns(restriction_of(stopped.events.last().unwrap()), &stopped) {
            let at = time.plus(Duration::from_secs(seconds));
            let asked = Case { inbound: Some(at), at, ..stopped };
            prop_assert!(!allows(&asked));
        }
    }
}
