//! The server's life: open, get ready, serve, end.
//!
//! Ready means: the schema is right, the key is the ledger's, the catalogue is applied, and this
//! instance may answer from memory. Ending means: say so, stop accepting, finish what has begun
//! within a deadline, give the ledger up, flush what was measured. The tests start the same
//! [`Server`] that the binary starts, on port 0.

mod crowd;
mod example;
mod file;
mod followed;
mod jwks;
mod lanes;
mod listener;
mod open;
mod rotating;
mod socket;
mod sweeper;
mod tls;
mod watch;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{self, Gate};
use crate::cache::FactsCache;
use crate::cache::activity::ActivityCache;
use crate::cache::follower;
use crate::catalog::{self, Catalog};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Listen};
use crate::consents::token::Tokens;
use crate::consents::{Alarms, Consents, Parts};
use crate::domain::keywords::Words;
use crate::grpc::{self, Health, Services};
use crate::keys::source::SourceError;
use crate::ledger::activity::ActivityStore;
use crate::ledger::{self, Ledger, OpenError};
use crate::policy;
use crate::telemetry::{self, Metrics, Telemetry};
use followed::{Followed, Following, activity_share, limits};
use jwks::Jwks;
use lanes::Lanes;
use listener::{Connections, Limits};
use socket::Socket;
use sweeper::Sweeper;
use tls::Tls;
use watch::Watch;

pub use file::FileError;
pub use followed::{TokenStore, with_tokens};
pub use open::{accept_history, keyring, migrate, open_ledger};
pub use rotating::{Progress, Rotated, rotate};

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
        address: Listen,
        source: std::io::Error,
    },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no thread can be started: {0}")]
    Threads(#[source] std::io::Error),
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

/// A server that listens and has yet to serve.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    tls: Option<Arc<Tls>>,
    jwks: Option<Arc<Jwks>>,
    address: Listen,
    config: Config,
    services: Services,
    ledger: Arc<dyn Ledger>,
    activity: Arc<dyn ActivityStore>,
    following: Following,
    cache: Arc<FactsCache>,
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
        let tls = Tls::open(config, &metrics).await?;
        let jwks = Jwks::open(config, &metrics).await?;
        let policy_text = policy_text(config).await?;
        let Followed {
            ledger,
            activity,
            lane,
            cache,
            catalog,
            confirming,
            keys,
            ledger_id,
            following,
            rotation: _,
        } = Followed::open(config, &clock, &metrics).await?;
        let activity_cache = ActivityCache::new(
            Arc::clone(&activity),
            Arc::clone(&clock),
            limits(config, activity_share(config)),
            lane,
            metrics.clone(),
        );
        catalog.adopt(&policy_text).await?;
        apply_catalog(config, &catalog).await?;
        let gate = Gate::new(auth::Parts {
            catalog: Arc::clone(&catalog),
            cache: Arc::clone(&cache),
            clock: Arc::clone(&clock),
            keys: Arc::clone(&keys),
            certificates: tls.as_ref().map(|tls| tls.callers()).unwrap_or_default(),
            jwts: jwks.as_ref().map(|jwks| jwks.callers()).unwrap_or_default(),
            always: config.always_authenticates(),
        });
        let writes = TaskTracker::new();
        let consents = Consents::new(Parts {
            ledger: Arc::clone(&ledger),
            cache: Arc::clone(&cache),
            confirming,
            activity: Arc::new(activity_cache),
            catalog,
            words: Arc::new(words(config).await?),
            clock: Arc::clone(&clock),
            tokens: Tokens::new(Arc::clone(&keys), ledger_id),
            keys,
            metrics: metrics.clone(),
            alarms: Alarms::default(),
            valid_for: config.valid_for,
            looks: looks(config.database_max_connections),
            writes: writes.clone(),
        });
        if config.example {
            example::load(&consents).await?;
        }
        let (socket, address) = listen(config).await?;
        let config = config.clone();
        Ok(Self {
            socket,
            tls,
            jwks,
            address,
            config,
            services: Services {
                consents,
                gate,
                health: Health::new(),
            },
            ledger,
            activity,
            following,
            cache,
            writes,
            clock,
            metrics,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &Listen {
        &self.address
    }

    /// The use cases behind it. For tests that drive them without the wire.
    pub fn consents(&self) -> &Consents {
        &self.services.consents
    }

    /// What answers, and who lets callers in. For whoever drives them over a wire of their own.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Serves until `shutdown` ends, then finishes what has begun.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let stop = CancellationToken::new();
        let sweeper = Sweeper {
            consents: self.services.consents.clone(),
            activity: self.activity,
            clock: Arc::clone(&self.clock),
            answers_kept: self.config.idempotency_retention,
        };
        let sweeper = tokio::spawn(sweeper.sweep(stop.clone()));
        let limits = Limits {
            all: self.config.max_connections,
            of_one_address: self.config.max_connections_per_address,
        };
        let tls = self.tls;
        let reloading = [
            tls.clone().map(|tls| tokio::spawn(tls.watch(stop.clone()))),
            self.jwks.map(|jwks| tokio::spawn(jwks.watch(stop.clone()))),
        ];
        let incoming = Connections::new(self.socket, tls, limits, stop.clone());
        let router = grpc::router(
            &self.config,
            &self.services,
            &self.clock,
            &self.metrics,
            &self.writes,
            &stop,
        );
        let lanes = Lanes::start(&router, &stop).map_err(Error::Threads)?;
        let mut serving = tokio::spawn(lanes.serve(incoming, stop.clone()));
        let health = &self.services.health;
        health.ready();
        let watch = Watch {
            cache: Arc::clone(&self.cache),
            clock: Arc::clone(&self.clock),
            health: health.clone(),
            unready_after: self.config.unready_after,
        };
        let watch = tokio::spawn(watch.watch(stop.clone()));
        tell_of_authentication(&self.config, &self.services.gate);
        tracing::info!(address = %self.address, "serving");

        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = shutdown => None,
        };
        health.leave().await;
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
        for reloading in reloading.into_iter().flatten() {
            let _ = reloading.await;
        }
        self.following.leave(self.ledger.as_ref()).await;
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
            "serving without encryption on an address that others can reach"
        );
    }
}

/// Says whether callers need a credential, and why: nobody should have to find out by trying.
fn tell_of_authentication(config: &Config, gate: &Gate) {
    match (gate.is_closed(), config.always_authenticates()) {
        (true, true) => tracing::info!("callers are authenticated: as the settings have it"),
        (true, false) => tracing::info!("callers are authenticated: the ledger holds tokens"),
        (false, _) if config.is_exposed() => tracing::warn!(
            address = %config.listen,
            "callers are not authenticated, on an address that others can reach: until the first token \
             is made anybody may call"
        ),
        (false, _) => {
            tracing::info!(
                "callers are not authenticated: until the first token is made anybody may call"
            );
        }
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

async fn listen(config: &Config) -> Result<(Socket, Listen), Error> {
    let listening = Socket::bind(&config.listen).await;
    listening.map_err(|source| Error::Listen {
        address: config.listen.clone(),
        source,
    })
}

/// The words by which opt-outs are recognised: the operator's file, or the built-in ones.
/// See [`Parts::looks`].
fn looks(connections: u32) -> Semaphore {
    let places = usize::try_from(connections * 3 / 8).unwrap_or(1);
    Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))
}

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
