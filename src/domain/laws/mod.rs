//! The ten laws of consent as properties over random histories, and a naive model to compare with.
//!
//! Each law stands alone: it says what must hold, not how the decision comes to it. Single cases
//! with their expected reasons are in `decide/tests`; storage and commands are not tested here.
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` widen the search; without them it is the same each time.
//!
//! [`acts`] has the laws 1 to 4, [`scopes`] 5 to 7, [`replay`] 8 to 10, [`linked`] what holds between
//! the addresses of one person, [`timing`] when a deferred message may go, [`permits`] the two
//! messages that need no consent of their own kind, [`erased`] what an erasure leaves, [`verdicts`] what all decisions have in common
//! and the comparison with the [`model`], [`explained`] that an explanation says what was decided.
//! [`found`] and [`found_reports`] keep the smallest histories that once broke a law.

mod acts;
mod cases;
mod erased;
mod explained;
mod found;
mod found_reports;
mod histories;
mod linked;
mod model;
mod permits;
mod replay;
mod reports;
mod rules;
mod scopes;
mod timing;
mod verdicts;

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use self::cases::Case;
use self::histories::{confirmation_of, event_of, restriction, suppression};
use self::model::{scope_covers, sender_covers};
use self::reports::{checked, elsewhere, failure, named_with_a_stranger};
use super::activity::Activity;
use super::address::Spelling;
use super::catalog::BusinessCatalog;
use super::event::tests::{event, purpose, terms};
use super::event::{Act, Declarations, Event, Lift, Restriction, Scope, Suppression, Terms};
use super::id::{PurposeKey, SenderId};
use super::place::Place;
use super::rules::tests::rules as lenient_rules;
use super::time::Timestamp;
use super::vocabulary::{
    AddressKind, ConsentType, Decision, EvidenceField, EvidenceFields, FailureKind, MessageClass,
    Reason, RegistryResult, RestrictionKind, SuppressionBasis, TimeSource,
};

/// 512 cases each from one seed, unless proptest's own variables say otherwise.
fn config() -> Config {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_122),
        chosen @ RngSeed::Fixed(_) => chosen,
    };
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

/// A history with a question, for tests elsewhere that need many of them.
pub(crate) struct Drawn {
    pub(crate) events: Vec<Event>,
    pub(crate) activity: Activity,
    pub(crate) purpose: PurposeKey,
    pub(crate) class: MessageClass,
    pub(crate) sender: Option<SenderId>,
    pub(crate) at: Timestamp,
}

/// So many histories with their questions, from `base` on, the same each time. Every second of them
/// has all the evidence that a policy may ask for, and nothing but consents.
pub(crate) fn drawn_cases(count: usize, base: Timestamp) -> Vec<Drawn> {
    let mut runner = TestRunner::new(config());
    let mut draw = |index: usize| {
        let mut case = cases::case_since(base)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        if index.is_multiple_of(2) {
            case.events.retain(|event| !terms_of(event).is_empty());
            case.events.iter_mut().for_each(add_evidence);
        }
        Drawn {
            activity: case.activity(),
            events: case.events,
            purpose: case.purpose,
            class: case.class,
            sender: case.sender,
            at: case.at,
        }
    };
    (0..count).map(&mut draw).collect()
}

fn add_evidence(event: &mut Event) {
    let full = |terms: &mut Terms| {
        terms.evidence = all_evidence();
        terms.declarations = Declarations {
            default_unticked: Some(true),
            separate_from_terms: Some(true),
            whatsapp_named: Some(true),
            number_entered_by_subject: Some(true),
        };
    };
    match &mut event.act {
        Act::ConsentGiven(terms) => full(terms),
        Act::ConsentConfirmed(confirmation) => {
            confirmation
                .requests
                .iter_mut()
                .for_each(|r| full(&mut r.terms));
        }
        _ => {}
    }
}

/// Catalogues with the purposes, senders and notices that the drawn histories name.
pub(crate) fn drawn_catalogs(count: usize) -> Vec<BusinessCatalog> {
    let mut runner = TestRunner::new(config());
    let mut draw = |_| rules::catalogs().new_tree(&mut runner).unwrap().current();
    (0..count).map(&mut draw).collect()
}

fn all_evidence() -> EvidenceFields {
    let fields = EvidenceField::ALL.iter().copied();
    fields.fold(EvidenceFields::default(), EvidenceFields::with)
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

/// A withdrawal from all senders.
fn withdrawn(scope: Scope) -> Restriction {
    Restriction {
        received_by: None,
        kind: RestrictionKind::Withdrawn,
        scope,
        sender_id: None,
        withdrawal_method: None,
        indication_method: None,
        notice: None,
        import_batch_id: None,
    }
}

/// A suppression without end.
fn suppressed(basis: SuppressionBasis, scope: Scope, sender_id: Option<SenderId>) -> Suppression {
    Suppression {
        received_by: None,
        basis,
        scope,
        sender_id,
        until: None,
        withdrawal_method: None,
    }
}

/// An act that the ledger takes a second later.
fn on(time: Timestamp, act: Act) -> Event {
    Event {
        recorded_at: time.plus(Duration::from_secs(1)),
        ..event(0, time, act)
    }
}

/// A consent to the very question, with all the evidence there is.
fn full_consent(case: &Case) -> Terms {
    Terms {
        purposes: vec![case.purpose.clone()],
        evidence: all_evidence(),
        ..terms("offers")
    }
}

/// The person consents at `time`, confirms it a second later, and is asked about the second after.
fn consents_anew(case: &Case, time: Timestamp, source: TimeSource) -> Case {
    let here = |event: Event| Event {
        time_source: source,
        spelling: case.spelling,
        ..event
    };
    let request = here(on(time, Act::ConsentGiven(full_consent(case))));
    let confirmation = confirmation_of(&request, full_consent(case));
    let confirmation = here(on(time.plus(Duration::from_secs(1)), confirmation));
    let mut after = case.and(request).and(confirmation);
    after.at = time.plus(Duration::from_secs(2));
    after
}

/// An act of a kind that can only take permission away, at any time.
fn restricting() -> impl Strategy<Value = Event> {
    let listed = Just(RegistryResult::Listed);
    let moved = elsewhere().prop_map(|elsewhere| elsewhere.moved_here());
    let stranger = select(AddressKind::ALL);
    let stranger = stranger.prop_map(|kind| named_with_a_stranger(kind, Spelling::Verbatim));
    prop_oneof![
        4 => event_of(restriction()),
        4 => event_of(suppression()),
        2 => event_of(checked(listed)),
        2 => event_of(failure(select(FailureKind::ALL))),
        1 => event_of(moved),
        1 => event_of(stranger),
    ]
}

/// Whether an act may permit something, too: the confirmation of an opt-out needs an opt-out.
fn is_confirmed(case: &Case) -> bool {
    case.class == MessageClass::OptOutConfirmation
}

fn given(terms: impl Strategy<Value = Terms>) -> impl Strategy<Value = Act> {
    terms.prop_map(Act::ConsentGiven)
}

/// What was agreed to; nothing, unless the event is a grant or a confirmation.
fn terms_of(event: &Event) -> Vec<&Terms> {
    match &event.act {
        Act::ConsentGiven(terms) => vec![terms],
        Act::ConsentConfirmed(confirmation) => {
            confirmation.requests.iter().map(|r| &r.terms).collect()
        }
        _ => Vec::new(),
    }
}

/// What may stand in the way of a message that the person consented to anew, and did not restrict.
fn is_not_of_the_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SenderHeld
            | Reason::Suppressed
            | Reason::PlatformStopped
            | Reason::RegistryStale
            | Reason::PlatformProhibited
            | Reason::Unreachable
            | Reason::QuietHours
            | Reason::FrequencyCap
            | Reason::PlatformLimited
    )
}

/// Neither an inference nor an import.
fn is_act_of_the_person(terms: &Terms) -> bool {
    !terms.is_import() && terms.consent_type != ConsentType::Implied
}

/// A number that changed hands: what its old holder consented to is void, not what the new one does.
const fn voids(basis: SuppressionBasis) -> bool {
    matches!(
        basis,
        SuppressionBasis::ReassignedNumber
            | SuppressionBasis::WrongNumber
            | SuppressionBasis::PossibleRevocation
    )
}

/// A question of the purpose's own class with nothing known, under lenient rules.
fn question(key: &str) -> Case {
    let rules = lenient_rules();
    let class = rules.catalog.purposes[key].message_class;
    Case {
        events: Vec::new(),
        rules,
        purpose: purpose(key),
        class,
        sender: None,
        spelling: Spelling::Verbatim,
        place: Place::default(),
        inbound: None,
        sends: Vec::new(),
        at: Timestamp::from_micros(1_700_000_000),
    }
}
