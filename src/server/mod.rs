//! The server's life: open, get ready, serve, end.
//!
//! Ready means: the schema is right, the key is the ledger's, the catalogue is applied, and this
//! instance may answer from memory. Ending means: say so, stop accepting, finish what has begun
//! within a deadline, give the ledger up, flush what was measured. The tests start the same
//! [`Server`] that the binary starts, on port 0.

mod example;
mod listener;
mod open;
mod sweeper;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::cache::activity::ActivityCache;
use crate::cache::confirm::Confirming;
use crate::cache::follower::{self, Follower, Running};
use crate::cache::lease::Term;
use crate::cache::{self, FactsCache};
use crate::catalog::{self, Catalog};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::consents::token::Tokens;
use crate::consents::{Alarms, Consents, Parts};
use crate::domain::keywords::Words;
use crate::grpc::{self, Health};
use crate::keys::source::SourceError;
use crate::ledger::activity::ActivityStore;
use crate::ledger::measured::Measured;
use crate::ledger::{self, Ledger, OpenError};
use crate::policy;
use crate::telemetry::{self, Metrics, Telemetry};
use listener::Connections;
use sweeper::Sweeper;
use watch::Watch;

pub use open::{accept_history, migrate, open_ledger};

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the ledger cannot be followed: {0}")]
    Following(#[from] follower::Error),
    #[error(transparent)]
    Key(#[from] SourceError),
    #[error("{0}")]
    WrongLedger(String),
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    #[error("cannot read `{path}`: {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error("the policy file `{path}` is not usable: {source}")]
    Policy { path: String, source: policy::Error },
    #[error("the file of opt-out words `{path}` is not usable: {source}")]
    Words { path: String, source: policy::Error },
    #[error("the catalogue `{path}` is not usable: {source}")]
    CatalogFile {
        path: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the example does not load: {0}")]
    Example(String),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the transport failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Self {
        Self::Open(error.into())
    }
}

/// How much longer than its own limits the database is waited for.
const MARGIN: Duration = Duration::from_secs(1);

/// How long leaving the ledger may take. A statement of a call that was cut off is not waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that listens and has yet to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    consents: Consents,
    ledger: Arc<dyn Ledger>,
    activity: Arc<dyn ActivityStore>,
    /// Where others write to the ledger as well.
    following: Option<Running>,
    cache: Arc<FactsCache>,
    health: Health,
    writes: TaskTracker,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Server {
    /// Opens the ledger, applies the catalogue and listens.
    pub async fn bind(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        may_start(config)?;
        let opened = open::open(config).await?;
        let (ledger, activity) = measured(config, opened.ledger, opened.activity, &metrics);
        let policy_text = policy_text(config).await?;
        let keys = Arc::new(opened.keyring.ledger_keys());
        let cache = Arc::new(FactsCache::new(
            Arc::clone(&ledger),
            Arc::clone(&clock),
            Arc::clone(&opened.lease),
            limits(config, config.cache_size.0 - activity_share(config)),
            opened.lane.clone(),
            metrics.clone(),
        ));
        let key_id = opened.keyring.current();
        let (follower, confirming) = match opened.shared {
            None => alone(&cache, ledger.as_ref()).await?,
            Some(url) => {
                let parts = following(config, url, key_id, &cache, &clock, &metrics);
                let (follower, confirming) = Follower::begin(parts).await?;
                (Some(follower), confirming)
            }
        };
        let catalog = Catalog::open(
            Arc::clone(&ledger),
            Arc::clone(&clock),
            Arc::new(opened.keyring),
            config.clock_tolerance,
            confirming.clone(),
        );
        let catalog = Arc::new(catalog.await?);
        let activity_cache = ActivityCache::new(
            Arc::clone(&activity),
            Arc::clone(&clock),
            limits(config, activity_share(config)),
            opened.lane,
            metrics.clone(),
        );
        let following = match follower {
            None => None,
            Some(follower) => Some(follower.start(catalog.clone()).await?),
        };
        // Only now what others changed before is known.
        catalog.adopt(&policy_text).await?;
        apply_catalog(config, &catalog).await?;
        let writes = TaskTracker::new();
        let consents = Consents::new(Parts {
            ledger: Arc::clone(&ledger),
            cache: Arc::clone(&cache),
            confirming,
            activity: Arc::new(activity_cache),
            catalog,
            words: Arc::new(words(config).await?),
            clock: Arc::clone(&clock),
            tokens: Tokens::new(Arc::clone(&keys), opened.meta.ledger_id),
            keys,
            metrics: metrics.clone(),
            alarms: Alarms::default(),
            valid_for: config.valid_for,
            writes: writes.clone(),
        });
        if config.example {
            example::load(&consents).await?;
        }
        let (listener, address) = listen(config).await?;
        let config = config.clone();
        Ok(Self {
            listener,
            address,
            config,
            consents,
            ledger,
            activity,
            following,
            cache,
            health: Health::new(),
            writes,
            clock,
            metrics,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The use cases behind it. For tests that drive them without the wire.
    pub fn consents(&self) -> &Consents {
        &self.consents
    }

    /// Serves until `shutdown` ends, then finishes what has begun.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let stop = CancellationToken::new();
        let sweeper = Sweeper {
            consents: self.consents.clone(),
            activity: self.activity,
            clock: Arc::clone(&self.clock),
            answers_kept: self.config.idempotency_retention,
        };
        let sweeper = tokio::spawn(sweeper.sweep(stop.clone()));
        let limit = self.config.max_connections;
        let incoming = Connections::new(self.listener, limit, stop.clone());
        let router = grpc::router(
            &self.config,
            &self.consents,
            &self.health,
            &self.clock,
            &self.metrics,
            &self.writes,
            &stop,
        );
        let serving = router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let mut serving = tokio::spawn(serving);
        self.health.ready();
        let watch = Watch {
            cache: Arc::clone(&self.cache),
            clock: Arc::clone(&self.clock),
            health: self.health.clone(),
            unready_after: self.config.unready_after,
        };
        let watch = tokio::spawn(watch.watch(stop.clone()));
        tracing::info!(address = %self.address, "serving");

        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = shutdown => None,
        };
        self.health.leave().await;
        let result = match ended {
            Some(ended) => transport_result(ended),
            None => {
                tracing::info!("stopping: no new calls");
                tokio::time::sleep(self.config.shutdown_delay).await;
                stop.cancel();
                finish(serving, &self.writes, self.config.shutdown_grace).await
            }
        };
        stop.cancel();
        // The sweeper ends with `stop`; a panic in it was logged and changes nothing here.
        let _ = sweeper.await;
        let _ = watch.await;
        let farewell = async {
            if let Some(following) = self.following {
                following.stop().await;
            }
            self.ledger.close().await;
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("the database still works for calls that were cut off: left as it is");
        }
        tracing::info!("stopped");
        result
    }
}

/// Lets calls and writes end; what is left after the grace is cut off.
async fn finish(
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    writes: &TaskTracker,
    grace: Duration,
) -> Result<(), Error> {
    let abort = serving.abort_handle();
    let all = async {
        let result = transport_result(serving.await);
        writes.close();
        writes.wait().await;
        result
    };
    match tokio::time::timeout(grace, all).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(
                ?grace,
                "calls were cut off: they did not end within the grace"
            );
            abort.abort();
            Ok(())
        }
    }
}

fn transport_result(
    joined: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), Error> {
    match joined {
        Ok(result) => Ok(result?),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
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
    key_id: u16,
    cache: &Arc<FactsCache>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> follower::Parts {
    follower::Parts {
        url,
        term: Term(config.lease),
        key_id,
        patience: config.database_acquire_timeout + config.statement_timeout,
        hints: config.hints,
        cache: Arc::clone(cache),
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
    }
}

/// The part of the cache's memory that is for activity. A fixed one, so that one setting bounds both:
/// few checks want a window, and sends are of use for a second.
fn activity_share(config: &Config) -> u64 {
    config.cache_size.0 / 8
}

/// The ledger and the activity beside it as they are used: timed, and none of them waited for without
/// end.
fn measured(
    config: &Config,
    ledger: Arc<dyn Ledger>,
    activity: Arc<dyn ActivityStore>,
    metrics: &Metrics,
) -> (Arc<dyn Ledger>, Arc<dyn ActivityStore>) {
    let limit = config.database_acquire_timeout + config.statement_timeout + MARGIN;
    (
        Arc::new(Measured::new(ledger, metrics.clone(), limit)),
        Arc::new(Measured::new(activity, metrics.clone(), limit)),
    )
}

fn limits(config: &Config, bytes: u64) -> cache::Limits {
    cache::Limits {
        bytes,
        patience: config.max_database_wait,
    }
}

/// Refuses what must not be opened at all.
fn may_start(config: &Config) -> Result<(), Error> {
    config.validate()?;
    #[cfg(feature = "weakened")]
    crate::weakened::choose().map_err(Error::WrongLedger)?;
    warn_if_exposed(config);
    Ok(())
}

fn warn_if_exposed(config: &Config) {
    if config.is_exposed() {
        tracing::warn!(
            address = %config.listen,
            "serving without encryption and authentication on an address that others can reach"
        );
    }
}

async fn policy_text(config: &Config) -> Result<String, Error> {
    let Some(path) = &config.policy else {
        return Ok(policy::EMBEDDED.to_owned());
    };
    let text = read(path).await?;
    // Read here once more than needed, so that a fault is told with the file's name.
    policy::load(&text).map_err(|source| Error::Policy {
        path: path.display().to_string(),
        source,
    })?;
    Ok(text)
}

async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), Error> {
    let fault = |source| Error::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    Ok((listener, address))
}

/// The words by which opt-outs are recognised: the operator's file, or the built-in ones.
async fn words(config: &Config) -> Result<Words, Error> {
    let Some(path) = &config.opt_out_words else {
        return Ok(policy::words::embedded());
    };
    let text = read(path).await?;
    policy::words::load(&text).map_err(|source| Error::Words {
        path: path.display().to_string(),
        source,
    })
}

async fn apply_catalog(config: &Config, catalog: &Catalog) -> Result<(), Error> {
    let (path, text) = match &config.catalog {
        Some(path) => (path.display().to_string(), read(path).await?),
        None if config.example => ("the example".to_owned(), example::CATALOG.to_owned()),
        None => return Ok(()),
    };
    let file = catalog::file::parse(&text).map_err(|source| Error::CatalogFile {
        path: path.clone(),
        source: source.into(),
    })?;
    let applied = catalog
        .apply(&file)
        .await
        .map_err(|source| Error::CatalogFile {
            path: path.clone(),
            source: source.into(),
        })?;
    let changed = applied
        .iter()
        .filter(|one| one.done != catalog::Done::Unchanged)
        .count();
    tracing::info!(
        file = path,
        resources = applied.len(),
        changed,
        "catalogue applied"
    );
    Ok(())
}

async fn read(path: &Path) -> Result<String, Error> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::Unreadable {
            path: path.display().to_string(),
            source,
        })
}

/// The whole of `consentgate serve`: telemetry, signals, server.
pub async fn run(loaded: config::Loaded) -> Result<(), Error> {
    let config = loaded.config;
    let telemetry: Telemetry = telemetry::init(&config)?;
    let result = serve_until_signal(&config, &telemetry).await;
    if let Err(error) = &result {
        tracing::error!(%error, "cannot serve");
    }
    // What was measured leaves before the process does, also after a failure.
    let flushed = telemetry.shutdown().await;
    result?;
    Ok(flushed?)
}

async fn serve_until_signal(config: &Config, telemetry: &Telemetry) -> Result<(), Error> {
    let signal = termination()?;
    let server = Server::bind(config, Arc::new(SystemClock), telemetry.metrics().clone()).await?;
    server.serve(signal).await
}

/// Ends at SIGTERM or SIGINT. Listening starts at once, so that a signal during start counts.
fn termination() -> Result<impl Future<Output = ()> + Send, Error> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without a way to wait for a signal the process is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
