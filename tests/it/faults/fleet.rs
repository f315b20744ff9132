//! Several instances of the real binary over one database, each with a wire of its own to it.
//!
//! A slot is a place for an instance: its process comes and goes, its wire stays. The nemesis starts and ends what is in
//! the slots; callers find whoever serves there, and never more of them wait for one instance than it has room for, so
//! that one that is stopped does not stop the callers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use consentgate::grpc::proto::consent_service_client::ConsentServiceClient;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;

use super::history::{History, Slot};
use super::proxy::Proxy;
use crate::process::Place;
use crate::process::gate::{Client, Ended, Gate};
use crate::wait::eventually;

/// Calls that may wait for one instance at a time.
const ROOM: usize = 10;

/// How long a start may be tried: a database that has crashed recovers first.
const START: Duration = Duration::from_secs(240);

/// The instances of a run.
#[derive(Debug)]
pub struct Fleet {
    pub place: Place,
    slots: Vec<Berth>,
    history: Arc<History>,
    arguments: Vec<String>,
    left_out: Option<&'static str>,
}

/// One slot.
#[derive(Debug)]
struct Berth {
    proxy: Proxy,
    channel: RwLock<Option<Channel>>,
    room: Arc<Semaphore>,
    gate: Mutex<Option<Gate>>,
}

impl Fleet {
    /// A fleet with empty slots. Every instance is started with these arguments, and a weakened build without this step.
    pub async fn new(
        place: Place,
        slots: usize,
        arguments: &[String],
        left_out: Option<&'static str>,
        history: &Arc<History>,
    ) -> Self {
        let mut berths = Vec::new();
        for _ in 0..slots {
            berths.push(Berth {
                proxy: Proxy::to_url(place.url()).await,
                channel: RwLock::default(),
                room: Arc::new(Semaphore::new(ROOM)),
                gate: Mutex::default(),
            });
        }
        Self {
            place,
            slots: berths,
            history: Arc::clone(history),
            arguments: arguments.to_vec(),
            left_out,
        }
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        0..Slot::try_from(self.slots.len()).unwrap()
    }

    fn berth(&self, slot: Slot) -> &Berth {
        &self.slots[usize::from(slot)]
    }

    pub fn proxy(&self, slot: Slot) -> &Proxy {
        &self.berth(slot).proxy
    }

    /// Starts an instance in a slot that is empty; the error is that it ended instead.
    pub async fn try_start(&self, slot: Slot, arguments: &[&str]) -> Result<(), Ended> {
        let url = self.proxy(slot).url(self.place.url());
        let common = self.arguments.iter().map(String::as_str);
        // Some hint and some do not, and the two get along.
        let hints = if slot.is_multiple_of(2) {
            "--hints=true"
        } else {
            "--hints=false"
        };
        let arguments = common.chain(arguments.iter().copied()).chain([hints]);
        let arguments: Vec<&str> = arguments.collect();
        let mut gate = self.berth(slot).gate.lock().await;
        assert!(gate.is_none(), "slot {slot} is taken");
        let mut command = self.place.serve_at(&url, &arguments);
        if let Some(step) = self.left_out {
            command.env("WEAKENED_CONSENTGATE", step);
        }
        let started = Gate::try_start(command).await?;
        self.history
            .did(format!("{slot}: serves as process {}", started.pid()));
        self.serve_from(slot, Some(started.channel()));
        *gate = Some(started);
        Ok(())
    }

    /// Starts an instance in an empty slot, again and again while it cannot: its database may be away.
    pub async fn start(&self, slot: Slot, arguments: &[&str]) {
        let started = async || match self.try_start(slot, arguments).await {
            Ok(()) => Some(()),
            Err(ended) => {
                self.history.did(format!("{slot}: did not start: {ended}"));
                None
            }
        };
        eventually(START, &format!("slot {slot} serves"), started).await;
    }

    fn serve_from(&self, slot: Slot, channel: Option<Channel>) {
        let serves = self.berth(slot).channel.write();
        *serves.unwrap_or_else(PoisonError::into_inner) = channel;
    }

    /// Takes the instance out of its slot. Callers find it no more.
    pub async fn take(&self, slot: Slot) -> Option<Gate> {
        self.serve_from(slot, None);
        self.berth(slot).gate.lock().await.take()
    }

    /// Sends a signal to whoever is in the slot.
    pub async fn signal(&self, slot: Slot, name: &str) {
        if let Some(gate) = &*self.berth(slot).gate.lock().await {
            gate.signal(name);
        }
    }

    /// The slots with an instance. Fails if one has ended by itself.
    pub async fn taken(&self) -> Vec<Slot> {
        let mut taken = Vec::new();
        for slot in self.slots() {
            if let Some(gate) = &mut *self.berth(slot).gate.lock().await {
                assert!(gate.is_running(), "{slot} ended by itself:\n{}", gate.log());
                taken.push(slot);
            }
        }
        taken
    }

    /// What the instance in a slot has logged.
    pub async fn log(&self, slot: Slot) -> String {
        let gate = self.berth(slot).gate.lock().await;
        gate.as_ref().map_or_else(String::new, Gate::log)
    }

    /// Waits until the instance in a slot says so of itself.
    pub async fn until(&self, slot: Slot, status: ServingStatus, limit: Duration) {
        let gate = self.berth(slot).gate.lock().await;
        let gate = gate.as_ref().expect("a slot with an instance");
        gate.until(status, limit).await;
    }

    /// What the instance in a slot says of itself.
    pub async fn health(&self, slot: Slot) -> ServingStatus {
        let gate = self.berth(slot).gate.lock().await;
        gate.as_ref()
            .expect("a slot with an instance")
            .health()
            .await
    }

    /// Who serves in a slot.
    pub fn client(&self, slot: Slot) -> Option<Client> {
        let serves = self.berth(slot).channel.read();
        let channel = serves.unwrap_or_else(PoisonError::into_inner).clone();
        channel.map(ConsentServiceClient::new)
    }

    /// The same with a place among those who may wait for it; `None` if there is no room.
    pub fn admit(&self, slot: Slot) -> Option<(Client, OwnedSemaphorePermit)> {
        let client = self.client(slot)?;
        let room = Arc::clone(&self.berth(slot).room);
        Some((client, room.try_acquire_owned().ok()?))
    }
}
