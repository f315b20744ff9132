//! The decision: may this message be sent to this person, at this instant, under these rules?
//!
//! A pure function of facts, activity, rules, question and instant. All failing steps are
//! collected; the first in the order of the steps below decides. The steps and their order are the
//! specification; where it leaves a choice, the stricter is taken and `ARCHITECTURE.md` says so.
//!
//! A restriction covers a question by its scope. It is overcome only by one grant that is an act of
//! the person (not implied, not imported), confirmed where that is required, and later than it.

use std::time::Duration;

use crate::domain::address::Spelling;
use crate::domain::catalog::Purpose;
use crate::domain::facts::{Coverage, Facts, Grant, Mark, Restricted, Suppressed};
use crate::domain::id::{EventId, SenderId};
use crate::domain::policy::{Confirmation, Requirements};
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, Decision, MessageClass, Reason, SuppressionBasis};

/// What is asked: one message to one address.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub purpose: &'a Purpose,
    /// The class that holds after purpose and template have had their say.
    pub class: MessageClass,
    /// The sender's own id, aliases resolved.
    pub sender: Option<&'a SenderId>,
    pub spelling: Spelling,
}

/// What happened lately and proves nothing: kept apart from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// The person's last message or call to the asked sender that opened the service window.
    pub last_inbound: Option<Timestamp>,
}

/// A message of the person opens the customer service window for this long (WhatsApp: "24 hours").
pub const SERVICE_WINDOW: Duration = Duration::from_hours(24);

impl Activity {
    fn window_end(&self) -> Option<Timestamp> {
        self.last_inbound.map(|at| at.plus(SERVICE_WINDOW))
    }

    fn window_is_open(&self, at: Timestamp) -> bool {
        self.window_end().is_some_and(|end| at < end)
    }
}

/// A decision with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    /// Never empty; the decisive one first.
    pub reasons: Vec<Reason>,
    /// The first instant at which a deferred message would be allowed.
    pub not_before: Option<Timestamp>,
    /// The event that the answer rests on.
    pub rests_on: Option<EventId>,
    /// The first instant at which the same facts might answer otherwise.
    pub holds_until: Option<Timestamp>,
}

impl Verdict {
    fn allow(reason: Reason, rests_on: Option<EventId>, holds_until: Option<Timestamp>) -> Self {
        debug_assert_eq!(reason.decision(), Decision::Allow);
        Self {
            decision: Decision::Allow,
            reasons: vec![reason],
            not_before: None,
            rests_on,
            holds_until,
        }
    }
}

/// Decides by the thirteen steps. A step whose facts nothing records yet is named where it belongs.
pub fn decide(
    facts: &Facts,
    activity: &Activity,
    rules: &Rules,
    question: &Question<'_>,
    at: Timestamp,
) -> Verdict {
    let case = Case {
        facts,
        activity,
        rules,
        question,
        at,
    };
    let mut failing = Failing::default();

    case.step_1_sender_held(&mut failing);
    case.step_2_suppressions(&mut failing);
    case.step_3_restrictions(&mut failing);
    // Step 4, identity in doubt, follows with the reports that raise the doubt.
    let carrier = match question.class {
        MessageClass::ConsentRequest => case.ask(&mut failing),
        MessageClass::OptOutConfirmation => case.opt_out_confirmation(&mut failing),
        MessageClass::Marketing
        | MessageClass::Utility
        | MessageClass::Authentication
        | MessageClass::Service => {
            let carrier = case.steps_5_to_8_grant(&mut failing);
            case.step_9_service_window(&mut failing);
            carrier
        }
    };
    case.some_rule_holds(&mut failing);
    // Steps 10 to 12 (platform prohibition, quiet hours, frequency caps) follow with their data.
    case.step_13_verdict(failing, carrier)
}

/// The reasons that failed so far, in the order of their steps.
#[derive(Default)]
struct Failing {
    reasons: Vec<Reason>,
    rests_on: Option<EventId>,
    /// When the earliest of them might end by itself.
    until: Option<Timestamp>,
}

impl Failing {
    fn push(&mut self, reason: Reason, rests_on: Option<EventId>) {
        debug_assert_ne!(reason.decision(), Decision::Allow);
        if self.reasons.is_empty() {
            self.rests_on = rests_on;
        }
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// What allows, if nothing fails.
struct Carrier {
    reason: Reason,
    event: Option<EventId>,
    until: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Case<'a> {
    facts: &'a Facts,
    activity: &'a Activity,
    rules: &'a Rules,
    question: &'a Question<'a>,
    at: Timestamp,
}

impl<'a> Case<'a> {
    fn step_1_sender_held(&self, failing: &mut Failing) {
        let sender = self
            .question
            .sender
            .and_then(|id| self.rules.catalog.sender(id));
        if sender.is_some_and(|sender| sender.held) {
            failing.push(Reason::SenderHeld, None);
        }
    }

    fn step_2_suppressions(&self, failing: &mut Failing) {
        for suppressed in self.covering_suppressions() {
            let voided = voids_only(suppressed.basis);
            if voided
                && self
                    .grants()
                    .any(|grant| self.outlives(grant, &suppressed.mark))
            {
                continue;
            }
            let reason = match suppressed.basis {
                SuppressionBasis::PlatformStop => Reason::PlatformStopped,
                _ => Reason::Suppressed,
            };
            failing.push(reason, Some(suppressed.mark.event_id));
            failing.until = sooner(failing.until, suppressed.until);
        }
    }

    fn covering_suppressions(&self) -> impl Iterator<Item = &'a Suppressed> + use<'a> {
        let case = *self;
        self.facts
            .suppressions_at(self.at, self.rules.clock_tolerance)
            .filter(move |suppressed| {
                // Nothing is exempt from a suppression of everything, nor reopened by a message.
                let in_scope = suppressed.coverage == Coverage::Everything
                    || case.in_scope(&suppressed.coverage);
                in_scope && case.covers_sender(suppressed.sender.as_ref())
            })
    }

    fn step_3_restrictions(&self, failing: &mut Failing) {
        let mut covering: Vec<&Restricted> = self.covering_restrictions().collect();
        if covering.is_empty()
            || self
                .grants()
                .any(|grant| self.overcomes_all(grant, &covering))
        {
            return;
        }
        covering.sort_by_key(|restricted| std::cmp::Reverse((restricted.mark.at, restricted.kind)));
        for restricted in covering {
            failing.push(restricted.kind.into(), Some(restricted.mark.event_id));
        }
    }

    fn covering_restrictions(&self) -> impl Iterator<Item = &'a Restricted> + use<'a> {
        let case = *self;
        self.facts.restrictions.iter().filter(move |restricted| {
            case.in_scope(&restricted.coverage)
                && case.covers_sender(restricted.sender.as_ref())
                && !case.is_reopened(restricted)
        })
    }

    fn overcomes_all(&self, grant: &Grant, restrictions: &[&Restricted]) -> bool {
        restrictions
            .iter()
            .all(|restricted| self.outlives(grant, &restricted.mark))
    }

    /// Whether a grant is an act of the person that came after a restriction, and is settled: to ask
    /// for the confirmation of a new request the request itself is enough; a message that needs no
    /// grant is let through again only by one that holds in every other way, too.
    fn outlives(&self, grant: &Grant, restriction: &Mark) -> bool {
        let settled = || match self.question.class {
            MessageClass::ConsentRequest => true,
            _ if self.needs_grant() => {
                grant.confirmed_at.is_some() || !self.needs_confirmation(grant)
            }
            _ => self.judge(grant).failing.is_empty(),
        };
        grant.is_genuine_act()
            && grant
                .mark
                .is_later_than(restriction, self.rules.clock_tolerance)
            && settled()
    }

    /// After an opt-out of everything SERVICE is free again in a window that the person opened later.
    fn is_reopened(&self, restricted: &Restricted) -> bool {
        restricted.coverage == Coverage::Everything
            && self.question.class == MessageClass::Service
            && self.activity.window_is_open(self.at)
            && self
                .activity
                .last_inbound
                .is_some_and(|inbound| inbound > restricted.mark.at)
    }

    fn covers_sender(&self, restricted: Option<&SenderId>) -> bool {
        match (restricted, self.question.sender) {
            (Some(restricted), Some(asked)) => restricted == asked,
            // Without a sender every sender's opt-out counts.
            (None, _) | (_, None) => true,
        }
    }

    /// Whether a scope holds what is asked.
    fn in_scope(&self, coverage: &Coverage) -> bool {
        use MessageClass as C;
        let purpose = self.question.purpose;
        match (coverage, self.question.class) {
            (Coverage::Purpose(key), _) => *key == purpose.key,
            (Coverage::AllMarketing, C::Marketing | C::OptOutConfirmation) => true,
            (Coverage::AllMarketing, C::ConsentRequest) => purpose.message_class == C::Marketing,
            (Coverage::AllMarketing, C::Utility | C::Authentication | C::Service) => false,
            (Coverage::Everything, C::Authentication) => !purpose.requested_by_recipient,
            (
                Coverage::Everything,
                C::Marketing | C::Utility | C::Service | C::ConsentRequest | C::OptOutConfirmation,
            ) => true,
        }
    }

    /// The grants that speak of this purpose, sender and address.
    fn grants(&self) -> impl Iterator<Item = &'a Grant> + use<'a> {
        let question = self.question;
        self.facts.grants.iter().filter(move |grant| {
            grant.purpose == question.purpose.key
                && grant.spelling.grants(question.spelling)
                && grant
                    .sender
                    .as_ref()
                    .is_none_or(|narrowed| Some(narrowed) == question.sender)
        })
    }

    /// Whether the class needs a grant: steps 5 to 8 apply only where it does.
    fn needs_grant(&self) -> bool {
        match self.question.class {
            MessageClass::Marketing => true,
            MessageClass::Utility | MessageClass::Authentication => {
                self.question.purpose.consent_required
            }
            MessageClass::Service => !self.activity.window_is_open(self.at),
            MessageClass::ConsentRequest | MessageClass::OptOutConfirmation => false,
        }
    }

    fn steps_5_to_8_grant(&self, failing: &mut Failing) -> Option<Carrier> {
        let best = self.best_grant();
        let service = self.question.class == MessageClass::Service;
        if let Some(best) = best
            .as_ref()
            .filter(|best| best.failing.is_empty() && !service)
        {
            let event = Some(best.grant.mark.event_id);
            return Some(Carrier {
                reason: Reason::ConsentGiven,
                event,
                until: best.holds_until,
            });
        }
        if !self.needs_grant() {
            let (reason, until) = match service {
                true => (Reason::ServiceWindowOpen, self.activity.window_end()),
                false => (Reason::ConsentNotRequired, None),
            };
            return Some(Carrier {
                reason,
                event: None,
                until,
            });
        }
        match best {
            None => failing.push(Reason::NoConsent, None),
            Some(best) => {
                for reason in best.failing {
                    failing.push(reason, Some(best.grant.mark.event_id));
                }
                failing.until = sooner(failing.until, best.holds_until);
            }
        }
        None
    }

    /// The grant that fails latest in the order of the steps; of equals an act of the person before
    /// an import, then the strongest, then the latest. One that stands against every restriction
    /// comes before one that does not: what was voided carries nothing.
    fn best_grant(&self) -> Option<Judged<'a>> {
        let restrictions: Vec<&Mark> = self
            .covering_restrictions()
            .map(|restricted| &restricted.mark)
            .collect();
        let voiding: Vec<&Mark> = self
            .covering_suppressions()
            .filter(|suppressed| voids_only(suppressed.basis))
            .map(|suppressed| &suppressed.mark)
            .collect();
        self.grants()
            .map(|grant| {
                let mut marks = restrictions.iter().chain(&voiding);
                (
                    marks.all(|mark| self.outlives(grant, mark)),
                    self.judge(grant),
                )
            })
            .max_by_key(|(stands, judged)| {
                let first_failing = judged
                    .failing
                    .first()
                    .map_or(u8::MAX, |reason| reason.code());
                let grant = judged.grant;
                (
                    *stands,
                    first_failing,
                    !grant.import,
                    grant.consent_type,
                    grant.mark.at,
                )
            })
            .map(|(_, judged)| judged)
    }

    fn judge(&self, grant: &'a Grant) -> Judged<'a> {
        judge(grant, self.rules, self.question.purpose, self.at)
    }

    fn needs_confirmation(&self, grant: &Grant) -> bool {
        let requirements = self
            .rules
            .requirements(grant.jurisdiction.as_ref(), self.at);
        needs_confirmation(requirements, self.question.purpose)
    }

    /// Where no entry of the policy holds at all, nothing can be allowed: not even what needs no
    /// consent, since whether it needs one is a rule, too.
    fn some_rule_holds(&self, failing: &mut Failing) {
        if self.rules.requirements(None, self.at).is_none() {
            failing.push(Reason::EvidenceIncomplete, None);
        }
        failing.until = sooner(failing.until, self.rules.next_change(None, self.at));
    }

    fn step_9_service_window(&self, failing: &mut Failing) {
        if self.question.class == MessageClass::Service && !self.activity.window_is_open(self.at) {
            failing.push(Reason::ServiceWindowClosed, None);
        }
    }

    /// Asking is allowed while a confirmation is pending that the person began, and in a window
    /// that the person opened. Further asks follow with the policy's limits: until then none.
    fn ask(&self, failing: &mut Failing) -> Option<Carrier> {
        let pending = self.grants().find(|grant| {
            grant.is_genuine_act()
                && self
                    .covering_restrictions()
                    .all(|restricted| self.outlives(grant, &restricted.mark))
                && self.judge(grant).failing.first() == Some(&Reason::ConfirmationPending)
        });
        let permitted = |event, until| {
            Some(Carrier {
                reason: Reason::ConsentRequestPermitted,
                event,
                until,
            })
        };
        if let Some(grant) = pending {
            return permitted(Some(grant.mark.event_id), self.judge(grant).holds_until);
        }
        if self.activity.window_is_open(self.at) {
            return permitted(None, self.activity.window_end());
        }
        failing.push(Reason::AskLimit, None);
        None
    }

    /// Permits are granted to opt-outs that arrive as messages; until those are reported there is
    /// none, so the opt-out itself is the reason, or that there is nothing to confirm.
    fn opt_out_confirmation(&self, failing: &mut Failing) -> Option<Carrier> {
        if failing.reasons.is_empty() {
            failing.push(Reason::NoConsent, None);
        }
        None
    }

    fn step_13_verdict(&self, failing: Failing, carrier: Option<Carrier>) -> Verdict {
        match (failing.reasons.first(), carrier) {
            (None, Some(carrier)) => {
                let until = sooner(carrier.until, failing.until);
                Verdict::allow(carrier.reason, carrier.event, until)
            }
            // Nothing fails and nothing carries: no rule allows this.
            (None, None) => Verdict {
                decision: Decision::Deny,
                reasons: vec![Reason::NoConsent],
                not_before: None,
                rests_on: None,
                holds_until: failing.until,
            },
            (Some(first), _) => Verdict {
                decision: first.decision(),
                not_before: None,
                rests_on: failing.rests_on,
                holds_until: failing.until,
                reasons: failing.reasons,
            },
        }
    }
}

/// One grant with what it fails at an instant, in the order of the steps 6 to 8.
#[derive(Debug)]
pub(in crate::domain) struct Judged<'a> {
    pub grant: &'a Grant,
    pub failing: Vec<Reason>,
    pub expires_at: Option<Timestamp>,
    /// The first instant at which this judgement might change by itself.
    pub holds_until: Option<Timestamp>,
}

pub(in crate::domain) fn judge<'a>(
    grant: &'a Grant,
    rules: &Rules,
    purpose: &Purpose,
    at: Timestamp,
) -> Judged<'a> {
    let mut failing = Vec::new();
    let code = grant.jurisdiction.as_ref();
    let next_change = rules.next_change(code, at);
    let Some(requirements) = rules.requirements(code, at) else {
        // A missing rule never allows.
        failing.push(Reason::EvidenceIncomplete);
        return Judged {
            grant,
            failing,
            expires_at: None,
            holds_until: next_change,
        };
    };
    let mut pending_until = None;
    if grant.confirmed_at.is_none() && needs_confirmation(Some(requirements), purpose) {
        let ends = grant.mark.at.plus(requirements.confirmation_within);
        pending_until = Some(ends).filter(|end| at < *end);
        failing.push(match pending_until {
            Some(_) => Reason::ConfirmationPending,
            None => Reason::ConfirmationRequired,
        });
    }
    let expires_at = expires_at(grant, requirements, purpose);
    if expires_at.is_some_and(|end| at >= end) {
        failing.push(Reason::Expired);
    }
    if let Some(notice) = &grant.notice
        && rules.catalog.processing_version(&notice.notice_id) != Some(grant.processing_version)
    {
        failing.push(Reason::NoticeOutdated);
    }
    if !suffices(grant, requirements, purpose) {
        failing.push(Reason::EvidenceIncomplete);
    }
    let future_expiry = expires_at.filter(|end| at < *end);
    let holds_until = sooner(sooner(future_expiry, pending_until), next_change);
    Judged {
        grant,
        failing,
        expires_at,
        holds_until,
    }
}

/// A reassigned or wrong number voids what was consented to before, not what its new holder
/// consents to; every other suppression outweighs all grants.
fn voids_only(basis: SuppressionBasis) -> bool {
    match basis {
        SuppressionBasis::ReassignedNumber | SuppressionBasis::WrongNumber => true,
        SuppressionBasis::Objection
        | SuppressionBasis::PlatformStop
        | SuppressionBasis::NationalRegistry
        | SuppressionBasis::Complaint
        | SuppressionBasis::CourtOrder => false,
    }
}

fn needs_confirmation(requirements: Option<&Requirements>, purpose: &Purpose) -> bool {
    purpose.confirmation_required
        || requirements.is_none_or(|required| required.confirmation == Confirmation::Required)
}

/// When a grant ends by time alone.
fn expires_at(grant: &Grant, requirements: &Requirements, purpose: &Purpose) -> Option<Timestamp> {
    let own = purpose
        .validity()
        .map(|validity| grant.mark.at.plus(validity));
    let by_law = match grant.implied {
        Some(implied) if grant.consent_type == ConsentType::Implied => requirements
            .implied_validity
            .get(&implied.basis)
            .map(|validity| implied.basis_time.plus(*validity)),
        _ => requirements
            .validity
            .map(|validity| grant.mark.at.plus(validity)),
    };
    sooner(own, by_law)
}

/// Whether type and evidence are enough for the jurisdiction and the purpose.
fn suffices(grant: &Grant, requirements: &Requirements, purpose: &Purpose) -> bool {
    let basis_counts = grant.consent_type != ConsentType::Implied
        || grant
            .implied
            .is_some_and(|i| requirements.implied_validity.contains_key(&i.basis));
    basis_counts
        && grant.consent_type >= requirements.consent_type
        && purpose.accepted_consent_types.contains(&grant.consent_type)
        && grant.evidence.missing(requirements.evidence).is_empty()
}

fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests;
