//! Step 9 and the two classes that need no consent of their own kind, in words: what the person opened
//! by writing, how often one may ask, and the one confirmation of an opt-out.

use super::{Teller, Told, sources, words};
use crate::domain::decide::asking::confirmable_until;
use crate::domain::decide::{CONFIRM_WITHIN, Failing};
use crate::domain::facts::Mark;
use crate::domain::policy::Requirements;
use crate::domain::vocabulary::{MessageClass, Reason};

impl<'a> Teller<'a> {
    pub(super) fn service_window(&self) -> Told {
        if self.case.question.class != MessageClass::Service {
            return Told::not_applicable("Only a SERVICE message depends on it.");
        }
        let told = match (self.case.last_inbound(), self.case.window_end()) {
            (Some(inbound), Some(end)) if self.case.window_is_open() => Told::passed(format!(
                "The person wrote to or called this sender on {}; the window is open until {}.",
                words::at(inbound),
                words::until(end)
            )),
            (Some(inbound), Some(end)) => Told::failed(
                format!(
                    "The person last wrote to or called this sender on {}; the window closed on {}.",
                    words::at(inbound),
                    words::until(end)
                ),
                REPLY,
            ),
            (None, _) | (_, None) => Told::failed(
                "No message or call of the person to this sender is known, so no window is open.",
                REPLY,
            ),
        };
        told.by(vec![sources::SERVICE_WINDOW.to_owned()])
    }

    /// Where asking does not stand in the way.
    pub(super) fn asking(&self) -> Told {
        if self.case.question.class != MessageClass::ConsentRequest {
            return Told::not_applicable("Only a CONSENT_REQUEST depends on it.");
        }
        let Some(carrier) = self.case.ask(&mut Failing::default()) else {
            return Told::not_applicable("No entry of the policy says how often one may ask.");
        };
        let carrying = carrier.event.and_then(|event| {
            let mut grants = self.case.grants();
            grants.find(|grant| grant.mark.event_id == event)
        });
        if let Some(grant) = carrying {
            let judged = self.case.judge(grant);
            let said = match judged.failing.first() {
                Some(Reason::ConfirmationPending) => {
                    "It awaits its confirmation, which may be asked for."
                }
                Some(_) | None => "So the person may be asked.",
            };
            return Told::passed(format!("{} {said}", words::consent(grant)))
                .on(grant.mark.event_id);
        }
        if let Some(inbound) = self.case.last_inbound()
            && self.case.window_is_open()
        {
            return Told::passed(format!(
                "The person wrote to or called this sender on {} and may be asked in reply.",
                words::at(inbound)
            ));
        }
        let asked = self.case.asks().len();
        let most = self
            .case
            .requirements(None)
            .map_or(0, |r| r.asking.max_total);
        Told::passed(format!(
            "The person was asked {}, and may be asked {} in all.",
            words::counted(asked, "time"),
            words::counted(most, "time")
        ))
        .by(self.cited(None, |r| r.asking.max_total == most))
    }

    pub(super) fn ask_limit(&self) -> Told {
        let Some(required) = self.case.requirements(None) else {
            return Told::failed("No entry of the policy says how often one may ask.", "");
        };
        let limit = required.asking;
        let asks = self.case.asks();
        let asked = words::counted(asks.len(), "time");
        let free = asks.last().map(|last| last.plus(limit.cooldown));
        let begins = "The person begins: by a message or call to this sender, or by a consent.";
        let told = if usize::try_from(limit.max_total).is_ok_and(|most| asks.len() >= most) {
            let most = match limit.max_total {
                0 => "Nobody may be asked there who did not begin".to_owned(),
                most => format!("There one may ask {} in all", words::counted(most, "time")),
            };
            let same = |r: &Requirements| r.asking.max_total == limit.max_total;
            Told::failed(format!("{most}; this person was asked {asked}."), begins)
                .by(self.cited(None, same))
        } else if let Some(free) = free.filter(|free| self.case.at < *free) {
            let free = words::until(free);
            let apart = words::lasting(limit.cooldown);
            let same = |r: &Requirements| r.asking.cooldown == limit.cooldown;
            Told::failed(
                format!("The person was asked less than {apart} ago; again not before {free}."),
                format!("Wait until {free}. Or: {begins}"),
            )
            .by(self.cited(None, same))
        } else {
            Told::failed(
                "Asking is itself a commercial message there, and needs a consent, an implied one \
                 at least, which is not on record.",
                format!("A consent from which one may ask, an implied one at least. Or: {begins}"),
            )
            .by(self.cited(None, |r| r.asking.is_commercial))
        };
        match self.latest_ask() {
            Some(mark) => told.on(mark.event_id),
            None => told,
        }
    }

    fn latest_ask(&self) -> Option<&'a Mark> {
        let asks = self.case.facts.asks.iter().filter(|ask| !ask.deferred);
        let marks = asks.filter_map(|ask| ask.latest());
        marks.max_by_key(|mark| mark.at)
    }

    pub(super) fn opt_out_confirmation(&self) -> Told {
        if self.case.question.class != MessageClass::OptOutConfirmation {
            return Told::not_applicable("Only an OPT_OUT_CONFIRMATION depends on it.");
        }
        let within = words::lasting(CONFIRM_WITHIN);
        let told = match self.case.confirmable() {
            Some(mark) => Told::passed(format!(
                "The person opted out by a message to this sender on {}; one confirmation may be \
                 sent until {}.",
                words::at(mark.at),
                words::until(confirmable_until(mark))
            ))
            .on(mark.event_id),
            None => Told::failed(
                format!("No opt-out reached this sender as a message within the last {within}."),
                format!(
                    "Nothing that the business can do: only an opt-out that the person writes to \
                     this sender is confirmed, once, within {within}."
                ),
            ),
        };
        told.by(vec![sources::CONFIRMATION.to_owned()])
    }
}

const REPLY: &str = "The person writes to or calls this sender.";
