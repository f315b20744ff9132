//! From flags, environment and file to one valid [`Config`], or to the list of everything that is
//! wrong.
//!
//! The sources are arguments, so that a test needs neither a process nor a file; only
//! [`Config::from_process`] reads the real ones.

use std::ffi::OsString;
use std::path::PathBuf;

use super::given::{Given, SettingsFile};
use super::problem::{Error, Origin, Origins, Problem, closest};
use super::setting::Setting;
use super::{Config, Database, Flags, SETTINGS};

/// The variable that names the settings file.
const FILE_VARIABLE: &str = "CONSENTGATE_CONFIG";

/// A configuration and who said what.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub(super) origins: Origins,
}

impl Config {
    /// The configuration of this process: its flags, its environment, and the file that either
    /// names.
    pub fn from_process(flags: &Flags) -> Result<Loaded, Error> {
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let named = |(name, path): &(OsString, OsString)| {
            (name == FILE_VARIABLE && !path.is_empty()).then(|| path.into())
        };
        let path: Option<PathBuf> = flags
            .config
            .clone()
            .or_else(|| environment.iter().find_map(named));
        let file = path.as_deref().map(SettingsFile::read).transpose()?;
        Self::load(flags, environment, file.as_ref())
    }

    /// Layers `flags` on `environment` on `file` on the defaults.
    ///
    /// An empty variable counts as unset. Variables without our prefix are ignored.
    pub fn load<K, V>(
        flags: &Flags,
        environment: impl IntoIterator<Item = (K, V)>,
        file: Option<&SettingsFile>,
    ) -> Result<Loaded, Error>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut given = Given::default();
        if let Some(file) = file {
            given.add_file(file);
        }
        let unknown = given.add_environment(environment);
        for (&name, text) in &flags.values {
            given.add(name, text.clone(), Origin::Flag);
        }

        let config = Self::assemble(&mut given);
        let key_variable = given.texts.get("key_env").map(|text| text.text.clone());
        // The variable that holds the key has a name of the user's choice, which may begin like
        // ours.
        given.problems.extend(
            unknown
                .into_iter()
                .filter(|name| Some(name) != key_variable.as_ref())
                .map(|variable| {
                    let names = SETTINGS.iter().map(Setting::variable);
                    Problem::UnknownVariable {
                        similar: closest(&variable, names),
                        variable,
                    }
                }),
        );

        let mut origins: Origins = given
            .texts
            .into_iter()
            .map(|(name, text)| (name, text.origin))
            .collect();
        let mut problems = given.problems;
        if let Some(mut config) = config {
            problems.extend(config.conflicts(&origins));
            if problems.is_empty() {
                if config.example {
                    config.database = Database::Sqlite(config.example_dir.join("consentgate.db"));
                    origins.insert("database", Origin::Example);
                }
                return Ok(Loaded { config, origins });
            }
        }
        Err(Error::Invalid(problems))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::LogFormat;

    const NOTHING: [(&str, &str); 0] = [];

    fn file(text: &str) -> SettingsFile {
        SettingsFile {
            name: "a.toml".to_owned(),
            text: text.to_owned(),
        }
    }

    fn refusal(flags: &Flags, environment: &[(&str, &str)], text: &str) -> String {
        let environment = environment.iter().copied();
        Config::load(flags, environment, Some(&file(text)))
            .expect_err("wrong settings")
            .to_string()
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(
            Config::load(&Flags::default(), NOTHING, None)
                .unwrap()
                .config,
            Config::default()
        );
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
        let text =
            "valid_for = \"1s\"\nclock_tolerance = \"1m\"\nlog = \"error\"\nlog_format = \"json\"";
        let environment = [
            ("CONSENTGATE_VALID_FOR", "2s"),
            ("CONSENTGATE_CLOCK_TOLERANCE", "2m"),
            ("CONSENTGATE_LOG", ""),
        ];
        let flags = Flags::of([("valid_for", "3s")]);

        let config = Config::load(&flags, environment, Some(&file(text)))
            .unwrap()
            .config;

        assert_eq!(config.valid_for, Duration::from_secs(3));
        assert_eq!(config.clock_tolerance, Duration::from_mins(2));
        assert_eq!(config.log, "error", "an empty variable counts as unset");
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn every_setting_can_come_from_every_source() {
        for (setting, shown) in SETTINGS.iter().zip(Config::default().shown()) {
            let Some(text) = shown else { continue };
            let line = format!("{} = {}", setting.name, setting.as_toml(&text));
            let flags = Flags::of([(setting.name, &text)]);
            Config::load(&flags, [(setting.variable(), text)], Some(&file(&line))).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_likely_name() {
        assert_eq!(
            refusal(
                &Flags::default(),
                &[],
                "listen = \"127.0.0.1:1\"\n\ndatabse = \"sqlite:hunter2\""
            ),
            "a.toml:3: there is no setting `databse`; did you mean `database`?"
        );
        assert_eq!(
            refusal(&Flags::default(), &[], "[server]\nlisten = \"x\""),
            "a.toml:1: there is no setting `server`"
        );
    }

    #[test]
    fn an_unknown_variable_with_our_prefix_is_refused() {
        assert_eq!(
            refusal(
                &Flags::default(),
                &[
                    ("CONSENTGATE_DATABSE", "x"),
                    ("PATH", "/bin"),
                    ("DATABASE", "x")
                ],
                ""
            ),
            "there is no setting for the variable `CONSENTGATE_DATABSE`; did you mean `CONSENTGATE_DATABASE`?"
        );
    }

    #[test]
    fn variables_that_are_no_settings_but_ours_are_left_alone() {
        let environment = [
            ("CONSENTGATE_CONFIG", "a.toml"),
            ("CONSENTGATE_KEY", "k"),
            ("CONSENTGATE_KEY_ENV", "CONSENTGATE_KEY"),
        ];
        Config::load(&Flags::default(), environment, None)
            .expect("the variable that holds the key is allowed");
    }

    #[test]
    fn a_wrong_value_is_reported_where_it_was_set() {
        assert_eq!(
            refusal(&Flags::of([("valid_for", "5")]), &[], ""),
            "`--valid-for` is `5`, expected a duration in `ms`, `s`, `m`, `h` or `d`, such as `5s` or `1m30s`"
        );
        assert_eq!(
            refusal(
                &Flags::default(),
                &[("CONSENTGATE_DATABASE_MAX_CONNECTIONS", "0")],
                ""
            ),
            "`CONSENTGATE_DATABASE_MAX_CONNECTIONS` is `0`, expected a whole number from 1 to 4294967295"
        );
        assert_eq!(
            refusal(&Flags::default(), &[], "\nreflection = \"true\""),
            "a.toml:2: `reflection` is `\"true\"`, expected `true` or `false`"
        );
        assert_eq!(
            refusal(&Flags::default(), &[], "database_max_connections = [1]"),
            "a.toml:1: `database_max_connections` is `array`, expected a whole number from 1 to 4294967295"
        );
    }

    #[test]
    fn no_error_repeats_what_may_be_a_password() {
        for text in [
            "database = \"postgress://u:hunter2@h/d\"",
            "database = [\"postgres://u:hunter2@h/d\"]",
            "databse = \"postgres://u:hunter2@h/d\"",
            "database = \"postgres://u:hunter2@h/d",
            "database = postgres://u:hunter2@h/d",
            "database = \"postgres://u:hunter2@h/d\" # no key",
            "database = \"postgres://u:hunter2@h/d\"\ndatabase = \"postgres://u:hunter2@h/d\"",
            "otlp_endpoint = \"https://u:hunter2@h\"",
        ] {
            let error = Config::load(&Flags::default(), NOTHING, Some(&file(text))).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn broken_toml_is_reported_with_its_line() {
        let refusal = refusal(&Flags::default(), &[], "log = \"info\"\nlisten = ");
        assert!(
            refusal.starts_with("a.toml:2: not valid TOML: "),
            "{refusal}"
        );
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let refusal = refusal(
            &Flags::of([("listen", "localhost")]),
            &[
                ("CONSENTGATE_NOTHING", "1"),
                ("CONSENTGATE_CACHE_SIZE", "1GB"),
            ],
            "port = 1\nreflection = 1",
        );
        assert!(
            refusal.starts_with("5 settings are wrong:\n  "),
            "{refusal}"
        );
    }

    #[test]
    fn the_example_has_a_database_of_its_own() {
        let flags = Flags::of([("example", "true"), ("example_dir", "dir")]);
        let loaded = Config::load(&flags, NOTHING, None).unwrap();
        assert_eq!(
            loaded.config.database,
            Database::Sqlite("dir/consentgate.db".into())
        );
        assert_eq!(loaded.origins["database"], Origin::Example);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let flags = Flags {
            config: Some("/nonexistent/a.toml".into()),
            ..Flags::default()
        };
        let error = Config::from_process(&flags).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the settings file `/nonexistent/a.toml`"
        );
    }
}
