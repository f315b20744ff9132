//! Keeping up with a ledger that others write to as well: F0 to F5 and W5 of the coherence protocol.
//!
//! One task, on a connection of its own. It looks, applies and renews, one after the other; nothing
//! else applies, and nothing else extends the lease. It ends when the server does, after everything
//! that could ask it.

mod step;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::FactsCache;
use super::confirm::{Confirming, Roster, Shared, Witness};
use super::lease::Term;
use crate::clock::Clock;
use crate::keys::wrapping::Wrapping;
use crate::ledger::following::{InstanceId, Offsets, Registration};
use crate::ledger::postgres::following::Line;
use crate::ledger::postgres::hints;
use crate::ledger::{self, Epoch, Offset, Partition, SystemRecord, Timeline};
use crate::telemetry::Metrics;

/// How often the rows of other instances are read while somebody waits for them.
const WATCHING: Duration = Duration::from_millis(4);
/// For how long they are read one time after the other at first, and then how often for how long: the
/// others apply and renew at once, and whoever waits waits for the reading of it, too. The runtime's
/// timer knows whole milliseconds, of which two pass for one.
const WATCHING_ALL_THE_TIME: Duration = Duration::from_millis(6);
const WATCHING_EAGERLY: Duration = Duration::from_millis(1);
const EAGER: Duration = Duration::from_millis(20);
/// How long a renewal that is asked for waits for others to ask for it. Shorter than the runtime's timer can be.
const TOGETHER: Duration = Duration::from_micros(100);
/// How long to wait before the ledger is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(2);
/// How many restrictions may ask for the next renewal at once; more wait to ask.
const MOST_WAITING: usize = 1_024;
/// How often the same trouble is told.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// What follows the system partition: the catalogue.
pub trait SystemFold: Send + Sync + std::fmt::Debug + 'static {
    /// How far it does.
    fn applied(&self) -> Offset;

    /// Applies what comes next. What was applied already is passed over.
    fn apply(
        &self,
        records: &[SystemRecord],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Forgets everything and applies these: another history has begun.
    fn replace(
        &self,
        records: &[SystemRecord],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Why the ledger is not followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error("the ledger says nothing")]
    Silent,
    #[error("this instance's row is gone: it registers anew")]
    RowGone,
    #[error(
        "the ledger lies under a key that this instance's keyring lacks, or holds another one of \
         under the same number: start it with the keyring that the others have"
    )]
    KeyMissing,
    #[error("the database answers from another history; a renewal decides which one holds")]
    OtherHistory,
    #[error("a change of the catalogue cannot be applied: {0}")]
    System(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "committed events are lost, and nothing is answered until somebody who knows why runs \
         `consentgate ledger accept-history`: {0}"
    )]
    HistoryLost(String),
}

/// What a follower needs.
#[derive(Debug)]
pub struct Parts {
    /// Leads to the primary itself.
    pub url: Zeroizing<String>,
    pub term: Term,
    /// What the keyring is known by, up to each of its numbers.
    pub key_checks: BTreeMap<u16, String>,
    /// Of the ledger that is followed: what it wraps keys with.
    pub wrapping: Arc<Wrapping>,
    /// How long a start asks a database that says nothing.
    pub patience: Duration,
    /// Whether instances tell each other that there is something to look at.
    pub hints: bool,
    pub cache: Arc<FactsCache>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
}

/// A follower that has registered, and whose first renewal is done except for the catalogue.
#[derive(Debug)]
pub struct Follower {
    parts: Parts,
    system: Option<Arc<dyn SystemFold>>,
    line: Option<Line>,
    me: Option<InstanceId>,
    /// The history as the last durable renewal showed it.
    known: Option<Known>,
    others: HashMap<InstanceId, Still>,
    asked: Vec<oneshot::Sender<Witness>>,
    /// How many the last renewal that was asked for was for.
    asked_before: usize,
    /// When somebody was last shown other instances to wait for.
    shown: Option<Instant>,
    requests: mpsc::Receiver<oneshot::Sender<Witness>>,
    roster: watch::Sender<Roster>,
    waiting: Arc<AtomicUsize>,
    count: Arc<AtomicU64>,
    told: Option<(String, Duration)>,
    hints: Option<Hints>,
}

/// A history, and how far it was.
#[derive(Debug)]
struct Known {
    name: String,
    timeline: Timeline,
    heads: Offsets,
    /// What lies at the heads.
    marks: HashMap<Partition, String>,
}

/// A row that stands still.
#[derive(Debug, Clone, Copy)]
struct Still {
    renewals: i64,
    since: Duration,
    seen_in: Timeline,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Look,
    Renew,
}

/// The running task.
#[derive(Debug)]
pub struct Running {
    /// It ends also if nobody stops it.
    stop: DropGuard,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    /// Registers and renews once: from here on it is known which history this is, and nothing older
    /// than its heads is used. There is no lease yet, because the catalogue has to be read first. Also
    /// gives the way to ask for confirmation.
    pub async fn begin(parts: Parts) -> Result<(Self, Confirming), Error> {
        let patience = parts.patience;
        let (mut follower, confirming) = Self::new(parts);
        follower.renew_within(patience).await?;
        Ok((follower, confirming))
    }

    fn new(parts: Parts) -> (Self, Confirming) {
        let (requests, asked) = mpsc::channel(MOST_WAITING);
        let (roster, watched) = watch::channel(Roster {
            epoch: Epoch::ONLY,
            number: 0,
            instances: Arc::default(),
        });
        let waiting = Arc::new(AtomicUsize::new(0));
        let hints = parts.hints.then(Hints::default);
        let shared = Shared {
            requests,
            roster: watched,
            waiting: Arc::clone(&waiting),
            hint: hints.as_ref().map(|hints| Arc::clone(&hints.given)),
            own_term: parts.term,
            clock: Arc::clone(&parts.clock),
            metrics: parts.metrics.clone(),
        };
        let count = Arc::new(AtomicU64::new(0));
        let seen: Weak<AtomicU64> = Arc::downgrade(&count);
        parts.metrics.observe_instances(move || {
            seen.upgrade()
                .map_or(0, |count| count.load(Ordering::Relaxed))
        });
        let follower = Self {
            parts,
            system: None,
            line: None,
            me: None,
            known: None,
            others: HashMap::new(),
            asked: Vec::new(),
            asked_before: 0,
            shown: None,
            requests: asked,
            roster,
            waiting,
            count,
            told: None,
            hints,
        };
        (follower, Confirming::Shared(Arc::new(shared)))
    }

    /// Before there is a lease there is none to lose: a slow database is asked again for a while.
    async fn renew_within(&mut self, patience: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match self.renew().await {
                Err(Error::Silent | Error::RowGone) if begun.elapsed() < patience => {
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done,
            }
        }
    }

    /// Follows from now on, the catalogue included. Returns once there is a lease.
    pub async fn start(mut self, system: Arc<dyn SystemFold>) -> Result<Running, Error> {
        self.system = Some(system);
        let patience = self.parts.patience;
        self.renew_within(patience).await?;
        let stop = CancellationToken::new();
        let heard = Arc::new(Notify::new());
        if let Some(hints) = self.hints.take() {
            hints.run(self.parts.url.clone(), Arc::clone(&heard), stop.clone());
        }
        let task = tokio::spawn(self.run(heard, stop.clone()));
        let stop = stop.drop_guard();
        Ok(Running { stop, task })
    }

    async fn run(mut self, heard: Arc<Notify>, stop: CancellationToken) {
        let term = self.parts.term;
        let mut renewal = Instant::now() + term.renewal();
        let mut look = Instant::now() + term.look();
        loop {
            let mut job = Job::Look;
            tokio::select! {
                () = stop.cancelled() => break,
                asked = self.requests.recv() => match asked {
                    Some(asked) => self.asked.push(asked),
                    None => break,
                },
                () = heard.notified() => {}
                () = tokio::time::sleep_until(look.min(renewal)) => {}
            }
            self.gather().await;
            // Only a renewal connects.
            if !self.asked.is_empty() || self.line.is_none() || Instant::now() >= renewal {
                job = Job::Renew;
            }
            let done = self.step(job).await;
            let now = Instant::now();
            look = now + self.looking();
            if job == Job::Renew {
                renewal = now + term.renewal();
            }
            match done {
                Ok(()) => {}
                Err(error) => {
                    self.failed(&error);
                    let again = match error {
                        Error::HistoryLost(_) => term.renewal(),
                        _ => AGAIN,
                    };
                    (look, renewal) = (now + again, now + again);
                }
            }
        }
        self.leave().await;
    }

    /// W2: whoever asked until now committed before the renewal that begins now. Those whose acts were committed together
    /// ask at nearly the same time: if there were several the last time, the others of them are given a moment, lest most
    /// wait for a second renewal.
    async fn gather(&mut self) {
        self.take_requests();
        if self.asked.is_empty() {
            return;
        }
        let until = Instant::now() + TOGETHER;
        while self.asked.len() < self.asked_before && Instant::now() < until {
            tokio::task::yield_now().await;
            self.take_requests();
        }
        self.asked_before = self.asked.len();
    }

    fn take_requests(&mut self) {
        while let Ok(asked) = self.requests.try_recv() {
            self.asked.push(asked);
        }
    }

    async fn step(&mut self, job: Job) -> Result<(), Error> {
        let before = self.parts.cache.all_finished();
        match job {
            Job::Look => self.look().await?,
            Job::Renew => self.renew().await?,
        }
        if self.told.take().is_some() {
            tracing::info!("the ledger is followed again: checks are answered");
        }
        // F2: what was applied is published at once. What a renewal applied, only if anybody else may wait for it: an
        // instance that is alone renews for each restriction, and who joins it is heard by a hint, and by the
        // next renewal.
        let is_news = self.parts.cache.all_finished() != before;
        let anybody = job == Job::Look || self.count.load(Ordering::Relaxed) > 1;
        // A renewal that is asked for says it, too.
        if is_news && anybody && self.requests.is_empty() {
            self.publish().await?;
        }
        Ok(())
    }

    fn looking(&self) -> Duration {
        let waiting = self.waiting.load(Ordering::Acquire) > 0;
        match self.shown.map(|shown| shown.elapsed()) {
            Some(passed) if waiting && passed < WATCHING_ALL_THE_TIME => Duration::ZERO,
            // Whoever was shown the first others a moment ago may not have begun to wait.
            Some(passed) if passed < EAGER => WATCHING_EAGERLY,
            Some(_) | None if waiting => WATCHING,
            Some(_) | None => self.parts.term.look(),
        }
    }

    /// The connection is given up. The lease runs on to its end, unless it was ended already.
    fn failed(&mut self, error: &Error) {
        self.line = None;
        self.parts.metrics.following_failed();
        let now = self.parts.clock.steady();
        // W4: what cannot be confirmed is not acknowledged.
        if !self.parts.cache.lease().is_valid(now) {
            self.asked.clear();
        }
        let text = error.to_string();
        let known = self.told.as_ref();
        if known.is_some_and(|(told, at)| *told == text && now.saturating_sub(*at) < TOLD_AGAIN) {
            return;
        }
        let left = self.parts.cache.lease().remaining(now);
        match error {
            Error::HistoryLost(_) => tracing::error!("{text}"),
            Error::KeyMissing => tracing::error!("{text}"),
            Error::RowGone => tracing::warn!("{text}"),
            Error::Ledger(_) | Error::Silent | Error::OtherHistory | Error::System(_) => {
                tracing::warn!(
                    error = text,
                    lease_left = ?left,
                    "the ledger cannot be followed: checks are answered until the lease ends"
                );
            }
        }
        self.told = Some((text, now));
    }

    /// Clean shutdown: the lease ends first, then the row goes, so that nobody waits for this instance.
    async fn leave(mut self) {
        self.parts.cache.lease().end();
        self.asked.clear();
        let (Some(line), Some(me)) = (self.line.take(), self.me) else {
            return;
        };
        match tokio::time::timeout(self.parts.term.limit(), line.leave(me)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "this instance's row could not be taken away; others wait for it");
            }
            Err(_) => {
                tracing::warn!("this instance's row could not be taken away; others wait for it");
            }
        }
    }

    fn registration(&self, instance: InstanceId) -> Registration {
        Registration {
            instance,
            lease: self.parts.term.0,
            key_checks: self.parts.key_checks.clone(),
        }
    }
}
impl Running {
    /// Ends the lease, gives the row up and ends.
    pub async fn stop(self) {
        self.stop.disarm().cancel();
        // A panic in it was logged; the lease has run out or will.
        let _ = self.task.await;
    }
}

/// Hints between instances: lost ones cost the period of a look.
#[derive(Debug, Default)]
struct Hints {
    given: Arc<Notify>,
}

impl Hints {
    fn run(self, url: Zeroizing<String>, heard: Arc<Notify>, stop: CancellationToken) {
        let own = Uuid::new_v4();
        let speaking = hints::speak(url.clone(), self.given, own);
        let listening = hints::listen(url, heard, own);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = speaking => {}
                () = listening => {}
            }
        });
    }
}
