//! Entries that stand in for countries without one.

use super::*;

fn members_of(text: &str, group: &str) -> Vec<String> {
    let policy = load(text).unwrap_or_else(|error| panic!("{error}"));
    let members = policy.jurisdictions()[&code(group)][0].members.iter();
    members.map(ToString::to_string).collect()
}

#[test]
fn a_group_names_its_members_also_those_with_an_entry_of_their_own() {
    let text = [
        table(&[]),
        table(&[("code", "\"EU\""), ("members", "[\"DE\", \"AT\"]")]),
        table(&[("code", "\"DE\"")]),
    ]
    .concat();
    assert_eq!(members_of(&text, "EU"), ["AT", "DE"]);
    let policy = load(&text).unwrap();
    let answers = |name: &str| policy.entry(Some(&code(name)), at("2026-01-01")).unwrap().0;
    assert_eq!(answers("AT").as_str(), "EU");
    assert_eq!(answers("DE").as_str(), "DE");
}

#[test]
fn members_that_cannot_be_are_refused() {
    for (group, members, why) in [
        ("EU", r#"["AT", "AT"]"#, ".members[1]: names `AT` twice"),
        (
            "EU",
            r#"["EU"]"#,
            ".members[0]: `EU` cannot be a member here",
        ),
        (
            "EU",
            r#"["ZZ"]"#,
            ".members[0]: `ZZ` cannot be a member here",
        ),
        (
            "EU",
            r#"["ES-CN"]"#,
            ".members[0]: must be a country, not a part of one",
        ),
        (
            "US-TX",
            r#"["PR"]"#,
            ".members: have their place with a country or a group of countries, not with `ZZ` or a part of a country",
        ),
    ] {
        let group = format!("\"{group}\"");
        let text = [table(&[]), table(&[("code", &group), ("members", members)])].concat();
        assert_eq!(
            mistakes(&text),
            [format!("line 23: jurisdiction[1]{why}")],
            "{members}"
        );
    }
    let default = table(&[("members", "[\"AT\"]")]);
    assert_eq!(mistakes(&default).len(), 1);
}

#[test]
fn a_country_in_two_groups_at_one_time_is_refused_at_the_later_one() {
    let union = table(&[
        ("code", "\"EU\""),
        ("effective_from", "2020-01-01"),
        ("members", "[\"AT\", \"GB\"]"),
    ]);
    let other = |from: &str| {
        table(&[
            ("code", "\"XK\""),
            ("effective_from", from),
            ("members", "[\"ME\", \"GB\"]"),
        ])
    };
    assert_eq!(
        mistakes(&[table(&[]), union.clone(), other("2021-01-01")].concat()),
        ["line 35: jurisdiction[2].members[1]: `GB` is a member of `EU` at that time, by line 23"]
    );
    let left = format!("{union}effective_to = 2021-01-01\n");
    assert_eq!(
        mistakes(&[table(&[]), left, other("2021-01-01")].concat()),
        Vec::<String>::new()
    );
}

#[test]
fn a_group_may_change_its_members() {
    let early = table(&[
        ("code", "\"EU\""),
        ("effective_to", "2021-01-01"),
        ("members", "[\"AT\", \"GB\"]"),
    ]);
    let late = table(&[
        ("code", "\"EU\""),
        ("effective_from", "2021-01-01"),
        ("members", "[\"AT\"]"),
    ]);
    let policy = load(&[table(&[]), early, late].concat()).unwrap();
    let answers = |day: &str| policy.entry(Some(&code("GB")), at(day)).unwrap().0.as_str();
    assert_eq!(answers("2020-12-31"), "EU");
    assert_eq!(answers("2021-01-01"), "ZZ");
}
