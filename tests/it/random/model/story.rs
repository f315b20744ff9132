//! What there is to know of one number or user id: plain lists, nothing folded. [`super::world`] fills them.

use consentgate::grpc::proto::{ConsentType, ImpliedBasis, MessageClass, SuppressionBasis};

use super::law::{DAY, SECOND};
use super::time::When;
use crate::random::acts::{Scope, Spelling};

#[derive(Debug, Clone, PartialEq)]
pub struct Consent {
    pub when: When,
    pub purpose: &'static str,
    pub sender: &'static str,
    pub spelling: Spelling,
    pub firm: ConsentType,
    pub implied: Option<(ImpliedBasis, i64)>,
    pub is_import: bool,
    pub is_confirmed: bool,
    pub country: &'static str,
    pub whatsapp_named: bool,
    /// Whether something proves it that an erasure might have to leave.
    pub is_proven: bool,
    /// The person of the linked address at which it was given.
    pub via: Option<usize>,
}

impl Consent {
    pub fn is_by_the_person(&self) -> bool {
        !self.is_import && self.firm != ConsentType::Implied
    }

    pub fn is_replaced_by(&self, other: &Self) -> bool {
        let kind = |one: &Self| {
            let place = (one.purpose, one.sender, one.spelling, one.via);
            (place, one.firm, one.is_import, one.is_confirmed)
        };
        kind(self) == kind(other) && other.when.replaces(self.when)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Withdrawn,
    Refused,
    Revoked,
    Invalidated,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    pub when: When,
    pub how: Ended,
    pub scope: Scope,
    pub sender: &'static str,
    /// The sender to which the person wrote it.
    pub heard_by: &'static str,
    /// The command that made it.
    pub id: usize,
}

impl Stop {
    pub fn is_replaced_by(&self, other: &Self) -> bool {
        let kind = |one: &Self| (one.how, one.scope.clone(), one.sender);
        kind(self) == kind(other) && other.when.replaces(self.when)
    }

    pub fn is_by_the_person(&self) -> bool {
        matches!(self.how, Ended::Withdrawn | Ended::Refused)
    }
}

/// A suppression, or what lifts one.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    pub when: When,
    pub basis: SuppressionBasis,
    pub scope: Scope,
    pub sender: &'static str,
    pub until: Option<i64>,
    /// The command that made it.
    pub id: usize,
}

impl Bar {
    pub fn is_lifted_by(&self, lift: &Self) -> bool {
        self.is_lifted_by_more_than(lift, 300 * SECOND)
    }

    fn is_lifted_by_more_than(&self, lift: &Self, tolerance: i64) -> bool {
        let what = |one: &Self| (one.basis, one.scope.clone(), one.sender);
        what(self) == what(lift) && lift.when.is_after_by(self.when, tolerance)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookUp {
    pub when: When,
    pub registry: &'static str,
    pub is_listed: bool,
}

/// That the two came in one webhook.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Naming {
    pub when: When,
    pub other: usize,
    pub is_user_id: bool,
    pub here: Spelling,
    pub there: Spelling,
}

/// Everything about one number or user id.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// Whether anything is recorded.
    pub is_known: bool,
    pub consents: Vec<Consent>,
    pub stops: Vec<Stop>,
    pub bars: Vec<Bar>,
    pub lifts: Vec<Bar>,
    pub look_ups: Vec<LookUp>,
    pub asks: Vec<(When, usize)>,
    pub namings: Vec<Naming>,
    /// Who ceased to be the same person.
    pub partings: Vec<(usize, When)>,
    /// When the person left this address.
    pub left: Vec<When>,
    pub erasures: Vec<When>,
    pub failures: Vec<(&'static str, When)>,
    pub answers: Vec<i64>,
    /// Which sender was written to.
    pub written: Vec<(&'static str, i64)>,
    pub sends: Vec<(&'static str, MessageClass, i64)>,
}

impl Story {
    pub fn is_linked(&self, other: usize) -> bool {
        let named = self.namings.iter().filter(|naming| naming.other == other);
        let parted = self.partings.iter().filter(|(who, _)| *who == other);
        let ended = parted.map(|(_, when)| when).chain(&self.left);
        named.map(|naming| naming.when.at).max() > ended.map(|when| when.at).max()
    }

    pub fn linked(&self) -> impl Iterator<Item = &Naming> {
        self.namings
            .iter()
            .filter(|naming| self.is_linked(naming.other))
    }

    /// Two of a kind cannot both be the person's.
    pub fn conflicts(&self) -> Vec<When> {
        let conflicting = self.linked().filter(|naming| {
            let mut others = self.linked();
            others.any(|one| one.other != naming.other && one.is_user_id == naming.is_user_id)
        });
        conflicting.map(|naming| naming.when).collect()
    }

    pub fn changed_keys(&self) -> Vec<When> {
        let failures = self.failures.iter();
        let keys = failures.filter(|(code, _)| *code == "137000");
        keys.map(|(_, when)| *when).collect()
    }

    pub fn is_doubtful(&self) -> bool {
        !self.conflicts().is_empty() || !self.changed_keys().is_empty()
    }

    /// Given since the last person left, and since the last erasure; if given at a linked address, since the two were last parted, and while they
    /// are linked and nothing is in doubt.
    pub fn is_of_whoever_is_here(&self, consent: &Consent) -> bool {
        self.counts(consent, 300 * SECOND)
    }

    pub fn counts(&self, consent: &Consent, tolerance: i64) -> bool {
        let after = |when: &When| consent.when.is_after_by(*when, tolerance);
        let by_link = consent.via.is_none_or(|other| {
            let mut parted = self.partings.iter().filter(|(who, _)| *who == other);
            self.is_linked(other) && parted.all(|(_, when)| after(when)) && !self.is_doubtful()
        });
        self.left.iter().all(after) && self.is_left_by_erasures(consent) && by_link
    }

    /// "What was consented to up to it is dropped, in whichever order the two arrive."
    fn is_left_by_erasures(&self, consent: &Consent) -> bool {
        let mut erasures = self.erasures.iter();
        erasures.all(|erasure| consent.when.at > erasure.at)
    }

    /// Whether anybody has ever heard of this person: "whoever only wrote, or was only written to, was seen".
    pub fn is_seen(&self) -> bool {
        let wrote = self.written.iter().any(|(sender, _)| !sender.is_empty());
        self.is_known || wrote || !self.sends.is_empty()
    }

    /// "Number, evidence, labels, actors, service windows" go, "how often the person was asked and written to" stays.
    pub fn erase(&mut self, when: When) {
        self.erasures.push(when);
    }

    /// What counts of the messages to senders: windows from before an erasure are gone.
    pub fn messages(&self) -> impl Iterator<Item = &(&'static str, i64)> {
        let erased = self.erasures.iter().map(|erasure| erasure.at).max();
        self.written
            .iter()
            .filter(move |(_, at)| Some(*at) > erased)
    }

    pub fn listings(&self) -> impl Iterator<Item = &LookUp> {
        self.listings_by_more_than(300 * SECOND)
    }

    fn listings_by_more_than(&self, tolerance: i64) -> impl Iterator<Item = &LookUp> {
        self.look_ups.iter().filter(move |found| {
            let cleared = |other: &LookUp| {
                !other.is_listed
                    && other.registry == found.registry
                    && other.when.is_after_by(found.when, tolerance)
            };
            found.is_listed && !self.look_ups.iter().any(cleared)
        })
    }

    /// What restricts here restricts there, too.
    pub fn take_over(&mut self, from: &Self) {
        self.is_known = true;
        add(&mut self.stops, &from.stops);
        add(&mut self.asks, &from.asks);
        add(&mut self.erasures, &from.erasures);
        let standing = from.bars.iter().filter(|bar| {
            let mut lifts = from.lifts.iter();
            !lifts.any(|lift| bar.is_lifted_by_more_than(lift, DAY))
        });
        add(&mut self.bars, standing);
        add(&mut self.look_ups, from.listings_by_more_than(DAY));
    }
}

fn add<'a, T: Clone + PartialEq + 'a>(to: &mut Vec<T>, from: impl IntoIterator<Item = &'a T>) {
    for one in from {
        if !to.contains(one) {
            to.push(one.clone());
        }
    }
}
