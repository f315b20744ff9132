//! Until when an erasure has to leave what proves a consent: as much of it as follows from the erased person's own acts
//! without judging which act ended which.

use super::law::{self, DAY};
use super::story::{Consent, Story};
use super::world::World;

/// "A duty lasts the longest run of that many months", and nobody asks for more than five years here.
const LONGEST: i64 = 1_827;

/// When proof may go.
#[derive(Debug)]
pub struct Proofs {
    /// Not before this; `None`: nothing says so.
    least: Option<i64>,
    /// Not after this; `None`: there is none.
    most: Option<i64>,
}

impl Proofs {
    pub fn allow(&self, until: Option<i64>) -> bool {
        match until {
            None => self.least.is_none(),
            Some(until) => {
                self.least.is_none_or(|least| least <= until)
                    && self.most.is_some_and(|most| until <= most)
            }
        }
    }
}

impl World {
    /// "The term counts from the withdrawal or the erasure that ended the consent."
    pub fn proofs(&self, person: usize, now: i64) -> Proofs {
        let own = &self.stories[person];
        let stands = |story: &Story| {
            story.stops.is_empty()
                && story.bars.is_empty()
                && story.erasures.is_empty()
                && story.left.is_empty()
        };
        let proven = |consent: &&Consent| consent.is_proven && consent.via.is_none();
        let ends = |consent: &Consent| now + law::of(consent.country).proof_days * DAY;
        let least = own.consents.iter().filter(proven).map(ends).max();
        let everybody = self.everybody(person);
        let mut all = everybody
            .iter()
            .flat_map(|one| &self.stories[*one].consents);
        Proofs {
            least: least.filter(|_| stands(own)),
            most: all.any(|one| one.is_proven).then_some(now + LONGEST * DAY),
        }
    }
}
