//! A naive model of the decision: the steps of the rules, scanned over the list of events.
//!
//! Written from the rules of consent and not from `decide.rs`, without facts, folds or slots, so
//! that a mistake in one is not repeated in the other. It answers which reasons may decide; where
//! the rules do not say which of several comes first, each of them may. It does not say how long an
//! answer holds nor which event carries it.

use std::time::Duration;

use super::cases::Case;
use crate::domain::address::Spelling;
use crate::domain::catalog::Purpose;
use crate::domain::event::{Act, Event, Scope, Terms};
use crate::domain::facts::evidence_of;
use crate::domain::id::SenderId;
use crate::domain::policy::{Confirmation, Requirements};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass, Reason, SuppressionBasis, TimeSource};

/// "A withdrawal of a wider scope is a scope, not a list of purposes", by class.
pub(super) fn scope_covers(scope: &Scope, purpose: &Purpose, class: MessageClass) -> bool {
    match scope {
        Scope::Purposes(keys) => keys.contains(&purpose.key),
        Scope::AllMarketing if class == MessageClass::ConsentRequest => {
            purpose.message_class == MessageClass::Marketing
        }
        Scope::AllMarketing => {
            matches!(
                class,
                MessageClass::Marketing | MessageClass::OptOutConfirmation
            )
        }
        Scope::Everything => {
            class != MessageClass::Authentication || !purpose.requested_by_recipient
        }
    }
}

/// An opt-out from one sender counts for it, and where no sender is named for all.
pub(super) fn sender_covers(narrowed: Option<&SenderId>, asked: Option<&SenderId>) -> bool {
    narrowed.is_none() || asked.is_none() || narrowed == asked
}

/// A consent as its event tells it.
#[derive(Debug, Clone, Copy)]
struct Consent<'a> {
    event: &'a Event,
    terms: &'a Terms,
    /// When it was given; if confirmed, when it was requested.
    at: Timestamp,
    source: TimeSource,
    confirmed: bool,
}

impl Consent<'_> {
    fn is_act_of_the_person(&self) -> bool {
        !self.terms.is_import() && self.terms.consent_type != ConsentType::Implied
    }

    /// "Later than it": strictly, and by more than the tolerance if another clock told the time.
    fn later_than(&self, restriction: &Event, tolerance: Duration) -> bool {
        let start = restriction.effective_at();
        let limit = if self.source == restriction.time_source {
            start
        } else {
            start.plus(tolerance)
        };
        self.at > limit
    }

    /// Of consents of one kind, known by one clock, the newest counts.
    fn shadows(&self, other: &Self) -> bool {
        let kind = |c: &Self| {
            let by = (c.source, c.event.spelling, c.terms.sender_id.clone());
            (by, c.terms.consent_type, c.terms.is_import(), c.confirmed)
        };
        kind(self) == kind(other)
            && (self.at, self.event.content_digest()) > (other.at, other.event.content_digest())
    }
}

fn consents_in(event: &Event) -> Vec<Consent<'_>> {
    match &event.act {
        Act::ConsentGiven(terms) => vec![Consent {
            event,
            terms,
            at: event.effective_at(),
            source: event.time_source,
            confirmed: false,
        }],
        Act::ConsentConfirmed(confirmation) => confirmation
            .requests
            .iter()
            .map(|request| Consent {
                event,
                terms: &request.terms,
                at: request.requested_at,
                source: request.requested_source,
                confirmed: true,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Which reasons may decide.
pub(super) fn deciding(case: &Case) -> Vec<Reason> {
    Model {
        case,
        purpose: case.purpose(),
    }
    .deciding()
}

struct Model<'a> {
    case: &'a Case,
    purpose: &'a Purpose,
}

impl<'a> Model<'a> {
    fn deciding(&self) -> Vec<Reason> {
        let case = self.case;
        let class = case.class;

        // 1. The sender is held.
        if case
            .sender
            .as_ref()
            .is_some_and(|id| case.rules.catalog.senders[id].held)
        {
            return vec![Reason::SenderHeld];
        }

        // 2. Suppressions.
        let suppressions = self.suppressions();
        let (doubtful, suppressed): (Vec<_>, Vec<_>) = suppressions
            .iter()
            .filter(|(event, basis)| !(voids(*basis) && self.anew(&[event])))
            .partition(|(_, basis)| *basis == SuppressionBasis::PossibleRevocation);
        let suppressed: Vec<Reason> = suppressed
            .iter()
            .map(|(_, basis)| match basis {
                SuppressionBasis::PlatformStop => Reason::PlatformStopped,
                _ => Reason::Suppressed,
            })
            .collect();
        if !suppressed.is_empty() {
            return suppressed;
        }

        // 3. Restrictions; the state is that of the latest.
        let restrictions = self.restrictions();
        if !restrictions.is_empty() && !self.anew(&restrictions) {
            let latest = restrictions.iter().map(|event| event.effective_at()).max();
            return restrictions
                .iter()
                .filter(|event| Some(event.effective_at()) == latest)
                .filter_map(|event| match &event.act {
                    Act::Restricted(restriction) => Some(restriction.kind.into()),
                    _ => None,
                })
                .collect();
        }

        if !doubtful.is_empty() {
            return vec![Reason::PossibleRevocation];
        }

        // What outlives all of them, a number's change of hands included.
        let mut ended = restrictions;
        ended.extend(
            suppressions
                .iter()
                .filter(|(_, basis)| voids(*basis))
                .map(|(event, _)| *event),
        );
        let standing: Vec<_> = self
            .consents()
            .filter(|c| self.outlives(c, &ended))
            .collect();

        if class == MessageClass::OptOutConfirmation {
            // Permits are not granted yet.
            return vec![Reason::NoConsent];
        }
        if class == MessageClass::ConsentRequest {
            let pending = standing.iter().any(|c| {
                c.is_act_of_the_person() && self.failing(c).contains(&Reason::ConfirmationPending)
            });
            let may = pending || self.window_is_open();
            return vec![if may {
                Reason::ConsentRequestPermitted
            } else {
                Reason::AskLimit
            }];
        }

        // SERVICE in an open window needs nothing else.
        if class == MessageClass::Service && self.window_is_open() {
            return vec![Reason::ServiceWindowOpen];
        }
        self.by_consent(&standing)
    }

    /// The steps 5 to 13, for what neither asks nor answers.
    fn by_consent(&self, standing: &[Consent<'_>]) -> Vec<Reason> {
        let class = self.case.class;

        // 5 to 8.
        let failing: Vec<Vec<Reason>> = standing.iter().map(|c| self.failing(c)).collect();
        let given = failing.iter().any(Vec::is_empty);
        let needs_grant = match class {
            MessageClass::Utility | MessageClass::Authentication => self.purpose.consent_required,
            _ => true,
        };
        if !given && needs_grant {
            // The grant that comes furthest in the order of the steps speaks for all.
            let furthest = failing.iter().map(|reasons| step(reasons[0])).max();
            let Some(furthest) = furthest else {
                return vec![Reason::NoConsent];
            };
            let first = failing.iter().map(|reasons| reasons[0]);
            return first.filter(|reason| step(*reason) == furthest).collect();
        }

        // 9. SERVICE outside the window.
        if class == MessageClass::Service {
            return vec![Reason::ServiceWindowClosed];
        }

        // 13.
        vec![if given {
            Reason::ConsentGiven
        } else {
            Reason::ConsentNotRequired
        }]
    }

    fn window_is_open(&self) -> bool {
        self.case
            .inbound
            .is_some_and(|last| self.case.at < last.plus(Duration::from_hours(24)))
    }

    /// Those that hold and cover the question.
    fn suppressions(&self) -> Vec<(&'a Event, SuppressionBasis)> {
        let case = self.case;
        let holding = case.events.iter().filter_map(|event| {
            let Act::Suppressed(suppression) = &event.act else {
                return None;
            };
            // An overlay over everything leaves nothing out.
            let covers = suppression.scope == Scope::Everything
                || scope_covers(&suppression.scope, self.purpose, case.class);
            // The business of these cases lets a stop at one number hold for all.
            let covers = covers
                && (suppression.basis == SuppressionBasis::PlatformStop
                    || sender_covers(suppression.sender_id.as_ref(), case.sender.as_ref()));
            let ended = suppression.until.is_some_and(|until| until <= case.at);
            let lifted = case.events.iter().any(|other| {
                let Act::SuppressionLifted(lift) = &other.act else {
                    return false;
                };
                let same_scope = match (&lift.scope, &suppression.scope) {
                    (Scope::Purposes(a), Scope::Purposes(_)) => a.contains(&self.purpose.key),
                    (a, b) => a == b,
                };
                lift.basis == suppression.basis
                    && lift.sender_id == suppression.sender_id
                    && same_scope
                    && other.effective_at() > event.effective_at()
            });
            (covers && !ended && !lifted).then_some((event, suppression.basis))
        });
        holding.collect()
    }

    /// Those that cover the question. Each counts, however old.
    fn restrictions(&self) -> Vec<&'a Event> {
        let case = self.case;
        let covering = case.events.iter().filter(|event| {
            let Act::Restricted(restriction) = &event.act else {
                return false;
            };
            // After a withdrawal of everything a later message of the person opens SERVICE again.
            let reopened = restriction.scope == Scope::Everything
                && case.class == MessageClass::Service
                && self.window_is_open()
                && case
                    .inbound
                    .is_some_and(|inbound| inbound > event.effective_at());
            scope_covers(&restriction.scope, self.purpose, case.class)
                && sender_covers(restriction.sender_id.as_ref(), case.sender.as_ref())
                && !reopened
        });
        covering.collect()
    }

    /// The consents that speak of the purpose, the sender and the spelling.
    fn consents(&self) -> impl Iterator<Item = Consent<'a>> {
        let case = self.case;
        let all: Vec<Consent<'a>> = case
            .events
            .iter()
            .flat_map(consents_in)
            .filter(|c| c.terms.purposes.contains(&case.purpose))
            .filter(|c| c.terms.sender_id.is_none() || c.terms.sender_id == case.sender)
            .filter(|c| twins(c.event.spelling, case.spelling))
            .collect();
        let shadowed = all.clone();
        all.into_iter()
            .filter(move |c| !shadowed.iter().any(|other| other.shadows(c)))
    }

    /// Whether the person consented anew after all of these.
    fn anew(&self, restrictions: &[&Event]) -> bool {
        self.consents().any(|c| self.outlives(&c, restrictions))
    }

    fn outlives(&self, consent: &Consent<'_>, restrictions: &[&Event]) -> bool {
        let asking = self.case.class == MessageClass::ConsentRequest;
        let settled = consent.confirmed || asking || !self.needs_confirmation(consent);
        restrictions.is_empty()
            || (settled
                && consent.is_act_of_the_person()
                && restrictions
                    .iter()
                    .all(|r| consent.later_than(r, self.case.rules.clock_tolerance)))
    }

    fn requirements(&self, consent: &Consent<'_>) -> Option<&'a Requirements> {
        self.case
            .rules
            .policy
            .requirements(consent.terms.jurisdiction.as_ref(), self.case.at)
    }

    fn needs_confirmation(&self, consent: &Consent<'_>) -> bool {
        self.purpose.confirmation_required
            || self
                .requirements(consent)
                .is_none_or(|r| r.confirmation == Confirmation::Required)
    }

    /// What a consent fails of the steps 6 to 8, in their order.
    fn failing(&self, consent: &Consent<'_>) -> Vec<Reason> {
        let at = self.case.at;
        let terms = consent.terms;
        let Some(required) = self.requirements(consent) else {
            return vec![Reason::EvidenceIncomplete];
        };
        let mut failing = Vec::new();
        if self.needs_confirmation(consent) && !consent.confirmed {
            let waiting = at < consent.at.plus(required.confirmation_within);
            failing.push(if waiting {
                Reason::ConfirmationPending
            } else {
                Reason::ConfirmationRequired
            });
        }
        let own_end = self
            .purpose
            .validity_seconds
            .map(|s| consent.at.plus(Duration::from_secs(s)));
        let implied = terms
            .implied
            .filter(|_| terms.consent_type == ConsentType::Implied);
        let implied_term = implied.and_then(|i| required.implied_validity.get(&i.basis));
        let legal_end = match (implied, implied_term) {
            (Some(implied), Some(term)) => Some(implied.basis_time.plus(*term)),
            (Some(_), None) => None,
            (None, _) => required.validity.map(|term| consent.at.plus(term)),
        };
        if own_end.is_some_and(|end| end <= at) || legal_end.is_some_and(|end| end <= at) {
            failing.push(Reason::Expired);
        }
        let current = |shown: &crate::domain::event::NoticeShown| {
            let notices = self.case.rules.catalog.notices.values();
            let newest = notices
                .filter(|notice| notice.name.notice_id == shown.notice.notice_id)
                .map(|notice| notice.processing_version)
                .max();
            newest == Some(shown.processing_version)
        };
        if terms.notice.as_ref().is_some_and(|shown| !current(shown)) {
            failing.push(Reason::NoticeOutdated);
        }
        let enough = terms.consent_type >= required.consent_type
            && self
                .purpose
                .accepted_consent_types
                .contains(&terms.consent_type)
            && evidence_of(terms).missing(required.evidence).is_empty()
            && (implied.is_none() || implied_term.is_some());
        if !enough {
            failing.push(Reason::EvidenceIncomplete);
        }
        failing
    }
}

/// These say that the number's holder changed: what the old one consented to is void.
fn voids(basis: SuppressionBasis) -> bool {
    matches!(
        basis,
        SuppressionBasis::ReassignedNumber
            | SuppressionBasis::WrongNumber
            | SuppressionBasis::PossibleRevocation
    )
}

fn twins(given: Spelling, asked: Spelling) -> bool {
    let mexico = [Spelling::Mexico52, Spelling::Mexico521];
    let brazil = [Spelling::Brazil8, Spelling::Brazil9];
    given == asked
        || (mexico.contains(&given) && mexico.contains(&asked))
        || (brazil.contains(&given) && brazil.contains(&asked))
}

fn step(reason: Reason) -> u8 {
    match reason {
        Reason::ConfirmationPending | Reason::ConfirmationRequired => 6,
        Reason::Expired => 7,
        _ => 8,
    }
}
