//! Acts of several callers in one statement.
//!
//! Whoever appends while others do shares the next statement to be sent with those who come meanwhile.
//! A lone one is sent at once, by itself. What one act does is never another one's failure: where a
//! shared statement fails as a whole nothing of it is committed, and each act is sent by itself.
//!
//! No two statements under way touch one partition: the second would hold what it has locked already until the first one's
//! commit is on disk, and whoever waits for that would wait, too.
//!
//! An act whose caller goes away while it waits is not sent; one that is sent with others is carried out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::oneshot;

use super::super::together::Distinct;
use super::super::{Appended, Error, Partition};
use super::append::Fault;
use super::lending::Lent;
use super::many::Act;
use super::{Core, append, many, moving};
use crate::keys::wrapping::Numbers;

/// How many statements are under way at a time while few append: one is carried out while another one's commit is
/// awaited.
const AT_ONCE: usize = 2;
/// So many acts in the statement before mean that many append. Then one statement is under way at a time: what it costs
/// beside its acts, its commit above all, is shared by more of them.
const SEVERAL: usize = 4;
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
    /// The partitions of what is under way.
    busy: HashSet<Partition>,
    /// How many acts the statement had that was sent last.
    before: usize,
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
        if state.running < state.at_once() && state.busy.insert(act.partition) {
            state.running += 1;
            state.before = 1;
            let place = Place(self, act.partition);
            return Joined::Alone(act, place);
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
struct Place<'a>(&'a Grouping, Partition);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Grouping { core, state } = self.0;
        let mut locked = locked(state);
        locked.busy.remove(&self.1);
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
    // Kept from one statement to the next: giving it back costs a round trip.
    let mut lent = None;
    let mut done = Vec::new();
    loop {
        let group = locked(&state).next(&done);
        if group.is_empty() {
            return;
        }
        let (acts, answers): (Vec<Act>, Vec<_>) =
            group.into_iter().map(|one| (one.act, one.answer)).unzip();
        // Without a limit of its own a connection that says nothing any more would keep the place, and with it all who come
        // later, until TCP gives up: their callers' limits end the callers, not this.
        let limit = core.lender.limit();
        let sent = core.append_each(&acts, &mut lent);
        let results = match tokio::time::timeout(limit, sent).await {
            Ok(results) => results,
            Err(_) => acts.iter().map(|_| Err(Error::no_answer(limit))).collect(),
        };
        done = acts.iter().map(|act| act.partition).collect();
        for (answer, result) in answers.into_iter().zip(results) {
            // Its caller may have gone: it is carried out all the same.
            let _ = answer.send(result);
        }
    }
}

impl State {
    fn at_once(&self) -> usize {
        match self.before < SEVERAL {
            true => AT_ONCE,
            false => 1,
        }
    }

    /// The next acts to be sent after those of these partitions, none of them of one subject or call; or the end of
    /// a place among those under way. Who came first is in it.
    fn next(&mut self, done: &[Partition]) -> Vec<Given> {
        for partition in done {
            self.busy.remove(partition);
        }
        if self.running > self.at_once() {
            // The other one takes those who wait.
            self.running -= 1;
            return Vec::new();
        }
        let mut taken = Distinct::default();
        let mut group = Vec::new();
        let mut left = Vec::new();
        for given in self.waiting.drain(..) {
            if given.answer.is_closed() {
                continue;
            }
            let is_free = !self.busy.contains(&given.act.partition);
            if is_free && group.len() < MOST && given.act.is_apart(&mut taken) {
                group.push(given);
            } else {
                left.push(given);
            }
        }
        self.waiting = left;
        let partitions = group.iter().map(|given: &Given| given.act.partition);
        self.busy.extend(partitions);
        if group.is_empty() {
            self.running -= 1;
        } else {
            self.before = group.len();
        }
        group
    }
}

impl Core {
    /// Appends acts of which no two are of one subject or call; each with what came of it. The connection is kept for
    /// the next ones unless something went wrong.
    pub(super) async fn append_each(
        &self,
        acts: &[Act],
        kept: &mut Option<Lent>,
    ) -> Vec<Result<Appended, Error>> {
        if let [act] = acts {
            return vec![self.append_kept(act, kept).await];
        }
        match self.append_group(acts, kept).await {
            Ok(Some(appended)) => appended.into_iter().map(Ok).collect(),
            Ok(None) => {
                let mut results = Vec::with_capacity(acts.len());
                for act in acts {
                    results.push(self.append_kept(act, kept).await);
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
    async fn append_group(
        &self,
        acts: &[Act],
        kept: &mut Option<Lent>,
    ) -> Result<Option<Vec<Appended>>, Error> {
        let numbers = self.stored.numbers();
        // What was sealed under another number is refused by itself.
        if acts.iter().any(|act| act.key_id != numbers.current) {
            return Ok(None);
        }
        let (began, mut lent) = (self.history.current(), self.kept(kept).await?);
        let sent = super::notices::durably(async {
            match self.send(&mut lent, acts, numbers).await {
                Ok(appended) => Ok(Some(appended)),
                Err(Fault::Sent(sqlx::Error::Database(fault))) => {
                    tracing::debug!(%fault, "acts that shared a statement are sent one by one");
                    Ok(None)
                }
                Err(Fault::Sent(fault)) => Err(super::sort_error(fault)),
                Err(Fault::Found(fault)) => Err(fault),
            }
        });
        let Some((appended, timeline)) = sent.await? else {
            return Ok(None);
        };
        if let Some(timeline) = timeline {
            let timeline = super::timeline_numbered(&timeline)?;
            self.compare(began, timeline, &mut lent)?;
        }
        *kept = Some(lent);
        Ok(Some(appended))
    }

    async fn send(
        &self,
        connection: &mut PgConnection,
        acts: &[Act],
        numbers: Numbers,
    ) -> Result<(Vec<Appended>, Option<String>), Fault> {
        let Some(leaving) = numbers.leaving else {
            let keys = acts
                .iter()
                .map(|act| self.stored.key(act.key, numbers.current));
            let keys = keys.collect::<Result<Vec<_>, Error>>()?;
            return Ok(many::append(connection, acts, &keys).await?);
        };
        let mut transaction = connection.begin().await?;
        let sent = async {
            let partitions = acts.iter().map(|act| act.partition);
            moving::lock_to_write(&mut transaction, partitions).await?;
            let at: Vec<_> = acts.iter().map(|act| (act.partition, act.key)).collect();
            let keys =
                moving::found(&mut transaction, &self.stored, &at, (numbers, leaving)).await?;
            Ok(many::append(&mut transaction, acts, &keys).await?)
        };
        match sent.await {
            Ok(sent) => {
                transaction.commit().await?;
                Ok(sent)
            }
            Err(error) => {
                // The error that stopped the transaction says more than a failing rollback.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    /// One act by itself.
    async fn append_act(&self, act: &Act) -> Result<Appended, Error> {
        self.append_kept(act, &mut None).await
    }

    async fn append_kept(&self, act: &Act, kept: &mut Option<Lent>) -> Result<Appended, Error> {
        let (began, mut lent) = (self.history.current(), self.kept(kept).await?);
        let sent = super::notices::durably(append::append_act(&mut lent, act, &self.stored));
        let (appended, timeline) = sent.await?;
        if let Some(timeline) = timeline {
            self.compare(began, timeline, &mut lent)?;
        }
        *kept = Some(lent);
        Ok(appended)
    }

    /// The connection that was kept, or another one.
    async fn kept(&self, kept: &mut Option<Lent>) -> Result<Lent, Error> {
        match kept.take() {
            Some(lent) => Ok(lent),
            None => self.lent().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    type Answered = oneshot::Receiver<Result<Appended, Error>>;

    /// Acts of somebody in each of these partitions, and those who wait for them.
    fn given(partitions: &[u16]) -> (Vec<Given>, Vec<Answered>) {
        let numbered = partitions.iter().zip(1..);
        let one = |(partition, number): (&u16, u128)| {
            let id = Uuid::from_u128(number);
            let act = Act {
                partition: Partition(*partition),
                key: *id.as_bytes(),
                business: "acme".into(),
                subject_id: id,
                key_id: 1,
                facts: Vec::new(),
                expected: 0,
                event_id: id,
                recorded_at: 0,
                body: String::new(),
                address: None,
                payload: None,
                call: None,
            };
            let (answer, answered) = oneshot::channel();
            (Given { act, answer }, answered)
        };
        numbered.map(one).unzip()
    }

    fn partitions(group: &[Given]) -> Vec<Partition> {
        group.iter().map(|given| given.act.partition).collect()
    }

    #[test]
    fn no_two_statements_under_way_touch_one_partition() {
        let (waiting, _callers) = given(&[1, 2, 1]);
        let mut state = State {
            running: 2,
            waiting,
            ..State::default()
        };
        let first = partitions(&state.next(&[]));
        assert_eq!(first, [1, 2, 1].map(Partition));
        let (later, _their_callers) = given(&[2, 4]);
        state.waiting.extend(later);
        assert_eq!(partitions(&state.next(&[])), [Partition(4)]);
        assert_eq!(state.running, 2);
        // When the first one is done, what had to wait for it goes.
        assert_eq!(partitions(&state.next(&first)), [Partition(2)]);
        assert_eq!(state.running, 2);
    }

    #[test]
    fn a_place_ends_where_everybody_waits_for_another_one() {
        let (waiting, _callers) = given(&[1]);
        let mut state = State {
            running: 2,
            busy: [Partition(1)].into(),
            waiting,
            ..State::default()
        };
        assert!(state.next(&[]).is_empty());
        assert_eq!((state.running, state.waiting.len()), (1, 1));
        assert_eq!(partitions(&state.next(&[Partition(1)])), [Partition(1)]);
    }

    #[test]
    fn while_many_append_one_statement_is_under_way_at_a_time() {
        let (waiting, _callers) = given(&[1, 2, 3, 4]);
        let mut state = State {
            running: 2,
            waiting,
            ..State::default()
        };
        let many = partitions(&state.next(&[]));
        assert_eq!(many.len(), SEVERAL);
        // The other place ends, and who comes meanwhile waits for the one that is left.
        let (later, _their_callers) = given(&[5]);
        state.waiting.extend(later);
        assert!(state.next(&[]).is_empty());
        assert_eq!((state.running, state.at_once()), (1, 1));
        assert_eq!(partitions(&state.next(&many)), [Partition(5)]);
        assert_eq!((state.running, state.at_once()), (1, AT_ONCE));
    }
}
