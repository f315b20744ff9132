//! Under which key a row is stored: what stands between the keys that memory knows people by, and those in
//! the database.
//!
//! Callers name people by their innermost key, which never changes. A row lies under that key wrapped up to
//! the number in use; while keys are rotated, under that or under the number before. Which it is stands beside the
//! head of each partition, so every statement that reads facts also says whether the numbers still are what it was
//! made with, and every append is refused by the head that it locks if they are not.

use std::borrow::Cow;
use std::sync::Arc;

use super::row::{self, Columns};
use super::{Error, Partition, SubjectRef};
use crate::keys::KeyError;
use crate::keys::wrapping::{Numbers, Wrapping};

/// How often a reading is made again because the numbers changed meanwhile. They change twice a rotation.
pub(super) const ATTEMPTS: usize = 4;

/// What a ledger wraps keys with. A handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored(Arc<Wrapping>);

/// The numbers changed each time that something was read.
#[derive(Debug, thiserror::Error)]
#[error("keys are rotated faster than they can be read")]
struct Restless;

/// The keyring lacks the number that rows lie under.
#[derive(Debug, thiserror::Error)]
#[error("the ledger keeps its people under another key than this keyring holds: {0}")]
struct Lacking(KeyError);

impl Stored {
    pub(super) const fn new(wrapping: Arc<Wrapping>) -> Self {
        Self(wrapping)
    }

    pub(super) fn numbers(&self) -> Numbers {
        self.0.in_use().get()
    }

    /// Takes over what the database says.
    pub(super) fn learn(&self, numbers: Numbers) {
        if !self.0.in_use().set(numbers) {
            return;
        }
        let current = numbers.current;
        match numbers.leaving {
            Some(leaving) => {
                tracing::info!(from = leaving, to = current, "keys are being rotated");
            }
            None => tracing::info!(number = current, "everything is kept under one key"),
        }
    }

    /// The stored key of a number.
    pub(super) fn key(&self, inner: [u8; 16], number: u16) -> Result<[u8; 16], Error> {
        self.0.wrapped(inner, number).map_err(lacking)
    }

    /// The stored key of a number, of the stored one of an earlier number.
    pub(super) fn moved(&self, key: [u8; 16], from: u16, to: u16) -> Result<[u8; 16], Error> {
        self.0.rewrapped(key, from, to).map_err(lacking)
    }

    /// The innermost key, of a stored one.
    pub(super) fn inner(&self, stored: [u8; 16], number: u16) -> Result<[u8; 16], Error> {
        self.0.unwrapped(stored, number).map_err(lacking)
    }

    /// Everything that a row of somebody may lie under: one key, or two while keys are rotated.
    pub(super) fn keys(&self, inner: [u8; 16], numbers: Numbers) -> Result<Vec<[u8; 16]>, Error> {
        let numbers = [Some(numbers.current), numbers.leaving];
        let keys = numbers.into_iter().flatten();
        keys.map(|number| self.key(inner, number)).collect()
    }

    /// The people as they are stored: all under the current number, and then, while keys are rotated, all
    /// once more under the one before.
    pub(super) fn asked<'a>(
        &self,
        subjects: &'a [SubjectRef],
        numbers: Numbers,
    ) -> Result<Cow<'a, [SubjectRef]>, Error> {
        // Nothing is wrapped: as most ledgers are.
        if numbers == Numbers::NEW {
            return Ok(Cow::Borrowed(subjects));
        }
        let numbers = [Some(numbers.current), numbers.leaving];
        let each = numbers.into_iter().flatten();
        let each = each.flat_map(|number| subjects.iter().map(move |one| (number, one)));
        each.map(|(number, one)| {
            let key = self.key(one.key, number)?;
            Ok(SubjectRef { key, ..one.clone() })
        })
        .collect::<Result<_, _>>()
        .map(Cow::Owned)
    }

    /// Whether rows were read under the numbers that hold; if not, those that do are taken over.
    pub(super) fn still(&self, assumed: Numbers, rows: &[impl Columns]) -> Result<bool, Error> {
        for row in rows {
            // A partition without a head is told of where its row is read.
            if let Some(found) = row::numbers(row)?
                && found != assumed
            {
                self.learn(found);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The one row of somebody who was asked for under two keys. Two are one person twice, which nothing here
    /// brings about and which might hide an opt-out.
    pub(super) fn one<T>(
        subject: &SubjectRef,
        current: Option<T>,
        leaving: Option<T>,
    ) -> Result<Option<T>, Error> {
        match (current, leaving) {
            (Some(_), Some(_)) => Err(Error::corrupt(
                "subject",
                row::shown(subject),
                "lies under two keys",
            )),
            (found, None) | (None, found) => Ok(found),
        }
    }
}

/// A reading that never met the same numbers twice.
pub(super) fn restless() -> Error {
    Error::Unavailable(Restless.into())
}

fn lacking(fault: KeyError) -> Error {
    Error::Rejected(Lacking(fault).into())
}

/// Partitions in the order in which they are locked, each once.
pub(super) fn partitions(of: impl IntoIterator<Item = Partition>) -> Vec<Partition> {
    let mut partitions: Vec<Partition> = of.into_iter().collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}
