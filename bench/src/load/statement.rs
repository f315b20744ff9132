//! The references on PostgreSQL: what a team without a cache, or without this service, would send. Through a pool like
//! the service's own, by callers that each wait for their answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::closed::Done;
use crate::fill::reference_key;

/// As many connections as the service has by default.
const CONNECTIONS: u32 = 16;

pub async fn pool(database: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .min_connections(CONNECTIONS)
        // As the service: it would be a round trip for each statement.
        .test_before_acquire(false)
        .connect(database)
        .await?)
}

/// `SELECT` by primary key, of one of so many people each: statements a second.
pub async fn select_one(
    database: &str,
    callers: usize,
    people: u64,
    lasts: Duration,
) -> anyhow::Result<f64> {
    let pool = pool(database).await?;
    let done = repeat(callers, lasts, {
        let pool = pool.clone();
        move |number| {
            let pool = pool.clone();
            async move {
                let value: Vec<u8> =
                    sqlx::query_scalar("SELECT value FROM reference WHERE key = $1")
                        .bind(reference_key(scattered(number, people)))
                        .fetch_one(&pool)
                        .await?;
                anyhow::ensure!(value.len() == 64, "another value");
                Ok(())
            }
        }
    })
    .await?;
    pool.close().await;
    Ok(done.per_second())
}

/// `SELECT … WHERE key = ANY($1)` of so many keys each: keys a second. Numbers go on from `from`.
pub async fn select_many(
    database: &str,
    callers: usize,
    keys: u64,
    people: u64,
    lasts: Duration,
) -> anyhow::Result<f64> {
    let pool = pool(database).await?;
    let done = repeat(callers, lasts, {
        let pool = pool.clone();
        move |number| {
            let pool = pool.clone();
            async move {
                let asked: Vec<[u8; 16]> = (0..keys)
                    .map(|key| reference_key((number * keys + key) % people))
                    .collect();
                let asked: Vec<&[u8]> = asked.iter().map(<[u8; 16]>::as_slice).collect();
                let found: Vec<(Vec<u8>, Vec<u8>)> =
                    sqlx::query_as("SELECT key, value FROM reference WHERE key = ANY($1)")
                        .bind(asked)
                        .fetch_all(&pool)
                        .await?;
                anyhow::ensure!(
                    found.len() as u64 == keys,
                    "{} of {keys} found",
                    found.len()
                );
                Ok(())
            }
        }
    })
    .await?;
    pool.close().await;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    Ok(done.per_second() * keys as f64)
}

/// An INSERT of an event and an UPSERT of a state in one transaction: transactions a second.
pub async fn insert_and_upsert(
    database: &str,
    callers: usize,
    lasts: Duration,
) -> anyhow::Result<f64> {
    let pool = pool(database).await?;
    let done = repeat(callers, lasts, {
        let pool = pool.clone();
        move |_| {
            let pool = pool.clone();
            async move { written(&pool).await }
        }
    })
    .await?;
    pool.close().await;
    Ok(done.per_second())
}

/// The same of so many events and states, by one statement each: rows of each a second.
pub async fn insert_and_upsert_many(
    database: &str,
    callers: usize,
    rows: u64,
    lasts: Duration,
) -> anyhow::Result<f64> {
    let pool = pool(database).await?;
    let done = repeat(callers, lasts, {
        let pool = pool.clone();
        move |_| {
            let pool = pool.clone();
            async move { written_many(&pool, rows).await }
        }
    })
    .await?;
    pool.close().await;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    Ok(done.per_second() * rows as f64)
}

async fn written_many(pool: &PgPool, rows: u64) -> anyhow::Result<()> {
    let from = NEXT.fetch_add(rows, Ordering::Relaxed);
    let numbers: Vec<u64> = (from..from + rows).collect();
    let people: Vec<i64> = numbers
        .iter()
        .map(|number| i64::try_from(*number))
        .collect::<Result<_, _>>()?;
    let keys: Vec<[u8; 16]> = numbers
        .iter()
        .map(|number| reference_key(*number))
        .collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO written (person, body) SELECT * FROM UNNEST($1::bigint[], $2::bytea[])",
    )
    .bind(people)
    .bind(vec![vec![b'x'; 300]; numbers.len()])
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO state (key, value) SELECT * FROM UNNEST($1::bytea[], $2::bytea[])
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(keys)
    .bind(vec![vec![b'x'; 64]; numbers.len()])
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

/// Whose rows are written next, by whichever of the writers.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One such transaction.
pub async fn written(pool: &PgPool) -> anyhow::Result<()> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO written (person, body) VALUES ($1, $2)")
        .bind(i64::try_from(number)?)
        .bind(vec![b'x'; 300])
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO state (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(reference_key(number).as_slice())
    .bind(vec![b'x'; 64])
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// Callers that each go on until the time is over.
async fn repeat<F>(
    callers: usize,
    lasts: Duration,
    once: impl Fn(u64) -> F + Send + Sync + 'static,
) -> anyhow::Result<Done>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (next, once) = (Arc::new(AtomicU64::new(0)), Arc::new(once));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..callers {
        let (next, once) = (Arc::clone(&next), Arc::clone(&once));
        tasks.spawn(async move {
            let mut calls = 0;
            while started.elapsed() < lasts {
                once(next.fetch_add(1, Ordering::Relaxed)).await?;
                calls += 1;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(ended) = tasks.join_next().await {
        calls += ended??;
    }
    Ok(Done {
        calls,
        took: started.elapsed(),
    })
}

/// Another person each time, in no order that a disk or cache would like: a multiplier without a factor in common with
/// any count of people that is a power of ten.
pub fn scattered(number: u64, people: u64) -> u64 {
    number.wrapping_mul(7_777_777) % people
}
