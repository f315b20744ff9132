//! Acts of several callers in one statement.
//!
//! Whoever appends while others do shares the next statement to be sent with those who come meanwhile.
//! A lone one is sent at once, by itself. What one act does is never another one's failure: where a
//! shared statement fails as a whole nothing of it is committed, and each act is sent by itself.
//!
//! An act whose caller goes away while it waits is not sent; one that is sent with others is carried out.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::super::together::Distinct;
use super::super::{Appended, Error};
use super::many::Act;
use super::{Core, append, many};

/// How many statements are under way at a time: one is carried out while another one's commit is
/// awaited. More would only wait for each other's heads.
const AT_ONCE: usize = 3;
/// How many acts share a statement at most.
const MOST: usize = 48;

/// Gathers the acts of all callers.
#[derive(Debug)]
pub(super) struct Grouping {
    core: Arc<Core>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Given>,
    running: usize,
}

#[derive(Debug)]
struct Given {
    act: Act,
    answer: oneshot::Sender<Result<Appended, Error>>,
}

/// Whoever was to tell what came of it is gone with its runtime.
#[derive(Debug, thiserror::Error)]
#[error("the runtime has ended")]
struct Gone;

impl Grouping {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            state: Arc::default(),
        }
    }

    pub(super) async fn append(&self, act: Act) -> Result<Appended, Error> {
        let answered = match self.join(act) {
            Joined::Alone(act, _place) => return self.core.append_act(&act).await,
            Joined::Others(answered) => answered,
        };
        answered
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable(Gone.into())))
    }

    fn join(&self, act: Act) -> Joined<'_> {
        let mut state = locked(&self.state);
        if state.running < AT_ONCE {
            state.running += 1;
            return Joined::Alone(act, Place(self));
        }
        let (answer, answered) = oneshot::channel();
        state.waiting.push(Given { act, answer });
        Joined::Others(answered)
    }
}

/// How an act is sent.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and the large one is the usual one"
)]
enum Joined<'a> {
    Alone(Act, Place<'a>),
    Others(oneshot::Receiver<Result<Appended, Error>>),
}

/// A place among the statements under way. Given up, also by a caller who goes away, it goes to those
/// who came meanwhile.
struct Place<'a>(&'a Grouping);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Grouping { core, state } = self.0;
        let mut locked = locked(state);
        if locked.waiting.is_empty() {
            locked.running -= 1;
        } else {
            tokio::spawn(run(Arc::clone(core), Arc::clone(state)));
        }
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().expect("no holder of this lock panics")
}

async fn run(core: Arc<Core>, state: Arc<Mutex<State>>) {
    loop {
        let group = locked(&state).next();
        if group.is_empty() {
            return;
        }
        let (acts, answers): (Vec<Act>, Vec<_>) =
            group.into_iter().map(|one| (one.act, one.answer)).unzip();
        let results = core.append_each(&acts).await;
        for (answer, result) in answers.into_iter().zip(results) {
            // Its caller may have gone: it is carried out all the same.
            let _ = answer.send(result);
        }
    }
}

impl State {
    /// The next acts to be sent, none of them of one subject or call; or the end of a place among
    /// those under way. Who came first is in it.
    fn next(&mut self) -> Vec<Given> {
        let mut taken = Distinct::default();
        let mut group = Vec::new();
        let mut left = Vec::new();
        for given in self.waiting.drain(..) {
            if given.answer.is_closed() {
                continue;
            }
            if group.len() < MOST && given.act.is_apart(&mut taken) {
                group.push(given);
            } else {
                left.push(given);
            }
        }
        self.waiting = left;
        if group.is_empty() {
            self.running -= 1;
        }
        group
    }
}

impl Core {
    /// Appends acts of which no two are of one subject or call; each with what came of it.
    pub(super) async fn append_each(&self, acts: &[Act]) -> Vec<Result<Appended, Error>> {
        if let [act] = acts {
            return vec![self.append_act(act).await];
        }
        match self.append_group(acts).await {
            Ok(Some(appended)) => appended.into_iter().map(Ok).collect(),
            Ok(None) => {
                let mut results = Vec::with_capacity(acts.len());
                for act in acts {
                    results.push(self.append_act(act).await);
                }
                results
            }
            Err(error) => {
                let error = Arc::new(error);
                let shared = acts.iter().map(|_| Err(Error::shared(Arc::clone(&error))));
                shared.collect()
            }
        }
    }

    /// One statement. `None`: the database refused it, so that nothing of it is committed.
    async fn append_group(&self, acts: &[Act]) -> Result<Option<Vec<Appended>>, Error> {
        let (began, mut lent) = (self.history.current(), self.lent().await?);
        let sent = super::notices::durably(async {
            match many::append(&mut lent, acts).await {
                Ok(appended) => Ok(Some(appended)),
                Err(sqlx::Error::Database(fault)) => {
                    tracing::debug!(%fault, "acts that shared a statement are sent one by one");
                    Ok(None)
                }
                Err(fault) => Err(super::sort_error(fault)),
            }
        });
        let Some((appended, timeline)) = sent.await? else {
            return Ok(None);
        };
        if let Some(timeline) = timeline {
            let timeline = super::timeline_numbered(&timeline)?;
            self.compare(began, timeline, &mut lent)?;
        }
        Ok(Some(appended))
    }

    /// One act by itself.
    async fn append_act(&self, act: &Act) -> Result<Appended, Error> {
        let (began, mut lent) = (self.history.current(), self.lent().await?);
        let sent = super::notices::durably(append::append_act(&mut lent, act));
        let (appended, timeline) = sent.await?;
        if let Some(timeline) = timeline {
            self.compare(began, timeline, &mut lent)?;
        }
        Ok(appended)
    }
}
