//! The statements by which an instance follows a ledger that it shares with others.
//!
//! They run on a connection of its own, so that an exhausted pool cannot cost the lease. It must lead
//! to the primary itself: see ARCHITECTURE. Any error means that the connection is to be given up.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::super::following::{
    Changed, Changes, InstanceId, InstanceRow, Look, Offsets, Registration, Renewal,
};
use super::super::stored::Stored;
use super::super::{Error, Offset, Partition, SystemRecord, Timeline, row, sort_error};
use super::notices::durably;
use super::{Limits, connecting, rotating, timeline_of};
use crate::keys::wrapping::Wrapping;

/// More changes than this are not named one by one (F4). One more is asked for.
const MOST_CHANGES: usize = 1_000;

/// What a look returns, of one snapshot. $1: what was applied, by partition; none: nothing changed.
/// Whether instances are listed is hidden from the planner, which would else plan anew for each value.
/// The heads are read once: their table is small, but each append leaves a dead row in it. Subjects
/// are looked up one by one: a join would be planned anew each time, which took longer than the rest,
/// and may be planned as a walk through all of them while the database knows of few.
macro_rules! look {
    ($before:expr, $instances:expr, $also:expr) => {
        concat!(
            "WITH heads AS MATERIALIZED (SELECT partition, head, key_id, leaving FROM partition_head), ",
            $before,
            "changed AS (
               SELECT h.partition, e.\"offset\",
                 (SELECT int4send(key_id) || subject_key FROM subject WHERE subject_id = e.subject_id)
                   AS stored
               FROM heads AS h
               CROSS JOIN LATERAL
                 (SELECT subject_id, \"offset\" FROM event
                  WHERE partition = h.partition AND \"offset\" > ($1::bigint[])[h.partition + 1]
                  ORDER BY \"offset\" LIMIT 1001) AS e
               WHERE h.head > ($1::bigint[])[h.partition + 1] AND h.partition > 0
               LIMIT 1001),
             listed AS (SELECT * FROM cache_instance WHERE ",
            $instances,
            "),
             own AS (SELECT key_id, leaving FROM heads WHERE partition = 0)
             SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline,
               (SELECT array_agg(head ORDER BY partition) FROM heads) AS heads,
               (SELECT key_id::bigint FROM own) AS key_id, (SELECT leaving::bigint FROM own) AS leaving,
               (SELECT array_agg(partition) FROM changed) AS partitions,
               (SELECT array_agg(\"offset\") FROM changed) AS offsets,
               (SELECT array_agg(stored) FROM changed) AS keys,
               (SELECT array_agg(instance_id ORDER BY instance_id) FROM listed) AS instances,
               (SELECT array_agg(renewals ORDER BY instance_id) FROM listed) AS renewals,
               (SELECT array_agg(lease ORDER BY instance_id) FROM listed) AS leases,
               (SELECT array_agg(applied ORDER BY instance_id) FROM listed) AS applied",
            $also
        )
    };
}

const LOOK: &str = look!("", "(SELECT $2::boolean)", "");

const RENEW: &str = look!(
    "history AS (
       SELECT (SELECT value FROM ledger_meta WHERE name = 'history') AS name,
         (SELECT value FROM ledger_meta WHERE name = 'history_lost') AS lost),
     renewed AS (
       UPDATE cache_instance SET renewals = renewals + 1,
         applied = CASE WHEN (SELECT name FROM history WHERE lost IS NULL) = $4
           AND left(pg_walfile_name(pg_current_wal_lsn()), 8) = $5 THEN $3 ELSE ''::bytea END
       WHERE instance_id = $2 RETURNING 1),
     marks AS (
       SELECT h.partition, CASE h.partition
         WHEN 0 THEN (SELECT md5(e.body) FROM system_event AS e WHERE e.\"offset\" = h.head)
         ELSE (SELECT e.event_id::text FROM event AS e
               WHERE e.partition = h.partition AND e.\"offset\" = h.head) END AS mark
       FROM heads AS h WHERE h.head > ($6::bigint[])[h.partition + 1]),
     ",
    "true",
    ", EXISTS (SELECT 1 FROM renewed) AS renewed,
       (SELECT name FROM history) AS history, (SELECT lost FROM history) AS lost,
       (SELECT array_agg(partition ORDER BY partition) FROM marks) AS marked,
       (SELECT array_agg(mark ORDER BY partition) FROM marks) AS marks"
);

/// Says what was applied, of the history that the database is in. The commit is not waited for: what was applied stays
/// applied though the database forgets that it was said, and this gives no lease. The setting is that of the
/// transaction alone, and comes first since the row is joined with it.
const PUBLISH: &str = "UPDATE cache_instance SET applied = $2
   FROM (SELECT set_config('synchronous_commit', 'off', true) AS set) AS unhurried
   WHERE instance_id = $1 AND unhurried.set = 'off'
     AND (SELECT value FROM ledger_meta WHERE name = 'history') = $3
     AND NOT EXISTS (SELECT 1 FROM ledger_meta WHERE name = 'history_lost')
     AND left(pg_walfile_name(pg_current_wal_lsn()), 8) = $4";

/// A follower's own connection.
#[derive(Debug)]
pub struct Line {
    connection: PgConnection,
    stored: Stored,
}

impl Line {
    /// Connects. `limit`: how long a statement may take; `wrapping`: of the ledger that is followed, which
    /// hears of a rotation here.
    pub async fn connect(
        url: &str,
        limit: Duration,
        wrapping: Arc<Wrapping>,
    ) -> Result<Self, Error> {
        let limits = Limits {
            max_connections: 1,
            acquire_timeout: limit,
            statement_timeout: limit,
        };
        let options =
            connecting::limited(url, limits).map_err(|fault| Error::Unavailable(fault.into()))?;
        let options = options.application_name("consentgate follower");
        let connection = PgConnection::connect_with(&options)
            .await
            .map_err(sort_error)?;
        let stored = Stored::new(wrapping);
        Ok(Self { connection, stored })
    }

    /// F0: a row of one's own, committed. False: the ledger lies under keys that this keyring lacks.
    pub async fn register(&mut self, row: &Registration) -> Result<bool, Error> {
        durably(rotating::register(&mut self.connection, row)).await
    }

    /// F1: what changed since `applied`. Read-only, so it may come from a deposed primary.
    pub async fn look(&mut self, applied: &Offsets, instances: bool) -> Result<Look, Error> {
        let row = sqlx::query(LOOK)
            .bind(numbers(applied))
            .bind(instances)
            .fetch_one(&mut self.connection)
            .await
            .map_err(sort_error)?;
        look(&row, &self.stored)
    }

    /// F2: publishes what was applied, and looks. `None`: there is no row of this instance any more.
    /// What was applied of another history than the database is in is not published: there the same
    /// offsets may be given to other events.
    pub async fn renew(
        &mut self,
        instance: InstanceId,
        applied: &Offsets,
        of: Option<(&str, Timeline)>,
        marked: &Offsets,
    ) -> Result<Option<Renewal>, Error> {
        let statement = sqlx::query(RENEW)
            .bind(numbers(applied))
            .bind(instance.0)
            .bind(bytes(applied))
            .bind(of.map(|(history, _)| history))
            .bind(of.map(|(_, timeline)| timeline.to_string()))
            .bind(numbers(marked));
        let row = durably(async {
            statement
                .fetch_one(&mut self.connection)
                .await
                .map_err(sort_error)
        })
        .await?;
        if !row.try_get::<bool, _>("renewed").map_err(sort_error)? {
            return Ok(None);
        }
        Ok(Some(Renewal {
            look: look(&row, &self.stored)?,
            history: row.try_get("history").map_err(sort_error)?,
            lost: row.try_get("lost").map_err(sort_error)?,
            marks: marks(&row)?,
        }))
    }

    /// F2's other half: publishes what was applied, and nothing of the history that the database is in unless it is
    /// this one. Neither is the lease lengthened, nor does the row count as renewed; and no row is no news
    /// here: the next renewal finds that out.
    pub async fn publish(
        &mut self,
        instance: InstanceId,
        applied: &Offsets,
        (history, timeline): (&str, Timeline),
    ) -> Result<(), Error> {
        let statement = sqlx::query(PUBLISH)
            .bind(instance.0)
            .bind(bytes(applied))
            .bind(history)
            .bind(timeline.to_string());
        let done = statement.execute(&mut self.connection).await;
        done.map(drop).map_err(sort_error)
    }

    /// What lies at these offsets now, and in which history.
    pub async fn marks_at(
        &mut self,
        heads: &Offsets,
    ) -> Result<(Timeline, Vec<(Partition, String)>), Error> {
        let row = sqlx::query(
            "WITH marks AS (
               SELECT a.n - 1 AS partition, CASE a.n
                 WHEN 1 THEN (SELECT md5(e.body) FROM system_event AS e WHERE e.\"offset\" = a.head)
                 ELSE (SELECT e.event_id::text FROM event AS e
                       WHERE e.partition = a.n - 1 AND e.\"offset\" = a.head) END AS mark
               FROM unnest($1::bigint[]) WITH ORDINALITY AS a (head, n) WHERE a.head > 0)
             SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline,
               (SELECT array_agg(partition::smallint ORDER BY partition) FROM marks) AS marked,
               (SELECT array_agg(mark ORDER BY partition) FROM marks) AS marks",
        )
        .bind(numbers(heads))
        .fetch_one(&mut self.connection)
        .await
        .map_err(sort_error)?;
        Ok((timeline_of(&row)?, marks(&row)?))
    }

    /// Changes of the system partition after an offset, and the history that they are of.
    pub async fn system_after(
        &mut self,
        after: Offset,
        limit: u32,
    ) -> Result<(Timeline, Vec<SystemRecord>), Error> {
        system_after(&mut self.connection, after, limit).await
    }

    /// W5: takes away the row of an instance that has ended, unless it renewed meanwhile. What was
    /// seen in another history counts for nothing: its numbers may be the same by chance.
    pub async fn remove(
        &mut self,
        instance: InstanceId,
        renewals: i64,
        seen_in: Timeline,
    ) -> Result<bool, Error> {
        let statement = "DELETE FROM cache_instance WHERE instance_id = $1 AND renewals = $2
             AND left(pg_walfile_name(pg_current_wal_lsn()), 8) = $3";
        let done = sqlx::query(statement)
            .bind(instance.0)
            .bind(renewals)
            .bind(seen_in.to_string())
            .execute(&mut self.connection)
            .await
            .map_err(sort_error)?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes one's own row away, having ended the lease.
    pub async fn leave(mut self, instance: InstanceId) -> Result<(), Error> {
        sqlx::query("DELETE FROM cache_instance WHERE instance_id = $1")
            .bind(instance.0)
            .execute(&mut self.connection)
            .await
            .map_err(sort_error)?;
        self.connection.close().await.map_err(sort_error)
    }

    /// An operator takes the ledger as it is: whoever followed it starts anew from what is there. Says
    /// what was known to be lost.
    pub async fn accept_loss(&mut self) -> Result<Option<String>, Error> {
        let statement = sqlx::query_scalar(
            "WITH history AS (
               UPDATE ledger_meta SET value = gen_random_uuid()::text WHERE name = 'history'),
             lost AS (DELETE FROM ledger_meta WHERE name = 'history_lost' RETURNING value)
             SELECT value FROM lost",
        );
        durably(async {
            let found = statement.fetch_optional(&mut self.connection).await;
            found.map_err(sort_error)
        })
        .await
    }

    /// Writes down, for all instances, that commits were lost (F3); what was written first stays.
    pub async fn note_loss(&mut self, what: &str) -> Result<(), Error> {
        let statement = sqlx::query(
            "INSERT INTO ledger_meta (name, value) VALUES ('history_lost', $1)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(what);
        durably(async {
            statement
                .execute(&mut self.connection)
                .await
                .map_err(sort_error)
        })
        .await?;
        Ok(())
    }
}

/// Changes of the system partition after an offset, and the history that they are of.
pub(super) async fn system_after(
    connection: &mut PgConnection,
    after: Offset,
    limit: u32,
) -> Result<(Timeline, Vec<SystemRecord>), Error> {
    let rows = sqlx::query(
        "SELECT t.timeline, e.\"offset\", e.recorded_at, e.body
         FROM (SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline) AS t
         LEFT JOIN LATERAL
           (SELECT \"offset\", recorded_at, body FROM system_event
            WHERE \"offset\" > $1 ORDER BY \"offset\" LIMIT $2) AS e ON true
         ORDER BY e.\"offset\"",
    )
    .bind(after.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(sort_error)?;
    let mut timeline = Timeline::default();
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        timeline = timeline_of(row)?;
        if row
            .try_get::<Option<i64>, _>("offset")
            .map_err(sort_error)?
            .is_some()
        {
            records.push(row::system_record(row)?);
        }
    }
    Ok((timeline, records))
}

fn look(row: &PgRow, stored: &Stored) -> Result<Look, Error> {
    let timeline = timeline_of(row)?;
    // Before it is said how far this instance has come: whoever began a rotation waits for that.
    if let Some(numbers) = row::numbers(row)? {
        stored.learn(numbers);
    }
    let heads: Vec<i64> = row.try_get("heads").map_err(sort_error)?;
    Ok(Look {
        timeline,
        heads: Offsets(heads.into_iter().map(Offset).collect()),
        changes: changes(row, stored)?,
        instances: instances(row)?,
    })
}

fn marks(row: &PgRow) -> Result<Vec<(Partition, String)>, Error> {
    let partitions: Vec<i16> = list(row, "marked")?;
    let marks: Vec<Option<String>> = list(row, "marks")?;
    let number = |partition: i16| Partition(u16::try_from(partition).unwrap_or_default());
    let marks = marks.into_iter().map(Option::unwrap_or_default);
    Ok(partitions.into_iter().map(number).zip(marks).collect())
}

fn changes(row: &PgRow, stored: &Stored) -> Result<Changes, Error> {
    let partitions: Vec<i16> = list(row, "partitions")?;
    let offsets: Vec<i64> = list(row, "offsets")?;
    let keys: Vec<Option<Vec<u8>>> = list(row, "keys")?;
    if partitions.len() > MOST_CHANGES {
        return Ok(Changes::Many);
    }
    let mut subjects = Vec::with_capacity(keys.len());
    for ((partition, offset), key) in partitions.into_iter().zip(offsets).zip(keys) {
        // A subject that is not there any more cannot be named.
        let Some((number, key)) = key.as_deref().and_then(numbered) else {
            return Ok(Changes::Many);
        };
        let partition = Partition(u16::try_from(partition).unwrap_or_default());
        subjects.push(Changed {
            partition,
            offset: Offset(offset),
            key: stored.inner(key, number)?,
        });
    }
    Ok(Changes::Subjects(subjects))
}

/// The number that a key is stored under, and the key.
fn numbered(stored: &[u8]) -> Option<(u16, [u8; 16])> {
    let (number, key) = stored.split_first_chunk::<4>()?;
    let number = u16::try_from(u32::from_be_bytes(*number)).ok()?;
    Some((number, key.try_into().ok()?))
}

fn instances(row: &PgRow) -> Result<Vec<InstanceRow>, Error> {
    let ids: Vec<Uuid> = list(row, "instances")?;
    let renewals: Vec<i64> = list(row, "renewals")?;
    let leases: Vec<i64> = list(row, "leases")?;
    let applied: Vec<Vec<u8>> = list(row, "applied")?;
    let rows = ids.into_iter().zip(renewals).zip(leases).zip(applied);
    Ok(rows
        .map(|(((id, renewals), lease), applied)| InstanceRow {
            instance: InstanceId(id),
            renewals,
            lease: Duration::from_micros(u64::try_from(lease).unwrap_or(u64::MAX)),
            applied: offsets(&applied),
        })
        .collect())
}

/// An aggregate over no rows is null.
fn list<'r, T>(row: &'r PgRow, column: &str) -> Result<Vec<T>, Error>
where
    Vec<T>: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let found: Option<Vec<T>> = row.try_get(column).map_err(sort_error)?;
    Ok(found.unwrap_or_default())
}

fn numbers(offsets: &Offsets) -> Vec<i64> {
    offsets.0.iter().map(|offset| offset.0).collect()
}

fn bytes(offsets: &Offsets) -> Vec<u8> {
    offsets
        .0
        .iter()
        .flat_map(|offset| offset.0.to_be_bytes())
        .collect()
}

fn offsets(bytes: &[u8]) -> Offsets {
    let numbers = bytes.as_chunks::<8>().0.iter();
    Offsets(
        numbers
            .map(|number| Offset(i64::from_be_bytes(*number)))
            .collect(),
    )
}
