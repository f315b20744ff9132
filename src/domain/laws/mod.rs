//! The ten laws of consent as properties over random histories, and a naive model to compare with.
//!
//! Each law stands alone: it says what must hold, not how the decision comes to it. Single cases
//! with their expected reasons are in `decide_tests.rs`; storage and commands are not tested here.
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` widen the search; without them it is the same each time.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed};
use uuid::Uuid;

use self::histories::{
    Case, PURPOSES, asked, case, confirmation_of, event_of, genuine_terms, instant, lift,
    no_policy, other_terms, restriction, scope, sender, source, suppression,
};
use self::model::{deciding, scope_covers, sender_covers};
use super::address::Spelling;
use super::event::tests::{event, purpose, terms};
use super::event::{Act, Event, Restriction, Scope, Terms};
use super::facts::Facts;
use super::id::{BusinessId, EventId, SubjectId};
use super::rules::CLOCK_TOLERANCE;
use super::rules::tests::{purpose_of, rules, rules_with};
use super::standing::{effect_of, standing};
use super::time::Timestamp;
use super::vocabulary::{
    ConsentState, Decision, Effect, MessageClass, Reason, RestrictionKind, SuppressionBasis,
    TimeSource,
};

mod histories;
mod model;

fn config() -> Config {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_122),
        chosen @ RngSeed::Fixed(_) => chosen,
    };
    // 256 is proptest's own default.
    let cases = if default.cases == 256 {
        512
    } else {
        default.cases
    };
    Config {
        cases,
        rng_seed,
        failure_persistence: None,
        ..default
    }
}

fn allows(case: &Case) -> bool {
    case.verdict().decision == Decision::Allow
}

fn is_restricted(reason: Reason) -> bool {
    RestrictionKind::ALL
        .iter()
        .any(|kind| Reason::from(*kind) == reason)
}

/// Whether a restriction speaks of the question, by scope and sender.
fn concerns(restriction: &Restriction, case: &Case) -> bool {
    scope_covers(&restriction.scope, case.purpose(), case.class)
        && sender_covers(restriction.sender_id.as_ref(), case.sender.as_ref())
}

fn restriction_of(event: &Event) -> &Restriction {
    let Act::Restricted(restriction) = &event.act else {
        unreachable!("made by `restriction`")
    };
    restriction
}

/// An act that is known and recorded at the same instant.
fn on(time: Timestamp, act: Act) -> Event {
    Event {
        recorded_at: time.plus(Duration::from_secs(1)),
        ..event(0, time, act)
    }
}

/// A consent to the very question, as strong as there is: nothing but what came before can fail it.
fn full_consent(case: &Case) -> Terms {
    let every = super::vocabulary::EvidenceField::ALL.iter().copied();
    Terms {
        purposes: vec![case.purpose.clone()],
        evidence: every.fold(Default::default(), super::vocabulary::EvidenceFields::with),
        ..terms("offers")
    }
}

/// The person consents at `time` and confirms it a second later.
fn consents_anew(case: &Case, time: Timestamp, source: TimeSource) -> Case {
    let mut request = Event {
        time_source: source,
        ..on(time, Act::ConsentGiven(full_consent(case)))
    };
    request.spelling = case.spelling;
    let mut confirmation = on(
        time.plus(Duration::from_secs(1)),
        confirmation_of(&request, full_consent(case)),
    );
    confirmation.spelling = case.spelling;
    let mut after = case.and(request).and(confirmation);
    after.at = time.plus(Duration::from_secs(2));
    after
}

/// An act of a kind that can only take permission away, at any time.
fn restricting() -> impl Strategy<Value = Event> {
    prop_oneof![event_of(restriction()), event_of(suppression())]
}

fn given(terms: impl Strategy<Value = Terms>) -> impl Strategy<Value = Act> {
    terms.prop_map(Act::ConsentGiven)
}

fn other_clock(source: TimeSource) -> TimeSource {
    if source == TimeSource::Caller {
        TimeSource::Platform
    } else {
        TimeSource::Caller
    }
}

// Law 1: a withdrawal is always accepted, in every state, also before any grant; twice is once.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_restriction_in_any_state_denies_all_in_its_scope_and_nothing_else(
        case in case(), act in restriction(), source in source()
    ) {
        let stop = Event { time_source: source, ..on(case.afterwards(), act) };
        let after = case.and(stop.clone());
        if concerns(restriction_of(&stop), &case) {
            let verdict = after.verdict();
            prop_assert_eq!(verdict.decision, Decision::Deny);
            prop_assert!(verdict.reasons.contains(&restriction_of(&stop).kind.into()));
        } else {
            prop_assert_eq!(after.verdict(), case.verdict());
        }
    }

    #[test]
    fn a_restriction_before_any_grant_denies(case in case(), act in restriction()) {
        let first = Case { events: Vec::new(), inbound: None, ..case }.and(on(Timestamp::EPOCH, act));
        if concerns(restriction_of(&first.events[0]), &first) {
            prop_assert_eq!(first.verdict().decision, Decision::Deny);
            let reason = first.verdict().reasons.into_iter().find(|r| is_restricted(*r));
            prop_assert_eq!(reason, Some(restriction_of(&first.events[0]).kind.into()));
        }
    }

    #[test]
    fn a_restriction_applied_twice_is_applied_once(case in case(), stop in event_of(restriction())) {
        let once = case.and(stop);
        let mut facts = Facts::fold(&once.events);
        facts.apply(once.events.last().unwrap());
        prop_assert_eq!(facts, Facts::fold(&once.events));
    }
}

// Law 2: the order of acts.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn at_the_same_instant_or_in_a_second_known_only_as_such_the_restriction_wins(
        case in case(), act in restriction(), source in source(), micros in select(vec![0_i64, 1, 999_999])
    ) {
        let time = case.afterwards();
        let stop = Event { time_source: source, recorded_at: Timestamp::MAX, ..on(time, act) };
        let in_that_second = Timestamp::from_micros(time.as_micros() + micros);
        let after = consents_anew(&case.and(stop), in_that_second, source);
        if concerns(restriction_of(&after.events[case.events.len()]), &case) {
            prop_assert_ne!(after.verdict().decision, Decision::Allow);
        }
    }

    #[test]
    fn against_another_clock_a_grant_must_be_later_by_more_than_the_tolerance(
        source in source(), micros in 0..600_000_000_i64, same in any::<bool>()
    ) {
        let stop_at = Timestamp::from_micros(1_000_000_001);
        let stop = Act::Restricted(Restriction {
            kind: RestrictionKind::Withdrawn,
            scope: Scope::Everything,
            sender_id: None,
            withdrawal_method: None,
            import_batch_id: None,
        });
        let stop = Event { time_source: source, ..on(stop_at, stop) };
        let time = Timestamp::from_micros(stop_at.as_micros() + micros);
        let grant = Event {
            time_source: if same { source } else { other_clock(source) },
            ..on(time, Act::ConsentGiven(terms("offers")))
        };
        let after = question("offers").and(stop).and(grant);
        let needed = if same { Duration::ZERO } else { CLOCK_TOLERANCE };
        prop_assert_eq!(allows(&after), time.since(stop_at) > needed);
    }

    #[test]
    fn a_recorded_restriction_counts_at_once_whatever_the_question_says(
        case in case(), act in restriction(), at in instant()
    ) {
        let mut after = case.and(on(case.afterwards(), act));
        after.at = at;
        if concerns(restriction_of(after.events.last().unwrap()), &case) {
            prop_assert_eq!(after.verdict().decision, Decision::Deny);
        }
    }

    #[test]
    fn a_clock_that_is_ahead_neither_delays_a_restriction_nor_prolongs_a_consent(event in restricting()) {
        prop_assert!(event.effective_at() <= event.recorded_at);
        let ahead = Event { event_time: event.recorded_at.plus(Duration::from_hours(1)), ..event.clone() };
        prop_assert_eq!(ahead.effective_at(), event.recorded_at);
    }

    #[test]
    fn a_grant_that_loses_is_kept_and_changes_nothing(
        case in case(), grant in event_of(given(genuine_terms())), act in restriction()
    ) {
        let after = case.and(on(case.afterwards(), act));
        if let (Act::ConsentGiven(terms), true) =
            (&grant.act, concerns(restriction_of(after.events.last().unwrap()), &case))
        {
            let more = after.and(grant.clone());
            prop_assert_eq!(more.verdict().decision, Decision::Deny);
            let asked = Terms { sender_id: case.sender.clone(), ..terms.clone() };
            if case.class == case.purpose().message_class && asked.purposes.contains(&case.purpose) {
                let facts = Facts::fold(&more.events);
                let effect = effect_of(&facts, &case.rules, case.purpose(), &grant, &asked);
                // One-time codes that the recipient asks for are judged by their class.
                if !case.purpose().requested_by_recipient {
                    prop_assert_eq!(effect, Effect::Superseded);
                }
            }
        }
    }

    #[test]
    fn an_implied_grant_or_an_import_never_shadows_an_act_of_the_person(
        case in case(), other in event_of(given(other_terms()))
    ) {
        let verdict = case.verdict();
        let genuine = case.events.iter().any(|e| Some(e.event_id) == verdict.rests_on && is_genuine(e));
        if verdict.decision == Decision::Allow && genuine {
            prop_assert_eq!(case.and(other).verdict(), verdict);
        }
    }
}

// Law 3: after a withdrawal only a new act of the person, later than it, gives consent again.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_import_or_an_inference_never_weakens_an_opt_out(
        case in case(), stop in event_of(restriction()), other in event_of(given(other_terms()))
    ) {
        let stopped = case.and(stop);
        if concerns(restriction_of(stopped.events.last().unwrap()), &case) && !allows(&stopped) {
            prop_assert!(!allows(&stopped.and(other)));
        }
    }

    #[test]
    fn a_later_act_of_the_person_gives_consent_again(case in case(), act in restriction(), clock in source()) {
        let stop = Event { time_source: clock, ..on(case.afterwards(), act) };
        let after = case.and(stop);
        let clear = after.afterwards();
        let again = consents_anew(&after, clear, TimeSource::Caller);
        let verdict = again.verdict();
        prop_assert!(!verdict.reasons.iter().any(|reason| is_restricted(*reason)), "{:?}", verdict);
        // With no overlay, and the sender not held, it allows what a consent can allow.
        let overlay = |r: &Reason| {
            matches!(r, Reason::Suppressed | Reason::PlatformStopped | Reason::SenderHeld)
        };
        let by_consent = matches!(
            case.class,
            MessageClass::Marketing | MessageClass::Utility | MessageClass::Authentication
        );
        if by_consent && !verdict.reasons.iter().any(overlay) {
            prop_assert_eq!(verdict.reasons, [Reason::ConsentGiven]);
        }
    }

    #[test]
    fn a_narrower_later_grant_reopens_its_own_purpose_only(
        case in case(), kind in select(RestrictionKind::ALL), other in select(&PURPOSES[..])
    ) {
        let stop = Restriction {
            kind,
            scope: Scope::Everything,
            sender_id: None,
            withdrawal_method: None,
            import_batch_id: None,
        };
        let stopped = case.and(on(case.afterwards(), Act::Restricted(stop)));
        let again = consents_anew(&stopped, stopped.afterwards(), TimeSource::Caller);
        if case.purpose.as_str() != other {
            let mut elsewhere = again.clone();
            elsewhere.purpose = purpose(other);
            elsewhere.class = elsewhere.purpose().message_class;
            if concerns(restriction_of(&again.events[case.events.len()]), &elsewhere) {
                prop_assert!(!allows(&elsewhere));
            }
        }
    }
}

// Law 4: a confirmation of an older request does not beat a newer withdrawal.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_confirmation_of_an_older_request_never_beats_a_newer_restriction(
        case in case(), act in restriction(), which in any::<Index>(), delay in 1..100_000_u64
    ) {
        let requests: Vec<Event> = case.events.iter().filter(|e| is_request(e)).cloned().collect();
        let stop = on(case.afterwards(), act);
        if !requests.is_empty() && concerns(restriction_of(&stop), &case) {
            let asked = which.get(&requests);
            let Act::ConsentGiven(terms) = &asked.act else { unreachable!("filtered") };
            let confirmation = Event {
                spelling: asked.spelling,
                ..on(stop.event_time.plus(Duration::from_secs(delay)), confirmation_of(asked, terms.clone()))
            };
            let mut after = case.and(stop).and(confirmation);
            after.at = after.afterwards();
            after.inbound = None;
            prop_assert_eq!(after.verdict().decision, Decision::Deny);
            prop_assert!(after.verdict().reasons.iter().any(|reason| is_restricted(*reason)));
        }
    }

    #[test]
    fn a_confirmation_counts_only_for_the_address_that_was_asked(
        case in case(), spelling in select(&Spelling::ALL[..])
    ) {
        let apart = Case { events: Vec::new(), spelling, ..case.clone() };
        let mut confirmed = consents_anew(&apart, case.afterwards(), TimeSource::Caller);
        confirmed.spelling = case.spelling;
        confirmed.inbound = None;
        if !spelling.grants(case.spelling) {
            prop_assert_ne!(confirmed.verdict().reasons[0], Reason::ConsentGiven);
        }
    }
}

// Law 5: a wider scope covers purposes that were granted at the same time or never named.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_wider_scope_covers_purposes_never_named(
        case in case(), everything in any::<bool>(), class in select(MessageClass::ALL), granted in any::<bool>()
    ) {
        let mut catalog = (*case.rules.catalog).clone();
        catalog.purposes.insert(purpose("unheard"), purpose_of("unheard", class));
        let rules = rules_with(catalog, (*case.rules.policy).clone());
        let mut fresh = Case { purpose: purpose("unheard"), class, rules, inbound: None, ..case };
        let time = fresh.afterwards();
        if granted {
            fresh = consents_anew(&fresh, time, TimeSource::Caller);
        }
        let stop = Restriction {
            kind: RestrictionKind::Withdrawn,
            scope: if everything { Scope::Everything } else { Scope::AllMarketing },
            sender_id: None,
            withdrawal_method: None,
            import_batch_id: None,
        };
        let covered = concerns(&stop, &fresh);
        let after = fresh.and(on(time, Act::Restricted(stop)));
        let withdrawn = after.verdict().reasons.contains(&Reason::Withdrawn);
        if covered {
            prop_assert_eq!(after.verdict().decision, Decision::Deny);
            prop_assert!(withdrawn);
        } else if class != MessageClass::OptOutConfirmation {
            prop_assert_eq!(after.verdict(), fresh.verdict());
        }
    }

    #[test]
    fn after_an_opt_out_of_everything_only_a_window_opened_later_lets_service_through(
        case in case(), before in -200..200_i64
    ) {
        let everything = Restriction {
            kind: RestrictionKind::Withdrawn,
            scope: Scope::Everything,
            sender_id: None,
            withdrawal_method: None,
            import_batch_id: None,
        };
        let time = Timestamp::from_micros(case.afterwards().as_micros() + 1);
        let mut after = Case { purpose: purpose("support"), class: MessageClass::Service, ..case.clone() }
            .and(on(time, Act::Restricted(everything)));
        after.inbound = Some(Timestamp::from_micros(time.as_micros() + before));
        after.at = time.plus(Duration::from_mins(1));
        let verdict = after.verdict();
        prop_assert_eq!(verdict.reasons.contains(&Reason::Withdrawn), before <= 0);
        prop_assert!(before > 0 || verdict.decision == Decision::Deny);
    }
}

// Law 6: an opt-out holds for every spelling, a grant for its own and its twin.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn twins_are_one_address(case in case()) {
        let twin = match case.spelling {
            Spelling::Mexico52 => Spelling::Mexico521,
            Spelling::Mexico521 => Spelling::Mexico52,
            Spelling::Brazil8 => Spelling::Brazil9,
            Spelling::Brazil9 => Spelling::Brazil8,
            only => only,
        };
        prop_assert_eq!(Case { spelling: twin, ..case.clone() }.verdict(), case.verdict());
    }

    #[test]
    fn a_restriction_holds_for_every_spelling(
        case in case(), stop in restricting(), spellings in prop::array::uniform2(select(&Spelling::ALL[..]))
    ) {
        let [one, other] = spellings.map(|spelling| case.and(Event { spelling, ..stop.clone() }).verdict());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_grant_says_nothing_of_a_spelling_that_is_no_twin(
        case in case(), mut grant in event_of(given(genuine_terms())), spelling in select(&Spelling::ALL[..])
    ) {
        grant.spelling = spelling;
        if !spelling.grants(case.spelling) {
            prop_assert_eq!(case.and(grant).verdict(), case.verdict());
        }
    }
}

// Law 7: `resume` lifts what WhatsApp's own `stop` set, never a typed STOP, and is no grant.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn lifting_a_platform_stop_lifts_that_alone_and_is_no_grant(
        case in case(), resume in event_of(lift(Just(SuppressionBasis::PlatformStop)))
    ) {
        let (before, after) = (case.verdict(), case.and(resume).verdict());
        if !before.reasons.contains(&Reason::PlatformStopped) {
            prop_assert_eq!(after, before);
        } else {
            let others: Vec<Reason> =
                before.reasons.into_iter().filter(|r| *r != Reason::PlatformStopped).collect();
            for reason in others {
                prop_assert!(after.reasons.contains(&reason), "{:?} is gone", reason);
            }
        }
    }

    #[test]
    fn a_platform_stop_and_its_resume_leave_no_trace(case in case(), scope in scope(), sender in sender()) {
        let time = case.afterwards();
        let stop = Act::Suppressed(super::event::Suppression {
            basis: SuppressionBasis::PlatformStop,
            scope: scope.clone(),
            sender_id: sender.clone(),
            until: None,
            withdrawal_method: None,
        });
        let resume = Act::SuppressionLifted(super::event::Lift {
            basis: SuppressionBasis::PlatformStop,
            scope,
            sender_id: sender,
        });
        let after = case.and(on(time, stop)).and(on(time.plus(Duration::from_secs(1)), resume));
        if !case.verdict().reasons.contains(&Reason::PlatformStopped) {
            prop_assert_eq!(after.verdict(), case.verdict());
        }
    }
}

// Law 8: an unknown value, an unreadable row or a missing rule never allows.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn without_a_rule_nothing_is_allowed(case in case()) {
        prop_assert!(!allows(&case.under(no_policy())));
    }

    #[test]
    fn without_a_rule_no_consent_is_enough(case in case()) {
        let verdict = case.under(no_policy()).verdict();
        prop_assert!(!verdict.reasons.contains(&Reason::ConsentGiven));
    }

    #[test]
    fn a_damaged_row_is_an_error_or_other_facts_and_never_these(
        case in case(), place in any::<Index>(), bit in 0..8_u8
    ) {
        let facts = Facts::fold(&case.events);
        let mut bytes = facts.encode();
        bytes[place.index(facts.encode().len())] ^= 1 << bit;
        prop_assert_ne!(Facts::decode(&bytes), Ok(facts.clone()));
        let cut = place.index(facts.encode().len());
        prop_assert!(Facts::decode(&facts.encode()[..cut]).is_err());
    }
}

// Law 9: a decision depends on nothing but facts, activity, rules, question and instant.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_same_facts_give_the_same_decision_stored_or_not(case in case()) {
        let facts = Facts::fold(&case.events);
        let stored = Facts::decode(&facts.encode()).unwrap();
        prop_assert_eq!(case.verdict_on(&facts), case.verdict_on(&stored));
        prop_assert_eq!(case.verdict_on(&facts), case.verdict());
    }

    #[test]
    fn what_concerns_another_purpose_or_another_sender_changes_nothing(
        case in case(), mut more in event_of(given(genuine_terms())), asked in event_of(asked())
    ) {
        if let Act::ConsentGiven(terms) = &mut more.act {
            terms.purposes.retain(|key| *key != case.purpose);
        }
        prop_assert_eq!(case.and(more).verdict(), case.verdict());
        if case.class != MessageClass::ConsentRequest {
            prop_assert_eq!(case.and(asked).verdict(), case.verdict());
        }
    }

    #[test]
    fn whose_history_it_is_does_not_matter(case in case()) {
        let mut other = case.clone();
        for event in &mut other.events {
            event.subject_id = SubjectId(Uuid::from_u128(77));
            event.business_id = BusinessId::parse("other").unwrap();
            event.payload_commitment = Some("00".into());
        }
        prop_assert_eq!(other.verdict(), case.verdict());
    }

    #[test]
    fn an_answer_holds_until_it_says(case in case(), ahead in prop::array::uniform4(0..200_000_000_000_i64)) {
        let verdict = case.verdict();
        for ahead in ahead {
            let at = Timestamp::from_micros(case.at.as_micros() + ahead);
            if verdict.decision == Decision::Allow && verdict.holds_until.is_none_or(|end| at < end) {
                prop_assert_eq!(Case { at, ..case.clone() }.verdict().decision, Decision::Allow);
            }
        }
    }
}

// Law 10: facts never depend on how often, or in what order, the same events were delivered.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn facts_do_not_depend_on_order_or_repetition(
        (case, shuffled) in case().prop_flat_map(|case| {
            let events = Just(case.events.clone()).prop_shuffle();
            (Just(case), events)
        }),
        again in prop::collection::vec(any::<Index>(), 0..8)
    ) {
        let again: Vec<&Event> = if shuffled.is_empty() {
            Vec::new()
        } else {
            again.iter().map(|which| which.get(&shuffled)).collect()
        };
        let facts = Facts::fold(again.into_iter().chain(&shuffled).chain(shuffled.first()));
        prop_assert_eq!(&facts, &Facts::fold(&case.events));
        prop_assert_eq!(facts.encode(), Facts::fold(&case.events).encode());
    }

    #[test]
    fn facts_and_events_read_back_as_they_were_written(case in case()) {
        let facts = Facts::fold(&case.events);
        prop_assert_eq!(&Facts::decode(&facts.encode()).unwrap(), &facts);
        let stored: Vec<Event> = case.events.iter().map(|e| Event::read(&e.canonical()).unwrap()).collect();
        prop_assert_eq!(&stored, &case.events);
    }

    #[test]
    fn one_act_delivered_again_under_another_id_decides_nothing_else(case in case(), which in any::<Index>()) {
        if !case.events.is_empty() {
            let again = case.and(which.get(&case.events).clone());
            prop_assert_eq!(again.verdict(), case.verdict());
        }
    }
}

// What every decision has in common.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_first_reason_carries_the_decision_and_an_allow_rests_on_reasons_that_allow(case in case()) {
        let verdict = case.verdict();
        prop_assert_eq!(verdict.decision, verdict.reasons[0].decision());
        if verdict.decision == Decision::Allow {
            prop_assert!(verdict.reasons.iter().all(|r| r.decision() == Decision::Allow));
        } else {
            prop_assert!(verdict.reasons.iter().all(|r| r.decision() != Decision::Allow));
        }
        prop_assert!(verdict.reasons.is_sorted_by_key(|reason| step(*reason)), "{:?}", verdict.reasons);
        let known = |id: EventId| case.events.iter().any(|event| event.event_id == id);
        prop_assert!(verdict.rests_on.is_none_or(known));
    }

    #[test]
    fn consent_is_given_by_a_grant_of_this_purpose_address_and_sender(case in case()) {
        let verdict = case.verdict();
        if verdict.reasons == [Reason::ConsentGiven] {
            let carrier = case.events.iter().find(|e| Some(e.event_id) == verdict.rests_on).unwrap();
            let terms = match &carrier.act {
                Act::ConsentGiven(terms) => terms,
                Act::ConsentConfirmed(confirmation) => &confirmation.terms,
                other => panic!("{other:?} is no grant"),
            };
            prop_assert!(terms.purposes.contains(&case.purpose));
            prop_assert!(carrier.spelling.grants(case.spelling));
            prop_assert!(terms.sender_id.is_none() || terms.sender_id == case.sender);
        }
    }

    #[test]
    fn only_the_two_given_states_permit_a_send_by_consent(case in case()) {
        let own = Case { class: case.purpose().message_class, ..case };
        if own.verdict().reasons == [Reason::ConsentGiven] {
            let facts = Facts::fold(&own.events);
            let sender = own.sender.as_ref();
            let standing = standing(&facts, &own.rules, own.purpose(), sender, own.spelling, own.at);
            prop_assert!(matches!(standing.state, ConsentState::Given | ConsentState::RenewedConsentGiven));
        }
    }

    #[test]
    fn one_more_restricting_act_never_allows(case in case(), stop in restricting()) {
        prop_assert!(allows(&case) || !allows(&case.and(stop)));
    }

    #[test]
    fn a_suppression_beats_every_grant(case in case(), act in suppression()) {
        let time = case.afterwards();
        let Act::Suppressed(suppression) = act else { unreachable!("made by `suppression`") };
        let suppression = super::event::Suppression { until: None, ..suppression };
        let covers = suppression.scope == Scope::Everything
            || scope_covers(&suppression.scope, case.purpose(), case.class);
        let covers = covers && sender_covers(suppression.sender_id.as_ref(), case.sender.as_ref());
        let holder_changed = matches!(
            suppression.basis,
            SuppressionBasis::ReassignedNumber | SuppressionBasis::WrongNumber
        );
        let suppressed = case.and(on(time, Act::Suppressed(suppression)));
        if covers {
            let mut asked = suppressed.clone();
            asked.inbound = Some(time.plus(Duration::from_secs(10)));
            prop_assert_eq!(suppressed.verdict().decision, Decision::Deny);
            prop_assert_eq!(asked.verdict().decision, Decision::Deny, "after a message of the person");
            if !holder_changed {
                let again = consents_anew(&suppressed, suppressed.afterwards(), TimeSource::Caller);
                prop_assert_eq!(again.verdict().decision, Decision::Deny);
            }
        }
    }

    #[test]
    fn the_decision_is_that_of_the_naive_model(case in case()) {
        let (verdict, expected) = (case.verdict(), deciding(&case));
        if case.class == MessageClass::OptOutConfirmation {
            prop_assert_ne!(verdict.decision, Decision::Allow);
        } else {
            prop_assert!(expected.contains(&verdict.reasons[0]), "{:?}, not {:?}", verdict.reasons, expected);
        }
    }
}

fn is_genuine(event: &Event) -> bool {
    match &event.act {
        Act::ConsentGiven(terms) => is_act_of_the_person(terms),
        Act::ConsentConfirmed(confirmation) => is_act_of_the_person(&confirmation.terms),
        _ => false,
    }
}

fn is_act_of_the_person(terms: &Terms) -> bool {
    !terms.is_import() && terms.implied.is_none()
}

fn is_request(event: &Event) -> bool {
    matches!(event.act, Act::ConsentGiven(_))
}

/// A question with nothing known, under lenient rules.
fn question(key: &str) -> Case {
    Case {
        events: Vec::new(),
        rules: rules(),
        purpose: purpose(key),
        class: MessageClass::Marketing,
        sender: None,
        spelling: Spelling::Verbatim,
        inbound: None,
        at: Timestamp::from_micros(1_700_000_000),
    }
}

/// The step to which a reason belongs.
fn step(reason: Reason) -> u8 {
    match reason {
        Reason::SenderHeld => 1,
        Reason::Suppressed | Reason::PlatformStopped => 2,
        _ if is_restricted(reason) || reason == Reason::PossibleRevocation => 3,
        Reason::IdentityUnverified => 4,
        Reason::NoConsent => 5,
        Reason::ConfirmationPending | Reason::ConfirmationRequired => 6,
        Reason::Expired => 7,
        Reason::NoticeOutdated | Reason::EvidenceIncomplete | Reason::RegistryStale => 8,
        _ => 9,
    }
}
