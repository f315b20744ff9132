//! Random histories, on a grid of instants so small that they collide.
//!
//! Every event here could have been recorded: a confirmation confirms a request of the same history
//! from the same spelling, purposes are sorted. What an event means is not judged here.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

use super::cases::signup;
use crate::domain::address::Spelling;
use crate::domain::event::tests::{event, purpose, terms};
use crate::domain::event::{
    Act, Asked, Confirmation, ConfirmedRequest, Event, Implied, Lift, NoticeShown, Restriction,
    Scope, Suppression, Terms, sorted,
};
use crate::domain::id::{EventId, ImportBatchId, PurposeKey, SenderId};
use crate::domain::policy::tests::code;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    ConsentType, EvidenceField, EvidenceFields, ImpliedBasis, IndicationMethod, RestrictionKind,
    SuppressionBasis, TimeSource, WithdrawalMethod,
};

pub(super) const SECOND: i64 = 1_000_000;

/// Two purposes are MARKETING, so that one can be granted and the other not.
pub(super) const PURPOSES: [&str; 5] = ["offers", "news", "orders", "codes", "support"];
pub(super) const SENDERS: [&str; 2] = ["1001", "1002"];

/// The spellings that one match key can have.
const FAMILIES: [[Spelling; 2]; 5] = [
    [Spelling::Verbatim, Spelling::Verbatim],
    [Spelling::Mexico52, Spelling::Mexico521],
    [Spelling::Brazil8, Spelling::Brazil9],
    [Spelling::Argentina54, Spelling::Argentina549],
    [Spelling::Russia7, Spelling::Russia8],
];

pub(super) fn instant() -> impl Strategy<Value = Timestamp> {
    let within = prop_oneof![4 => Just(0), 1 => select(vec![1, 400_000, 999_999, SECOND])];
    (0..14_i64, within)
        .prop_map(|(step, micros)| Timestamp::from_micros(step * 100 * SECOND + micros))
}

/// When the ledger took an act: later, earlier (the reporter's clock is fast), or in its second.
fn recorded() -> impl Strategy<Value = i64> {
    prop_oneof![5 => Just(3_600 * SECOND), 1 => select(vec![-150 * SECOND, -1, 0, 400_000])]
}

pub(super) fn source() -> impl Strategy<Value = TimeSource> {
    prop_oneof![3 => Just(TimeSource::Caller), 2 => select(TimeSource::ALL)]
}

pub(super) fn key() -> impl Strategy<Value = PurposeKey> {
    prop_oneof![1 => Just("offers"), 2 => select(&PURPOSES[..])].prop_map(purpose)
}

fn keys() -> impl Strategy<Value = Vec<PurposeKey>> {
    prop::collection::vec(key(), 1..3).prop_map(sorted)
}

pub(super) fn sender() -> impl Strategy<Value = Option<SenderId>> {
    prop_oneof![3 => Just(None), 2 => select(&SENDERS[..]).prop_map(Some)]
        .prop_map(|id| id.map(|id| SenderId::parse(id).unwrap()))
}

pub(super) fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        keys().prop_map(Scope::Purposes),
        Just(Scope::AllMarketing),
        Just(Scope::Everything),
    ]
}

/// What is agreed to by an act of the person.
pub(super) fn genuine_terms() -> impl Strategy<Value = Terms> {
    let notice = prop_oneof![3 => Just(None), 1 => (1..3).prop_map(Some)];
    let jurisdiction = prop_oneof![3 => Just(None), 1 => select(vec!["DE", "FR"]).prop_map(Some)];
    let consent_type = select(vec![
        ConsentType::Expressed,
        ConsentType::ExplicitlyExpressed,
    ]);
    (
        keys(),
        sender(),
        consent_type,
        notice,
        jurisdiction,
        prop::bool::weighted(0.8),
    )
        .prop_map(
            |(purposes, sender_id, consent_type, notice, jurisdiction, has_form)| {
                let evidence = EvidenceFields::default();
                Terms {
                    purposes,
                    sender_id,
                    consent_type,
                    notice: notice.map(|processing_version| NoticeShown {
                        notice: signup(processing_version),
                        sha256: String::new(),
                        processing_version,
                    }),
                    jurisdiction: jurisdiction.map(code),
                    evidence: if has_form {
                        evidence.with(EvidenceField::FormId)
                    } else {
                        evidence
                    },
                    ..terms("offers")
                }
            },
        )
}

/// Implied, imported, or both: no act of the person.
pub(super) fn other_terms() -> impl Strategy<Value = Terms> {
    let basis = select(vec![
        ImpliedBasis::Purchase,
        ImpliedBasis::Purchase,
        ImpliedBasis::Donation,
    ]);
    (genuine_terms(), 0..4, basis, instant()).prop_map(|(mut terms, how, basis, basis_time)| {
        match how {
            0 => terms.indication_method = IndicationMethod::Import,
            1 => terms.import_batch_id = Some(ImportBatchId::parse("batch").unwrap()),
            _ => {
                terms.consent_type = ConsentType::Implied;
                terms.implied = Some(Implied { basis, basis_time });
                terms.import_batch_id = (how == 3).then(|| ImportBatchId::parse("batch").unwrap());
            }
        }
        terms
    })
}

pub(super) fn restriction() -> impl Strategy<Value = Act> {
    let method = prop::option::of(select(WithdrawalMethod::ALL));
    let batch = prop::bool::weighted(0.2);
    (
        select(RestrictionKind::ALL),
        scope(),
        sender(),
        method,
        batch,
    )
        .prop_map(|(kind, scope, sender_id, withdrawal_method, import)| {
            let import_batch_id = import.then(|| ImportBatchId::parse("batch").unwrap());
            Act::Restricted(Restriction {
                received_by: None,
                kind,
                scope,
                sender_id,
                withdrawal_method,
                indication_method: None,
                notice: None,
                import_batch_id,
            })
        })
}

pub(super) fn suppression() -> impl Strategy<Value = Act> {
    let until = prop_oneof![2 => Just(None), 1 => instant().prop_map(Some)];
    (select(SuppressionBasis::ALL), scope(), sender(), until).prop_map(
        |(basis, scope, sender_id, until)| {
            Act::Suppressed(Suppression {
                received_by: None,
                basis,
                scope,
                sender_id,
                until,
                withdrawal_method: None,
            })
        },
    )
}

pub(super) fn lift(basis: impl Strategy<Value = SuppressionBasis>) -> impl Strategy<Value = Act> {
    (basis, scope(), sender()).prop_map(|(basis, scope, sender_id)| {
        Act::SuppressionLifted(Lift {
            basis,
            scope,
            sender_id,
            lifts: None,
            indication_method: None,
        })
    })
}

pub(super) fn asked() -> impl Strategy<Value = Act> {
    (keys(), sender(), any::<bool>()).prop_map(|(purposes, sender_id, deferred)| {
        let asked = Asked {
            purposes,
            sender_id,
            notice: None,
        };
        if deferred {
            Act::ConsentRequestDeferred(asked)
        } else {
            Act::ConsentRequested(asked)
        }
    })
}

/// An act, or one that depends on what came before it in the history.
#[derive(Debug, Clone)]
enum Draft {
    Act(Box<Act>),
    /// One of the earlier requests, or all from its spelling.
    Confirms(Index, bool),
    /// The same act delivered once more: another id, another time of recording.
    Repeats(Index),
}

fn drafted(act: Act) -> Draft {
    Draft::Act(Box::new(act))
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        6 => genuine_terms().prop_map(|terms| drafted(Act::ConsentGiven(terms))),
        2 => other_terms().prop_map(|terms| drafted(Act::ConsentGiven(terms))),
        5 => restriction().prop_map(drafted),
        3 => suppression().prop_map(drafted),
        1 => lift(select(SuppressionBasis::ALL)).prop_map(drafted),
        1 => asked().prop_map(drafted),
        3 => (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(which, all)| Draft::Confirms(which, all)),
        1 => any::<Index>().prop_map(Draft::Repeats),
    ]
}

/// One act at any time, known by any clock, recorded at any time.
pub(super) fn event_of(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Event> {
    (act, instant(), recorded(), source()).prop_map(|(act, time, recorded, time_source)| Event {
        recorded_at: Timestamp::from_micros(time.as_micros() + recorded),
        time_source,
        ..event(0, time, act)
    })
}

pub(super) fn confirmation_of(request: &Event, terms: Terms) -> Act {
    confirmation_of_all(&[(request, &terms)])
}

/// One act may confirm several requests.
fn confirmation_of_all(requests: &[(&Event, &Terms)]) -> Act {
    let confirmed = |(request, terms): &(&Event, &Terms)| ConfirmedRequest {
        request: request.event_id,
        requested_at: request.effective_at(),
        requested_source: request.time_source,
        requested_digest: request.content_digest(),
        terms: (*terms).clone(),
    };
    Act::ConsentConfirmed(Confirmation {
        indication_method: IndicationMethod::Keyword,
        requests: requests.iter().map(confirmed).collect(),
    })
}

pub(super) fn history(size: usize) -> impl Strategy<Value = (Vec<Event>, [Spelling; 2])> {
    let shape = event_of(Just(Act::ConsentGiven(terms("offers"))));
    let drafts = prop::collection::vec((draft(), shape, prop::bool::weighted(0.3)), 0..size);
    (drafts, select(&FAMILIES[..])).prop_map(|(drafts, family)| {
        let mut events: Vec<Event> = Vec::new();
        for (draft, mut event, other) in drafts {
            event.event_id = EventId(Uuid::from_u128(events.len() as u128 + 1));
            event.spelling = family[usize::from(other)];
            match draft {
                Draft::Act(act) => event.act = *act,
                Draft::Confirms(which, all) => {
                    let requests: Vec<_> = events.iter().filter_map(request).collect();
                    if requests.is_empty() {
                        continue;
                    }
                    let (asked, _) = which.get(&requests);
                    event.spelling = asked.spelling;
                    let same_address = |(other, _): &&(&Event, &Terms)| {
                        other.spelling == asked.spelling
                            && (all || other.event_id == asked.event_id)
                    };
                    let confirmed: Vec<_> = requests.iter().filter(same_address).copied().collect();
                    event.act = confirmation_of_all(&confirmed);
                }
                Draft::Repeats(which) => {
                    if events.is_empty() {
                        continue;
                    }
                    let (event_id, recorded_at) = (event.event_id, event.recorded_at);
                    event = Event {
                        event_id,
                        recorded_at,
                        ..which.get(&events).clone()
                    };
                }
            }
            events.push(event);
        }
        (events, family)
    })
}

fn request(event: &Event) -> Option<(&Event, &Terms)> {
    if let Act::ConsentGiven(terms) = &event.act {
        Some((event, terms))
    } else {
        None
    }
}
