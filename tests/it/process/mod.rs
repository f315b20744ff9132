//! The service as its operator meets it: the real binary, its signals, its exit codes, what it says and what it leaves.
//!
//! Each test has a [`Place`] of its own, in which it starts gates one after the other, or one too many. What a gate
//! answers is judged by what was acknowledged to a caller, never by what it should have in memory.

pub mod cable;
pub mod collector;
mod crowding;
mod dump;
mod dying;
mod erasing;
pub mod every_call;
pub mod gate;
mod killing;
mod losing;
pub mod people;
mod personal;
mod rotating;
mod secrecy;
pub mod secrets;
mod sharing;
mod starting;
mod stopping;
mod watchdog;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use consentgate::keys::Keyring;
use tempfile::TempDir;

use crate::ledger::Raw;
use crate::postgres::{Postgres, TestDatabase, database};
use cable::Cable;
use gate::Gate;

/// A shop with one purpose of each kind that these tests ask for.
const CATALOG: &str = r#"[[business]]
business_id = "acme"
display_name = "Acme"

[[business.sender]]
sender_id = "1001"

[[business.purpose]]
key = "offers"
title = "special offers"
message_class = "MARKETING"

[[business.notice]]
notice_id = "signup"
version = 1
language = "en"
text = "May Acme send you special offers on WhatsApp? Reply STOP to end it."
purposes = ["offers"]
"#;

/// A policy without sending hours: these gates live by the clock of this machine, and are asked at night as well.
const POLICY: &str = crate::harness::POLICY;

pub const REPLAY: [&str; 5] = ["ledger", "replay", "--check", "--output", "json"];

/// Where the gates of one test live, one after the other: a directory, a database, a key.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    database: Option<TestDatabase>,
}

impl Place {
    /// A SQLite file that the first gate makes, with its key.
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self {
            directory,
            database: None,
        };
        place.write("catalog.toml", CATALOG);
        place.write("policy.toml", POLICY);
        place
    }

    /// An empty PostgreSQL database, and a key.
    pub fn postgres(database: TestDatabase) -> Self {
        let place = Self {
            database: Some(database),
            ..Self::sqlite()
        };
        place.write_key("gate.key");
        place
    }

    /// A PostgreSQL database of the server that all tests share, brought up to date by the binary.
    pub async fn migrated() -> Self {
        let place = Self::postgres(database().await);
        place.migrate().await;
        place
    }

    /// The same on a server of its own.
    pub async fn migrated_on(server: &Postgres) -> Self {
        let place = Self::postgres(server.database().await);
        place.migrate().await;
        place
    }

    /// Where PostgreSQL has it.
    pub fn url(&self) -> &str {
        let database = self.database.as_ref();
        database.expect("a place on PostgreSQL").url()
    }

    async fn migrate(&self) {
        let (ended, _) = gate::run(self.maintain(&["migrate"])).await;
        assert_eq!(ended.code(), 0, "{ended}");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a new keyring, for its owner alone.
    pub fn write_key(&self, name: &str) {
        self.write(name, &Keyring::generate().to_text());
        self.chmod(name, 0o600);
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The binary with these arguments, here, and away from this process's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentgate"));
        command.args(arguments);
        prepare(&mut command, self.directory.path());
        command
    }

    /// The same behind a shell script that ends with `exec "$0" "$@"`.
    pub fn behind(&self, script: &str, command: &Command) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).arg(command.get_program());
        shell.args(command.get_args());
        prepare(&mut shell, self.directory.path());
        shell
    }

    /// A command that opens the database: `migrate`, `ledger replay --check`.
    pub fn maintain(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        self.name_database(&mut command);
        command
    }

    /// `serve` on the database, the policy and the catalogue of this place, with further arguments.
    pub fn serve(&self, arguments: &[&str]) -> Command {
        let mut command = self.serve_without_catalog(arguments);
        command.args(["--catalog", "catalog.toml"]);
        command
    }

    pub fn serve_without_catalog(&self, arguments: &[&str]) -> Command {
        self.serve_on("127.0.0.1:0", arguments)
    }

    /// The same somewhere else.
    pub fn serve_on(&self, listen: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&["serve", "--listen", listen]);
        self.name_database(&mut command);
        command.args(["--policy", "policy.toml"]).args(arguments);
        command
    }

    fn name_database(&self, command: &mut Command) {
        match &self.database {
            None => command.args(["--database", "sqlite:gate.db"]),
            Some(database) => {
                command.args(["--database", database.url(), "--key-file", "gate.key"])
            }
        };
    }

    /// The same over a wire to the database.
    pub fn serve_over(&self, cable: &Cable, arguments: &[&str]) -> Command {
        self.serve_at(cable.url(), arguments)
    }

    /// The same with another URL of the database.
    pub fn serve_at(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--database", url, "--key-file", "gate.key"]);
        command.args(["--policy", "policy.toml", "--catalog", "catalog.toml"]);
        command.args(arguments);
        command
    }

    /// Serves here, with nothing said but what must be.
    pub async fn gate(&self) -> Gate {
        Gate::start(self.serve(&[])).await
    }

    /// A second way into the database, past the gate.
    pub async fn sql(&self) -> Raw {
        match &self.database {
            None => Raw::sqlite(&self.path("gate.db")).await,
            Some(database) => Raw::postgres(database.url()).await,
        }
    }

    /// Folds all events again and finds the stored facts; says how many events there are.
    pub async fn replay(&self) -> u64 {
        replayed(self.maintain(&REPLAY)).await
    }

    /// The same with another URL of the database.
    pub async fn replay_at(&self, url: &str) -> u64 {
        replayed(self.maintain_at(url, &REPLAY)).await
    }

    /// [`Place::maintain`] with another URL of the database.
    pub fn maintain_at(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.args(["--database", url, "--key-file", "gate.key"]);
        command
    }
}

async fn replayed(command: Command) -> u64 {
    let (ended, report) = gate::run(command).await;
    assert_eq!(ended.code(), 0, "{report}{ended}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["differences"], serde_json::json!([]), "{report}");
    report["events"].as_u64().unwrap()
}

fn prepare(command: &mut Command, directory: &Path) {
    command.current_dir(directory).env_clear();
    command.stdin(Stdio::null());
}
