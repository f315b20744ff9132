//! `grpc.health.v1`: whether this instance should be asked.
//!
//! SERVING means that it is ready, that it may answer from memory, and that it is not leaving. Streams
//! of `Watch` are ended by the layer that all calls pass, not here.

use std::sync::{Arc, Mutex};

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

/// The services that a probe may ask for, beside the server as a whole.
const SERVICES: [&str; 4] = [
    "",
    "consentgate.v1.ConsentService",
    "consentgate.v1.CatalogService",
    "consentgate.v1.LedgerService",
];

/// What the server knows of its own health. A handle.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// Held by whoever reports, so that nothing older is reported last.
    reporting: Arc<tokio::sync::Mutex<()>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    ready: bool,
    well: bool,
    leaving: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Not ready yet.
    pub fn new() -> Self {
        let state = State {
            ready: false,
            well: true,
            leaving: false,
        };
        let health = Self {
            reporter: HealthReporter::new(),
            reporting: Arc::default(),
            state: Arc::new(Mutex::new(state)),
        };
        health.change(|_| {});
        health
    }

    pub(super) fn service(&self) -> HealthServer<impl HealthRpc> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Everything is open and applied.
    pub fn ready(&self) {
        self.change(|state| state.ready = true);
    }

    /// It may answer from memory again.
    pub fn well(&self) {
        self.change(|state| state.well = true);
    }

    /// It may not answer from memory.
    pub fn unwell(&self) {
        self.change(|state| state.well = false);
    }

    /// It is about to end; nothing makes it SERVING again. Returns when whoever watches is told.
    pub async fn leave(&self) {
        self.set(|state| state.leaving = true);
        self.report().await;
    }

    pub fn is_serving(&self) -> bool {
        let state = *self.state.lock().expect("no holder of this lock panics");
        state.ready && state.well && !state.leaving
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.set(change);
        let health = self.clone();
        tokio::spawn(async move { health.report().await });
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no holder of this lock panics"));
    }

    /// Reports what holds by now.
    async fn report(&self) {
        let _reporting = self.reporting.lock().await;
        let status = match self.is_serving() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
