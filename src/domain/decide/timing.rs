//! Steps 10 to 12: what the platform does not deliver, and when a message may be sent that is
//! allowed in every other way.

use std::time::Duration;

use super::{Carrier, Case, Failing, Finding, Judgement, Verdict, sooner};
use crate::domain::activity::Wanted;
use crate::domain::facts::Grant;
use crate::domain::hours::{Opening, Zone};
use crate::domain::id::JurisdictionCode;
use crate::domain::place::zones_of;
use crate::domain::policy::FrequencyCap;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, MessageClass, Reason};

/// How far ahead a first allowed instant is looked for; beyond it a message is denied.
const HORIZON: Duration = Duration::from_hours(31 * 24);

/// How much further ahead than a month sending hours are looked for.
const OPENINGS_BEYOND: Duration = Duration::from_hours(4 * 24);

/// How many instants are tried at most. Hours, caps and limits alternate; a month of them is less.
const TRIES: usize = 256;

impl<'a> Case<'a> {
    pub(super) fn step_10_platform(&self, failing: &mut Failing) {
        let countries = &self.question.place.jurisdictions;
        let rules = &self.rules.policy.platform;
        let prohibits = |from: Timestamp, to: Option<Timestamp>| {
            from <= self.at && to.is_none_or(|end| self.at < end)
        };
        for rule in rules {
            let concerned = rule.classes.contains(&self.question.class)
                && countries
                    .iter()
                    .any(|code| code.country() == rule.country.country());
            if !concerned {
                continue;
            }
            if prohibits(rule.effective_from, rule.effective_to) {
                failing.push(Reason::PlatformProhibited, None);
            }
            let next = [Some(rule.effective_from), rule.effective_to];
            for boundary in next.into_iter().flatten().filter(|end| self.at < *end) {
                failing.until = sooner(failing.until, Some(boundary));
            }
        }
        let reachable_again = self.facts.unreachable_until().filter(|end| self.at < *end);
        let answers_somebody = match self.question.class {
            MessageClass::Service | MessageClass::OptOutConfirmation => true,
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::ConsentRequest => false,
        };
        if let Some(end) = reachable_again
            && !answers_somebody
        {
            failing.push(Reason::Unreachable, None);
            failing.until = sooner(failing.until, Some(end));
        }
    }

    /// Whether the hour and the count of messages matter: to advertising, and to asking for it.
    fn is_timed(&self) -> bool {
        match self.question.class {
            MessageClass::Marketing | MessageClass::ConsentRequest => true,
            MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::Service
            | MessageClass::OptOutConfirmation => false,
        }
    }

    pub(super) fn step_11_sending_hours(
        &self,
        carrier: Option<&Carrier<'a>>,
        failing: &mut Failing,
    ) {
        if !self.is_timed() {
            return;
        }
        let grant = carrier.and_then(|carrier| carrier.grant);
        let requirements = self.requirements(grant);
        let hours = requirements
            .as_ref()
            .and_then(|required| required.sending_hours.as_ref());
        if let Some(hours) = hours {
            let answer = hours.opening(self.zones(grant), self.at);
            failing.clocks = Some(answer.clocks);
            match answer.opening {
                Opening::Open { until } => failing.open_until = until,
                Opening::Closed { until } => failing.defer(Reason::QuietHours, until),
            }
        }
        let limited = self.facts.limited_until().filter(|end| self.at < *end);
        if let Some(end) = limited
            && self.question.class == MessageClass::Marketing
        {
            failing.defer(Reason::PlatformLimited, Some(end));
        }
    }

    /// The clocks at the place where the person is: of the number's prefix where that fits what the
    /// record states, else of what it states. Where neither says anything the business's own.
    fn zones(&self, grant: Option<&Grant>) -> &'a [Zone] {
        let place = self.question.place;
        let stated = grant.and_then(|grant| grant.jurisdiction.as_ref());
        let fits = |code: &JurisdictionCode| {
            let is_country = code.as_str() == code.country();
            place
                .jurisdictions
                .iter()
                .any(|known| known == code || (is_country && known.country() == code.country()))
        };
        let zones = match stated {
            Some(code) if !fits(code) => zones_of(code),
            Some(_) | None => place.zones.as_slice(),
        };
        match &self.rules.catalog.business.default_jurisdiction {
            Some(code) if zones.is_empty() => zones_of(code),
            Some(_) | None => zones,
        }
    }

    pub(super) fn step_12_frequency_caps(
        &self,
        carrier: Option<&Carrier<'a>>,
        failing: &mut Failing,
    ) {
        if !self.is_timed() {
            return;
        }
        let grant = carrier.and_then(|carrier| carrier.grant);
        let purpose = self.question.purpose;
        let own = purpose.frequency_cap.iter().filter_map(|cap| {
            let sends = self.activity.sends.iter();
            let counted = sends.filter(|sent| sent.purpose == purpose.key);
            self.free_again(*cap, counted.map(|sent| sent.at))
                .max(self.unseen_until(cap))
        });
        let requirements = self.requirements(grant);
        let caps = requirements
            .iter()
            .flat_map(|required| &required.frequency_caps);
        let of_place = caps.filter_map(|cap| {
            let sends = self.activity.sends.iter();
            let counted = sends.filter(|sent| match sent.class {
                MessageClass::Marketing | MessageClass::ConsentRequest => true,
                MessageClass::Utility
                | MessageClass::Authentication
                | MessageClass::Service
                | MessageClass::OptOutConfirmation => false,
            });
            self.free_again(*cap, counted.map(|sent| sent.at))
                .max(self.unseen_until(cap))
        });
        if let Some(end) = own.chain(of_place).max() {
            failing.defer(Reason::FrequencyCap, Some(end));
        }
    }

    /// Where so many messages were sent within a cap's time that not all of them were read, nobody can
    /// tell how many count: until all are known again, the cap counts as reached.
    fn unseen_until(&self, cap: &FrequencyCap) -> Option<Timestamp> {
        let since = self.at.minus(cap.per());
        if self.activity.has_all_sends_since(since) {
            return None;
        }
        let oldest = self.activity.sends.last()?;
        Some(oldest.at.plus(cap.per()).plus(Duration::from_micros(1)))
    }

    /// What of the person's activity this question depends on.
    pub(super) fn wanted(&self) -> Wanted<'a> {
        let window_of = match self.question.class {
            MessageClass::Service | MessageClass::ConsentRequest => self.question.sender,
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::OptOutConfirmation => None,
        };
        let longest = match self.is_timed() {
            true => self.longest_cap(),
            false => None,
        };
        Wanted {
            window_of,
            sends_since: longest.map(|per| self.at.minus(per)),
        }
    }

    /// The longest time over which any cap counts that may hold for this question.
    fn longest_cap(&self) -> Option<Duration> {
        let own = self.question.purpose.frequency_cap.as_ref();
        let by_grants = self.grants().map(|grant| self.requirements(Some(grant)));
        let required = by_grants.chain([self.requirements(None)]).flatten();
        let of_place = required.filter_map(|required| {
            let caps = required.frequency_caps.iter();
            caps.map(FrequencyCap::per).max()
        });
        own.map(FrequencyCap::per).into_iter().chain(of_place).max()
    }

    /// When a cap that is reached lets the next message pass; `None` if it is not reached. The cap is
    /// a sliding window: a send counts until `per` after it.
    fn free_again(
        &self,
        cap: FrequencyCap,
        sends: impl Iterator<Item = Timestamp>,
    ) -> Option<Timestamp> {
        let mut ends: Vec<Timestamp> = sends
            .map(|sent| sent.plus(cap.per()))
            .filter(|end| self.at < *end)
            .collect();
        // Newest first: once all but `messages - 1` of them have ended, there is room for one.
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let index = usize::try_from(cap.messages).ok()?.checked_sub(1);
        match index {
            Some(index) => ends.get(index).copied(),
            // A cap of nothing is never free.
            None => Some(Timestamp::MAX),
        }
    }

    /// Turns a deferral into the first instant at which the whole decision allows: what is denied
    /// before then is denied now, and what is never free again within a month is, too.
    ///
    /// Between two of the instants that are tried nothing changes: no deferral ends, no consent, and
    /// no rule does.
    pub(super) fn first_allowed(&self, deferred: Judgement) -> Verdict {
        let horizon = self.at.plus(HORIZON);
        let Judgement {
            verdict: deferred,
            mut next,
        } = deferred;
        for _ in 0..TRIES {
            let Some(at) = next.filter(|at| *at <= horizon) else {
                break;
            };
            let then = Case { at, ..*self }.judged();
            match then.verdict.decision {
                Decision::Allow => {
                    return Verdict {
                        not_before: Some(at),
                        holds_until: sooner(deferred.holds_until, Some(at)),
                        ..deferred
                    };
                }
                Decision::Deny => return denied(then.verdict.findings, deferred),
                // Every change lies after the instant at which it was found.
                Decision::Defer => next = then.next.filter(|later| *later > at),
            }
        }
        // What is beyond a month now will not be for ever.
        let within = next.map_or(OPENINGS_BEYOND, |at| at.since(horizon));
        let denied = denied(Vec::new(), deferred);
        Verdict {
            holds_until: sooner(denied.holds_until, Some(self.at.plus(within))),
            ..denied
        }
    }
}

/// A message that would be deferred to an instant that never comes, or at which it is denied.
fn denied(first: Vec<Finding>, deferred: Verdict) -> Verdict {
    let mut findings = first;
    for finding in deferred.findings {
        if findings.iter().all(|known| known.reason != finding.reason) {
            findings.push(finding);
        }
    }
    Verdict {
        decision: Decision::Deny,
        not_before: None,
        rests_on: findings.first().and_then(|finding| finding.event),
        findings,
        holds_until: deferred.holds_until,
        clocks: deferred.clocks,
    }
}
