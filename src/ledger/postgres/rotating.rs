//! Rotating keys on PostgreSQL: the statements of [`Rotation`].

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::super::following::Registration;
use super::super::rotation::{
    Begun, Change, Column, Moved, Other, Page, Place, Resealed, Rotation, Sealed, Table,
};
use super::super::{Error, Offset, Partition, SYSTEM, check_name, row, sort_error};
use super::moving::{lock_alone, lock_to_write};
use super::{Postgres, code, notices};
use crate::domain::id::BusinessId;
use crate::keys::wrapping::Numbers;

/// How long whoever writes activity may be made to wait for those who began before (in SQL).
const SETTLING: &str = "SET LOCAL lock_timeout = '2s'";

/// The numbers, of the head that is asked for them.
const NUMBERS: &str = "SELECT key_id::bigint AS key_id, leaving::bigint AS leaving
     FROM partition_head WHERE partition = 0";

pub(super) async fn numbers(connection: &mut PgConnection) -> Result<Numbers, Error> {
    let found = sqlx::query(NUMBERS).fetch_optional(connection).await;
    let found = found.map_err(sort_error)?;
    let found = found.as_ref().map(row::numbers).transpose()?.flatten();
    found.ok_or_else(|| Error::corrupt("partition_head", 0, "missing"))
}

#[async_trait]
impl Rotation for Postgres {
    async fn numbers(&self) -> Result<Numbers, Error> {
        let found = numbers(&mut *self.core.lent().await?).await?;
        self.core.stored.learn(found);
        Ok(found)
    }

    async fn begin(&self, change: Change<'_>, check: &str) -> Result<Begun, Error> {
        let mut lent = self.core.lent().await?;
        let begun = notices::durably(async {
            let mut transaction = lent.begin().await.map_err(sort_error)?;
            let begun = begin(&mut transaction, change, check).await;
            match &begun {
                Ok(Begun::At(_)) => transaction.commit().await.map_err(sort_error)?,
                Ok(Begun::Overtaken | Begun::Others(_) | Begun::OtherKey) | Err(_) => {
                    // What stopped it says more than a failing rollback.
                    let _ = transaction.rollback().await;
                }
            }
            begun
        })
        .await?;
        self.core.stored.learn(numbers(&mut lent).await?);
        Ok(begun)
    }

    async fn settle(&self) -> Result<(), Error> {
        let mut lent = self.core.lent().await?;
        let mut transaction = lent.begin().await.map_err(sort_error)?;
        for statement in [
            SETTLING,
            "LOCK TABLE service_window, message_send IN SHARE MODE",
        ] {
            sqlx::query(statement)
                .execute(&mut *transaction)
                .await
                .map_err(sort_error)?;
        }
        transaction.rollback().await.map_err(sort_error)
    }

    async fn move_rows(
        &self,
        table: Table,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Moved, Error> {
        let mut lent = self.core.lent().await?;
        let mut transaction = lent.begin().await.map_err(sort_error)?;
        lock_alone(&mut transaction, partition)
            .await
            .map_err(sort_error)?;
        let to = numbers(&mut transaction).await?.current;
        let page = keys_after(&mut transaction, table, partition, after, limit).await?;
        let full = page.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = page.last().map(|(key, _)| *key).filter(|_| full);
        let mut pairs = (Vec::new(), Vec::new());
        for (key, number) in page.into_iter().filter(|(_, number)| *number < to) {
            pairs
                .1
                .push(self.core.stored.moved(key, number, to)?.to_vec());
            pairs.0.push(key.to_vec());
        }
        let done = sqlx::query(move_of(table))
            .bind(code(partition))
            .bind(i32::from(to))
            .bind(pairs.0)
            .bind(pairs.1)
            .execute(&mut *transaction)
            .await
            .map_err(sort_error)?;
        transaction.commit().await.map_err(sort_error)?;
        let rows = done.rows_affected();
        Ok(Moved { rows, next })
    }

    async fn sealed_before(
        &self,
        column: Column,
        number: u16,
        after: Place,
        limit: u32,
    ) -> Result<Page, Error> {
        let rows = sqlx::query(sealed_of(column))
            .bind(after.subject)
            .bind(after.event)
            .bind(number.to_be_bytes().to_vec())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.core.lent().await?)
            .await
            .map_err(sort_error)?;
        let full = rows.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let mut page = Page {
            old: Vec::new(),
            next: None,
        };
        for row in &rows {
            let place = Place {
                subject: row.try_get("subject_id").map_err(sort_error)?,
                event: row.try_get("event_id").map_err(sort_error)?,
            };
            page.next = Some(place).filter(|_| full);
            if let Some(value) = row.try_get("sealed").map_err(sort_error)? {
                let business = business_of(row, place)?;
                page.old.push(Sealed {
                    place,
                    business,
                    value,
                });
            }
        }
        Ok(page)
    }

    async fn reseal(&self, column: Column, values: &[Resealed]) -> Result<u64, Error> {
        let statement = match column {
            Column::Address => {
                "UPDATE subject_address AS t SET sealed = a.new
                 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[])
                   AS a (subject_id, event_id, old, new)
                 WHERE t.subject_id = a.subject_id AND t.sealed = a.old"
            }
            Column::Payload => {
                "UPDATE event_payload AS t SET sealed = a.new
                 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[])
                   AS a (subject_id, event_id, old, new)
                 WHERE t.subject_id = a.subject_id AND t.event_id = a.event_id AND t.sealed = a.old"
            }
        };
        let places = values.iter().map(|one| one.place);
        let done = sqlx::query(statement)
            .bind(places.clone().map(|one| one.subject).collect::<Vec<Uuid>>())
            .bind(places.map(|one| one.event).collect::<Vec<Uuid>>())
            .bind(
                values
                    .iter()
                    .map(|one| one.old.as_slice())
                    .collect::<Vec<_>>(),
            )
            .bind(
                values
                    .iter()
                    .map(|one| one.new.as_slice())
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *self.core.lent().await?)
            .await
            .map_err(sort_error)?;
        Ok(done.rows_affected())
    }

    async fn finish(&self, change: Change<'_>) -> Result<Option<Offset>, Error> {
        let mut lent = self.core.lent().await?;
        let finished = notices::durably(async {
            let mut transaction = lent.begin().await.map_err(sort_error)?;
            let finished = finish(&mut transaction, change).await;
            match &finished {
                Ok(Some(_)) => transaction.commit().await.map_err(sort_error)?,
                Ok(None) | Err(_) => {
                    // What stopped it says more than a failing rollback.
                    let _ = transaction.rollback().await;
                }
            }
            finished
        })
        .await?;
        self.core.stored.learn(numbers(&mut lent).await?);
        Ok(finished)
    }
}

async fn begin(
    connection: &mut PgConnection,
    change: Change<'_>,
    check: &str,
) -> Result<Begun, Error> {
    // Whoever registers takes this lock, too: either it is seen here, or it sees what is done here.
    lock_alone(connection, SYSTEM).await.map_err(sort_error)?;
    let others: Vec<(Uuid, i32)> = sqlx::query_as(
        "SELECT instance_id, key_id FROM cache_instance WHERE key_check IS DISTINCT FROM $1
         ORDER BY instance_id",
    )
    .bind(check)
    .fetch_all(&mut *connection)
    .await
    .map_err(sort_error)?;
    if !others.is_empty() {
        let others = others.into_iter().map(|(instance, newest)| Other {
            instance,
            newest: u16::try_from(newest).unwrap_or_default(),
        });
        return Ok(Begun::Others(others.collect()));
    }
    let Some(offset) = append_system(connection, change).await? else {
        return Ok(Begun::Overtaken);
    };
    lock_heads(connection).await?;
    let raised = sqlx::query(
        "UPDATE partition_head SET leaving = key_id, key_id = $1 WHERE leaving = 0 AND key_id < $1",
    )
    .bind(i32::from(change.to))
    .execute(&mut *connection)
    .await
    .map_err(sort_error)?;
    if raised.rows_affected() == 0 {
        return Ok(Begun::Overtaken);
    }
    let kept: String = sqlx::query_scalar(
        "WITH n AS (
           INSERT INTO ledger_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
           RETURNING value)
         SELECT value FROM n UNION ALL SELECT value FROM ledger_meta WHERE name = $1 LIMIT 1",
    )
    .bind(check_name(change.to))
    .bind(check)
    .fetch_one(connection)
    .await
    .map_err(sort_error)?;
    Ok(match kept == check {
        true => Begun::At(offset),
        false => Begun::OtherKey,
    })
}

async fn finish(
    connection: &mut PgConnection,
    change: Change<'_>,
) -> Result<Option<Offset>, Error> {
    let Some(offset) = append_system(connection, change).await? else {
        return Ok(None);
    };
    lock_heads(connection).await?;
    let done =
        sqlx::query("UPDATE partition_head SET leaving = 0 WHERE leaving > 0 AND key_id = $1")
            .bind(i32::from(change.to))
            .execute(connection)
            .await
            .map_err(sort_error)?;
    Ok((done.rows_affected() > 0).then_some(offset))
}

/// The heads in the order in which every writer locks them.
async fn lock_heads(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("SELECT 1 FROM partition_head ORDER BY partition FOR UPDATE")
        .execute(connection)
        .await
        .map(drop)
        .map_err(sort_error)
}

async fn append_system(
    connection: &mut PgConnection,
    change: Change<'_>,
) -> Result<Option<Offset>, Error> {
    let offset: Option<i64> = sqlx::query_scalar(
        "WITH h AS (
           UPDATE partition_head SET head = head + 1
           WHERE partition = 0 AND head = $1 RETURNING head),
         e AS (
           INSERT INTO system_event (\"offset\", recorded_at, body) SELECT head, $2, $3 FROM h)
         SELECT head FROM h",
    )
    .bind(change.expected.0)
    .bind(change.recorded_at.as_micros())
    .bind(change.body)
    .fetch_optional(connection)
    .await
    .map_err(sort_error)?;
    Ok(offset.map(Offset))
}

/// The next keys of a partition, each with the number that it is stored under.
async fn keys_after(
    connection: &mut PgConnection,
    table: Table,
    partition: Partition,
    after: Option<[u8; 16]>,
    limit: u32,
) -> Result<Vec<([u8; 16], u16)>, Error> {
    let statement = match table {
        Table::Subjects => {
            "SELECT subject_key, key_id FROM subject
             WHERE partition = $1 AND subject_key > $2 ORDER BY subject_key LIMIT $3"
        }
        Table::Windows => {
            "SELECT subject_key, min(key_id) FROM service_window
             WHERE partition = $1 AND subject_key > $2 GROUP BY subject_key ORDER BY subject_key LIMIT $3"
        }
        Table::Sends => {
            "SELECT subject_key, min(key_id) FROM message_send
             WHERE partition = $1 AND subject_key > $2 GROUP BY subject_key ORDER BY subject_key LIMIT $3"
        }
    };
    let rows: Vec<(Vec<u8>, i32)> = sqlx::query_as(statement)
        .bind(code(partition))
        .bind(after.map_or_else(Vec::new, |key| key.to_vec()))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .map_err(sort_error)?;
    rows.into_iter()
        .map(|(key, number)| {
            let number =
                u16::try_from(number).map_err(|fault| Error::corrupt("subject", number, fault))?;
            Ok((row::hash16(&key, "subject", &partition.0)?, number))
        })
        .collect()
}

/// `$1` partition, `$2` the number, `$3` and `$4` the keys before and after. What was noted under both keys becomes one.
const fn move_of(table: Table) -> &'static str {
    match table {
        Table::Subjects => {
            "UPDATE subject AS t SET subject_key = a.new, key_id = $2
             FROM unnest($3::bytea[], $4::bytea[]) AS a (old, new)
             WHERE t.partition = $1 AND t.subject_key = a.old"
        }
        Table::Windows => {
            "WITH a AS (SELECT * FROM unnest($3::bytea[], $4::bytea[]) AS a (old, new)),
             gone AS (
               DELETE FROM service_window AS t USING a
               WHERE t.partition = $1 AND t.subject_key = a.old
               RETURNING a.new, t.sender_id, t.business_id, t.last_inbound)
             INSERT INTO service_window AS w
               (partition, subject_key, sender_id, business_id, last_inbound, key_id)
             SELECT $1, new, sender_id, business_id, last_inbound, $2 FROM gone
             ON CONFLICT (partition, subject_key, sender_id)
             DO UPDATE SET last_inbound = greatest(w.last_inbound, excluded.last_inbound)"
        }
        Table::Sends => {
            "WITH a AS (SELECT * FROM unnest($3::bytea[], $4::bytea[]) AS a (old, new)),
             gone AS (
               DELETE FROM message_send AS t USING a
               WHERE t.partition = $1 AND t.subject_key = a.old
               RETURNING a.new, t.message, t.business_id, t.purpose, t.class, t.sent_at)
             INSERT INTO message_send
               (partition, subject_key, message, business_id, purpose, class, sent_at, key_id)
             SELECT $1, new, message, business_id, purpose, class, sent_at, $2 FROM gone
             ON CONFLICT (partition, subject_key, message) DO NOTHING"
        }
    }
}

/// `$1` and `$2` the place before, `$3` the number as values begin with it, `$4` how many are looked at.
const fn sealed_of(column: Column) -> &'static str {
    match column {
        Column::Address => {
            "SELECT t.subject_id, $2::uuid AS event_id, s.business_id,
               CASE WHEN substr(t.sealed, 1, 2) < $3 THEN t.sealed END AS sealed
             FROM (SELECT subject_id, sealed FROM subject_address
                   WHERE subject_id > $1 ORDER BY subject_id LIMIT $4) AS t
             LEFT JOIN subject AS s ON s.subject_id = t.subject_id
             ORDER BY t.subject_id"
        }
        Column::Payload => {
            "SELECT t.subject_id, t.event_id, s.business_id,
               CASE WHEN substr(t.sealed, 1, 2) < $3 THEN t.sealed END AS sealed
             FROM (SELECT subject_id, event_id, sealed FROM event_payload
                   WHERE (subject_id, event_id) > ($1, $2) ORDER BY subject_id, event_id LIMIT $4) AS t
             LEFT JOIN subject AS s ON s.subject_id = t.subject_id
             ORDER BY t.subject_id, t.event_id"
        }
    }
}

fn business_of(row: &PgRow, place: Place) -> Result<BusinessId, Error> {
    let business: Option<String> = row.try_get("business_id").map_err(sort_error)?;
    BusinessId::parse(&business.unwrap_or_default())
        .map_err(|fault| Error::corrupt("subject", place.subject, fault))
}

/// F0 of the protocol, if the keyring of the instance holds every number that is or was in use, and no other
/// secret under it. Whoever begins a rotation takes the lock alone.
pub(super) async fn register(
    connection: &mut PgConnection,
    row: &Registration,
) -> Result<bool, Error> {
    let lease = i64::try_from(row.lease.as_micros()).unwrap_or(i64::MAX);
    let mut transaction = connection.begin().await.map_err(sort_error)?;
    lock_to_write(&mut transaction, [SYSTEM])
        .await
        .map_err(sort_error)?;
    let names = row.key_checks.keys().map(|number| check_name(*number));
    let done = sqlx::query(
        "INSERT INTO cache_instance (instance_id, lease, key_id, key_check, applied)
         SELECT $1, $2, $3, $4, ''::bytea WHERE NOT EXISTS (
           SELECT 1 FROM ledger_meta AS m
           WHERE (m.name = 'key_check' OR m.name LIKE 'key\\_check\\_%')
             AND NOT EXISTS (
               SELECT 1 FROM unnest($5::text[], $6::text[]) AS k (name, value)
               WHERE k.name = m.name AND k.value = m.value))",
    )
    .bind(row.instance.0)
    .bind(lease)
    .bind(
        row.key_checks
            .keys()
            .next_back()
            .map(|number| i32::from(*number)),
    )
    .bind(row.key_checks.values().next_back())
    .bind(names.collect::<Vec<String>>())
    .bind(row.key_checks.values().cloned().collect::<Vec<String>>())
    .execute(&mut *transaction)
    .await
    .map_err(sort_error)?;
    transaction.commit().await.map_err(sort_error)?;
    Ok(done.rows_affected() > 0)
}
