//! Keeping activity: open service windows, messages sent, and who may confirm an opt-out.
//!
//! It lies in the same database as the events, and apart from them: it changes with every message,
//! proves nothing, is pruned, and no offset tells of it. Rows are keyed as subjects are, also where
//! nothing was ever recorded of a subject: a person who never consented may write, too.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::{Error, SubjectRef};
use crate::domain::activity::{Activity, MOST_SENDS, Sent, Wanted};
use crate::domain::id::{EventId, SenderId};
use crate::domain::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// For how long sends are kept: no frequency cap may reach further back.
pub const SENDS_KEPT: Duration = DAY.saturating_mul(366);
/// For how long windows are kept: far longer than one stays open.
pub const WINDOWS_KEPT: Duration = DAY.saturating_mul(31);
/// For how long permits are kept: far longer than an opt-out may be confirmed.
pub const PERMITS_KEPT: Duration = DAY.saturating_mul(31);

/// A place to keep activity. Every method is one statement for each kind, or one transaction.
#[async_trait]
pub trait ActivityStore: Send + Sync + fmt::Debug + 'static {
    /// Activity of many subjects in one statement for each kind that is wanted, in the order asked.
    /// A row whose business differs from the asked one is reported as corrupt, never returned.
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error>;

    /// Whether anything is known of a subject: that it wrote, or was sent something.
    async fn knows(&self, subject: &SubjectRef) -> Result<bool, Error>;

    /// Notes a message that opens the sender's service window. The later of what is known and `at`
    /// is kept.
    async fn note_inbound(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        at: Timestamp,
    ) -> Result<(), Error>;

    /// Notes a message that was sent. `message` is a keyed hash of its id: a send reported twice
    /// counts once, with what was reported first. True if none of the subjects had it.
    async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error>;

    /// Forgets rows of one kind from before an instant, at most `limit`; says how many.
    async fn forget_activity(
        &self,
        kind: Kind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error>;

    /// Takes the one permit of an opt-out for its confirmation, for the request that `request` is a
    /// keyed hash of. True for the request that has it, also when it asks again; false for every
    /// other. What was told is committed.
    async fn take_permit(
        &self,
        opt_out: EventId,
        request: &[u8; 16],
        at: Timestamp,
    ) -> Result<bool, Error>;

    /// The request that took the permit of an opt-out, as the keyed hash that it gave; `None` if
    /// nobody took it.
    async fn permit_holder(&self, opt_out: EventId) -> Result<Option<[u8; 16]>, Error>;
}

/// A kind of rows that is pruned by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sends,
    Windows,
    Permits,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Sends, Self::Windows, Self::Permits];

    const fn kept_for(self) -> Duration {
        match self {
            Self::Sends => SENDS_KEPT,
            Self::Windows => WINDOWS_KEPT,
            Self::Permits => PERMITS_KEPT,
        }
    }
}

/// Forgets what is older than it is kept for, a thousand rows at a time; says how many.
pub async fn prune(store: &dyn ActivityStore, now: Timestamp) -> Result<u64, Error> {
    const AT_ONCE: u32 = 1_000;
    let mut forgotten = 0;
    for kind in Kind::ALL {
        let kept = i64::try_from(kind.kept_for().as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now.as_micros().saturating_sub(kept));
        loop {
            let done = store.forget_activity(kind, before, AT_ONCE).await?;
            forgotten += done;
            if done < u64::from(AT_ONCE) {
                break;
            }
        }
    }
    Ok(forgotten)
}

/// The subjects of a write, each once and in the order in which all writers lock their rows.
pub(super) fn in_lock_order(subjects: &[SubjectRef]) -> Vec<&SubjectRef> {
    let mut ordered: Vec<&SubjectRef> = subjects.iter().collect();
    ordered.sort_by_key(|subject| (subject.partition, subject.key));
    ordered.dedup_by_key(|subject| (subject.partition, subject.key));
    ordered
}

/// What was found of so many people: of each under one key, and then of each once more under another.
pub(super) fn together(mut found: Vec<Activity>, people: usize) -> Vec<Activity> {
    let others = found.split_off(people.min(found.len()));
    for (one, other) in found.iter_mut().zip(others) {
        one.last_inbound = one.last_inbound.max(other.last_inbound);
        one.sends.extend(other.sends);
        one.sends.sort_by_key(|sent| Reverse(sent.at));
        one.sends.truncate(MOST_SENDS);
    }
    found
}

/// Whether a send that was written for `written` of so many subjects was new.
pub(super) fn was_new(subjects: &[&SubjectRef], written: u64) -> bool {
    let all = u64::try_from(subjects.len());
    written > 0 && all.is_ok_and(|all| all == written)
}
