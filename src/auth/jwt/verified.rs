//! JWTs that were verified, so that a caller pays for a signature once and not with every call.
//!
//! They are known by the hash of their whole text. There is a fixed number of places, in sets of a few: who is
//! new takes a place that is free or whose JWT has expired, else another's, who is then verified again. Reading takes
//! no lock. Whether one is still good is asked each time.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::constant_time;

use super::Fault;
use super::claims::Term;
use crate::domain::caller::Caller;
use crate::domain::time::Timestamp;

const SETS: usize = 1024;
/// Places of a set.
const WAYS: usize = 4;

type Hash = [u8; 32];

/// A JWT whose signature is right.
pub(super) struct Verified {
    hash: Hash,
    pub(super) caller: Arc<Caller>,
    term: Term,
}

impl Verified {
    pub(super) fn new(hash: &[u8], caller: Arc<Caller>, term: Term) -> Self {
        let mut own = Hash::default();
        own.copy_from_slice(hash);
        Self {
            hash: own,
            caller,
            term,
        }
    }

    pub(super) fn good_at(&self, now: Timestamp) -> Result<(), Fault> {
        self.term.holds_at(now)
    }
}

/// One that was found, for as long as it is looked at.
pub(super) struct Found(Guard<Option<Arc<Verified>>>);

impl std::ops::Deref for Found {
    type Target = Verified;
    fn deref(&self) -> &Verified {
        self.0.as_ref().expect("only what is there is found")
    }
}

/// Those that were verified with the same keys.
pub(super) struct VerifiedJwts(Box<[[ArcSwapOption<Verified>; WAYS]]>);

impl Default for VerifiedJwts {
    fn default() -> Self {
        Self((0..SETS).map(|_| Default::default()).collect())
    }
}

impl VerifiedJwts {
    fn set(&self, hash: &[u8]) -> &[ArcSwapOption<Verified>] {
        let number = match hash {
            [first, second, ..] => usize::from(u16::from_be_bytes([*first, *second])),
            _ => 0,
        };
        self.0.get(number % SETS).map_or(&[], |set| set.as_slice())
    }

    pub(super) fn find(&self, hash: &[u8]) -> Option<Found> {
        let mut places = self.set(hash).iter().map(ArcSwapOption::load);
        let found = places.find(|place| {
            let same = |known: &Arc<Verified>| {
                constant_time::verify_slices_are_equal(&known.hash, hash).is_ok()
            };
            place.as_ref().is_some_and(same)
        });
        found.map(Found)
    }

    pub(super) fn keep(&self, new: Verified, now: Timestamp) {
        let set = self.set(&new.hash);
        let is_free = |place: &&ArcSwapOption<Verified>| {
            let known = place.load();
            known
                .as_ref()
                .is_none_or(|known| known.good_at(now) == Err(Fault::Expired))
        };
        let other = usize::from(new.hash[2]) % WAYS;
        let place = set.iter().find(is_free).or_else(|| set.get(other));
        if let Some(place) = place {
            place.store(Some(Arc::new(new)));
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let places = self.0.iter().flatten();
        places.filter(|place| place.load().is_some()).count()
    }
}
