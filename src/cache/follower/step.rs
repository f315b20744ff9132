//! One step of the follower: a look (F1) or a renewal (F2), and applying what it showed (F3 to F5).
//! Read it beside the protocol.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::super::confirm::{Roster, Witness};
use super::super::lease::Term;
use super::{CONNECTING, Error, Follower, Known, Line, Still};
use crate::ledger::following::{InstanceId, InstanceRow, Look, Offsets, Renewal};
use crate::ledger::{Offset, Position, SYSTEM, Timeline};

/// How many changes of the system partition are read at once.
const PAGE: u32 = 500;

impl Follower {
    /// F1. It never extends the lease.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        let Some(mut line) = self.line.take() else {
            return Err(Error::Silent);
        };
        let watching = self.waiting.load(Ordering::Acquire) > 0;
        let finished = self.parts.cache.all_finished();
        let look = self.within(line.look(&finished, watching)).await?;
        // Both agree once a history is entered whole.
        let known = self.known.as_ref().map(|known| known.timeline);
        if known != Some(look.timeline) || look.timeline != self.epoch().timeline() {
            return Err(Error::OtherHistory);
        }
        self.apply(&mut line, &look).await?;
        if watching {
            let roster = self.roster_of(look.instances);
            self.roster.send_replace(roster);
        }
        self.line = Some(line);
        Ok(())
    }

    /// F2 without the lease: says what was applied, for those who wait for it.
    pub(super) async fn publish(&mut self) -> Result<(), Error> {
        let (Some(mut line), Some(me), Some(known)) = (self.line.take(), self.me, &self.known)
        else {
            return Err(Error::Silent);
        };
        let applied = self.parts.cache.all_finished();
        let of = (known.name.as_str(), known.timeline);
        self.within(line.publish(me, &applied, of)).await?;
        self.line = Some(line);
        Ok(())
    }

    /// F2 to F5.
    pub(super) async fn renew(&mut self) -> Result<(), Error> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                let wrapping = Arc::clone(&self.parts.wrapping);
                let connecting = Line::connect(&self.parts.url, self.parts.term.limit(), wrapping);
                tokio::time::timeout(CONNECTING, connecting)
                    .await
                    .map_err(|_| Error::Silent)??
            }
        };
        // F0.
        let me = match self.me {
            Some(me) => me,
            None => {
                let me = InstanceId::new();
                let row = self.registration(me);
                if !self.within(line.register(&row)).await? {
                    return Err(Error::KeyMissing);
                }
                self.me = Some(me);
                me
            }
        };
        let published = self.parts.cache.all_finished();
        let known = self.known.as_ref();
        let of = known.map(|known| (known.name.as_str(), known.timeline));
        let nothing = Offsets::default();
        let marked = known.map_or(&nothing, |known| &known.heads);
        let sent = self.parts.clock.steady();
        let Some(renewal) = self.within(line.renew(me, &published, of, marked)).await? else {
            // F3. What is in memory may stay: nothing is answered before a renewal has caught up.
            self.parts.cache.lease().end();
            self.me = None;
            return Err(Error::RowGone);
        };
        self.follow(&mut line, &renewal).await?;
        // F5: only now, and only if the catalogue is followed.
        if self.system.is_some() {
            self.parts.cache.lease().extend(sent);
        }
        let now = self.parts.clock.steady();
        self.parts.metrics.renewed(now.saturating_sub(sent));
        let roster = self.roster_of(renewal.look.instances);
        let instances = Arc::clone(&roster.instances);
        self.testify(me, renewal.look.heads, &roster);
        self.roster.send_replace(roster);
        self.bury(&mut line, me, &instances, now).await?;
        self.line = Some(line);
        Ok(())
    }

    /// F3 and F4.
    async fn follow(&mut self, line: &mut Line, renewal: &Renewal) -> Result<(), Error> {
        let look = &renewal.look;
        if let Some(lost) = &renewal.lost {
            self.parts.cache.lease().end();
            self.asked.clear();
            return Err(Error::HistoryLost(lost.clone()));
        }
        let same = match &self.known {
            None => false,
            // An operator accepted that something was lost: what was known before says nothing.
            Some(known) if known.name != renewal.history => false,
            Some(known) => {
                let same = look.timeline == known.timeline;
                let lost = match (loss(&known.heads, &look.heads), same) {
                    (None, false) => self.replaced(line, known, look.timeline).await?,
                    (lost, _) => lost,
                };
                if let Some(lost) = lost {
                    self.parts.cache.lease().end();
                    self.asked.clear();
                    self.within(line.note_loss(&lost)).await?;
                    return Err(Error::HistoryLost(lost));
                }
                same
            }
        };
        if same {
            self.apply(line, look).await?;
        } else {
            self.enter(line, look).await?;
        }
        let marks = match &self.known {
            Some(known) if same => {
                let mut marks = known.marks.clone();
                marks.extend(renewal.marks.iter().cloned());
                marks
            }
            Some(_) | None => {
                let (timeline, marks) = self.within(line.marks_at(&look.heads)).await?;
                same_history(look.timeline, timeline)?;
                marks.into_iter().collect()
            }
        };
        self.known = Some(Known {
            name: renewal.history.clone(),
            timeline: look.timeline,
            heads: look.heads.clone(),
            marks,
        });
        Ok(())
    }

    /// Whether a new history has gone on past what it lost: then other events lie where ours did.
    async fn replaced(
        &self,
        line: &mut Line,
        known: &Known,
        found_in: Timeline,
    ) -> Result<Option<String>, Error> {
        let (timeline, marks) = self.within(line.marks_at(&known.heads)).await?;
        same_history(found_in, timeline)?;
        let other = marks
            .iter()
            .find(|(partition, mark)| known.marks.get(partition) != Some(mark));
        Ok(other.map(|(partition, _)| {
            format!(
                "other events lie where partition {} ended, at {}",
                partition.0,
                known.heads.of(*partition).0
            )
        }))
    }

    /// Another history, or the first one: everything begins at its heads.
    async fn enter(&mut self, line: &mut Line, look: &Look) -> Result<(), Error> {
        if self.known.is_some() {
            tracing::warn!(
                before = %self.epoch().timeline(),
                now = %look.timeline,
                "the database goes on in another history: memory is emptied, nothing was lost"
            );
        }
        // What stood still was seen in the history before.
        self.others.clear();
        self.parts.cache.enter(look.timeline, &look.heads);
        let Some(system) = self.system.clone() else {
            return Ok(());
        };
        let mut records = Vec::new();
        loop {
            let after = records
                .last()
                .map_or(Offset(0), |last: &crate::ledger::SystemRecord| last.offset);
            let (timeline, page) = self.within(line.system_after(after, PAGE)).await?;
            same_history(look.timeline, timeline)?;
            if page.is_empty() {
                break;
            }
            records.extend(page);
        }
        system.replace(&records).map_err(Error::System)?;
        self.parts.cache.applied_system(system.applied());
        Ok(())
    }

    /// F4: the catalogue, then people.
    async fn apply(&mut self, line: &mut Line, look: &Look) -> Result<(), Error> {
        if let Some(system) = self.system.clone() {
            while system.applied() < look.heads.of(SYSTEM) {
                let (timeline, page) = self
                    .within(line.system_after(system.applied(), PAGE))
                    .await?;
                same_history(look.timeline, timeline)?;
                if page.is_empty() {
                    return Err(Error::OtherHistory);
                }
                system.apply(&page).map_err(Error::System)?;
            }
            self.parts.cache.applied_system(system.applied());
        }
        self.parts.cache.apply(&look.heads, &look.changes);
        Ok(())
    }

    /// Tells those who wait for a renewal what it showed (W2).
    fn testify(&mut self, own: InstanceId, heads: Offsets, roster: &Roster) {
        let count = u64::try_from(roster.instances.len()).unwrap_or(u64::MAX);
        self.count.store(count, Ordering::Relaxed);
        if self.asked.is_empty() {
            return;
        }
        if roster.instances.len() > 1 {
            self.shown = Some(Instant::now());
        }
        let witness = Witness {
            own,
            heads,
            roster: roster.clone(),
        };
        for asked in self.asked.drain(..) {
            // Whoever asked may have gone: nothing depends on it.
            let _ = asked.send(witness.clone());
        }
    }

    /// The rows of this moment, later than all before.
    fn roster_of(&self, instances: Vec<InstanceRow>) -> Roster {
        Roster {
            epoch: self.epoch(),
            number: self.roster.borrow().number + 1,
            instances: Arc::new(instances),
        }
    }

    /// W5: takes away rows that have stood still for longer than their leases can last.
    async fn bury(
        &mut self,
        line: &mut Line,
        me: InstanceId,
        instances: &[InstanceRow],
        now: Duration,
    ) -> Result<(), Error> {
        self.others
            .retain(|id, _| instances.iter().any(|row| row.instance == *id));
        let mut still = Vec::new();
        let seen_in = self.epoch().timeline();
        for row in instances.iter().filter(|row| row.instance != me) {
            let fresh = Still {
                renewals: row.renewals,
                since: now,
                seen_in,
            };
            let seen = self.others.entry(row.instance).or_insert(fresh);
            if seen.renewals != row.renewals {
                *seen = fresh;
            }
            let longest = Term(row.lease.max(self.parts.term.0));
            if now.saturating_sub(seen.since) > longest.waiting() {
                still.push((row.instance, *seen));
            }
        }
        for (instance, seen) in still {
            let removed = line.remove(instance, seen.renewals, seen.seen_in);
            if self.within(removed).await? {
                self.parts.metrics.instance_removed();
                tracing::warn!(
                    instance = %instance.0,
                    "an instance ended without a word: its row is taken away"
                );
            }
            self.others.remove(&instance);
        }
        Ok(())
    }

    fn epoch(&self) -> crate::ledger::Epoch {
        self.parts.cache.epoch()
    }

    async fn within<T>(
        &self,
        statement: impl Future<Output = Result<T, crate::ledger::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.parts.term.limit(), statement).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::Silent),
        }
    }
}

fn same_history(followed: Timeline, found: Timeline) -> Result<(), Error> {
    match followed == found {
        true => Ok(()),
        false => Err(Error::OtherHistory),
    }
}

/// What of a history is not there any more, in words.
fn loss(known: &Offsets, found: &Offsets) -> Option<String> {
    let lost: Vec<Position> = known
        .each()
        .filter(|(partition, offset)| found.of(*partition) < *offset)
        .map(|(partition, offset)| Position { partition, offset })
        .collect();
    let events: i64 = lost
        .iter()
        .map(|place| place.offset.0 - found.of(place.partition).0)
        .sum();
    let first = lost.first()?;
    Some(format!(
        "{events} events in {} of the partitions, partition {} among them, which had {} events and \
         has {}",
        lost.len(),
        first.partition.0,
        first.offset.0,
        found.of(first.partition).0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_went_back_is_told_from_one_that_went_on() {
        let offsets = |heads: &[i64]| Offsets(heads.iter().copied().map(Offset).collect());
        assert_eq!(loss(&offsets(&[1, 2]), &offsets(&[1, 2])), None);
        assert_eq!(loss(&offsets(&[1, 2]), &offsets(&[7, 2])), None);
        let lost = loss(&offsets(&[9, 5, 4]), &offsets(&[9, 3, 3])).unwrap();
        assert_eq!(
            lost,
            "3 events in 2 of the partitions, partition 1 among them, which had 5 events and has 3"
        );
    }
}
