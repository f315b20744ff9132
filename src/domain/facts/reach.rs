//! Whether an address can be reached, from deliveries that failed. Never an opt-out, and it passes.
//!
//! One undelivered message says little: vendors give the same code for an old client, a number that
//! is not on WhatsApp and, some say, a block. Three in a row say enough to stop trying for a while.

use std::time::Duration;

use super::{Facts, Mark};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::FailureKind;

/// House rule: for so long after the last of three failures within the same time an address counts
/// as unreachable.
pub const UNREACHABLE_FOR: Duration = Duration::from_hours(30 * 24);

/// How many failures in a row make an address unreachable.
const FAILURES: usize = 3;

/// How many are kept: what three in a row say holds while a fourth is not in a row with them, and is
/// over when a fifth is not in a row with that.
pub(super) const FAILURES_KEPT: usize = FAILURES + 1;

/// For how long WhatsApp holds marketing to a person back: "at least 24 hours" (131049).
pub const LIMITED_FOR: Duration = Duration::from_hours(24);

impl Facts {
    /// Until when the address counts as unreachable; `None` if it does not.
    pub fn unreachable_until(&self) -> Option<Timestamp> {
        let marks = self.failures_of(FailureKind::Undeliverable);
        let in_a_row = |row: &&[Mark]| {
            let (newest, oldest) = (row[0].at, row[FAILURES - 1].at);
            newest.since(oldest) <= UNREACHABLE_FOR
                && self
                    .reached
                    .as_ref()
                    .is_none_or(|reached| reached.at < oldest)
        };
        // Newest first: one more failure, long after the others, does not make it reachable sooner.
        let row = marks.windows(FAILURES).find(in_a_row)?;
        Some(row[0].at.plus(UNREACHABLE_FOR))
    }

    /// Until when WhatsApp holds marketing to this person back; `None` if it never did.
    pub fn limited_until(&self) -> Option<Timestamp> {
        let newest = self.failures_of(FailureKind::Limited).first()?;
        Some(newest.at.plus(LIMITED_FOR))
    }

    /// Whether deliveries failed before `at` that no answer of the address came after.
    pub fn has_failed_since(&self, at: Timestamp) -> bool {
        let marks = self.failures_of(FailureKind::Undeliverable);
        let unanswered = |failed: &Mark| {
            self.reached
                .as_ref()
                .is_none_or(|reached| reached.at < failed.at)
        };
        marks.iter().any(|mark| mark.at <= at && unanswered(mark))
    }

    fn failures_of(&self, kind: FailureKind) -> &[Mark] {
        self.failures
            .iter()
            .find(|failed| failed.kind == kind)
            .map_or(&[], |failed| failed.marks.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tests::{at, event};
    use crate::domain::event::{Act, Event, Failure, Reached};
    use crate::domain::id::SenderId;

    fn undelivered(seconds: i64) -> Event {
        let failure = Failure {
            kind: FailureKind::Undeliverable,
            sender_id: SenderId::parse("1001").unwrap(),
            code: String::new(),
            provider: String::new(),
        };
        event(1, at(seconds), Act::DeliveryFailed(failure))
    }

    fn reached(seconds: i64) -> Event {
        let sender_id = SenderId::parse("1001").unwrap();
        event(2, at(seconds), Act::Reached(Reached { sender_id }))
    }

    #[test]
    fn a_failure_is_one_until_the_address_answers() {
        for (events, asked, expected) in [
            (vec![], 300, false),
            (vec![undelivered(200)], 199, false),
            (vec![undelivered(200)], 200, true),
            (vec![undelivered(200), reached(199)], 300, true),
            (vec![undelivered(200), reached(200)], 300, false),
            (vec![undelivered(200), reached(201)], 300, false),
            // An answer to one failure is none to the next.
            (
                vec![undelivered(200), reached(201), undelivered(202)],
                300,
                true,
            ),
        ] {
            let found = Facts::fold(&events).has_failed_since(at(asked));
            assert_eq!(found, expected, "{events:?} at {asked}");
        }
    }

    #[test]
    fn an_answer_of_the_instant_of_a_failure_came_after_it() {
        let row = [100, 200, 300].map(undelivered);
        let unreachable = |answered: i64| {
            let events = row.iter().cloned().chain([reached(answered)]);
            Facts::fold(&events.collect::<Vec<_>>()).unreachable_until()
        };
        assert_eq!(unreachable(99), Some(at(300).plus(UNREACHABLE_FOR)));
        assert_eq!(unreachable(100), None);
    }

    #[test]
    fn an_address_answered_when_it_last_did() {
        let facts = Facts::fold(&[reached(300), reached(200)]);
        assert_eq!(facts.reached.as_ref().map(|mark| mark.at), Some(at(300)));
        assert_eq!(facts, Facts::fold(&[reached(200), reached(300)]));
    }
}
