//! Random histories, on a grid of instants so small that they collide.
//!
//! Every event here could have been recorded: a confirmation confirms a request of the same history
//! from the same spelling, purposes are sorted. What an event means is not judged here.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

use super::cases::signup;
use super::reports::{Elsewhere, checked, elsewhere, failure, reached, receiver};
use crate::domain::address::Spelling;
use crate::domain::event::tests::{event, purpose, terms};
use crate::domain::event::{
    Act, Asked, Confirmation, ConfirmedRequest, Erasure, Event, IdentityChange, Implied, Lift,
    NoticeShown, Restriction, Scope, Suppression, Terms, sorted,
};
use crate::domain::id::{EventId, ImportBatchId, PurposeKey, SenderId};
use crate::domain::policy::tests::code;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    ConsentType, ErasureBasis, EvidenceField, EvidenceFields, FailureKind, ImpliedBasis,
    IndicationMethod, RegistryResult, RestrictionKind, SuppressionBasis, TimeSource,
    WithdrawalMethod,
};

pub(super) const SECOND: i64 = 1_000_000;

/// Two purposes are MARKETING, so that one can be granted and the other not.
pub(super) const PURPOSES: [&str; 5] = ["offers", "news", "orders", "codes", "support"];
pub(super) const SENDERS: [&str; 2] = ["1001", "1002"];

/// The spellings that one match key can have.
pub(super) const FAMILIES: [[Spelling; 2]; 5] = [
    [Spelling::Verbatim, Spelling::Verbatim],
    [Spelling::Mexico52, Spelling::Mexico521],
    [Spelling::Brazil8, Spelling::Brazil9],
    [Spelling::Argentina54, Spelling::Argentina549],
    [Spelling::Russia7, Spelling::Russia8],
];

/// How far apart the instants of one case lie. They are drawn 100 seconds apart, as far as the clocks'
/// tolerance; terms, caps and failures look at hours and weeks as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The first of them.
    base: Timestamp,
    step: i64,
}

pub(super) fn pace(base: Timestamp) -> impl Strategy<Value = Pace> {
    let steps = prop_oneof![
        6 => Just(100),
        1 => Just(6 * 3_600),
        1 => Just(3 * 86_400),
    ];
    steps.prop_map(move |seconds| Pace {
        base,
        step: seconds * SECOND,
    })
}

impl Pace {
    pub(super) fn of(self, drawn: Timestamp) -> Timestamp {
        const DRAWN: i64 = 100 * SECOND;
        let micros = drawn.as_micros();
        let rest = micros.rem_euclid(DRAWN);
        let since = micros.div_euclid(DRAWN) * self.step + rest;
        Timestamp::from_micros(self.base.as_micros() + since)
    }

    /// The same event with all its times at this pace; recorded as soon after it as before.
    fn keep(self, event: &mut Event) {
        let ahead = event.recorded_at.as_micros() - event.event_time.as_micros();
        event.event_time = self.of(event.event_time);
        event.recorded_at = Timestamp::from_micros(event.event_time.as_micros() + ahead);
        match &mut event.act {
            Act::ConsentGiven(terms) => {
                if let Some(implied) = &mut terms.implied {
                    implied.basis_time = self.of(implied.basis_time);
                }
            }
            Act::Suppressed(suppression) => {
                suppression.until = suppression.until.map(|until| self.of(until));
            }
            // Confirmations, links and moves are made of events that keep it already.
            Act::ConsentConfirmed(_)
            | Act::ConsentRequested(_)
            | Act::ConsentRequestDeferred(_)
            | Act::Restricted(_)
            | Act::SuppressionLifted(_)
            | Act::RegistryChecked(_)
            | Act::Linked(_)
            | Act::IdentityChanged(_)
            | Act::DeliveryFailed(_)
            | Act::Reached(_)
            | Act::Erased(_) => {}
        }
    }
}

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
pub(super) fn genuine_terms() -> BoxedStrategy<Terms> {
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
        .boxed()
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
        (batch, receiver()),
    )
        .prop_map(
            |(kind, scope, sender_id, withdrawal_method, (import, received_by))| {
                let import_batch_id = import.then(|| ImportBatchId::parse("batch").unwrap());
                Act::Restricted(Restriction {
                    received_by,
                    kind,
                    scope,
                    sender_id,
                    withdrawal_method,
                    indication_method: None,
                    notice: None,
                    import_batch_id,
                })
            },
        )
}

pub(super) fn suppression() -> impl Strategy<Value = Act> {
    let until = prop_oneof![2 => Just(None), 1 => instant().prop_map(Some)];
    let place = (sender(), receiver());
    (select(SuppressionBasis::ALL), scope(), place, until).prop_map(
        |(basis, scope, (sender_id, received_by), until)| {
            Act::Suppressed(Suppression {
                received_by,
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

pub(super) fn erasure() -> impl Strategy<Value = Act> {
    let retained = prop::option::weighted(0.3, instant());
    (select(ErasureBasis::ALL), retained).prop_map(|(basis, retained_until)| {
        Act::Erased(Erasure {
            basis,
            note: String::new(),
            retained_until,
        })
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
    /// One of the earlier suppressions.
    Lifts(Index),
    /// Another address is linked, or left for this one, or no longer this person's.
    Links(Elsewhere),
    Moves(Elsewhere),
    Unlinks(Elsewhere),
}

impl Draft {
    /// Whether only a machine does it: half of the histories are of people alone.
    fn is_report(&self) -> bool {
        match self {
            Self::Act(act) => matches!(
                **act,
                Act::RegistryChecked(_)
                    | Act::IdentityChanged(_)
                    | Act::DeliveryFailed(_)
                    | Act::Reached(_)
            ),
            Self::Confirms(..) | Self::Repeats(_) | Self::Lifts(_) => false,
            Self::Links(_) | Self::Moves(_) | Self::Unlinks(_) => true,
        }
    }
}

fn drafted(act: Act) -> Draft {
    Draft::Act(Box::new(act))
}

fn draft() -> BoxedStrategy<Draft> {
    let former = drafted(Act::IdentityChanged(IdentityChange::Former));
    let kinds = prop_oneof![
        5 => Just(FailureKind::Undeliverable),
        1 => Just(FailureKind::Limited),
        1 => Just(FailureKind::IdentityMismatch),
    ];
    prop_oneof![
        12 => genuine_terms().prop_map(|terms| drafted(Act::ConsentGiven(terms))),
        4 => other_terms().prop_map(|terms| drafted(Act::ConsentGiven(terms))),
        10 => restriction().prop_map(drafted),
        6 => suppression().prop_map(drafted),
        1 => lift(select(SuppressionBasis::ALL)).prop_map(drafted),
        2 => any::<Index>().prop_map(Draft::Lifts),
        3 => asked().prop_map(drafted),
        6 => (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(which, all)| Draft::Confirms(which, all)),
        2 => any::<Index>().prop_map(Draft::Repeats),
        5 => checked(select(RegistryResult::ALL)).prop_map(drafted),
        7 => failure(kinds).prop_map(drafted),
        1 => Just(drafted(reached())),
        6 => elsewhere().prop_map(Draft::Links),
        2 => elsewhere().prop_map(Draft::Moves),
        1 => elsewhere().prop_map(Draft::Unlinks),
        1 => Just(former),
        2 => erasure().prop_map(drafted),
    ]
    .boxed()
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

/// What a history is made of.
#[derive(Debug, Clone)]
pub(super) struct Drafts {
    drafts: Vec<(Draft, Event, bool, Option<Elsewhere>)>,
    family: [Spelling; 2],
    with_reports: bool,
}

pub(super) fn history(size: usize) -> BoxedStrategy<Drafts> {
    let shape = event_of(Just(Act::ConsentGiven(terms("offers"))));
    let copied = prop::option::weighted(0.15, elsewhere());
    let drafts = (draft(), shape, prop::bool::weighted(0.3), copied);
    let drafts = prop::collection::vec(drafts, 0..size);
    (drafts, select(&FAMILIES[..]), any::<bool>())
        .prop_map(|(drafts, family, with_reports)| Drafts {
            drafts,
            family,
            with_reports,
        })
        .boxed()
}

impl Drafts {
    /// The events in the order in which they came, and the spellings of the address.
    pub(super) fn at(self, pace: Pace) -> (Vec<Event>, [Spelling; 2]) {
        let mut events: Vec<Event> = Vec::new();
        let Self {
            drafts,
            family,
            with_reports,
        } = self;
        for (draft, mut event, other, copied) in drafts {
            if draft.is_report() && !with_reports {
                continue;
            }
            event.event_id = EventId(Uuid::from_u128(events.len() as u128 + 1));
            event.spelling = family[usize::from(other)];
            let Some(mut event) = drawn_up(draft, event, &events, pace) else {
                continue;
            };
            if let Some(elsewhere) = copied.filter(|_| with_reports && is_copied(&event.act)) {
                event.copied_from = event.copied_from.or(Some(elsewhere.other));
            }
            events.push(event);
        }
        (events, family)
    }
}

/// The event of a draft; `None` if what it depends on did not happen.
fn drawn_up(draft: Draft, mut event: Event, before: &[Event], pace: Pace) -> Option<Event> {
    let number = 10_000 * (before.len() as u128 + 1);
    let told = |mut elsewhere: Elsewhere| {
        for (index, event) in (0..).zip(&mut elsewhere.past) {
            pace.keep(event);
            event.event_id = EventId(Uuid::from_u128(number + index));
        }
        elsewhere
    };
    match draft {
        Draft::Act(act) => event.act = *act,
        Draft::Confirms(which, all) => {
            let requests: Vec<_> = before.iter().filter_map(request).collect();
            if requests.is_empty() {
                return None;
            }
            let (asked, _) = which.get(&requests);
            event.spelling = asked.spelling;
            event.copied_from = asked.copied_from;
            let same_address = |(other, _): &&(&Event, &Terms)| {
                other.spelling == asked.spelling
                    && other.copied_from == asked.copied_from
                    && (all || other.event_id == asked.event_id)
            };
            let confirmed: Vec<_> = requests.iter().filter(same_address).copied().collect();
            event.act = confirmation_of_all(&confirmed);
        }
        Draft::Repeats(which) => {
            if before.is_empty() {
                return None;
            }
            pace.keep(&mut event);
            return Some(Event {
                event_id: event.event_id,
                recorded_at: event.recorded_at,
                ..which.get(before).clone()
            });
        }
        Draft::Lifts(which) => {
            let made: Vec<_> = before.iter().filter_map(suppressed).collect();
            if made.is_empty() {
                return None;
            }
            event.act = lifting(made[which.index(made.len())]);
        }
        Draft::Links(elsewhere) => event.act = told(elsewhere).linked(event.spelling),
        Draft::Moves(elsewhere) => event.act = told(elsewhere).moved_here(),
        Draft::Unlinks(elsewhere) => event.act = elsewhere.unlinked(),
    }
    pace.keep(&mut event);
    Some(event)
}

/// Whether an act at a linked address is copied to this one.
fn is_copied(act: &Act) -> bool {
    match act {
        Act::ConsentGiven(_)
        | Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::Restricted(_)
        | Act::Suppressed(_)
        | Act::SuppressionLifted(_)
        | Act::RegistryChecked(_)
        | Act::Erased(_) => true,
        // Whether a confirmation is a copy follows from its request.
        Act::ConsentConfirmed(_)
        | Act::Linked(_)
        | Act::IdentityChanged(_)
        | Act::DeliveryFailed(_)
        | Act::Reached(_) => false,
    }
}

fn suppressed(event: &Event) -> Option<&Suppression> {
    match &event.act {
        Act::Suppressed(suppression) => Some(suppression),
        _ => None,
    }
}

fn lifting(suppression: &Suppression) -> Act {
    Act::SuppressionLifted(Lift {
        basis: suppression.basis,
        scope: suppression.scope.clone(),
        sender_id: suppression.sender_id.clone(),
        lifts: None,
        indication_method: None,
    })
}

fn request(event: &Event) -> Option<(&Event, &Terms)> {
    if let Act::ConsentGiven(terms) = &event.act {
        Some((event, terms))
    } else {
        None
    }
}
