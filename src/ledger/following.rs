//! What instances that share a ledger tell each other through it, in the words of the coherence
//! protocol. The statements are in [`super::postgres::following`]; who uses them, and why that keeps
//! the promise, is said in [`crate::cache`].

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::{Offset, Partition, Timeline};

/// Names one instance until it ends or loses its row. Random, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub Uuid);

impl InstanceId {
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl Default for InstanceId {
    fn default() -> Self {
        Self::new()
    }
}

/// What an instance says of itself when it registers (F0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub instance: InstanceId,
    /// How long it answers from memory after a renewal.
    pub lease: Duration,
    /// What its keyring is known by, up to each of its numbers.
    pub key_checks: BTreeMap<u16, String>,
}

/// An offset for each partition, the system's first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offsets(pub Vec<Offset>);

impl Offsets {
    /// Of a partition; 0 where none is known.
    pub fn of(&self, partition: Partition) -> Offset {
        let index = usize::from(partition.0);
        self.0.get(index).copied().unwrap_or_default()
    }

    /// Every partition with its offset.
    pub fn each(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        (0..).map(Partition).zip(self.0.iter().copied())
    }
}

/// A subject that changed, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    pub partition: Partition,
    pub offset: Offset,
    pub key: [u8; 16],
}

/// What changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// These subjects.
    Subjects(Vec<Changed>),
    /// Too many to name.
    Many,
}

/// One look at the ledger (F1), of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub timeline: Timeline,
    pub heads: Offsets,
    pub changes: Changes,
    /// Every instance that is registered; empty where that was not asked for.
    pub instances: Vec<InstanceRow>,
}

/// A renewal that was committed durably (F2), and what its snapshot showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub look: Look,
    /// The ledger's own name of its history: another one after a loss was accepted.
    pub history: String,
    /// What is known of commits that were lost and that nobody has accepted yet.
    pub lost: Option<String>,
    /// What lies at the head of each partition that has gone on since: by it the same place is known
    /// again in another history.
    pub marks: Vec<(Partition, String)>,
}

/// An instance as its row shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    pub instance: InstanceId,
    pub renewals: i64,
    pub lease: Duration,
    pub applied: Offsets,
}
