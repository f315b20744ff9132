//! Rotating keys on SQLite: the statements of [`Rotation`].
//!
//! One connection writes, so nobody is in the midst of anything while rows are moved. What is replaced is
//! overwritten in the file, as what is erased is.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use uuid::Uuid;

use super::super::rotation::{
    Begun, Change, Column, Moved, Page, Place, Resealed, Rotation, Sealed, Table,
};
use super::super::{Error, Offset, Partition, check_name, row, sort_error};
use super::Sqlite;
use super::erasing::overwriting;
use crate::domain::id::BusinessId;
use crate::keys::wrapping::Numbers;

pub(super) async fn numbers(readers: &SqlitePool) -> Result<Numbers, Error> {
    let statement = "SELECT key_id, leaving FROM partition_head WHERE partition = 0";
    let found = sqlx::query(statement).fetch_optional(readers).await;
    let found = found.map_err(sort_error)?;
    let found = found.as_ref().map(row::numbers).transpose()?.flatten();
    found.ok_or_else(|| Error::corrupt("partition_head", 0, "missing"))
}

#[async_trait]
impl Rotation for Sqlite {
    async fn numbers(&self) -> Result<Numbers, Error> {
        let found = numbers(&self.readers).await?;
        self.stored.learn(found);
        Ok(found)
    }

    async fn begin(&self, change: Change<'_>, check: &str) -> Result<Begun, Error> {
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let begun = begin(&mut transaction, change, check).await?;
        match begun {
            Begun::At(_) => transaction.commit().await.map_err(sort_error)?,
            Begun::Overtaken | Begun::Others(_) | Begun::OtherKey => {
                transaction.rollback().await.map_err(sort_error)?;
            }
        }
        Rotation::numbers(self).await?;
        Ok(begun)
    }

    async fn settle(&self) -> Result<(), Error> {
        // The one connection that writes has ended what came before.
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let transaction = transaction.map_err(sort_error)?;
        transaction.rollback().await.map_err(sort_error)
    }

    async fn move_rows(
        &self,
        table: Table,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Moved, Error> {
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let to = self.stored.numbers().current;
        let page = keys_after(&mut transaction, table, partition, after, limit).await?;
        let full = page.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = page.last().map(|(key, _)| *key).filter(|_| full);
        let mut rows = 0;
        let overwritten = overwriting(&mut transaction, true).await;
        overwritten.map_err(sort_error)?;
        for (key, number) in page.into_iter().filter(|(_, number)| *number < to) {
            let new = self.stored.moved(key, number, to)?;
            let moved = move_one(&mut transaction, table, partition, (key, new), to).await;
            rows += moved.map_err(sort_error)?;
        }
        let overwritten = overwriting(&mut transaction, false).await;
        overwritten.map_err(sort_error)?;
        transaction.commit().await.map_err(sort_error)?;
        Ok(Moved { rows, next })
    }

    async fn sealed_before(
        &self,
        column: Column,
        number: u16,
        after: Place,
        limit: u32,
    ) -> Result<Page, Error> {
        let statement = match column {
            Column::Address => {
                "SELECT t.subject_id, ?2 AS event_id, s.business_id, t.sealed
                 FROM subject_address AS t LEFT JOIN subject AS s ON s.subject_id = t.subject_id
                 WHERE t.subject_id > ?1 ORDER BY t.subject_id LIMIT ?3"
            }
            Column::Payload => {
                "SELECT t.subject_id, t.event_id, s.business_id, t.sealed
                 FROM event_payload AS t LEFT JOIN subject AS s ON s.subject_id = t.subject_id
                 WHERE (t.subject_id, t.event_id) > (?1, ?2)
                 ORDER BY t.subject_id, t.event_id LIMIT ?3"
            }
        };
        let rows = sqlx::query(statement)
            .bind(after.subject)
            .bind(after.event)
            .bind(limit)
            .fetch_all(&self.readers)
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
            let value: Vec<u8> = row.try_get("sealed").map_err(sort_error)?;
            if value
                .get(..2)
                .is_some_and(|own| *own < number.to_be_bytes()[..])
            {
                let business = business_of(row, place.subject)?;
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
                "UPDATE subject_address SET sealed = ?4 WHERE subject_id = ?1 AND sealed = ?3"
            }
            Column::Payload => {
                "UPDATE event_payload SET sealed = ?4 WHERE subject_id = ?1 AND event_id = ?2 AND sealed = ?3"
            }
        };
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let overwritten = overwriting(&mut transaction, true).await;
        overwritten.map_err(sort_error)?;
        let mut rows = 0;
        for value in values {
            let done = sqlx::query(statement)
                .bind(value.place.subject)
                .bind(value.place.event)
                .bind(value.old.as_slice())
                .bind(value.new.as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(sort_error)?;
            rows += done.rows_affected();
        }
        let overwritten = overwriting(&mut transaction, false).await;
        overwritten.map_err(sort_error)?;
        transaction.commit().await.map_err(sort_error)?;
        Ok(rows)
    }

    async fn finish(&self, change: Change<'_>) -> Result<Option<Offset>, Error> {
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let offset = append_system(&mut transaction, change).await?;
        let done =
            sqlx::query("UPDATE partition_head SET leaving = 0 WHERE leaving > 0 AND key_id = ?1")
                .bind(change.to)
                .execute(&mut *transaction)
                .await
                .map_err(sort_error)?;
        let offset = offset.filter(|_| done.rows_affected() > 0);
        match offset {
            Some(_) => transaction.commit().await.map_err(sort_error)?,
            None => transaction.rollback().await.map_err(sort_error)?,
        }
        Rotation::numbers(self).await?;
        Ok(offset)
    }
}

async fn begin(
    connection: &mut SqliteConnection,
    change: Change<'_>,
    check: &str,
) -> Result<Begun, Error> {
    let Some(offset) = append_system(connection, change).await? else {
        return Ok(Begun::Overtaken);
    };
    let raised = sqlx::query(
        "UPDATE partition_head SET leaving = key_id, key_id = ?1 WHERE leaving = 0 AND key_id < ?1",
    )
    .bind(change.to)
    .execute(&mut *connection)
    .await
    .map_err(sort_error)?;
    if raised.rows_affected() == 0 {
        return Ok(Begun::Overtaken);
    }
    let name = check_name(change.to);
    sqlx::query(
        "INSERT INTO ledger_meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
    )
    .bind(&name)
    .bind(check)
    .execute(&mut *connection)
    .await
    .map_err(sort_error)?;
    let kept: String = sqlx::query_scalar("SELECT value FROM ledger_meta WHERE name = ?1")
        .bind(&name)
        .fetch_one(connection)
        .await
        .map_err(sort_error)?;
    Ok(match kept == check {
        true => Begun::At(offset),
        false => Begun::OtherKey,
    })
}

async fn append_system(
    connection: &mut SqliteConnection,
    change: Change<'_>,
) -> Result<Option<Offset>, Error> {
    let raised =
        sqlx::query("UPDATE partition_head SET head = head + 1 WHERE partition = 0 AND head = ?1")
            .bind(change.expected.0)
            .execute(&mut *connection)
            .await
            .map_err(sort_error)?;
    if raised.rows_affected() == 0 {
        return Ok(None);
    }
    let offset = change.expected.0 + 1;
    sqlx::query("INSERT INTO system_event (\"offset\", recorded_at, body) VALUES (?1, ?2, ?3)")
        .bind(offset)
        .bind(change.recorded_at.as_micros())
        .bind(change.body)
        .execute(connection)
        .await
        .map_err(sort_error)?;
    Ok(Some(Offset(offset)))
}

/// The next keys of a partition, each with the number that it is stored under.
async fn keys_after(
    connection: &mut SqliteConnection,
    table: Table,
    partition: Partition,
    after: Option<[u8; 16]>,
    limit: u32,
) -> Result<Vec<([u8; 16], u16)>, Error> {
    let statement = match table {
        Table::Subjects => {
            "SELECT subject_key, key_id FROM subject
             WHERE partition = ?1 AND subject_key > ?2 ORDER BY subject_key LIMIT ?3"
        }
        Table::Windows => {
            "SELECT subject_key, min(key_id) FROM service_window
             WHERE partition = ?1 AND subject_key > ?2 GROUP BY subject_key ORDER BY subject_key LIMIT ?3"
        }
        Table::Sends => {
            "SELECT subject_key, min(key_id) FROM message_send
             WHERE partition = ?1 AND subject_key > ?2 GROUP BY subject_key ORDER BY subject_key LIMIT ?3"
        }
    };
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(statement)
        .bind(partition.0)
        .bind(after.map_or_else(Vec::new, |key| key.to_vec()))
        .bind(limit)
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

/// Moves all rows of one key; says how many. What was noted under both keys becomes one.
async fn move_one(
    connection: &mut SqliteConnection,
    table: Table,
    partition: Partition,
    (old, new): ([u8; 16], [u8; 16]),
    to: u16,
) -> Result<u64, sqlx::Error> {
    let statements: &[&'static str] = match table {
        Table::Subjects => &["UPDATE subject SET subject_key = ?3, key_id = ?4
             WHERE partition = ?1 AND subject_key = ?2"],
        Table::Windows => &[
            "INSERT INTO service_window AS w
               (partition, subject_key, sender_id, business_id, last_inbound, key_id)
             SELECT partition, ?3, sender_id, business_id, last_inbound, ?4 FROM service_window
             WHERE partition = ?1 AND subject_key = ?2
             ON CONFLICT (partition, subject_key, sender_id)
             DO UPDATE SET last_inbound = max(w.last_inbound, excluded.last_inbound)",
            "DELETE FROM service_window WHERE partition = ?1 AND subject_key = ?2 AND key_id < ?4",
        ],
        Table::Sends => &[
            "INSERT INTO message_send
               (partition, subject_key, message, business_id, purpose, class, sent_at, key_id)
             SELECT partition, ?3, message, business_id, purpose, class, sent_at, ?4 FROM message_send
             WHERE partition = ?1 AND subject_key = ?2
             ON CONFLICT (partition, subject_key, message) DO NOTHING",
            "DELETE FROM message_send WHERE partition = ?1 AND subject_key = ?2 AND key_id < ?4",
        ],
    };
    let mut rows = 0;
    for statement in statements {
        let done = sqlx::query(*statement)
            .bind(partition.0)
            .bind(old.as_slice())
            .bind(new.as_slice())
            .bind(to)
            .execute(&mut *connection)
            .await?;
        rows = done.rows_affected();
    }
    Ok(rows)
}

fn business_of(row: &SqliteRow, subject: Uuid) -> Result<BusinessId, Error> {
    let business: Option<String> = row.try_get("business_id").map_err(sort_error)?;
    BusinessId::parse(&business.unwrap_or_default())
        .map_err(|fault| Error::corrupt("subject", subject, fault))
}
