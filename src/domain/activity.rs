//! What happened lately with a person and proves nothing: service windows and sends.
//!
//! It changes with every message, so it is kept apart from the ledger and may be forgotten. Whether a
//! window is open or a cap is reached follows from it in [`crate::domain::decide`].

use std::time::Duration;

use super::id::PurposeKey;
use super::time::Timestamp;
use super::vocabulary::MessageClass;

/// A message of the person opens the customer service window for this long (WhatsApp: "24 hours").
pub const SERVICE_WINDOW: Duration = Duration::from_hours(24);

/// What happened lately between one person and one business.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activity {
    /// The person's last message or call to the asked sender that opened the service window.
    pub last_inbound: Option<Timestamp>,
    /// Newest first.
    pub sends: Vec<Sent>,
}

/// One message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub purpose: PurposeKey,
    pub class: MessageClass,
    pub at: Timestamp,
}

impl Activity {
    pub fn window_end(&self) -> Option<Timestamp> {
        self.last_inbound.map(|at| at.plus(SERVICE_WINDOW))
    }

    pub fn window_is_open(&self, at: Timestamp) -> bool {
        self.window_end().is_some_and(|end| at < end)
    }
}
