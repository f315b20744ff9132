//! The sources of settings, read into one text per setting: the strongest voice wins, and who it
//! was is kept.
//!
//! Whether settings fit together is not asked here; that is in `check`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use toml::Spanned;

use super::problem::{Error, Origin, Origins, Problem, closest, place};
use super::setting::{Form, PREFIX, Preset, Setting};
use super::value::Value;
use super::{OTHER_VARIABLES, SETTINGS};

/// A settings file that has been read.
#[derive(Clone)]
pub struct SettingsFile {
    /// What errors call it.
    pub name: String,
    pub text: String,
}

/// The name only: the text may hold secrets.
impl fmt::Debug for SettingsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            name: path.display().to_string(),
            text,
        })
    }

    fn line_of(&self, offset: usize) -> usize {
        self.text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }
}

/// What was said, by setting, the strongest voice only; and what was wrong with it.
#[derive(Default)]
pub(super) struct Given {
    pub(super) texts: BTreeMap<&'static str, Text>,
    pub(super) problems: Vec<Problem>,
}

pub(super) struct Text {
    pub(super) text: String,
    pub(super) origin: Origin,
}

impl Given {
    pub(super) fn add(&mut self, name: &'static str, text: String, origin: Origin) {
        self.texts.insert(name, Text { text, origin });
    }

    pub(super) fn add_file(&mut self, file: &SettingsFile) {
        let keys: BTreeMap<Spanned<String>, Spanned<toml::Value>> = match toml::from_str(&file.text)
        {
            Ok(keys) => keys,
            Err(error) => {
                // Not the error itself: it quotes the line, which may hold a password.
                let line = error.span().map_or(1, |span| file.line_of(span.start));
                let message = error.message().to_owned();
                self.problems.push(Problem::Syntax {
                    file: file.name.clone(),
                    line,
                    message,
                });
                return;
            }
        };
        for (key, value) in keys {
            let line = file.line_of(key.span().start);
            let Some(setting) = SETTINGS
                .iter()
                .find(|setting| setting.name == key.get_ref())
            else {
                let key = key.into_inner();
                let similar = closest(&key, SETTINGS.iter().map(|setting| setting.name.to_owned()));
                self.problems.push(Problem::UnknownKey {
                    file: file.name.clone(),
                    line,
                    key,
                    similar,
                });
                continue;
            };
            let origin = Origin::File {
                file: file.name.clone(),
                line,
            };
            match plain(setting, value.into_inner()) {
                Ok(text) => self.add(setting.name, text, origin),
                Err(value) => {
                    let place = place(setting.name, &Origins::from([(setting.name, origin)]));
                    self.wrong(setting, place, value);
                }
            }
        }
    }

    /// Returns the variables with our prefix that no setting has.
    pub(super) fn add_environment<K, V>(
        &mut self,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<String>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut unknown = Vec::new();
        for (name, value) in environment {
            let Ok(variable) = name.into().into_string() else {
                continue;
            };
            if !variable.starts_with(PREFIX) || OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let value = value.into();
            match SETTINGS
                .iter()
                .find(|setting| setting.variable() == variable)
            {
                None => unknown.push(variable),
                Some(_) if value.is_empty() => {}
                Some(setting) => match value.into_string() {
                    Ok(text) => self.add(setting.name, text, Origin::Environment),
                    Err(_) => self.problems.push(Problem::NotText { variable }),
                },
            }
        }
        unknown.sort();
        unknown
    }

    /// The value of a setting, from what was said or from its default.
    pub(super) fn take<T: Value>(&mut self, name: &'static str) -> Option<T> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
        let Some(Text { text, origin }) = self.texts.get(name) else {
            return match setting.default {
                Preset::Value(text) => T::parse(text),
                Preset::Unset { .. } => T::unset(),
            };
        };
        let parsed = T::parse(text);
        if parsed.is_none() {
            let (text, place) = (
                text.clone(),
                place(name, &Origins::from([(name, origin.clone())])),
            );
            self.wrong(setting, place, text);
        }
        parsed
    }

    fn wrong(&mut self, setting: &Setting, place: String, value: String) {
        let value = (!setting.secret).then_some(value);
        self.problems.push(Problem::Value {
            place,
            value,
            expected: setting.expected.to_owned(),
        });
    }
}

/// The text of a TOML value of the right kind, or what it is instead.
fn plain(setting: &Setting, value: toml::Value) -> Result<String, String> {
    match (setting.form, value) {
        (Form::Text, toml::Value::String(text)) => Ok(text),
        (Form::Number, toml::Value::Integer(number)) => Ok(number.to_string()),
        (Form::Number, toml::Value::Float(number)) => Ok(number.to_string()),
        (Form::Switch, toml::Value::Boolean(on)) => Ok(on.to_string()),
        (_, toml::Value::String(text)) => Err(format!("{text:?}")),
        (_, toml::Value::Integer(number)) => Err(number.to_string()),
        (_, toml::Value::Float(number)) => Err(number.to_string()),
        (_, toml::Value::Boolean(on)) => Err(on.to_string()),
        (_, other) => Err(other.type_str().to_owned()),
    }
}
