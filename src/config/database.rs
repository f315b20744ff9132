//! Where the ledger is kept, and the password that may be part of it.
//!
//! A password never appears in `Debug`, in `Display` or in an error. Whether the URL leads anywhere
//! is found out by the ledger.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroize;

use super::value::Value;

/// Text that is never printed and is wiped from memory when dropped.
///
/// Copies made before it got here (the process's environment, the text of the settings file) are
/// out of its reach.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Every call of this is a place to look at.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Where the ledger is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of this process alone.
    Sqlite(PathBuf),
    /// The URL, which may hold a password.
    Postgres(Secret),
}

impl Database {
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// The URL, its password hidden.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url.expose())),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Value for Database {
    const EXPECTED: &'static str = "`sqlite:PATH` of a file, or `postgres://USER@HOST/DATABASE`";
    const PLACEHOLDER: &'static str = "URL";
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            // Not in memory: what was acknowledged outlives the process. No `?options`: settings
            // have names of their own.
            let is_file = !path.is_empty() && !path.contains(":memory:") && !path.contains('?');
            return is_file.then(|| Self::Sqlite(path.into()));
        }
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))?;
        (!rest.is_empty()).then(|| Self::Postgres(Secret::new(text.to_owned())))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A PostgreSQL, where a second way to one may be named.
impl Value for Option<Postgres> {
    const EXPECTED: &'static str = "`postgres://USER@HOST/DATABASE`";
    const PLACEHOLDER: &'static str = "URL";
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        match Database::parse(text)? {
            Database::Postgres(url) => Some(Some(Postgres(url))),
            Database::Sqlite(_) => None,
        }
    }

    fn show(&self) -> Option<String> {
        let url = self.as_ref()?;
        Database::Postgres(url.0.clone()).show()
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// The address of a PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres(pub Secret);

/// Hides everything that could be a password; in doubt it hides too much.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (address, options) = match rest.split_once('?') {
        // Either the password or an option holds an unescaped character; which one cannot be told.
        Some((_, options)) if options.contains('@') => return format!("{scheme}://***"),
        Some((address, options)) => (address, Some(options)),
        None => (rest, None),
    };
    let mut shown = match address.rsplit_once('@') {
        // Up to the last `@`, as a password may hold one, unescaped.
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => format!("{scheme}://{address}"),
        },
        None => format!("{scheme}://{address}"),
    };
    for (position, option) in options
        .into_iter()
        .flat_map(|options| options.split('&'))
        .enumerate()
    {
        shown.push(if position == 0 { '?' } else { '&' });
        match option.split_once('=') {
            // `%` could spell a name another way.
            Some((name, _)) if name.contains("password") || name.contains('%') => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(option),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_files_or_postgresql() {
        for (text, path) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:/var/lib/a.db", "/var/lib/a.db"),
            ("sqlite:///var/lib/a.db", "/var/lib/a.db"),
        ] {
            assert_eq!(
                Database::parse(text),
                Some(Database::Sqlite(path.into())),
                "{text}"
            );
        }
        assert!(Database::parse("postgres://h/d").unwrap().is_postgres());
        assert!(Database::parse("postgresql://h/d").unwrap().is_postgres());
        for text in [
            "",
            "a.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a.db?mode=ro",
            "mysql://h/d",
            "postgres://",
            "Postgres://h",
        ] {
            assert_eq!(Database::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_spelling_of_a_url_shows_its_password() {
        for (url, shown) in [
            ("postgres://u:hunter2@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:hunter2@x@h/d", "postgres://u:***@h/d"),
            ("postgres://u:a/hunter2@h/d", "postgres://u:***@h/d"),
            ("postgres://u:hunter2?x@h/d", "postgres://***"),
            ("postgres:///d?password=hunter2@x", "postgres://***"),
            ("postgres://u:a@h/d?password=x@hunter2", "postgres://***"),
            ("postgres://:hunter2@h", "postgres://:***@h"),
            (
                "postgres://u@h/d?sslmode=require",
                "postgres://u@h/d?sslmode=require",
            ),
            (
                "postgres:///d?host=/run&password=hunter2",
                "postgres:///d?host=/run&password=***",
            ),
            (
                "postgres:///d?p%61ssword=hunter2&a=b",
                "postgres:///d?p%61ssword=***&a=b",
            ),
            (
                "postgres://h/d?sslpassword=hunter2",
                "postgres://h/d?sslpassword=***",
            ),
        ] {
            let database = Database::parse(url).unwrap();
            assert_eq!(database.to_string(), shown);
            assert_eq!(format!("{database:?}"), shown);
        }
    }

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }
}
