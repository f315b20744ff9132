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
pub(super) const HORIZON: Duration = Duration::from_hours(31 * 24);

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
    pub(super) fn is_timed(&self) -> bool {
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
    pub(super) fn zones(&self, grant: Option<&Grant>) -> &'a [Zone] {
        let place = self.question.place;
        let stated = grant.and_then(|grant| grant.jurisdiction.as_ref());
        let fits = |code: &JurisdictionCode| {
            let is_country = code.is_country();
            place
                .jurisdictions
                .iter()
                .any(|known| known == code || (is_country && known.country() == *code))
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
        let ends = self.caps(grant).into_iter().map(|cap| cap.free_again);
        if let Some(end) = ends.max().flatten() {
            failing.defer(Reason::FrequencyCap, Some(end));
        }
    }

    /// The caps that hold, and how far each is used up.
    pub(super) fn caps(&self, grant: Option<&Grant>) -> Vec<CapUsed> {
        let sends = &self.activity.sends;
        let purpose = self.question.purpose;
        let own = purpose.frequency_cap.iter().map(|cap| {
            let counted = sends.iter().filter(|sent| sent.purpose == purpose.key);
            self.used(*cap, true, counted.map(|sent| sent.at))
        });
        let requirements = self.requirements(grant);
        let caps = requirements
            .iter()
            .flat_map(|required| &required.frequency_caps);
        let of_place = caps.map(|cap| {
            let counted = sends.iter().filter(|sent| match sent.class {
                MessageClass::Marketing | MessageClass::ConsentRequest => true,
                MessageClass::Utility
                | MessageClass::Authentication
                | MessageClass::Service
                | MessageClass::OptOutConfirmation => false,
            });
            self.used(*cap, false, counted.map(|sent| sent.at))
        });
        own.chain(of_place).collect()
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

    /// A cap is a sliding window: a send counts until `per` after it.
    fn used(
        &self,
        cap: FrequencyCap,
        of_purpose: bool,
        sends: impl Iterator<Item = Timestamp>,
    ) -> CapUsed {
        let mut ends: Vec<Timestamp> = sends
            .map(|sent| sent.plus(cap.per()))
            .filter(|end| self.at < *end)
            .collect();
        // Newest first: once all but `messages - 1` of them have ended, there is room for one.
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let last_to_end = usize::try_from(cap.messages).unwrap_or(usize::MAX);
        let free_again = match last_to_end.checked_sub(1) {
            Some(index) => ends.get(index).copied(),
            // A cap of nothing is never free.
            None => Some(Timestamp::MAX),
        };
        let unseen = self.unseen_until(&cap);
        CapUsed {
            cap,
            of_purpose,
            sent: ends.len(),
            all_counted: unseen.is_none(),
            free_again: free_again.max(unseen),
        }
    }

    /// Turns a deferral into the first instant at which the whole decision allows: what is denied
    /// before then is denied now, and what is never free again within a month is, too.
    pub(super) fn first_allowed(&self, deferred: Judgement) -> Verdict {
        let waited = self.after_waiting(&deferred);
        let deferred = deferred.verdict;
        match waited {
            // It holds no longer than to the first instant that was tried.
            Ok((at, then)) if then.decision == Decision::Allow => Verdict {
                not_before: Some(at),
                ..deferred
            },
            Ok((_, then)) => denied(then.findings, deferred),
            Err(beyond) => {
                // What is beyond a month now will not be for ever.
                let horizon = self.at.plus(HORIZON);
                let within = beyond.map_or(OPENINGS_BEYOND, |at| at.since(horizon));
                let denied = denied(Vec::new(), deferred);
                Verdict {
                    holds_until: sooner(denied.holds_until, Some(self.at.plus(within))),
                    ..denied
                }
            }
        }
    }

    /// The first instant at which waiting has an end, and what is decided then: to allow or to deny.
    /// The error is the first instant, if there is one, that would have had to be tried after that.
    ///
    /// Between two of the instants that are tried nothing changes: no deferral ends, no consent, and
    /// no rule does.
    pub(super) fn after_waiting(
        &self,
        deferred: &Judgement,
    ) -> Result<(Timestamp, Verdict), Option<Timestamp>> {
        let horizon = self.at.plus(HORIZON);
        let mut next = deferred.next;
        for _ in 0..TRIES {
            let at = next.filter(|at| *at <= horizon).ok_or(next)?;
            let then = Case { at, ..*self }.judged();
            match then.verdict.decision {
                Decision::Allow | Decision::Deny => return Ok((at, then.verdict)),
                // Every change lies after the instant at which it was found.
                Decision::Defer => next = then.next.filter(|later| *later > at),
            }
        }
        Err(next)
    }
}

/// How far a cap is used up.
#[derive(Debug, Clone, Copy)]
pub(super) struct CapUsed {
    pub cap: FrequencyCap,
    /// The purpose's own, as opposed to the jurisdiction's.
    pub of_purpose: bool,
    /// How many messages count at this instant, of those that are known.
    pub sent: usize,
    /// Whether that is all of them.
    pub all_counted: bool,
    /// When a cap that is reached lets the next message pass; `None` if it is not reached.
    pub free_again: Option<Timestamp>,
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
