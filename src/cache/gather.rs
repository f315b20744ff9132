//! Gathered misses (C3): one statement for everybody who waits.
//!
//! A check joins the *next* statement to be sent, never one in flight, so what it gets was read after
//! it asked. While few ask, each is sent at once; while many do, those who come meanwhile share the
//! next one, each subject once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::Entry;
use crate::ledger::{self, Ledger, SubjectRef};

/// How many statements are under way at a time.
const AT_ONCE: usize = 4;
/// How many subjects one statement asks for at most, unless a single call wants more.
const MOST: usize = 512;

type Answer = Option<Result<Arc<Vec<Arc<Entry>>>, Arc<ledger::Error>>>;

/// Whoever loads facts from the ledger.
#[derive(Debug, Clone)]
pub(super) struct Gatherer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ledger: Arc<dyn Ledger>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Batch>,
    running: usize,
}

#[derive(Debug)]
struct Batch {
    subjects: Vec<SubjectRef>,
    places: HashMap<[u8; 16], usize, foldhash::fast::RandomState>,
    answer: watch::Sender<Answer>,
}

impl Gatherer {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(Arc::new(Shared {
            ledger,
            state: Mutex::default(),
        }))
    }

    /// What the ledger knows of these subjects, in their order, read after this was called.
    pub(super) async fn load(
        &self,
        subjects: &[SubjectRef],
    ) -> Result<Vec<Arc<Entry>>, ledger::Error> {
        if subjects.len() > MOST {
            return read(self.0.ledger.as_ref(), subjects).await;
        }
        let (places, mut answer) = self.join(subjects);
        // No answer at all: whoever ran the statement is gone with its runtime.
        let answered = answer
            .wait_for(Option::is_some)
            .await
            .map(|answer| answer.clone());
        match answered.ok().flatten() {
            Some(Ok(entries)) => Ok(places
                .iter()
                .map(|place| Arc::clone(&entries[*place]))
                .collect()),
            // One person's corrupt row is no other person's trouble.
            Some(Err(error)) if error.is_corrupt() => read(self.0.ledger.as_ref(), subjects).await,
            Some(Err(error)) => Err(ledger::Error::shared(error)),
            None => read(self.0.ledger.as_ref(), subjects).await,
        }
    }

    fn join(&self, subjects: &[SubjectRef]) -> (Vec<usize>, watch::Receiver<Answer>) {
        let mut state = self.0.state.lock().expect("no holder of this lock panics");
        let fits = |batch: &Batch| batch.subjects.len() + subjects.len() <= MOST;
        if !state.waiting.back().is_some_and(fits) {
            state.waiting.push_back(Batch::new());
        }
        let batch = state.waiting.back_mut().expect("one was pushed");
        let places = subjects.iter().map(|subject| batch.add(subject)).collect();
        let answer = batch.answer.subscribe();
        if state.running < AT_ONCE
            && let Some(batch) = state.waiting.pop_front()
        {
            state.running += 1;
            drop(state);
            tokio::spawn(run(self.clone(), batch));
        }
        (places, answer)
    }

    /// The next one to be sent, or the end of a place among those under way.
    fn next(&self) -> Option<Batch> {
        let mut state = self.0.state.lock().expect("no holder of this lock panics");
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.running -= 1;
        }
        next
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            subjects: Vec::new(),
            places: HashMap::default(),
            answer: watch::Sender::new(None),
        }
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
        let read = read(gatherer.0.ledger.as_ref(), &batch.subjects).await;
        batch
            .answer
            .send_replace(Some(read.map(Arc::new).map_err(Arc::new)));
        next = gatherer.next();
    }
}

async fn read(
    ledger: &dyn Ledger,
    subjects: &[SubjectRef],
) -> Result<Vec<Arc<Entry>>, ledger::Error> {
    let epoch = ledger.followed().current();
    let loaded = ledger.facts(subjects).await?;
    let entries = loaded.into_iter().zip(subjects);
    Ok(entries
        .map(|(loaded, subject)| Arc::new(Entry::from_loaded(loaded, subject.partition, epoch)))
        .collect())
}
