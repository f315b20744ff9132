//! Erasing on PostgreSQL: what goes with an erasure's own event, and what is carried out later.

use sqlx::postgres::PgConnection;

use super::super::{Error, Offset, Part, Removal, sort_error};
use super::code;
use crate::domain::time::Timestamp;

/// The rows of the erasures that are due go with the payloads that they stand for, in one statement.
/// Whoever serves may carry them out at the same time: each is taken by one.
const CARRY_OUT: &str = "WITH due AS (
       DELETE FROM erasure WHERE (subject_id, \"offset\") IN (
         SELECT subject_id, \"offset\" FROM erasure WHERE due_at <= $1
         ORDER BY due_at, subject_id LIMIT $2 FOR UPDATE SKIP LOCKED)
       RETURNING subject_id, \"offset\"),
     removed AS (
       DELETE FROM event_payload AS p USING due AS d, event AS e
       WHERE p.subject_id = d.subject_id AND e.subject_id = d.subject_id
         AND e.event_id = p.event_id AND e.\"offset\" <= d.\"offset\")
     SELECT count(*) FROM due";

/// What is personal of a subject goes, or is put down for later. The subject's row is locked already,
/// so nobody writes more of it meanwhile. `keys`: all that a row of the subject may lie under.
pub(super) async fn erase(
    connection: &mut PgConnection,
    part: &Part<'_>,
    keys: &[[u8; 16]],
    (offset, removal): (Offset, Removal),
) -> Result<(), sqlx::Error> {
    let subject_id = part.event.subject_id.0;
    sqlx::query("DELETE FROM subject_address WHERE subject_id = $1")
        .bind(subject_id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM service_window WHERE partition = $1 AND subject_key = ANY ($2)")
        .bind(code(part.subject.partition))
        .bind(keys.iter().map(<[u8; 16]>::as_slice).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    match removal {
        Removal::Now => {
            for statement in [
                "DELETE FROM erasure WHERE subject_id = $1",
                "DELETE FROM event_payload WHERE subject_id = $1",
            ] {
                let statement = sqlx::query(statement).bind(subject_id);
                statement.execute(&mut *connection).await?;
            }
        }
        Removal::At(due) => {
            sqlx::query("INSERT INTO erasure (subject_id, \"offset\", due_at) VALUES ($1, $2, $3)")
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
    connection: &mut PgConnection,
    now: Timestamp,
    limit: u32,
) -> Result<u64, Error> {
    let done: i64 = sqlx::query_scalar(CARRY_OUT)
        .bind(now.as_micros())
        .bind(i64::from(limit))
        .fetch_one(connection)
        .await
        .map_err(sort_error)?;
    Ok(u64::try_from(done).unwrap_or(0))
}
