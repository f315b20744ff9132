//! A naive model of the decision: the steps of the rules, scanned over the list of events.
//!
//! Written from the rules of consent and not from `decide`, without facts, folds or slots, so that a
//! mistake in one is not repeated in the other. It answers which reasons may decide at one instant;
//! where the rules do not say which of several comes first, each of them may. It does not say how
//! long an answer holds, which event carries it, nor when a deferred message will be allowed: it can
//! be asked again at another instant.
//!
//! [`reading`] makes lists of events, [`consent`] has the steps 5 to 9, [`timing`] 10 to 12.

mod consent;
mod reading;
mod timing;

use std::time::Duration;

use self::reading::{Consent, History, LookUp, Overlay, Stop, Time};
use super::cases::Case;
use crate::domain::catalog::{OptOutScope, Purpose};
use crate::domain::event::Scope;
use crate::domain::id::SenderId;
use crate::domain::policy::RegistryKind;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, FailureKind, MessageClass, Reason, SuppressionBasis};

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

/// The model of one case. It can be asked at any instant.
pub(super) struct Model<'a> {
    case: &'a Case,
    history: History,
}

impl<'a> Model<'a> {
    pub(super) fn of(case: &'a Case) -> Self {
        Self {
            case,
            history: History::of(&case.events),
        }
    }

    /// Which reasons may decide at this instant.
    pub(super) fn deciding(&self, at: Timestamp) -> Vec<Reason> {
        let now = Now {
            case: self.case,
            history: &self.history,
            purpose: self.case.purpose(),
            at,
        };
        now.deciding()
    }

    pub(super) fn allows(&self, at: Timestamp) -> bool {
        let reasons = self.deciding(at);
        reasons.iter().any(|r| r.decision() == Decision::Allow)
    }
}

/// What allows, unless the place, the hour or the count of messages forbid it.
struct Carrier<'a> {
    reason: Reason,
    consent: Option<&'a Consent>,
}

/// Everything that a step may have to say: it lets through, or one of these reasons decides.
type Step<T> = Result<T, Vec<Reason>>;

#[derive(Clone, Copy)]
struct Now<'a> {
    case: &'a Case,
    history: &'a History,
    purpose: &'a Purpose,
    at: Timestamp,
}

fn unless(reasons: Vec<Reason>) -> Step<()> {
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(reasons),
    }
}

impl<'a> Now<'a> {
    fn deciding(&self) -> Vec<Reason> {
        match self.carriers() {
            Err(reasons) => reasons,
            Ok(carriers) => carriers
                .iter()
                .flat_map(|carrier| self.timed(carrier))
                .collect(),
        }
    }

    /// The steps 1 to 10. Where several consents might carry the message, each of them may.
    fn carriers(&self) -> Step<Vec<Carrier<'a>>> {
        unless(self.held())?;
        unless(self.suppressed())?;
        unless(self.restricted())?;
        unless(self.possibly_revoked())?;
        let doubts = self.doubts();
        let doubtful = !doubts.is_empty() && !self.anew(&doubts);
        unless(if doubtful {
            vec![Reason::IdentityUnverified]
        } else {
            Vec::new()
        })?;
        // One consent has to come after all that ended earlier ones.
        let ended = self.ended();
        let consents = self.consents().into_iter();
        let standing: Vec<&Consent> = consents.filter(|c| self.outlives(c, &ended)).collect();
        if !ended.is_empty() && standing.is_empty() {
            return Err(vec![Reason::NoConsent]);
        }
        let carriers = match self.case.class {
            MessageClass::OptOutConfirmation => self.opt_out_confirmation(),
            MessageClass::ConsentRequest => self.ask(&standing),
            // SERVICE in an open window needs nothing else.
            MessageClass::Service if self.window_is_open() => Ok(vec![Carrier {
                reason: Reason::ServiceWindowOpen,
                consent: None,
            }]),
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::Service => self.by_consent(&standing),
        }?;
        unless(self.undeliverable())?;
        Ok(carriers)
    }

    /// Step 1.
    fn held(&self) -> Vec<Reason> {
        let senders = &self.case.rules.catalog.senders;
        let held = self.case.sender.as_ref().is_some_and(|id| senders[id].held);
        if held {
            vec![Reason::SenderHeld]
        } else {
            Vec::new()
        }
    }

    /// Step 2.
    fn suppressed(&self) -> Vec<Reason> {
        let overlays = self.overlays().into_iter();
        let counting = overlays.filter(|overlay| {
            overlay.basis != SuppressionBasis::PossibleRevocation
                && !(voids(overlay.basis) && self.anew(&[overlay.time]))
        });
        let listed = self.listings().into_iter().filter(|listed| {
            let [wants_none, changed_hands] = self.says(listed);
            (wants_none && self.is_marketing()) || (changed_hands && !self.anew(&[listed.time]))
        });
        let reasons = counting.map(|overlay| match overlay.basis {
            SuppressionBasis::PlatformStop => Reason::PlatformStopped,
            _ => Reason::Suppressed,
        });
        reasons.chain(listed.map(|_| Reason::Suppressed)).collect()
    }

    /// Step 3; the state is that of the latest.
    fn restricted(&self) -> Vec<Reason> {
        let stops = self.stops();
        let times: Vec<Time> = stops.iter().map(|stop| stop.time).collect();
        if stops.is_empty() || self.anew(&times) {
            return Vec::new();
        }
        let latest = stops.iter().map(|stop| stop.time.at).max();
        let deciding = stops.iter().filter(|stop| Some(stop.time.at) == latest);
        deciding.map(|stop| stop.kind.into()).collect()
    }

    fn possibly_revoked(&self) -> Vec<Reason> {
        let overlays = self.overlays();
        let open = overlays.iter().any(|overlay| {
            overlay.basis == SuppressionBasis::PossibleRevocation && !self.anew(&[overlay.time])
        });
        if open {
            vec![Reason::PossibleRevocation]
        } else {
            Vec::new()
        }
    }

    /// Suppressions that hold and cover the question.
    fn overlays(&self) -> Vec<&'a Overlay> {
        let case = self.case;
        let overlays = self.history.overlays.iter();
        let holding = overlays.filter(|overlay| {
            // An overlay over everything leaves nothing out.
            let covers = overlay.scope == Scope::Everything
                || scope_covers(&overlay.scope, self.purpose, case.class);
            // What WhatsApp's stop at one number means for the others is the business's setting.
            let for_all = overlay.basis == SuppressionBasis::PlatformStop
                && matches!(
                    case.rules.catalog.business.opt_out_scope,
                    OptOutScope::BusinessMarketing | OptOutScope::BusinessEverything
                );
            let covers =
                covers && (for_all || sender_covers(overlay.sender.as_ref(), case.sender.as_ref()));
            let ended = overlay.until.is_some_and(|until| until <= self.at);
            let lifted = self.history.lifts.iter().any(|lift| {
                (lift.basis, &lift.scope, &lift.sender)
                    == (overlay.basis, &overlay.scope, &overlay.sender)
                    && lift.time.is_later_than(&overlay.time, self.tolerance())
            });
            let by_the_person = matches!(
                overlay.basis,
                SuppressionBasis::Objection
                    | SuppressionBasis::Complaint
                    | SuppressionBasis::PlatformStop
                    | SuppressionBasis::PossibleRevocation
            );
            let overlooked = by_the_person && self.is_confirmed_by(&overlay.time);
            covers && !ended && !lifted && !overlooked
        });
        holding.collect()
    }

    /// Whether its registry lists who wants no marketing, and whether it lists numbers that changed
    /// hands. One that no rule names may be either.
    fn says(&self, listed: &LookUp) -> [bool; 2] {
        let entries = self.case.rules.policy.jurisdictions().values().flatten();
        let rules = entries.flat_map(|entry| &entry.requirements.registries);
        let kinds: Vec<RegistryKind> = rules
            .filter(|rule| rule.registry == listed.registry)
            .map(|rule| rule.kind)
            .collect();
        [RegistryKind::DoNotContact, RegistryKind::ReassignedNumbers]
            .map(|kind| kinds.is_empty() || kinds.contains(&kind))
    }

    /// The look-ups that found the number listed, and no later one of the same registry did not.
    fn listings(&self) -> Vec<&'a LookUp> {
        let look_ups = &self.history.look_ups;
        let listed = look_ups.iter().filter(|found| found.listed);
        listed
            .filter(|found| {
                !look_ups.iter().any(|other| {
                    !other.listed
                        && other.registry == found.registry
                        && other.time.is_later_than(&found.time, self.tolerance())
                })
            })
            .collect()
    }

    fn is_marketing(&self) -> bool {
        scope_covers(&Scope::AllMarketing, self.purpose, self.case.class)
    }

    /// Restrictions that cover the question. Each counts, however old.
    fn stops(&self) -> Vec<&'a Stop> {
        let case = self.case;
        let stops = self.history.stops.iter();
        let covering = stops.filter(|stop| {
            // After a withdrawal of everything a later message of the person opens SERVICE again.
            let reopened = stop.scope == Scope::Everything
                && case.class == MessageClass::Service
                && self.window_is_open()
                && self.written().is_some_and(|inbound| inbound > stop.time.at);
            scope_covers(&stop.scope, self.purpose, case.class)
                && sender_covers(stop.sender.as_ref(), case.sender.as_ref())
                && !reopened
                && !(stop.is_by_the_person() && self.is_confirmed_by(&stop.time))
        });
        covering.collect()
    }

    /// When the person last wrote. Windows go with what was erased.
    fn written(&self) -> Option<Timestamp> {
        let erased = self.history.erasures.iter().map(|time| time.at).max();
        self.case.inbound.filter(|written| Some(*written) > erased)
    }

    fn window_is_open(&self) -> bool {
        let ends = self
            .written()
            .map(|last| last.plus(Duration::from_hours(24)));
        ends.is_some_and(|end| self.at < end)
    }

    /// "One for each restriction that took effect through a WhatsApp message to this very sender less
    /// than five minutes ago." What is known to the second is taken from its beginning.
    fn opt_out(&self) -> Option<&'a Stop> {
        let sender = self.case.sender.as_ref();
        let stops = &self.history.stops;
        let told = |stop: &Stop| {
            let micros = stop.time.at.as_micros();
            Timestamp::from_micros(micros - micros.rem_euclid(1_000_000))
        };
        let recent = stops.iter().filter(|stop| {
            sender.is_some()
                && stop.received_by.as_ref() == sender
                && stop.is_by_the_person()
                && told(stop) <= self.at
                && self.at < told(stop).plus(Duration::from_mins(5))
                && !stops.iter().any(|other| other.shadows(stop))
        });
        recent.max_by_key(|stop| stop.time.at)
    }

    /// Whether the question is to confirm an opt-out that came at this time or later.
    fn is_confirmed_by(&self, time: &Time) -> bool {
        self.case.class == MessageClass::OptOutConfirmation
            && self.opt_out().is_some_and(|stop| time.at <= stop.time.at)
    }

    fn opt_out_confirmation(&self) -> Step<Vec<Carrier<'a>>> {
        match self.opt_out() {
            None => Err(vec![Reason::NoConsent]),
            Some(_) => Ok(vec![Carrier {
                reason: Reason::OptOutConfirmationPermitted,
                consent: None,
            }]),
        }
    }

    /// The other addresses whose link stands: named after each of their ends, and after the person
    /// left this address.
    fn is_linked(&self, other: crate::domain::id::SubjectId) -> bool {
        let history = self.history;
        let own = history.endings.iter().filter(|(id, _)| *id == other);
        let mut ends = own.map(|(_, time)| time).chain(&history.departures);
        let last = ends.by_ref().map(|time| time.at).max();
        let named = history.namings.iter().filter(|(id, _, _)| *id == other);
        named.map(|(_, _, time)| time.at).max() > last
    }

    /// Step 4: "same number, other user id, no change notice", or other keys than were known. A SERVICE
    /// message answers whoever has the address now, if the window was opened by the message that
    /// named the other user id, or later.
    fn doubts(&self) -> Vec<Time> {
        let [conflicting, mismatched] = self.all_doubts();
        let answers = self.case.class == MessageClass::Service
            && self.window_is_open()
            && self.written().is_some_and(|inbound| {
                let of_its_second = inbound.end_of_second();
                conflicting.iter().all(|time| of_its_second >= time.at)
                    && mismatched.iter().all(|time| inbound > time.at)
            });
        match answers {
            true => Vec::new(),
            false => conflicting.into_iter().chain(mismatched).collect(),
        }
    }

    /// Every naming of two addresses of one kind that both stand, and every mismatch of keys.
    fn all_doubts(&self) -> [Vec<Time>; 2] {
        let history = self.history;
        let standing = history
            .namings
            .iter()
            .filter(|(other, _, _)| self.is_linked(*other));
        let named: Vec<_> = standing.collect();
        let conflicting = named.iter().filter(|(other, kind, _)| {
            let mut others = named.iter();
            others.any(|(another, same, _)| another != other && same == kind)
        });
        let mismatched = history
            .failures
            .iter()
            .filter(|(kind, _)| *kind == FailureKind::IdentityMismatch);
        [
            conflicting.map(|(_, _, time)| *time).collect(),
            mismatched.map(|(_, time)| *time).collect(),
        ]
    }

    /// What a consent must come after to count.
    fn ended(&self) -> Vec<Time> {
        let overlays = self.overlays().into_iter();
        let voiding = overlays.filter(|overlay| voids(overlay.basis));
        let listings = self.listings().into_iter();
        let reassigned = listings.filter(|listed| self.says(listed)[1]);
        let stops = self.stops().into_iter();
        stops
            .map(|stop| stop.time)
            .chain(voiding.map(|overlay| overlay.time))
            .chain(reassigned.map(|listed| listed.time))
            .chain(self.doubts())
            .chain(self.erasures())
            .collect()
    }

    /// What was erased is gone; whoever writes again afterwards may be answered.
    fn erasures(&self) -> Vec<Time> {
        let answers = |time: &Time| {
            self.case.class == MessageClass::Service
                && self.window_is_open()
                && self.written().is_some_and(|inbound| inbound > time.at)
        };
        let erasures = self.history.erasures.iter().copied();
        erasures.filter(|time| !answers(time)).collect()
    }

    fn tolerance(&self) -> Duration {
        self.case.rules.clock_tolerance
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
