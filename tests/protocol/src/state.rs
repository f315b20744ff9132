//! What the model remembers: databases, processes, checks and withdrawals, each in the words of the protocol.
//!
//! To be read beside the words of the protocol. Every number is small and relative, so that the space is finite: offsets
//! count from 0, leases and ages are ticks that are left or gone, capped at `L`. A database is known by its epoch: 0 is
//! the first primary (and the deposed one, after a failover), 1 its standby (and the new primary). Facts are known by
//! (epoch, offset), from which `State::facts` reads what they contain.

pub const PROCESSES: usize = 3;
pub const ROWS: usize = 4;
pub const PERSONS: usize = 2;
pub const PARTITIONS: usize = 2;
pub const WITHDRAWALS: usize = 3;
pub const CHECKS: usize = 3;

/// The epoch of a process that has not renewed yet.
pub const NO_EPOCH: u8 = 2;
/// The row of a process that is not registered.
pub const NO_ROW: u8 = 15;

/// A row of `cache_instance`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    pub there: bool,
    /// Relative: `normalise` keeps the differences that a comparison could meet.
    pub renewals: u8,
    pub applied: [u8; PARTITIONS],
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Database {
    /// Per partition, which withdrawal stands at each offset (1 + its number; 0: none yet).
    pub log: [[u8; WITHDRAWALS]; PARTITIONS],
    pub rows: [Row; ROWS],
}

impl Database {
    pub fn head(&self, partition: usize) -> u8 {
        let events = self.log[partition].iter().take_while(|event| **event != 0);
        u8::try_from(events.count()).expect("a log is short")
    }

    pub fn heads(&self) -> [u8; PARTITIONS] {
        std::array::from_fn(|partition| self.head(partition))
    }

    /// The offset of a withdrawal's event, if it is there.
    pub fn offset(&self, partition: usize, withdrawal: usize) -> Option<u8> {
        let number = u8::try_from(withdrawal + 1).expect("few withdrawals");
        let at = self.log[partition]
            .iter()
            .position(|event| *event == number)?;
        u8::try_from(at + 1).ok()
    }
}

/// Where the follower is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum At {
    #[default]
    Idle,
    /// F2: t0 is taken, the statement on its way.
    Sent,
    /// A look's or renewal's snapshot is taken; its reply on its way, or being applied (F4).
    Applying,
    /// F3: the renewal found no row; the reply on its way.
    RowGone,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Follower {
    pub at: At,
    /// Of a renewal, else of a look.
    pub renewal: bool,
    /// Ticks since t0.
    pub age: u8,
    /// The epoch and the heads of the snapshot.
    pub epoch: u8,
    pub heads: [u8; PARTITIONS],
    /// F4: the first partition not yet raised, and the persons still to be dropped.
    pub partition: u8,
    pub to_drop: u8,
    /// What the weakened order leaves for the end.
    pub late: bool,
}

/// W5: what a process watches, to delete it when it has stood still.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Watch {
    pub on: bool,
    pub row: u8,
    pub epoch: u8,
    pub renewals: u8,
    /// Ticks since the reply that first showed it.
    pub age: u8,
}

/// Facts in the cache, by what they were loaded from.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    pub there: bool,
    pub epoch: u8,
    pub as_of: u8,
}

/// One process of the service: a full instance, which checks, withdraws, follows and cleans up.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Process {
    pub up: bool,
    pub row: u8,
    pub epoch: u8,
    /// Ticks that are left of the lease.
    pub lease: u8,
    pub applied: [u8; PARTITIONS],
    pub floor: [u8; PARTITIONS],
    pub cache: [Entry; PERSONS],
    /// The heads of the last durable renewal (F3).
    pub durable: [u8; PARTITIONS],
    /// F3: the ledger went back, and nobody has confirmed it yet.
    pub alarm: bool,
    pub follower: Follower,
    pub watch: Watch,
}

/// Where a check is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Checking {
    #[default]
    Off,
    /// C1 has passed.
    Leased,
    /// C3: the load's snapshot is taken.
    Loaded,
    /// C3: the lease was read again.
    LeasedAgain,
    /// Answered; the load is still to be put into the cache.
    Answered,
    /// Weakened: read from the cache, the lease still to be read.
    CacheRead,
    /// Weakened: compared with `applied`, and inserted later, without the key lock.
    Compared,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Check {
    pub at: Checking,
    pub process: u8,
    pub person: u8,
    /// The restrictions of the person that were acknowledged before the check started.
    pub must: u8,
    /// The load's snapshot.
    pub epoch: u8,
    pub as_of: u8,
}

/// Where a withdrawal is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Withdrawing {
    #[default]
    New,
    /// Weakened: the clock is noted, the commit on its way.
    Noted,
    /// W1 has committed; W2's renewal is to be begun.
    Committed,
    /// W2's renewal has been begun.
    Riding,
    /// W2's renewal has committed and shown the rows; it is being applied.
    Shown,
    /// W3.
    Waiting,
    /// The caller was told nothing, or that nobody knows; it may repeat.
    Unknown,
    /// W6.
    Acknowledged,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Withdrawal {
    pub at: Withdrawing,
    pub process: u8,
    /// Of W1's commit.
    pub epoch: u8,
    /// Ticks since W1's commit completed.
    pub age: u8,
    /// The rows that W3 still waits for.
    pub rows: u8,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct State {
    pub databases: [Database; 2],
    /// The standby is the primary now; the old one still answers.
    pub promoted: bool,
    pub processes: [Process; PROCESSES],
    pub checks: [Check; CHECKS],
    pub withdrawals: [Withdrawal; WITHDRAWALS],
    /// How many instance ids were given out: none is used twice.
    pub ids: u8,
    /// What may still happen: crashes, outcomes that nobody learns, ticks that one clock misses.
    pub crashes: u8,
    pub unknowns: u8,
    pub slips: u8,
}

impl State {
    /// The epoch of the database that can commit durably.
    pub fn primary(&self) -> u8 {
        u8::from(self.promoted)
    }

    pub fn database(&self, epoch: u8) -> &Database {
        &self.databases[usize::from(epoch)]
    }

    pub fn database_mut(&mut self, epoch: u8) -> &mut Database {
        &mut self.databases[usize::from(epoch)]
    }

    /// Which withdrawals the facts of (epoch, offset) contain.
    pub fn facts(&self, epoch: u8, partition: usize, as_of: u8) -> u8 {
        let log = &self.database(epoch).log[partition];
        let events = log
            .iter()
            .take(usize::from(as_of))
            .filter(|event| **event != 0);
        events.fold(0, |facts, event| facts | 1 << (event - 1))
    }

    pub fn acknowledged(&self) -> u8 {
        let mut mask = 0;
        for (number, withdrawal) in self.withdrawals.iter().enumerate() {
            if withdrawal.at == Withdrawing::Acknowledged {
                mask |= 1 << number;
            }
        }
        mask
    }
}
