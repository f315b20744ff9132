//! The two messages that need no consent of their own kind: asking for one, and confirming an opt-out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Carrier, Case, Failing, sooner};
use crate::domain::facts::{Grant, Mark};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{MessageClass, Reason, RestrictionKind};

/// For how long after an opt-out its confirmation may be sent (47 CFR 64.1200(a)(12): presumed to
/// be covered by the prior consent within five minutes).
pub const CONFIRM_WITHIN: Duration = Duration::from_mins(5);

impl<'a> Case<'a> {
    /// Asking is allowed while a confirmation is pending that the person began, in a window that the
    /// person opened, and as often as the policy lets one ask.
    pub(super) fn ask(&self, failing: &mut Failing) -> Option<Carrier<'a>> {
        let permitted = |event, until| {
            Some(Carrier {
                reason: Reason::ConsentRequestPermitted,
                event,
                until,
                grant: None,
            })
        };
        let voiding = self.voiding_marks();
        let standing = |grant: &'a Grant| voiding.iter().all(|mark| self.outlives(grant, mark));
        let pending = self
            .grants()
            .find(|grant| grant.is_genuine_act() && standing(grant) && self.is_pending(grant));
        if let Some(grant) = pending {
            return permitted(Some(grant.mark.event_id), self.judge(grant).holds_until);
        }
        if self.window_is_open() {
            return permitted(None, self.window_end());
        }
        let asking = self.requirements(None)?.asking;
        let asks = self.asks();
        let free_again = asks.last().map(|last| last.plus(asking.cooldown));
        let too_soon = free_again.filter(|free| self.at < *free);
        let too_often = usize::try_from(asking.max_total).is_ok_and(|most| asks.len() >= most);
        if too_often || too_soon.is_some() {
            failing.push(Reason::AskLimit, None);
            failing.until = sooner(failing.until, too_soon);
            return None;
        }
        if !asking.is_commercial {
            return permitted(None, None);
        }
        // Asking is itself a commercial message there: it needs a consent, an implied one at least.
        let carrying = self
            .grants()
            .filter(|grant| standing(grant))
            .map(|grant| self.judge(grant))
            .filter(|judged| judged.failing.is_empty())
            .max_by_key(super::grant::Judged::rank);
        match carrying {
            Some(judged) => permitted(Some(judged.grant.mark.event_id), judged.holds_until),
            None => {
                failing.push(Reason::AskLimit, None);
                None
            }
        }
    }

    /// When the person was asked, for whatever purpose and by whichever sender: the law that limits
    /// asks counts the person's asks. One ask for several purposes is one.
    pub(super) fn asks(&self) -> Vec<Timestamp> {
        let asks = self.facts.asks.iter().filter(|ask| !ask.deferred);
        let marks: BTreeSet<_> = asks
            .flat_map(|ask| ask.marks.iter().map(Mark::act))
            .collect();
        marks.into_iter().map(|(at, _)| at).collect()
    }

    /// One confirmation for an opt-out that the person wrote to this very sender just now. Whether it
    /// was sent already is for the ledger to know: it keeps one permit per opt-out.
    pub(super) fn opt_out_confirmation(&self, failing: &mut Failing) -> Option<Carrier<'a>> {
        let Some(opt_out) = self.confirmable() else {
            if failing.findings.is_empty() {
                failing.push(Reason::NoConsent, None);
            }
            return None;
        };
        Some(Carrier {
            reason: Reason::OptOutConfirmationPermitted,
            event: Some(opt_out.event_id),
            until: Some(confirmable_until(opt_out)),
            grant: None,
        })
    }

    /// The latest opt-out that reached this sender as a message less than five minutes ago.
    pub(super) fn confirmable(&self) -> Option<&'a Mark> {
        let sender = self.question.sender?;
        let restricted = self.facts.restrictions.iter().filter_map(|restricted| {
            let by_person = match restricted.kind {
                RestrictionKind::Refused | RestrictionKind::Withdrawn => true,
                RestrictionKind::Revoked | RestrictionKind::Invalidated => false,
            };
            let here = restricted.received_by.as_ref() == Some(sender);
            (by_person && here).then_some(&restricted.mark)
        });
        // An opt-out known to the second counts to the end of that second, which may be just ahead.
        let now = self.at.end_of_second();
        restricted
            .filter(|mark| mark.at <= now && self.at < confirmable_until(mark))
            .max_by_key(|mark| (mark.at, mark.digest))
    }

    /// Whether the confirmation of an opt-out overlooks a restriction: the one that it confirms, and
    /// earlier ones of the person.
    pub(super) fn is_overlooked(&self, mark: &Mark, by_person: bool) -> bool {
        self.question.class == MessageClass::OptOutConfirmation
            && by_person
            && self
                .confirmable()
                .is_some_and(|opt_out| mark.at <= opt_out.at)
    }
}

/// An opt-out known to the second may have come at its beginning, though it counts to its end.
pub(super) fn confirmable_until(opt_out: &Mark) -> Timestamp {
    const TO_ITS_END: i64 = 999_999;
    let second = opt_out.at.end_of_second().as_micros() - TO_ITS_END;
    Timestamp::from_micros(second).plus(CONFIRM_WITHIN)
}
