//! Steps 5 to 9: what must carry a message, a consent of the person or a window that the person opened.

use super::{Carrier, Case, Failing, sooner};
use crate::domain::catalog::Purpose;
use crate::domain::facts::{Facts, Grant, Mark};
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{Confirmation, Holding, RegistryRule, Requirements};
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass, Reason, RegistryResult};

impl<'a> Case<'a> {
    /// The grants that speak of this purpose, sender and address.
    pub(super) fn grants(&self) -> impl Iterator<Item = &'a Grant> + use<'a> {
        let (question, facts) = (self.question, self.facts);
        let tolerance = self.rules.clock_tolerance;
        facts.grants.iter().filter(move |grant| {
            grant.purpose == question.purpose.key
                && grant.spelling.grants(question.spelling)
                && grant
                    .sender
                    .as_ref()
                    .is_none_or(|narrowed| Some(narrowed) == question.sender)
                && facts.speaks(grant, tolerance)
        })
    }

    /// Whether a grant is an act of the person that came after a restriction, and is settled: to ask
    /// for the confirmation of a new request the request itself is enough while it waits for that; a
    /// message that needs no grant is let through again only by one that holds in every other way, too.
    pub(super) fn outlives(&self, grant: &'a Grant, restriction: &Mark) -> bool {
        let confirmed = || grant.confirmed_at.is_some() || !self.needs_confirmation(grant);
        let settled = || match self.question.class {
            MessageClass::ConsentRequest => confirmed() || self.is_pending(grant),
            _ if self.needs_grant() => confirmed(),
            _ => self.judge(grant).failing.is_empty(),
        };
        grant.is_genuine_act()
            && grant
                .mark
                .is_later_than(restriction, self.rules.clock_tolerance)
            && settled()
    }

    /// Whether a grant still waits for its confirmation.
    pub(super) fn is_pending(&self, grant: &'a Grant) -> bool {
        self.judge(grant).failing.first() == Some(&Reason::ConfirmationPending)
            && !self.facts.is_confirmed(grant)
    }

    /// Whether the class needs a grant: steps 5 to 8 apply only where it does.
    pub(super) fn needs_grant(&self) -> bool {
        match self.question.class {
            MessageClass::Marketing => true,
            MessageClass::Utility | MessageClass::Authentication => {
                self.question.purpose.consent_required
            }
            MessageClass::Service => !self.window_is_open(),
            MessageClass::ConsentRequest | MessageClass::OptOutConfirmation => false,
        }
    }

    pub(super) fn steps_5_to_8_grant(&self, failing: &mut Failing) -> Option<Carrier<'a>> {
        let best = self.best_grant();
        let service = self.question.class == MessageClass::Service;
        if let Some(best) = best
            .as_ref()
            .filter(|best| best.failing.is_empty() && !service)
        {
            return Some(Carrier {
                reason: Reason::ConsentGiven,
                event: Some(best.grant.mark.event_id),
                until: best.holds_until,
                grant: Some(best.grant),
            });
        }
        if !self.needs_grant() {
            let (reason, until) = match service {
                true => (Reason::ServiceWindowOpen, self.window_end()),
                false => (Reason::ConsentNotRequired, None),
            };
            return Some(Carrier {
                reason,
                event: None,
                until,
                grant: None,
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
    pub(super) fn best_grant(&self) -> Option<Judged<'a>> {
        let voiding = self.voiding_marks();
        self.grants()
            .map(|grant| {
                let stands = voiding.iter().all(|mark| self.outlives(grant, mark));
                (stands, self.judge(grant))
            })
            .max_by_key(|(stands, judged)| (*stands, judged.rank()))
            .map(|(_, judged)| judged)
    }

    pub(super) fn judge(&self, grant: &'a Grant) -> Judged<'a> {
        judge(
            grant,
            &self.context(),
            self.question.purpose,
            self.question.class,
            self.at,
        )
    }

    pub(super) fn context(&self) -> Context<'a> {
        Context {
            facts: self.facts,
            rules: self.rules,
            candidates: &self.question.place.jurisdictions,
        }
    }

    /// What holds for a record: of the jurisdiction that it states, else of all where the number may be.
    pub(super) fn requirements(&self, grant: Option<&Grant>) -> Option<Holding<'a>> {
        self.context().requirements(grant, self.at)
    }

    pub(super) fn needs_confirmation(&self, grant: &Grant) -> bool {
        let requirements = self.requirements(Some(grant));
        needs_confirmation(requirements.as_deref(), self.question.purpose)
    }

    /// Where no entry of the policy holds at all, nothing can be allowed: not even what needs no
    /// consent, since whether it needs one is a rule, too.
    pub(super) fn some_rule_holds(&self, failing: &mut Failing) {
        if self.requirements(None).is_none() {
            failing.push(Reason::EvidenceIncomplete, None);
        }
        let next = self
            .rules
            .next_change(&self.question.place.jurisdictions, self.at);
        failing.until = sooner(failing.until, next);
    }

    pub(super) fn step_9_service_window(&self, failing: &mut Failing) {
        if self.question.class == MessageClass::Service && !self.window_is_open() {
            failing.push(Reason::ServiceWindowClosed, None);
        }
    }
}

/// By what a grant is judged, beside itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct Context<'a> {
    pub facts: &'a Facts,
    pub rules: &'a Rules,
    /// Where the number may be, for a grant that does not say where the person lives.
    pub candidates: &'a [JurisdictionCode],
}

impl<'a> Context<'a> {
    /// The codes that a grant is judged by: what it says itself beats the number's prefix.
    pub(super) fn codes<'c>(&'c self, grant: Option<&'c Grant>) -> &'c [JurisdictionCode] {
        match grant.and_then(|grant| grant.jurisdiction.as_ref()) {
            Some(code) => std::slice::from_ref(code),
            None => self.candidates,
        }
    }

    fn requirements(&self, grant: Option<&Grant>, at: Timestamp) -> Option<Holding<'a>> {
        self.rules.requirements_of(self.codes(grant), at)
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

impl Judged<'_> {
    /// Of several the greatest speaks: the one that fails latest in the order of the steps, an act of
    /// the person before an import, the strongest, the latest.
    pub(in crate::domain) fn rank(&self) -> (u8, bool, ConsentType, Timestamp) {
        let first = self.failing.first().map_or(u8::MAX, |reason| reason.code());
        let grant = self.grant;
        (first, !grant.import, grant.consent_type, grant.mark.at)
    }
}

pub(in crate::domain) fn judge<'a>(
    grant: &'a Grant,
    context: &Context<'_>,
    purpose: &Purpose,
    class: MessageClass,
    at: Timestamp,
) -> Judged<'a> {
    let mut failing = Vec::new();
    let rules = context.rules;
    let next_change = rules.next_change(context.codes(Some(grant)), at);
    let Some(requirements) = context.requirements(Some(grant), at) else {
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
    if grant.confirmed_at.is_none() && needs_confirmation(Some(&requirements), purpose) {
        let ends = grant.mark.at.plus(requirements.confirmation_within);
        pending_until = Some(ends).filter(|end| at < *end);
        failing.push(match pending_until {
            Some(_) => Reason::ConfirmationPending,
            None => Reason::ConfirmationRequired,
        });
    }
    let expires_at = expires_at(grant, &requirements, purpose);
    if expires_at.is_some_and(|end| at >= end) {
        failing.push(Reason::Expired);
    }
    if let Some(notice) = &grant.notice
        && rules.catalog.processing_version(&notice.notice_id) != Some(grant.processing_version)
    {
        failing.push(Reason::NoticeOutdated);
    }
    if !suffices(grant, &requirements, purpose) {
        failing.push(Reason::EvidenceIncomplete);
    }
    let registry_until = match class {
        MessageClass::Marketing => registries_hold_until(context.facts, &requirements, grant),
        MessageClass::Utility
        | MessageClass::Authentication
        | MessageClass::Service
        | MessageClass::ConsentRequest
        | MessageClass::OptOutConfirmation => None,
    };
    if registry_until.is_some_and(|end| at >= end) {
        failing.push(Reason::RegistryStale);
    }
    let future = |end: Option<Timestamp>| end.filter(|end| at < *end);
    let own = sooner(
        sooner(future(expires_at), pending_until),
        future(registry_until),
    );
    Judged {
        grant,
        failing,
        expires_at,
        holds_until: sooner(own, next_change),
    }
}

/// Until when every registry that must have been consulted lately has said that it does not list the
/// number; the epoch if one never did, `None` without end.
fn registries_hold_until(
    facts: &Facts,
    requirements: &Requirements,
    grant: &Grant,
) -> Option<Timestamp> {
    let ends = |rule: &RegistryRule| {
        last_cleared(facts, rule).map_or(Timestamp::EPOCH, |mark| mark.at.plus(rule.max_age))
    };
    must_consult(requirements, grant).map(ends).min()
}

/// The registries that must have been consulted before a message that this grant carries.
pub(super) fn must_consult<'r>(
    requirements: &'r Requirements,
    grant: &Grant,
) -> impl Iterator<Item = &'r RegistryRule> {
    let firmness = grant.consent_type;
    requirements
        .registries
        .iter()
        .filter(move |rule| rule.unless_consent.is_none_or(|firm| firmness < firm))
}

/// When the registry that a rule names last said that it does not list the number.
pub(super) fn last_cleared<'a>(facts: &'a Facts, rule: &RegistryRule) -> Option<&'a Mark> {
    facts
        .registries
        .iter()
        .filter(|consulted| {
            consulted.registry == rule.registry && consulted.result == RegistryResult::NotListed
        })
        .map(|consulted| &consulted.mark)
        .max_by_key(|mark| mark.at)
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
    sooner(own, law_ends(grant, requirements))
}

/// When a grant ends by what the jurisdiction says, whatever its purpose says.
pub(super) fn law_ends(grant: &Grant, requirements: &Requirements) -> Option<Timestamp> {
    match grant.implied {
        Some(implied) if grant.consent_type == ConsentType::Implied => requirements
            .implied_validity
            .get(&implied.basis)
            .map(|validity| implied.basis_time.plus(*validity)),
        _ => requirements
            .validity
            .map(|validity| grant.mark.at.plus(validity)),
    }
}

/// Whether type and evidence are enough for the jurisdiction and the purpose.
fn suffices(grant: &Grant, requirements: &Requirements, purpose: &Purpose) -> bool {
    implied_counts(grant, requirements)
        && grant.consent_type >= requirements.consent_type
        && purpose.accepted_consent_types.contains(&grant.consent_type)
        && grant.evidence.missing(requirements.evidence).is_empty()
}

/// Whether an implied consent follows from something that implies consent there; true of any other.
pub(super) fn implied_counts(grant: &Grant, requirements: &Requirements) -> bool {
    grant.consent_type != ConsentType::Implied
        || grant
            .implied
            .is_some_and(|i| requirements.implied_validity.contains_key(&i.basis))
}
