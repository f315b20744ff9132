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
    ends(facts, purpose, sender)
        .all(|end| grant.is_genuine_act() && grant.mark.is_later_than(end, rules.clock_tolerance))
}

/// What ended every earlier consent to the purpose: its restrictions, and erasures of the person's data.
fn ends<'a>(
    facts: &'a Facts,
    purpose: &'a Purpose,
    sender: Option<&'a SenderId>,
) -> impl Iterator<Item = &'a Mark> {
    restrictions(facts, purpose, sender)
        .map(|restricted| &restricted.mark)
        .chain(facts.erased.iter())
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
        // After an erasure the person reads as never seen; that asks are limited is kept all the same.
        .filter(|(_, mark)| facts.erased.iter().all(|erased| mark.at > erased.at))
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
    let stands = ends(facts, purpose, terms.sender_id.as_ref())
        .all(|end| genuine && mark.is_later_than(end, rules.clock_tolerance));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::event::tests::{at, event, purpose, terms, withdrawal};
    use super::super::event::{Act, Asked, Confirmation as Confirms, ConfirmedRequest, Scope};
    use super::super::policy::tests::{lenient, policy};
    use super::super::policy::{Confirmation, Requirements};
    use super::super::rules::tests::{catalog, rules, rules_with};
    use super::super::vocabulary::{IndicationMethod, RestrictionKind};
    use super::ConsentState as S;
    use super::*;

    fn sender(id: &str) -> SenderId {
        SenderId::parse(id).unwrap()
    }

    fn given(id: u128, seconds: i64) -> Event {
        event(id, at(seconds), Act::ConsentGiven(terms("offers")))
    }

    fn with(id: u128, seconds: i64, change: impl FnOnce(&mut Terms)) -> Event {
        let mut terms = terms("offers");
        change(&mut terms);
        event(id, at(seconds), Act::ConsentGiven(terms))
    }

    fn stop(seconds: i64, scope: Scope) -> Event {
        event(9, at(seconds), withdrawal(scope))
    }

    fn from_one(mut stop: Event) -> Event {
        if let Act::Restricted(restriction) = &mut stop.act {
            restriction.sender_id = Some(sender("1001"));
        }
        stop
    }

    fn asked(id: u128, seconds: i64, by: Option<&str>, deferred: bool) -> Event {
        let asked = Asked {
            purposes: vec![purpose("offers")],
            sender_id: by.map(sender),
            notice: None,
        };
        let act = match deferred {
            true => Act::ConsentRequestDeferred(asked),
            false => Act::ConsentRequested(asked),
        };
        event(id, at(seconds), act)
    }

    fn of(events: &[Event], rules: &Rules, key: &str, by: Option<&str>, seconds: i64) -> Standing {
        let (facts, by) = (Facts::fold(events), by.map(sender));
        let purpose = &rules.catalog.purposes[key];
        standing(
            &facts,
            rules,
            purpose,
            by.as_ref(),
            Spelling::Verbatim,
            &[],
            at(seconds),
        )
    }

    fn state(events: &[Event], key: &str, by: Option<&str>) -> ConsentState {
        of(events, &rules(), key, by, 10_000).state
    }

    #[test]
    fn nothing_known_is_an_unknown_state() {
        let unknown = of(&[], &rules(), "offers", None, 10_000);
        assert_eq!((unknown.state, unknown.event), (S::Unknown, None));
        assert_eq!((unknown.since, unknown.grant), (None, None));
    }

    #[test]
    fn a_consent_counts_for_its_purpose_its_address_and_its_senders() {
        let one = with(1, 100, |t| t.sender_id = Some(sender("1001")));
        let mexican = Event {
            spelling: Spelling::Mexico52,
            ..given(1, 100)
        };
        for (event, key, by, expected) in [
            (given(1, 100), "offers", None, S::Given),
            (given(1, 100), "offers", Some("1001"), S::Given),
            (given(1, 100), "orders", None, S::Unknown),
            (mexican, "offers", None, S::Unknown),
            (one.clone(), "offers", Some("1001"), S::Given),
            (one.clone(), "offers", Some("1002"), S::Unknown),
            (one, "offers", None, S::Unknown),
        ] {
            assert_eq!(state(&[event], key, by), expected, "{key} {by:?}");
        }
    }

    #[test]
    fn a_restriction_shows_where_its_scope_and_its_sender_reach() {
        let everything = || stop(200, Scope::Everything);
        let marketing = || stop(200, Scope::AllMarketing);
        let orders = stop(200, Scope::Purposes(vec![purpose("orders")]));
        for (event, key, by, expected) in [
            (everything(), "offers", None, S::Withdrawn),
            (everything(), "codes", None, S::Withdrawn),
            (marketing(), "offers", None, S::Withdrawn),
            (marketing(), "orders", None, S::Unknown),
            (orders.clone(), "orders", None, S::Withdrawn),
            (orders, "offers", None, S::Unknown),
            (from_one(marketing()), "offers", Some("1001"), S::Withdrawn),
            (from_one(marketing()), "offers", Some("1002"), S::Unknown),
            (from_one(marketing()), "offers", None, S::Withdrawn),
        ] {
            assert_eq!(state(&[event], key, by), expected, "{key} {by:?}");
        }
    }

    #[test]
    fn one_time_codes_that_the_recipient_asks_for_survive_an_opt_out_of_everything() {
        let mut catalog = catalog();
        for key in ["codes", "orders"] {
            let purpose = catalog.purposes.get_mut(key).unwrap();
            purpose.requested_by_recipient = true;
        }
        let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
        let events = [stop(200, Scope::Everything)];
        let state = |key| of(&events, &rules, key, None, 10_000).state;
        assert_eq!(
            (state("codes"), state("orders")),
            (S::Unknown, S::Withdrawn)
        );
    }

    #[test]
    fn of_several_restrictions_the_latest_shows_and_a_later_act_of_the_person_ends_all() {
        let mut refused = stop(300, Scope::AllMarketing);
        if let Act::Restricted(restriction) = &mut refused.act {
            restriction.kind = RestrictionKind::Refused;
        }
        let no = [stop(200, Scope::Everything), refused];
        let found = of(&no, &rules(), "offers", None, 10_000);
        let (refused, since) = (S::from(RestrictionKind::Refused), no[1].effective_at());
        assert_eq!((found.state, found.since), (refused, Some(since)));
        let between = [no[0].clone(), given(1, 250), no[1].clone()];
        assert_eq!(state(&between, "offers", None), refused);
        let after = [no[0].clone(), no[1].clone(), given(1, 400)];
        assert_eq!(state(&after, "offers", None), S::Given);
        let import = with(1, 400, |t| t.indication_method = IndicationMethod::Import);
        let imported = [no[0].clone(), import];
        assert_eq!(state(&imported, "offers", None), S::Withdrawn);
    }

    #[test]
    fn a_second_consent_renews_the_first_unless_an_opt_out_lies_between() {
        let half = |event: Event| Event {
            event_time: event.event_time.plus(Duration::from_millis(500)),
            ..event
        };
        let opt_out = || half(stop(200, Scope::Everything));
        let first = |seconds| half(given(1, seconds));
        for (events, expected) in [
            (vec![first(100), given(2, 300)], S::RenewedConsentGiven),
            (vec![opt_out(), first(199), given(2, 300)], S::Given),
            (vec![opt_out(), first(200), given(2, 300)], S::Given),
            (
                vec![opt_out(), first(201), given(2, 300)],
                S::RenewedConsentGiven,
            ),
        ] {
            let found = state(&events, "offers", None);
            assert_eq!(found, expected, "{events:?}");
        }
    }

    #[test]
    fn a_consent_waits_for_its_confirmation_and_ends_with_its_time() {
        let mut required = lenient();
        required.confirmation = Confirmation::Required;
        let confirming = rules_with(catalog(), policy(&[("ZZ", required)]));
        let mut lasting = lenient();
        lasting.validity = Some(Duration::from_secs(500));
        let lasting = rules_with(catalog(), policy(&[("ZZ", lasting)]));
        let events = [given(1, 100)];
        for (rules, seconds, expected) in [
            (&confirming, 199, S::PendingConfirmation),
            (&confirming, 200, S::Expired),
            (&lasting, 599, S::Given),
            (&lasting, 600, S::Expired),
        ] {
            let found = of(&events, rules, "offers", None, seconds);
            assert_eq!(found.state, expected, "at {seconds}");
            assert_eq!(found.since, Some(at(100)));
        }
        let found = of(&events, &lasting, "offers", None, 599);
        assert_eq!(found.expires_at, Some(at(600)));
    }

    #[test]
    fn a_request_awaits_its_confirmation_until_its_time_is_over_or_the_person_says_no() {
        let mut required = lenient();
        required.confirmation = Confirmation::Required;
        let confirming = rules_with(catalog(), policy(&[("ZZ", required)]));
        let awaits = |events: &[Event], rules: &Rules, seconds| {
            let facts = Facts::fold(events);
            let purpose = &rules.catalog.purposes["offers"];
            awaits_confirmation(&facts.grants[0], &facts, rules, purpose, &[], at(seconds))
        };
        let (request, no) = (given(1, 100), stop(150, Scope::Everything));
        assert!(awaits(std::slice::from_ref(&request), &confirming, 199));
        assert!(!awaits(std::slice::from_ref(&request), &confirming, 200));
        assert!(!awaits(std::slice::from_ref(&request), &rules(), 199));
        assert!(!awaits(&[request, no], &confirming, 199));
    }

    #[test]
    fn a_new_request_shows_only_where_no_consent_holds() {
        let required = Requirements {
            confirmation: Confirmation::Required,
            validity: Some(Duration::from_secs(500)),
            ..lenient()
        };
        let rules = rules_with(catalog(), policy(&[("ZZ", required)]));
        let request = given(1, 100);
        let act = Act::ConsentConfirmed(Confirms {
            indication_method: IndicationMethod::Keyword,
            requests: vec![ConfirmedRequest {
                request: request.event_id,
                requested_at: request.effective_at(),
                requested_source: request.time_source,
                requested_digest: request.content_digest(),
                terms: terms("offers"),
            }],
        });
        let confirmed = [request, event(2, at(110), act)];
        for (requested, seconds, expected) in [
            (None, 590, S::Given),
            (Some(580), 590, S::Given),
            (Some(580), 610, S::PendingConfirmation),
            (Some(580), 680, S::Expired),
            (None, 610, S::Expired),
        ] {
            let newer = requested.map(|time| given(3, time));
            let events: Vec<Event> = confirmed.iter().cloned().chain(newer).collect();
            let found = of(&events, &rules, "offers", None, seconds);
            assert_eq!(found.state, expected, "{requested:?} at {seconds}");
        }
    }

    #[test]
    fn who_was_asked_and_by_whom_shows_until_there_is_an_answer() {
        for (events, key, by, expected) in [
            (
                vec![asked(1, 100, None, false)],
                "offers",
                None,
                S::Requested,
            ),
            (vec![asked(1, 100, None, false)], "orders", None, S::Unknown),
            (
                vec![asked(1, 100, None, false), asked(2, 200, None, true)],
                "offers",
                None,
                S::RequestDeferred,
            ),
            (
                vec![asked(1, 300, None, false), asked(2, 200, None, true)],
                "offers",
                None,
                S::Requested,
            ),
            (
                vec![asked(1, 100, Some("1001"), false)],
                "offers",
                Some("1001"),
                S::Requested,
            ),
            (
                vec![asked(1, 100, Some("1001"), false)],
                "offers",
                Some("1002"),
                S::Unknown,
            ),
            (
                vec![asked(1, 100, Some("1001"), false)],
                "offers",
                None,
                S::Requested,
            ),
            (
                vec![asked(1, 100, None, false), given(2, 50)],
                "offers",
                None,
                S::Given,
            ),
        ] {
            assert_eq!(state(&events, key, by), expected, "{events:?} {by:?}");
        }
    }

    #[test]
    fn a_consent_that_does_not_come_after_an_opt_out_or_is_no_act_of_the_person_changes_nothing() {
        let import = with(1, 300, |t| t.indication_method = IndicationMethod::Import);
        let implied = with(1, 300, |t| t.consent_type = ConsentType::Implied);
        let opt_out = || stop(200, Scope::Everything);
        let other = with(2, 400, |t| t.purposes = vec![purpose("orders")]);
        for (before, consent, expected) in [
            (vec![], given(1, 300), Effect::Applied),
            (vec![], import.clone(), Effect::Applied),
            (vec![opt_out()], given(1, 300), Effect::Applied),
            (vec![opt_out()], given(1, 100), Effect::Superseded),
            (vec![opt_out()], import, Effect::Superseded),
            (vec![opt_out()], implied, Effect::Superseded),
            (vec![given(2, 400)], given(1, 300), Effect::Unchanged),
            (vec![other], given(1, 300), Effect::Applied),
        ] {
            let Act::ConsentGiven(terms) = &consent.act else {
                unreachable!("made by `with`")
            };
            let facts = Facts::fold(before.iter().chain([&consent]));
            let rules = rules();
            let purpose = &rules.catalog.purposes["offers"];
            let effect = effect_of(&facts, &rules, purpose, &consent, terms);
            assert_eq!(effect, expected, "{consent:?} after {before:?}");
        }
    }
}
