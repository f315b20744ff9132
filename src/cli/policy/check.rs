//! `policy check`: would this file be accepted, and what should its keeper look at?
//!
//! What is wrong is the answer, so it stands on standard output.

use std::path::Path;

use super::super::json::Object;
use super::super::output::{Format, Output};
use super::super::{Exit, table};
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::policy;
use crate::policy::document::Mistake;
use crate::policy::review::{self, Warning};

pub(super) fn check(file: &Path, now: Timestamp, output: &mut Output) -> anyhow::Result<Exit> {
    let loaded = policy::load(&super::read(file)?);
    let name = file.display().to_string();
    match loaded {
        Ok(policy) => {
            let warnings = review::warnings(&policy, review::day_of(now));
            match output.format {
                Format::Table => output.text(good_text(&name, &policy, &warnings))?,
                Format::Json => output.json(&good_json(&policy, &warnings))?,
            }
            Ok(Exit::Done)
        }
        Err(mistakes) => {
            match output.format {
                Format::Table => output.text(bad_text(&name, mistakes.as_slice()))?,
                Format::Json => output.json(&bad_json(mistakes.as_slice()))?,
            }
            Ok(Exit::No)
        }
    }
}

/// Entries of all jurisdictions.
fn entries(policy: &Policy) -> usize {
    policy.jurisdictions().values().map(Vec::len).sum()
}

fn good_text(name: &str, policy: &Policy, warnings: &[Warning]) -> String {
    let counts = table::list([
        ("jurisdictions", policy.jurisdictions().len().to_string()),
        ("entries", entries(policy).to_string()),
        ("platform rules", policy.platform.len().to_string()),
        ("sha256", policy.sha256.clone()),
    ]);
    let mut lines = vec![format!("{name}: good"), table::indented(&counts)];
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

fn good_json(policy: &Policy, warnings: &[Warning]) -> Object {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Object::new()
        .with("good", true)
        .with("jurisdictions", count(policy.jurisdictions().len()))
        .with("entries", count(entries(policy)))
        .with("platform_rules", count(policy.platform.len()))
        .with("sha256", &policy.sha256)
        .list("warnings", warnings.iter().map(ToString::to_string))
}

fn bad_text(name: &str, mistakes: &[Mistake]) -> String {
    let mut lines: Vec<String> = mistakes
        .iter()
        .map(|one| {
            let at = format!("{name}:{}:{}", one.line, one.column);
            let path = Some(&one.path).filter(|path| !path.is_empty());
            let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
            table::one_line(format!("{at}: {path}{}", one.message))
        })
        .collect();
    lines.push(match mistakes.len() {
        1 => "1 mistake: this file would be refused".to_owned(),
        many => format!("{many} mistakes: this file would be refused"),
    });
    lines.join("\n")
}

fn bad_json(mistakes: &[Mistake]) -> Object {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let mistakes = mistakes.iter().map(|one| {
        Object::new()
            .with("line", count(one.line))
            .with("column", count(one.column))
            .text("path", &one.path)
            .with("message", &one.message)
    });
    Object::new().with("good", false).list("mistakes", mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_is_counted_and_its_warnings_follow() {
        let policy = policy::embedded();
        let warnings = review::warnings(&policy, jiff::civil::date(2040, 1, 1));
        let shown = good_text("p.toml", &policy, &warnings);
        let expected = format!(
            "p.toml: good\n  jurisdictions   {}\n  entries         {}\n  platform rules  1\n  sha256          {}\nwarning: AE since ",
            policy.jurisdictions().len(),
            entries(&policy),
            policy.sha256
        );
        assert!(shown.starts_with(&expected), "{shown}");
        let json = serde_json::to_string(&good_json(&policy, &[])).unwrap();
        assert!(
            json.starts_with(r#"{"good":true,"jurisdictions":"#)
                && json.ends_with(r#""warnings":[]}"#),
            "{json}"
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let mistakes =
            policy::load("version = 1\n\n[[jurisdiction]]\ncode = \"de\"\n").unwrap_err();
        let shown = bad_text("p.toml", mistakes.as_slice());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "p.toml:1:1: unknown key `version`");
        assert_eq!(lines[1], "p.toml:3:1: jurisdiction[0]: `basis` is missing");
        assert_eq!(
            *lines.last().unwrap(),
            format!("{} mistakes: this file would be refused", lines.len() - 1)
        );
        let json = serde_json::to_string(&bad_json(&mistakes.as_slice()[..2])).unwrap();
        assert_eq!(
            json,
            r#"{"good":false,"mistakes":[{"line":1,"column":1,"message":"unknown key `version`"},{"line":3,"column":1,"path":"jurisdiction[0]","message":"`basis` is missing"}]}"#
        );
    }
}
