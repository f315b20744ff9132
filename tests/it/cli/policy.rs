//! `policy check` and `policy show`, without a server.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, run};

const BUILT_IN: &str = include_str!("../../../policy/default.toml");

/// A policy file, until the directory is dropped.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn check(text: &str, flags: &[&str]) -> Ran {
    let (_directory, path) = file(text);
    run(&[&["policy", "check", path.to_str().unwrap()], flags].concat())
}

fn show(arguments: &str) -> Ran {
    let words: Vec<&str> = arguments.split(' ').collect();
    run(&[&["policy", "show"], &words[..]].concat())
}

/// The line of a column.
fn column<'a>(shown: &'a str, name: &str) -> &'a str {
    let line = shown.lines().find(|line| line.starts_with(name));
    line.map(|line| line[name.len()..].trim())
        .unwrap_or_default()
}

#[test]
fn a_good_file_is_summed_up() {
    let ran = check(BUILT_IN, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let first = ran.out.lines().next().unwrap();
    assert!(first.ends_with("policy.toml: good"), "{}", ran.out);
    assert!(ran.out.contains("jurisdictions   18"), "{}", ran.out);

    let json: Value = serde_json::from_str(&check(BUILT_IN, &["--output", "json"]).out).unwrap();
    assert_eq!(json["good"], true);
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    assert!(json["warnings"].is_array());
}

#[test]
fn a_rule_that_nobody_looked_at_for_long_is_a_warning_and_no_mistake() {
    let old = BUILT_IN.replacen("reviewed_on = 2026-11-22", "reviewed_on = 2001-01-01", 1);
    let ran = check(&old, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let warning =
        "\nwarning: ZZ since 1970-01-01: not reviewed for 24 months, last on 2001-01-01\n";
    assert!(ran.out.contains(warning), "{}", ran.out);
}

#[test]
fn a_bad_file_has_every_mistake_told_with_its_line_and_ends_with_1() {
    let line =
        |text: &str, part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let bad = BUILT_IN
        .replacen("validity = \"P12M\"", "validity = \"12 months\"", 1)
        .replacen(", sun = \"none\" } # as before", " } # as before", 1);
    let ran = check(&bad, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let expected = [
        format!(
            "policy.toml:{}:1: jurisdiction[0].validity: expected an ISO 8601 period",
            line(&bad, "12 months\"")
        ),
        format!(
            "policy.toml:{}:17: jurisdiction[18].sending_hours: `sun` is not named",
            line(&bad, "sat = \"09:00-13:00\" } # as")
        ),
        "2 mistakes: this file would be refused".to_owned(),
    ];
    let told: Vec<&str> = ran.out.lines().collect();
    assert_eq!(told.len(), expected.len(), "{}", ran.out);
    for (told, expected) in told.iter().zip(&expected) {
        assert!(told.contains(expected.as_str()), "{told}: {expected}");
    }

    let ran = check(&bad, &["--output", "json"]);
    assert_eq!(ran.code, 1);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["good"], false);
    assert_eq!(json["mistakes"][0]["path"], "jurisdiction[0].validity");
    assert_eq!(json["mistakes"].as_array().unwrap().len(), 2);
}

#[test]
fn what_holds_is_shown_for_a_day_with_its_source() {
    let ran = show("DE --at 2027-02-01");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let first = ran.out.lines().next().unwrap();
    assert_eq!(first, "DE on 2027-02-01: the entry of DE, since 2021-10-01");
    assert_eq!(column(&ran.out, "sent "), "Mon-Sun 08:00-21:00");
    assert!(
        column(&ran.out, "source ").starts_with("UWG"),
        "{}",
        ran.out
    );
    assert_eq!(column(&ran.out, "confidence "), "medium");

    let before = show("IN --at 2027-05-12").out;
    assert_eq!(
        column(&before, "basis "),
        "house rule, where the law is silent"
    );
    assert_eq!(column(&before, "may change on "), "2027-05-13");
    let after = show("IN --at 2027-05-13").out;
    assert_eq!(column(&after, "basis "), "law");
}

#[test]
fn a_place_without_an_entry_is_shown_what_it_falls_back_to() {
    for (code, said) in [
        (
            "AT",
            "AT has no entry of its own: the entry of EU, of which it is a member",
        ),
        ("US-NY", "US-NY has no entry of its own: the entry of US"),
        ("QQ", "QQ has no entry: the strict default, ZZ"),
    ] {
        let ran = show(&format!("{code} --at 2027-02-01"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains(said), "{}", ran.out);
    }
    let json: Value = serde_json::from_str(&show("QQ --output json").out).unwrap();
    assert_eq!(
        (&json["asked"], &json["code"]),
        (&"QQ".into(), &"ZZ".into())
    );
}

#[test]
fn another_file_is_shown_if_it_is_good() {
    let (_directory, path) = file(&BUILT_IN.replacen("09:00-20:00", "10:00-11:30", 1));
    let path = path.to_str().unwrap();
    let ran = show(&format!("CH --file {path}"));
    assert_eq!(
        column(&ran.out, "sent "),
        "Mon-Sun 10:00-11:30",
        "{}",
        ran.err
    );

    let (_directory, path) = file("version = 1\n");
    let ran = show(&format!("CH --file {}", path.to_str().unwrap()));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("unknown key `version`"), "{}", ran.err);
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_answer() {
    for (arguments, said) in [
        (
            &["check", "/nowhere.toml"][..],
            "cannot read `/nowhere.toml`",
        ),
        (
            &["show", "CH", "--file", "/nowhere.toml"],
            "cannot read `/nowhere.toml`",
        ),
        (&["show", "de"], "ISO 3166"),
        (&["show", "DE", "--at", "tomorrow"], "2027-02-01"),
        (&["show"], "<CODE>"),
        (&["check"], "<FILE>"),
    ] {
        let ran = run(&[&["policy"], arguments].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}
