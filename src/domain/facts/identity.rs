//! Whose an address is: links between a phone number and a user id, and doubts about them.
//!
//! WhatsApp names both addresses of a person in one webhook, and gives a new user id to whoever takes
//! a new number. So a number that comes with another user id, without notice of a change, is probably
//! somebody else's by now. What a decision makes of that is said in [`crate::domain::decide`].

use super::{Facts, Grant, Linked, Mark};
use crate::domain::address::Spelling;
use crate::domain::event::Inherited;
use crate::domain::id::SubjectId;
use crate::domain::vocabulary::{AddressKind, FailureKind};

impl Facts {
    /// The other addresses of this person: those whose link stands.
    pub fn linked(&self) -> impl Iterator<Item = &Linked> {
        self.links.iter().filter(|link| self.stands(link))
    }

    fn stands(&self, link: &Linked) -> bool {
        let ends = link.ended.iter().chain(&self.left);
        link.linked
            .as_ref()
            .is_some_and(|linked| ends.into_iter().all(|end| linked.at > end.at))
    }

    /// Since when it is in doubt whose this address is. A consent that is later than that settles it
    /// for its own purpose.
    pub fn doubt(&self) -> Option<&Mark> {
        let mismatch = self
            .failures
            .iter()
            .filter(|failed| failed.kind == FailureKind::IdentityMismatch)
            .filter_map(|failed| failed.marks.first());
        AddressKind::ALL
            .iter()
            .filter_map(|kind| self.conflict(*kind))
            .chain(mismatch)
            .max_by_key(|mark| mark.rank())
    }

    /// Of two addresses of one kind the later one raises the doubt.
    fn conflict(&self, kind: AddressKind) -> Option<&Mark> {
        let links = self.linked().filter(|link| link.kind == kind);
        let marks: Vec<&Mark> = links.filter_map(|link| link.linked.as_ref()).collect();
        (marks.len() > 1)
            .then(|| marks.into_iter().max_by_key(|mark| mark.rank()))
            .flatten()
    }

    /// Whether a grant speaks for whoever has this address: given before the person left it, it does
    /// not; given at a linked address, it does while that link stands and nothing is in doubt.
    pub fn speaks(&self, grant: &Grant) -> bool {
        let after_leaving = self.left.is_none_or(|left| grant.mark.at > left.at);
        let by_link = grant.via_link.is_none_or(|other| {
            self.doubt().is_none() && self.linked().any(|link| link.other == other)
        });
        after_leaving && by_link
    }

    /// What another address of the same person takes over when the two are linked: everything that
    /// restricts, the asks, and the grants that speak for `here`, the spelling that was linked.
    pub fn inheritance(&self, own: SubjectId, here: Spelling, there: Spelling) -> Inherited {
        let grants = self.grants.iter().filter(|grant| {
            grant.via_link.is_none() && grant.spelling.grants(here) && self.speaks(grant)
        });
        let grants = match self.doubt() {
            Some(_) => Vec::new(),
            None => grants
                .map(|grant| Grant {
                    spelling: there,
                    via_link: Some(own),
                    ..grant.clone()
                })
                .collect(),
        };
        Inherited {
            grants,
            ..self.restrictive_inheritance()
        }
    }

    /// What goes with a person to a new address: everything that restricts, and no grant.
    pub fn restrictive_inheritance(&self) -> Inherited {
        Inherited {
            grants: Vec::new(),
            asks: self.asks.clone(),
            restrictions: self.restrictions.clone(),
            suppressions: self.suppressions.clone(),
            lifts: self.lifts.clone(),
        }
    }
}
