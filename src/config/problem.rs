//! What can be wrong with settings, said so that the reader can put it right: which setting, where
//! it was set, what it is, what it should be.
//!
//! No message repeats the value of a setting that may hold a secret, nor a line of the settings
//! file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::SETTINGS;
use super::setting::PREFIX;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the settings file `{}`", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// What was said is wrong, in at least one place.
    #[error("{}", listed(.0))]
    Invalid(Vec<Problem>),
}

/// One mistake in the settings. Every message names the setting as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{file}:{line}: not valid TOML: {message}")]
    Syntax {
        file: String,
        line: usize,
        message: String,
    },
    #[error("{file}:{line}: there is no setting `{key}`{}", suggestion(.similar.as_ref()))]
    UnknownKey {
        file: String,
        line: usize,
        key: String,
        similar: Option<String>,
    },
    #[error("there is no setting for the variable `{variable}`{}", suggestion(.similar.as_ref()))]
    UnknownVariable {
        variable: String,
        similar: Option<String>,
    },
    #[error("the variable `{variable}` is not valid UTF-8")]
    NotText { variable: String },
    /// `value` is nothing when it may be a secret.
    #[error("{place} is {}, expected {expected}", shown(.value.as_ref()))]
    Value {
        place: String,
        value: Option<String>,
        expected: String,
    },
    /// Settings that are each right and together wrong.
    #[error("{0}")]
    Conflict(String),
}

fn listed(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        _ => problems.iter().fold(
            format!("{} settings are wrong:", problems.len()),
            |list, problem| format!("{list}\n  {problem}"),
        ),
    }
}

fn shown(value: Option<&String>) -> String {
    value.map_or_else(
        || "wrong (its value is not shown)".to_owned(),
        |text| format!("`{text}`"),
    )
}

fn suggestion(similar: Option<&String>) -> String {
    similar.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Who set a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// It follows from `example`.
    Example,
    File {
        file: String,
        line: usize,
    },
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Example => f.write_str("example"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

pub(super) type Origins = BTreeMap<&'static str, Origin>;

/// A setting as the user wrote it.
pub(super) fn place(name: &str, origins: &Origins) -> String {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    match (origins.get(name), setting) {
        (Some(Origin::Flag), Some(setting)) => format!("`{}`", setting.flag()),
        (Some(Origin::Environment), Some(setting)) => format!("`{}`", setting.variable()),
        (Some(Origin::File { file, line }), _) => format!("{file}:{line}: `{name}`"),
        _ => format!("`{name}`"),
    }
}

/// The candidate that `word` is probably a slip of.
pub(super) fn closest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let near = |candidate: String| {
        let distance = distance(word, &candidate);
        (distance <= 1 + candidate.trim_start_matches(PREFIX).len() / 5)
            .then_some((distance, candidate))
    };
    candidates
        .filter_map(near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or changed to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similar(word: &str) -> Option<String> {
        closest(word, SETTINGS.iter().map(|setting| setting.name.to_owned()))
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(similar("databse").as_deref(), Some("database"));
        assert_eq!(similar("listn").as_deref(), Some("listen"));
        assert_eq!(
            similar("max_mesage_size").as_deref(),
            Some("max_message_size")
        );
        assert_eq!(similar("port"), None);
        assert_eq!(similar("password"), None);
    }

    #[test]
    fn the_distance_is_the_number_of_slips() {
        for (one, other, slips) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
        }
    }
}
