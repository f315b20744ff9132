//! Waiting until a restriction holds on every instance: W2 to W6 of the coherence protocol.
//!
//! Whoever restricts commits first and comes here then. The own follower renews once more, which
//! catches up the own memory and shows, as a second durable write, that the first one is replicated.
//! Its snapshot names the instances that may still answer from before; each is waited for until its
//! row says that it has applied the act, or is gone, or until its lease must have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::lease::Term;
use crate::clock::Clock;
use crate::ledger::following::{InstanceId, InstanceRow, Offsets};
use crate::ledger::{Epoch, Position};
use crate::telemetry::{Metrics, WaitEnded};
use crate::weakened::{Step, leaves_out};

/// An act that restricts and was committed.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// Where it lies; `None`: somewhere, so everything up to now is waited for.
    pub positions: Option<&'a [Position]>,
    /// The history in which it was committed.
    pub epoch: Epoch,
    /// Steady time at which the commit was known.
    pub at: Duration,
}

/// It holds on every instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Instances that said so, this one included.
    pub instances: u32,
    /// How long that took after the commit.
    pub waited: Duration,
}

impl Confirmation {
    /// Nothing was restricted, so nobody was waited for.
    pub const NOT_NEEDED: Self = Self {
        instances: 1,
        waited: Duration::ZERO,
    };
}

/// The act is committed, and whether it holds everywhere is not known: it must not be acknowledged.
/// The caller repeats it with the same idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is committed, and whether every instance has applied it is not known")]
pub struct Unconfirmed;

/// What a renewal that began after a commit showed (W2).
#[derive(Debug, Clone)]
pub(super) struct Witness {
    pub own: InstanceId,
    pub heads: Offsets,
    pub roster: Roster,
}

/// The rows of all instances as the follower saw them at one moment.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    pub epoch: Epoch,
    /// Counts what the follower saw, so that of two the later one is told.
    pub number: u64,
    pub instances: Arc<Vec<InstanceRow>>,
}

/// Asks for confirmation. A handle.
#[derive(Debug, Clone)]
pub enum Confirming {
    /// This process is alone: what it applied holds everywhere.
    Alone,
    Shared(Arc<Shared>),
}

/// What those who wait share with the follower.
#[derive(Debug)]
pub struct Shared {
    pub(super) requests: mpsc::Sender<oneshot::Sender<Witness>>,
    pub(super) roster: watch::Receiver<Roster>,
    /// How many wait for other instances: while there are any, their rows are read often.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Tells the other instances that there is something to look at.
    pub(super) hint: Option<Arc<Notify>>,
    pub(super) own_term: Term,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
}

impl Confirming {
    /// Returns when no instance answers from before the act any more.
    pub async fn confirmed(&self, act: Committed<'_>) -> Result<Confirmation, Unconfirmed> {
        match self {
            Self::Alone => Ok(Confirmation::NOT_NEEDED),
            Self::Shared(shared) => shared.confirmed(act).await,
        }
    }
}

impl Shared {
    async fn confirmed(&self, act: Committed<'_>) -> Result<Confirmation, Unconfirmed> {
        let result = self.wait(act).await;
        let waited = self.clock.steady().saturating_sub(act.at);
        let (ended, others) = match result {
            Ok((ended, others)) => (ended, others),
            Err(Unconfirmed) => (WaitEnded::Failed, 0),
        };
        self.metrics.waited(ended, waited, others);
        result.map(|(_, others)| Confirmation {
            instances: others + 1,
            waited,
        })
    }

    /// How the wait ended, and how many other instances said that they had applied the act.
    async fn wait(&self, act: Committed<'_>) -> Result<(WaitEnded, u32), Unconfirmed> {
        let hinted = self.hint_to(&self.roster.borrow());
        // Before the renewal, so that the follower looks again as soon as it is done.
        let waiting = hinted.then(|| Waiting::begin(&self.waiting));
        // W2, and W4: no renewal, no acknowledgement.
        let Witness { own, heads, roster } = self.witness().await?;
        if !hinted {
            self.hint_to(&roster);
        }
        if roster.epoch != act.epoch {
            return Err(Unconfirmed);
        }
        let (first, instances) = (roster.number, roster.instances);
        let others = instances.iter().filter(|row| row.instance != own);
        let mut wait = Wait {
            act,
            heads: &heads,
            open: others.collect(),
            confirmed: 0,
            ended: WaitEnded::Confirmed,
        };
        wait.settle(&instances);
        if wait.open.is_empty() || leaves_out(Step::Wait) {
            return Ok((wait.ended, wait.confirmed));
        }
        // W3.
        let _waiting = waiting.unwrap_or_else(|| Waiting::begin(&self.waiting));
        let longest = instances.iter().map(|row| Term(row.lease));
        let until = act.at + longest.fold(self.own_term.waiting(), |a, b| a.max(b.waiting()));
        let mut roster = self.roster.clone();
        while self.clock.steady() < until {
            let left = until.saturating_sub(self.clock.steady());
            tokio::select! {
                changed = roster.changed() => changed.map_err(|_| Unconfirmed)?,
                () = tokio::time::sleep(left) => {}
            }
            let seen = roster.borrow_and_update().clone();
            // What another history shows says nothing of this one. Nor does what was seen before the
            // renewal: an instance that is not in it may have registered since.
            if seen.epoch == act.epoch && seen.number >= first {
                wait.settle(&seen.instances);
            }
            if wait.open.is_empty() {
                return Ok((wait.ended, wait.confirmed));
            }
        }
        tracing::warn!(
            instances = wait.open.len(),
            "instances said nothing for as long as they could have answered from before a \
             restriction: it is acknowledged, because their leases have ended"
        );
        Ok((WaitEnded::Expired, wait.confirmed))
    }

    /// Tells the other instances, if there are any, that there is something to look at. Whether there were.
    fn hint_to(&self, roster: &Roster) -> bool {
        let others = roster.instances.len() > 1;
        if let (true, Some(hint)) = (others, &self.hint) {
            hint.notify_one();
        }
        others
    }

    /// A renewal that begins now, applied whole.
    async fn witness(&self) -> Result<Witness, Unconfirmed> {
        let (answer, answered) = oneshot::channel();
        let asked = self.requests.send(answer).await;
        asked.map_err(|_| Unconfirmed)?;
        answered.await.map_err(|_| Unconfirmed)
    }
}

/// Who is still waited for.
struct Wait<'a> {
    act: Committed<'a>,
    heads: &'a Offsets,
    open: Vec<&'a InstanceRow>,
    confirmed: u32,
    ended: WaitEnded,
}

impl Wait<'_> {
    fn settle(&mut self, rows: &[InstanceRow]) {
        let (act, heads) = (self.act, self.heads);
        let (mut confirmed, mut gone) = (0, false);
        self.open.retain(
            |one| match rows.iter().find(|row| row.instance == one.instance) {
                None => {
                    gone = true;
                    false
                }
                Some(row) if has_applied(row, act.positions, heads) => {
                    confirmed += 1;
                    false
                }
                Some(_) => true,
            },
        );
        self.confirmed += confirmed;
        if gone {
            self.ended = WaitEnded::Gone;
        } else if confirmed > 0 {
            self.ended = WaitEnded::Confirmed;
        }
    }
}

fn has_applied(row: &InstanceRow, positions: Option<&[Position]>, heads: &Offsets) -> bool {
    match positions {
        Some(positions) => positions
            .iter()
            .all(|place| row.applied.of(place.partition) >= place.offset),
        None => heads
            .each()
            .all(|(partition, head)| row.applied.of(partition) >= head),
    }
}

/// Counted for as long as it lives, also if whoever waits is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;
    use crate::ledger::{Offset, Partition};

    fn row(applied: &[i64]) -> InstanceRow {
        InstanceRow {
            instance: InstanceId::new(),
            renewals: 1,
            lease: Duration::from_secs(3),
            applied: Offsets(applied.iter().copied().map(Offset).collect()),
        }
    }

    fn at(partition: u16, offset: i64) -> Position {
        Position {
            partition: Partition(partition),
            offset: Offset(offset),
        }
    }

    #[test]
    fn a_row_confirms_when_it_covers_every_partition_that_the_act_touched() {
        let heads = Offsets(vec![Offset(1), Offset(5), Offset(9)]);
        let touched = [at(1, 5), at(2, 7)];
        for (applied, act, all) in [
            (&[1, 5, 9][..], true, true),
            (&[0, 5, 7], true, false),
            (&[1, 4, 9], false, false),
            (&[1, 5, 6], false, false),
            (&[], false, false),
        ] {
            assert_eq!(
                has_applied(&row(applied), Some(&touched), &heads),
                act,
                "{applied:?}"
            );
            assert_eq!(has_applied(&row(applied), None, &heads), all, "{applied:?}");
        }
    }

    #[test]
    fn a_wait_ends_for_each_instance_when_it_confirmed_or_is_gone() {
        let heads = Offsets::default();
        let (slow, mut quick, leaving) = (row(&[0, 4]), row(&[0, 4]), row(&[0, 4]));
        let touched = [at(1, 5)];
        let all = [slow.clone(), quick.clone(), leaving.clone()];
        let mut wait = Wait {
            act: Committed {
                positions: Some(&touched),
                epoch: Epoch::ONLY,
                at: Duration::ZERO,
            },
            heads: &heads,
            open: all.iter().collect(),
            confirmed: 0,
            ended: WaitEnded::Confirmed,
        };
        wait.settle(&all);
        assert_eq!((wait.open.len(), wait.confirmed), (3, 0));

        quick.applied = Offsets(vec![Offset(0), Offset(5)]);
        wait.settle(&[slow.clone(), quick.clone()]);
        assert_eq!(
            (wait.open.len(), wait.confirmed, wait.ended),
            (1, 1, WaitEnded::Gone)
        );

        wait.settle(&[quick, row(&[0, 9])]);
        assert_eq!(
            (wait.open.len(), wait.confirmed, wait.ended),
            (0, 1, WaitEnded::Gone)
        );
    }

    #[tokio::test]
    async fn rows_seen_before_the_renewal_do_not_say_that_an_instance_is_gone() {
        let (own, newcomer) = (row(&[0, 5]), row(&[0, 4]));
        let seen = |number, rows: &[&InstanceRow]| Roster {
            epoch: Epoch::ONLY,
            number,
            instances: Arc::new(rows.iter().copied().cloned().collect()),
        };
        // The newcomer registered after the follower looked last, and before it renewed.
        let (rosters, roster) = watch::channel(seen(0, &[]));
        rosters.send_replace(seen(1, &[&own]));
        let (requests, mut asked) = mpsc::channel(1);
        let shared = Shared {
            requests,
            roster,
            waiting: Arc::default(),
            hint: None,
            own_term: Term(Duration::from_secs(3)),
            clock: Arc::new(ManualClock::at(Timestamp::from_micros(0))),
            metrics: Metrics::disabled(),
        };
        let touched = [at(1, 5)];
        let mut confirmed = Box::pin(shared.confirmed(Committed {
            positions: Some(&touched),
            epoch: Epoch::ONLY,
            at: Duration::ZERO,
        }));
        let mut is_confirmed = async || {
            tokio::select! {
                biased;
                done = &mut confirmed => Some(done),
                () = async { for _ in 0..8 { tokio::task::yield_now().await } } => None,
            }
        };
        assert_eq!(is_confirmed().await, None);
        let witness = Witness {
            own: own.instance,
            heads: Offsets(vec![Offset(0), Offset(5)]),
            roster: seen(2, &[&own, &newcomer]),
        };
        asked.try_recv().unwrap().send(witness).unwrap();
        assert_eq!(is_confirmed().await, None);
        rosters.send_replace(seen(2, &[&own, &newcomer]));
        assert_eq!(is_confirmed().await, None);
        let applied = InstanceRow {
            applied: own.applied.clone(),
            ..newcomer.clone()
        };
        rosters.send_replace(seen(3, &[&own, &applied]));
        assert_eq!(is_confirmed().await.unwrap().unwrap().instances, 2);
    }
}
