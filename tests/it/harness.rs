//! A server as the binary starts it, with a database of its own, and what users do to it.
//!
//! Its catalogue is `consents/catalog.toml`, its policy `consents/policy.toml`. Its clock stands still until a test
//! moves it, so that nothing a test says about time depends on how busy the machine is. It runs on threads of its own:
//! a panic on any of them fails the test, and a test that blocks or races does so against a server that does not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use consentgate::clock::{Clock, ManualClock, SystemClock};
use consentgate::config::{Config, Database, Secret};
use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::catalog_service_client::CatalogServiceClient;
use consentgate::grpc::proto::consent_service_client::ConsentServiceClient;
use consentgate::grpc::proto::*;
use consentgate::keys;
use consentgate::ledger::postgres::migrate;
use consentgate::server::Server;
use consentgate::telemetry::Metrics;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

use crate::ledger::{LIMITS, Raw};
use crate::postgres::{TestDatabase, database};

/// The business of most tests; `rival` is the other one.
pub const ACME: &str = "acme";

/// 2026-06-01T12:00:00.25Z: not a whole second, which a restriction would be taken to end with.
const START: Timestamp = Timestamp::from_micros(1_780_315_200_250_000);

pub const CATALOG: &str = include_str!("consents/catalog.toml");
pub const POLICY: &str = include_str!("consents/policy.toml");

/// How long a server may take to end. Reached only by one that hangs.
const END: Duration = Duration::from_secs(30);

/// Which database a server keeps its ledger in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A running server that one test has to itself. Dropping it ends it as SIGTERM would.
#[derive(Debug)]
pub struct TestServer {
    config: Config,
    clock: Arc<dyn Clock>,
    manual: Option<Arc<ManualClock>>,
    running: Option<Running>,
    place: Place,
}

/// Where the ledger, its key and the files of the rules lie. Outlives restarts.
#[derive(Debug)]
struct Place {
    directory: TempDir,
    database: Option<TestDatabase>,
}

impl TestServer {
    /// A server with a clock that stands still.
    pub async fn start(on: Backend) -> Self {
        Self::with(on, |_| {}).await
    }

    /// As [`TestServer::start`], with other settings.
    pub async fn with(on: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        Self::begin(on, clock.clone(), Some(clock), change).await
    }

    /// As [`TestServer::with`], with another clock. Nothing moves it but itself.
    pub async fn with_clock(
        on: Backend,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::begin(on, clock, None, change).await
    }

    /// A server with the clocks of the system.
    pub async fn with_system_clock(on: Backend) -> Self {
        Self::begin(on, Arc::new(SystemClock), None, |_| {}).await
    }

    async fn begin(
        on: Backend,
        clock: Arc<dyn Clock>,
        manual: Option<Arc<ManualClock>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("catalog.toml"), CATALOG).unwrap();
        std::fs::write(file("policy.toml"), POLICY).unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            catalog: Some(file("catalog.toml")),
            policy: Some(file("policy.toml")),
            // Tests keep the machine busy: that is no reason for a call to fail.
            database_acquire_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_secs(20),
            max_database_wait: Some(Duration::from_secs(20)),
            // Who has the system's clock must not be refused because of a busy machine either.
            max_wait: None,
            ..Config::default()
        };
        let database = match on {
            Backend::Sqlite => {
                config.database = Database::Sqlite(file("ledger.db"));
                None
            }
            Backend::Postgres => {
                let database = database().await;
                keys::source::create(&file("ledger.key")).unwrap();
                migrate(database.url(), LIMITS).await.unwrap();
                // With the rights that a service is to have, and no others.
                let url = database.service_url().await;
                config.database = Database::Postgres(Secret::new(url));
                config.key_file = Some(file("ledger.key"));
                Some(database)
            }
        };
        change(&mut config);
        let running = Running::start(&config, &clock);
        Self {
            config,
            clock,
            manual,
            running: Some(running),
            place: Place {
                directory,
                database,
            },
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server was stopped")
    }

    /// Ends the server as SIGTERM would, and waits until it has ended.
    pub async fn stop(&mut self) {
        let running = self.running.take().expect("the server was stopped already");
        running.end().await;
    }

    /// Ends the server and starts another over what it left: its memory is empty, its data are there.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.resume();
    }

    /// Starts a server over what a stopped one left.
    pub fn resume(&mut self) {
        assert!(self.running.is_none(), "the server runs");
        self.running = Some(Running::start(&self.config, &self.clock));
    }

    /// The text of the policy file.
    pub fn policy(&self) -> String {
        std::fs::read_to_string(self.file("policy.toml")).unwrap()
    }

    /// Restarts with another policy file.
    pub async fn restart_with_policy(&mut self, text: &str) {
        std::fs::write(self.file("policy.toml"), text).unwrap();
        self.restart().await;
    }

    /// The settings that it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves wall time on. Steady time stands still, so that the lease of PostgreSQL's lock, which is measured in it, does
    /// not end because a test skips a year.
    pub fn advance(&self, by: Duration) {
        self.manual().set(self.now().plus(by));
    }

    pub fn manual(&self) -> &ManualClock {
        self.manual
            .as_ref()
            .expect("this server has the system's clock")
    }

    /// A second way into the database, past the server.
    pub async fn sql(&self) -> Raw {
        match &self.place.database {
            None => Raw::sqlite(&self.file("ledger.db")).await,
            Some(database) => Raw::postgres(database.url()).await,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.place.directory.path(), name)
    }

    pub fn channel(&self) -> Channel {
        self.running().channel.clone()
    }

    pub fn client(&self) -> ConsentServiceClient<Channel> {
        ConsentServiceClient::new(self.channel())
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel())
    }

    pub async fn try_check(
        &self,
        request: CheckConsentRequest,
    ) -> Result<CheckConsentResponse, Status> {
        Ok(self.client().check_consent(request).await?.into_inner())
    }

    pub async fn try_explain(
        &self,
        request: ExplainConsentRequest,
    ) -> Result<ExplainConsentResponse, Status> {
        Ok(self.client().explain_consent(request).await?.into_inner())
    }

    pub async fn try_batch(
        &self,
        request: BatchCheckConsentRequest,
    ) -> Result<BatchCheckConsentResponse, Status> {
        let answer = self.client().batch_check_consent(request).await?;
        Ok(answer.into_inner())
    }

    pub async fn try_record(
        &self,
        request: RecordConsentRequest,
    ) -> Result<RecordConsentResponse, Status> {
        Ok(self.client().record_consent(request).await?.into_inner())
    }

    pub async fn try_confirm(
        &self,
        request: ConfirmConsentRequest,
    ) -> Result<ConfirmConsentResponse, Status> {
        Ok(self.client().confirm_consent(request).await?.into_inner())
    }

    pub async fn try_withdraw(&self, request: WithdrawRequest) -> Result<WithdrawResponse, Status> {
        Ok(self.client().withdraw(request).await?.into_inner())
    }

    pub async fn try_lift(
        &self,
        request: LiftSuppressionRequest,
    ) -> Result<LiftSuppressionResponse, Status> {
        Ok(self.client().lift_suppression(request).await?.into_inner())
    }

    pub async fn try_inbound(
        &self,
        request: ReportInboundRequest,
    ) -> Result<ReportInboundResponse, Status> {
        Ok(self.client().report_inbound(request).await?.into_inner())
    }

    pub async fn try_get(&self, request: GetConsentRequest) -> Result<GetConsentResponse, Status> {
        Ok(self.client().get_consent(request).await?.into_inner())
    }

    pub async fn try_events(
        &self,
        request: ListConsentEventsRequest,
    ) -> Result<ListConsentEventsResponse, Status> {
        let answer = self.client().list_consent_events(request).await?;
        Ok(answer.into_inner())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let ended = std::thread::spawn(|| running.end_blocking()).join();
        // A test that failed already has said so.
        if let Err(panic) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// One life of a server, on threads of its own.
#[derive(Debug)]
struct Running {
    threads: String,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    channel: Channel,
}

impl Running {
    fn start(config: &Config, clock: &Arc<dyn Clock>) -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let threads = format!("{SERVER_THREADS}{number}");
        watch_panics();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(&threads)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        let (config, clock) = (config.clone(), Arc::clone(clock));
        // On a thread of its own, since this one waits for tasks already.
        let begin = std::thread::Builder::new().name(threads.clone());
        let begin = begin.spawn(move || {
            let begun = runtime.block_on(async {
                let server = Server::bind(&config, clock, Metrics::disabled())
                    .await
                    .unwrap_or_else(|error| panic!("the server does not start: {error}"));
                let uri = format!("http://{}", server.address());
                let serving = tokio::spawn(async move {
                    // An error means that nobody can say stop any more: the runtime is going.
                    let shutdown = async { drop(stopped.await) };
                    server.serve(shutdown).await.unwrap();
                });
                let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
                (serving, channel)
            });
            (runtime, begun)
        });
        match begin.unwrap().join() {
            Ok((runtime, (serving, channel))) => Self {
                threads,
                runtime,
                stop,
                serving,
                channel,
            },
            Err(panic) => {
                forget_panics(&threads);
                std::panic::resume_unwind(panic);
            }
        }
    }

    async fn end(self) {
        let Self {
            threads,
            runtime,
            stop,
            serving,
            channel,
        } = self;
        drop(channel);
        // It may have ended by itself: then `serving` says why.
        stop.send(()).ok();
        let ended = tokio::time::timeout(END, serving).await;
        runtime.shutdown_background();
        match ended {
            Err(_) => panic!("the server does not end within {END:?}"),
            Ok(Err(error)) => panic!("the server ended with a panic: {error}"),
            Ok(Ok(())) => {}
        }
        let panics = forget_panics(&threads);
        assert!(panics.is_empty(), "the server panicked:\n{panics:#?}");
    }

    fn end_blocking(self) {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        waiting.block_on(self.end());
    }
}

/// What the names of all threads of servers begin with.
const SERVER_THREADS: &str = "test-server-";

/// Panics of servers, with the name of the thread. The transport catches them, so nobody would hear of them.
static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if name.starts_with(SERVER_THREADS) {
                let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
                panics.push((name.to_owned(), info.to_string()));
            }
            before(info);
        }));
    });
}

/// Takes the panics of one server out of the list.
fn forget_panics(threads: &str) -> Vec<String> {
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let (its, others) = std::mem::take(&mut *panics)
        .into_iter()
        .partition(|(name, _)| name == threads);
    *panics = others;
    let its: Vec<(String, String)> = its;
    its.into_iter().map(|(_, panic)| panic).collect()
}

#[tokio::test]
async fn a_panic_in_a_task_of_the_server_fails_the_test() {
    let mut server = TestServer::start(Backend::Sqlite).await;
    let running = server.running();
    let task = running.runtime.spawn(async { panic!("a test's panic") });
    assert!(task.await.is_err());
    let ended = server.running.take().unwrap().end();
    let failure = tokio::spawn(ended).await.unwrap_err().into_panic();
    let message = failure.downcast_ref::<String>().unwrap();
    assert!(message.contains("a test's panic"), "{message}");
}
