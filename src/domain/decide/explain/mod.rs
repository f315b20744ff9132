//! Why a decision is what it is, rule by rule and in plain words, for whoever has to answer for it.
//!
//! A pure function of what was decided on and of the decision. What failed is taken from the verdict
//! and not judged a second time: here is looked up what it rests on, where the rule comes from, and
//! what would have to change. No sentence holds an address or the contents of evidence; times are in
//! UTC or name their zone.
//!
//! [`barring`] tells of steps 1 to 4, [`consenting`] of 5 to 8, [`opening`] of 9 and of the two classes
//! that need no consent, [`sending`] of 10 to 12; [`bearing`] says which events bear on the question.

mod barring;
mod bearing;
mod consenting;
mod opening;
mod sending;
mod sources;
mod words;

use std::collections::BTreeSet;

use super::{Case, Finding, Judged, Question, Verdict};
use crate::domain::activity::Activity;
use crate::domain::facts::{Facts, Grant};
use crate::domain::hours::Zone;
use crate::domain::id::{EventId, JurisdictionCode};
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, MessageClass, Reason};

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Every rule at least once, in their order. The first that failed gives the decisive reason.
    pub steps: Vec<Step>,
    /// Whose entries of the policy were applied.
    pub jurisdictions: Vec<JurisdictionCode>,
    /// Where the person may be, if sending hours matter.
    pub zones: Vec<Zone>,
    /// What bears on the question.
    pub events: BTreeSet<EventId>,
}

/// One rule and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub rule: Rule,
    pub outcome: Outcome,
    /// Of a rule that failed, and of the one that allows.
    pub reason: Option<Reason>,
    /// Sentences.
    pub detail: String,
    /// What would have to change: sentences, empty unless it failed.
    pub remedy: String,
    pub event: Option<EventId>,
    /// Where the rule comes from, one line each; none for the rules of the service.
    pub sources: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// The rule does not concern this message.
    NotApplicable,
}

/// The rules, in the order in which they decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    SenderHeld,
    Suppression,
    Restriction,
    Identity,
    Consent,
    Confirmation,
    Expiry,
    Notice,
    Evidence,
    Registry,
    ServiceWindow,
    Asking,
    OptOutConfirmation,
    Policy,
    Platform,
    Reachability,
    SendingHours,
    PlatformLimit,
    FrequencyCap,
}

impl Rule {
    pub const ALL: [Self; 19] = [
        Self::SenderHeld,
        Self::Suppression,
        Self::Restriction,
        Self::Identity,
        Self::Consent,
        Self::Confirmation,
        Self::Expiry,
        Self::Notice,
        Self::Evidence,
        Self::Registry,
        Self::ServiceWindow,
        Self::Asking,
        Self::OptOutConfirmation,
        Self::Policy,
        Self::Platform,
        Self::Reachability,
        Self::SendingHours,
        Self::PlatformLimit,
        Self::FrequencyCap,
    ];

    /// The name that the contract gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SenderHeld => "sender-held",
            Self::Suppression => "suppression",
            Self::Restriction => "restriction",
            Self::Identity => "identity",
            Self::Consent => "consent",
            Self::Confirmation => "confirmation",
            Self::Expiry => "expiry",
            Self::Notice => "notice",
            Self::Evidence => "evidence",
            Self::Registry => "registry",
            Self::ServiceWindow => "service-window",
            Self::Asking => "asking",
            Self::OptOutConfirmation => "opt-out-confirmation",
            Self::Policy => "policy",
            Self::Platform => "platform",
            Self::Reachability => "reachability",
            Self::SendingHours => "sending-hours",
            Self::PlatformLimit => "platform-limit",
            Self::FrequencyCap => "frequency-cap",
        }
    }
}

/// Puts a verdict into words. The other arguments are those that it was decided on.
pub fn explain(
    facts: &Facts,
    activity: &Activity,
    rules: &Rules,
    question: &Question<'_>,
    at: Timestamp,
    verdict: &Verdict,
) -> Explanation {
    let case = Case {
        facts,
        activity,
        rules,
        question,
        at,
    };
    let teller = Teller::of(case, verdict);
    let later = Later::of(&teller);
    let mut steps = Vec::new();
    for rule in Rule::ALL {
        let failed = teller.failed(rule, later.as_ref());
        if failed.is_empty() {
            steps.push(teller.held(rule));
        } else {
            steps.extend(failed);
        }
    }
    Explanation {
        events: teller.bearing(&steps),
        jurisdictions: teller.jurisdictions(),
        zones: teller.zones_that_matter(),
        steps,
    }
}

/// What a rule came to.
struct Told {
    outcome: Outcome,
    detail: String,
    remedy: String,
    event: Option<EventId>,
    sources: Vec<String>,
}

impl Told {
    fn passed(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Passed,
            detail: detail.into(),
            remedy: String::new(),
            event: None,
            sources: Vec::new(),
        }
    }

    fn not_applicable(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::NotApplicable,
            ..Self::passed(detail)
        }
    }

    fn failed(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failed,
            remedy: remedy.into(),
            ..Self::passed(detail)
        }
    }

    fn on(self, event: EventId) -> Self {
        let event = Some(event);
        Self { event, ..self }
    }

    fn by(self, sources: Vec<String>) -> Self {
        Self { sources, ..self }
    }
}

/// Tells of one case.
struct Teller<'a> {
    case: Case<'a>,
    verdict: &'a Verdict,
    /// The consent that steps 5 to 8 speak of.
    best: Option<Judged<'a>>,
}

impl<'a> Teller<'a> {
    fn of(case: Case<'a>, verdict: &'a Verdict) -> Self {
        let best = match case.question.class {
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::Service => case.best_grant(),
            MessageClass::ConsentRequest | MessageClass::OptOutConfirmation => None,
        };
        Self {
            case,
            verdict,
            best,
        }
    }

    /// The grant that carries the message, if one does.
    fn carrier(&self) -> Option<&'a Grant> {
        let carries = |best: &&Judged<'_>| {
            best.failing.is_empty() && self.case.question.class != MessageClass::Service
        };
        self.best.as_ref().filter(carries).map(|best| best.grant)
    }

    /// Whether the message would confirm an opt-out that there is not.
    fn has_nothing_to_confirm(&self) -> bool {
        self.case.question.class == MessageClass::OptOutConfirmation
            && self.case.confirmable().is_none()
    }

    /// The rule to which a finding belongs.
    fn rule_of(&self, finding: &Finding) -> Rule {
        match finding.reason {
            Reason::SenderHeld => Rule::SenderHeld,
            Reason::Suppressed | Reason::PlatformStopped => Rule::Suppression,
            Reason::Withdrawn
            | Reason::Refused
            | Reason::Revoked
            | Reason::Invalidated
            | Reason::PossibleRevocation => Rule::Restriction,
            Reason::IdentityUnverified => Rule::Identity,
            Reason::NoConsent if self.has_nothing_to_confirm() => Rule::OptOutConfirmation,
            Reason::NoConsent | Reason::ConsentGiven | Reason::ConsentNotRequired => Rule::Consent,
            Reason::ConfirmationPending | Reason::ConfirmationRequired => Rule::Confirmation,
            Reason::Expired => Rule::Expiry,
            Reason::NoticeOutdated => Rule::Notice,
            // Without a consent that lacks something it is the policy that has no entry.
            Reason::EvidenceIncomplete if finding.event.is_none() => Rule::Policy,
            Reason::EvidenceIncomplete => Rule::Evidence,
            Reason::RegistryStale => Rule::Registry,
            Reason::ServiceWindowClosed | Reason::ServiceWindowOpen => Rule::ServiceWindow,
            Reason::AskLimit | Reason::ConsentRequestPermitted => Rule::Asking,
            Reason::OptOutConfirmationPermitted => Rule::OptOutConfirmation,
            Reason::PlatformProhibited => Rule::Platform,
            Reason::Unreachable => Rule::Reachability,
            Reason::QuietHours => Rule::SendingHours,
            Reason::PlatformLimited => Rule::PlatformLimit,
            Reason::FrequencyCap => Rule::FrequencyCap,
        }
    }

    /// The steps by which a rule stands in the way; none if it does not.
    fn failed(&self, rule: Rule, later: Option<&Later<'a>>) -> Vec<Step> {
        let here = |finding: &&Finding| {
            finding.reason.decision() != Decision::Allow && self.rule_of(finding) == rule
        };
        let mut steps: Vec<Step> = Vec::new();
        for finding in self.verdict.findings.iter().filter(here) {
            let told = match later.filter(|later| !later.already.contains(&finding.reason)) {
                None => self.because(finding),
                Some(later) => later.because(finding),
            };
            steps.extend(told.into_iter().map(|told| Step {
                outcome: Outcome::Failed,
                reason: Some(finding.reason),
                event: told.event.or(finding.event),
                ..step(rule, told)
            }));
        }
        // A consent may have been judged by another place's entry, which gave the same reason.
        if rule == Rule::Policy && steps.is_empty() && self.case.requirements(None).is_none() {
            let reason = Some(Reason::EvidenceIncomplete);
            steps.push(Step {
                reason,
                ..step(rule, self.policy())
            });
        }
        steps
    }

    /// Why a finding was made: one for each obstacle that gives its reason, its own event's first.
    fn because(&self, finding: &Finding) -> Vec<Told> {
        let mut told = match finding.reason {
            Reason::SenderHeld => vec![self.sender_held()],
            Reason::Suppressed | Reason::PlatformStopped | Reason::PossibleRevocation => {
                self.suppressing(finding.reason)
            }
            Reason::Withdrawn | Reason::Refused | Reason::Revoked | Reason::Invalidated => {
                self.restricting(finding)
            }
            Reason::IdentityUnverified => vec![self.identity()],
            Reason::NoConsent if self.has_nothing_to_confirm() => {
                vec![self.opt_out_confirmation()]
            }
            Reason::NoConsent if self.case.is_erased() => vec![self.erased()],
            Reason::NoConsent if self.case.no_grant_overcomes_all() => {
                vec![self.none_after_all()]
            }
            Reason::NoConsent => vec![self.no_consent()],
            Reason::EvidenceIncomplete if self.rule_of(finding) == Rule::Policy => {
                vec![self.policy()]
            }
            Reason::ConfirmationPending | Reason::ConfirmationRequired => self.not_confirmed(),
            Reason::Expired => self.over(),
            Reason::NoticeOutdated => self.changed(),
            Reason::EvidenceIncomplete => self.not_enough(),
            Reason::RegistryStale => self.not_consulted(),
            Reason::ServiceWindowClosed => vec![self.service_window()],
            Reason::AskLimit => vec![self.ask_limit()],
            Reason::PlatformProhibited => self.prohibited(),
            Reason::Unreachable => vec![self.reachability()],
            Reason::QuietHours => vec![self.sending_hours()],
            Reason::PlatformLimited => vec![self.platform_limit()],
            Reason::FrequencyCap => self.capped(),
            Reason::ConsentGiven
            | Reason::ConsentNotRequired
            | Reason::ServiceWindowOpen
            | Reason::ConsentRequestPermitted
            | Reason::OptOutConfirmationPermitted => Vec::new(),
        };
        if told.is_empty() {
            // INVARIANT: what made a finding is found again; the laws hold it to that.
            told.push(Told::failed("The rule is not met.", ""));
        }
        told.sort_by_key(|told| told.event != finding.event && told.event.is_some());
        told
    }

    /// A rule that does not stand in the way.
    fn held(&self, rule: Rule) -> Step {
        let told = match rule {
            Rule::SenderHeld => self.sender_held(),
            Rule::Suppression => self.not_suppressed(),
            Rule::Restriction => self.not_restricted(),
            Rule::Identity => self.identity(),
            Rule::Consent => self.consent(),
            Rule::Confirmation => self.confirmation(),
            Rule::Expiry => self.expiry(),
            Rule::Notice => self.notice(),
            Rule::Evidence => self.evidence(),
            Rule::Registry => self.registry(),
            Rule::ServiceWindow => self.service_window(),
            Rule::Asking => self.asking(),
            Rule::OptOutConfirmation => self.opt_out_confirmation(),
            Rule::Policy => self.policy(),
            Rule::Platform => self.platform(),
            Rule::Reachability => self.reachability(),
            Rule::SendingHours => self.sending_hours(),
            Rule::PlatformLimit => self.platform_limit(),
            Rule::FrequencyCap => self.frequency_cap(),
        };
        // What the verdict does not find failed has not failed.
        let outcome = match told.outcome {
            Outcome::Failed => Outcome::NotApplicable,
            Outcome::Passed | Outcome::NotApplicable => told.outcome,
        };
        let allows = |finding: &&Finding| {
            finding.reason.decision() == Decision::Allow && self.rule_of(finding) == rule
        };
        let allowing = self.verdict.findings.iter().find(allows);
        Step {
            outcome,
            reason: allowing.map(|finding| finding.reason),
            remedy: String::new(),
            event: allowing.and_then(|finding| finding.event).or(told.event),
            ..step(rule, told)
        }
    }
}

fn step(rule: Rule, told: Told) -> Step {
    Step {
        rule,
        outcome: told.outcome,
        reason: None,
        detail: told.detail,
        remedy: told.remedy,
        event: told.event,
        sources: told.sources,
    }
}

/// A message that would have to wait for an instant at which it is denied is denied now: what denies
/// it is told as of then.
struct Later<'a> {
    teller: Teller<'a>,
    /// What stands in the way already now.
    already: Vec<Reason>,
}

impl<'a> Later<'a> {
    fn of(now: &Teller<'a>) -> Option<Self> {
        if now.verdict.decision != Decision::Deny {
            return None;
        }
        let judged = now.case.judged();
        if judged.verdict.decision != Decision::Defer {
            return None;
        }
        let (at, _) = now.case.after_waiting(&judged).ok()?;
        let case = Case { at, ..now.case };
        Some(Self {
            teller: Teller::of(case, now.verdict),
            already: judged.verdict.reasons(),
        })
    }

    fn because(&self, finding: &Finding) -> Vec<Told> {
        let mut told = self.teller.because(finding);
        let at = words::until(self.teller.case.at);
        for told in &mut told {
            told.detail = format!("It would have to wait, and as of {at}: {}", told.detail);
        }
        told
    }
}
