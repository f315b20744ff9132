//! Which history of the ledger an answer belongs to.
//!
//! After a failover the database goes on in another history: the same offsets may name other
//! events, and a primary that was deposed may still answer, and show what was never replicated. An
//! instance counts the histories it was in; PostgreSQL tells them apart by its timeline. What was
//! read in one is never used in another. Who decides that a new one has begun is the follower
//! ([`crate::cache`]), on a renewal that was committed durably.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The database's own name for its history: PostgreSQL's timeline. Elsewhere 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}", self.0)
    }
}

/// One history as this process counts them: the protocol's epoch. Two are the same only if nothing
/// was lost in between as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Where the ledger's history cannot change under its one process.
    pub const ONLY: Self = Self(1 << 32);

    pub fn timeline(self) -> Timeline {
        Timeline(u32::try_from(self.0 & 0xffff_ffff).expect("it is masked"))
    }

    /// The same in fewer bytes.
    pub fn generation(self) -> Generation {
        Generation(u32::try_from(self.0 >> 32).expect("it is shifted"))
    }

    /// Whether the process knows which history it is in.
    pub fn is_known(self) -> bool {
        self.0 >> 32 != 0
    }
}

/// How many histories this process was in before an [`Epoch`], which it tells from all others: for what is held by the
/// million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(u32);

/// An answer came from another history than the one that this instance follows.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the database answers from history {found}, this instance follows {followed}")]
pub struct OtherHistory {
    pub found: Timeline,
    pub followed: Timeline,
}

/// The history that this instance follows. A handle, shared by the follower, who sets it, and by
/// whoever reads.
#[derive(Debug, Clone)]
pub struct History(Arc<AtomicU64>);

impl Default for History {
    fn default() -> Self {
        Self::unknown()
    }
}

impl History {
    /// Not known yet: every answer is as good as another, and none may be kept.
    pub fn unknown() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// The only one.
    pub fn only() -> Self {
        Self(Arc::new(AtomicU64::new(Epoch::ONLY.0)))
    }

    pub fn current(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    pub fn generation(&self) -> Generation {
        self.current().generation()
    }

    /// A new one begins, also if the database calls it by the same name.
    pub fn enter(&self, timeline: Timeline) -> Epoch {
        let generation = (self.0.load(Ordering::Acquire) >> 32) + 1;
        let epoch = Epoch((generation << 32) | u64::from(timeline.0));
        self.0.store(epoch.0, Ordering::Release);
        epoch
    }

    /// Whether an answer may be used by somebody who began in `epoch`.
    pub fn compare(&self, epoch: Epoch, found: Timeline) -> Result<(), OtherHistory> {
        if !epoch.is_known() || (found == epoch.timeline() && self.current() == epoch) {
            return Ok(());
        }
        Err(OtherHistory {
            found,
            followed: self.current().timeline(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_in_its_own_history_alone() {
        let history = History::unknown();
        let before = history.current();
        assert!(!before.is_known() && history.compare(before, Timeline(7)).is_ok());

        let first = history.enter(Timeline(1));
        assert!(first.is_known() && first.timeline() == Timeline(1));
        assert!(history.compare(first, Timeline(1)).is_ok());
        assert!(history.compare(first, Timeline(2)).is_err());

        // The same name, and yet another history: an operator accepted a loss.
        let second = history.enter(Timeline(1));
        assert_ne!(first, second);
        assert!(history.compare(first, Timeline(1)).is_err());
        assert!(history.compare(second, Timeline(1)).is_ok());
        assert_eq!(
            history.compare(first, Timeline(1)).unwrap_err().to_string(),
            "the database answers from history 00000001, this instance follows 00000001"
        );
    }

    #[test]
    fn the_only_history_is_known() {
        assert_eq!(History::only().current(), Epoch::ONLY);
        assert!(Epoch::ONLY.is_known() && Epoch::ONLY.timeline() == Timeline(0));
    }
}
