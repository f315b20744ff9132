//! The decision: may this message be sent to this person, at this instant, under these rules?
//!
//! A pure function of facts, activity, rules, question and instant. All failing steps are
//! collected; the first in the order of the steps below decides. The steps and their order are the
//! specification; where it leaves a choice, the stricter is taken and `ARCHITECTURE.md` says so.
//!
//! A restriction covers a question by its scope. It is overcome only by one grant that is an act of
//! the person (not implied, not imported), confirmed where that is required, and later than it.
//! Reading order: this file has the steps in their order, [`restrictions`] the first four, [`grant`]
//! 5 to 9, [`timing`] 10 to 12, and [`asking`] the two classes that need no consent of their own kind.
//! [`explain`] puts a decision into words.

mod asking;
pub mod explain;
mod grant;
mod restrictions;
mod timing;

use crate::domain::activity::{Activity, Wanted};
use crate::domain::address::Spelling;
use crate::domain::catalog::Purpose;
use crate::domain::facts::{Facts, Grant};
use crate::domain::hours::Clocks;
use crate::domain::id::{EventId, SenderId};
use crate::domain::place::Place;
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, MessageClass, Reason};

pub use asking::CONFIRM_WITHIN;
pub(in crate::domain) use grant::{Context, Judged, judge};

/// What is asked: one message to one address.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub purpose: &'a Purpose,
    /// The class that holds after purpose and template have had their say.
    pub class: MessageClass,
    /// The sender's own id, aliases resolved.
    pub sender: Option<&'a SenderId>,
    pub spelling: Spelling,
    /// Where the address says that the person may be.
    pub place: &'a Place,
}

/// What of a person's activity the decision depends on: nothing, for most questions.
pub fn wanted<'a>(
    facts: &'a Facts,
    rules: &'a Rules,
    question: &'a Question<'a>,
    at: Timestamp,
) -> Wanted<'a> {
    const NOTHING: &Activity = &Activity {
        last_inbound: None,
        sends: Vec::new(),
    };
    let case = Case {
        facts,
        activity: NOTHING,
        rules,
        question,
        at,
    };
    case.wanted()
}

/// One reason with the event that it rests on, if it rests on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub reason: Reason,
    pub event: Option<EventId>,
}

/// A decision with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    /// Never empty; the decisive one first. A message that is never free within a month is denied
    /// for a reason that otherwise defers.
    pub findings: Vec<Finding>,
    /// The first instant at which a deferred message would be allowed.
    pub not_before: Option<Timestamp>,
    /// The event that the answer rests on.
    pub rests_on: Option<EventId>,
    /// The first instant at which the same facts might answer otherwise.
    pub holds_until: Option<Timestamp>,
    /// Whose clocks the sending hours were read on; `None` where no hours matter.
    pub clocks: Option<Clocks>,
}

impl Verdict {
    /// The reasons, the decisive one first.
    pub fn reasons(&self) -> Vec<Reason> {
        self.findings.iter().map(|finding| finding.reason).collect()
    }

    /// The decisive reason.
    pub fn reason(&self) -> Option<Reason> {
        self.findings.first().map(|finding| finding.reason)
    }
}

/// Decides by the thirteen steps.
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
    let judged = case.judged();
    match judged.verdict.decision {
        Decision::Defer => case.first_allowed(judged),
        Decision::Allow | Decision::Deny => judged.verdict,
    }
}

/// The findings so far, in the order of their steps.
#[derive(Default)]
struct Failing {
    findings: Vec<Finding>,
    /// When the earliest of them might end by itself, or another might begin.
    until: Option<Timestamp>,
    /// When the sending hours end that are open now.
    open_until: Option<Timestamp>,
    /// When the last of those that defer ends; `None` if nothing defers, or one never ends.
    deferred_to: Option<Timestamp>,
    never: bool,
    clocks: Option<Clocks>,
}

impl Failing {
    fn push(&mut self, reason: Reason, event: Option<EventId>) {
        debug_assert_ne!(reason.decision(), Decision::Allow);
        if self.findings.iter().all(|known| known.reason != reason) {
            self.findings.push(Finding { reason, event });
        }
    }

    fn defer(&mut self, reason: Reason, until: Option<Timestamp>) {
        debug_assert_eq!(reason.decision(), Decision::Defer);
        self.push(reason, None);
        self.deferred_to = self.deferred_to.max(until);
        self.never |= until.is_none();
    }
}

/// What allows, if nothing fails.
struct Carrier<'a> {
    reason: Reason,
    event: Option<EventId>,
    until: Option<Timestamp>,
    grant: Option<&'a Grant>,
}

/// The decision at one instant alone.
struct Judgement {
    /// If it defers, `not_before` is when what defers has ended, and not yet whether the message is
    /// allowed then.
    verdict: Verdict,
    /// If it defers, the first instant after which that may have changed.
    next: Option<Timestamp>,
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
    /// The message or call that the service window rests on. An erasure takes with it what was written before, also
    /// where that is still remembered, or is reported late.
    fn last_inbound(&self) -> Option<Timestamp> {
        let counts = |inbound: &Timestamp| {
            let mut erased = self.facts.erased.iter();
            erased.all(|mark| *inbound > mark.at)
        };
        self.activity.last_inbound.filter(counts)
    }

    /// Where the service window ends or ended.
    fn window_end(&self) -> Option<Timestamp> {
        self.last_inbound().and(self.activity.window_end())
    }

    fn window_is_open(&self) -> bool {
        self.window_end().is_some_and(|end| self.at < end)
    }

    fn judged(&self) -> Judgement {
        let mut failing = Failing::default();
        self.step_1_sender_held(&mut failing);
        self.step_2_suppressions(&mut failing);
        self.step_3_restrictions(&mut failing);
        self.step_4_identity(&mut failing);
        self.step_5_erasure(&mut failing);
        self.one_grant_overcomes_all(&mut failing);
        let carrier = match self.question.class {
            MessageClass::ConsentRequest => self.ask(&mut failing),
            MessageClass::OptOutConfirmation => self.opt_out_confirmation(&mut failing),
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::Service => {
                let carrier = self.steps_5_to_8_grant(&mut failing);
                self.step_9_service_window(&mut failing);
                carrier
            }
        };
        self.some_rule_holds(&mut failing);
        self.step_10_platform(&mut failing);
        self.step_11_sending_hours(carrier.as_ref(), &mut failing);
        self.step_12_frequency_caps(carrier.as_ref(), &mut failing);
        step_13_verdict(failing, carrier)
    }
}

fn step_13_verdict(failing: Failing, carrier: Option<Carrier<'_>>) -> Judgement {
    let carried_until = carrier.as_ref().and_then(|carrier| carrier.until);
    let until = sooner(carried_until, failing.until);
    let (findings, decision) = match (failing.findings.first(), carrier) {
        (None, Some(carrier)) => {
            debug_assert_eq!(carrier.reason.decision(), Decision::Allow);
            let finding = Finding {
                reason: carrier.reason,
                event: carrier.event,
            };
            (vec![finding], Decision::Allow)
        }
        // Nothing fails and nothing carries: no rule allows this.
        (None, None) => {
            let finding = Finding {
                reason: Reason::NoConsent,
                event: None,
            };
            (vec![finding], Decision::Deny)
        }
        // The steps that defer are the last: if the first finding defers, all do. Without a carrier
        // there is nothing to wait for.
        (Some(first), carrier) => {
            let decision = match carrier {
                Some(_) => first.reason.decision(),
                None => Decision::Deny,
            };
            (failing.findings, decision)
        }
    };
    let not_before = match decision {
        Decision::Defer if !failing.never => failing.deferred_to,
        Decision::Defer | Decision::Allow | Decision::Deny => None,
    };
    let next = sooner(until, not_before);
    let verdict = Verdict {
        decision,
        rests_on: findings.first().and_then(|finding| finding.event),
        findings,
        not_before,
        holds_until: sooner(next, failing.open_until),
        clocks: failing.clocks,
    };
    Judgement { verdict, next }
}

fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests;
