//! Frequency caps, registries, limits on asking.

use super::*;
use crate::domain::id::RegistryName;
use crate::domain::policy::{FrequencyCap, RegistryKind, RegistryRule, Requirements};

fn requirements(columns: &[(&str, &str)]) -> Requirements {
    let policy = load(&table(columns)).unwrap_or_else(|error| panic!("{error}"));
    (*policy.jurisdictions()[&code("ZZ")][0].requirements).clone()
}

/// What is wrong with a column, without its line and path.
fn wrong(column: &str, value: &str) -> Vec<String> {
    let found = mistakes(&table(&[(column, value)]));
    let start = format!("line 12: jurisdiction[0].{column}");
    found
        .iter()
        .map(|one| one.strip_prefix(&start).unwrap_or(one).to_owned())
        .collect()
}

#[test]
fn caps_count_messages_in_the_longest_reading_of_a_period() {
    let read = requirements(&[(
        "frequency_caps",
        r#"[{ messages = 9, per = "P1M" }, { messages = 3, per = "PT24H" }]"#,
    )]);
    let cap = |messages, days: u64| FrequencyCap {
        messages,
        per_seconds: days * 86_400,
    };
    assert_eq!(read.frequency_caps, [cap(3, 1), cap(9, 31)]);
}

#[test]
fn caps_that_are_none_are_refused() {
    for (caps, why) in [
        (
            r#"[{ messages = 0, per = "P1D" }]"#,
            "[0].messages: must be at least 1",
        ),
        (
            r#"[{ messages = -3, per = "P1D" }]"#,
            "[0].messages: must be at least 1",
        ),
        (
            r#"[{ messages = 3, per = "PT0.5S" }]"#,
            "[0].per: must be whole seconds",
        ),
        (
            r#"[{ messages = 3, per = "P0D" }]"#,
            "[0].per: must be longer than nothing",
        ),
        ("[{ messages = 3 }]", "[0]: `per` is missing"),
        (
            r#"[{ messages = 3, per = "P1D", scope = "all" }]"#,
            "[0]: unknown key `scope`",
        ),
        (
            r#"{ messages = 3, per = "P1D" }"#,
            ": expected tables that begin with `[[frequency_caps]]`",
        ),
    ] {
        assert_eq!(wrong("frequency_caps", caps), [why], "{caps}");
    }
}

#[test]
fn a_cap_that_never_counts_beside_another_is_refused() {
    for (first, second) in [
        (
            r#"{ messages = 3, per = "P1D" }"#,
            r#"{ messages = 3, per = "P1D" }"#,
        ),
        (
            r#"{ messages = 3, per = "P1D" }"#,
            r#"{ messages = 5, per = "PT24H" }"#,
        ),
        (
            r#"{ messages = 3, per = "P1D" }"#,
            r#"{ messages = 3, per = "P7D" }"#,
        ),
        (
            r#"{ messages = 2, per = "P7D" }"#,
            r#"{ messages = 3, per = "P1D" }"#,
        ),
    ] {
        let found = wrong("frequency_caps", &format!("[{first}, {second}]"));
        assert_eq!(found.len(), 1, "{first} {second}: {found:?}");
        assert!(
            found[0].starts_with("[1]: one of two counts for nothing: "),
            "{found:?}"
        );
    }
}

#[test]
fn registries_are_read_by_name() {
    let read = requirements(&[(
        "registries",
        r#"[
          { name = "us-rnd", kind = "reassigned-numbers", max_age = "P1M" },
          { name = "sg-dnc", kind = "do-not-contact", max_age = "P21D", unless_consent = "EXPLICITLY_EXPRESSED" },
        ]"#,
    )]);
    let rule = |name, kind, days: u64, unless_consent| RegistryRule {
        registry: RegistryName::parse(name).unwrap(),
        kind,
        max_age: Duration::from_hours(24 * days),
        unless_consent,
    };
    assert_eq!(
        read.registries,
        [
            rule(
                "sg-dnc",
                RegistryKind::DoNotContact,
                21,
                Some(ConsentType::ExplicitlyExpressed)
            ),
            rule("us-rnd", RegistryKind::ReassignedNumbers, 28, None),
        ],
        "an answer may be as old as the shortest month"
    );
}

#[test]
fn registries_that_are_none_are_refused() {
    let full = |changed: &str| {
        format!(
            r#"[{{ name = "dnc", kind = "do-not-contact", max_age = "P21D" }}, {{ {changed} }}]"#
        )
    };
    for (changed, why) in [
        (
            r#"name = "dnc", kind = "do-not-contact", max_age = "P9D""#,
            "[1].name: names `dnc` twice",
        ),
        (
            r#"name = "RND", kind = "reassigned-numbers", max_age = "P9D""#,
            "[1].name: may hold only lower-case letters, digits, `-`, `_` and `.`, and starts with a letter or digit",
        ),
        (
            r#"name = "rnd", kind = "calls", max_age = "P9D""#,
            "[1].kind: unknown word `calls`, expected one of do-not-contact, reassigned-numbers",
        ),
        (
            r#"name = "rnd", kind = "reassigned-numbers""#,
            "[1]: `max_age` is missing",
        ),
        (
            r#"name = "rnd", kind = "reassigned-numbers", max_age = "21 days""#,
            "[1].max_age: expected an ISO 8601 period, as in `P24M`, `P30D` or `PT72H`",
        ),
    ] {
        assert_eq!(wrong("registries", &full(changed)), [why], "{changed}");
    }
    for word in ["EXPRESSED", "IMPLIED"] {
        let text = format!(
            r#"name = "rnd", kind = "reassigned-numbers", max_age = "P9D", unless_consent = "{word}""#
        );
        assert_eq!(
            wrong("registries", &full(&text)),
            [
                "[1].unless_consent: makes the look-up needless for every consent that counts, since `consent_type` asks for EXPRESSED"
            ]
        );
    }
}

#[test]
fn one_name_of_a_registry_means_one_thing_in_the_whole_file() {
    let with = |kind: &str, code: &str| {
        let registries = format!(r#"[{{ name = "dnc", kind = "{kind}", max_age = "P21D" }}]"#);
        table(&[("code", code), ("registries", &registries)])
    };
    // The later line is at fault, whatever the order of the codes.
    let text = [
        with("do-not-contact", "\"ZZ\""),
        with("reassigned-numbers", "\"DE\""),
    ];
    assert_eq!(
        mistakes(&text.concat()),
        ["line 24: jurisdiction[1].registries[0].name: `dnc` is of another kind on line 12"]
    );
    let same = [
        with("do-not-contact", "\"ZZ\""),
        with("do-not-contact", "\"DE\""),
    ];
    assert_eq!(mistakes(&same.concat()), Vec::<String>::new());
}

#[test]
fn asking_is_read_and_a_cooldown_lasts_the_longest_reading_of_its_period() {
    let asking = |text: &str| requirements(&[("asking", text)]).asking;
    let days = |days: u64| Duration::from_hours(24 * days);
    let read = |max_total, cooldown, is_commercial| Asking {
        max_total,
        cooldown,
        is_commercial,
    };
    assert_eq!(
        asking(r#"{ max_total = 8, cooldown = "P12M", is_commercial = true }"#),
        read(8, days(366), true)
    );
    assert_eq!(asking("{ max_total = 1 }"), read(1, Duration::ZERO, false));
    assert_eq!(asking("{ max_total = 0 }"), read(0, Duration::ZERO, false));
}

#[test]
fn asking_that_could_not_hold_is_refused() {
    for (asking, why) in [
        (
            r#"{ max_total = 9, cooldown = "P1D" }"#,
            ".max_total: must be at most 8: earlier asks are not remembered",
        ),
        (
            r#"{ max_total = -1, cooldown = "P1D" }"#,
            ".max_total: must be at least 0",
        ),
        (r#"{ cooldown = "P1D" }"#, ": `max_total` is missing"),
        (
            "{ max_total = 2 }",
            ": `cooldown` is missing: how long after one ask the next",
        ),
        (
            r#"{ max_total = 1, cooldown = "P1D" }"#,
            ".cooldown: never holds where `max_total` is 1",
        ),
        (
            "{ max_total = 0, is_commercial = true }",
            ".is_commercial: never holds where `max_total` is 0",
        ),
        (
            "{ max_total = 1, channel = \"sms\" }",
            ": unknown key `channel`",
        ),
    ] {
        assert_eq!(wrong("asking", asking), [why], "{asking}");
    }
}
