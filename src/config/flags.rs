//! Settings as flags of a command: what was given on the command line, still as text.
//!
//! `#[command(flatten)] flags: Flags` adds `--config` and one flag per setting to a command. Values
//! are not judged here, so that a wrong one reads the same wherever it came from; the environment
//! is not read here either, because clap would rank it with the flags and could not tell the two
//! apart afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use super::SETTINGS;
use super::setting::{Form, Preset, Setting};

/// What the command line says.
#[derive(Clone, Default)]
pub struct Flags {
    /// The settings file named by `--config`.
    pub config: Option<PathBuf>,
    pub(super) values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// The command line `--name value …`, for tests and for programs that start a server
    /// themselves.
    ///
    /// # Panics
    ///
    /// If there is no setting of that name.
    pub fn of<const N: usize>(values: [(&str, &str); N]) -> Self {
        let named = |name| {
            SETTINGS
                .iter()
                .find(|setting| setting.name == name)
                .expect("the name of a setting")
                .name
        };
        let values = values
            .into_iter()
            .map(|(name, text)| (named(name), text.to_owned()))
            .collect();
        Self {
            config: None,
            values,
        }
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags")
            .field("config", &self.config)
            .field("given", &self.values.keys())
            .finish()
    }
}

/// The names of the flags without dashes, in the order of [`SETTINGS`]: clap wants them to live as
/// long as the program.
static LONG: LazyLock<Vec<String>> = LazyLock::new(|| SETTINGS.iter().map(Setting::long).collect());

fn arg(setting: &'static Setting, long: &'static str) -> Arg {
    let default = match setting.default {
        Preset::Value(text) => format!(" [default: {text}]"),
        Preset::Unset { .. } => String::new(),
    };
    let notes = format!("{default} [env: {}]", setting.variable());
    let arg = Arg::new(setting.name)
        .long(long)
        .value_name(setting.placeholder)
        .help(format!("{}{notes}", setting.summary()))
        .long_help(format!("{}\n\n{}", setting.doc(), notes.trim()))
        .help_heading(setting.group)
        .value_parser(ValueParser::string())
        .value_hint(if setting.placeholder == "PATH" {
            ValueHint::AnyPath
        } else {
            ValueHint::Other
        });
    match setting.form {
        // `--insecure` alone means yes; `--reflection=false` says no.
        Form::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Form::Text | Form::Number => arg,
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("TOML file with settings; flags and environment win over it [env: CONSENTGATE_CONFIG]")
            .value_parser(ValueParser::path_buf())
            .value_hint(ValueHint::FilePath);
        command.arg(file).args(
            SETTINGS
                .iter()
                .zip(LONG.iter())
                .map(|(setting, long)| arg(setting, long)),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            self.config = Some(path.clone());
        }
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.name) {
                self.values.insert(setting.name, text.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Serve {
        #[command(flatten)]
        flags: Flags,
    }

    fn parse(arguments: &[&str]) -> Result<Flags, clap::Error> {
        Serve::try_parse_from([&["serve"], arguments].concat()).map(|serve| serve.flags)
    }

    #[test]
    fn flags_are_spelled_with_dashes_and_switches_need_no_value() {
        let flags = parse(&[
            "--config",
            "a.toml",
            "--max-message-size",
            "8MiB",
            "--insecure",
            "--reflection=false",
        ])
        .unwrap();

        assert_eq!(flags.config, Some("a.toml".into()));
        assert_eq!(flags.values["max_message_size"], "8MiB");
        assert_eq!(flags.values["insecure"], "true");
        assert_eq!(flags.values["reflection"], "false");
        assert_eq!(flags.values.len(), 3);
    }

    #[test]
    fn a_switch_does_not_swallow_what_follows() {
        assert!(parse(&["--insecure", "false"]).is_err());
    }

    #[test]
    fn the_command_is_well_formed_and_explains_every_setting() {
        let mut command = Serve::augment_args(Command::new("serve"));
        command.clone().debug_assert();

        let help = command.render_long_help().to_string();

        for setting in SETTINGS {
            assert!(help.contains(&setting.flag()), "{}", setting.name);
            assert!(
                help.contains(&format!("[env: {}]", setting.variable())),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn debug_shows_which_flags_were_given_and_no_value() {
        let flags = Flags::of([("database", "postgres://u:hunter2@h/d")]);
        let shown = format!("{flags:?}");
        assert!(
            shown.contains("database") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
