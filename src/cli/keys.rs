//! `keys`: the keyring that a database is made with, and the change to a newer key.
//!
//! Making a keyring or a longer one opens no database and asks no server. Rotating opens it: beside the servers
//! (PostgreSQL), or while none runs (SQLite).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::Exit;
use super::json::Object;
use super::output::{Format, Output, say};
use crate::config::{Config, Flags};
use crate::keys::{Keyring, source};
use crate::server::{self, Progress};

/// How often it is said how far a rotation has come.
const TOLD: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new keyring, for a new PostgreSQL database. There is one for the life of a database:
    /// under another one nobody in it is found again. SQLite makes its own.
    #[command(after_help = "\
Examples:
  consentgate keys generate --out consentgate.key
  consentgate keys generate | vault kv put secret/consentgate key=-")]
    Generate {
        /// Write it to this file, which only its owner may read. An existing file is never
        /// overwritten. Without it the keyring is printed, for a key store.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a longer keyring of the one in use: the same keys and a new one, for a rotation. Changes nothing
    /// by itself. Start every server with it, one after the other, and run `keys rotate` then.
    #[command(after_help = "\
Examples:
  consentgate keys add --key-file consentgate.key --out consentgate-2.key
  consentgate keys add --key-command 'vault kv get …' | vault kv put secret/consentgate key=-")]
    Add(Box<AddArgs>),
    /// Bring everything in the database under the newest key of the keyring, also erased people's opt-outs. The
    /// servers go on meanwhile; of SQLite none may run. If it is stopped or killed, run it again: it goes on
    /// where it was. Once it is done the database is of no use to whoever has the older keys alone. They stay
    /// in the keyring: the newest key builds on them.
    #[command(after_help = "\
Example:
  consentgate keys rotate --database postgres://… --key-file consentgate-2.key")]
    Rotate(Box<RotateArgs>),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Write the longer keyring to this file, which only its owner may read. An existing file is never
    /// overwritten. Without it the keyring is printed, for a key store.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(
    runtime: &Runtime,
    command: KeysCommand,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    match command {
        KeysCommand::Generate { out } => {
            let keyring = Keyring::generate();
            hand_over(&keyring, out.as_deref(), None, output)?;
        }
        KeysCommand::Add(args) => {
            let config = Config::from_process(&args.flags)?.config;
            let keyring = server::keyring(&config)?.grown()?;
            let added = Some(keyring.newest());
            hand_over(&keyring, args.out.as_deref(), added, output)?;
        }
        KeysCommand::Rotate(args) => rotate(runtime, &args.flags, output)?,
    }
    Ok(Exit::Done)
}

fn hand_over(
    keyring: &Keyring,
    out: Option<&Path>,
    added: Option<u16>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let text = keyring.to_text();
    let Some(path) = out else {
        return match output.format {
            Format::Table => output.bytes(text.as_bytes()),
            Format::Json => output.json(&Object::new().with("keyring", text.as_str())),
        };
    };
    source::write_private(path, text.as_bytes())?;
    let path = path.display().to_string();
    let what = match added {
        None => "a new keyring".to_owned(),
        Some(number) => format!("the keyring with a new key {number}"),
    };
    match output.format {
        Format::Table => output.text(format_args!(
            "{path}: {what}. Keep a copy of it apart from the database: without it nobody in the database \
             is found again"
        )),
        Format::Json => output.json(
            &Object::new()
                .with("key_file", path)
                .maybe("key", added.map(u64::from)),
        ),
    }
}

fn rotate(runtime: &Runtime, flags: &Flags, output: &mut Output) -> anyhow::Result<()> {
    let config = Config::from_process(flags)?.config;
    let mut told: Option<Instant> = None;
    let report = |progress: Progress| {
        if told.is_some_and(|told| told.elapsed() < TOLD) {
            return;
        }
        told = Some(Instant::now());
        let Progress {
            to,
            what,
            parts,
            moved,
        } = progress;
        let far = parts.map(|(through, of)| format!(", {through} of {of} parts"));
        let far = far.unwrap_or_default();
        say(format_args!(
            "key {to}: {what}{far}; {moved} rows and values so far"
        ));
    };
    let rotated = runtime.block_on(Box::pin(server::rotate(&config, report)))?;
    let (number, moved) = (rotated.number, rotated.rows + rotated.values);
    match output.format {
        Format::Table if moved == 0 => output.text(format_args!(
            "everything lies under key {number}: nothing was to be done"
        )),
        Format::Table => output.text(format_args!(
            "everything lies under key {number}: {} rows were moved, {} values sealed anew",
            rotated.rows, rotated.values
        )),
        Format::Json => output.json(
            &Object::new()
                .with("key", u64::from(number))
                .with("rows_moved", rotated.rows)
                .with("values_sealed", rotated.values),
        ),
    }
}
