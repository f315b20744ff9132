//! Laws 8 to 10: what is unknown never allows, and nothing but the acts themselves decides.
//!
//! Rows are encoded and read back here, but no database is asked.

use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use super::cases::{Case, case, no_policy};
use super::histories::{asked, event_of, genuine_terms};
use super::timing::due;
use super::*;
use crate::domain::decide::wanted;
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, SubjectId};

// Law 8: an unknown value, an unreadable row or a missing rule never allows.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn without_a_rule_nothing_is_allowed(case in case()) {
        prop_assert!(!allows(&case.under(no_policy())));
    }

    #[test]
    fn without_a_rule_no_consent_is_enough(case in case()) {
        let verdict = case.under(no_policy()).verdict();
        prop_assert!(!verdict.reasons().contains(&Reason::ConsentGiven));
    }

    #[test]
    fn a_damaged_row_is_an_error_or_other_facts_and_never_these(
        case in case(), place in any::<Index>(), bit in 0..8_u8
    ) {
        let facts = Facts::fold(&case.events);
        let mut bytes = facts.encode();
        bytes[place.index(facts.encode().len())] ^= 1 << bit;
        prop_assert_ne!(Facts::decode(&bytes), Ok(facts.clone()));
        let cut = place.index(facts.encode().len());
        prop_assert!(Facts::decode(&facts.encode()[..cut]).is_err());
    }
}

// Law 9: a decision depends on nothing but facts, activity, rules, question and instant.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_same_facts_give_the_same_decision_stored_or_not(case in case()) {
        let facts = Facts::fold(&case.events);
        let stored = Facts::decode(&facts.encode()).unwrap();
        prop_assert_eq!(case.verdict_on(&facts), case.verdict_on(&stored));
        prop_assert_eq!(case.verdict_on(&facts), case.verdict());
    }

    #[test]
    fn what_concerns_another_purpose_or_another_sender_changes_nothing(
        case in case(), mut more in event_of(given(genuine_terms())), asked in event_of(asked())
    ) {
        if let Act::ConsentGiven(terms) = &mut more.act {
            terms.purposes.retain(|key| *key != case.purpose);
        }
        prop_assert_eq!(case.and(more).verdict(), case.verdict());
        if case.class != MessageClass::ConsentRequest {
            prop_assert_eq!(case.and(asked).verdict(), case.verdict());
        }
    }

    #[test]
    fn activity_that_no_one_asked_for_changes_nothing(case in prop_oneof![case(), due()]) {
        let facts = Facts::fold(&case.events);
        let question = case.question();
        let wanted = wanted(&facts, &case.rules, &question, case.at);
        // Without a sender there is no window of a sender.
        let inbound = case.inbound.filter(|_| case.sender.is_some());
        let all = Case { inbound, ..case.clone() };
        let mut less = all.clone();
        less.inbound = inbound.filter(|_| wanted.window_of.is_some());
        less.sends.retain(|sent| wanted.sends_since.is_some_and(|since| sent.at >= since));
        prop_assert_eq!(less.verdict(), all.verdict());
    }

    #[test]
    fn whose_history_it_is_does_not_matter(case in case()) {
        let mut other = case.clone();
        for event in &mut other.events {
            event.subject_id = SubjectId(Uuid::from_u128(77));
            event.business_id = BusinessId::parse("other").unwrap();
            event.payload_commitment = Some("00".into());
        }
        prop_assert_eq!(other.verdict(), case.verdict());
    }

    #[test]
    fn an_answer_holds_until_it_says(case in case(), ahead in prop::array::uniform4(0..200_000_000_000_i64)) {
        let verdict = case.verdict();
        for ahead in ahead {
            let at = Timestamp::from_micros(case.at.as_micros() + ahead);
            if verdict.holds_until.is_none_or(|end| at < end) {
                let then = Case { at, ..case.clone() }.verdict();
                prop_assert_eq!(then.decision, verdict.decision);
            }
        }
    }
}

// Law 10: facts never depend on how often, or in what order, the same events were delivered.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn facts_do_not_depend_on_order_or_repetition(
        (case, shuffled) in case().prop_flat_map(|case| {
            let events = Just(case.events.clone()).prop_shuffle();
            (Just(case), events)
        }),
        again in prop::collection::vec(any::<Index>(), 0..8)
    ) {
        let again: Vec<&Event> = if shuffled.is_empty() {
            Vec::new()
        } else {
            again.iter().map(|which| which.get(&shuffled)).collect()
        };
        let facts = Facts::fold(again.into_iter().chain(&shuffled).chain(shuffled.first()));
        prop_assert_eq!(&facts, &Facts::fold(&case.events));
        prop_assert_eq!(facts.encode(), Facts::fold(&case.events).encode());
    }

    #[test]
    fn facts_and_events_read_back_as_they_were_written(case in case()) {
        let facts = Facts::fold(&case.events);
        prop_assert_eq!(&Facts::decode(&facts.encode()).unwrap(), &facts);
        let stored: Vec<Event> = case.events.iter().map(|e| Event::read(&e.canonical()).unwrap()).collect();
        prop_assert_eq!(&stored, &case.events);
    }

    #[test]
    fn one_act_delivered_again_under_another_id_decides_nothing_else(case in case(), which in any::<Index>()) {
        if !case.events.is_empty() {
            let again = case.and(which.get(&case.events).clone());
            prop_assert_eq!(again.verdict(), case.verdict());
        }
    }
}
