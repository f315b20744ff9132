//! What runs beside or below the service: `serve` itself, and the commands that open the database
//! or only read the settings.

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::Exit;
use super::json::Object;
use super::output::{self, Format, Output};
use super::table;
use crate::config::{self, Config, Effective, Flags, Loaded};
use crate::ledger::postgres::{Role, SERVICE_ROLE};
use crate::ledger::replay::{self, Report};
use crate::server;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Fold all events again and compare with the stored facts. Changes nothing. Exit code 1 if
    /// they differ, or if an event does not read; the rest is compared all the same.
    #[command(after_help = "\
Example:
  consentgate ledger replay --check --database sqlite:consentgate.db")]
    Replay(Box<ReplayArgs>),
    /// Take a ledger that lost commits as it is, so that the instances that stopped answering go on.
    /// Restore what was lost first if you can: opt-outs that are gone do not hold.
    #[command(after_help = "\
Example:
  consentgate ledger accept-history --database postgres://gate@db/consentgate")]
    AcceptHistory(Box<AcceptArgs>),
}

#[derive(Debug, Args)]
pub(super) struct AcceptArgs {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Only compare. Nothing else is offered; the flag keeps the bare command free for a repair.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Print an example of the settings file instead: every setting, explained, at its default.
    #[arg(long)]
    example_file: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn serve(runtime: &Runtime, flags: &Flags) -> anyhow::Result<Exit> {
    runtime.block_on(Box::pin(server::run(Config::from_process(flags)?)))?;
    Ok(Exit::Done)
}

pub(super) fn migrate(
    runtime: &Runtime,
    flags: &Flags,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let Loaded { config, .. } = Config::from_process(flags)?;
    let role = runtime.block_on(Box::pin(server::migrate(&config)))?;
    let database = config.database.to_string();
    match role {
        Some(Role::Missing) => output::say(format_args!(
            "there is no role `{SERVICE_ROLE}`, and this login may not make one: let an administrator of the \
             server run `CREATE ROLE {SERVICE_ROLE} NOLOGIN`, then migrate again"
        )),
        Some(Role::Granted | Role::NotOurs) | None => {}
    }
    match output.format {
        Format::Table => output.text(format_args!("{database}: the schema is up to date"))?,
        Format::Json => output.json(&Object::new().with("database", database))?,
    }
    Ok(Exit::Done)
}

pub(super) fn ledger(
    runtime: &Runtime,
    command: LedgerCommand,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    match command {
        LedgerCommand::Replay(args) => replay(runtime, &args, output),
        LedgerCommand::AcceptHistory(args) => accept_history(runtime, &args, output),
    }
}

fn accept_history(
    runtime: &Runtime,
    args: &AcceptArgs,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let Loaded { config, .. } = Config::from_process(&args.flags)?;
    let lost = runtime.block_on(Box::pin(server::accept_history(&config)))?;
    match output.format {
        Format::Table => match &lost {
            Some(lost) => output.text(format_args!("accepted without {lost}"))?,
            None => output.text(format_args!(
                "nothing was known to be lost: accepted as it is"
            ))?,
        },
        Format::Json => output.json(&Object::new().maybe("lost", lost))?,
    }
    Ok(Exit::Done)
}

fn replay(runtime: &Runtime, args: &ReplayArgs, output: &mut Output) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        args.check,
        "`ledger replay` only compares so far: say so with `--check`"
    );
    let Loaded { config, .. } = Config::from_process(&args.flags)?;
    let report = runtime.block_on(async {
        let ledger = Box::pin(server::open_ledger(&config)).await?;
        anyhow::Ok(replay::check(&*ledger).await?)
    })?;
    match output.format {
        Format::Table => output.text(report_text(&report))?,
        Format::Json => output.json(&report_json(&report))?,
    }
    Ok(if report.differences.is_empty() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn report_text(report: &Report) -> String {
    let counts = table::list([
        ("partitions", report.partitions.to_string()),
        ("events", report.events.to_string()),
        ("subjects", report.subjects.to_string()),
        ("corrupt events", report.corrupt.to_string()),
        ("differences", report.differences.len().to_string()),
    ]);
    let mut parts = vec![counts];
    if report.other_fold_version > 0 {
        parts.push(format!(
            "{} subjects were not compared: another version of the fold made their facts",
            report.other_fold_version
        ));
    }
    if !report.differences.is_empty() {
        let rows = report.differences.iter().map(|difference| {
            let subject = difference.subject.map(|subject| subject.to_string());
            [
                difference.partition.0.to_string(),
                subject.unwrap_or_default(),
                difference.what.clone(),
            ]
        });
        parts.push(table::table(["partition", "subject", "difference"], rows));
    }
    parts.join("\n\n")
}

fn report_json(report: &Report) -> Object {
    let differences = report.differences.iter().map(|difference| {
        Object::new()
            .with("partition", i64::from(difference.partition.0))
            .maybe(
                "subject_id",
                difference.subject.map(|subject| subject.to_string()),
            )
            .with("difference", &difference.what)
    });
    Object::new()
        .with("partitions", report.partitions)
        .with("events", report.events)
        .with("subjects", report.subjects)
        .with("other_fold_version", report.other_fold_version)
        .with("corrupt", report.corrupt)
        .list("differences", differences)
}

pub(super) fn config(args: &ConfigArgs, output: &mut Output) -> anyhow::Result<Exit> {
    if args.example_file {
        output.bytes(config::example_file().as_bytes())?;
        return Ok(Exit::Done);
    }
    let settings = Config::from_process(&args.flags)?.effective();
    match output.format {
        Format::Table => output.text(settings_text(&settings))?,
        Format::Json => output.json(&settings_json(&settings))?,
    }
    Ok(Exit::Done)
}

fn settings_text(settings: &[Effective]) -> String {
    let rows = settings.iter().map(|setting| {
        let value = setting
            .value
            .clone()
            .unwrap_or_else(|| "(unset)".to_owned());
        [setting.name.to_owned(), value, setting.origin.to_string()]
    });
    table::table(["setting", "value", "set by"], rows)
}

fn settings_json(settings: &[Effective]) -> Object {
    let settings = settings.iter().map(|setting| {
        Object::new()
            .with("name", setting.name)
            .maybe("value", setting.value.as_ref())
            .with("origin", setting.origin.to_string())
    });
    Object::new().list("settings", settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Partition;
    use crate::ledger::replay::Difference;

    #[test]
    fn a_report_names_every_difference() {
        let report = Report {
            partitions: 2,
            events: 40,
            subjects: 7,
            other_fold_version: 1,
            corrupt: 0,
            differences: vec![Difference {
                partition: Partition(9),
                subject: None,
                what: "offset 3 is followed by 5".to_owned(),
            }],
        };
        assert_eq!(
            report_text(&report),
            "partitions      2\nevents          40\nsubjects        7\ncorrupt events  0\ndifferences     1\n\n\
             1 subjects were not compared: another version of the fold made their facts\n\n\
             PARTITION  SUBJECT  DIFFERENCE\n9                   offset 3 is followed by 5"
        );
        assert_eq!(
            serde_json::to_string(&report_json(&report)).unwrap(),
            r#"{"partitions":2,"events":40,"subjects":7,"other_fold_version":1,"corrupt":0,"differences":[{"partition":9,"difference":"offset 3 is followed by 5"}]}"#
        );
    }

    #[test]
    fn the_settings_say_who_set_them() {
        let flags = Flags::of([("database", "postgres://u:hunter2@h/d"), ("key_env", "KEY")]);
        let loaded = Config::load(&flags, [("CONSENTGATE_LOG", "debug")], None).unwrap();
        let shown = settings_text(&loaded.effective());
        let line = |name: &str| {
            shown
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            line("database "),
            ["database", "postgres://u:***@h/d", "flag"]
        );
        assert_eq!(line("log "), ["log", "debug", "environment"]);
        assert_eq!(line("policy"), ["policy", "(unset)", "default"]);
        let json = serde_json::to_string(&settings_json(&loaded.effective())).unwrap();
        assert!(
            json.contains(r#"{"name":"key_env","value":"KEY","origin":"flag"}"#),
            "{json}"
        );
        assert!(!format!("{shown}{json}").contains("hunter2"));
    }
}
