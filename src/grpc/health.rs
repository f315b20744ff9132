//! `grpc.health.v1`: whether this instance should be asked.
//!
//! SERVING means that it is ready, that it may answer from memory, and that it is not leaving.

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

    /// It is about to end; nothing makes it SERVING again.
    pub fn leave(&self) {
        self.change(|state| state.leaving = true);
    }

    pub fn is_serving(&self) -> bool {
        let state = *self.state.lock().expect("no holder of this lock panics");
        state.ready && state.well && !state.leaving
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no holder of this lock panics"));
        let health = self.clone();
        // The reporter's lock is asynchronous. Whoever comes last reports what holds then.
        tokio::spawn(async move {
            for service in SERVICES {
                let status = match health.is_serving() {
                    true => ServingStatus::Serving,
                    false => ServingStatus::NotServing,
                };
                health.reporter.set_service_status(service, status).await;
            }
        });
    }
}
