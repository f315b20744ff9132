//! Where a keyring comes from: a file, an environment variable or a command.
//!
//! A new SQLite database gets a new key file beside it; nothing else creates a key unasked, because a
//! second keyring over an old database is a second, empty world. A key file that others may read is
//! refused.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::{KeyError, Keyring};

/// Where to take the keyring from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that must exist.
    File(PathBuf),
    /// The text itself, from an environment variable of this name.
    Text {
        name: String,
        text: Zeroizing<String>,
    },
    /// The standard output of a command, run by the shell (a vault's client, for example).
    Command(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read the key file `{}`: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the key file `{}` can be read by others (mode {mode:03o}); run `chmod 600` on it", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("cannot create the key file `{}`: {source}", path.display())]
    Uncreatable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the key command failed: {0}")]
    Command(String),
    #[error("{place}: {source}")]
    Keyring { place: String, source: KeyError },
}

/// Reads a keyring from its source.
pub fn load(source: &KeySource) -> Result<Keyring, SourceError> {
    match source {
        KeySource::File(path) => load_file(path),
        KeySource::Text { name, text } => parse(text, || format!("environment variable `{name}`")),
        KeySource::Command(command) => {
            let output = Command::new("sh")
                .args(["-c", command])
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
                .map_err(|error| SourceError::Command(error.to_string()))?;
            if !output.status.success() {
                return Err(SourceError::Command(output.status.to_string()));
            }
            let text = Zeroizing::new(
                String::from_utf8(output.stdout)
                    .map_err(|_| SourceError::Command("its output is not text".into()))?,
            );
            parse(&text, || "output of the key command".into())
        }
    }
}

fn load_file(path: &Path) -> Result<Keyring, SourceError> {
    let unreadable = |source| SourceError::Unreadable {
        path: path.into(),
        source,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path)
            .map_err(unreadable)?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            return Err(SourceError::Open {
                path: path.into(),
                mode,
            });
        }
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    parse(&text, || format!("key file `{}`", path.display()))
}

fn parse(text: &str, place: impl FnOnce() -> String) -> Result<Keyring, SourceError> {
    Keyring::parse(text).map_err(|source| SourceError::Keyring {
        place: place(),
        source,
    })
}

/// Makes a new key file, readable by its owner alone, and on disk before this returns. An existing
/// file is never overwritten.
pub fn create(path: &Path) -> Result<Keyring, SourceError> {
    let keyring = Keyring::generate();
    write_private(path, keyring.to_text().as_bytes())?;
    Ok(keyring)
}

/// Writes a secret to a new file that only its owner may read.
pub fn write_private(path: &Path, secret: &[u8]) -> Result<(), SourceError> {
    let uncreatable = |source| SourceError::Uncreatable {
        path: path.into(),
        source,
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(uncreatable)?;
    file.write_all(secret).map_err(uncreatable)?;
    file.sync_all().map_err(uncreatable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_key_file_is_private_reads_back_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.key");
        let keyring = create(&path).unwrap();
        let again = load(&KeySource::File(path.clone())).unwrap();
        assert_eq!(keyring.check_values(), again.check_values());
        assert!(matches!(
            create(&path),
            Err(SourceError::Uncreatable { .. })
        ));
        assert_eq!(
            load(&KeySource::File(path)).unwrap().check_values(),
            keyring.check_values()
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.key");
        create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(&KeySource::File(path)).unwrap_err().to_string();
        assert!(
            error.contains("mode 640") && error.contains("chmod 600"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_a_failing_command_and_other_text_are_told_apart() {
        let missing = load(&KeySource::File("no/such/gate.key".into()))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("no/such/gate.key"), "{missing}");
        let failing = load(&KeySource::Command("exit 3".into()))
            .unwrap_err()
            .to_string();
        assert!(failing.contains("exit status: 3"), "{failing}");
        let text = Zeroizing::new("hello".to_string());
        let other = load(&KeySource::Text {
            name: "GATE_KEY".into(),
            text,
        })
        .unwrap_err()
        .to_string();
        assert!(other.contains("GATE_KEY"), "{other}");
    }

    #[test]
    fn a_command_and_a_variable_can_carry_the_keyring() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.key");
        let keyring = create(&path).unwrap();
        let by_command = load(&KeySource::Command(format!("cat '{}'", path.display()))).unwrap();
        assert_eq!(by_command.check_values(), keyring.check_values());
        let by_text = load(&KeySource::Text {
            name: "K".into(),
            text: keyring.to_text(),
        })
        .unwrap();
        assert_eq!(by_text.check_values(), keyring.check_values());
    }
}
