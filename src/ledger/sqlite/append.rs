//! Appending on SQLite: one transaction of the one connection that writes.

use std::sync::Arc;

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::stored::Stored;
use super::super::together::{self, Sorted};
use super::super::{Append, Appended, Error, Offset, Part, Position, row, sort_error};
use super::erasing;
use crate::domain::facts::FOLD_VERSION;

pub(super) async fn append(
    writer: &SqlitePool,
    append: &Append<'_>,
    stored: &Stored,
) -> Result<Appended, Error> {
    let order = append.in_lock_order()?;
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sort_error)?;
    let written = match keys_of(&mut transaction, append, stored).await? {
        None => Ok(None),
        Some(keys) => write(&mut transaction, append, &order, &keys).await,
    };
    match written {
        Ok(Some(positions)) => {
            transaction.commit().await.map_err(sort_error)?;
            Ok(Appended::At(positions))
        }
        Ok(None) => {
            transaction.rollback().await.map_err(sort_error)?;
            Ok(Appended::VersionChanged)
        }
        Err(error) => {
            let key_used = is_used_key(&error);
            // The error that stopped the transaction says more than a failing rollback.
            let rolled_back = transaction.rollback().await;
            if key_used {
                rolled_back.map_err(sort_error)?;
                return Ok(Appended::KeyUsed);
            }
            Err(sort_error(error))
        }
    }
}

/// One transaction; if it fails for what one act does, one for each.
pub(super) async fn append_many(
    writer: &SqlitePool,
    appends: &[Append<'_>],
    stored: &Stored,
) -> Vec<Result<Appended, Error>> {
    let sorted = together::sort(appends);
    match append_together(writer, appends, &sorted, stored).await {
        Ok(results) => {
            let results = results.into_iter().zip(sorted);
            return results
                .map(|(result, sorted)| told(result, sorted))
                .collect();
        }
        Err(Fault::Found(error)) => {
            let error = Arc::new(error);
            let shared = appends.iter();
            return shared
                .map(|_| Err(Error::shared(Arc::clone(&error))))
                .collect();
        }
        Err(Fault::Sent(error)) if error.as_database_error().is_none() => {
            let error = Arc::new(sort_error(error));
            let shared = appends.iter();
            return shared
                .map(|_| Err(Error::shared(Arc::clone(&error))))
                .collect();
        }
        Err(Fault::Sent(_)) => {}
    }
    let mut results = Vec::with_capacity(appends.len());
    for (one, sorted) in appends.iter().zip(sorted) {
        let result = match sorted {
            Sorted::Taken(_) => append(writer, one, stored).await,
            Sorted::Later => Ok(Appended::VersionChanged),
            Sorted::Refused(error) => Err(error),
        };
        results.push(result);
    }
    results
}

fn told(result: Appended, sorted: Sorted<'_>) -> Result<Appended, Error> {
    match sorted {
        Sorted::Taken(_) | Sorted::Later => Ok(result),
        Sorted::Refused(error) => Err(error),
    }
}

async fn append_together(
    writer: &SqlitePool,
    appends: &[Append<'_>],
    sorted: &[Sorted<'_>],
    stored: &Stored,
) -> Result<Vec<Appended>, Fault> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut results = vec![Appended::VersionChanged; appends.len()];
    // In the order of their subjects, as they lie on the other database.
    let mut taken: Vec<(usize, &Part<'_>)> = Vec::with_capacity(appends.len());
    for (index, sorted) in sorted.iter().enumerate() {
        match sorted {
            Sorted::Taken(part) => taken.push((index, part)),
            Sorted::Later | Sorted::Refused(_) => {}
        }
    }
    taken.sort_by_key(|(_, part)| (part.subject.partition, part.subject.key));
    for (index, part) in taken {
        match write_unless_used(&mut transaction, &appends[index], part, stored).await {
            Ok(result) => results[index] = result,
            Err(error) => {
                // The error that stopped the transaction says more than a failing rollback.
                let _ = transaction.rollback().await;
                return Err(error);
            }
        }
    }
    transaction.commit().await?;
    Ok(results)
}

/// One act among others, in whose transaction a used key must not be met by an error.
async fn write_unless_used(
    connection: &mut SqliteConnection,
    append: &Append<'_>,
    part: &Part<'_>,
    stored: &Stored,
) -> Result<Appended, Fault> {
    if let Some(call) = &append.idempotency {
        let used: i64 = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM idempotency
             WHERE business_id = ?1 AND rpc = ?2 AND key_hash = ?3)",
        )
        .bind(part.subject.business.as_str())
        .bind(call.rpc.code())
        .bind(call.key_hash.as_slice())
        .fetch_one(&mut *connection)
        .await?;
        if used != 0 {
            return Ok(Appended::KeyUsed);
        }
    }
    let Some(keys) = keys_of(connection, append, stored).await? else {
        return Ok(Appended::VersionChanged);
    };
    let written = write(connection, append, &[0], &keys).await?;
    Ok(written.map_or(Appended::VersionChanged, Appended::At))
}

/// What stopped acts that are written together: the database, or what was found there.
enum Fault {
    Sent(sqlx::Error),
    Found(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sent(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Found(error)
    }
}

/// Where the row of a part's subject lies, or is to be created, and all that its other rows may lie under.
struct Keys {
    row: [u8; 16],
    all: Vec<[u8; 16]>,
}

/// Of each part, in the transaction that writes: nobody else does meanwhile, nor moves rows. `None`: another number
/// is in use than the act was sealed under.
async fn keys_of(
    connection: &mut SqliteConnection,
    append: &Append<'_>,
    stored: &Stored,
) -> Result<Option<Vec<Keys>>, Error> {
    let numbers = stored.numbers();
    if numbers.current != append.key_id {
        return Ok(None);
    }
    let mut keys = Vec::with_capacity(append.parts.len());
    for part in append.parts {
        let all = stored.keys(part.subject.key, numbers)?;
        let mut row = stored.key(part.subject.key, numbers.current)?;
        if let [_, before] = all[..] {
            let unmoved: i64 = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM subject WHERE partition = ?1 AND subject_key = ?2)",
            )
            .bind(part.subject.partition.0)
            .bind(before.as_slice())
            .fetch_one(&mut *connection)
            .await
            .map_err(sort_error)?;
            if unmoved != 0 {
                row = before;
            }
        }
        keys.push(Keys { row, all });
    }
    Ok(Some(keys))
}

/// The statements of one append, in one transaction. `None`: a version has changed.
async fn write(
    connection: &mut SqliteConnection,
    append: &Append<'_>,
    order: &[usize],
    keys: &[Keys],
) -> Result<Option<Vec<Position>>, sqlx::Error> {
    let parts = append.parts;
    for index in order {
        let place = (&keys[*index].row, append.key_id);
        if write_subject(connection, &parts[*index], place).await? == 0 {
            return Ok(None);
        }
    }
    let mut positions = vec![None; parts.len()];
    for index in order {
        let part = &parts[*index];
        let position = write_event(connection, part).await?;
        if let Some(removal) = part.removal {
            let keys = &keys[*index].all;
            erasing::erase(connection, part, keys, (position.offset, removal)).await?;
        }
        positions[*index] = Some(position);
    }
    let positions: Vec<Position> = positions.into_iter().flatten().collect();
    if let (Some(idempotency), [part, ..], [place, ..]) =
        (&append.idempotency, parts, &positions[..])
    {
        sqlx::query(
            "INSERT INTO idempotency
               (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(part.subject.business.as_str())
        .bind(idempotency.rpc.code())
        .bind(idempotency.key_hash.as_slice())
        .bind(idempotency.content_hash.as_slice())
        .bind(idempotency.answer)
        .bind(place.partition.0)
        .bind(place.offset.0)
        .bind(part.event.recorded_at.as_micros())
        .execute(&mut *connection)
        .await?;
    }
    Ok(Some(positions))
}

/// Creates the subject or moves it on, if it is at the expected version; rows written.
async fn write_subject(
    connection: &mut SqliteConnection,
    part: &Part<'_>,
    (key, key_id): (&[u8; 16], u16),
) -> Result<u64, sqlx::Error> {
    let Part { subject, event, .. } = part;
    let facts = part.facts.encode();
    let done = if part.expected.0 == 0 {
        sqlx::query(
            "INSERT INTO subject
               (partition, subject_key, business_id, subject_id, version, fold_version, key_id, facts)
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7)
             ON CONFLICT (partition, subject_key) DO NOTHING",
        )
        .bind(subject.partition.0)
        .bind(key.as_slice())
        .bind(subject.business.as_str())
        .bind(event.subject_id.0)
        .bind(FOLD_VERSION)
        .bind(key_id)
        .bind(facts)
    } else {
        sqlx::query(
            "UPDATE subject SET version = version + 1, fold_version = ?5, facts = ?6
             WHERE partition = ?1 AND subject_key = ?2 AND business_id = ?3 AND version = ?4
               AND subject_id = ?7",
        )
        .bind(subject.partition.0)
        .bind(key.as_slice())
        .bind(subject.business.as_str())
        .bind(part.expected.0)
        .bind(FOLD_VERSION)
        .bind(facts)
        .bind(event.subject_id.0)
    };
    Ok(done.execute(connection).await?.rows_affected())
}

/// Takes the next offset of the partition for the event, and writes what belongs to it.
async fn write_event(
    connection: &mut SqliteConnection,
    part: &Part<'_>,
) -> Result<Position, sqlx::Error> {
    let Part { subject, event, .. } = part;
    sqlx::query("UPDATE partition_head SET head = head + 1 WHERE partition = ?1")
        .bind(subject.partition.0)
        .execute(&mut *connection)
        .await?;
    let offset: i64 = sqlx::query_scalar("SELECT head FROM partition_head WHERE partition = ?1")
        .bind(subject.partition.0)
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO event
           (partition, \"offset\", event_id, subject_id, business_id, recorded_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(subject.partition.0)
    .bind(offset)
    .bind(event.event_id.0)
    .bind(event.subject_id.0)
    .bind(subject.business.as_str())
    .bind(event.recorded_at.as_micros())
    .bind(row::body(event))
    .execute(&mut *connection)
    .await?;
    if let Some(address) = part.address {
        sqlx::query(
            "INSERT INTO subject_address (subject_id, sealed) VALUES (?1, ?2)
             ON CONFLICT (subject_id) DO NOTHING",
        )
        .bind(event.subject_id.0)
        .bind(address)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(payload) = part.payload {
        sqlx::query("INSERT INTO event_payload (event_id, subject_id, sealed) VALUES (?1, ?2, ?3)")
            .bind(event.event_id.0)
            .bind(event.subject_id.0)
            .bind(payload)
            .execute(&mut *connection)
            .await?;
    }
    Ok(Position {
        partition: subject.partition,
        offset: Offset(offset),
    })
}

fn is_used_key(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|database| {
        database.is_unique_violation() && database.message().contains("idempotency.")
    })
}
