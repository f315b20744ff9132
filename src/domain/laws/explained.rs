//! An explanation says what was decided, and why: never something else, and never nothing.
//!
//! What single rules say is in `decide/tests/explained.rs`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cases::{Case, case};
use super::config;
use super::verdicts::is_known;
use crate::domain::decide::explain::{Explanation, Outcome, Rule, Step, explain};
use crate::domain::facts::Facts;
use crate::domain::vocabulary::{Decision, Reason};

fn explained(case: &Case, facts: &Facts) -> Explanation {
    let verdict = case.verdict_on(facts);
    explain(
        facts,
        &case.activity(),
        &case.rules,
        &case.question(),
        case.at,
        &verdict,
    )
}

fn failed(explanation: &Explanation) -> Vec<&Step> {
    let steps = explanation.steps.iter();
    steps
        .filter(|step| step.outcome == Outcome::Failed)
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_failed_is_what_the_verdict_found_and_an_allow_has_nothing_that_failed(case in case()) {
        let facts = Facts::fold(&case.events);
        let (verdict, told) = (case.verdict_on(&facts), explained(&case, &facts));
        let failed = failed(&told);
        if verdict.decision == Decision::Allow {
            prop_assert!(failed.is_empty(), "{:?}", failed);
            let allowing: Vec<_> = told.steps.iter().filter(|step| step.reason.is_some()).collect();
            prop_assert_eq!(allowing.len(), 1);
            prop_assert_eq!(allowing[0].reason, verdict.reason());
            prop_assert_eq!(allowing[0].event.is_some(), verdict.rests_on.is_some());
            prop_assert!(verdict.rests_on.is_none() || allowing[0].event == verdict.rests_on);
        } else {
            prop_assert_eq!(failed[0].reason, verdict.reason());
            let reasons: BTreeSet<Reason> = failed.iter().filter_map(|step| step.reason).collect();
            prop_assert_eq!(reasons, verdict.reasons().into_iter().collect());
        }
        for finding in &verdict.findings {
            let first = told.steps.iter().find(|step| step.reason == Some(finding.reason));
            prop_assert!(finding.event.is_none() || first.unwrap().event == finding.event);
        }
    }

    #[test]
    fn every_rule_is_told_of_in_its_order_and_what_failed_says_what_would_have_to_change(case in case()) {
        let told = explained(&case, &Facts::fold(&case.events));
        let mut rules: Vec<Rule> = told.steps.iter().map(|step| step.rule).collect();
        prop_assert!(rules.is_sorted());
        rules.dedup();
        prop_assert_eq!(rules, Rule::ALL);
        for step in &told.steps {
            let sentences = |text: &str| text.ends_with('.') && !text.contains("..") && !text.contains("  ");
            prop_assert!(sentences(&step.detail), "{:?}", step);
            let is_failed = step.outcome == Outcome::Failed;
            prop_assert_eq!(sentences(&step.remedy), is_failed, "{:?}", step);
            prop_assert_eq!(step.remedy.is_empty(), !is_failed, "{:?}", step);
            prop_assert_ne!(&step.detail, "The rule is not met.");
            prop_assert!(step.sources.iter().all(|source| !source.contains('\n')));
        }
    }

    #[test]
    fn the_events_that_bear_on_a_question_are_in_the_history_and_hold_all_that_it_rests_on(case in case()) {
        let facts = Facts::fold(&case.events);
        let (verdict, told) = (case.verdict_on(&facts), explained(&case, &facts));
        prop_assert!(told.events.iter().all(|id| is_known(&case, *id)));
        let rests_on = verdict.findings.iter().filter_map(|finding| finding.event);
        prop_assert!(rests_on.chain(verdict.rests_on).all(|id| told.events.contains(&id)));
        prop_assert!(told.steps.iter().filter_map(|step| step.event).all(|id| told.events.contains(&id)));
    }

    #[test]
    fn facts_as_of_the_last_instant_are_the_facts(case in case()) {
        prop_assert_eq!(
            Facts::fold_as_of(&case.events, case.afterwards()),
            Facts::fold(&case.events)
        );
    }

    #[test]
    fn nothing_that_came_later_allows_what_was_not_allowed_then(case in case()) {
        let events = case.events.iter().filter(|event| event.effective_at() <= case.at);
        let known_then = Facts::fold(events);
        let looking_back = Facts::fold_as_of(&case.events, case.at);
        let allowed_now = case.verdict_on(&looking_back).decision == Decision::Allow;
        let allowed_then = case.verdict_on(&known_then).decision == Decision::Allow;
        prop_assert!(!allowed_now || allowed_then);
    }
}
