//! An erasure, and for how long what proves a consent is kept in spite of it.
//!
//! A business must be able to show who agreed to what (GDPR Art. 7(1)) for as long as the policy has it
//! (`proof_retention`), and until then Art. 17(3)(b) and (e) let it keep the proof. Here is only until
//! when; that nothing is sent meanwhile is the erasure's own effect, and removing rows is the ledger's.

use serde::{Deserialize, Serialize};

use super::event::{Act, Event, Restriction, Scope, Terms};
use super::id::{JurisdictionCode, PurposeKey};
use super::rules::Rules;
use super::time::Timestamp;
use super::vocabulary::{ErasureBasis, MessageClass};

/// That a person's data were erased, as its event has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    pub basis: ErasureBasis,
    /// A note for the file, which holds nothing personal. Empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Until when the policy has proof kept; `None`: nothing personal was left when this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_until: Option<Timestamp>,
}

/// One event of a person, and whether what proves it is still there.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    pub event: &'a Event,
    pub has_proof: bool,
}

/// Until when the policy has the proofs of these consents kept, of several the latest; `None` if they may
/// go `now`. A consent that says nothing of where the person lives is judged by all of `candidates`, of
/// which the longest counts. That a consent ended by time alone is not counted: what is kept a while
/// longer can still be erased, what is gone cannot be shown.
pub fn proofs_kept_until(
    events: &[Kept<'_>],
    rules: &Rules,
    candidates: &[JurisdictionCode],
    now: Timestamp,
) -> Option<Timestamp> {
    let proofs = events.iter().filter(|kept| kept.has_proof);
    let ends = proofs.flat_map(|kept| {
        let given = kept.event.effective_at();
        let consents = consents_of(&kept.event.act).into_iter();
        consents.filter_map(move |terms| {
            let stated = terms.jurisdiction.as_ref().map(std::slice::from_ref);
            let entries = rules.entries_of(stated.unwrap_or(candidates), now);
            let columns = entries
                .iter()
                .filter_map(|(_, entry)| entry.proof_retention);
            let ended = ended_at(terms, given, events, rules).map_or(now, |end| end.min(now));
            columns.max().map(|kept_for| ended.plus(kept_for))
        })
    });
    ends.max().filter(|end| *end > now)
}

fn consents_of(act: &Act) -> Vec<&Terms> {
    match act {
        Act::ConsentGiven(terms) => vec![terms],
        Act::ConsentConfirmed(confirmation) => {
            let requests = confirmation.requests.iter();
            requests.map(|request| &request.terms).collect()
        }
        Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::Restricted(_)
        | Act::Suppressed(_)
        | Act::SuppressionLifted(_)
        | Act::RegistryChecked(_)
        | Act::Linked(_)
        | Act::IdentityChanged(_)
        | Act::DeliveryFailed(_)
        | Act::Reached(_)
        | Act::Erased(_) => Vec::new(),
    }
}

/// When the last purpose of a consent was ended; `None` if one of them never was.
fn ended_at(
    terms: &Terms,
    given: Timestamp,
    events: &[Kept<'_>],
    rules: &Rules,
) -> Option<Timestamp> {
    let end_of = |purpose: &PurposeKey| {
        let after = events.iter().map(|kept| kept.event);
        let after = after.filter(|event| event.effective_at() >= given);
        let ended = after.filter(|event| match &event.act {
            Act::Restricted(restriction) => ends(restriction, terms, purpose, rules),
            Act::Erased(_) => true,
            Act::ConsentGiven(_)
            | Act::ConsentConfirmed(_)
            | Act::ConsentRequested(_)
            | Act::ConsentRequestDeferred(_)
            | Act::Suppressed(_)
            | Act::SuppressionLifted(_)
            | Act::RegistryChecked(_)
            | Act::Linked(_)
            | Act::IdentityChanged(_)
            | Act::DeliveryFailed(_)
            | Act::Reached(_) => false,
        });
        ended.map(Event::effective_at).min()
    };
    let each: Option<Vec<Timestamp>> = terms.purposes.iter().map(end_of).collect();
    each?.into_iter().max()
}

fn ends(restriction: &Restriction, terms: &Terms, purpose: &PurposeKey, rules: &Rules) -> bool {
    let covers = match &restriction.scope {
        Scope::Everything => true,
        Scope::AllMarketing => rules
            .catalog
            .purposes
            .get(purpose)
            .is_some_and(|known| known.message_class == MessageClass::Marketing),
        Scope::Purposes(named) => named.contains(purpose),
    };
    let narrowed = restriction.sender_id.is_some() && restriction.sender_id != terms.sender_id;
    covers && !narrowed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::event::tests::{at, event, purpose, terms, withdrawal};
    use crate::domain::policy::Entry;
    use crate::domain::policy::tests::{code, entry, lenient, of_entries};
    use crate::domain::rules::tests::{catalog, rules_with};

    const NOW: i64 = 10_000;

    /// ZZ has proof kept for 5,000 s, DE for 7,000 s, FR says nothing of it.
    fn rules() -> Rules {
        let kept = |kept_for: Option<u64>| Entry {
            proof_retention: kept_for.map(Duration::from_secs),
            ..entry(lenient())
        };
        let entries = [("ZZ", Some(5_000)), ("DE", Some(7_000)), ("FR", None)];
        let entries = entries.map(|(name, kept_for)| (name, vec![kept(kept_for)]));
        rules_with(catalog(), of_entries(entries))
    }

    fn given(seconds: i64, change: impl FnOnce(&mut Terms)) -> Event {
        let mut terms = terms("offers");
        change(&mut terms);
        event(1, at(seconds), Act::ConsentGiven(terms))
    }

    fn stop(seconds: i64, scope: Scope) -> Event {
        let mut stop = event(2, at(seconds), withdrawal(scope));
        stop.recorded_at = at(seconds);
        stop
    }

    fn until(events: &[Event], candidates: &[&str]) -> Option<i64> {
        let kept: Vec<Kept<'_>> = events
            .iter()
            .map(|event| Kept {
                event,
                has_proof: true,
            })
            .collect();
        let candidates: Vec<_> = candidates.iter().map(|name| code(name)).collect();
        let until = proofs_kept_until(&kept, &rules(), &candidates, at(NOW));
        until.map(|until| until.as_micros() / 1_000_000)
    }

    #[test]
    fn proof_is_kept_for_as_long_as_the_strictest_place_says_after_the_consent_ended() {
        let plain = || given(100, |_| {});
        let german = || given(100, |t| t.jurisdiction = Some(code("DE")));
        let french = || given(100, |t| t.jurisdiction = Some(code("FR")));
        let both = || {
            given(100, |t| {
                t.purposes = vec![purpose("news"), purpose("offers")];
            })
        };
        let offers = || Scope::Purposes(vec![purpose("offers")]);
        for (events, candidates, expected) in [
            (vec![], &[][..], None),
            (vec![plain()], &[], Some(15_000)),
            (vec![plain()], &["DE"], Some(17_000)),
            (vec![plain()], &["FR", "DE"], Some(17_000)),
            (vec![plain()], &["FR"], None),
            (vec![german()], &["FR"], Some(17_000)),
            (vec![french()], &["DE"], None),
            // It ended when it was withdrawn, by whatever scope covers it.
            (
                vec![plain(), stop(6_000, Scope::Everything)],
                &[],
                Some(11_000),
            ),
            (
                vec![plain(), stop(6_000, Scope::AllMarketing)],
                &[],
                Some(11_000),
            ),
            (vec![plain(), stop(6_000, offers())], &[], Some(11_000)),
            (vec![plain(), stop(4_000, offers())], &[], None),
            (vec![plain(), stop(50, offers())], &[], Some(15_000)),
            // The first end counts, and of several purposes the last that was ended.
            (
                vec![plain(), stop(6_000, offers()), stop(9_000, offers())],
                &[],
                Some(11_000),
            ),
            (vec![both(), stop(6_000, offers())], &[], Some(15_000)),
            (
                vec![
                    both(),
                    stop(6_000, offers()),
                    stop(7_000, Scope::Everything),
                ],
                &[],
                Some(12_000),
            ),
        ] {
            assert_eq!(
                until(&events, candidates),
                expected,
                "{events:?} {candidates:?}"
            );
        }
    }

    #[test]
    fn an_earlier_erasure_is_not_prolonged_by_another_one() {
        let erased = Act::Erased(Erasure {
            basis: ErasureBasis::SubjectRequest,
            note: String::new(),
            retained_until: None,
        });
        let mut erased = event(2, at(6_000), erased);
        erased.recorded_at = at(6_000);
        assert_eq!(until(&[given(100, |_| {}), erased], &[]), Some(11_000));
    }

    #[test]
    fn what_is_gone_and_what_is_no_consent_is_not_kept() {
        let (given, stop) = (given(100, |_| {}), stop(6_000, Scope::Everything));
        let gone = [(&given, false), (&stop, true)];
        let kept = gone.map(|(event, has_proof)| Kept { event, has_proof });
        assert_eq!(proofs_kept_until(&kept, &rules(), &[], at(NOW)), None);
    }
}
