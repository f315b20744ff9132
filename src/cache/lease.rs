//! The lease: until when this instance may answer from what it holds in memory.
//!
//! Today one instance serves a database, guarded by a lock: on SQLite the lock cannot be lost, so
//! the lease never ends; on PostgreSQL it is held by a connection, and the lease says until when
//! the last proof of holding it counts. Steady time only: see `clock`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one proof counts, from before it was asked for.
pub const TERM: Duration = Duration::from_secs(3);

/// The part of [`TERM`] that is used: clocks may run ten percent off, and a reader needs a moment
/// between looking at the lease and answering.
pub fn usable_term() -> Duration {
    TERM * 9 / 10 - Duration::from_millis(50)
}

/// How long whoever comes after a vanished instance waits, until that one's lease has ended.
pub fn waiting_term() -> Duration {
    TERM * 11 / 10 + Duration::from_millis(50)
}

/// An instant until which facts in memory may be used.
#[derive(Debug)]
pub struct Lease {
    /// Nanoseconds of steady time.
    until: AtomicU64,
}

impl Lease {
    /// Not yet given.
    pub fn none() -> Self {
        Self {
            until: AtomicU64::new(0),
        }
    }

    /// Without an end.
    pub fn endless() -> Self {
        Self {
            until: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether it holds at this instant of steady time.
    pub fn is_valid(&self, steady: Duration) -> bool {
        nanos(steady) < self.until.load(Ordering::Acquire)
    }

    /// Extends it on a proof that was asked for at `asked`. A later end is never shortened by this.
    pub fn extend(&self, asked: Duration) {
        self.until
            .fetch_max(nanos(asked + usable_term()), Ordering::AcqRel);
    }

    /// Ends it now.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_before_its_proof_was_asked_for() {
        let lease = Lease::none();
        let asked = Duration::from_secs(100);
        assert!(!lease.is_valid(asked));
        lease.extend(asked);
        assert!(lease.is_valid(asked + usable_term() - Duration::from_nanos(1)));
        assert!(!lease.is_valid(asked + usable_term()));
        lease.extend(asked - Duration::from_secs(1));
        assert!(lease.is_valid(asked + usable_term() - Duration::from_nanos(1)));
        lease.end();
        assert!(!lease.is_valid(asked));
    }

    #[test]
    fn a_successor_waits_longer_than_any_lease_lasts() {
        assert!(waiting_term() > TERM && TERM > usable_term());
        assert!(Lease::endless().is_valid(Duration::from_secs(u64::from(u32::MAX))));
    }
}
