//! The policy that is part of the binary, as far as no table can say it: what its entries have in
//! common. What each of them holds is pinned in `tests/it/policy.rs`.

use super::*;
use crate::domain::policy::{Policy, Requirements};
use crate::domain::vocabulary::EvidenceField;

fn on(policy: &Policy, name: &str) -> Requirements {
    let code = code(name);
    let (answering, entry) = policy.entry(Some(&code), at("2026-11-22")).unwrap();
    assert_eq!(*answering, code, "an entry of its own");
    (*entry.requirements).clone()
}

#[test]
fn it_has_the_default_and_seventeen_jurisdictions() {
    let policy = embedded();
    let codes: Vec<_> = policy
        .jurisdictions()
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        codes.join(" "),
        "AE AU BR CA DE EU FR GB ID IN IT SG US US-CA US-FL US-TX ZA ZZ"
    );
}

#[test]
fn the_union_and_the_economic_area_have_thirty_members() {
    let policy = embedded();
    let members = &policy.jurisdictions()[&code("EU")][0].members;
    assert_eq!(members.len(), 30);
    for outside in ["GB", "CH", "EU", "TR", "UA"] {
        assert!(!members.contains(&code(outside)), "{outside}");
    }
}

#[test]
fn every_entry_asks_for_when_how_and_what_was_shown() {
    for (code, entries) in embedded().jurisdictions() {
        for entry in entries {
            for field in [
                EvidenceField::EventTime,
                EvidenceField::IndicationMethod,
                EvidenceField::Notice,
            ] {
                assert!(entry.requirements.evidence.has(field), "{code}: {field}");
            }
            assert!(entry.requirements.sending_hours.is_some(), "{code}");
            assert!(entry.requirements.asking.max_total > 0, "{code}");
        }
    }
}

#[test]
fn a_state_differs_from_the_federal_entry_only_where_its_comments_say_so() {
    let policy = embedded();
    let us = on(&policy, "US");
    for (state, hours_too, caps_too) in [
        ("US-CA", false, false),
        ("US-FL", true, true),
        ("US-TX", true, false),
    ] {
        let own = on(&policy, state);
        assert_eq!(own.sending_hours != us.sending_hours, hours_too, "{state}");
        assert_eq!(own.frequency_caps != us.frequency_caps, caps_too, "{state}");
        let without = |requirements: &Requirements| Requirements {
            sending_hours: None,
            frequency_caps: Vec::new(),
            ..requirements.clone()
        };
        assert_eq!(without(&own), without(&us), "{state}");
        assert_eq!(
            own.strictest(&us).sending_hours,
            own.sending_hours,
            "{state}: the federal hours hold there as well"
        );
    }
}

#[test]
fn nothing_in_it_is_due_for_review_on_the_day_it_was_last_reviewed() {
    let policy = embedded();
    let last = policy
        .jurisdictions()
        .values()
        .flatten()
        .map(|entry| entry.source.reviewed_on)
        .max()
        .unwrap();
    assert_eq!(review::warnings(&policy, last), []);
}
