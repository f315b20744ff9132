//! Reading facts of many people at once on PostgreSQL: the statement behind every check that memory does not answer.
//!
//! What a row costs counts here, so rows hold what is of one person alone; the heads of all partitions come once, with
//! the first row. How often it is read, and for whom together, is the caches' business.

use sqlx::postgres::PgRow;
use sqlx::{Row, ValueRef};
use uuid::Uuid;

use super::super::row::{self, Columns, Read};
use super::super::{Error, Offset, Partition, SubjectRef, Timeline, sort_error};
use super::{Core, code, timeline_of};
use crate::keys::wrapping::Numbers;

/// $1 and $2: the subjects' partitions and keys as they are stored. A row for each, of one snapshot.
///
/// How many are asked for is hidden from the planner (`SELECT $1`), which would else plan anew for every list that is
/// shorter than it assumes, and for longer than the reading takes. Each is looked up by itself (`OFFSET 0`), since a plan
/// that was made while there were few people must still do when there are many.
const FACTS: &str = "SELECT s.business_id, s.subject_id, s.version, s.fold_version::bigint AS fold_version, s.facts, a.n,
     CASE a.n WHEN 1 THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
     CASE a.n WHEN 1 THEN
       (SELECT string_agg(int2send(partition) || int8send(head) || int4send(key_id) || int4send(leaving), '')
        FROM partition_head) END AS heads
   FROM unnest((SELECT $1::smallint[]), (SELECT $2::bytea[])) WITH ORDINALITY AS a (partition, subject_key, n)
   LEFT JOIN LATERAL
     (SELECT * FROM subject AS k
      WHERE k.partition = a.partition AND k.subject_key = a.subject_key OFFSET 0) AS s ON true";

/// The columns of [`FACTS`] that are of one person, in order: a row is read without looking their names up.
const COLUMNS: [&str; 5] = [
    "business_id",
    "subject_id",
    "version",
    "fold_version",
    "facts",
];

impl Core {
    /// What is found of subjects as they are stored, and the heads of all partitions: one snapshot.
    pub(super) async fn read(&self, asked: &[SubjectRef]) -> Result<(Heads, Rows), Error> {
        let partitions: Vec<i16> = asked.iter().map(|one| code(one.partition)).collect();
        let keys: Vec<&[u8]> = asked.iter().map(|one| one.key.as_slice()).collect();
        let (began, mut lent) = (self.history.current(), self.lent().await?);
        let rows = sqlx::query(FACTS)
            .bind(partitions)
            .bind(keys)
            .fetch_all(&mut *lent)
            .await
            .map_err(sort_error)?;
        let rows = Rows::in_order(rows, asked.len())?;
        let Some(first) = rows.0.first() else {
            return Ok((Heads::default(), rows));
        };
        let timeline: Timeline = timeline_of(first)?;
        self.compare(began, timeline, &mut lent)?;
        let heads: Option<&[u8]> = first.try_get("heads").map_err(sort_error)?;
        Ok((Heads::read(heads.unwrap_or_default())?, rows))
    }
}

/// The rows in the order of those who were asked for.
pub(super) struct Rows(Vec<PgRow>);

impl Rows {
    /// The database promises no order, and gives this one. Who lacks a row was not read, which is not the same as that
    /// nothing is known of them.
    fn in_order(rows: Vec<PgRow>, asked: usize) -> Result<Self, Error> {
        let number = |row: &PgRow| row.try_get::<i64, _>("n").map_err(sort_error);
        let mut numbered = Vec::with_capacity(rows.len());
        for row in rows {
            numbered.push((number(&row)?, row));
        }
        numbered.sort_by_key(|(number, _)| *number);
        let numbers = numbered.iter().map(|(number, _)| *number);
        if !numbers.eq((1..).take(asked)) {
            let fault = "a reading has not one row for each who was asked for";
            return Err(Error::corrupt("subject", asked, fault));
        }
        Ok(Self(numbered.into_iter().map(|(_, row)| row).collect()))
    }

    /// What was found of the one who was asked for in this place; `None` also where nobody was.
    pub(super) fn known(&self, place: usize, asked: &SubjectRef) -> Result<Option<Read>, Error> {
        let found = self.0.get(place).map(|row| row::known(&Placed(row), asked));
        Ok(found.transpose()?.flatten())
    }
}

/// A row whose columns lie in known places.
struct Placed<'r>(&'r PgRow);

impl Placed<'_> {
    fn place(name: &str) -> Result<usize, sqlx::Error> {
        let place = COLUMNS.iter().position(|column| *column == name);
        place.ok_or_else(|| sqlx::Error::ColumnNotFound(name.to_owned()))
    }
}

impl Columns for Placed<'_> {
    fn number(&self, name: &str) -> Result<i64, sqlx::Error> {
        self.0.try_get(Self::place(name)?)
    }

    fn text(&self, name: &str) -> Result<&str, sqlx::Error> {
        self.0.try_get(Self::place(name)?)
    }

    fn bytes(&self, name: &str) -> Result<&[u8], sqlx::Error> {
        self.0.try_get(Self::place(name)?)
    }

    fn id(&self, name: &str) -> Result<Uuid, sqlx::Error> {
        self.0.try_get(Self::place(name)?)
    }

    fn is_null(&self, name: &str) -> Result<bool, sqlx::Error> {
        Ok(self.0.try_get_raw(Self::place(name)?)?.is_null())
    }
}

/// The heads of all partitions in one snapshot, and the numbers of keys beside them.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// By partition.
    offsets: Vec<Option<Offset>>,
    numbers: Vec<Numbers>,
}

impl Heads {
    /// As [`FACTS`] packs them.
    fn read(packed: &[u8]) -> Result<Self, Error> {
        let (rows, rest) = packed.as_chunks::<18>();
        if !rest.is_empty() {
            return Err(Error::corrupt("partition_head", "?", "bytes left over"));
        }
        let mut heads = Self::default();
        for row in rows {
            let mut row = row.as_slice();
            let partition = i16::from_be_bytes(cut(&mut row)).into();
            let offset = i64::from_be_bytes(cut(&mut row));
            let current = i32::from_be_bytes(cut(&mut row)).into();
            let leaving = i32::from_be_bytes(cut(&mut row)).into();
            let place = row::partition_numbered(partition, "partition_head", &partition)?;
            let place = usize::from(place.0);
            if heads.offsets.len() <= place {
                heads.offsets.resize(place + 1, None);
            }
            heads.offsets[place] = Some(Offset(offset));
            let numbers = row::numbered_keys(current, leaving)?;
            if heads.numbers.last() != Some(&numbers) {
                heads.numbers.push(numbers);
            }
        }
        Ok(heads)
    }

    /// The head of a partition.
    pub(super) fn of(&self, partition: Partition) -> Result<Offset, Error> {
        let head = self.offsets.get(usize::from(partition.0)).copied();
        head.flatten()
            .ok_or_else(|| Error::corrupt("partition_head", partition.0, "missing"))
    }

    /// The numbers of keys that are in use, if others than these.
    pub(super) fn others_than(&self, assumed: Numbers) -> Option<Numbers> {
        let mut numbers = self.numbers.iter().copied();
        numbers.find(|found| *found != assumed)
    }
}

/// Cuts the first bytes of a row off, which are there: all rows are of one length.
fn cut<const N: usize>(row: &mut &[u8]) -> [u8; N] {
    let (first, rest) = row.split_first_chunk().expect("a row is longer");
    *row = rest;
    *first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(rows: &[(i16, i64, i32, i32)]) -> Vec<u8> {
        let packed = rows.iter().flat_map(|(partition, head, key_id, leaving)| {
            let mut row = partition.to_be_bytes().to_vec();
            row.extend(head.to_be_bytes());
            row.extend(key_id.to_be_bytes());
            row.extend(leaving.to_be_bytes());
            row
        });
        packed.collect()
    }

    #[test]
    fn heads_are_read_in_any_order_and_a_missing_one_is_no_zero() {
        let rows = [(64, i64::MAX, 2, 1), (0, 0, 2, 1), (3, 1 << 40, 2, 1)];
        let heads = Heads::read(&packed(&rows)).unwrap();
        for (partition, head, ..) in rows {
            let partition = Partition(u16::try_from(partition).unwrap());
            assert_eq!(heads.of(partition).unwrap(), Offset(head));
        }
        for missing in [1, 63, 65, u16::MAX] {
            let error = heads.of(Partition(missing)).unwrap_err();
            assert!(error.is_corrupt(), "{error}");
        }
        assert!(Heads::default().of(Partition(0)).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_number_that_differs_in_one_partition_is_found() {
        let numbers = |current, leaving| Numbers { current, leaving };
        let heads = Heads::read(&packed(&[
            (0, 5, 2, 1),
            (1, 5, 2, 1),
            (2, 5, 3, 0),
            (3, 5, 2, 1),
        ]));
        let heads = heads.unwrap();
        assert_eq!(
            heads.others_than(numbers(2, Some(1))),
            Some(numbers(3, None))
        );
        let same = Heads::read(&packed(&[(0, 5, 2, 1), (1, 9, 2, 1)])).unwrap();
        assert_eq!(same.others_than(numbers(2, Some(1))), None);
    }

    #[test]
    fn heads_that_cannot_be_are_refused() {
        let mut longer = packed(&[(0, 5, 1, 0)]);
        longer.push(0);
        for bytes in [
            longer,
            packed(&[(-1, 5, 1, 0)]),
            packed(&[(0, 5, -1, 0)]),
            packed(&[(0, 5, 1, 1)]),
            packed(&[(0, 5, 1 << 20, 0)]),
        ] {
            assert!(Heads::read(&bytes).unwrap_err().is_corrupt());
        }
    }
}
