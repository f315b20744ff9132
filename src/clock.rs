//! What time it is: the only place where the system's clocks are read.
//!
//! Two clocks, because they answer different questions. Wall time says when something happened and
//! is written down. Steady time never goes back, counts suspended time and is compared only with
//! itself: leases and deadlines use it. Nothing here waits.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start, counting suspended time; never goes back.
    fn steady(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else takes time from"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
    }

    fn steady(&self) -> Duration {
        // `Instant` is CLOCK_MONOTONIC, which stands still while the machine sleeps: a lease read
        // by it would outlive a suspended laptop or a paused guest.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }
}

/// A clock that stands still until it is moved. For tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Timestamp, Duration)>);

impl ManualClock {
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock().expect("no holder of this lock panics");
        time.0 = time.0.plus(by);
        time.1 += by;
    }

    /// Sets wall time alone, as a clock that was corrected.
    pub fn set(&self, now: Timestamp) {
        self.0.lock().expect("no holder of this lock panics").0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().expect("no holder of this lock panics").0
    }

    fn steady(&self) -> Duration {
        self.0.lock().expect("no holder of this lock panics").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_time_does_not_go_back_and_wall_time_is_of_this_century() {
        let clock = SystemClock;
        let (first, second) = (clock.steady(), clock.steady());
        assert!(second >= first);
        assert!(clock.now() > Timestamp::from_micros(1_700_000_000_000_000));
    }

    #[test]
    fn a_manual_clock_moves_when_it_is_moved() {
        let clock = ManualClock::at(Timestamp::from_micros(5));
        clock.advance(Duration::from_micros(3));
        assert_eq!(
            (clock.now(), clock.steady()),
            (Timestamp::from_micros(8), Duration::from_micros(3))
        );
        clock.set(Timestamp::EPOCH);
        assert_eq!(clock.steady(), Duration::from_micros(3));
    }
}
