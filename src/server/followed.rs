//! A ledger that is followed, with the catalogue that it holds: what serving stands on, and what a command
//! needs that changes the system partition beside those who serve. Such a command is an instance for as
//! long as it runs, and confirms its change as every other does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Error, open};
use crate::cache::confirm::Confirming;
use crate::cache::follower::{self, Follower, Running};
use crate::cache::lane::Lane;
use crate::cache::lease::Term;
use crate::cache::{self, FactsCache};
use crate::catalog::{self, Catalog};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Database};
use crate::domain::time::Timestamp;
use crate::keys::LedgerKeys;
use crate::keys::wrapping::Wrapping;
use crate::ledger::Ledger;
use crate::ledger::activity::ActivityStore;
use crate::ledger::measured::Measured;
use crate::ledger::rotation::Rotation;
use crate::telemetry::Metrics;

/// How much longer than its own limits the database is waited for.
const MARGIN: Duration = Duration::from_secs(1);

/// How long leaving the ledger may take. A statement of a call that was cut off is not waited for.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Followed {
    pub ledger: Arc<dyn Ledger>,
    pub activity: Arc<dyn ActivityStore>,
    pub rotation: Arc<dyn Rotation>,
    pub lane: Lane,
    pub cache: Arc<FactsCache>,
    pub catalog: Arc<Catalog>,
    pub confirming: Confirming,
    pub keys: Arc<LedgerKeys>,
    pub ledger_id: String,
    pub following: Following,
}

/// The follower, where others write to the ledger as well.
#[derive(Debug)]
pub(super) struct Following(Option<Running>);

impl Followed {
    /// Opens the ledger, registers where there are others, and folds the catalogue.
    pub(super) async fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let opened = open::open(config).await?;
        let limit = config.database_acquire_timeout + config.statement_timeout + MARGIN;
        let ledger = Measured::new(opened.ledger, metrics.clone(), limit);
        let ledger: Arc<dyn Ledger> = Arc::new(ledger);
        let activity = Measured::new(opened.activity, metrics.clone(), limit);
        let keys = Arc::new(opened.keyring.ledger_keys());
        let cache = Arc::new(FactsCache::new(
            Arc::clone(&ledger),
            Arc::clone(clock),
            Arc::clone(&opened.lease),
            limits(config, config.cache_size.0 - activity_share(config)),
            opened.lane.clone(),
            metrics.clone(),
        ));
        let in_use = opened.wrapping.in_use().clone();
        metrics.observe_keys(move || {
            let numbers = in_use.get();
            (numbers.current, numbers.leaving.is_some())
        });
        let keyring = (opened.keyring.check_values(), Arc::clone(&opened.wrapping));
        let (follower, confirming) = match opened.shared {
            None => alone(&cache, ledger.as_ref()).await?,
            Some(url) => {
                let parts = following(config, url, keyring, &cache, clock, metrics);
                let (follower, confirming) = Follower::begin(parts).await?;
                (Some(follower), confirming)
            }
        };
        let catalog = Catalog::open(
            Arc::clone(&ledger),
            Arc::clone(clock),
            Arc::new(opened.keyring),
            config.clock_tolerance,
            confirming.clone(),
        );
        let catalog = Arc::new(catalog.await?);
        // Only once it is started is known what others changed before.
        let following = match follower {
            None => None,
            Some(follower) => Some(follower.start(catalog.clone()).await?),
        };
        Ok(Self {
            ledger,
            activity: Arc::new(activity),
            rotation: opened.rotation,
            lane: opened.lane,
            cache,
            catalog,
            confirming,
            keys,
            ledger_id: opened.meta.ledger_id,
            following: Following(following),
        })
    }
}

impl Following {
    /// Gives the ledger up: the lease first, so that nobody waits for this instance.
    pub(super) async fn leave(self, ledger: &dyn Ledger) {
        let farewell = async {
            if let Some(following) = self.0 {
                following.stop().await;
            }
            ledger.close().await;
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("the database still works for calls that were cut off: left as it is");
        }
    }
}

/// What a command works with that lists or changes the callers' tokens.
#[derive(Debug)]
pub struct TokenStore {
    pub catalog: Arc<Catalog>,
    /// Makes what is kept of a token.
    pub keys: Arc<LedgerKeys>,
    /// When it was opened.
    pub now: Timestamp,
}

/// Lets a command work on the tokens of a ledger: beside those who serve it (PostgreSQL), or while nobody
/// does (SQLite, which is locked). Neither creates nor migrates a database.
pub async fn with_tokens<T>(
    config: &Config,
    work: impl AsyncFnOnce(TokenStore) -> Result<T, catalog::Error>,
) -> Result<T, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let followed = beside(config, &clock, &Metrics::disabled()).await?;
    let done = work(TokenStore {
        catalog: followed.catalog,
        keys: followed.keys,
        now: clock.now(),
    });
    let done = done.await;
    followed.following.leave(followed.ledger.as_ref()).await;
    Ok(done?)
}

/// Opens a ledger for a command that changes it beside those who serve it. Neither creates nor migrates a database.
pub(super) async fn beside(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<Followed, Error> {
    config.validate()?;
    if let Database::Sqlite(path) = &config.database {
        exists(path)?;
    }
    let config = Config {
        migrate: Some(false),
        ..config.clone()
    };
    Followed::open(&config, clock, metrics).await
}

/// A misspelt path must not become a new, empty database.
pub(super) fn exists(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::Unreadable {
        path: path.display().to_string(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

/// Nobody else writes: what is there now is all that there is.
async fn alone(
    cache: &FactsCache,
    ledger: &dyn Ledger,
) -> Result<(Option<Follower>, Confirming), Error> {
    cache.restart_from(&ledger.heads().await?);
    Ok((None, Confirming::Alone))
}

fn following(
    config: &Config,
    url: Zeroizing<String>,
    (key_checks, wrapping): (BTreeMap<u16, String>, Arc<Wrapping>),
    cache: &Arc<FactsCache>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> follower::Parts {
    follower::Parts {
        url,
        term: Term(config.lease),
        key_checks,
        wrapping,
        patience: config.database_acquire_timeout + config.statement_timeout,
        hints: config.hints,
        cache: Arc::clone(cache),
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
    }
}

/// The part of the cache's memory that is for activity. A fixed one, so that one setting bounds both:
/// few checks want a window, and sends are of use for a second.
pub(super) fn activity_share(config: &Config) -> u64 {
    config.cache_size.0 / 8
}

pub(super) fn limits(config: &Config, bytes: u64) -> cache::Limits {
    cache::Limits {
        bytes,
        patience: config.max_database_wait,
    }
}
