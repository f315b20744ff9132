//! Two addresses of one person, and people who go from one address to another.

use super::law::DAY;
use super::purpose;
use super::story::{Consent, Naming, Story};
use super::time::{When, to_the_end};
use super::world::World;
use crate::random::acts::Address;

impl World {
    pub(super) fn link(&mut self, a: &Address, b: &Address, said: When, now: i64) {
        if a.is_user_id == b.is_user_id {
            return;
        }
        let told = |one: &Story, other: usize| {
            let named = one.namings.iter().filter(|naming| naming.other == other);
            let parted = one.partings.iter().filter(|(who, _)| *who == other);
            let mut times = named
                .map(|naming| naming.when.at)
                .chain(parted.map(|(_, when)| when.at));
            times.any(|at| at >= said.at) || one.is_linked(other)
        };
        if told(&self.stories[a.person], b.person) && told(&self.stories[b.person], a.person) {
            return;
        }
        let when = to_the_end(said.at, said.clock, now);
        let everybody = [self.everybody(a.person), self.everybody(b.person)].concat();
        let before = [
            self.stories[a.person].clone(),
            self.stories[b.person].clone(),
        ];
        for (one, other, theirs) in [(a, b, &before[1]), (b, a, &before[0])] {
            let story = &mut self.stories[one.person];
            story.namings.push(Naming {
                when,
                other: other.person,
                is_user_id: other.is_user_id,
                here: one.spelling,
                there: other.spelling,
            });
            story.take_over(theirs);
        }
        let doubtful = |person: usize| self.stories[person].is_doubtful();
        if !doubtful(a.person) && !doubtful(b.person) && !before.iter().any(Story::is_doubtful) {
            for (one, other, theirs) in [(a, b, &before[1]), (b, a, &before[0])] {
                let counting = theirs.consents.iter().filter(|consent| {
                    consent.via.is_none()
                        && purpose::twins(consent.spelling, other.spelling)
                        && theirs.counts(consent, DAY)
                });
                let taken: Vec<Consent> = counting
                    .map(|consent| Consent {
                        spelling: one.spelling,
                        via: Some(other.person),
                        ..consent.clone()
                    })
                    .collect();
                self.stories[one.person].consents.extend(taken);
            }
        }
        self.hand_on(&everybody, &[a.person, b.person]);
    }

    /// Whoever is linked with one of these learns what they have come to know.
    fn hand_on(&mut self, everybody: &[usize], told: &[usize]) {
        let mut told = told.to_vec();
        for person in everybody {
            if told.contains(person) {
                continue;
            }
            let linked: Vec<usize> = self.stories[*person]
                .linked()
                .map(|naming| naming.other)
                .collect();
            if let Some(from) = linked.into_iter().find(|other| told.contains(other)) {
                let known = self.stories[from].clone();
                self.stories[*person].take_over(&known);
                told.push(*person);
            }
        }
    }

    /// Restrictions go with the person, consents do not, and the old address is a stranger's from then on.
    pub(super) fn moves(&mut self, from: &Address, to: &Address, when: When) {
        if from.person == to.person || !self.stories[from.person].is_known {
            return;
        }
        let former = self.stories[from.person].clone();
        let beside_own = self.everybody(to.person);
        for person in self.everybody(from.person) {
            if person != to.person && person != from.person {
                let story = &mut self.stories[person];
                if story
                    .namings
                    .iter()
                    .any(|naming| naming.other == from.person)
                {
                    story.partings.push((from.person, when));
                }
            }
        }
        self.stories[to.person].take_over(&former);
        self.stories[from.person].left.push(when);
        self.hand_on(&beside_own, &[to.person, from.person]);
    }
}
