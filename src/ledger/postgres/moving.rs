//! Writing on PostgreSQL while keys are rotated.
//!
//! A row may lie under either of two keys, so whoever writes first finds out under which. It holds a lock of the
//! partition from before it looks until it has committed; whoever moves rows takes the same lock for itself alone. So a
//! row lies where it was found, and somebody who was not found cannot be in the midst of being moved: without the lock a
//! writer whose snapshot is from before a move would create the person a second time, beside an opt-out.
//!
//! The lock is the database's advisory one, which needs no right and is no row's.

use sqlx::postgres::PgConnection;

use super::super::stored::{Stored, partitions};
use super::super::{Error, Partition, sort_error};
use super::code;
use crate::keys::wrapping::Numbers;
use crate::weakened::{Step, leaves_out};

/// What our advisory locks have in common: a number of nobody else's.
const LOCKS: i32 = 723_683_019;

/// Takes the locks of partitions, in their order, to the end of the transaction. A statement of its own: what
/// is read after it is of a later snapshot.
pub(super) async fn lock_to_write(
    connection: &mut PgConnection,
    of: impl IntoIterator<Item = Partition>,
) -> Result<(), sqlx::Error> {
    if leaves_out(Step::MovingLock) {
        return Ok(());
    }
    let codes: Vec<i32> = partitions(of)
        .into_iter()
        .map(|partition| i32::from(partition.0))
        .collect();
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1, p) FROM unnest($2::integer[]) AS p")
        .bind(LOCKS)
        .bind(codes)
        .execute(connection)
        .await
        .map(drop)
}

/// Takes the lock of a partition for oneself alone, to the end of the transaction.
pub(super) async fn lock_alone(
    connection: &mut PgConnection,
    partition: Partition,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(LOCKS)
        .bind(i32::from(partition.0))
        .execute(connection)
        .await
        .map(drop)
}

/// Under which key each of these lies, or is to be created. Only under the locks of their partitions.
pub(super) async fn found(
    connection: &mut PgConnection,
    stored: &Stored,
    subjects: &[(Partition, [u8; 16])],
    (numbers, leaving): (Numbers, u16),
) -> Result<Vec<[u8; 16]>, Error> {
    let under = |number| -> Result<Vec<[u8; 16]>, Error> {
        let keys = subjects.iter();
        keys.map(|(_, inner)| stored.key(*inner, number)).collect()
    };
    let (mut keys, before) = (under(numbers.current)?, under(leaving)?);
    let codes: Vec<i16> = subjects
        .iter()
        .map(|(partition, _)| code(*partition))
        .collect();
    let asked: Vec<&[u8]> = before.iter().map(<[u8; 16]>::as_slice).collect();
    let unmoved: Vec<i64> = sqlx::query_scalar(
        "SELECT a.n FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS a (partition, subject_key, n)
         JOIN subject AS s ON s.partition = a.partition AND s.subject_key = a.subject_key",
    )
    .bind(codes)
    .bind(asked)
    .fetch_all(connection)
    .await
    .map_err(sort_error)?;
    for n in unmoved {
        let index = usize::try_from(n - 1).unwrap_or(usize::MAX);
        if let (Some(key), Some(before)) = (keys.get_mut(index), before.get(index)) {
            *key = *before;
        }
    }
    Ok(keys)
}
