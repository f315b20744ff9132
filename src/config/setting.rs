//! How a setting is declared, and what can be known about it without a value: name, group,
//! documentation, default.
//!
//! The `settings!` macro turns one list of declarations into the `Config` struct, the table of
//! [`Setting`]s and the two loops over both. Flags, variables, file keys, help, example file and
//! reference are all made from the table, so a setting exists in one place. Nothing here reads a
//! value from anywhere.

/// What every environment variable of a setting begins with.
pub const PREFIX: &str = "CONSENTGATE_";

/// One setting, as declared.
#[derive(Debug)]
pub struct Setting {
    /// The key in the settings file. Flag and variable are made from it.
    pub name: &'static str,
    /// The heading it stands under in help, example file and reference.
    pub group: &'static str,
    /// What holds when nobody says anything.
    pub default: Preset,
    pub(super) doc: &'static [&'static str],
    pub(super) form: Form,
    pub(super) expected: &'static str,
    pub(super) placeholder: &'static str,
    pub(super) secret: bool,
}

/// What a setting is when nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// This value, written as a user would write it.
    Value(&'static str),
    /// Nothing. The text is a sample for the example file.
    Unset { sample: &'static str },
}

/// How a value is written in a TOML file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Switch,
}

impl Setting {
    /// The flag of `serve`: `--max-message-size`.
    pub fn flag(&self) -> String {
        format!("--{}", self.long())
    }

    /// The environment variable: `CONSENTGATE_MAX_MESSAGE_SIZE`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// The documentation in one line: meaning first, then unit and limits.
    pub fn doc(&self) -> String {
        self.doc
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn long(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The first sentence, for the short help.
    pub(super) fn summary(&self) -> String {
        let doc = self.doc();
        doc.find(". ").map_or_else(
            || doc.trim_end_matches('.').to_owned(),
            |end| doc[..end].to_owned(),
        )
    }

    /// A value as TOML.
    pub(super) fn as_toml(&self, text: &str) -> String {
        match self.form {
            // Declared texts have no character that Rust and TOML escape differently.
            Form::Text => format!("{text:?}"),
            Form::Number | Form::Switch => text.to_owned(),
        }
    }
}

/// Declares `Config` and everything that is derived from the declarations.
macro_rules! settings {
    ($(
        $group:literal {$(
            $(#[doc = $doc:literal])+
            $name:ident: $type:ty = $preset:expr,
        )+}
    )+) => {
        /// Every setting of the service, each with a value. See the list above each field for
        /// meaning and unit.
        ///
        /// `Config::default()` is what holds when nobody says anything; [`Config::load`] layers a
        /// file, the environment and flags on it.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($( $(#[doc = $doc])+ pub $name: $type, )+)+
        }

        /// Every setting, in the order of the documentation.
        pub static SETTINGS: &[Setting] = &[
            $($( Setting {
                name: stringify!($name),
                group: $group,
                default: $preset,
                doc: &[$($doc),+],
                form: <$type as Value>::FORM,
                expected: <$type as Value>::EXPECTED,
                placeholder: <$type as Value>::PLACEHOLDER,
                secret: <$type as Value>::SECRET,
            }, )+)+
        ];

        impl Config {
            /// One value per setting from wherever `given` finds it; nothing when any of them is
            /// wrong.
            fn assemble(given: &mut Given) -> Option<Self> {
                // Every setting is taken before the first failure ends it: all mistakes are
                // reported at once.
                $($( let $name = given.take::<$type>(stringify!($name)); )+)+
                Some(Self { $($( $name: $name?, )+)+ })
            }

            /// Every value as a user would write it, secrets hidden, in the order of [`SETTINGS`].
            fn shown(&self) -> Vec<Option<String>> {
                vec![ $($( Value::show(&self.$name), )+)+ ]
            }
        }
    };
}

pub(super) use settings;
