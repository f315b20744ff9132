//! Keeping the right to serve, and the lease that hangs on it.
//!
//! On SQLite there is nothing to keep. On PostgreSQL the lock is proved again and again on its own
//! connection; each proof extends the lease from before it was asked for. When it cannot be proved
//! the lease ends, health says so, and the lock is taken again when the database allows it. Whoever
//! follows an instance that vanished waits until that one's lease has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Error;
use crate::cache::FactsCache;
use crate::cache::lease::{TERM, waiting_term};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::grpc::Health;
use crate::ledger::postgres::{Limits, Predecessor, ServingLock};
use crate::ledger::{Ledger, Position, SYSTEM};

/// How often the lock is proved.
const PERIOD: Duration = Duration::from_millis(500);

/// What keeps others from serving the same database.
pub(super) enum Guard {
    /// A lock file, held by the open ledger.
    File,
    /// A lock that lives and dies with a connection.
    Connection {
        url: Zeroizing<String>,
        limits: Limits,
        instance: Uuid,
        lock: ServingLock,
        predecessor: Predecessor,
    },
}

/// What the keeper tells of losing and regaining the right.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub ledger: Arc<dyn Ledger>,
    pub cache: Arc<FactsCache>,
    pub catalog: Arc<Catalog>,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
}

/// The running keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    kept: Kept,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<Option<ServingLock>>>,
}

impl Keeper {
    /// Takes the cache's start from the ledger's heads, and keeps the right from now on.
    pub(super) async fn start(guard: Guard, kept: Kept) -> Result<Self, Error> {
        let stop = CancellationToken::new();
        let task = match guard {
            Guard::File => {
                kept.cache.restart_from(&kept.ledger.heads().await?);
                None
            }
            Guard::Connection {
                url,
                limits,
                instance,
                mut lock,
                predecessor,
            } => {
                outwait(predecessor).await;
                lock.claim(instance).await?;
                let asked = kept.clock.steady();
                if !lock.holds().await? {
                    return Err(Error::WrongLedger(
                        "the right to serve was lost at start".into(),
                    ));
                }
                kept.cache.restart_from(&kept.ledger.heads().await?);
                // It was read before the predecessor was waited out.
                kept.catalog.catch_up().await?;
                kept.cache.lease().extend(asked);
                let right = Right {
                    url,
                    limits,
                    instance,
                    kept: kept.clone(),
                    stop: stop.clone(),
                };
                Some(tokio::spawn(right.keep(lock)))
            }
        };
        Ok(Self { kept, stop, task })
    }

    /// From now on health says what the keeper knows.
    pub(super) fn ready(&self) {
        self.kept.health.ready();
    }

    /// Ends the lease and gives the right up, so that the next instance need not wait.
    pub(super) async fn release(self) {
        self.stop.cancel();
        let Some(task) = self.task else { return };
        let lock = task.await.ok().flatten();
        self.kept.cache.lease().end();
        if let Some(lock) = lock
            && let Err(error) = lock.release().await
        {
            tracing::warn!(%error, "the right to serve could not be given up; the next one waits");
        }
    }
}

async fn outwait(predecessor: Predecessor) {
    if predecessor == Predecessor::Vanished {
        let wait = waiting_term();
        tracing::info!(
            ?wait,
            "an earlier instance vanished: waiting until it must have noticed"
        );
        tokio::time::sleep(wait).await;
    }
}

/// The right to serve one database.
struct Right {
    url: Zeroizing<String>,
    limits: Limits,
    instance: Uuid,
    kept: Kept,
    stop: CancellationToken,
}

impl Right {
    /// Proves the lock until told to stop; gives it back if it is held then.
    async fn keep(self, lock: ServingLock) -> Option<ServingLock> {
        let mut seen = Vec::new();
        let mut held = Some(lock);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return held,
                () = tokio::time::sleep(PERIOD) => {}
            }
            held = match held {
                Some(mut lock) => self.prove(&mut lock).await.then_some(lock),
                None => self.take_again().await,
            };
            if held.is_some() {
                self.look(&mut seen).await;
            }
        }
    }

    /// Looks for commits that are not ours: one that an earlier instance had under way when it lost
    /// its right, or one of our own whose outcome we never learned. What was committed at the look
    /// before and is still not applied is such a one.
    async fn look(&self, seen: &mut Vec<Position>) {
        let Ok(Ok(heads)) = tokio::time::timeout(PERIOD, self.kept.ledger.heads()).await else {
            // Said when the lock is proved next, or by whoever needs the ledger.
            return;
        };
        let before = std::mem::replace(seen, heads);
        let applied = |position: &Position| match position.partition {
            SYSTEM => self.kept.catalog.applied(),
            partition => self.kept.cache.applied(partition),
        };
        let missed: Vec<Position> = before
            .into_iter()
            .filter(|position| applied(position) < position.offset)
            .collect();
        if missed.is_empty() {
            return;
        }
        tracing::info!(
            partitions = missed.len(),
            "applying commits that were not made here"
        );
        self.kept.cache.restart_from(&missed);
        if missed.iter().any(|position| position.partition == SYSTEM)
            && let Err(error) = self.kept.catalog.catch_up().await
        {
            tracing::warn!(%error, "the catalogue cannot be caught up");
        }
    }

    /// One proof. It has a limit below the term, so that there is time for another connection.
    async fn prove(&self, lock: &mut ServingLock) -> bool {
        let asked = self.kept.clock.steady();
        match tokio::time::timeout(TERM / 4, lock.holds()).await {
            Ok(Ok(true)) => {
                self.kept.cache.lease().extend(asked);
                true
            }
            outcome => {
                self.kept.cache.lease().end();
                self.kept.health.unwell();
                tracing::error!(
                    ?outcome,
                    "the right to serve is lost: nothing is answered now"
                );
                false
            }
        }
    }

    /// A database that says nothing is asked again, on another connection.
    async fn take_again(&self) -> Option<ServingLock> {
        let patience = self.limits.acquire_timeout;
        let taken = ServingLock::take(&self.url, self.limits, self.instance);
        let (mut lock, predecessor) = match tokio::time::timeout(patience, taken).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the right to serve cannot be taken yet");
                return None;
            }
            Err(_) => {
                tracing::warn!("the database says nothing: the right to serve cannot be taken yet");
                return None;
            }
        };
        outwait(predecessor).await;
        match tokio::time::timeout(patience, self.resume(&mut lock)).await {
            Ok(Ok(())) => {
                self.kept.health.well();
                tracing::info!("serving again");
                Some(lock)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the right to serve is taken, but the ledger does not answer");
                None
            }
            Err(_) => {
                tracing::warn!("the right to serve is taken, but the ledger says nothing");
                None
            }
        }
    }

    /// Others may have written meanwhile: nothing older than the ledger's heads is used.
    async fn resume(&self, lock: &mut ServingLock) -> Result<(), Error> {
        lock.claim(self.instance).await?;
        let asked = self.kept.clock.steady();
        if !lock.holds().await? {
            return Err(Error::WrongLedger("the lock is gone again".into()));
        }
        let heads = self.kept.ledger.heads().await?;
        if self.kept.cache.is_ahead_of(&heads) {
            return Err(Error::WrongLedger(
                "the ledger has less than it had: events were lost, and nothing may be answered \
                 until this instance is started again by somebody who knows why"
                    .into(),
            ));
        }
        self.kept.cache.restart_from(&heads);
        self.kept.catalog.catch_up().await?;
        self.kept.cache.lease().extend(asked);
        Ok(())
    }
}
