//! When something happened, who says so, and how such times compare.

use super::law::SECOND;
use crate::random::acts::Told;

/// Whose clock told a time: times of different clocks are compared with a tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Caller,
    WhatsApp,
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    pub at: i64,
    pub clock: Clock,
}

impl When {
    /// "Later than it", and by more than five minutes where another clock told the time.
    pub fn is_after(self, other: Self) -> bool {
        self.is_after_by(other, 300 * SECOND)
    }

    pub fn is_after_by(self, other: Self, tolerance: i64) -> bool {
        match self.clock == other.clock {
            true => self.at > other.at,
            false => self.at > other.at + tolerance,
        }
    }

    /// Of two acts of one kind by one clock the later counts.
    pub fn replaces(self, other: Self) -> bool {
        self.clock == other.clock && self.at > other.at
    }
}

/// The moment that a caller names; where a time must be named and is not, it is now.
pub fn moment(told: Told, now: i64) -> i64 {
    let before = |ago: std::time::Duration| now - i64::try_from(ago.as_micros()).unwrap();
    match told {
        Told::Ago(ago) => before(ago),
        Told::ToTheSecond(ago) => before(ago).div_euclid(SECOND) * SECOND,
        Told::Ahead => now + 120 * SECOND,
        Told::Unset => now,
        Told::At(at) => at,
    }
}

/// A time that cannot be, or is not told, is now by our clock.
pub fn told(told: Told, now: i64, clock: Clock) -> When {
    match told {
        Told::Unset if clock == Clock::Caller => When {
            at: now,
            clock: Clock::Ours,
        },
        told => at_by(moment(told, now), now, clock),
    }
}

/// The time of an act that must be told and may lie a little ahead.
pub fn caller_said(said: Told, now: i64) -> When {
    at_by(moment(said, now), now, Clock::Caller)
}

pub fn at_by(at: i64, now: i64, clock: Clock) -> When {
    match at <= now {
        true => When { at, clock },
        false => When {
            at: now,
            clock: Clock::Ours,
        },
    }
}

/// What restricts and is known to the second counts to the second's end, but never from a later time than now.
pub fn to_the_end(at: i64, clock: Clock, now: i64) -> When {
    let end = match at % SECOND {
        0 => at + SECOND - 1,
        _ => at,
    };
    When {
        at: end.min(now),
        clock,
    }
}
