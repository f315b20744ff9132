//! Instructions of a call, counted by callgrind: the same on a busy machine and on an idle one, so that a commit which
//! makes a call dearer is seen anywhere. One line for each commit is kept in `bench/instructions.csv`.
//!
//! A call is carried out in one process and thread, over HTTP/2 through memory, once `n` and once `2n` times; the
//! difference is what `n` calls cost, without start and end. The bare service goes the same way, so what a check costs above
//! it is ours. The database is SQLite, whose instructions count as well. callgrind's processor has no instructions for
//! SHA-256: one HMAC is about 5,800 instructions there, and 400 on a real one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use consentgate::clock::Clock;
use consentgate::config::{Config, Database};
use consentgate::domain::time::Timestamp;
use consentgate::grpc;
use consentgate::server::Server;
use consentgate::telemetry::{self, Metrics};
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audience::{self, framed};
use crate::credentials;
use crate::hosts::bare::{self, Bare};
use crate::load::wire::{Call, Wire};
use crate::report;

/// People in the database that is counted on.
const PEOPLE: u64 = 4_000;
/// How often a call is carried out; then twice as often. With a quarter of it two counts of the same program differed by
/// up to 4,000 a call, since when tasks run depends on the clock; with as many by about 1,000.
const CALLS: u64 = 2_000;
/// Each of these is a hundred checks.
const BATCHES: u64 = 200;
/// `token` and `jwt` are `warm` with a credential to be judged, `batch` is a call about a hundred people who are in memory.
/// Further ones go to the end: the file has a column for each.
const CASES: [&str; 7] = ["bare", "warm", "cold", "record", "token", "jwt", "batch"];

/// Counts every case, compares with the last line that was kept, and adds one.
pub fn measure(file: &Path) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let filled = Command::new(&program)
        .arg("fill")
        .arg(directory.path())
        .status()?;
    ensure!(filled.success(), "the database was not filled");
    let mut counts = Vec::new();
    for case in CASES {
        let calls = match case {
            "batch" => BATCHES,
            _ => CALLS,
        };
        let once = collected(&program, directory.path(), case, calls)?;
        let twice = collected(&program, directory.path(), case, 2 * calls)?;
        counts.push(twice.saturating_sub(once) / calls);
    }
    let above = counts[1].saturating_sub(counts[0]);
    let before = std::fs::read_to_string(file).unwrap_or_else(|_| {
        "commit,when,bare,warm,cold,record,warm above bare,token,jwt,batch\n".into()
    });
    let mut counted: Vec<String> = counts.iter().map(u64::to_string).collect();
    counted.insert(4, above.to_string());
    let line = format!(
        "{},{},{}\n",
        report::commit(),
        report::today(),
        counted.join(",")
    );
    eprint!(
        "{}{line}",
        before
            .lines()
            .last()
            .map(|last| format!("{last}\n"))
            .unwrap_or_default()
    );
    Ok(std::fs::write(file, before + &line)?)
}

fn collected(program: &Path, directory: &Path, case: &str, calls: u64) -> anyhow::Result<u64> {
    // Each on the same database, whatever the one before wrote.
    let own = tempfile::tempdir()?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        std::fs::copy(entry.path(), own.path().join(entry.file_name()))?;
    }
    if case == "token" {
        // Here, since the service's own clock does not run under valgrind.
        let token = runtime()?.block_on(credentials::token(&configured(own.path())))?;
        std::fs::write(own.path().join("token"), token)?;
    }
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["count", case])
        .arg(own.path())
        .arg(calls.to_string())
        .output()
        .context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{case}: {text}");
    let count = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    Ok(count
        .with_context(|| format!("no count in {text}"))?
        .1
        .trim()
        .parse()?)
}

/// Makes a database with people in it, for the counts.
pub fn fill(directory: &Path) -> anyhow::Result<()> {
    std::fs::write(
        directory.join("catalog.toml"),
        include_str!("../../examples/acme/catalog.toml"),
    )?;
    std::fs::write(directory.join("policy.toml"), audience::policy())?;
    runtime()?.block_on(async {
        let mut gate = gate(&configured(directory)).await?;
        let call = Call::to(audience::RECORD, None)?;
        for person in 0..PEOPLE {
            gate.call(&call, framed(&audience::record(person, "fill")))
                .await?;
        }
        Ok(())
    })
}

/// Carries one case out so often. What callgrind runs.
pub fn count(case: &str, directory: &Path, calls: u64) -> anyhow::Result<()> {
    // For both, as a server in production has one: without it every span of the transport would look
    // for another logger.
    tracing::subscriber::set_global_default(telemetry::subscriber(
        &Config::default(),
        std::io::sink,
        false,
        None,
    )?)?;
    runtime()?.block_on(async {
        let mut config = configured(directory);
        let now = PlainClock(Instant::now()).now();
        let authorization = match case {
            "token" => Some(std::fs::read_to_string(directory.join("token"))?),
            "jwt" => Some(credentials::jwt(&mut config, directory, now)?),
            _ => None,
        };
        let (mut wire, path) = match case {
            "bare" => (plain().await?, bare::PATH),
            "record" => (gate(&config).await?, audience::RECORD),
            "batch" => (gate(&config).await?, audience::BATCH),
            _ => (gate(&config).await?, audience::CHECK),
        };
        let call = Call::to(path, authorization.as_deref())?;
        let check = framed(&audience::check(7));
        let batch = framed(&audience::batch(0..100));
        let frame = |number: u64| -> Bytes {
            match case {
                "bare" => framed(&bare::Blob::sized(check.len() - 5)),
                "cold" => framed(&audience::check(number)),
                "record" => framed(&audience::record(PEOPLE + number, "count")),
                "batch" => batch.clone(),
                _ => check.clone(),
            }
        };
        for number in 0..calls {
            wire.call(&call, frame(number)).await?;
        }
        Ok(())
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// The bare service at the other end of a pipe.
async fn plain() -> anyhow::Result<Wire> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let serving = tonic::transport::Server::builder()
        .add_service(Bare::new(ANSWER))
        .serve_with_incoming(tokio_stream::once(Ok::<DuplexStream, std::io::Error>(
            theirs,
        )));
    tokio::spawn(serving);
    Wire::over(ours).await
}

/// About the length of an answer to a check.
const ANSWER: usize = 228;

fn configured(directory: &Path) -> Config {
    Config {
        database: Database::Sqlite(directory.join("consentgate.db")),
        catalog: Some(PathBuf::from(directory).join("catalog.toml")),
        policy: Some(PathBuf::from(directory).join("policy.toml")),
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        ..Config::default()
    }
}

/// The gate at the other end of a pipe, with its metrics on.
async fn gate(config: &Config) -> anyhow::Result<Wire> {
    let provider = SdkMeterProvider::builder()
        .with_reader(ManualReader::default())
        .build();
    let metrics = Metrics::new(&provider);
    let clock: Arc<dyn Clock> = Arc::new(PlainClock(Instant::now()));
    let server = Server::bind(config, Arc::clone(&clock), metrics.clone()).await?;
    let (writes, stop) = (TaskTracker::new(), CancellationToken::new());
    let router = grpc::router(config, server.services(), &clock, &metrics, &writes, &stop);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        // What is behind the handlers lives as long as they do.
        let _kept = (server, provider);
        router
            .serve_with_incoming(tokio_stream::once(Ok::<DuplexStream, std::io::Error>(
                theirs,
            )))
            .await
    });
    Wire::over(ours).await
}

/// The system's clocks through the C library: the service's own way to them does not run under valgrind, whose page of
/// kernel functions it does not recognise.
#[derive(Debug)]
struct PlainClock(Instant);

impl Clock for PlainClock {
    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(0))
    }

    fn steady(&self) -> Duration {
        self.0.elapsed()
    }
}
