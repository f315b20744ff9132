//! Settings written down: the effective ones, the example file, the table for the README. All from
//! the declarations.

use std::fmt::Write;

use super::SETTINGS;
use super::load::Loaded;
use super::problem::Origin;
use super::setting::{Preset, Setting};

/// One setting as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    pub name: &'static str,
    /// As a user would write it, secrets hidden; nothing when it is unset.
    pub value: Option<String>,
    pub origin: Origin,
    pub doc: String,
}

impl Loaded {
    /// Every setting with its value and who set it, secrets hidden.
    pub fn effective(&self) -> Vec<Effective> {
        let origin = |name| self.origins.get(name).cloned().unwrap_or(Origin::Default);
        SETTINGS
            .iter()
            .zip(self.config.shown())
            .map(|(setting, value)| Effective {
                name: setting.name,
                value,
                origin: origin(setting.name),
                doc: setting.doc(),
            })
            .collect()
    }
}

/// The text of `consentgate.example.toml`: every setting, explained, at its default.
pub fn example_file() -> String {
    let mut text = String::from(
        "# Settings of consentgate, each at its default. `consentgate serve --config FILE` reads such a file; every key may be left out.\n\
         # The key `max_message_size` is also the flag `--max-message-size` and the variable `CONSENTGATE_MAX_MESSAGE_SIZE`.\n\
         # Flags win over variables, variables over the file. Generated from src/config/mod.rs.\n",
    );
    for (group, settings) in groups() {
        let _ = write!(text, "\n\n# --- {group} ---\n");
        for setting in settings {
            text.push('\n');
            for line in setting.doc {
                let _ = writeln!(text, "# {}", line.trim());
            }
            let _ = match setting.default {
                Preset::Value(value) => {
                    writeln!(text, "{} = {}", setting.name, setting.as_toml(value))
                }
                Preset::Unset { sample } => {
                    writeln!(text, "# {} = {}", setting.name, setting.as_toml(sample))
                }
            };
        }
    }
    text
}

/// The settings as a Markdown table, for the README.
pub fn reference() -> String {
    let mut text = String::from("| setting | default | meaning |\n| --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = match setting.default {
            Preset::Value(value) => format!("`{value}`"),
            Preset::Unset { .. } => "unset".to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {default} | {} |",
            setting.name,
            setting.doc().replace('|', "\\|")
        );
    }
    text
}

/// The settings by group, in the order of declaration.
fn groups() -> impl Iterator<Item = (&'static str, &'static [Setting])> {
    SETTINGS
        .chunk_by(|one, next| one.group == next.group)
        .map(|settings| (settings[0].group, settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags, SettingsFile};

    const FILE: &str = include_str!("../../consentgate.example.toml");

    fn no_environment() -> [(String, String); 0] {
        []
    }

    #[test]
    fn the_example_file_in_the_repository_is_the_generated_one() {
        let generated = example_file();
        let differs = FILE
            .lines()
            .zip(generated.lines())
            .find(|(file, generated)| file != generated);
        assert_eq!(
            differs, None,
            "write the output of `config::example_file()` to consentgate.example.toml"
        );
        assert_eq!(FILE, generated);
    }

    #[test]
    fn the_example_file_says_nothing_but_the_defaults() {
        let file = SettingsFile {
            name: "consentgate.example.toml".to_owned(),
            text: FILE.to_owned(),
        };
        let loaded = Config::load(&Flags::default(), no_environment(), Some(&file)).unwrap();
        assert_eq!(loaded.config, Config::default());
    }

    #[test]
    fn every_sample_of_the_example_file_is_valid() {
        for setting in SETTINGS {
            let Preset::Unset { sample } = setting.default else {
                continue;
            };
            let mut text = format!("{} = {}\n", setting.name, setting.as_toml(sample));
            // Of TLS and of JWTs no setting can be without some of the others.
            let others = SETTINGS.iter().filter(|other| other.name != setting.name);
            for other in others.filter(|other| {
                setting.group == other.group && ["TLS", "JWT"].contains(&setting.group)
            }) {
                if let Preset::Unset { sample } = other.default {
                    text = format!("{text}{} = {}\n", other.name, other.as_toml(sample));
                }
            }
            let file = SettingsFile {
                name: "sample".to_owned(),
                text,
            };
            Config::load(&Flags::default(), no_environment(), Some(&file)).unwrap();
        }
    }

    #[test]
    fn the_effective_settings_tell_who_set_them_and_hide_the_password() {
        let flags = Flags::of([("database", "postgres://u:hunter2@h/d"), ("key_env", "KEY")]);
        let loaded = Config::load(&flags, [("CONSENTGATE_LOG", "debug")], None).unwrap();

        let effective = loaded.effective();
        let of = |name| {
            effective
                .iter()
                .find(|setting| setting.name == name)
                .unwrap()
        };

        assert_eq!(
            of("database").value.as_deref(),
            Some("postgres://u:***@h/d")
        );
        assert_eq!(of("database").origin, Origin::Flag);
        assert_eq!(of("log").origin, Origin::Environment);
        assert_eq!(of("listen").origin, Origin::Default);
        assert_eq!(of("catalog").value, None);
        assert_eq!(effective.len(), SETTINGS.len());
        assert!(!format!("{loaded:?}{effective:?}").contains("hunter2"));
    }

    #[test]
    fn the_table_has_a_row_for_every_setting() {
        let table = reference();
        assert_eq!(table.lines().count(), SETTINGS.len() + 2);
        assert!(table.contains("| `max_message_size` | `4MiB` | Largest message accepted."));
    }
}
