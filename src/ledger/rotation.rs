//! Rotating keys: bringing everything that lies under one number of the keyring under a later one, row by row,
//! while others read and write.
//!
//! Three steps, each of which is committed by itself. *Beginning* puts the later number in use for all that is new, in
//! all partitions at once; from then on a row lies under either. *Moving* takes rows under a lock of their partition,
//! in which nobody who writes is in the midst of one: that is what keeps one person from becoming two rows. *Finishing*
//! says that nothing is left. Whoever is killed goes on where the rows are; nothing else is kept of it.
//!
//! What a sealed value says, and in which order all this is done, is not known here.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Error, Offset, Partition};
use crate::domain::id::BusinessId;
use crate::domain::time::Timestamp;
use crate::keys::wrapping::Numbers;

/// A change of the numbers in use, and the entry of the system partition that it commits with: whoever follows that
/// knows of both.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The number that everything is brought under.
    pub to: u16,
    /// Where the system partition must be.
    pub expected: Offset,
    pub recorded_at: Timestamp,
    /// The entry, as JSON.
    pub body: &'a str,
}

/// What came of beginning a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    At(Offset),
    /// The system partition has moved on, or the numbers have: decide again.
    Overtaken,
    /// These instances have another keyring, and would not find what is moved.
    Others(Vec<Other>),
    /// The number was once in use with other secrets.
    OtherKey,
}

/// An instance with another keyring than whoever rotates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    pub instance: Uuid,
    /// The newest number that it holds.
    pub newest: u16,
}

/// Tables whose rows lie under keys of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Subjects,
    Windows,
    Sends,
}

impl Table {
    pub const ALL: [Self; 3] = [Self::Subjects, Self::Windows, Self::Sends];
}

/// What moving some rows came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub rows: u64,
    /// Where to go on; `None`: the partition is through.
    pub next: Option<[u8; 16]>,
}

/// Columns with sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Address,
    Payload,
}

impl Column {
    pub const ALL: [Self; 2] = [Self::Address, Self::Payload];

    /// Table and column, as values are sealed for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "subject_address.sealed",
            Self::Payload => "event_payload.sealed",
        }
    }
}

/// Where a sealed value lies. Addresses have no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub subject: Uuid,
    pub event: Uuid,
}

impl Place {
    /// Before all others.
    pub const FIRST: Self = Self {
        subject: Uuid::nil(),
        event: Uuid::nil(),
    };

    /// The row that a value of this column is sealed for.
    pub const fn row(&self, column: Column) -> &Uuid {
        match column {
            Column::Address => &self.subject,
            Column::Payload => &self.event,
        }
    }
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub place: Place,
    pub business: BusinessId,
    pub value: Vec<u8>,
}

/// A page of sealed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Those that are sealed under an earlier number.
    pub old: Vec<Sealed>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<Place>,
}

/// A value that was sealed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    pub place: Place,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// A ledger whose keys can be rotated.
#[async_trait]
pub trait Rotation: Send + Sync + fmt::Debug + 'static {
    /// The numbers in use, as the database has them now.
    async fn numbers(&self) -> Result<Numbers, Error>;

    /// Puts a later number in use, with what its keyring is known by, if every instance that is registered has
    /// the same keyring. Only where no rotation is under way.
    async fn begin(&self, change: Change<'_>, check: &str) -> Result<Begun, Error>;

    /// Waits until nobody is left in the midst of a statement that began under the earlier numbers.
    async fn settle(&self) -> Result<(), Error>;

    /// Brings rows of a partition after a key under the number in use, of at most `limit` people. One
    /// transaction; whoever writes in this partition waits for it.
    async fn move_rows(
        &self,
        table: Table,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Moved, Error>;

    /// Looks at up to `limit` sealed values after a place, for those that are sealed under a number before this.
    async fn sealed_before(
        &self,
        column: Column,
        number: u16,
        after: Place,
        limit: u32,
    ) -> Result<Page, Error>;

    /// Replaces sealed values that are still as they were read; says how many. What was deleted meanwhile stays
    /// deleted.
    async fn reseal(&self, column: Column, values: &[Resealed]) -> Result<u64, Error>;

    /// Says that nothing lies under the earlier number any more. `None`: the system partition has moved on,
    /// or somebody else said so.
    async fn finish(&self, change: Change<'_>) -> Result<Option<Offset>, Error>;
}
