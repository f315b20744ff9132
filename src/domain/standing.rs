//! How a person stands to a purpose, as a record shows it: the state of DPV, and what an act did.
//!
//! The same facts and rules as in [`super::decide`], but the answer is for people and forms, not
//! for a send: it says how the consent itself stands, whatever class, window or hour is asked for.

use super::address::Spelling;
use super::catalog::Purpose;
use super::decide::{Context, Judged, judge};
use super::event::{Event, Terms};
use super::facts::{Coverage, Facts, Grant, Mark, Restricted};
use super::id::{EventId, JurisdictionCode, SenderId};
use super::rules::Rules;
use super::time::Timestamp;
use super::vocabulary::{ConsentState, ConsentType, Effect, MessageClass, Reason};

/// The state of (subject, purpose, sender) at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub state: ConsentState,
    /// The event that made it so.
    pub event: Option<EventId>,
    /// Since when, by the act's effective time.
    pub since: Option<Timestamp>,
    /// When a given consent ends by time alone.
    pub expires_at: Option<Timestamp>,
    /// The grant that the state speaks of, if it speaks of one.
    pub grant: Option<Grant>,
}

/// The state of one purpose for one sender (`None`: whichever), where the number may be in any of
/// `candidates`.
pub fn standing(
    facts: &Facts,
    rules: &Rules,
    purpose: &Purpose,
    sender: Option<&SenderId>,
    spelling: Spelling,
    candidates: &[JurisdictionCode],
    at: Timestamp,
) -> Standing {
    let context = Context {
        facts,
        rules,
        candidates,
    };
    let restriction = restrictions(facts, purpose, sender)
        .max_by_key(|restricted| (restricted.mark.at, restricted.kind));
    let best = facts
        .grants
        .iter()
        .filter(|grant| speaks_of(grant, purpose, sender, spelling))
        .filter(|grant| facts.speaks(grant, rules.clock_tolerance))
        .filter(|grant| outlives(grant, facts, rules, purpose, sender))
        .map(|grant| judge(grant, &context, purpose, purpose.message_class, at))
        .max_by_key(|judged| (prominence(judged, facts), judged.rank()));
    match (best, restriction) {
        (Some(judged), _) => of_grant(judged, restriction),
        (None, Some(restricted)) => Standing {
            state: restricted.kind.into(),
            event: Some(restricted.mark.event_id),
            since: Some(restricted.mark.at),
            expires_at: None,
            grant: None,
        },
        (None, None) => asked(facts, purpose, sender),
    }
}

/// Whether a consent waits to be confirmed, whatever other consents there are: one that has expired, or
/// that still holds, is renewed by a new request and its confirmation.
pub fn awaits_confirmation(
    grant: &Grant,
    facts: &Facts,
    rules: &Rules,
    purpose: &Purpose,
    candidates: &[JurisdictionCode],
    at: Timestamp,
) -> bool {
    let context = Context {
        facts,
        rules,
        candidates,
    };
    let judged = judge(grant, &context, purpose, purpose.message_class, at);
    outlives(grant, facts, rules, purpose, grant.sender.as_ref()) && is_pending(&judged, facts)
}

fn is_pending(judged: &Judged<'_>, facts: &Facts) -> bool {
    judged.failing.first() == Some(&Reason::ConfirmationPending)
        && !facts.is_confirmed(judged.grant)
}

/// A consent that holds speaks before one that waits to be confirmed, and that before all that hold no
/// more: whoever has just signed up again waits for the confirmation, and has not expired.
fn prominence(judged: &Judged<'_>, facts: &Facts) -> u8 {
    match judged.failing.is_empty() {
        true => 2,
        false => u8::from(is_pending(judged, facts)),
    }
}

/// Whether a grant is an act of the person later than everything that ends the purpose's consent.
fn outlives(
    grant: &Grant,
    facts: &Facts,
    rules: &Rules,
    purpose: &Purpose,
    sender: Option<&SenderId>,
) -> bool {
    restrictions(facts, purpose, sender).all(|restricted| {
        grant.is_genuine_act()
            && grant
                .mark
                .is_later_than(&restricted.mark, rules.clock_tolerance)
    })
}

fn speaks_of(
    grant: &Grant,
    purpose: &Purpose,
    sender: Option<&SenderId>,
    spelling: Spelling,
) -> bool {
    grant.purpose == purpose.key
        && grant.spelling.grants(spelling)
        && grant
            .sender
            .as_ref()
            .is_none_or(|narrowed| Some(narrowed) == sender)
}

/// The restrictions whose scope holds the purpose by its own class.
fn restrictions<'a>(
    facts: &'a Facts,
    purpose: &'a Purpose,
    sender: Option<&'a SenderId>,
) -> impl Iterator<Item = &'a Restricted> {
    facts.restrictions.iter().filter(move |restricted| {
        let in_scope = match &restricted.coverage {
            Coverage::Purpose(key) => *key == purpose.key,
            Coverage::AllMarketing => purpose.message_class == MessageClass::Marketing,
            Coverage::Everything => {
                !(purpose.requested_by_recipient
                    && purpose.message_class == MessageClass::Authentication)
            }
        };
        let sender_matches = restricted
            .sender
            .as_ref()
            .is_none_or(|restricted| sender.is_none_or(|asked| asked == restricted));
        in_scope && sender_matches
    })
}

fn of_grant(judged: Judged<'_>, restriction: Option<&Restricted>) -> Standing {
    let grant = judged.grant;
    let renewed = grant
        .prior
        .is_some_and(|(prior, _)| restriction.is_none_or(|restricted| prior > restricted.mark.at));
    let state = match judged.failing.first() {
        Some(Reason::ConfirmationPending) => ConsentState::PendingConfirmation,
        Some(Reason::ConfirmationRequired | Reason::Expired) => ConsentState::Expired,
        _ if renewed => ConsentState::RenewedConsentGiven,
        _ => ConsentState::Given,
    };
    Standing {
        state,
        event: Some(grant.mark.event_id),
        since: Some(grant.confirmed_at.unwrap_or(grant.mark.at)),
        expires_at: judged.expires_at,
        grant: Some(grant.clone()),
    }
}

fn asked(facts: &Facts, purpose: &Purpose, sender: Option<&SenderId>) -> Standing {
    let ask = facts
        .asks
        .iter()
        .filter(|ask| ask.purpose == purpose.key)
        .filter(|ask| {
            ask.sender
                .as_ref()
                .is_none_or(|asked| sender.is_none_or(|s| s == asked))
        })
        .filter_map(|ask| ask.latest().map(|mark| (ask.deferred, mark)))
        .max_by_key(|(_, mark)| mark.at);
    Standing {
        state: match ask {
            None => ConsentState::Unknown,
            Some((true, _)) => ConsentState::RequestDeferred,
            Some((false, _)) => ConsentState::Requested,
        },
        event: ask.map(|(_, mark)| mark.event_id),
        since: ask.map(|(_, mark)| mark.at),
        expires_at: None,
        grant: None,
    }
}

/// What a recorded grant did to one purpose, given the facts with it applied.
pub fn effect_of(
    facts: &Facts,
    rules: &Rules,
    purpose: &Purpose,
    event: &Event,
    terms: &Terms,
) -> Effect {
    let mark = Mark::of(event);
    let genuine = !terms.is_import() && terms.consent_type != ConsentType::Implied;
    let stands = restrictions(facts, purpose, terms.sender_id.as_ref())
        .all(|restricted| genuine && mark.is_later_than(&restricted.mark, rules.clock_tolerance));
    let is_latest = facts
        .grants
        .iter()
        .any(|grant| grant.purpose == purpose.key && grant.mark.event_id == event.event_id);
    match (stands, is_latest) {
        (false, _) => Effect::Superseded,
        (true, true) => Effect::Applied,
        (true, false) => Effect::Unchanged,
    }
}
