//! The command line: the gate itself (`serve`), and everything one asks of it from a shell.
//!
//! Commands that a server offers go to it over gRPC, so that no rule is written twice; only
//! `migrate`, `ledger` and `token` open the database, and `policy` reads a file alone. This file parses, chooses the command and turns its
//! result into an exit code; each command has a file. Standard output carries the answer and
//! nothing else, standard error everything that is said about it.

mod batch;
mod catalog;
mod check;
mod client;
mod erase;
mod explain;
mod failure;
mod fields;
mod json;
mod keys;
mod maintain;
mod memory;
mod output;
mod policy;
mod reasons;
mod recipient;
mod record;
mod show;
mod table;
mod timeline;
mod token;
mod wire;
mod withdraw;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::Builder;

use crate::config::Flags;
use output::{Format, Output};

const EXAMPLES: &str = "\
Examples:
  consentgate serve --example
  consentgate check +4915112345678 --business acme --purpose offers
  consentgate withdraw +4915112345678 --business acme --all-marketing --method KEYWORD
  consentgate show +4915112345678 --business acme
  consentgate batch campaign.txt --business acme --purpose offers

Exit codes: 0 done, and for `check` ALLOW; 2 an error, and nothing was decided.
`check`: 1 DENY, 3 DEFER. `ledger replay`: 1 if the facts differ from the events. `policy check`: 1 if
the file would be refused.";

/// May this business send this kind of WhatsApp message to this person, now?
#[derive(Debug, Parser)]
#[command(name = "consentgate", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Globals {
    /// How the answer is printed: `table` for people, `json` for programs (one object, fields named
    /// as in the .proto files; what is empty or unset is left out).
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table",
        env = "CONSENTGATE_OUTPUT",
        help_heading = "Global options"
    )]
    output: Format,
    /// The server to ask: `http://HOST:PORT`, `https://HOST:PORT` (with `--ca-file`) or `unix:PATH`.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        env = "CONSENTGATE_SERVER",
        help_heading = "Global options"
    )]
    server: String,
    /// File with the token to show to the server. Without it the token is taken from the environment
    /// variable CONSENTGATE_TOKEN, if that is set; there is no flag for the token itself, because others on
    /// the machine can read the flags of a process.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CONSENTGATE_TOKEN_FILE",
        help_heading = "Global options"
    )]
    token_file: Option<PathBuf>,
    /// PEM file with the CA of the server's certificate: the server is spoken to by TLS.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CONSENTGATE_CA_FILE",
        help_heading = "Global options"
    )]
    ca_file: Option<PathBuf>,
    /// PEM file with the certificate to show to the server, and after it the chain to its CA.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CONSENTGATE_CERTIFICATE_FILE",
        requires = "ca_file",
        requires = "certificate_key",
        help_heading = "Global options"
    )]
    certificate_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CONSENTGATE_CERTIFICATE_KEY",
        requires = "certificate_file",
        help_heading = "Global options"
    )]
    certificate_key: Option<PathBuf>,
    /// Longest time to wait for the server, for each call.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = fields::timeout,
        help_heading = "Global options"
    )]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the gate over gRPC. `serve --example` works at once, with nothing prepared.
    #[command(after_help = "\
Examples:
  consentgate serve --example
  consentgate serve --database sqlite:gate.db --catalog catalog.toml
  consentgate serve --database postgres://gate@db/gate --key-file /etc/consentgate/consentgate.key")]
    Serve(Box<Flags>),
    /// Bring the database's schema up to date.
    Migrate(Box<Flags>),
    /// Ask whether a message may be sent to one person. Exit code: 0 ALLOW, 1 DENY, 3 DEFER, 2
    /// error. Send only on 0.
    #[command(after_help = "\
Examples:
  consentgate check +4915112345678 --business acme --purpose offers
  consentgate check '+49 (151) 123-456 78' --business acme --purpose orders --class UTILITY
  consentgate check wa:5215512345678 --business acme --purpose offers --output json")]
    Check(check::CheckArgs),
    /// Ask the same question for a list of people, and count the answers.
    #[command(after_help = "\
One number a line, as people type it: +49 (151) 123-456 78. Blank lines and what follows a `#` are
left out. Numbers without a country code are refused, each with its line.

Examples:
  consentgate batch campaign.txt --business acme --purpose offers
  cut -d, -f2 customers.csv | consentgate batch --business acme --purpose offers --details
  consentgate batch campaign.txt --business acme --purpose offers --details --output json")]
    Batch(batch::BatchArgs),
    /// Record that a person gave, was asked for, put off or refused consent.
    #[command(after_help = "\
Examples:
  consentgate record +4915112345678 --business acme --purpose offers --notice signup:3:de \\
    --type EXPLICITLY_EXPRESSED --method UNTICKED_CHECKBOX --declare default_unticked=true \\
    --declare separate_from_terms=true --evidence source_url=https://acme.example/join
  consentgate record +4915112345678 --business acme --purpose offers --event-state REFUSED")]
    Record(Box<record::RecordArgs>),
    /// Complete a double opt-in.
    #[command(after_help = "\
Example:
  consentgate confirm +4915112345678 --business acme --method KEYWORD --evidence message_id=wamid.1")]
    Confirm(record::ConfirmArgs),
    /// End consent. Returns once nothing can be allowed from before it.
    #[command(after_help = "\
Examples:
  consentgate withdraw +4915112345678 --business acme --purpose offers --purpose news
  consentgate withdraw +4915112345678 --business acme --all-marketing --method KEYWORD
  consentgate withdraw user:DE.13491208655302741918 --business acme --everything --method PHONE")]
    Withdraw(withdraw::WithdrawArgs),
    /// Erase a person's data. What restricts stays, so that the person is not written to again. It cannot be
    /// undone. Returns once nothing can be allowed from before it.
    #[command(after_help = "\
Examples:
  consentgate erase +4915112345678 --business acme --basis SUBJECT_REQUEST --reason 'letter of May'
  consentgate erase user:DE.13491208655302741918 --business acme --basis AUTHORITY_ORDER")]
    Erase(erase::EraseArgs),
    /// Explain an answer of `check` to a person: which rule decided, what it rests on, and what would
    /// have to change. Exit code as for `check`; it is no permission to send.
    #[command(after_help = "\
Examples:
  consentgate explain +4915112345678 --business acme --purpose offers
  consentgate explain +4915112345678 --business acme --purpose offers --at 2026-05-03T14:22:07Z
  consentgate explain wa:5215512345678 --business acme --purpose offers --output json")]
    Explain(explain::ExplainArgs),
    /// Show a person's consents and their history: what, when, how, which notice.
    #[command(after_help = "\
Examples:
  consentgate show +4915112345678 --business acme
  consentgate show +4915112345678 --business acme --evidence --output json")]
    Show(show::ShowArgs),
    /// Show or apply businesses, senders, purposes and notices.
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Check a policy file, or show what holds in a jurisdiction. Needs no server.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Examine the ledger itself. Opens the database.
    #[command(subcommand)]
    Ledger(maintain::LedgerCommand),
    /// Make a keyring, or change to a newer key.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make, list and revoke the tokens that callers show. Opens the database.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print the settings in effect and who set them, secrets hidden.
    #[command(after_help = "\
Examples:
  consentgate config --config consentgate.toml
  consentgate config --example-file > consentgate.toml")]
    Config(Box<maintain::ConfigArgs>),
    /// Print the completions of a shell.
    #[command(after_help = "\
Example:
  consentgate completions bash > /etc/bash_completion.d/consentgate")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Done; for `check`: ALLOW.
    Done = 0,
    /// DENY, a replay that found differences, or a policy file with mistakes.
    No = 1,
    /// Nothing was decided, or not everything was done.
    Failed = 2,
    /// DEFER.
    Later = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    if let Err(error) = memory::keep_private() {
        output::say(format_args!("core dumps cannot be switched off: {error}"));
    }
    run_with(std::env::args_os()).into()
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let Arguments { globals, command } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and versions are errors without a fault, for clap. Where standard output is
            // closed there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Failed
            } else {
                Exit::Done
            };
        }
    };
    let mut output = Output::standard(globals.output);
    let done = execute(command, &globals, &mut output);
    // What was printed must be out before it counts as told.
    let done = done.and_then(|exit| output.flush().map(|()| exit));
    done.unwrap_or_else(|error| {
        failure::report(&error, &globals.server);
        Exit::Failed
    })
}

fn execute(command: Command, globals: &Globals, output: &mut Output) -> anyhow::Result<Exit> {
    let runtime = match &command {
        Command::Serve(_) => Builder::new_multi_thread().enable_all().build()?,
        // One thread for the connection, beside the one that reads files and prints.
        _ => Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?,
    };
    match command {
        Command::Serve(flags) => maintain::serve(&runtime, &flags),
        Command::Migrate(flags) => maintain::migrate(&runtime, &flags, output),
        Command::Ledger(command) => maintain::ledger(&runtime, command, output),
        Command::Keys(command) => keys::run(&runtime, command, output),
        Command::Token(command) => token::run(&runtime, command, output),
        Command::Config(args) => maintain::config(&args, output),
        Command::Policy(command) => policy::run(command, output),
        Command::Check(args) => runtime.block_on(check::check(args, globals, output)),
        Command::Explain(args) => runtime.block_on(explain::explain(args, globals, output)),
        Command::Batch(args) => runtime.block_on(batch::batch(args, globals, output)),
        Command::Record(args) => runtime.block_on(record::record(*args, globals, output)),
        Command::Confirm(args) => runtime.block_on(record::confirm(args, globals, output)),
        Command::Withdraw(args) => runtime.block_on(withdraw::withdraw(args, globals, output)),
        Command::Erase(args) => runtime.block_on(erase::erase(args, globals, output)),
        Command::Show(args) => runtime.block_on(show::show(args, globals, output)),
        Command::Catalog(command) => runtime.block_on(catalog::run(command, globals, output)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "consentgate", &mut script);
            output.bytes(&script)?;
            Ok(Exit::Done)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_example_of_the_help_is_a_command() {
        let mut examples = 0;
        for command in std::iter::once(&Arguments::command())
            .chain(Arguments::command().get_subcommands().collect::<Vec<_>>())
        {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in help.replace("\\\n", " ").lines() {
                let Some(start) = line.find("consentgate ") else {
                    continue;
                };
                if !line.starts_with("  ") {
                    continue;
                }
                let words = line[start..].split(" > ").next().unwrap_or_default();
                let parsed = Arguments::try_parse_from(shell_words(words));
                assert!(parsed.is_ok(), "{words}: {}", parsed.unwrap_err());
                examples += 1;
            }
        }
        assert!(examples > 15, "{examples}");
    }

    /// Splits at spaces outside single quotes.
    fn shell_words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                _ => words.last_mut().expect("one from the start").push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "consentgate --output json --timeout 2s completions bash",
            "consentgate completions bash --timeout 2s --output json",
        ] {
            let globals = parse(line).unwrap().globals;
            assert_eq!(globals.output, Format::Json);
            assert_eq!(globals.timeout, Duration::from_secs(2));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused_before_anything_is_asked() {
        for line in [
            "consentgate check +4915112345678 --business acme",
            "consentgate check 015112345678 --business acme --purpose offers",
            "consentgate check +4915112345678 --business acme --purpose offers --class PROMO",
            "consentgate check +4915112345678 --business acme --purpose offers --timeout 0s",
            "consentgate withdraw +4915112345678 --business acme",
            "consentgate withdraw +4915112345678 --business acme --everything --all-marketing",
            "consentgate record +4915112345678 --business acme",
            "consentgate nothing",
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }

    #[test]
    fn what_the_help_says_is_no_error() {
        assert_eq!(
            run_with(["consentgate", "--version"].map(OsString::from)),
            Exit::Done
        );
    }

    #[test]
    fn the_debug_form_of_the_arguments_has_no_address() {
        let line = "consentgate check +4915112345678 --business acme --purpose offers";
        assert!(!format!("{:?}", parse(line).unwrap()).contains("151123"));
    }
}
