//! The decision: may this message be sent to this person, at this instant, under these rules?
//!
//! A pure function of facts, activity, rules, question and instant. All failing steps are
//! collected; the first in the order of the steps below decides. The steps and their order are the
//! specification; where it leaves a choice, the stricter is taken and `ARCHITECTURE.md` says so.
//!
//! A restriction covers a question by its scope. It is overcome only by one grant that is an act of
//! the person (not implied, not imported), confirmed where that is required, and later than it.

use std::time::Duration;

use super::address::Spelling;
use super::catalog::Purpose;
use super::facts::{Coverage, Facts, Grant, Mark, Restricted, Suppressed};
use super::id::{EventId, SenderId};
use super::policy::{Confirmation, Requirements};
use super::rules::Rules;
use super::time::Timestamp;
use super::vocabulary::{ConsentType, Decision, MessageClass, Reason, SuppressionBasis};

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
        for suppressed in &self.facts.suppressions {
            let Some((since, until)) = suppressed.since else {
                continue;
            };
            if suppressed.holds(self.at) && self.suppression_covers(suppressed, &since) {
                let reason = match suppressed.basis {
                    SuppressionBasis::PlatformStop => Reason::PlatformStopped,
                    _ => Reason::Suppressed,
                };
                failing.push(reason, Some(since.event_id));
                failing.until = sooner(failing.until, until);
            }
        }
    }

    /// A reassigned or wrong number voids what was consented to before, not what its new holder
    /// consents to; every other suppression outweighs all grants.
    fn suppression_covers(&self, suppressed: &Suppressed, since: &Mark) -> bool {
        let covers = match &suppressed.coverage {
            Coverage::Everything => self.covers_sender(suppressed.sender.as_ref()),
            coverage => self.covers(coverage, suppressed.sender.as_ref(), since),
        };
        let voids_only = matches!(
            suppressed.basis,
            SuppressionBasis::ReassignedNumber | SuppressionBasis::WrongNumber
        );
        covers && !(voids_only && self.grants().any(|grant| self.outlives(grant, since)))
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
            case.covers(
                &restricted.coverage,
                restricted.sender.as_ref(),
                &restricted.mark,
            )
        })
    }

    fn overcomes_all(&self, grant: &Grant, restrictions: &[&Restricted]) -> bool {
        restrictions
            .iter()
            .all(|restricted| self.outlives(grant, &restricted.mark))
    }

    /// Whether a grant is an act of the person that came after a restriction. To ask for the
    /// confirmation of a new request the request itself is enough.
    fn outlives(&self, grant: &Grant, restriction: &Mark) -> bool {
        let settled = self.question.class == MessageClass::ConsentRequest
            || grant.confirmed_at.is_some()
            || !self.needs_confirmation(grant);
        settled
            && grant.is_genuine_act()
            && later(&grant.mark, restriction, self.rules.clock_tolerance)
    }

    fn covers_sender(&self, restricted: Option<&SenderId>) -> bool {
        match (restricted, self.question.sender) {
            (Some(restricted), Some(asked)) => restricted == asked,
            // Without a sender every sender's opt-out counts.
            (None, _) | (_, None) => true,
        }
    }

    /// Whether a scope covers what is asked. After an opt-out of everything SERVICE is free again
    /// in a window that the person opened later.
    fn covers(&self, coverage: &Coverage, sender: Option<&SenderId>, mark: &Mark) -> bool {
        let purpose = self.question.purpose;
        let in_scope = match (coverage, self.question.class) {
            (Coverage::Purpose(key), _) => *key == purpose.key,
            (
                Coverage::AllMarketing,
                MessageClass::Marketing | MessageClass::OptOutConfirmation,
            ) => true,
            (Coverage::AllMarketing, MessageClass::ConsentRequest) => {
                purpose.message_class == MessageClass::Marketing
            }
            (
                Coverage::AllMarketing,
                MessageClass::Utility | MessageClass::Authentication | MessageClass::Service,
            ) => false,
            (Coverage::Everything, MessageClass::Authentication) => !purpose.requested_by_recipient,
            (
                Coverage::Everything,
                MessageClass::Marketing
                | MessageClass::Utility
                | MessageClass::Service
                | MessageClass::ConsentRequest
                | MessageClass::OptOutConfirmation,
            ) => true,
        };
        let reopened = self.question.class == MessageClass::Service
            && self.activity.window_is_open(self.at)
            && self
                .activity
                .last_inbound
                .is_some_and(|inbound| inbound > mark.at);
        in_scope && self.covers_sender(sender) && !reopened
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

    fn steps_5_to_8_grant(&self, failing: &mut Failing) -> Option<Carrier> {
        let best = self.best_grant();
        let needs_grant = match self.question.class {
            MessageClass::Marketing => true,
            MessageClass::Utility | MessageClass::Authentication => {
                self.question.purpose.consent_required
            }
            MessageClass::Service => !self.activity.window_is_open(self.at),
            MessageClass::ConsentRequest | MessageClass::OptOutConfirmation => false,
        };
        if let Some(best) = &best
            && best.failing.is_empty()
            && failing.reasons.is_empty()
            && self.question.class != MessageClass::Service
        {
            let event = Some(best.grant.mark.event_id);
            return Some(Carrier {
                reason: Reason::ConsentGiven,
                event,
                until: best.expires_at,
            });
        }
        if !needs_grant {
            return Some(match self.question.class {
                MessageClass::Service => Carrier {
                    reason: Reason::ServiceWindowOpen,
                    event: None,
                    until: self.activity.window_end(),
                },
                _ => Carrier {
                    reason: Reason::ConsentNotRequired,
                    event: None,
                    until: None,
                },
            });
        }
        match best {
            None => failing.push(Reason::NoConsent, None),
            Some(best) => {
                for reason in best.failing {
                    failing.push(reason, Some(best.grant.mark.event_id));
                }
            }
        }
        None
    }

    /// The grant that fails latest in the order of the steps; of equals the strongest, then the
    /// latest. One that overcomes the restrictions comes before one that does not.
    fn best_grant(&self) -> Option<Judged<'a>> {
        let covering: Vec<&Restricted> = self.covering_restrictions().collect();
        self.grants()
            .map(|grant| (self.overcomes_all(grant, &covering), self.judge(grant)))
            .max_by_key(|(stands, judged)| {
                let first_failing = judged
                    .failing
                    .first()
                    .map_or(u8::MAX, |reason| reason.code());
                let grant = judged.grant;
                (
                    *stands,
                    first_failing,
                    grant.consent_type,
                    !grant.import,
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
            let within = self
                .rules
                .requirements(grant.jurisdiction.as_ref(), self.at)
                .map(|requirements| grant.mark.at.plus(requirements.confirmation_within));
            return permitted(Some(grant.mark.event_id), within);
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
            (None, Some(carrier)) => Verdict::allow(carrier.reason, carrier.event, carrier.until),
            // Nothing fails and nothing carries: no rule allows this.
            (None, None) => Verdict {
                decision: Decision::Deny,
                reasons: vec![Reason::NoConsent],
                not_before: None,
                rests_on: None,
                holds_until: None,
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
pub(super) struct Judged<'a> {
    pub grant: &'a Grant,
    pub failing: Vec<Reason>,
    pub expires_at: Option<Timestamp>,
}

pub(super) fn judge<'a>(
    grant: &'a Grant,
    rules: &Rules,
    purpose: &Purpose,
    at: Timestamp,
) -> Judged<'a> {
    let mut failing = Vec::new();
    let Some(requirements) = rules.requirements(grant.jurisdiction.as_ref(), at) else {
        // A missing rule never allows.
        return Judged {
            grant,
            failing: vec![Reason::EvidenceIncomplete],
            expires_at: None,
        };
    };
    if grant.confirmed_at.is_none() && needs_confirmation(Some(requirements), purpose) {
        let ends = grant.mark.at.plus(requirements.confirmation_within);
        failing.push(if at < ends {
            Reason::ConfirmationPending
        } else {
            Reason::ConfirmationRequired
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
    Judged {
        grant,
        failing,
        expires_at,
    }
}

pub(super) fn needs_confirmation(requirements: Option<&Requirements>, purpose: &Purpose) -> bool {
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

/// Whether a grant is later than a restriction: strictly, and by more than the tolerance where the
/// two times come from different clocks.
pub(super) fn later(grant: &Mark, restriction: &Mark, tolerance: Duration) -> bool {
    if grant.source == restriction.source {
        grant.at > restriction.at
    } else {
        grant.at > restriction.at.plus(tolerance)
    }
}

fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
