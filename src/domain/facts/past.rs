//! Facts as of an earlier instant, for questions about the past.
//!
//! What restricts counts however late it came: what is on record now speaks for the person whatever is
//! asked. Everything else counts only if it is not later than the instant, because a consent that was
//! given since permitted nothing then.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Facts;
use crate::domain::event::{Act, Event, IdentityChange, Link};
use crate::domain::time::Timestamp;

impl Facts {
    /// Folds what counts in a question about `at`, of events in any order.
    pub fn fold_as_of<'a>(events: impl IntoIterator<Item = &'a Event>, at: Timestamp) -> Self {
        let mut facts = Self::default();
        let (mut linked, mut linked_later) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            if let Act::Linked(link) = &event.act {
                match event.effective_at() <= at {
                    true => linked.insert(link.other),
                    false => linked_later.insert(link.other),
                };
            }
            if let Some(event) = as_of(event, at) {
                facts.apply(&event);
            }
        }
        // What was agreed to at an address that was linked since did not count here then.
        facts.grants.retain(|grant| {
            let only_later = |other| linked_later.contains(&other) && !linked.contains(&other);
            !grant.via_link.is_some_and(only_later)
        });
        facts
    }
}

/// What of an event counts in a question about `at`; `None`: nothing.
fn as_of(event: &Event, at: Timestamp) -> Option<Cow<'_, Event>> {
    if event.effective_at() <= at {
        return Some(Cow::Borrowed(event));
    }
    if !event.act.restricts() {
        return None;
    }
    match &event.act {
        // The link itself may raise a doubt; the consents that it brought did not count before it.
        Act::Linked(link) => {
            let mut inherited = link.inherited.clone();
            inherited.grants.clear();
            let act = Act::Linked(Link {
                inherited,
                ..link.clone()
            });
            Some(Cow::Owned(Event {
                act,
                ..event.clone()
            }))
        }
        Act::IdentityChanged(
            IdentityChange::Former
            | IdentityChange::Successor { .. }
            | IdentityChange::Unlinked { .. },
        )
        | Act::Restricted(_)
        | Act::Suppressed(_)
        | Act::RegistryChecked(_)
        | Act::DeliveryFailed(_)
        | Act::ConsentGiven(_)
        | Act::ConsentConfirmed(_)
        | Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::SuppressionLifted(_)
        | Act::Reached(_)
        | Act::Erased(_) => Some(Cow::Borrowed(event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Spelling;
    use crate::domain::event::tests::{at, event, terms, withdrawal};
    use crate::domain::event::{
        Confirmation, ConfirmedRequest, Inherited, Lift, Scope, Suppression,
    };
    use crate::domain::id::SubjectId;
    use crate::domain::vocabulary::{AddressKind, IndicationMethod, SuppressionBasis};
    use uuid::Uuid;

    #[test]
    fn a_consent_that_came_later_gives_way_to_the_one_that_held_then() {
        let early = event(1, at(100), Act::ConsentGiven(terms("offers")));
        let late = event(2, at(300), Act::ConsentGiven(terms("offers")));
        let events = [early.clone(), late.clone()];
        assert_eq!(Facts::fold_as_of(&events, at(200)), Facts::fold([&early]));
        assert_eq!(Facts::fold_as_of(&events, at(99)), Facts::default());
        assert_eq!(Facts::fold_as_of(&events, at(300)), Facts::fold(&events));
    }

    #[test]
    fn what_restricts_counts_however_late_it_came_and_is_not_lifted_before_its_time() {
        let suppression = Act::Suppressed(Suppression {
            basis: SuppressionBasis::Complaint,
            scope: Scope::Everything,
            sender_id: None,
            until: None,
            withdrawal_method: None,
            received_by: None,
        });
        let lift = Act::SuppressionLifted(Lift {
            basis: SuppressionBasis::Complaint,
            scope: Scope::Everything,
            sender_id: None,
            lifts: None,
            indication_method: None,
        });
        let stop = event(1, at(300), withdrawal(Scope::Everything));
        let suppressed = event(2, at(310), suppression);
        let lifted = event(3, at(320), lift);
        let events = [stop.clone(), suppressed.clone(), lifted];
        let then = Facts::fold_as_of(&events, at(100));
        assert_eq!(then, Facts::fold([&stop, &suppressed]));
        assert_eq!(Facts::fold_as_of(&events, at(400)), Facts::fold(&events));
    }

    #[test]
    fn a_request_is_not_confirmed_before_its_confirmation() {
        let request = event(1, at(100), Act::ConsentGiven(terms("offers")));
        let confirmation = Act::ConsentConfirmed(Confirmation {
            indication_method: IndicationMethod::Keyword,
            requests: vec![ConfirmedRequest {
                request: request.event_id,
                requested_at: request.effective_at(),
                requested_source: request.time_source,
                requested_digest: request.content_digest(),
                terms: terms("offers"),
            }],
        });
        let events = [request, event(2, at(200), confirmation)];
        let confirmed = |facts: Facts| facts.grants.iter().any(|g| g.confirmed_at.is_some());
        assert!(!confirmed(Facts::fold_as_of(&events, at(199))));
        assert!(confirmed(Facts::fold_as_of(&events, at(200))));
    }

    #[test]
    fn a_later_link_brings_its_opt_outs_and_not_its_consents() {
        let other = Facts::fold(&[
            event(1, at(100), Act::ConsentGiven(terms("offers"))),
            event(2, at(110), withdrawal(Scope::AllMarketing)),
        ]);
        let link = Act::Linked(Link {
            other: SubjectId(Uuid::from_u128(9)),
            kind: AddressKind::UserId,
            here: Spelling::Verbatim,
            inherited: Inherited {
                grants: other.grants.to_vec(),
                ..other.restrictive_inheritance()
            },
        });
        // Given at the linked address before, and reported after the two were linked.
        let mut copy = event(4, at(150), Act::ConsentGiven(terms("news")));
        copy.copied_from = Some(SubjectId(Uuid::from_u128(9)));
        let events = [event(3, at(300), link), copy];
        let then = Facts::fold_as_of(&events, at(200));
        assert_eq!((then.grants.len(), then.restrictions.len()), (0, 1));
        assert_eq!(Facts::fold_as_of(&events, at(400)), Facts::fold(&events));
        assert_eq!(Facts::fold(&events).grants.len(), 2);
    }

    #[test]
    fn consents_that_a_later_link_brought_again_did_not_count_before_it() {
        let other = SubjectId(Uuid::from_u128(9));
        let link = |inherited| {
            Act::Linked(Link {
                other,
                kind: AddressKind::UserId,
                here: Spelling::Verbatim,
                inherited,
            })
        };
        let nothing = Facts::default().restrictive_inheritance();
        let consents = Inherited {
            grants: Facts::fold(&[event(1, at(50), Act::ConsentGiven(terms("offers")))])
                .grants
                .to_vec(),
            ..nothing.clone()
        };
        // Linked at 100 already, so that what else came over the link then counts.
        let events = [
            event(2, at(100), link(nothing)),
            event(3, at(300), link(consents)),
        ];
        let grants = |seconds| Facts::fold_as_of(&events, at(seconds)).grants.len();
        assert_eq!((grants(200), grants(400)), (0, 1));
    }
}
