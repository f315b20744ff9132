//! The use cases: check, explain, record, confirm, withdraw, erase, report, history.
//!
//! Whoever opens one folder should open this one. A check reads facts (from memory if the lease
//! holds) and decides. A write reads the ledger, decides, appends on the version it decided on, and
//! tells the cache before it answers. A write that has begun runs in a task of its own: its caller
//! may go away, it does not.
//!
//! Nothing here knows the wire. Rules are in `domain`, storage in `ledger`.

mod alarm;
mod append;
pub mod check;
pub mod confirm;
pub mod delivery;
pub mod erase;
pub mod error;
pub mod explain;
pub mod history;
mod idempotency;
mod identity;
pub mod inbound;
mod known;
mod payload;
pub mod progress;
pub mod record;
mod record_many;
pub mod registry;
mod resolve;
pub mod send;
pub mod suppress;
pub mod token;
pub mod withdraw;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::cache::FactsCache;
use crate::cache::activity::ActivityCache;
use crate::cache::confirm::Confirming;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::domain::address::{Address, MatchKey};
use crate::domain::id::{BusinessId, CallerName};
use crate::domain::keywords::Words;
use crate::domain::time::Timestamp;
use crate::keys::{BusinessKeys, LedgerKeys};
use crate::ledger::{Ledger, Partition, SubjectRef};
use crate::telemetry::Metrics;
use progress::Progress;
use token::Tokens;

pub use alarm::Alarms;
pub use error::{Error, Violation};
pub use payload::{Attachment, Evidence, Reported};

/// The use cases over one ledger. A handle: cheap to clone. The name is the caller's, where callers are
/// authenticated: what is recorded by this handle says so.
#[derive(Debug, Clone)]
pub struct Consents(Arc<Parts>, Option<CallerName>);

/// What the use cases are made of.
#[derive(Debug)]
pub struct Parts {
    pub ledger: Arc<dyn Ledger>,
    pub cache: Arc<FactsCache>,
    /// Asked before a restriction is acknowledged.
    pub confirming: Confirming,
    pub activity: Arc<ActivityCache>,
    pub catalog: Arc<Catalog>,
    /// By which opt-outs and confirmations are recognised in messages.
    pub words: Arc<Words>,
    pub clock: Arc<dyn Clock>,
    pub keys: Arc<LedgerKeys>,
    pub tokens: Tokens,
    pub metrics: Metrics,
    /// Bursts of failed deliveries.
    pub alarms: Alarms,
    /// For how long a decision may be relied on at most.
    pub valid_for: Duration,
    /// Places for writes that cannot restrict and look a subject up, each with a connection of its own: those that may
    /// restrict, and the misses of checks, find some free.
    pub looks: Semaphore,
    /// Writes that have begun: a shutdown waits for them.
    pub writes: TaskTracker,
}

/// A person as a caller named one: the parsed address, and the text to be sealed.
#[derive(Clone)]
pub struct Recipient {
    pub address: Address,
    pub text: Zeroizing<String>,
}

impl Recipient {
    /// Which field of a request it came in.
    fn field(&self) -> &'static str {
        match self.address.key() {
            MatchKey::UserId(_) => "recipient.business_scoped_user_id",
            // A phone number has the plus that a WhatsApp id must not have.
            MatchKey::Phone(_) if self.text.starts_with('+') => "recipient.phone_number",
            MatchKey::Phone(_) => "recipient.wa_id",
        }
    }
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl Consents {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts), None)
    }

    /// The same use cases, in the name of a caller.
    #[must_use]
    pub fn for_caller(&self, caller: Option<CallerName>) -> Self {
        Self(Arc::clone(&self.0), caller)
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.0.catalog
    }

    /// Carries a write out in a task of its own, so that nobody who leaves can abandon it midway.
    async fn to_its_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let write = Progress::current().of(write);
        let task = self.0.writes.spawn(write.in_current_span());
        task.await
            .unwrap_or_else(|fault| Err(Error::internal(format!("a write did not end: {fault}"))))
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Where a person's facts lie.
    fn subject_ref(
        &self,
        business: &BusinessId,
        keys: &BusinessKeys,
        address: &Address,
    ) -> SubjectRef {
        let (partition, key) = keys.subject(address);
        SubjectRef {
            business: business.clone(),
            partition: Partition(partition),
            key: key.0,
        }
    }

    /// Forgets answers of idempotent calls that are older than `retention`; says how many.
    pub async fn forget_answers(&self, retention: Duration) -> Result<u64, Error> {
        const AT_ONCE: u32 = 1_000;
        let before = self.now().as_micros();
        let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(before.saturating_sub(retention));
        let mut forgotten = 0;
        loop {
            let done = self.0.ledger.forget_answers(before, AT_ONCE).await?;
            forgotten += done;
            if done < u64::from(AT_ONCE) {
                return Ok(forgotten);
            }
        }
    }
}

/// A new time-ordered id, made from our clock.
fn new_id(at: Timestamp) -> Uuid {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        micros / 1_000_000,
        nanos,
    ))
}
