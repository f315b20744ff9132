//! Instants as the ledger keeps them: microseconds since 1970-01-01T00:00:00Z.
//!
//! One integer means that both databases give back the same bytes, and that two instants compare
//! without a calendar. This module does not know what time it is: see `clock`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// An instant, in microseconds since the Unix epoch, without a zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31T23:59:59.999999Z, the last instant that protobuf's `Timestamp` can carry.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant `duration` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros)).min(Self::MAX)
    }

    /// The instant `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How much later this instant is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whether the instant lies exactly on a second, so that its sender may have known no more.
    pub const fn is_whole_second(self) -> bool {
        self.0.rem_euclid(MICROS_PER_SECOND) == 0
    }

    /// The last microsecond of the second in which this instant lies.
    #[must_use]
    pub const fn end_of_second(self) -> Self {
        Self(self.0 - self.0.rem_euclid(MICROS_PER_SECOND) + (MICROS_PER_SECOND - 1))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 in UTC, so that a log line or a timeline can be read.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_known_to_the_second_ends_with_that_second() {
        let whole = Timestamp::from_micros(1_767_225_600_000_000);
        assert!(whole.is_whole_second());
        assert_eq!(whole.end_of_second().as_micros(), 1_767_225_600_999_999);
        let finer = Timestamp::from_micros(1_767_225_600_000_001);
        assert!(!finer.is_whole_second());
    }

    #[test]
    fn seconds_before_1970_end_in_the_right_direction() {
        let before = Timestamp::from_micros(-1_500_000);
        assert_eq!(before.end_of_second().as_micros(), -1_000_001);
        assert!(Timestamp::from_micros(-2_000_000).is_whole_second());
    }

    #[test]
    fn adding_never_leaves_the_range_of_protobuf() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn an_instant_reads_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_micros(1_767_225_600_000_000).to_string(),
            "2026-01-01T00:00:00Z"
        );
    }
}
