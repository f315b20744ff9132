//! What happened lately and proves nothing: open service windows, messages sent.
//!
//! It changes with every message, so it is kept apart from events and facts, and is forgotten after
//! a while. Whether it allows anything is decided elsewhere; where it is kept is not known here.

use std::time::Duration;

use crate::domain::id::{PurposeKey, SenderId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::MessageClass;

/// A message of the person opens the customer service window for this long (WhatsApp: "24 hours").
pub const SERVICE_WINDOW: Duration = Duration::from_hours(24);

/// How many sends to one person are looked at, the newest.
pub const MOST_SENDS: usize = 256;

/// What is known of one subject for one question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activity {
    /// The person's last message or call to the asked sender that opened the service window.
    pub last_inbound: Option<Timestamp>,
    /// Messages sent to the person, newest first, at most [`MOST_SENDS`]. There may be older ones
    /// among them than were asked for.
    pub sends: Vec<Sent>,
}

/// One message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub purpose: PurposeKey,
    pub class: MessageClass,
    pub at: Timestamp,
}

/// What of it a question needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted<'a> {
    /// The service window of this sender.
    pub window_of: Option<&'a SenderId>,
    /// The sends at this instant and later.
    pub sends_since: Option<Timestamp>,
}

impl Activity {
    /// Where the service window ends or ended; `None`: none was ever open, or that was long ago.
    pub fn window_end(&self) -> Option<Timestamp> {
        self.last_inbound.map(|at| at.plus(SERVICE_WINDOW))
    }

    /// What of it was there at an instant. Of messages of the person only the last is known, so that a
    /// window that was open before a later one is taken for closed. Where there may be more sends than
    /// are known, all of them count: nobody can tell which others there were.
    #[must_use]
    pub fn as_of(&self, at: Timestamp) -> Self {
        let all_known = self.sends.len() < MOST_SENDS;
        let sends = self.sends.iter();
        let sends = sends.filter(|sent| !all_known || sent.at <= at);
        Self {
            last_inbound: self.last_inbound.filter(|inbound| *inbound <= at),
            sends: sends.cloned().collect(),
        }
    }

    /// Whether the sends are all that there were since this instant, if that many were asked for. If
    /// not, there were at least [`MOST_SENDS`] after it, and nobody can tell which the others were.
    pub fn has_all_sends_since(&self, since: Timestamp) -> bool {
        self.sends.len() < MOST_SENDS || self.sends.last().is_some_and(|oldest| oldest.at < since)
    }
}

impl Wanted<'_> {
    /// Whether nothing need be looked up.
    pub fn is_nothing(&self) -> bool {
        self.window_of.is_none() && self.sends_since.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: i64) -> Timestamp {
        Timestamp::from_micros(count * 1_000_000)
    }

    #[test]
    fn a_window_ends_24_hours_after_the_last_message() {
        let activity = Activity {
            last_inbound: Some(second(10)),
            ..Activity::default()
        };
        let end = second(10).plus(SERVICE_WINDOW);
        assert_eq!(activity.window_end(), Some(end));
        assert_eq!(Activity::default().window_end(), None);
    }

    #[test]
    fn a_full_list_of_sends_says_nothing_of_what_was_before_its_oldest() {
        let sent = |at| Sent {
            purpose: PurposeKey::parse("offers").unwrap(),
            class: MessageClass::Marketing,
            at: second(at),
        };
        let full = i64::try_from(MOST_SENDS).unwrap();
        let activity = |count| Activity {
            last_inbound: None,
            sends: (0..count).map(|n| sent(10_000 - n)).collect(),
        };
        assert!(activity(full - 1).has_all_sends_since(second(0)));
        let oldest = 10_000 - full + 1;
        assert!(activity(full).has_all_sends_since(second(oldest + 1)));
        assert!(!activity(full).has_all_sends_since(second(oldest)));
        assert!(!activity(full).has_all_sends_since(second(0)));
    }

    #[test]
    fn what_was_there_at_an_instant_leaves_out_what_came_later_unless_the_list_is_full() {
        let sent = |at| Sent {
            purpose: PurposeKey::parse("offers").unwrap(),
            class: MessageClass::Marketing,
            at: second(at),
        };
        let activity = |count: usize| Activity {
            last_inbound: Some(second(200)),
            sends: (0..count).map(|_| sent(300)).chain([sent(100)]).collect(),
        };
        for (known, seconds, inbound, sends) in [
            (1, 99, false, 0),
            (1, 100, false, 1),
            (1, 200, true, 1),
            (1, 300, true, 2),
            (MOST_SENDS - 2, 100, false, 1),
            (MOST_SENDS - 1, 100, false, MOST_SENDS),
        ] {
            let then = activity(known).as_of(second(seconds));
            let found = (then.last_inbound.is_some(), then.sends.len());
            assert_eq!(found, (inbound, sends), "{known} more at {seconds}");
        }
    }

    #[test]
    fn nothing_is_wanted_where_neither_a_window_nor_sends_are() {
        let sender = SenderId::parse("1001").unwrap();
        for (window_of, sends_since, nothing) in [
            (None, None, true),
            (Some(&sender), None, false),
            (None, Some(second(1)), false),
            (Some(&sender), Some(second(1)), false),
        ] {
            let wanted = Wanted {
                window_of,
                sends_since,
            };
            assert_eq!(wanted.is_nothing(), nothing, "{wanted:?}");
        }
    }
}
