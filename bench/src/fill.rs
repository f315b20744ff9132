//! Fills databases: people with one grant each in the gate's, as many rows in the reference's. The gate's people are
//! recorded by the service's own code, so that what is read back is what it would have written; how fast that is, is a
//! row of the table, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consentgate::clock::SystemClock;
use consentgate::consents::record::RecordRequest;
use consentgate::consents::{Consents, Error};
use consentgate::grpc::convert::write;
use consentgate::server::Server;
use consentgate::telemetry::Metrics;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audience;
use crate::hosts::gate::Gates;
use crate::load::closed::Done;

/// People of one statement.
pub const AT_ONCE: u64 = 1_000;
/// Statements at a time.
pub const WRITERS: usize = 4;
/// How often a statement is repeated. Among millions of rows a disk that is behind may hold one up for many seconds.
const REPEATS: usize = 30;

/// The key of a row in the reference's tables: spread like a keyed hash, and known to SQL as well.
pub fn reference_key(number: u64) -> [u8; 16] {
    md5::compute(number.to_string()).0
}

/// The tables that the references on PostgreSQL use, with a row for each person.
pub async fn references(database: &str, people: u64) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    for statement in [
        "CREATE TABLE reference (key bytea PRIMARY KEY, value bytea NOT NULL)",
        "CREATE TABLE written (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person bigint NOT NULL, body bytea NOT NULL)",
        "CREATE TABLE state (key bytea PRIMARY KEY, value bytea NOT NULL)",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    sqlx::query(
        "INSERT INTO reference SELECT decode(md5(n::text), 'hex'), decode(repeat('ab', 64), 'hex')
         FROM generate_series(0, $1 - 1) AS n",
    )
    .bind(i64::try_from(people)?)
    .execute(&mut connection)
    .await?;
    sqlx::query("VACUUM ANALYZE reference")
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// Records a grant of everybody from `from` up to `to`, a thousand at a time.
pub async fn people(gates: &Gates, from: u64, to: u64) -> anyhow::Result<()> {
    recorded(gates, from, to, Duration::MAX).await?;
    let mut connection = PgConnection::connect(gates.database()).await?;
    sqlx::query("VACUUM ANALYZE")
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// The same, until it has lasted so long: people who were recorded.
pub async fn recorded(gates: &Gates, from: u64, to: u64, lasts: Duration) -> anyhow::Result<Done> {
    let server = Server::bind(&gates.config(), Arc::new(SystemClock), Metrics::disabled()).await?;
    let consents = server.services().consents.clone();
    let stop = CancellationToken::new();
    let ended = stop.clone().cancelled_owned();
    let running = tokio::spawn(server.serve(ended));
    let next = Arc::new(AtomicU64::new(from));
    let mut writers = JoinSet::new();
    let started = Instant::now();
    for _ in 0..WRITERS {
        let (consents, next) = (consents.clone(), Arc::clone(&next));
        writers.spawn(async move {
            let mut done = 0;
            loop {
                let begin = next.fetch_add(AT_ONCE, Ordering::Relaxed);
                if begin >= to || started.elapsed() >= lasts {
                    return anyhow::Ok(done);
                }
                let people = begin..(begin + AT_ONCE).min(to);
                let requests = people.map(|person| write::record(audience::record(person, "fill")));
                let requests: Vec<_> = requests.collect::<Result<_, _>>()?;
                let count = requests.len();
                record(&consents, requests).await?;
                done += u64::try_from(count)?;
            }
        });
    }
    let mut calls = 0;
    while let Some(ended) = writers.join_next().await {
        calls += ended??;
    }
    let took = started.elapsed();
    stop.cancel();
    running.await??;
    Ok(Done { calls, took })
}

/// Records them. A repeat has the same idempotency keys, so nothing is recorded twice.
async fn record(consents: &Consents, requests: Vec<RecordRequest>) -> anyhow::Result<()> {
    let mut repeats = 0..REPEATS;
    loop {
        let answers = consents.record_many(requests.clone()).await;
        let failed = answers.into_iter().find_map(Result::err);
        match failed {
            Some(error @ Error::Unavailable { .. }) if repeats.next().is_some() => {
                eprintln!("filling, repeated in a second: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Some(error) => return Err(error.into()),
            None => return Ok(()),
        }
    }
}
