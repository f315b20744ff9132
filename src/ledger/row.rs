//! Rows to values and back, for both backends. A row that does not read back is an error that
//! names its table and key; it never becomes an empty value.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use sqlx::{ColumnIndex, Decode, Row, Type, ValueRef};
use uuid::Uuid;

use super::{
    Error, Ledger, Meta, Offset, Partition, Position, Recorded, Rpc, StoredAnswer, StoredSubject,
    Subject, SubjectRef, SystemRecord, Version, sort_error, stored::Stored,
};
use crate::domain::activity::{Activity, MOST_SENDS, Sent};
use crate::domain::event::Event;
use crate::domain::facts::{FOLD_VERSION, Facts};
use crate::domain::id::{BusinessId, EventId, PurposeKey, SubjectId};
use crate::domain::json;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::MessageClass;
use crate::keys::wrapping::{FIRST, Numbers};

/// Columns of a row by name, of whichever driver. Numbers are selected as 64 bits.
pub(super) trait Columns {
    fn number(&self, name: &str) -> Result<i64, sqlx::Error>;
    fn text(&self, name: &str) -> Result<&str, sqlx::Error>;
    fn bytes(&self, name: &str) -> Result<&[u8], sqlx::Error>;
    fn id(&self, name: &str) -> Result<Uuid, sqlx::Error>;
    fn is_null(&self, name: &str) -> Result<bool, sqlx::Error>;
}

impl<R> Columns for R
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Uuid: Decode<'r, R::Database> + Type<R::Database>,
{
    fn number(&self, name: &str) -> Result<i64, sqlx::Error> {
        self.try_get(name)
    }

    fn text(&self, name: &str) -> Result<&str, sqlx::Error> {
        self.try_get(name)
    }

    fn bytes(&self, name: &str) -> Result<&[u8], sqlx::Error> {
        self.try_get(name)
    }

    fn id(&self, name: &str) -> Result<Uuid, sqlx::Error> {
        self.try_get(name)
    }

    fn is_null(&self, name: &str) -> Result<bool, sqlx::Error> {
        Ok(self.try_get_raw(name)?.is_null())
    }
}

/// What is left of a driver's error once its row is known: a column that does not decode names it.
fn unreadable<'k>(
    table: &'static str,
    key: &'k dyn fmt::Display,
) -> impl Fn(sqlx::Error) -> Error + 'k {
    move |error| match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::corrupt(table, key, error)
        }
        error => sort_error(error),
    }
}

/// A subject, or what has to be folded again because another version of the fold made it.
pub(super) enum Read {
    Current(Box<Subject>),
    Stale {
        business: BusinessId,
        subject_id: SubjectId,
        version: Version,
    },
}

/// Reads what was found of the subject asked for, and the head of its partition.
pub(super) fn loaded(
    row: &impl Columns,
    asked: &SubjectRef,
) -> Result<(Offset, Option<Read>), Error> {
    let partition = asked.partition.0;
    if row.is_null("head").map_err(sort_error)? {
        return Err(Error::corrupt("partition_head", partition, "missing"));
    }
    let as_of = Offset(row.number("head").map_err(sort_error)?);
    Ok((as_of, known(row, asked)?))
}

/// Reads what was found of the subject asked for; `None`: nothing.
pub(super) fn known(row: &impl Columns, asked: &SubjectRef) -> Result<Option<Read>, Error> {
    if row.is_null("subject_id").map_err(sort_error)? {
        return Ok(None);
    }
    // Said only of a row that does not read: many are read at a time.
    let id = row
        .id("subject_id")
        .map_err(|fault| unreadable("subject", &shown(asked))(fault))?;
    Ok(Some(subject(row, &asked.business, SubjectId(id))?))
}

/// Reads the numbers beside the head of a partition; `None`: there is no head.
pub(super) fn numbers(row: &impl Columns) -> Result<Option<Numbers>, Error> {
    if row.is_null("key_id").map_err(sort_error)? {
        return Ok(None);
    }
    let number = |column: &str| row.number(column).map_err(sort_error);
    Ok(Some(numbered_keys(number("key_id")?, number("leaving")?)?))
}

/// The numbers that stand beside a head.
pub(super) fn numbered_keys(current: i64, leaving: i64) -> Result<Numbers, Error> {
    let number = |column: &str, number| {
        u16::try_from(number).map_err(|fault| Error::corrupt("partition_head", column, fault))
    };
    let current = number("key_id", current)?;
    let leaving = number("leaving", leaving)?;
    if leaving >= current {
        let what = format!("{current} after {leaving} are no numbers of keys");
        return Err(Error::corrupt("partition_head", "key_id", what));
    }
    Ok(Numbers {
        current,
        leaving: (leaving != 0).then_some(leaving),
    })
}

/// Reads a subject that was asked for by its id, and where it lies.
pub(super) fn found(
    row: &impl Columns,
    asked: SubjectId,
    stored: &Stored,
) -> Result<(SubjectRef, Read), Error> {
    let fault = unreadable("subject", &asked);
    let partition = row.number("partition").map_err(&fault)?;
    let business = BusinessId::parse(row.text("business_id").map_err(&fault)?)
        .map_err(|fault| Error::corrupt("subject", asked, fault))?;
    let key = hash16(row.bytes("subject_key").map_err(&fault)?, "subject", &asked)?;
    let number = u16::try_from(row.number("key_id").map_err(&fault)?)
        .map_err(|fault| Error::corrupt("subject", asked, fault))?;
    let place = SubjectRef {
        partition: partition_numbered(partition, "subject", &asked)?,
        key: stored.inner(key, number)?,
        business,
    };
    let read = subject(row, &place.business, asked)?;
    Ok((place, read))
}

fn subject(
    row: &impl Columns,
    business: &BusinessId,
    subject_id: SubjectId,
) -> Result<Read, Error> {
    let fault = unreadable("subject", &subject_id);
    // INVARIANT: keys are derived per business, so this cannot differ; it is the second wall.
    if row.text("business_id").map_err(&fault)? != business.as_str() {
        return Err(Error::corrupt(
            "subject",
            subject_id,
            "belongs to another business",
        ));
    }
    let version = Version(row.number("version").map_err(&fault)?);
    if version.0 < 1 {
        return Err(Error::corrupt(
            "subject",
            subject_id,
            "its version is not positive",
        ));
    }
    if row.number("fold_version").map_err(&fault)? != i64::from(FOLD_VERSION) {
        return Ok(Read::Stale {
            business: business.clone(),
            subject_id,
            version,
        });
    }
    let facts = Facts::decode(row.bytes("facts").map_err(&fault)?)
        .map_err(|fault| Error::corrupt("subject", subject_id, fault))?;
    Ok(Read::Current(Box::new(Subject {
        subject_id,
        version,
        facts,
    })))
}

/// Reads a stored event and compares it with the columns beside it.
pub(super) fn recorded(row: &impl Columns) -> Result<Recorded, Error> {
    let partition = row.number("partition").map_err(sort_error)?;
    let offset = row.number("offset").map_err(sort_error)?;
    let key = format!("partition {partition}, offset {offset}");
    let fault = unreadable("event", &key);
    let body = row.text("body").map_err(&fault)?;
    let event =
        Event::read(body.as_bytes()).map_err(|fault| Error::corrupt("event", &key, fault))?;
    let (business, time) = (event.business_id.as_str(), event.recorded_at.as_micros());
    for (column, is_same) in [
        (
            "event_id",
            row.id("event_id").map_err(&fault)? == event.event_id.0,
        ),
        (
            "subject_id",
            row.id("subject_id").map_err(&fault)? == event.subject_id.0,
        ),
        (
            "business_id",
            row.text("business_id").map_err(&fault)? == business,
        ),
        (
            "recorded_at",
            row.number("recorded_at").map_err(&fault)? == time,
        ),
    ] {
        if !is_same {
            let what = format!("its body says another {column}");
            return Err(Error::corrupt("event", &key, what));
        }
    }
    let payload = if row.is_null("sealed").map_err(&fault)? {
        None
    } else {
        Some(row.bytes("sealed").map_err(&fault)?.to_vec())
    };
    Ok(Recorded {
        position: Position {
            partition: partition_numbered(partition, "event", &key)?,
            offset: Offset(offset),
        },
        event,
        payload,
    })
}

/// Whether a row that may lack an answer has one.
pub(super) fn has_answer(row: &impl Columns) -> Result<bool, Error> {
    Ok(!row.is_null("content_hash").map_err(sort_error)?)
}

/// Reads the answer of an earlier call.
pub(super) fn answer(
    row: &impl Columns,
    business: &BusinessId,
    rpc: Rpc,
    key_hash: &[u8; 16],
) -> Result<StoredAnswer, Error> {
    let key_hash = HEXLOWER.encode(key_hash);
    let key = format!("{business}, rpc {}, key {key_hash}", rpc.code());
    let fault = unreadable("idempotency", &key);
    let partition = row.number("partition").map_err(&fault)?;
    Ok(StoredAnswer {
        content_hash: hash16(
            row.bytes("content_hash").map_err(&fault)?,
            "idempotency",
            &key,
        )?,
        answer: row.text("answer").map_err(&fault)?.to_owned(),
        position: Position {
            partition: partition_numbered(partition, "idempotency", &key)?,
            offset: Offset(row.number("offset").map_err(&fault)?),
        },
    })
}

/// Reads the head of a partition.
pub(super) fn head(row: &impl Columns) -> Result<Position, Error> {
    let partition = row.number("partition").map_err(sort_error)?;
    Ok(Position {
        partition: partition_numbered(partition, "partition_head", &partition)?,
        offset: Offset(row.number("head").map_err(sort_error)?),
    })
}

/// Reads a subject as it is stored.
pub(super) fn stored_subject(row: &impl Columns) -> Result<StoredSubject, Error> {
    let key = row.bytes("subject_key").map_err(sort_error)?;
    let shown = HEXLOWER.encode(key);
    let subject_id = row
        .id("subject_id")
        .map_err(unreadable("subject", &shown))?;
    let fault = unreadable("subject", &subject_id);
    let fold_version = row.number("fold_version").map_err(&fault)?;
    Ok(StoredSubject {
        key: hash16(key, "subject", &subject_id)?,
        subject_id: SubjectId(subject_id),
        version: Version(row.number("version").map_err(&fault)?),
        fold_version: i32::try_from(fold_version)
            .map_err(|fault| Error::corrupt("subject", subject_id, fault))?,
        facts: row.bytes("facts").map_err(&fault)?.to_vec(),
    })
}

/// Reads a change of the catalogue or the policy.
pub(super) fn system_record(row: &impl Columns) -> Result<SystemRecord, Error> {
    let offset = row.number("offset").map_err(sort_error)?;
    let key = format!("offset {offset}");
    let fault = unreadable("system_event", &key);
    Ok(SystemRecord {
        offset: Offset(offset),
        recorded_at: Timestamp::from_micros(row.number("recorded_at").map_err(&fault)?),
        body: row.text("body").map_err(&fault)?.to_owned(),
    })
}

/// Reads service windows into what was found of the subjects: column `n` counts them from 1.
pub(super) fn windows(
    rows: &[impl Columns],
    asked: &[SubjectRef],
    found: &mut [Activity],
) -> Result<(), Error> {
    const TABLE: &str = "service_window";
    for row in rows {
        let (index, subject) = numbered(row, TABLE, asked)?;
        let key = shown(subject);
        let last_inbound = row
            .number("last_inbound")
            .map_err(unreadable(TABLE, &key))?;
        found[index].last_inbound = Some(Timestamp::from_micros(last_inbound));
    }
    Ok(())
}

/// Reads sends, newest first, into what was found of the subjects: column `n` counts them from 1.
pub(super) fn sends(
    rows: &[impl Columns],
    asked: &[SubjectRef],
    found: &mut [Activity],
) -> Result<(), Error> {
    const TABLE: &str = "message_send";
    for row in rows {
        let (index, subject) = numbered(row, TABLE, asked)?;
        let sends = &mut found[index].sends;
        if sends.len() == MOST_SENDS {
            continue;
        }
        let key = shown(subject);
        let fault = unreadable(TABLE, &key);
        let purpose = PurposeKey::parse(row.text("purpose").map_err(&fault)?)
            .map_err(|fault| Error::corrupt(TABLE, &key, fault))?;
        let class = u8::try_from(row.number("class").map_err(&fault)?).ok();
        let class = class
            .and_then(MessageClass::from_code)
            .ok_or_else(|| Error::corrupt(TABLE, &key, "not a class of messages"))?;
        sends.push(Sent {
            purpose,
            class,
            at: Timestamp::from_micros(row.number("sent_at").map_err(&fault)?),
        });
    }
    Ok(())
}

/// Which of the subjects a row is of.
fn numbered<'a>(
    row: &impl Columns,
    table: &'static str,
    asked: &'a [SubjectRef],
) -> Result<(usize, &'a SubjectRef), Error> {
    let number = row.number("n").map_err(sort_error)?;
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    let Some(subject) = asked.get(index) else {
        return Err(Error::corrupt(table, number, "nobody asked for it"));
    };
    let key = shown(subject);
    // INVARIANT: keys are derived per business, so this cannot differ; it is the second wall.
    let business = row.text("business_id").map_err(unreadable(table, &key))?;
    if business != subject.business.as_str() {
        return Err(Error::corrupt(table, key, "belongs to another business"));
    }
    Ok((index, subject))
}

pub(super) fn shown(subject: &SubjectRef) -> String {
    let (partition, key) = (subject.partition.0, HEXLOWER.encode(&subject.key));
    format!("partition {partition}, key {key}")
}

/// Whether the permit of an opt-out is this request's.
pub(super) fn permit_holder(row: &impl Columns, opt_out: EventId) -> Result<[u8; 16], Error> {
    const TABLE: &str = "opt_out_permit";
    let holder = row.bytes("request").map_err(unreadable(TABLE, &opt_out))?;
    hash16(holder, TABLE, &opt_out)
}

pub(super) fn partition_numbered(
    number: i64,
    table: &'static str,
    key: &dyn fmt::Display,
) -> Result<Partition, Error> {
    u16::try_from(number)
        .map(Partition)
        .map_err(|_| Error::corrupt(table, key, "not the number of a partition"))
}

pub(super) fn hash16(
    bytes: &[u8],
    table: &'static str,
    key: &dyn fmt::Display,
) -> Result<[u8; 16], Error> {
    bytes
        .try_into()
        .map_err(|_| Error::corrupt(table, key, "a hash is not 16 bytes"))
}

/// The subject itself, folded again from its events where another version of the fold made it.
pub(super) async fn refolded(ledger: &impl Ledger, read: Read) -> Result<Subject, Error> {
    match read {
        Read::Current(subject) => Ok(*subject),
        Read::Stale {
            business,
            subject_id,
            version,
        } => {
            let limit = u32::try_from(version.0).unwrap_or(u32::MAX);
            let history = ledger.history(subject_id, Offset(0), limit).await?;
            refold(&business, subject_id, version, &history)
        }
    }
}

/// Folds a subject again whose facts another version made. The history must be complete.
fn refold(
    business: &BusinessId,
    subject_id: SubjectId,
    version: Version,
    history: &[Recorded],
) -> Result<Subject, Error> {
    // INVARIANT: a subject is of one business; the second wall between businesses.
    if history
        .iter()
        .any(|recorded| recorded.event.business_id != *business)
    {
        let what = "an event of it belongs to another business";
        return Err(Error::corrupt("subject", subject_id, what));
    }
    let events = i64::try_from(history.len()).unwrap_or(i64::MAX);
    if events < version.0 {
        return Err(Error::corrupt(
            "subject",
            subject_id,
            "its events are fewer than its version",
        ));
    }
    // Events that committed after the row was read are left for its next reading.
    let known = usize::try_from(version.0).unwrap_or(0);
    let facts = Facts::fold(history.iter().take(known).map(|recorded| &recorded.event));
    Ok(Subject {
        subject_id,
        version,
        facts,
    })
}

/// The canonical bytes of an event as the text that is stored.
pub(super) fn body(event: &Event) -> String {
    json::text(event)
}

/// By what the keyring is known up to each number: `key_check`, and `key_check_N` for what a rotation brought.
fn key_checks(values: &BTreeMap<String, String>) -> Result<BTreeMap<u16, String>, Error> {
    let mut checks = BTreeMap::new();
    for (name, value) in values {
        let Some(number) = name.strip_prefix("key_check") else {
            continue;
        };
        let number = match number.strip_prefix('_') {
            Some(number) => number
                .parse()
                .map_err(|fault| Error::corrupt("ledger_meta", name, fault))?,
            None => FIRST,
        };
        checks.insert(number, value.clone());
    }
    Ok(checks)
}

/// Reads `ledger_meta`.
pub(super) fn meta(rows: &[impl Columns]) -> Result<Meta, Error> {
    let mut values = BTreeMap::new();
    for row in rows {
        let name = row.text("name").map_err(unreadable("ledger_meta", &"?"))?;
        let value = row
            .text("value")
            .map_err(unreadable("ledger_meta", &name))?;
        values.insert(name.to_owned(), value.to_owned());
    }
    let required = |name: &str| {
        values
            .get(name)
            .ok_or_else(|| Error::corrupt("ledger_meta", name, "missing"))
    };
    let number = |name: &str| {
        required(name)?
            .parse::<u32>()
            .map_err(|fault| Error::corrupt("ledger_meta", name, fault))
    };
    Ok(Meta {
        ledger_id: required("ledger_id")?.clone(),
        partitions: u16::try_from(number("partitions")?)
            .map_err(|fault| Error::corrupt("ledger_meta", "partitions", fault))?,
        match_rules: number("match_rules")?,
        key_checks: key_checks(&values)?,
    })
}
