//! What callers asked and were told, by one monotonic clock: the only thing that the checker is given.
//!
//! A call is written down once it has ended, with the instants before it was sent and after its answer had come, so
//! that an order between two calls that the history shows is one that a caller could rely on. An answer that never
//! came is a line too. Nothing is ever changed or taken out.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An instant of a run: nanoseconds since its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// One of the people of a run.
pub type Subject = u32;

/// The place that an instance has in the fleet; who follows another one there has the same.
pub type Slot = u8;

/// How a check was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Strict,
    /// With the token of the writer's latest answer.
    AtLeastAsFresh,
    FullyConsistent,
}

/// What a check was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Allow,
    Deny,
    Defer,
    /// An error, which decides nothing.
    Error,
    /// Nothing within the caller's patience.
    Nothing,
}

/// One question about one person. A batch is one of these for each of its recipients.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub subject: Subject,
    pub slot: Slot,
    pub asked: Asked,
    pub in_a_batch: bool,
    pub started: At,
    pub ended: At,
    pub told: Told,
}

/// What a writer wants of a person's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Grant,
    Withdrawal,
}

/// One attempt at an act.
#[derive(Clone, Debug)]
pub struct Write {
    pub subject: Subject,
    pub slot: Slot,
    pub act: Act,
    /// Counts the acts of one person in the order in which the one writer of that person sends them: a later act is
    /// sent after the last attempt at the one before, and happened later.
    pub number: u32,
    pub started: At,
    pub ended: At,
    /// The event, if the attempt was acknowledged. Without it nobody knows what became of it.
    pub event: Option<String>,
    /// What the answer said of how it holds, or the error: for whoever reads a failure.
    pub remark: String,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            slot,
            act,
            number,
            ended,
            event,
            remark,
            ..
        } = self;
        let outcome = event.as_ref().map_or("unknown", |_| "acknowledged");
        write!(
            f,
            "{act:?} {number} of {subject} by {slot}: {outcome} at {ended} ({remark})"
        )
    }
}

/// The record of one run.
#[derive(Debug)]
pub struct History {
    began: Instant,
    checks: Mutex<Vec<Check>>,
    writes: Mutex<Vec<Write>>,
    /// What was done to the instances and the database: for whoever reads a failure, not for the checker.
    deeds: Mutex<Vec<(At, String)>>,
}

impl History {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            checks: Mutex::default(),
            writes: Mutex::default(),
            deeds: Mutex::default(),
        }
    }

    pub fn now(&self) -> At {
        At(nanos(self.began.elapsed()))
    }

    pub fn checked(&self, checks: impl IntoIterator<Item = Check>) {
        locked(&self.checks).extend(checks);
    }

    pub fn wrote(&self, write: Write) {
        locked(&self.writes).push(write);
    }

    pub fn did(&self, deed: String) {
        let now = self.now();
        locked(&self.deeds).push((now, deed));
    }

    pub fn checks(&self) -> Vec<Check> {
        locked(&self.checks).clone()
    }

    pub fn writes(&self) -> Vec<Write> {
        locked(&self.writes).clone()
    }

    pub fn deeds(&self) -> Vec<(At, String)> {
        locked(&self.deeds).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
