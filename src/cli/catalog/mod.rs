//! `catalog`: the businesses, senders, purposes and notices of a server.

mod apply;
mod draft;
mod stored;

use std::path::PathBuf;

use clap::Subcommand;

use super::client::Client;
use super::output::Output;
use super::{Exit, Globals};

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// Bring the server's catalogue to what a file says. Applying it again changes nothing; what
    /// the file does not name stays, and so do a sender's aliases and whether it is held where the
    /// file does not say: only `held = false` releases one.
    #[command(after_help = "\
Examples:
  consentgate catalog apply catalog.toml --dry-run
  consentgate catalog apply catalog.toml")]
    Apply {
        /// TOML file, as `serve --catalog` takes it.
        file: PathBuf,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the catalogue.
    #[command(after_help = "\
Example:
  consentgate catalog show --business acme --output json")]
    Show {
        /// Only this business.
        #[arg(long, value_name = "SLUG")]
        business: Option<String>,
    },
}

pub(super) async fn run(
    command: CatalogCommand,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    match command {
        CatalogCommand::Apply { file, dry_run } => {
            // A file that cannot be read needs no server.
            let drafts = draft::read(&file)?;
            let client = Client::connect(globals).await?;
            apply::apply(&client, &file, &drafts, dry_run, output).await
        }
        CatalogCommand::Show { business } => {
            let client = Client::connect(globals).await?;
            stored::show(&client, business.as_deref(), output).await
        }
    }
}
