//! What holds in one place through time, worked out once when a policy is read.
//!
//! Every check asks several times what holds where the person may be and when that changes. Asked of
//! the entries themselves each answer goes through all of them; here it is one look-up. Only places
//! that an entry names have a timeline of their own: a part of a country that no entry names is its
//! country, a country that none names is nowhere.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Entry, Jurisdictions, Requirements, entries_about, entry_of};
use crate::domain::id::JurisdictionCode;
use crate::domain::time::Timestamp;

/// Before every instant that an entry can name.
const DAWN: Timestamp = Timestamp::from_micros(i64::MIN);

/// The timelines of all places that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timelines {
    named: HashMap<JurisdictionCode, Timeline, foldhash::fast::FixedState>,
    nowhere: Timeline,
}

/// What holds in one place: from each instant on until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    /// What holds before the first change.
    before: Option<Arc<Requirements>>,
    /// Sorted by the instant. Two that follow each other may hold the same.
    changes: Box<[(Timestamp, Option<Arc<Requirements>>)]>,
}

impl Timelines {
    pub(super) fn of(jurisdictions: &Jurisdictions) -> Self {
        let members = jurisdictions.values().flatten().flat_map(|e| &e.members);
        let named: BTreeSet<&JurisdictionCode> = jurisdictions.keys().chain(members).collect();
        let timeline = |code: &JurisdictionCode| Timeline::of(jurisdictions, Some(code));
        let lines = named.into_iter().map(|code| (*code, timeline(code)));
        Self {
            named: lines.collect(),
            nowhere: Timeline::of(jurisdictions, None),
        }
    }

    pub(super) fn timeline(&self, code: Option<&JurisdictionCode>) -> &Timeline {
        let named = |code| self.named.get(&code);
        code.and_then(|code| named(*code).or_else(|| named(code.country())))
            .unwrap_or(&self.nowhere)
    }
}

impl Timeline {
    fn of(jurisdictions: &Jurisdictions, code: Option<&JurisdictionCode>) -> Self {
        let at = |instant| entry_of(jurisdictions, code, instant);
        let holding = |instant| at(instant).map(|(_, entry)| Arc::clone(&entry.requirements));
        let about = entries_about(jurisdictions, code);
        let boundaries: BTreeSet<Timestamp> = about.flat_map(boundaries).collect();
        let changes = boundaries.into_iter().map(|from| (from, holding(from)));
        Self {
            before: holding(DAWN),
            changes: changes.collect(),
        }
    }

    /// What holds at an instant.
    pub(super) fn at(&self, at: Timestamp) -> Option<&Requirements> {
        let holding = match self.begun(at).checked_sub(1) {
            None => &self.before,
            Some(last) => &self.changes[last].1,
        };
        holding.as_deref()
    }

    /// The first instant after `at` at which another entry might answer.
    pub(super) fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        self.changes.get(self.begun(at)).map(|(from, _)| *from)
    }

    /// How many changes have come by then.
    fn begun(&self, at: Timestamp) -> usize {
        self.changes.partition_point(|(from, _)| *from <= at)
    }
}

fn boundaries(entry: &Entry) -> impl Iterator<Item = Timestamp> + use<> {
    [Some(entry.effective_from), entry.effective_to]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::tests::code;
    use crate::policy::embedded;

    #[test]
    fn a_timeline_answers_as_the_entries_do_at_every_instant_and_wherever_one_may_be() {
        let policy = embedded();
        let entries: Vec<&Entry> = policy.jurisdictions().values().flatten().collect();
        let members = entries.iter().flat_map(|entry| &entry.members);
        let named = policy.jurisdictions().keys().chain(members).cloned();
        // Parts and countries that nothing names, too.
        let others = ["US-TX", "CA-QC", "DE-BY", "AQ", "AQ-XX"].map(code);
        let places: Vec<_> = named.chain(others).map(Some).chain([None]).collect();
        let near = |instant: Timestamp| {
            let micros = instant.as_micros();
            [micros.saturating_sub(1), micros, micros.saturating_add(1)]
        };
        let known = entries.iter().flat_map(|entry| boundaries(entry));
        let instants: BTreeSet<i64> = known
            .chain([DAWN, Timestamp::EPOCH, Timestamp::MAX])
            .flat_map(near)
            .collect();
        assert!(places.len() > 40 && instants.len() > 20);
        for place in &places {
            let place = place.as_ref();
            for at in instants.iter().copied().map(Timestamp::from_micros) {
                let entry = policy
                    .entry(place, at)
                    .map(|(_, entry)| &*entry.requirements);
                let found = policy.requirements(place, at);
                assert_eq!(found, entry, "{place:?} {at:?}");
                // Whoever merges candidates tells equal ones by their place in memory.
                assert_eq!(found.map(std::ptr::from_ref), entry.map(std::ptr::from_ref));
                let about = entries_about(policy.jurisdictions(), place);
                let next = about.flat_map(boundaries).filter(|change| *change > at);
                assert_eq!(
                    policy.next_change(place, at),
                    next.min(),
                    "{place:?} {at:?}"
                );
            }
        }
    }
}
