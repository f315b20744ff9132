//! What the loader accepts, and every mistake with its line.

mod embedded;
mod groups;
mod hours;
mod limits;
mod platform;

use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::domain::policy::{Asking, Basis, Confidence};
use crate::domain::vocabulary::ImpliedBasis;

fn at(day: &str) -> Timestamp {
    midnight(day.parse().unwrap())
}

fn code(text: &str) -> JurisdictionCode {
    JurisdictionCode::parse(text).unwrap()
}

/// A table of 11 lines whose keys can be replaced; an empty replacement removes the line.
pub(super) fn table(changes: &[(&str, &str)]) -> String {
    let keys = [
        ("code", "\"ZZ\""),
        ("effective_from", "2020-01-01"),
        ("consent_type", "\"EXPRESSED\""),
        ("confirmation", "\"required\""),
        ("evidence_required", "[\"notice\"]"),
        ("confirmation_within", "\"P7D\""),
        ("source", "\"a test\""),
        ("basis", "\"house\""),
        ("confidence", "\"low\""),
        ("reviewed_on", "2026-01-01"),
    ];
    let mut text = String::from("[[jurisdiction]]\n");
    for (key, value) in keys {
        let value = changes
            .iter()
            .find(|(name, _)| *name == key)
            .map_or(value, |(_, value)| value);
        if !value.is_empty() {
            writeln!(text, "{key} = {value}").unwrap();
        }
    }
    for (key, value) in changes
        .iter()
        .filter(|(key, _)| keys.iter().all(|(name, _)| name != key))
    {
        writeln!(text, "{key} = {value}").unwrap();
    }
    text
}

fn mistakes(text: &str) -> Vec<String> {
    match load(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.as_slice().iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_version_of_a_policy_is_the_hash_of_its_bytes() {
    let text = table(&[]);
    let (one, other) = (
        load(&text).unwrap(),
        load(&format!("{text}# a comment\n")).unwrap(),
    );
    assert_eq!(one.jurisdictions(), other.jurisdictions());
    assert_ne!(one.sha256, other.sha256);
    assert_eq!(one.sha256.len(), 64);
    assert!(
        one.sha256
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    );
}

#[test]
fn every_column_is_read() {
    let text = table(&[
        ("consent_type", "\"IMPLIED\""),
        ("validity", "\"P24M\""),
        (
            "implied_validity",
            "{ PURCHASE = \"P24M\", INQUIRY = \"P6M\" }",
        ),
        ("withdrawal_deadline", "\"P10D\""),
        ("proof_retention", "\"P3Y\""),
    ]);
    let policy = load(&text).unwrap();
    let entry = &policy.jurisdictions()[&code("ZZ")][0];
    let days = |days: u64| Duration::from_hours(24 * days);
    assert_eq!(entry.effective_from, at("2020-01-01"));
    assert_eq!(entry.effective_to, None);
    assert_eq!(entry.requirements.validity, Some(days(730)));
    assert_eq!(
        entry.requirements.implied_validity,
        BTreeMap::from([
            (ImpliedBasis::Purchase, days(730)),
            (ImpliedBasis::Inquiry, days(181))
        ])
    );
    assert_eq!(entry.requirements.confirmation_within, days(7));
    assert_eq!(entry.withdrawal_deadline, Some(days(10)));
    assert_eq!(
        entry.proof_retention,
        Some(days(1096)),
        "the longest three years"
    );
    assert_eq!(entry.source.reviewed_on, jiff::civil::date(2026, 1, 1));
    assert_eq!(
        (entry.source.basis, entry.source.confidence),
        (Basis::House, Confidence::Low)
    );
}

#[test]
fn columns_that_are_left_out_ask_for_nothing_but_permit_no_ask() {
    let policy = load(&table(&[])).unwrap();
    let entry = &policy.jurisdictions()[&code("ZZ")][0];
    assert!(entry.members.is_empty());
    assert_eq!(entry.requirements.sending_hours, None);
    assert!(entry.requirements.frequency_caps.is_empty());
    assert!(entry.requirements.registries.is_empty());
    let never = Asking {
        max_total: 0,
        cooldown: Duration::ZERO,
        is_commercial: false,
    };
    assert_eq!(entry.requirements.asking, never);
    assert!(policy.platform.is_empty());
}

#[test]
fn a_period_that_is_none_is_refused() {
    for (period, why) in [
        ("P0D", "must be longer than nothing"),
        ("-P1D", "must be longer than nothing"),
        (
            "12 months",
            "expected an ISO 8601 period, as in `P24M`, `P30D` or `PT72H`",
        ),
        (
            "24",
            "expected an ISO 8601 period, as in `P24M`, `P30D` or `PT72H`",
        ),
        (
            "",
            "expected an ISO 8601 period, as in `P24M`, `P30D` or `PT72H`",
        ),
        ("P9999Y", "is longer than the calendar"),
    ] {
        let text = table(&[("validity", &format!("\"{period}\""))]);
        assert_eq!(
            mistakes(&text),
            [format!("line 12: jurisdiction[0].validity: {why}")],
            "{period}"
        );
    }
}

#[test]
fn unknown_keys_and_columns_that_nothing_honours_are_refused_with_their_line() {
    let text = format!(
        "version = 1\n{}",
        table(&[("refresh", "\"P24M\""), ("validty", "\"P1D\"")])
    );
    assert_eq!(
        mistakes(&text),
        [
            "line 1: unknown key `version`",
            "line 13: jurisdiction[0].refresh: no rule honours this column yet, so it must not be written as if it held",
            "line 14: jurisdiction[0]: unknown key `validty`",
        ]
    );
    for column in NOT_HONOURED {
        assert_eq!(mistakes(&table(&[(column, "1")])).len(), 1, "{column}");
    }
}

#[test]
fn unknown_words_are_refused_with_their_line_and_the_words_there_are() {
    let text = table(&[
        ("code", "\"de\""),
        ("consent_type", "\"expressed\""),
        ("confirmation", "\"yes\""),
        ("evidence_required", "[\"notice\", \"selfie\"]"),
        ("basis", "\"habit\""),
        ("confidence", "\"H\""),
        ("implied_validity", "{ FRIENDSHIP = \"P1D\" }"),
    ]);
    let found = mistakes(&text);
    let starts = [
        "line 2: jurisdiction[0].code: may hold only an ISO 3166-1",
        "line 4: jurisdiction[0].consent_type: unknown word `expressed`, expected one of IMPLIED, EXPRESSED, EXPLICITLY_EXPRESSED",
        "line 5: jurisdiction[0].confirmation: unknown word `yes`, expected one of required, optional",
        "line 6: jurisdiction[0].evidence_required[1]: unknown word `selfie`, expected one of source_url",
        "line 9: jurisdiction[0].basis: unknown word `habit`, expected one of law, house",
        "line 10: jurisdiction[0].confidence: unknown word `H`, expected one of high, medium, low",
        "line 12: jurisdiction[0].implied_validity.FRIENDSHIP: unknown word `FRIENDSHIP`",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn a_missing_column_is_reported_at_its_table() {
    for key in [
        "code",
        "effective_from",
        "consent_type",
        "confirmation",
        "evidence_required",
        "confirmation_within",
        "source",
        "basis",
        "confidence",
        "reviewed_on",
    ] {
        let text = format!("\n{}", table(&[(key, "")]));
        assert_eq!(
            mistakes(&text),
            [format!("line 2: jurisdiction[0]: `{key}` is missing")]
        );
    }
}

#[test]
fn dates_that_overlap_within_one_code_are_refused_at_the_later_one() {
    let text = [
        table(&[]),
        table(&[("code", "\"DE\""), ("effective_from", "2025-01-01")]),
        table(&[("code", "\"DE\""), ("effective_to", "2025-01-02")]),
    ]
    .concat();
    assert_eq!(
        mistakes(&text),
        ["line 12: jurisdiction[1]: `DE` has an entry for these dates already, on line 23"]
    );
    let touching = text.replace("effective_to = 2025-01-02", "effective_to = 2025-01-01");
    assert_eq!(
        load(&touching).unwrap().jurisdictions()[&code("DE")].len(),
        2
    );
    let duplicate = [table(&[]), table(&[])].concat();
    assert_eq!(
        mistakes(&duplicate),
        ["line 12: jurisdiction[1]: `ZZ` has an entry for these dates already, on line 1"]
    );
}

#[test]
fn an_entry_must_end_after_it_begins() {
    for end in ["2020-01-01", "2019-12-31"] {
        let text = [
            table(&[]),
            table(&[("code", "\"DE\""), ("effective_to", end)]),
        ]
        .concat();
        assert_eq!(
            mistakes(&text),
            [
                "line 23: jurisdiction[1].effective_to: must be later than `effective_from`: it is the first day without"
            ]
        );
    }
}

#[test]
fn a_policy_without_a_default_is_refused() {
    let why = "line 1: no entry for `ZZ`, the default that holds where no other does";
    assert_eq!(mistakes(""), [why]);
    assert_eq!(mistakes(&table(&[("code", "\"DE\"")])), [why]);
}

#[test]
fn a_default_must_hold_without_a_gap_and_without_an_end() {
    assert_eq!(
        mistakes(&table(&[("effective_to", "2030-01-01")])),
        ["line 1: jurisdiction[0]: the last entry of `ZZ` must have no end"]
    );
    let gap = [
        table(&[("effective_to", "2024-01-01")]),
        table(&[("effective_from", "2024-01-02")]),
    ];
    assert_eq!(
        mistakes(&gap.concat()),
        ["line 13: jurisdiction[1]: leaves a gap after the entry of `ZZ` that ends before it"]
    );
}

#[test]
fn a_mistake_elsewhere_in_the_default_does_not_hide_that_it_is_there() {
    assert_eq!(mistakes(&table(&[("confirmation", "\"maybe\"")])).len(), 1);
}

#[test]
fn what_can_never_take_effect_is_refused() {
    assert_eq!(
        mistakes(&table(&[("implied_validity", "{ PURCHASE = \"P24M\" }")])),
        [
            "line 12: jurisdiction[0].implied_validity: implies nothing where `consent_type` asks for EXPRESSED"
        ]
    );
    assert_eq!(
        mistakes(&table(&[("evidence_required", "[\"notice\", \"notice\"]")])),
        ["line 6: jurisdiction[0].evidence_required: names `notice` twice"]
    );
    assert_eq!(
        mistakes(&table(&[("source", "\" \"")])),
        ["line 8: jurisdiction[0].source: must not be empty"]
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_line() {
    let found = mistakes("[[jurisdiction]]\ncode = DE\n");
    assert!(
        found[0].starts_with("line 2: not valid TOML: "),
        "{found:?}"
    );
}
