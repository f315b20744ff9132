//! The lease: until when this instance may answer from what it holds in memory, and the times that
//! hang on its length.
//!
//! On SQLite the process is alone and the lease has no end. On PostgreSQL it counts from before a
//! renewal was sent that was committed durably (F2). Steady time only: see `clock`. Clocks of two
//! machines are never compared; their rates may differ by ten percent, so who answers uses less than
//! the length and who waits waits for more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a clock may be off, and a moment between looking at it and acting.
const MOMENT: Duration = Duration::from_millis(100);
/// What the statements of an opt-out may take beside its wait, so that all of it ends within 1.1 of the lease.
/// Whoever answers gives up as much, and the moment as well: the gap between the two stays.
const STATEMENTS: Duration = Duration::from_millis(20);

/// The length of an instance's leases, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(pub Duration);

impl Term {
    /// How long a renewal counts, from before it was sent.
    pub fn usable(self) -> Duration {
        (self.0 * 9 / 10).saturating_sub(MOMENT + STATEMENTS)
    }

    /// How long whoever restricts waits for an instance that says nothing, from its commit; and how
    /// long a row must stand still before it may be taken away.
    pub fn waiting(self) -> Duration {
        (self.0 * 11 / 10).saturating_sub(STATEMENTS)
    }

    /// The period of looks (F1).
    pub fn look(self) -> Duration {
        self.0 / 30
    }

    /// The period of renewals (F2).
    pub fn renewal(self) -> Duration {
        self.0 / 6
    }

    /// How long one statement of the follower may take before another connection is tried.
    pub fn limit(self) -> Duration {
        self.0 / 4 - self.0 / 40
    }
}

/// An instant until which facts in memory may be used.
#[derive(Debug)]
pub struct Lease {
    /// Nanoseconds of steady time.
    until: AtomicU64,
    term: Term,
}

impl Lease {
    /// Not yet given.
    pub fn none(term: Term) -> Self {
        Self {
            until: AtomicU64::new(0),
            term,
        }
    }

    /// Without an end: nobody else writes to the ledger.
    pub fn endless() -> Self {
        Self {
            until: AtomicU64::new(u64::MAX),
            term: Term(Duration::MAX / 2),
        }
    }

    pub fn is_endless(&self) -> bool {
        self.until.load(Ordering::Acquire) == u64::MAX
    }

    /// Whether it holds at this instant of steady time.
    pub fn is_valid(&self, steady: Duration) -> bool {
        nanos(steady) < self.until.load(Ordering::Acquire)
    }

    /// What is left of it.
    pub fn remaining(&self, steady: Duration) -> Duration {
        let until = self.until.load(Ordering::Acquire);
        Duration::from_nanos(until.saturating_sub(nanos(steady)))
    }

    /// F5: extends it on a renewal that was sent at `sent`. A later end is never shortened by this.
    pub fn extend(&self, sent: Duration) {
        self.until
            .fetch_max(nanos(sent + self.term.usable()), Ordering::AcqRel);
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

    const TERM: Term = Term(Duration::from_secs(3));

    #[test]
    fn a_lease_counts_from_before_its_renewal_was_sent() {
        let lease = Lease::none(TERM);
        let sent = Duration::from_secs(100);
        assert!(!lease.is_valid(sent) && !lease.is_endless());
        lease.extend(sent);
        let last = sent + TERM.usable() - Duration::from_nanos(1);
        assert!(lease.is_valid(last) && !lease.is_valid(sent + TERM.usable()));
        assert_eq!(lease.remaining(sent), TERM.usable());
        assert_eq!(lease.remaining(sent + TERM.usable() * 2), Duration::ZERO);
        lease.extend(sent - Duration::from_secs(1));
        assert!(lease.is_valid(last));
        lease.end();
        assert!(!lease.is_valid(sent));
    }

    #[test]
    fn whoever_waits_waits_longer_than_any_lease_lasts() {
        for term in [
            Term(Duration::from_millis(500)),
            TERM,
            Term(Duration::from_mins(1)),
        ] {
            // Ten percent off in both directions, and a moment between looking and acting.
            let (ended, waited) = (term.usable() * 10 / 9, term.waiting() * 10 / 11);
            assert!(waited > ended + MOMENT, "{term:?}");
            // An instance of before, which used 0.9 of it less 50 ms, is waited for long enough, too.
            let ended = (term.0 * 9 / 10 - Duration::from_millis(50)) * 10 / 9;
            assert!(waited > ended, "{term:?}");
            assert!(term.limit() < term.0 / 4 && term.renewal() * 3 < term.usable());
        }
        let endless = Lease::endless();
        assert!(endless.is_endless() && endless.is_valid(Duration::from_secs(u64::from(u32::MAX))));
    }
}
