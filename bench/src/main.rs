//! `make bench`: starts the service and what it is compared with, measures both in turn, and writes BENCHMARKS.md.
//!
//! Here is the command line alone.

#![allow(clippy::print_stderr, reason = "a program for people at a terminal")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use consentgate_bench::report::{self, Measured, PARTS};
use consentgate_bench::rows::{self, Bench};
use consentgate_bench::{fill, hosts, instructions};

#[derive(Debug, Parser)]
#[command(about = "Measures consentgate beside what it is compared with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures parts (all, if none is named) and writes the report.
    Run {
        /// The binary of the service.
        #[arg(long)]
        gate: PathBuf,
        /// People in the database.
        #[arg(long, default_value_t = 1_000_000)]
        people: u64,
        /// How often each comparison is made.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 4)]
        seconds: u32,
        /// Which parts.
        parts: Vec<String>,
    },
    /// Writes the report of what was measured earlier.
    Report,
    /// Counts the instructions of calls and adds a line to bench/instructions.csv.
    Instructions,
    /// Makes the database for `count`. Started by `instructions`.
    #[command(hide = true)]
    Fill { directory: PathBuf },
    /// Carries a call out so often. Started by `instructions`.
    #[command(hide = true)]
    Count {
        case: String,
        directory: PathBuf,
        calls: u64,
    },
    /// Serves the bare service. Started by `run`.
    #[command(hide = true)]
    Bare {
        address: SocketAddr,
        answer_bytes: usize,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Report => write_report(),
        Command::Instructions => instructions::measure("bench/instructions.csv".as_ref()),
        Command::Fill { directory } => instructions::fill(&directory),
        Command::Count {
            case,
            directory,
            calls,
        } => instructions::count(&case, &directory, calls),
        served => tokio::runtime::Runtime::new()?.block_on(serve_or_measure(served)),
    }
}

async fn serve_or_measure(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Bare {
            address,
            answer_bytes,
        } => hosts::bare::Bare::new(answer_bytes).serve(address).await,
        Command::Run {
            gate,
            people,
            rounds,
            seconds,
            parts,
        } => {
            let wanted: Vec<&str> = match parts.is_empty() {
                true => PARTS.to_vec(),
                false => parts.iter().map(String::as_str).collect(),
            };
            if let Some(unknown) = wanted.iter().find(|part| !PARTS.contains(part)) {
                anyhow::bail!("there is no part `{unknown}`; the parts are {PARTS:?}");
            }
            let bench = Bench::prepare(gate, people, rounds, seconds).await?;
            let measured = measure(&bench, &wanted).await;
            write_report()?;
            measured
        }
        _ => Ok(()),
    }
}

async fn measure(bench: &Bench, wanted: &[&str]) -> anyhow::Result<()> {
    // It fills the database that the others ask about; without it, it is filled at once.
    if wanted.contains(&"growth") {
        one(bench, "growth").await?;
    } else {
        eprintln!("filling");
        fill::people(&bench.gates, 0, bench.people).await?;
    }
    let mut failed = Vec::new();
    for part in PARTS
        .iter()
        .filter(|part| wanted.contains(part) && **part != "growth")
    {
        // A part that fails leaves the others their turn, and its earlier figures in the report.
        if let Err(error) = one(bench, part).await {
            eprintln!("  `{part}` failed: {error:#}");
            failed.push(*part);
        }
    }
    anyhow::ensure!(
        failed.is_empty(),
        "{failed:?} failed, and what is kept of them is of an earlier run"
    );
    Ok(())
}

async fn one(bench: &Bench, name: &str) -> anyhow::Result<()> {
    eprintln!("measuring: {name}");
    let part = match name {
        "warm" => rows::warm::measure(bench).await,
        "latency" => rows::latency::measure(bench).await,
        "ways" => rows::ways::measure(bench).await,
        "batch" => rows::batch::measure(bench).await,
        "cold" => rows::cold::measure(bench).await,
        "writes" => rows::writes::measure(bench).await,
        "withdraw" => rows::withdraw::measure(bench).await,
        "growth" => rows::growth::measure(bench).await,
        _ => rows::overload::measure(bench).await,
    }?;
    for row in &part.rows {
        let compared = &row.compared;
        eprintln!(
            "  {} beside {}: {:.0} and {:.0} {}, {:.3} ({:.3} to {:.3})",
            row.what,
            row.reference,
            compared.ours,
            compared.theirs,
            row.unit,
            compared.ratio,
            compared.spread.0,
            compared.spread.1
        );
    }
    for note in &part.notes {
        eprintln!("  {note}");
    }
    let measured = Measured {
        commit: report::commit(),
        when: report::today(),
        people: bench.people,
        rounds: bench.rounds,
        seconds: bench.seconds,
        part,
    };
    report::keep(&kept(), name, &measured)
}

/// Committed: whoever measures some parts keeps the others' rows.
fn kept() -> PathBuf {
    "bench/results".into()
}

fn write_report() -> anyhow::Result<()> {
    report::write(
        &kept(),
        "BENCHMARKS.md".as_ref(),
        "docs/benchmarks".as_ref(),
    )
}
