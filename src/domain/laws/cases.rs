//! What a decision depends on, at random: a history, the rules and a question.
//!
//! How the history comes about is in [`super::histories`].

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::histories::{SECOND, history, instant, key, sender};
use super::voids;
use crate::domain::activity::{Activity, Sent};
use crate::domain::address::Spelling;
use crate::domain::catalog::{Notice, Purpose};
use crate::domain::decide::{Question, Verdict, decide};
use crate::domain::event::tests::purpose;
use crate::domain::event::{Act, Event, Lift, Restriction, Scope, Suppression, Terms};
use crate::domain::facts::Facts;
use crate::domain::id::{EventId, Language, NoticeId, NoticeRef, PurposeKey, SenderId};
use crate::domain::policy::tests::{lenient, policy};
use crate::domain::policy::{self, Policy};
use crate::domain::rules::Rules;
use crate::domain::rules::tests::{NOWHERE, catalog, purpose_of, rules_with};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    ConsentType, EvidenceField, MessageClass, RestrictionKind, SuppressionBasis,
};

/// A history, the rules and a question: all that a decision depends on.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) events: Vec<Event>,
    pub(super) rules: Rules,
    pub(super) purpose: PurposeKey,
    pub(super) class: MessageClass,
    pub(super) sender: Option<SenderId>,
    pub(super) spelling: Spelling,
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
            place: &NOWHERE,
            purpose: self.purpose(),
            class: self.class,
            sender: self.sender.as_ref(),
            spelling: self.spelling,
        }
    }

    pub(super) fn verdict_on(&self, facts: &Facts) -> Verdict {
        let activity = Activity {
            sends: self.sends.clone(),
            last_inbound: self.inbound,
        };
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
        let last = last
            .unwrap_or(Timestamp::EPOCH)
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

/// The notice that consents are shown; version and processing version are one number here.
pub(super) fn signup(version: i32) -> NoticeRef {
    NoticeRef {
        notice_id: NoticeId::parse("signup").unwrap(),
        version,
        language: Language::parse("en").unwrap(),
    }
}

/// Rules under which every step of the decision can fail for one purpose or another.
pub(super) fn rules() -> impl Strategy<Value = Rules> {
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
    let inbound = prop::option::of(instant());
    let question = (
        key(),
        class(),
        sender(),
        prop::bool::weighted(0.3),
        inbound,
        at,
    );
    (history(size), rules(), question).prop_map(|((events, family), rules, question)| {
        let (purpose, class, sender, other, inbound, at) = question;
        let own = rules.catalog.purposes[&purpose].message_class;
        let class = class.map_or(own, |class| class.stricter(own));
        let spelling = family[usize::from(other)];
        Case {
            sends: Vec::new(),
            events,
            rules,
            purpose,
            class,
            sender,
            spelling,
            inbound,
            at,
        }
    })
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
            | Act::Reached(_) => {}
        }
    }
    case
}

/// Any history with any question.
pub(super) fn case() -> impl Strategy<Value = Case> {
    prop_oneof![
        case_of(5),
        case_of(9),
        case_of(5).prop_map(crowded),
        case_of(8).prop_map(crowded)
    ]
}

/// A policy without a rule for anything at any time.
pub(super) fn no_policy() -> Policy {
    policy(&[])
}
