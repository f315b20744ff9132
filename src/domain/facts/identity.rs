//! Whose an address is: links between a phone number and a user id, and doubts about them.
//!
//! WhatsApp names both addresses of a person in one webhook, and gives a new user id to whoever takes
//! a new number. So a number that comes with another user id, without notice of a change, is probably
//! somebody else's by now. What a decision makes of that is said in [`crate::domain::decide`].

use std::time::Duration;

use super::{Facts, Grant, Linked, Mark, Suppressed};
use crate::domain::address::Spelling;
use crate::domain::event::Inherited;
use crate::domain::id::SubjectId;

/// How far two clocks can be taken to differ at most, whatever is set: what is handed over is kept
/// for ever, and must not depend on a setting.
const LONGEST_TOLERANCE: Duration = Duration::from_hours(24);

impl Facts {
    /// The other addresses of this person: those whose link stands.
    pub fn linked(&self) -> impl Iterator<Item = &Linked> {
        self.links.iter().filter(|link| self.stands(link))
    }

    /// Named together again after the other one ceased to be this person's, and after this one did.
    fn stands(&self, link: &Linked) -> bool {
        let at = |mark: &Mark| mark.at;
        let ends = link.ended.iter().chain(self.left.iter());
        link.linked.iter().map(at).max() > ends.map(at).max()
    }

    /// Since when it is in doubt whose this address is, of several the latest; `None` if it is not.
    pub fn doubt(&self) -> Option<&Mark> {
        self.doubts().max_by_key(|mark| mark.rank())
    }

    /// Everything that raises a doubt whose this address is. A consent that is later than all of it
    /// settles it for its own purpose.
    pub fn doubts(&self) -> impl Iterator<Item = &Mark> {
        self.conflicts().chain(self.mismatched.iter())
    }

    /// When this address was named together with each of two others that are of one kind: a person has
    /// no two of a kind.
    pub fn conflicts(&self) -> impl Iterator<Item = &Mark> {
        let conflicting = |link: &&Linked| {
            let mut others = self.linked();
            others.any(|other| other.kind == link.kind && other.other != link.other)
        };
        self.linked()
            .filter(conflicting)
            .flat_map(|link| link.linked.iter())
    }

    /// Whether a grant speaks for whoever has this address: given before the person left it, it does
    /// not; given at a linked address, it does while that link stands, if it was not given before the
    /// link once ended, and while nothing is in doubt.
    pub fn speaks(&self, grant: &Grant, tolerance: Duration) -> bool {
        let after = |end: &Mark| grant.mark.is_later_than(end, tolerance);
        let by_link = grant.via_link.is_none_or(|other| {
            let link = self.linked().find(|link| link.other == other);
            link.is_some_and(|link| link.ended.iter().all(after)) && self.doubts().next().is_none()
        });
        self.left.iter().all(after) && by_link
    }

    /// What another address of the same person takes over when the two are linked: everything that
    /// restricts, the asks, and the grants that speak for `here`, the spelling that was linked.
    pub fn inheritance(&self, own: SubjectId, here: Spelling, there: Spelling) -> Inherited {
        let grants = self.grants.iter().filter(|grant| {
            grant.via_link.is_none()
                && grant.spelling.grants(here)
                && self.speaks(grant, LONGEST_TOLERANCE)
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

    /// What goes with a person to a new address: everything that restricts, and no grant. What was
    /// lifted stays behind with its lifting, which must not lift what was made for the new address.
    pub fn restrictive_inheritance(&self) -> Inherited {
        let holding = |suppressed: &&Suppressed| !self.is_lifted(suppressed, LONGEST_TOLERANCE);
        Inherited {
            grants: Vec::new(),
            asks: self.asks.to_vec(),
            restrictions: self.restrictions.to_vec(),
            suppressions: self.suppressions.iter().filter(holding).cloned().collect(),
            registries: self.listings(LONGEST_TOLERANCE).cloned().collect(),
            erasures: self.erased.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::Act;
    use crate::domain::event::tests::{at, event, terms};

    #[test]
    fn a_consent_that_a_linked_address_takes_over_says_where_it_comes_from() {
        let given = event(1, at(100), Act::ConsentGiven(terms("offers")));
        let own = SubjectId(Uuid::from_u128(7));
        let taken = Facts::fold([&given]).inheritance(own, Spelling::Verbatim, Spelling::Mexico521);
        assert_eq!(taken.grants.len(), 1);
        let grant = &taken.grants[0];
        let place = (grant.via_link, grant.spelling);
        assert_eq!(place, (Some(own), Spelling::Mexico521));
    }
}
