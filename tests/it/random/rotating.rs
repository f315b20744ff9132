//! A server whose keys are rotated while the commands come: on PostgreSQL beside it, held between two steps for as long
//! as commands are to find it half done; on SQLite, which has one process at a time, while it rests, and cut off.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use consentgate::config::{Config, Database};
use consentgate::server::{self, Progress, Rotated};
use tokio::sync::Notify;

use crate::harness::{Backend, TestServer};

/// A server, and the rotation that may be under way beside it.
#[derive(Debug)]
pub struct Keeper {
    pub server: TestServer,
    rotation: Option<Rotation>,
    /// Whether there was any.
    rotated: bool,
    pub is_half_done: bool,
}

impl Keeper {
    pub async fn start(on: Backend) -> Self {
        let server = TestServer::with(on, |config| {
            let catalog = config.catalog.as_ref().expect("tests have a catalogue");
            std::fs::write(catalog, include_str!("catalog.toml")).unwrap();
            // The policy that is shipped.
            config.policy = None;
            let key_file = catalog.with_file_name("ledger.key");
            if on == Backend::Sqlite {
                consentgate::keys::source::create(&key_file).unwrap();
            }
            config.key_file = Some(key_file);
        })
        .await;
        Self {
            server,
            rotation: None,
            rotated: false,
            is_half_done: false,
        }
    }

    /// Restarts the server, with the keyring that it had or with a longer one.
    pub async fn restart(&mut self, longer: bool) {
        if longer {
            let config = self.server.config();
            let grown = server::keyring(config).unwrap().grown().unwrap();
            let file = config.key_file.as_ref().expect("it has a key file");
            std::fs::write(file, grown.to_text().as_bytes()).unwrap();
        }
        self.server.restart().await;
    }

    /// Lets the rotation that is under way, or a new one, make so many steps.
    pub async fn rotate(&mut self, steps: usize) -> Result<(), String> {
        self.rotated = true;
        let beside = matches!(self.server.config().database, Database::Postgres(_));
        if !beside {
            self.server.stop().await;
        }
        let mut rotation = match self.rotation.take() {
            Some(rotation) => rotation,
            None => Rotation::begin(self.server.config()),
        };
        let goes_on = rotation.go_on(steps);
        self.is_half_done = goes_on;
        if beside && goes_on {
            self.rotation = Some(rotation);
            return Ok(());
        }
        let ended = rotation.end();
        if !beside {
            self.server.resume();
        }
        match ended? {
            Some(_) => Ok(()),
            None if goes_on => Ok(()),
            None => Err("a rotation ended that nobody cut off".to_owned()),
        }
    }

    /// Rotates to the end, after which nothing lies under an earlier key and nobody is there twice.
    pub async fn finish(mut self) -> Result<(), String> {
        if !self.rotated {
            return Ok(());
        }
        // One that was under way may have begun under a shorter keyring.
        while self.is_half_done {
            self.rotate(usize::MAX).await?;
        }
        self.rotate(usize::MAX).await?;
        let newest = server::keyring(self.server.config()).unwrap().newest();
        let sealed = match self.server.config().database {
            Database::Sqlite(_) => format!("hex(substr(sealed, 1, 2)) <> '{newest:04X}'"),
            Database::Postgres(_) => {
                format!("encode(substr(sealed, 1, 2), 'hex') <> '{newest:04x}'")
            }
        };
        let mut sql = self.server.sql().await;
        for wrong in [
            format!("subject_address WHERE {sealed}"),
            format!("event_payload WHERE {sealed}"),
            format!("subject WHERE key_id <> {newest}"),
            format!("service_window WHERE key_id <> {newest}"),
            format!("message_send WHERE key_id <> {newest}"),
            format!("partition_head WHERE key_id <> {newest} OR leaving <> 0"),
        ] {
            let rows = sql.number(&format!("SELECT count(*) FROM {wrong}")).await;
            if rows > 0 {
                return Err(format!("{rows} of {wrong}"));
            }
        }
        let people = sql.number("SELECT count(*) FROM subject").await;
        let ids = "SELECT count(DISTINCT subject_id) FROM event";
        match sql.number(ids).await {
            ids if ids == people => Ok(()),
            ids => Err(format!("{people} people have {ids} ids")),
        }
    }
}

/// A rotation on a thread of its own. It stands still after each step until it is told to go on.
#[derive(Debug)]
struct Rotation {
    steps: Receiver<()>,
    go: SyncSender<()>,
    thread: JoinHandle<Result<Option<Rotated>, String>>,
    waits: bool,
}

impl Rotation {
    fn begin(config: &Config) -> Self {
        let (step, steps) = sync_channel(0);
        let (go, goes) = sync_channel(0);
        let config = config.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let cut = Arc::new(Notify::new());
            let cutting = Arc::clone(&cut);
            // What follows the ledger goes on meanwhile, on the other thread.
            let report = move |_: Progress| {
                if step.send(()).is_err() || goes.recv().is_err() {
                    cutting.notify_one();
                }
            };
            let rotated = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = cut.notified() => None,
                    rotated = Box::pin(server::rotate(&config, report)) => Some(rotated),
                }
            });
            rotated.transpose().map_err(|error| error.to_string())
        });
        Self {
            steps,
            go,
            thread,
            waits: false,
        }
    }

    /// Whether it is still under way.
    fn go_on(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            if self.waits && self.go.send(()).is_err() {
                return false;
            }
            self.waits = self.steps.recv().is_ok();
            if !self.waits {
                return false;
            }
        }
        true
    }

    /// Cuts it off where it has not ended, as if it were killed.
    fn end(self) -> Result<Option<Rotated>, String> {
        let Self {
            steps, go, thread, ..
        } = self;
        drop((steps, go));
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err("the rotation panicked".to_owned()))
    }
}
