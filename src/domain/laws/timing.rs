//! When a message may go that is allowed in every other way: the promise of `not_before`.
//!
//! The naive model knows one instant at a time. It is asked at `not_before`, just before it, and at
//! every instant in between at which something might begin or end.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::cases::{Case, case};
use super::histories::{confirmation_of, instant};
use super::model::Model;
use super::reports::undelivered;
use super::*;
use crate::domain::facts::Facts;
use crate::domain::policy::FrequencyCap;
use crate::domain::policy::tests::code;

const DAY: i64 = 86_400;
const MICROS: i64 = 1_000_000;

/// A MARKETING message, or the question whether one is wanted, to somebody who consented and did not
/// take it back: what is left to ask is the hour, the count and the registries.
pub(super) fn due() -> BoxedStrategy<Case> {
    let asks = prop::bool::weighted(0.2);
    let names = select(vec!["offers", "news"]);
    let stated = prop_oneof![3 => Just(None), 1 => select(vec!["DE", "FR", "CA"]).prop_map(Some)];
    let failing = option::weighted(0.1, prop::array::uniform3(instant()));
    (case(), names, asks, stated, failing)
        .prop_map(|(case, name, asks, stated, failing)| {
            let mut due = Case {
                purpose: purpose(name),
                class: if asks {
                    MessageClass::ConsentRequest
                } else {
                    MessageClass::Marketing
                },
                ..case
            };
            due.events.retain(|event| {
                matches!(
                    event.act,
                    Act::ConsentGiven(_)
                        | Act::RegistryChecked(_)
                        | Act::DeliveryFailed(_)
                        | Act::Reached(_)
                )
            });
            let terms = Terms {
                jurisdiction: stated.map(code),
                ..full_consent(&due)
            };
            let request = Event {
                spelling: due.spelling,
                ..on(Timestamp::EPOCH, Act::ConsentGiven(terms.clone()))
            };
            let confirmation = Event {
                spelling: due.spelling,
                ..on(
                    Timestamp::from_micros(MICROS),
                    confirmation_of(&request, terms),
                )
            };
            let due = due.and(request).and(confirmation);
            let failures = failing.into_iter().flatten();
            failures.fold(due, |due, time| due.and(on(time, undelivered())))
        })
        .boxed()
}

/// Every instant from then on, for some 31 days, at which something might begin or end, sorted.
fn boundaries(case: &Case) -> Vec<Timestamp> {
    let policy = &case.rules.policy;
    let entries: Vec<_> = policy.jurisdictions().values().flatten().collect();
    let mut found: BTreeSet<Timestamp> = BTreeSet::new();
    for entry in &entries {
        found.extend([entry.effective_from]);
        found.extend(entry.effective_to);
    }
    for rule in &policy.platform {
        found.extend([rule.effective_from]);
        found.extend(rule.effective_to);
    }
    let caps = entries
        .iter()
        .flat_map(|entry| &entry.requirements.frequency_caps);
    for cap in caps.chain(&case.purpose().frequency_cap) {
        found.extend(case.sends.iter().map(|sent| sent.at.plus(cap.per())));
    }
    let facts = Facts::fold(&case.events);
    let waits = [1, 30].map(|days| Duration::from_hours(24 * days));
    for mark in facts.failures.iter().flat_map(|failed| &failed.marks) {
        found.extend(waits.map(|wait| mark.at.plus(wait)));
    }
    let terms = entries.iter().flat_map(|entry| {
        let required = &entry.requirements;
        let implied = required.implied_validity.values().copied();
        let look_ups = required.registries.iter().map(|rule| rule.max_age);
        let one = [required.confirmation_within].into_iter();
        one.chain(required.validity).chain(implied).chain(look_ups)
    });
    let terms: Vec<Duration> = terms.chain(case.purpose().validity()).collect();
    for grant in &facts.grants {
        let since = [Some(grant.mark.at), grant.implied.map(|i| i.basis_time)];
        for since in since.into_iter().flatten() {
            found.extend(terms.iter().map(|term| since.plus(*term)));
        }
    }
    for consulted in &facts.registries {
        found.extend(terms.iter().map(|term| consulted.mark.at.plus(*term)));
    }
    found.extend(case.inbound.map(|last| last.plus(Duration::from_hours(24))));
    found.extend(hours_begin_or_end(case));
    let end = case.at.plus(Duration::from_hours(31 * 24));
    found.retain(|instant| case.at < *instant && *instant <= end);
    found.into_iter().collect()
}

/// In the first nine days, whatever the zone: after that the week repeats itself.
fn hours_begin_or_end(case: &Case) -> BTreeSet<Timestamp> {
    let entries = case.rules.policy.jurisdictions().values().flatten();
    let hours = entries.filter_map(|entry| entry.requirements.sending_hours.as_ref());
    let spans = hours.flat_map(|hours| hours.weekdays.iter().flatten());
    let minutes: BTreeSet<i64> = spans
        .flat_map(|span| [i64::from(span.from), i64::from(span.to)])
        .collect();
    let today = case.at.as_micros().div_euclid(DAY * MICROS);
    let mut found = BTreeSet::new();
    // New York, UTC, Berlin and Kolkata, in 1970 without summer time until April.
    for ahead in [-300, 0, 60, 330] {
        for day in today - 1..today + 9 {
            found.extend(minutes.iter().map(|minute| {
                let of_day = (minute - ahead) * 60;
                Timestamp::from_micros((day * DAY + of_day) * MICROS)
            }));
        }
    }
    found
}

fn is_deferring(reasons: &[Reason]) -> bool {
    reasons.iter().all(|r| r.decision() == Decision::Defer)
}

fn just_before(instant: Timestamp) -> Timestamp {
    Timestamp::from_micros(instant.as_micros() - 1)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_deferred_message_is_allowed_at_not_before_and_at_no_instant_earlier(case in due()) {
        let verdict = case.verdict();
        if let Some(first) = verdict.not_before {
            prop_assert!(case.at < first && first <= case.at.plus(Duration::from_hours(31 * 24)));
            let asked = |at| Case { at, ..case.clone() };
            prop_assert!(allows(&asked(first)));
            prop_assert!(!allows(&asked(just_before(first))));
            let model = Model::of(&case);
            prop_assert!(model.allows(first), "{:?}: {:?}", first, model.deciding(first));
            for instant in boundaries(&case).into_iter().filter(|instant| *instant < first) {
                prop_assert!(!model.allows(instant), "already at {:?}, not {:?}", instant, first);
            }
            let second = first.as_micros() - MICROS;
            if case.at.as_micros() <= second {
                prop_assert!(!model.allows(Timestamp::from_micros(second)));
            }
        }
    }

    #[test]
    fn what_is_deferred_for_ever_or_until_it_is_denied_is_denied_at_once(case in due()) {
        let verdict = case.verdict();
        let model = Model::of(&case);
        if verdict.decision == Decision::Deny && is_deferring(&model.deciding(case.at)) {
            let later = boundaries(&case).into_iter().map(|instant| (instant, model.deciding(instant)));
            let ends = later.into_iter().find(|(_, reasons)| !is_deferring(reasons));
            match ends {
                None => prop_assert_eq!(verdict.reasons()[0].decision(), Decision::Defer),
                Some((instant, reasons)) => prop_assert!(
                    reasons.contains(&verdict.reasons()[0]),
                    "{:?} at {:?}, not {:?}", reasons, instant, verdict.reasons()
                ),
            }
        }
    }

    #[test]
    fn a_consent_that_ends_while_its_message_waits_is_expired_now(
        case in due(), rest in 1..500_000_i64, wait in 0..500_000_i64
    ) {
        // Nothing but one consent, whose term ends after `rest` seconds, and a cap that opens then.
        let at = Timestamp::from_micros(10 * DAY * MICROS);
        let mut catalog = (*case.rules.catalog).clone();
        let name = case.purpose.clone();
        let mut changed = catalog.purposes[&name].clone();
        let opens = at.plus(Duration::from_secs((rest + wait).cast_unsigned()));
        changed.frequency_cap = Some(FrequencyCap { messages: 1, per_seconds: 20 * DAY.cast_unsigned() });
        changed.validity_seconds = Some((10 * DAY + rest).cast_unsigned());
        changed.confirmation_required = false;
        catalog.purposes.insert(name.clone(), changed);
        let alone = Case {
            events: Vec::new(),
            rules: crate::domain::rules::tests::rules_with(
                catalog, crate::domain::policy::tests::policy(&[("ZZ", crate::domain::policy::tests::lenient())])
            ),
            class: MessageClass::Marketing,
            place: Place::default(),
            inbound: None,
            sends: vec![crate::domain::activity::Sent {
                purpose: name, class: MessageClass::Marketing,
                at: Timestamp::from_micros(opens.as_micros() - 20 * DAY * MICROS),
            }],
            at,
            ..case
        };
        let waiting = consents_anew(&alone, Timestamp::EPOCH, TimeSource::Caller);
        let waiting = Case { at, sender: None, ..waiting };
        let verdict = waiting.verdict();
        prop_assert_eq!(verdict.decision, Decision::Deny);
        prop_assert_eq!(verdict.reasons(), [Reason::Expired, Reason::FrequencyCap]);
    }

    #[test]
    fn an_answer_to_somebody_who_consented_holds_until_it_says(
        case in due(), ahead in prop::array::uniform4(0..3_000_000_000_000_i64)
    ) {
        let verdict = case.verdict();
        for ahead in ahead {
            let at = Timestamp::from_micros(case.at.as_micros() + ahead);
            if verdict.holds_until.is_none_or(|end| at < end) {
                let then = Case { at, ..case.clone() }.verdict();
                prop_assert_eq!(then.decision, verdict.decision, "{:?}", at);
            }
        }
    }

    #[test]
    fn only_advertising_waits(case in case(), class in select(MessageClass::ALL)) {
        let asked = Case { class, ..case };
        let timed = matches!(class, MessageClass::Marketing | MessageClass::ConsentRequest);
        let defers = |reason: &Reason| reason.decision() == Decision::Defer;
        prop_assert!(timed || !asked.verdict().reasons().iter().any(defers));
    }
}
