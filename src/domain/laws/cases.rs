//! What a decision depends on, at random: a history, the rules and a question.
//!
//! How the history comes about is in [`super::histories`].

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::histories::{SECOND, SENDERS, history, instant, key, pace, sender};
use super::rules::rules;
use super::voids;
use crate::domain::activity::{Activity, Sent};
use crate::domain::address::Spelling;
use crate::domain::catalog::Purpose;
use crate::domain::decide::{Question, Verdict, decide};
use crate::domain::event::{Act, Event, Lift, Restriction, Scope, Suppression, Terms};
use crate::domain::facts::Facts;
use crate::domain::hours::Zone;
use crate::domain::id::{EventId, Language, NoticeId, NoticeRef, PurposeKey, SenderId};
use crate::domain::place::Place;
use crate::domain::policy::Policy;
use crate::domain::policy::tests::{code, policy};
use crate::domain::rules::Rules;
use crate::domain::rules::tests::rules_with;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{MessageClass, RestrictionKind, SuppressionBasis};

/// A history, the rules and a question: all that a decision depends on.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) events: Vec<Event>,
    pub(super) rules: Rules,
    pub(super) purpose: PurposeKey,
    pub(super) class: MessageClass,
    pub(super) sender: Option<SenderId>,
    pub(super) spelling: Spelling,
    pub(super) place: Place,
    pub(super) inbound: Option<Timestamp>,
    pub(super) sends: Vec<Sent>,
    pub(super) at: Timestamp,
}

impl Case {
    pub(super) fn purpose(&self) -> &Purpose {
        &self.rules.catalog.purposes[&self.purpose]
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            place: &self.place,
            purpose: self.purpose(),
            class: self.class,
            sender: self.sender.as_ref(),
            spelling: self.spelling,
        }
    }

    pub(super) fn activity(&self) -> Activity {
        Activity {
            sends: self.sends.clone(),
            last_inbound: self.inbound,
        }
    }

    pub(super) fn verdict_on(&self, facts: &Facts) -> Verdict {
        let activity = self.activity();
        decide(facts, &activity, &self.rules, &self.question(), self.at)
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict_on(&Facts::fold(&self.events))
    }

    /// The same question after one more act. Its id is new and greater than all others.
    #[must_use]
    pub(super) fn and(&self, mut event: Event) -> Self {
        event.event_id = EventId(Uuid::from_u128(1_000 + self.events.len() as u128));
        let mut more = self.clone();
        more.events.push(event);
        more
    }

    /// An instant, on a whole second, after everything that the history names.
    pub(super) fn afterwards(&self) -> Timestamp {
        let last = self
            .events
            .iter()
            .map(|e| e.event_time.max(e.recorded_at))
            .max();
        let last = last.max(self.inbound).unwrap_or(Timestamp::EPOCH);
        let last = last
            .max(Facts::fold(&self.events).latest())
            .plus(Duration::from_hours(1));
        Timestamp::from_micros(last.as_micros() / SECOND * SECOND)
    }

    #[must_use]
    pub(super) fn under(&self, policy: Policy) -> Self {
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
            "    at {}s inbound {:?} in {:?}",
            seconds(self.at),
            self.inbound.map(seconds),
            self.place,
        )?;
        for sent in &self.sends {
            let (class, purpose, at) = (sent.class, &sent.purpose, seconds(sent.at));
            writeln!(f, "    sent {class} {purpose} at {at}s")?;
        }
        writeln!(f, "    {:?}", self.purpose())?;
        for (name, entries) in self.rules.policy.jurisdictions() {
            writeln!(
                f,
                "    {name}: {:?}",
                entries
                    .iter()
                    .map(|e| (seconds(e.effective_from), &e.requirements))
                    .collect::<Vec<_>>()
            )?;
        }
        for rule in &self.rules.policy.platform {
            let (from, to) = (seconds(rule.effective_from), rule.effective_to.map(seconds));
            let (country, classes) = (&rule.country, &rule.classes);
            writeln!(
                f,
                "    not to {country}: {classes:?} from {from}s to {to:?}"
            )?;
        }
        Ok(())
    }
}

/// The notice that consents are shown; version and processing version are one number here.
pub(super) fn signup(version: i32) -> NoticeRef {
    NoticeRef {
        notice_id: NoticeId::parse("signup").unwrap(),
        version,
        language: Language::parse("en").unwrap(),
    }
}

fn class() -> impl Strategy<Value = Option<MessageClass>> {
    prop_oneof![3 => Just(None), 2 => select(MessageClass::ALL).prop_map(Some)]
}

pub(super) fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

/// Where the number may be. Mostly one place or none, as with most numbers.
fn place() -> impl Strategy<Value = Place> {
    let codes: Vec<&[&str]> = vec![
        &[],
        &[],
        &["FR"],
        &["DE"],
        &["CA"],
        &["US-NY"],
        &["CA", "US-NY"],
    ];
    let zones: Vec<&[&str]> = vec![
        &["UTC"],
        &["Europe/Berlin"],
        &["UTC", "Europe/Berlin"],
        &["America/New_York", "UTC"],
        &["Asia/Kolkata", "UTC", "Europe/Berlin"],
        &[],
    ];
    (select(codes), select(zones)).prop_map(|(codes, zones)| Place {
        jurisdictions: codes.iter().map(|name| code(name)).collect(),
        zones: zones.iter().map(|name| zone(name)).collect(),
    })
}

fn sends() -> impl Strategy<Value = Vec<Sent>> {
    let sent = (key(), select(MessageClass::ALL), instant())
        .prop_map(|(purpose, class, at)| Sent { purpose, class, at });
    prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(sent, 1..4)]
}

fn case_of(size: usize, base: Timestamp) -> BoxedStrategy<Case> {
    let later = select(vec![0, 0, 0, 5 * 60, 86_400, 20 * 86_400]);
    let at = (instant(), later);
    let inbound = prop::option::of(instant());
    let question = (key(), class(), sender(), prop::bool::weighted(0.3), place());
    let lately = (inbound, sends(), at);
    (pace(base), history(size), rules(), question, lately)
        .prop_map(
            |(pace, history, rules, question, (inbound, mut sends, (at, later)))| {
                let (events, family) = history.at(pace);
                let rules = rules.at(pace);
                let (purpose, class, sender, other, place) = question;
                let own = rules.catalog.purposes[&purpose].message_class;
                let class = class.map_or(own, |class| class.stricter(own));
                let spelling = family[usize::from(other)];
                for sent in &mut sends {
                    sent.at = pace.of(sent.at);
                }
                sends.sort_by_key(|sent| std::cmp::Reverse(sent.at));
                let case = Case {
                    events,
                    rules,
                    purpose,
                    class,
                    sender,
                    spelling,
                    place,
                    inbound: inbound.map(|inbound| pace.of(inbound)),
                    sends,
                    at: pace.of(at).plus(Duration::from_secs(later)),
                };
                about_an_opt_out(case, later)
            },
        )
        .boxed()
}

/// What is asked of the confirmation of an opt-out, is asked of one that was written to somebody, and
/// soon after it: at random it would be neither.
fn about_an_opt_out(mut case: Case, later: u64) -> Case {
    if case.class != MessageClass::OptOutConfirmation {
        return case;
    }
    for event in case.events.iter_mut().rev() {
        let at = event.effective_at();
        if let Act::Restricted(restriction) = &mut event.act {
            let first = SenderId::parse(SENDERS[0]).unwrap();
            case.sender = Some(restriction.received_by.get_or_insert(first).clone());
            // Five minutes are too late, and a second less is not.
            let at = at.plus(Duration::from_secs(later.min(301).saturating_sub(1)));
            // Recorded by a clock that is behind, it may lie before any rule holds.
            case.at = at.max(Timestamp::EPOCH);
            break;
        }
    }
    case
}

/// All acts of a history about what is asked, and of few kinds: so they meet in one slot of facts.
pub(super) fn crowded(mut case: Case) -> Case {
    let purposes = vec![case.purpose.clone()];
    let narrow = |scope: &mut Scope| match scope {
        Scope::Purposes(named) => named.clone_from(&purposes),
        wider => *wider = Scope::Everything,
    };
    let agree = |terms: &mut Terms| {
        terms.purposes.clone_from(&purposes);
        terms.sender_id = None;
    };
    for event in &mut case.events {
        event.spelling = case.spelling;
        match &mut event.act {
            Act::ConsentGiven(terms) => agree(terms),
            Act::ConsentConfirmed(confirmation) => {
                confirmation
                    .requests
                    .iter_mut()
                    .for_each(|request| agree(&mut request.terms));
            }
            Act::ConsentRequested(asked) | Act::ConsentRequestDeferred(asked) => {
                asked.purposes.clone_from(&purposes);
            }
            Act::Restricted(Restriction {
                kind,
                scope,
                sender_id,
                ..
            }) => {
                *kind = RestrictionKind::Withdrawn;
                *sender_id = None;
                narrow(scope);
            }
            Act::Suppressed(Suppression {
                basis,
                scope,
                sender_id,
                ..
            })
            | Act::SuppressionLifted(Lift {
                basis,
                scope,
                sender_id,
                ..
            }) => {
                *basis = match *basis {
                    basis if voids(basis) => SuppressionBasis::WrongNumber,
                    SuppressionBasis::PlatformStop => SuppressionBasis::PlatformStop,
                    _ => SuppressionBasis::Complaint,
                };
                *sender_id = None;
                narrow(scope);
            }
            Act::RegistryChecked(_)
            | Act::Linked(_)
            | Act::IdentityChanged(_)
            | Act::DeliveryFailed(_)
            | Act::Reached(_)
            | Act::Erased(_) => {}
        }
    }
    case
}

/// Any history with any question.
pub(super) fn case() -> BoxedStrategy<Case> {
    case_since(Timestamp::EPOCH)
}

/// The same, from some instant on.
pub(super) fn case_since(base: Timestamp) -> BoxedStrategy<Case> {
    prop_oneof![
        case_of(5, base),
        case_of(9, base),
        case_of(5, base).prop_map(crowded),
        case_of(8, base).prop_map(crowded)
    ]
    .boxed()
}

/// A policy without a rule for anything at any time.
pub(super) fn no_policy() -> Policy {
    policy(&[])
}
