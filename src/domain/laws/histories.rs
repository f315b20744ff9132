//! Random histories, rules and questions for the laws, on a grid so small that instants collide.
//!
//! Every event here could have been recorded: a confirmation confirms a request of the same history
//! from the same spelling, purposes are sorted. What an event means is not judged here.

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

use crate::domain::address::Spelling;
use crate::domain::catalog::{Notice, Purpose};
use crate::domain::decide::{Activity, Question, Verdict, decide};
use crate::domain::event::tests::{event, purpose, terms};
use crate::domain::event::{
    Act, Asked, Confirmation, Event, Implied, Lift, NoticeShown, Restriction, Scope, Suppression,
    Terms, sorted,
};
use crate::domain::facts::Facts;
use crate::domain::id::{
    EventId, ImportBatchId, Language, NoticeId, NoticeRef, PurposeKey, SenderId,
};
use crate::domain::policy::tests::{code, lenient, policy};
use crate::domain::policy::{self, Policy};
use crate::domain::rules::Rules;
use crate::domain::rules::tests::{catalog, purpose_of, rules_with};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    ConsentType, EvidenceField, EvidenceFields, ImpliedBasis, IndicationMethod, MessageClass,
    RestrictionKind, SuppressionBasis, TimeSource, WithdrawalMethod,
};

pub const SECOND: i64 = 1_000_000;
pub const DAY: i64 = 86_400 * SECOND;

/// Two purposes are MARKETING, so that one can be granted and the other not.
pub const PURPOSES: [&str; 5] = ["offers", "news", "orders", "codes", "support"];
pub const SENDERS: [&str; 2] = ["1001", "1002"];

/// The spellings that one match key can have.
const FAMILIES: [[Spelling; 2]; 5] = [
    [Spelling::Verbatim, Spelling::Verbatim],
    [Spelling::Mexico52, Spelling::Mexico521],
    [Spelling::Brazil8, Spelling::Brazil9],
    [Spelling::Argentina54, Spelling::Argentina549],
    [Spelling::Russia7, Spelling::Russia8],
];

/// A history, the rules and a question: all that a decision depends on.
#[derive(Clone)]
pub struct Case {
    pub events: Vec<Event>,
    pub rules: Rules,
    pub purpose: PurposeKey,
    pub class: MessageClass,
    pub sender: Option<SenderId>,
    pub spelling: Spelling,
    pub inbound: Option<Timestamp>,
    pub at: Timestamp,
}

impl Case {
    pub fn purpose(&self) -> &Purpose {
        &self.rules.catalog.purposes[&self.purpose]
    }

    pub fn question(&self) -> Question<'_> {
        Question {
            purpose: self.purpose(),
            class: self.class,
            sender: self.sender.as_ref(),
            spelling: self.spelling,
        }
    }

    pub fn verdict_on(&self, facts: &Facts) -> Verdict {
        let activity = Activity {
            last_inbound: self.inbound,
        };
        decide(facts, &activity, &self.rules, &self.question(), self.at)
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict_on(&Facts::fold(&self.events))
    }

    /// The same question after one more act. Its id is new and greater than all others.
    #[must_use]
    pub fn and(&self, mut event: Event) -> Self {
        event.event_id = EventId(Uuid::from_u128(1_000 + self.events.len() as u128));
        let mut more = self.clone();
        more.events.push(event);
        more
    }

    /// An instant, on a whole second, after everything that the history names.
    pub fn afterwards(&self) -> Timestamp {
        let last = self
            .events
            .iter()
            .map(|e| e.event_time.max(e.recorded_at))
            .max();
        let last = last
            .unwrap_or(Timestamp::EPOCH)
            .plus(Duration::from_hours(1));
        Timestamp::from_micros(last.as_micros() / SECOND * SECOND)
    }

    #[must_use]
    pub fn under(&self, policy: Policy) -> Self {
        let catalog = (*self.rules.catalog).clone();
        Self {
            rules: rules_with(catalog, policy),
            ..self.clone()
        }
    }
}

/// Short, so that a failing case can be read: times in seconds, then what was done.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Timestamp| time.as_micros() as f64 / SECOND as f64;
        for e in &self.events {
            let (time, recorded) = (seconds(e.event_time), seconds(e.recorded_at));
            writeln!(
                f,
                "\n  {time}s recorded {recorded}s {} {:?}",
                e.time_source, e.spelling
            )?;
            write!(
                f,
                "    #{} {}",
                e.event_id,
                serde_json::to_string(&e.act).map_err(|_| fmt::Error)?
            )?;
        }
        writeln!(
            f,
            "\n  ? {} {} {:?} {:?}",
            self.class, self.purpose, self.sender, self.spelling
        )?;
        writeln!(
            f,
            "    at {}s inbound {:?}",
            seconds(self.at),
            self.inbound.map(seconds)
        )?;
        writeln!(f, "    {:?}", self.purpose())?;
        for (name, entries) in &self.rules.policy.jurisdictions {
            writeln!(
                f,
                "    {name}: {:?}",
                entries.iter().map(|e| &e.requirements).collect::<Vec<_>>()
            )?;
        }
        Ok(())
    }
}

pub fn instant() -> impl Strategy<Value = Timestamp> {
    let within = prop_oneof![4 => Just(0), 1 => select(vec![1, 400_000, 999_999, SECOND])];
    (0..14_i64, within)
        .prop_map(|(step, micros)| Timestamp::from_micros(step * 100 * SECOND + micros))
}

/// When the ledger took an act: later, earlier (the reporter's clock is fast), or in its second.
fn recorded() -> impl Strategy<Value = i64> {
    prop_oneof![5 => Just(3_600 * SECOND), 1 => select(vec![-150 * SECOND, -1, 0, 400_000])]
}

pub fn source() -> impl Strategy<Value = TimeSource> {
    prop_oneof![3 => Just(TimeSource::Caller), 2 => select(TimeSource::ALL)]
}

fn key() -> impl Strategy<Value = PurposeKey> {
    prop_oneof![3 => Just("offers"), 3 => select(&PURPOSES[..])].prop_map(purpose)
}

fn keys() -> impl Strategy<Value = Vec<PurposeKey>> {
    prop::collection::vec(key(), 1..3).prop_map(sorted)
}

pub fn sender() -> impl Strategy<Value = Option<SenderId>> {
    prop_oneof![3 => Just(None), 2 => select(&SENDERS[..]).prop_map(Some)]
        .prop_map(|id| id.map(|id| SenderId::parse(id).unwrap()))
}

pub fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        keys().prop_map(Scope::Purposes),
        Just(Scope::AllMarketing),
        Just(Scope::Everything),
    ]
}

fn signup(version: i32) -> NoticeRef {
    NoticeRef {
        notice_id: NoticeId::parse("signup").unwrap(),
        version,
        language: Language::parse("en").unwrap(),
    }
}

/// What is agreed to by an act of the person.
pub fn genuine_terms() -> impl Strategy<Value = Terms> {
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
pub fn other_terms() -> impl Strategy<Value = Terms> {
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

pub fn restriction() -> impl Strategy<Value = Act> {
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
                kind,
                scope,
                sender_id,
                withdrawal_method,
                import_batch_id,
            })
        })
}

pub fn suppression() -> impl Strategy<Value = Act> {
    let until = prop_oneof![2 => Just(None), 1 => instant().prop_map(Some)];
    (select(SuppressionBasis::ALL), scope(), sender(), until).prop_map(
        |(basis, scope, sender_id, until)| {
            Act::Suppressed(Suppression {
                basis,
                scope,
                sender_id,
                until,
                withdrawal_method: None,
            })
        },
    )
}

pub fn lift(basis: impl Strategy<Value = SuppressionBasis>) -> impl Strategy<Value = Act> {
    (basis, scope(), sender()).prop_map(|(basis, scope, sender_id)| {
        Act::SuppressionLifted(Lift {
            basis,
            scope,
            sender_id,
        })
    })
}

pub fn asked() -> impl Strategy<Value = Act> {
    (keys(), sender(), any::<bool>()).prop_map(|(purposes, sender_id, deferred)| {
        let asked = Asked {
            purposes,
            sender_id,
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
    Act(Act),
    /// Of one of the earlier requests.
    Confirms(Index),
    /// The same act delivered once more: another id, another time of recording.
    Repeats(Index),
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        6 => genuine_terms().prop_map(|terms| Draft::Act(Act::ConsentGiven(terms))),
        2 => other_terms().prop_map(|terms| Draft::Act(Act::ConsentGiven(terms))),
        5 => restriction().prop_map(Draft::Act),
        2 => suppression().prop_map(Draft::Act),
        1 => lift(select(SuppressionBasis::ALL)).prop_map(Draft::Act),
        1 => asked().prop_map(Draft::Act),
        3 => any::<Index>().prop_map(Draft::Confirms),
        1 => any::<Index>().prop_map(Draft::Repeats),
    ]
}

/// One act at any time, known by any clock, recorded at any time.
pub fn event_of(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Event> {
    (act, instant(), recorded(), source()).prop_map(|(act, time, recorded, time_source)| Event {
        recorded_at: Timestamp::from_micros(time.as_micros() + recorded),
        time_source,
        ..event(0, time, act)
    })
}

pub fn confirmation_of(request: &Event, terms: Terms) -> Act {
    Act::ConsentConfirmed(Confirmation {
        request: request.event_id,
        requested_at: request.effective_at(),
        requested_source: request.time_source,
        terms,
    })
}

fn history(size: usize) -> impl Strategy<Value = (Vec<Event>, [Spelling; 2])> {
    let shape = event_of(Just(Act::ConsentGiven(terms("offers"))));
    let drafts = prop::collection::vec((draft(), shape, prop::bool::weighted(0.3)), 0..size);
    (drafts, select(&FAMILIES[..])).prop_map(|(drafts, family)| {
        let mut events: Vec<Event> = Vec::new();
        for (draft, mut event, other) in drafts {
            event.event_id = EventId(Uuid::from_u128(events.len() as u128 + 1));
            event.spelling = family[usize::from(other)];
            match draft {
                Draft::Act(act) => event.act = act,
                Draft::Confirms(which) => {
                    let requests: Vec<_> = events.iter().filter_map(request).collect();
                    if requests.is_empty() {
                        continue;
                    }
                    let (asked, terms) = which.get(&requests);
                    event.spelling = asked.spelling;
                    event.act = confirmation_of(asked, (*terms).clone());
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

/// Rules under which every step of the decision can fail for one purpose or another.
pub fn rules() -> impl Strategy<Value = Rules> {
    let flags = prop::array::uniform7(prop::bool::weighted(0.3));
    let term =
        || prop_oneof![2 => Just(None), 1 => select(vec![300_u64, 600, 100_000]).prop_map(Some)];
    (flags, term(), term(), prop::bool::weighted(0.1)).prop_map(
        |(flags, validity, by_law, held)| {
            let [
                confirms,
                confirms_offers,
                orders_free,
                codes_free,
                requested,
                explicit,
                form,
            ] = flags;
            let mut catalog = catalog();
            catalog
                .purposes
                .insert(purpose("news"), purpose_of("news", MessageClass::Marketing));
            let mut change = |name: &str, change: &dyn Fn(&mut Purpose)| {
                change(catalog.purposes.get_mut(name).unwrap());
            };
            change("offers", &|offers| {
                offers.confirmation_required = confirms_offers;
                offers.validity_seconds = validity;
                if explicit {
                    offers.accepted_consent_types = vec![ConsentType::ExplicitlyExpressed];
                }
            });
            change("orders", &|orders| orders.consent_required = !orders_free);
            change("codes", &|codes| {
                codes.consent_required = !codes_free;
                codes.requested_by_recipient = requested;
            });
            let notice = Notice {
                name: signup(2),
                text: String::new(),
                purposes: vec![purpose("offers")],
                sha256: String::new(),
                privacy_notice_url: String::new(),
                opt_out_instructions: String::new(),
                processing_version: 2,
                signup_ids: Vec::new(),
                create_time: Timestamp::EPOCH,
            };
            catalog.notices.insert(notice.name.clone(), notice);
            catalog.senders.get_mut("1002").unwrap().held = held;
            let mut standard = lenient();
            standard.validity = by_law.map(Duration::from_secs);
            if confirms {
                standard.confirmation = policy::Confirmation::Required;
            }
            if form {
                standard.evidence = standard.evidence.with(EvidenceField::FormId);
            }
            let mut german = standard.clone();
            german.confirmation = policy::Confirmation::Required;
            german.consent_type = ConsentType::Expressed;
            rules_with(catalog, policy(&[("ZZ", standard), ("DE", german)]))
        },
    )
}

fn class() -> impl Strategy<Value = Option<MessageClass>> {
    prop_oneof![3 => Just(None), 2 => select(MessageClass::ALL).prop_map(Some)]
}

fn case_of(size: usize) -> impl Strategy<Value = Case> {
    let at =
        prop_oneof![3 => instant(), 1 => instant().prop_map(|t| t.plus(Duration::from_hours(24)))];
    let question = (
        key(),
        class(),
        sender(),
        prop::bool::weighted(0.3),
        prop::option::of(instant()),
        at,
    );
    (history(size), rules(), question).prop_map(|((events, family), rules, question)| {
        let (purpose, class, sender, other, inbound, at) = question;
        let own = rules.catalog.purposes[&purpose].message_class;
        let class = class.map_or(own, |class| class.stricter(own));
        Case {
            events,
            rules,
            purpose,
            class,
            sender,
            spelling: family[usize::from(other)],
            inbound,
            at,
        }
    })
}

/// Any history with any question.
pub fn case() -> impl Strategy<Value = Case> {
    prop_oneof![case_of(4), case_of(9)]
}

/// A policy without a rule for anything at any time.
pub fn no_policy() -> Policy {
    policy(&[])
}
