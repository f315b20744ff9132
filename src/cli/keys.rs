//! `keys`: the keyring that a database is made with. Opens no database and asks no server.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Exit;
use super::json::Object;
use super::output::{Format, Output};
use crate::keys::{Keyring, source};

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
}

pub(super) fn run(command: KeysCommand, output: &mut Output) -> anyhow::Result<Exit> {
    let KeysCommand::Generate { out } = command;
    match out {
        Some(path) => write(&path, output)?,
        None => print(&Keyring::generate(), output)?,
    }
    Ok(Exit::Done)
}

fn write(path: &Path, output: &mut Output) -> anyhow::Result<()> {
    source::create(path)?;
    let path = path.display().to_string();
    match output.format {
        Format::Table => output.text(format_args!(
            "{path}: a new keyring. Keep a copy of it apart from the database: without it nobody in \
             the database is found again"
        )),
        Format::Json => output.json(&Object::new().with("key_file", path)),
    }
}

fn print(keyring: &Keyring, output: &mut Output) -> anyhow::Result<()> {
    let text = keyring.to_text();
    match output.format {
        Format::Table => output.bytes(text.as_bytes()),
        Format::Json => output.json(&Object::new().with("keyring", text.as_str())),
    }
}
