//! What WhatsApp itself does not deliver.

use super::*;
use crate::domain::vocabulary::MessageClass;

/// A rule of 7 lines after the default's 11, whose keys can be replaced or removed.
fn rule(changes: &[(&str, &str)]) -> String {
    let mut text = String::from("[[platform]]\n");
    for (key, value) in [
        ("country", "\"US\""),
        ("classes", "[\"MARKETING\"]"),
        ("effective_from", "2025-04-01"),
        ("source", "\"a test\""),
        ("confidence", "\"high\""),
        ("reviewed_on", "2026-01-01"),
    ] {
        let changed = changes.iter().find(|(name, _)| *name == key);
        let value = changed.map_or(value, |(_, value)| value);
        if !value.is_empty() {
            writeln!(text, "{key} = {value}").unwrap();
        }
    }
    if let Some((_, end)) = changes.iter().find(|(name, _)| *name == "effective_to") {
        writeln!(text, "effective_to = {end}").unwrap();
    }
    text
}

fn with_rules(rules: &[String]) -> String {
    format!("{}{}", table(&[]), rules.concat())
}

#[test]
fn a_rule_of_the_platform_is_read() {
    let policy = load(&with_rules(&[rule(&[("effective_to", "2027-01-01")])])).unwrap();
    let [rule] = &policy.platform[..] else {
        panic!("one rule: {:?}", policy.platform)
    };
    assert_eq!(rule.country, code("US"));
    assert_eq!(rule.classes, [MessageClass::Marketing]);
    assert_eq!(rule.effective_from, at("2025-04-01"));
    assert_eq!(rule.effective_to, Some(at("2027-01-01")));
    assert_eq!(rule.source.basis, Basis::Platform);
    assert_eq!(rule.source.citation, "a test");
}

#[test]
fn mistakes_in_a_rule_of_the_platform_are_told_with_their_line() {
    for (changes, why) in [
        (
            ("country", "\"us\""),
            "13: platform[0].country: may hold only an ISO 3166-1",
        ),
        (
            ("country", "\"US-TX\""),
            "13: platform[0].country: must be a country, not a part of one",
        ),
        (("classes", "[]"), "14: platform[0].classes: names no class"),
        (
            ("classes", "[\"PROMO\"]"),
            "14: platform[0].classes[0]: unknown word `PROMO`, expected one of MARKETING",
        ),
        (
            ("classes", "[\"MARKETING\", \"MARKETING\"]"),
            "14: platform[0].classes: names `MARKETING` twice",
        ),
        (
            ("effective_from", ""),
            "12: platform[0]: `effective_from` is missing",
        ),
        (
            ("effective_to", "2025-04-01"),
            "19: platform[0].effective_to: must be later than `effective_from`",
        ),
        (
            ("source", "\"\""),
            "16: platform[0].source: must not be empty",
        ),
    ] {
        let found = mistakes(&with_rules(&[rule(&[changes])]));
        assert_eq!(found.len(), 1, "{changes:?}: {found:?}");
        assert!(found[0].starts_with(&format!("line {why}")), "{found:?}");
    }
    let law = format!("{}basis = \"law\"\n", rule(&[]));
    assert_eq!(
        mistakes(&with_rules(&[law])),
        ["line 19: platform[0]: unknown key `basis`"]
    );
}

#[test]
fn two_rules_for_one_class_and_time_are_refused_at_the_later_one() {
    let later = rule(&[
        ("effective_from", "2026-01-01"),
        ("classes", "[\"UTILITY\", \"MARKETING\"]"),
    ]);
    assert_eq!(
        mistakes(&with_rules(&[later.clone(), rule(&[])])),
        [
            "line 12: platform[0]: one of these classes has a rule for these dates already, on line 19"
        ]
    );
    for apart in [
        rule(&[("effective_to", "2026-01-01")]),
        rule(&[("classes", "[\"AUTHENTICATION\"]")]),
        rule(&[("country", "\"CA\"")]),
    ] {
        let policy = load(&with_rules(&[later.clone(), apart])).unwrap();
        assert!(policy.platform.is_sorted_by_key(|rule| rule.effective_from));
        assert_eq!(policy.platform.len(), 2);
    }
}
