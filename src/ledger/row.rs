//! Columns to values and back, for both backends. A row that does not read back is an error that
//! names its table and key; it never becomes an empty value.

use uuid::Uuid;

use super::{Error, Meta, Offset, Partition, Position, Recorded, Subject, Version};
use crate::domain::event::Event;
use crate::domain::facts::{FOLD_VERSION, Facts};
use crate::domain::id::{BusinessId, SubjectId};

/// A row of `subject` as both backends read it.
#[derive(Debug)]
pub(super) struct SubjectRow {
    pub business_id: String,
    pub subject_id: Uuid,
    pub version: i64,
    pub fold_version: i32,
    pub facts: Vec<u8>,
}

/// A subject, or what has to be folded again because another version of the fold made it.
pub(super) enum Read {
    Current(Subject),
    Stale {
        subject_id: SubjectId,
        version: Version,
    },
}

impl SubjectRow {
    pub(super) fn read(self, business: &BusinessId) -> Result<Read, Error> {
        let subject_id = SubjectId(self.subject_id);
        // INVARIANT: keys are derived per business, so this cannot differ; it is the second wall.
        if self.business_id != business.as_str() {
            return Err(Error::corrupt(
                "subject",
                subject_id,
                "belongs to another business",
            ));
        }
        let version = Version(self.version);
        if self.version < 1 {
            return Err(Error::corrupt(
                "subject",
                subject_id,
                "its version is not positive",
            ));
        }
        if self.fold_version != FOLD_VERSION {
            return Ok(Read::Stale {
                subject_id,
                version,
            });
        }
        let facts = Facts::decode(&self.facts)
            .map_err(|fault| Error::corrupt("subject", subject_id, fault))?;
        Ok(Read::Current(Subject {
            subject_id,
            version,
            facts,
        }))
    }
}

/// Reads a stored event and compares it with the columns beside it.
pub(super) fn recorded(
    partition: i64,
    offset: i64,
    event_id: Uuid,
    body: &str,
    payload: Option<Vec<u8>>,
) -> Result<Recorded, Error> {
    let key = || format!("partition {partition}, offset {offset}");
    let event =
        Event::read(body.as_bytes()).map_err(|fault| Error::corrupt("event", key(), fault))?;
    if event.event_id.0 != event_id {
        return Err(Error::corrupt(
            "event",
            key(),
            "its body names another event_id",
        ));
    }
    Ok(Recorded {
        position: position(partition, offset)?,
        event,
        payload,
    })
}

pub(super) fn position(partition: i64, offset: i64) -> Result<Position, Error> {
    let partition = u16::try_from(partition)
        .map_err(|_| Error::corrupt("event", partition, "not the number of a partition"))?;
    Ok(Position {
        partition: Partition(partition),
        offset: Offset(offset),
    })
}

pub(super) fn hash16(
    bytes: &[u8],
    table: &'static str,
    key: impl std::fmt::Display,
) -> Result<[u8; 16], Error> {
    bytes
        .try_into()
        .map_err(|_| Error::corrupt(table, key, "a hash is not 16 bytes"))
}

/// Folds a subject again whose facts another version made. The history must be complete.
pub(super) fn refold(
    subject_id: SubjectId,
    version: Version,
    history: &[Recorded],
) -> Result<Subject, Error> {
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
    String::from_utf8(event.canonical()).expect("JSON is UTF-8")
}

/// Reads `ledger_meta`.
pub(super) fn meta(rows: Vec<(String, String)>) -> Result<Meta, Error> {
    let value = |name: &str| {
        rows.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let required =
        |name: &str| value(name).ok_or_else(|| Error::corrupt("ledger_meta", name, "missing"));
    let number = |name: &str| {
        required(name)?
            .parse::<u32>()
            .map_err(|fault| Error::corrupt("ledger_meta", name, fault))
    };
    Ok(Meta {
        ledger_id: required("ledger_id")?.to_owned(),
        partitions: u16::try_from(number("partitions")?)
            .map_err(|fault| Error::corrupt("ledger_meta", "partitions", fault))?,
        match_rules: number("match_rules")?,
        key_check: value("key_check").map(str::to_owned),
    })
}
