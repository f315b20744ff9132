//! Laws 5 to 7: which purposes, senders and spellings an act reaches, and what a lifting lifts.
//!
//! Which of two acts outweighs the other is in [`super::acts`].

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::cases::{Case, case};
use super::histories::{event_of, genuine_terms, lift, scope, sender};
use super::*;
use crate::domain::rules::tests::{purpose_of, rules_with};

// Law 5: a wider scope covers purposes that were granted at the same time or never named.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_wider_scope_covers_purposes_never_named(
        case in case(), everything in any::<bool>(), class in select(MessageClass::ALL), granted in any::<bool>()
    ) {
        let mut catalog = (*case.rules.catalog).clone();
        catalog.purposes.insert(purpose("unheard"), purpose_of("unheard", class));
        let rules = rules_with(catalog, (*case.rules.policy).clone());
        let mut fresh = Case { purpose: purpose("unheard"), class, rules, inbound: None, ..case };
        let time = fresh.afterwards();
        if granted {
            fresh = consents_anew(&fresh, time, TimeSource::Caller);
        }
        let stop = withdrawn(if everything { Scope::Everything } else { Scope::AllMarketing });
        let covered = concerns(&stop, &fresh);
        let after = fresh.and(on(time, Act::Restricted(stop)));
        let withdrawn = after.verdict().reasons().contains(&Reason::Withdrawn);
        if covered {
            prop_assert_eq!(after.verdict().decision, Decision::Deny);
            prop_assert!(withdrawn);
        } else if class != MessageClass::OptOutConfirmation {
            prop_assert_eq!(after.verdict(), fresh.verdict());
        }
    }

    #[test]
    fn after_an_opt_out_of_everything_only_a_window_opened_later_lets_service_through(
        mut case in case(), before in -200..200_i64
    ) {
        case.events.retain(|event| {
            !matches!(event.act, Act::Restricted(_) | Act::Linked(_) | Act::IdentityChanged(_))
        });
        let everything = withdrawn(Scope::Everything);
        let time = Timestamp::from_micros(case.afterwards().as_micros() + 1);
        let mut after = Case { purpose: purpose("support"), class: MessageClass::Service, ..case.clone() }
            .and(on(time, Act::Restricted(everything)));
        after.inbound = Some(Timestamp::from_micros(time.as_micros() + before));
        after.at = time.plus(Duration::from_mins(1));
        let verdict = after.verdict();
        prop_assert_eq!(verdict.reasons().contains(&Reason::Withdrawn), before <= 0);
        prop_assert!(before > 0 || verdict.decision == Decision::Deny);
    }
}

// Law 6: an opt-out holds for every spelling, a grant for its own and its twin.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn twins_are_one_address(case in case()) {
        let twin = match case.spelling {
            Spelling::Mexico52 => Spelling::Mexico521,
            Spelling::Mexico521 => Spelling::Mexico52,
            Spelling::Brazil8 => Spelling::Brazil9,
            Spelling::Brazil9 => Spelling::Brazil8,
            only => only,
        };
        prop_assert_eq!(Case { spelling: twin, ..case.clone() }.verdict(), case.verdict());
    }

    #[test]
    fn a_restriction_holds_for_every_spelling(
        case in case(), stop in restricting(), spellings in prop::array::uniform2(select(&Spelling::ALL[..]))
    ) {
        let with = |spelling| case.and(Event { spelling, ..stop.clone() });
        let [one, other] = spellings.map(|spelling| with(spelling).verdict());
        let same = (one.decision, one.reasons()) == (other.decision, other.reasons());
        prop_assert!(same);
    }

    #[test]
    fn a_grant_says_nothing_of_a_spelling_that_is_no_twin(
        case in case(), mut grant in event_of(given(genuine_terms())), spelling in select(&Spelling::ALL[..])
    ) {
        grant.spelling = spelling;
        if !spelling.grants(case.spelling) {
            prop_assert_eq!(case.and(grant).verdict(), case.verdict());
        }
    }
}

// Law 7: `resume` lifts what WhatsApp's own `stop` set, never a typed STOP, and is no grant.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn lifting_a_platform_stop_lifts_that_alone_and_is_no_grant(
        case in case(), resume in event_of(lift(Just(SuppressionBasis::PlatformStop)))
    ) {
        let (before, after) = (case.verdict(), case.and(resume).verdict());
        if !before.reasons().contains(&Reason::PlatformStopped) {
            prop_assert_eq!(after, before);
        } else {
            let others: Vec<Reason> =
                before.reasons().into_iter().filter(|r| *r != Reason::PlatformStopped).collect();
            for reason in others {
                prop_assert!(after.reasons().contains(&reason), "{:?} is gone", reason);
            }
        }
    }

    #[test]
    fn a_platform_stop_and_its_resume_leave_no_trace(case in case(), scope in scope(), sender in sender()) {
        let time = case.afterwards();
        let stop = suppressed(SuppressionBasis::PlatformStop, scope.clone(), sender.clone());
        let stop = Act::Suppressed(stop);
        let resume = Act::SuppressionLifted(Lift {
            basis: SuppressionBasis::PlatformStop,
            scope,
            sender_id: sender,
            lifts: None,
            indication_method: None,
        });
        let after = case.and(on(time, stop)).and(on(time.plus(Duration::from_secs(1)), resume));
        if !case.verdict().reasons().contains(&Reason::PlatformStopped) {
            prop_assert_eq!(after.verdict(), case.verdict());
        }
    }
}
