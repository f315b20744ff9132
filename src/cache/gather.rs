//! Gathered misses (C3): one statement for everybody who waits.
//!
//! A check joins the *next* statement to be sent, never one in flight, so what it gets was read after
//! it asked. While few ask, each is sent at once; while many do, those who come meanwhile share the
//! next one, each subject once.
//!
//! Who asks about many people reads by statements of its own, in the [`Lane`] for that: whoever asks
//! about one never waits until many are read.
//!
//! Whoever waits too long for its statement to be sent is refused, and so is whoever comes while
//! others have waited that long: a slow database fails the checks that need it, soon and for itself,
//! and those that are answered from memory not at all.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::lane::{FEW, Lane};
use super::{Entry, Error};
use crate::ledger::{self, Ledger, SubjectRef};

/// How many statements are under way at a time.
const AT_ONCE: usize = 4;
/// So many subjects in the statement before mean that many ask, and what a statement costs beside its
/// subjects is shared by more of them the fewer statements there are: the next one is sent when one is
/// done, or so many subjects wait, or they have waited so long.
const SEVERAL: usize = 3;
const MANY: usize = 64;
const LATE: Duration = Duration::from_millis(2);
/// How many subjects one statement asks for at most.
const MOST: usize = 512;
/// How many subjects wait or are read at a time, over all calls; a single call may always want more.
/// Each takes some hundred bytes.
const MOST_WAITING: usize = 100_000;

/// How far a statement is.
#[derive(Debug, Clone)]
enum Progress {
    Waiting,
    Sent,
    Done(Result<Arc<Vec<Arc<Entry>>>, Arc<ledger::Error>>),
}

/// Whoever loads facts from the ledger.
#[derive(Debug, Clone)]
pub(super) struct Gatherer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ledger: Arc<dyn Ledger>,
    /// How long a subject may wait until its statement is sent. `None`: as long as it takes.
    patience: Option<Duration>,
    lane: Lane,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Batch>,
    running: usize,
    /// How many subjects the statement asked for that was sent last.
    before: usize,
    /// Subjects that callers wait for.
    subjects: usize,
}

impl State {
    /// What nobody waits for any more is left out once another can be sent in its place. Until then it
    /// stays in front, and says to those who come how long one waits here.
    fn drop_abandoned(&mut self) {
        while self.running < AT_ONCE && self.waiting.front().is_some_and(Batch::is_abandoned) {
            self.waiting.pop_front();
        }
    }

    fn may_send(&self) -> bool {
        let Some(next) = self.waiting.front() else {
            return false;
        };
        let due = || next.subjects.len() >= MANY || next.begun.elapsed() >= LATE;
        self.running == 0 || (self.running < AT_ONCE && (self.before < SEVERAL || due()))
    }

    /// The next one to be sent, if it is to be sent beside those under way.
    fn begin(&mut self) -> Option<Batch> {
        self.drop_abandoned();
        self.may_send().then(|| self.take()).flatten()
    }

    fn take(&mut self) -> Option<Batch> {
        let next = self.waiting.pop_front()?;
        self.running += 1;
        self.before = next.subjects.len();
        Some(next)
    }
}

#[derive(Debug)]
struct Batch {
    subjects: Vec<SubjectRef>,
    places: HashMap<[u8; 16], usize, foldhash::fast::RandomState>,
    begun: Instant,
    progress: watch::Sender<Progress>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Subjects that a caller waits for.
struct Counted<'a> {
    of: &'a Shared,
    subjects: usize,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.of.lock().subjects -= self.subjects;
    }
}

impl Gatherer {
    pub(super) fn new(ledger: Arc<dyn Ledger>, lane: Lane, patience: Option<Duration>) -> Self {
        Self(Arc::new(Shared {
            ledger,
            patience,
            lane,
            state: Mutex::default(),
        }))
    }

    /// What the ledger knows of these subjects, in their order, read after this was called.
    pub(super) async fn load(&self, subjects: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, Error> {
        let _counted = self.count(subjects.len())?;
        let ledger = self.0.ledger.as_ref();
        if subjects.len() > FEW {
            let (ledger, subjects) = (Arc::clone(&self.0.ledger), subjects.to_vec());
            let read = async move { read(ledger.as_ref(), &subjects).await };
            return Ok(self.0.lane.run(read).await?);
        }
        let asked = Instant::now();
        let (places, mut progress) = self.join(subjects)?;
        let is_done = |progress: &Progress| matches!(progress, Progress::Done(_));
        // Those under way may not end for long, and nobody else may come who would look.
        if tokio::time::timeout(LATE, progress.wait_for(is_done))
            .await
            .is_err()
        {
            self.send_due();
        }
        // Nobody is woken when the statement is sent: whoever has waited so long looks.
        if let Some(patience) = self.0.patience
            && tokio::time::timeout_at(asked + patience, progress.wait_for(is_done))
                .await
                .is_err()
            && matches!(*progress.borrow(), Progress::Waiting)
        {
            return Err(Error::Crowded);
        }
        let done = progress.wait_for(is_done).await;
        // No answer at all: whoever ran the statement is gone with its runtime.
        let Ok(Progress::Done(answered)) = done.map(|progress| progress.clone()) else {
            return Ok(read(ledger, subjects).await?);
        };
        match answered {
            Ok(entries) => Ok(places
                .iter()
                .map(|place| Arc::clone(&entries[*place]))
                .collect()),
            // One person's corrupt row is no other person's trouble.
            Err(error) if error.is_corrupt() => Ok(read(ledger, subjects).await?),
            Err(error) => Err(ledger::Error::shared(error).into()),
        }
    }

    /// Counts subjects until they are read, or says that there are too many.
    fn count(&self, subjects: usize) -> Result<Counted<'_>, Error> {
        let mut state = self.0.lock();
        if state.subjects > 0 && state.subjects + subjects > MOST_WAITING {
            return Err(Error::Crowded);
        }
        state.subjects += subjects;
        Ok(Counted {
            of: &self.0,
            subjects,
        })
    }

    fn join(
        &self,
        subjects: &[SubjectRef],
    ) -> Result<(Vec<usize>, watch::Receiver<Progress>), Error> {
        let mut state = self.0.lock();
        state.drop_abandoned();
        let oldest = state.waiting.front().map(|batch| batch.begun.elapsed());
        if oldest.is_some_and(|waits| self.0.patience.is_some_and(|patience| waits > patience)) {
            return Err(Error::Crowded);
        }
        let fits = |batch: &Batch| batch.subjects.len() + subjects.len() <= MOST;
        if !state.waiting.back().is_some_and(fits) {
            state.waiting.push_back(Batch::new());
        }
        let batch = state.waiting.back_mut().expect("one was pushed");
        let places = subjects.iter().map(|subject| batch.add(subject)).collect();
        let progress = batch.progress.subscribe();
        let begun = state.begin();
        drop(state);
        if let Some(batch) = begun {
            tokio::spawn(run(self.clone(), batch));
        }
        Ok((places, progress))
    }

    /// Sends what has waited long enough.
    fn send_due(&self) {
        let mut state = self.0.lock();
        while let Some(batch) = state.begin() {
            tokio::spawn(run(self.clone(), batch));
        }
    }

    /// The next one to be sent, or the end of a place among those under way.
    fn next(&self) -> Option<Batch> {
        let mut state = self.0.lock();
        state.running -= 1;
        state.drop_abandoned();
        state.take()
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            subjects: Vec::new(),
            places: HashMap::default(),
            begun: Instant::now(),
            progress: watch::Sender::new(Progress::Waiting),
        }
    }

    fn is_abandoned(&self) -> bool {
        self.progress.receiver_count() == 0
    }

    fn add(&mut self, subject: &SubjectRef) -> usize {
        let next = self.subjects.len();
        let place = *self.places.entry(subject.key).or_insert(next);
        if place == next {
            self.subjects.push(subject.clone());
        }
        place
    }
}

async fn run(gatherer: Gatherer, batch: Batch) {
    let mut next = Some(batch);
    while let Some(batch) = next {
        batch.progress.send_if_modified(|progress| {
            *progress = Progress::Sent;
            false
        });
        let read = read(gatherer.0.ledger.as_ref(), &batch.subjects).await;
        let done = Progress::Done(read.map(Arc::new).map_err(Arc::new));
        batch.progress.send_replace(done);
        next = gatherer.next();
    }
}

async fn read(
    ledger: &dyn Ledger,
    subjects: &[SubjectRef],
) -> Result<Vec<Arc<Entry>>, ledger::Error> {
    let epoch = ledger.followed().generation();
    let loaded = ledger.facts(subjects).await?;
    let entries = loaded.into_iter().zip(subjects);
    Ok(entries
        .map(|(loaded, subject)| Arc::new(Entry::from_loaded(loaded, subject.partition, epoch)))
        .collect())
}
