//! The ten laws of consent as properties over random histories, and a naive model to compare with.
//!
//! Each law stands alone: it says what must hold, not how the decision comes to it. Single cases
//! with their expected reasons are in `decide_tests.rs`; storage and commands are not tested here.
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` widen the search; without them it is the same each time.
//!
//! [`acts`] has the laws 1 to 4, [`scopes`] 5 to 7, [`replay`] 8 to 10, [`verdicts`] what all
//! decisions have in common and the comparison with the [`model`], [`explained`] that an explanation
//! says what was decided. [`found`] and [`found_reports`] keep the smallest histories that once broke a
//! law.

mod acts;
mod cases;
mod explained;
mod found;
mod found_reports;
mod histories;
mod model;
mod replay;
mod scopes;
mod verdicts;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use self::cases::Case;
use self::histories::{confirmation_of, event_of, restriction, suppression};
use self::model::{scope_covers, sender_covers};
use super::address::Spelling;
use super::event::tests::{event, purpose, terms};
use super::event::{Act, Event, Lift, Restriction, Scope, Suppression, Terms};
use super::id::SenderId;
use super::rules::tests::rules;
use super::time::Timestamp;
use super::vocabulary::{
    ConsentType, Decision, EvidenceField, EvidenceFields, MessageClass, Reason, RestrictionKind,
    SuppressionBasis, TimeSource,
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
        evidence: EvidenceField::ALL
            .iter()
            .copied()
            .fold(EvidenceFields::default(), EvidenceFields::with),
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
    prop_oneof![event_of(restriction()), event_of(suppression())]
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

/// A question of MARKETING with nothing known, under lenient rules.
fn question(key: &str) -> Case {
    let rules = rules();
    let class = rules.catalog.purposes[key].message_class;
    Case {
        sends: Vec::new(),
        events: Vec::new(),
        rules,
        purpose: purpose(key),
        class,
        sender: None,
        spelling: Spelling::Verbatim,
        inbound: None,
        at: Timestamp::from_micros(1_700_000_000),
    }
}
