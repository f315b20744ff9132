//! Erasing on SQLite: what goes with an erasure's own event, and what is carried out later.
//!
//! What is deleted is overwritten in the file. The write-ahead log has it until it is begun anew.

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::super::{Error, Offset, Part, Removal, sort_error};
use crate::domain::time::Timestamp;

/// Has SQLite overwrite what is deleted, or merely forget where it was, which is quicker.
pub(super) async fn overwriting(
    connection: &mut SqliteConnection,
    on: bool,
) -> Result<(), sqlx::Error> {
    let statement = match on {
        true => "PRAGMA secure_delete = ON",
        false => "PRAGMA secure_delete = OFF",
    };
    sqlx::query(statement).execute(connection).await.map(drop)
}

/// What is personal of a subject goes, or is put down for later. `keys`: all that a row of the subject may
/// lie under.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    part: &Part<'_>,
    keys: &[[u8; 16]],
    when: (Offset, Removal),
) -> Result<(), sqlx::Error> {
    overwriting(connection, true).await?;
    let erased = erase_rows(connection, part, keys, when).await;
    overwriting(connection, false).await?;
    erased
}

async fn erase_rows(
    connection: &mut SqliteConnection,
    part: &Part<'_>,
    keys: &[[u8; 16]],
    (offset, removal): (Offset, Removal),
) -> Result<(), sqlx::Error> {
    let subject_id = part.event.subject_id.0;
    sqlx::query("DELETE FROM subject_address WHERE subject_id = ?1")
        .bind(subject_id)
        .execute(&mut *connection)
        .await?;
    for key in keys {
        sqlx::query("DELETE FROM service_window WHERE partition = ?1 AND subject_key = ?2")
            .bind(part.subject.partition.0)
            .bind(key.as_slice())
            .execute(&mut *connection)
            .await?;
    }
    match removal {
        Removal::Now => {
            for statement in [
                "DELETE FROM erasure WHERE subject_id = ?1",
                "DELETE FROM event_payload WHERE subject_id = ?1",
            ] {
                let statement = sqlx::query(statement).bind(subject_id);
                statement.execute(&mut *connection).await?;
            }
        }
        Removal::At(due) => {
            sqlx::query("INSERT INTO erasure (subject_id, \"offset\", due_at) VALUES (?1, ?2, ?3)")
                .bind(subject_id)
                .bind(offset.0)
                .bind(due.as_micros())
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Carries out what was put down for later.
pub(super) async fn carry_out(
    writer: &SqlitePool,
    now: Timestamp,
    limit: u32,
) -> Result<u64, Error> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sort_error)?;
    let due: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT subject_id, \"offset\" FROM erasure WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2",
    )
    .bind(now.as_micros())
    .bind(limit)
    .fetch_all(&mut *transaction)
    .await
    .map_err(sort_error)?;
    overwriting(&mut transaction, true)
        .await
        .map_err(sort_error)?;
    for (subject_id, offset) in &due {
        for statement in [
            "DELETE FROM event_payload WHERE subject_id = ?1 AND event_id IN
               (SELECT event_id FROM event WHERE subject_id = ?1 AND \"offset\" <= ?2)",
            "DELETE FROM erasure WHERE subject_id = ?1 AND \"offset\" = ?2",
        ] {
            sqlx::query(statement)
                .bind(subject_id)
                .bind(offset)
                .execute(&mut *transaction)
                .await
                .map_err(sort_error)?;
        }
    }
    overwriting(&mut transaction, false)
        .await
        .map_err(sort_error)?;
    transaction.commit().await.map_err(sort_error)?;
    Ok(u64::try_from(due.len()).unwrap_or(u64::MAX))
}
