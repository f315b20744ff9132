//! Load beyond capacity: what cannot be done in time is refused at once, so that the rest is done in time.
//!
//! The signal is how long a call waits between its arrival (the connection's task has read it) and
//! its beginning (a task of its own runs): that wait grows when the processors have more to do than
//! they can, whatever it is. A call that has waited too long is refused before its message is read,
//! while such waits last; one pause of the whole process refuses nobody. A batch waits a second time,
//! for the runtime that all connections share: who has waited too long there is refused as well, and
//! those who come meanwhile are refused before they wait. Batches go first, they can
//! be repeated in parts; then checks, whose answer in time is "do not send"; then records of
//! consent; and what a person asked somebody to look up last. What may restrict is never refused:
//! see [`Class`].
//!
//! Refusing a call costs about two fifths of answering a check from memory. So a refusal is held back for
//! a moment while there is room: whoever asks again at once, whatever `RetryInfo` says, then cannot
//! keep the server busy with refusing.
//!
//! What waits for the database is bounded where it waits: checks in [`crate::cache`], records by
//! [`Shedding::turn`]. Here are neither statuses nor deadlines.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

use super::status;
use crate::config::Config;
use crate::telemetry::{Method, Metrics, Rpcs, Seldom, Shed};

/// How many more late calls than timely ones make an overload.
const LASTING: u32 = 64;
/// As many timely calls at most end one.
const MOST: u32 = 2 * LASTING;

/// A refusal is held back for as many times the longest wait.
const HOLD: u32 = 4;
/// So many refusals at most are held back at a time; each takes a few kilobytes.
const MOST_HELD: u32 = 8_192;

/// Records that use the database at a time: about as many as share two statements. Connections of their own only few of
/// them have at a time, see [`crate::consents::Parts::looks`].
const RECORDS: usize = 96;

/// What becomes of a call when there is too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Refused after half the longest wait.
    Batch,
    /// Refused after the longest wait.
    Check,
    /// Refused after twice the longest wait. What can only give consent, or free somebody to be
    /// written to: it can be repeated, and until it is nobody is written to.
    Record,
    /// Refused after four times the longest wait.
    Read,
    /// Never refused: what can restrict, health, and what the operator does.
    Exempt,
}

impl Class {
    /// Of a method by its name, as in `consentgate.v1.ConsentService/CheckConsent`.
    fn of(name: &str) -> Self {
        match name.strip_prefix("consentgate.v1.ConsentService/") {
            Some("BatchCheckConsent" | "StreamCheckConsent") => Self::Batch,
            Some("CheckConsent") => Self::Check,
            Some("RecordConsent" | "ConfirmConsent" | "LiftSuppression" | "ReportSend") => {
                Self::Record
            }
            Some("GetConsent" | "ListConsentEvents" | "ExplainConsent") => Self::Read,
            // Withdraw, AddSuppression, RecordRegistryCheck (which can list), ReportInbound and
            // ReportDelivery, where opt-outs come in, and every service but this one.
            Some(_) | None => Self::Exempt,
        }
    }

    fn shed(self) -> Option<Shed> {
        match self {
            Self::Batch => Some(Shed::Batch),
            Self::Check => Some(Shed::Check),
            Self::Record => Some(Shed::Record),
            Self::Read => Some(Shed::Read),
            Self::Exempt => None,
        }
    }

    /// How long such a call may have waited.
    fn patience(self, longest: Duration) -> Duration {
        match self {
            Self::Batch => longest / 2,
            Self::Check => longest,
            Self::Record => 2 * longest,
            Self::Read => 4 * longest,
            Self::Exempt => Duration::MAX,
        }
    }
}

/// What is refused, for all connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shedding(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// By the method's index.
    classes: Box<[Class]>,
    /// `None`: nothing is refused for how long it waited.
    max_wait: Option<Duration>,
    /// `None`: nobody waits for a turn, and nobody is refused for it.
    max_database_wait: Option<Duration>,
    max_recipients: u64,
    calls: Lateness,
    queue: Queue,
    held: AtomicU32,
    recipients: AtomicU64,
    records: Arc<Semaphore>,
    refusals: Box<[HeaderMap]>,
    refused: AtomicU32,
    said: Mutex<Seldom>,
    metrics: Metrics,
}

impl Shedding {
    pub fn new(config: &Config, rpcs: &Rpcs, metrics: &Metrics) -> Self {
        let refusals = (0..status::DELAYS).map(status::crowded_headers);
        Self(Arc::new(Inner {
            classes: rpcs.names().map(|(_, name)| Class::of(name)).collect(),
            max_wait: config.max_wait,
            max_database_wait: config.max_database_wait,
            max_recipients: u64::from(config.max_recipients),
            calls: Lateness::default(),
            queue: Queue::default(),
            held: AtomicU32::new(0),
            recipients: AtomicU64::new(0),
            records: Arc::new(Semaphore::new(RECORDS)),
            refusals: refusals.collect(),
            refused: AtomicU32::new(0),
            said: Mutex::default(),
            metrics: metrics.clone(),
        }))
    }

    pub(super) fn class(&self, method: Method) -> Class {
        self.0.classes[method.index()]
    }

    /// Whether a call that begins now after this wait is done. `Some`: it is refused, with these
    /// headers.
    pub(super) fn admit(&self, class: Class, waited: Duration) -> Option<Refused> {
        let longest = self.0.max_wait?;
        let lasts = self.0.calls.count(waited > longest);
        let patience = class.patience(longest);
        let waited = match class {
            _ if lasts && waited > patience => waited,
            Class::Batch => self.0.queue.lasting(patience)?,
            _ => return None,
        };
        let shed = class.shed()?;
        self.say(shed, waited);
        let held = self.0.held.fetch_add(1, Ordering::Relaxed) < MOST_HELD;
        Some(Refused {
            headers: self.0.refusals[self.next_delay()].clone(),
            hold: if held { HOLD * longest } else { Duration::ZERO },
            _place: Held(self.clone()),
        })
    }

    /// A place for a batch of so many recipients, until it is dropped. One alone is always let in.
    pub(super) fn batch(&self, recipients: usize) -> Result<Batch, Status> {
        let count = u64::try_from(recipients).unwrap_or(u64::MAX);
        let before = self.0.recipients.fetch_add(count, Ordering::Relaxed);
        let place = Batch {
            of: self.clone(),
            count,
        };
        if before > 0 && before.saturating_add(count) > self.0.max_recipients {
            return Err(self.refuse(Shed::Recipients));
        }
        Ok(place)
    }

    /// A place in the queue of batches that are to begin.
    pub(super) fn queue(&self) -> Queued {
        let since = Instant::now();
        self.0.queue.lock().push_back(since);
        Queued {
            of: self.clone(),
            since,
        }
    }

    /// Waits for a place among the records that use the database, until it is dropped; not longer
    /// than the setting says, nor than its caller waits.
    pub(super) async fn turn(&self, caller: Option<Instant>) -> Result<Option<Turn>, Status> {
        let Some(limit) = self.0.max_database_wait else {
            return Ok(None);
        };
        let until = Instant::now() + limit;
        let until = caller.map_or(until, |caller| caller.min(until));
        let place = Arc::clone(&self.0.records).acquire_owned();
        match tokio::time::timeout_at(until, place).await {
            Ok(Ok(place)) => Ok(Some(Turn(place))),
            Ok(Err(_)) | Err(_) => Err(self.refuse(Shed::Write)),
        }
    }

    fn refuse(&self, shed: Shed) -> Status {
        self.refuse_after(shed, Duration::ZERO)
    }

    fn refuse_after(&self, shed: Shed, waited: Duration) -> Status {
        self.say(shed, waited);
        status::crowded()
    }

    fn next_delay(&self) -> usize {
        // Seven has no factor in common with their number: neighbours get delays far apart.
        let number = self.0.refused.fetch_add(7, Ordering::Relaxed);
        usize::try_from(number % status::DELAYS).unwrap_or(0)
    }

    fn say(&self, shed: Shed, waited: Duration) {
        self.0.metrics.shed(shed);
        // Whoever else says it now says enough.
        let Ok(mut said) = self.0.said.try_lock() else {
            return;
        };
        if let Some(refused) = said.says() {
            tracing::warn!(
                class = shed.name(),
                ?waited,
                refused,
                "calls are refused with RESOURCE_EXHAUSTED: there is more to do than can be done in time"
            );
        }
    }
}

/// Whether waits that are too long last.
///
/// Late calls less timely ones, from 0 to [`MOST`]. Written only when it changes: in calm it is read
/// alone, which no thread has to wait for. An update that is lost to another one is no loss.
#[derive(Debug, Default)]
struct Lateness(AtomicU32);

impl Lateness {
    /// Counts a call, and says whether there were many late ones before it.
    fn count(&self, is_late: bool) -> bool {
        let late = self.0.load(Ordering::Relaxed);
        if is_late {
            if late < MOST {
                self.0.store(late + 1, Ordering::Relaxed);
            }
        } else if late > 0 {
            self.0.store(late - 1, Ordering::Relaxed);
        }
        late >= LASTING
    }

    fn lasts(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LASTING
    }
}

/// When the batches came that have not begun. They begin in the order of their coming, or nearly so.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Instant>>,
    late: Lateness,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.waiting.lock().expect("no holder of this lock panics")
    }

    /// How long the first one has waited, if that is too long and such waits last.
    fn lasting(&self, patience: Duration) -> Option<Duration> {
        if !self.late.lasts() {
            return None;
        }
        let waits = self.lock().front()?.elapsed();
        (waits > patience).then_some(waits)
    }
}

/// A batch that has not begun.
#[derive(Debug)]
pub(super) struct Queued {
    of: Shedding,
    since: Instant,
}

impl Queued {
    /// Ends the wait: now the batch's work begins, or it is refused.
    pub(super) fn begin(self) -> Result<(), Status> {
        let Some(longest) = self.of.0.max_wait else {
            return Ok(());
        };
        let waited = self.since.elapsed();
        let is_late = waited > Class::Batch.patience(longest);
        let lasts = self.of.0.queue.late.count(is_late);
        match is_late && lasts {
            true => Err(self.of.refuse_after(Shed::Batch, waited)),
            false => Ok(()),
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.of.0.queue.lock().pop_front();
    }
}

/// A call that is not done.
#[derive(Debug)]
pub(super) struct Refused {
    headers: HeaderMap,
    hold: Duration,
    _place: Held,
}

impl Refused {
    /// Its answer's headers, after a moment; at the latest when its caller stops waiting.
    pub(super) async fn answer(self, caller: Option<Instant>) -> HeaderMap {
        if !self.hold.is_zero() {
            let until = Instant::now() + self.hold;
            let until = caller.map_or(until, |caller| caller.min(until));
            tokio::time::sleep_until(until).await;
        }
        self.headers
    }
}

#[derive(Debug)]
struct Held(Shedding);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A batch in progress.
#[derive(Debug)]
pub(super) struct Batch {
    of: Shedding,
    count: u64,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.of
            .0
            .recipients
            .fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A record that uses the database.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Metrics, Sampling};

    const T: Duration = Duration::from_millis(100);

    fn shedding(change: impl FnOnce(&mut Config)) -> Shedding {
        let mut config = Config {
            max_wait: Some(T),
            ..Config::default()
        };
        change(&mut config);
        let methods = super::super::methods();
        let rpcs = Rpcs::new(
            &Metrics::disabled(),
            Sampling::All,
            methods.iter().map(String::as_str),
        );
        Shedding::new(&config, &rpcs, &Metrics::disabled())
    }

    fn overload(shedding: &Shedding) {
        for _ in 0..MOST {
            shedding.admit(Class::Exempt, 2 * T);
        }
    }

    #[test]
    fn every_method_has_a_class_and_what_can_restrict_is_exempt() {
        let mut found = [const { Vec::new() }; 5];
        let methods = super::super::methods();
        for name in &methods {
            let class = Class::of(name);
            if let Some(method) = name.strip_prefix("consentgate.v1.ConsentService/") {
                found[class as usize].push(method);
            } else {
                assert_eq!(class, Class::Exempt, "{name}");
            }
        }
        let expected: [&[&str]; 5] = [
            &["BatchCheckConsent", "StreamCheckConsent"],
            &["CheckConsent"],
            &[
                "RecordConsent",
                "ConfirmConsent",
                "LiftSuppression",
                "ReportSend",
            ],
            &["GetConsent", "ListConsentEvents", "ExplainConsent"],
            &[
                "Withdraw",
                "AddSuppression",
                "RecordRegistryCheck",
                "ReportInbound",
                "ReportDelivery",
            ],
        ];
        for (found, expected) in found.iter_mut().zip(expected) {
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(*found, expected);
        }
        assert_eq!(Class::of("_OTHER"), Class::Exempt);
    }

    #[test]
    fn batches_are_refused_first_then_checks_then_records_then_reads_and_restrictions_never() {
        let shedding = shedding(|_| {});
        overload(&shedding);
        let after = |wait: Duration| {
            let all = [
                Class::Batch,
                Class::Check,
                Class::Record,
                Class::Read,
                Class::Exempt,
            ];
            let refused = all
                .iter()
                .filter(|class| shedding.admit(**class, wait).is_some());
            refused.count()
        };
        assert_eq!(after(T / 2), 0);
        overload(&shedding);
        assert_eq!(after(T), 1);
        overload(&shedding);
        assert_eq!(after(2 * T), 2);
        assert_eq!(after(4 * T), 3);
        assert_eq!(after(100 * T), 4);
    }

    #[test]
    fn a_pause_refuses_nobody_and_an_overload_ends_when_calls_are_in_time_again() {
        let shedding = shedding(|_| {});
        for _ in 0..LASTING {
            assert!(shedding.admit(Class::Check, 50 * T).is_none());
        }
        assert!(shedding.admit(Class::Check, 50 * T).is_some());
        overload(&shedding);
        for _ in 0..=LASTING {
            assert!(shedding.admit(Class::Check, T).is_none());
        }
        assert!(shedding.admit(Class::Check, 50 * T).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn batches_that_have_waited_too_long_for_the_runtime_are_refused_while_such_waits_last() {
        let shedding = shedding(|_| {});
        let patience = Class::Batch.patience(T);
        let mut waiting: VecDeque<_> = (0..=LASTING).map(|_| shedding.queue()).collect();
        tokio::time::advance(2 * patience).await;
        let mut next = || waiting.pop_front().unwrap().begin();
        let calls = |class| shedding.admit(class, Duration::ZERO).is_some();
        for _ in 0..LASTING {
            assert!(!calls(Class::Batch));
            next().unwrap();
        }
        // Before it waits, since others do; nobody but batches.
        assert!(calls(Class::Batch) && !calls(Class::Check) && !calls(Class::Exempt));
        let refused = next().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        // Nobody waits any more.
        assert!(!calls(Class::Batch));
        for _ in 0..=LASTING {
            shedding.queue().begin().unwrap();
        }
        let late = shedding.queue();
        tokio::time::advance(2 * patience).await;
        assert!(!calls(Class::Batch));
        // Who left has no place there.
        drop(late);
        assert!(shedding.0.queue.lock().is_empty());
    }

    #[test]
    fn who_switches_it_off_refuses_nobody() {
        let shedding = shedding(|config| config.max_wait = None);
        overload(&shedding);
        assert!(shedding.admit(Class::Batch, 1_000 * T).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_held_back_while_there_is_room_and_its_caller_waits() {
        let shedding = shedding(|_| {});
        overload(&shedding);
        let refuse = || shedding.admit(Class::Check, 2 * T).unwrap();
        let took = async |refused: Refused, caller| {
            let begun = Instant::now();
            refused.answer(caller).await;
            begun.elapsed()
        };
        assert!(took(refuse(), None).await >= HOLD * T);
        let soon = Some(Instant::now() + T);
        assert!(took(refuse(), soon).await < HOLD * T);
        let crowd: Vec<_> = (0..MOST_HELD).map(|_| refuse()).collect();
        assert_eq!(took(refuse(), None).await, Duration::ZERO);
        drop(crowd);
        assert!(took(refuse(), None).await >= HOLD * T);
    }

    #[test]
    fn batches_count_by_their_recipients_and_one_alone_is_let_in() {
        let shedding = shedding(|config| config.max_recipients = 10);
        let large = shedding.batch(1_000).unwrap();
        assert!(shedding.batch(1).is_err());
        drop(large);
        let _six = shedding.batch(6).unwrap();
        let four = shedding.batch(4).unwrap();
        let refused = shedding.batch(1).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(four);
        shedding.batch(1).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_waits_for_its_turn_no_longer_than_the_limit_nor_than_its_caller() {
        let shedding = shedding(|_| ());
        let first = shedding.turn(None).await.unwrap();
        let mut others = Vec::new();
        for _ in 1..RECORDS {
            others.push(shedding.turn(None).await.unwrap());
        }
        let begun = Instant::now();
        shedding.turn(None).await.unwrap_err();
        assert!(begun.elapsed() >= Config::default().max_database_wait.unwrap());
        let begun = Instant::now();
        shedding.turn(Some(begun + T)).await.unwrap_err();
        assert!(begun.elapsed() < 2 * T);
        drop(first);
        shedding.turn(None).await.unwrap();
    }
}
