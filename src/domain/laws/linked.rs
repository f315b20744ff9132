//! What holds between the addresses of one person: a phone number and a user id that WhatsApp named
//! together, and the address that somebody left.
//!
//! Acts are copied between them as `crate::consents` does it, in a small world of two addresses: what
//! restricts always, what permits while the link stands, nothing is in doubt, and only from the
//! spelling that was linked. How an append keeps the copies together is not tested here.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::cases::{Case, case};
use super::histories::{
    FAMILIES, asked, event_of, genuine_terms, instant, lift, restriction, scope, sender, source,
    suppression,
};
use super::reports::{checked, elsewhere, failure, subject};
use super::*;
use crate::domain::event::{IdentityChange, Inherited, Lift, Link};
use crate::domain::facts::{Facts, Latest, Mark};
use crate::domain::id::{EventId, SubjectId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Phone,
    User,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Phone => Self::User,
            Self::User => Self::Phone,
        }
    }

    fn id(self) -> SubjectId {
        match self {
            Self::Phone => subject(80),
            Self::User => subject(81),
        }
    }

    const fn kind(self) -> AddressKind {
        match self {
            Self::Phone => AddressKind::PhoneNumber,
            Self::User => AddressKind::UserId,
        }
    }
}

fn side() -> impl Strategy<Value = Side> {
    select(vec![Side::Phone, Side::User])
}

/// One thing that happens to one of the two addresses, or to both.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody acts at one address, in the number's other spelling or in the one that is linked.
    Act(Side, Box<Act>, bool),
    Link,
    /// WhatsApp says that this address was left.
    Left(Side),
}

/// Two addresses, with what was recorded for each.
#[derive(Debug, Clone)]
struct World {
    phone: Vec<Event>,
    user: Vec<Event>,
    /// The spelling of the number that is linked, and another one of the same number.
    spellings: [Spelling; 2],
}

impl World {
    fn new(spellings: [Spelling; 2]) -> Self {
        Self {
            phone: Vec::new(),
            user: Vec::new(),
            spellings,
        }
    }

    fn events(&self, side: Side) -> &[Event] {
        match side {
            Side::Phone => &self.phone,
            Side::User => &self.user,
        }
    }

    fn facts(&self, side: Side) -> Facts {
        Facts::fold(self.events(side))
    }

    fn spelling(&self, side: Side) -> Spelling {
        match side {
            Side::Phone => self.spellings[0],
            Side::User => Spelling::Verbatim,
        }
    }

    fn record(&mut self, side: Side, event: Event) {
        let event = Event {
            subject_id: side.id(),
            ..event
        };
        match side {
            Side::Phone => self.phone.push(event),
            Side::User => self.user.push(event),
        }
    }

    fn is_linked(&self, side: Side) -> bool {
        let other = side.other().id();
        self.facts(side).linked().any(|link| link.other == other)
    }

    fn happens(&mut self, step: &Step, time: Timestamp, source: TimeSource) {
        let number = self.phone.len() + self.user.len() + 1;
        let event = |act| Event {
            event_id: EventId(uuid::Uuid::from_u128(number as u128)),
            time_source: source,
            ..on(time, act)
        };
        match step {
            Step::Act(side, act, otherwise_spelt) => {
                let mut own = event((**act).clone());
                own.spelling = match (side, otherwise_spelt) {
                    (Side::Phone, true) => self.spellings[1],
                    _ => self.spelling(*side),
                };
                let copy = Event {
                    spelling: self.spelling(side.other()),
                    copied_from: Some(side.id()),
                    ..own.clone()
                };
                let copied = self.is_linked(*side) && self.holds_for_both(*side, &own);
                self.record(*side, own);
                if copied {
                    self.record(side.other(), copy);
                }
            }
            Step::Link => {
                let phone = event(self.linking(Side::Phone));
                let user = event(self.linking(Side::User));
                self.record(
                    Side::Phone,
                    Event {
                        spelling: self.spellings[0],
                        ..phone
                    },
                );
                self.record(Side::User, user);
            }
            Step::Left(side) => {
                self.record(*side, event(Act::IdentityChanged(IdentityChange::Former)));
                let unlinked = IdentityChange::Unlinked {
                    former: side.id(),
                    kind: side.kind(),
                };
                self.record(side.other(), event(Act::IdentityChanged(unlinked)));
            }
        }
    }

    fn holds_for_both(&self, side: Side, event: &Event) -> bool {
        let consents = matches!(event.act, Act::ConsentGiven(_) | Act::ConsentConfirmed(_));
        let in_doubt = self
            .facts(side)
            .doubt()
            .or(self.facts(side.other()).doubt())
            .is_some();
        !consents || (event.spelling.grants(self.spelling(side)) && !in_doubt)
    }

    /// The link as it is recorded at one of the two.
    fn linking(&self, side: Side) -> Act {
        let there = side.other();
        let inherited =
            self.facts(there)
                .inheritance(there.id(), self.spelling(there), self.spelling(side));
        Act::Linked(Link {
            other: there.id(),
            kind: there.kind(),
            here: self.spelling(side),
            inherited,
        })
    }

    fn afterwards(&self) -> Timestamp {
        let times = self.phone.iter().chain(&self.user);
        let last = times.map(|e| e.event_time.max(e.recorded_at)).max();
        last.unwrap_or(Timestamp::EPOCH)
            .plus(Duration::from_hours(1))
    }

    /// The question, at one of the addresses, with what is known there.
    fn asked(&self, side: Side, case: &Case) -> Case {
        Case {
            events: self.events(side).to_vec(),
            spelling: self.spelling(side),
            at: self.afterwards(),
            inbound: None,
            ..case.clone()
        }
    }
}

fn consent() -> impl Strategy<Value = Act> {
    genuine_terms().prop_map(Act::ConsentGiven)
}

fn restrictive() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => restriction(),
        2 => suppression(),
        1 => checked(Just(RegistryResult::Listed)),
        1 => asked(),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![3 => consent(), 3 => restrictive(), 1 => failure(select(FailureKind::ALL))]
}

fn step(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Step> {
    let act = (side(), act, prop::bool::weighted(0.2));
    prop_oneof![
        6 => act.prop_map(|(side, act, other)| Step::Act(side, Box::new(act), other)),
        2 => Just(Step::Link),
        1 => side().prop_map(Step::Left),
    ]
}

/// What happens one after the other, each at any time.
fn world(steps: impl Strategy<Value = Step>) -> impl Strategy<Value = World> {
    let steps = prop::collection::vec((steps, instant(), source()), 0..8);
    (steps, select(&FAMILIES[..])).prop_map(|(steps, family)| {
        let mut world = World::new(family);
        for (step, time, source) in &steps {
            world.happens(step, *time, *source);
        }
        world
    })
}

/// Linked at a time later than all others, so that it stands.
fn linked_at_last(mut world: World) -> World {
    let time = world.afterwards();
    world.happens(&Step::Link, time, TimeSource::Platform);
    world
}

/// Which restrictions and suppressions hold, and since when.
fn in_force(facts: &Facts, case: &Case) -> Vec<String> {
    let at = |mark: &Mark| (mark.at, mark.source);
    let restrictions = facts.restrictions.iter();
    let restrictions =
        restrictions.map(|r| format!("{:?}", (r.kind, &r.coverage, &r.sender, at(&r.mark))));
    let tolerance = case.rules.clock_tolerance;
    let suppressions = facts.suppressions_at(Timestamp::EPOCH, tolerance);
    let suppressions = suppressions.map(|s| {
        format!(
            "{:?}",
            (s.basis, &s.coverage, &s.sender, s.until, at(&s.mark))
        )
    });
    let asks = facts.asks.iter();
    let asks = asks.map(|ask| {
        let marks: Vec<_> = ask.marks.iter().map(Mark::act).collect();
        format!("{:?}", (&ask.purpose, &ask.sender, ask.deferred, marks))
    });
    let listed = facts
        .registries
        .iter()
        .filter(|known| known.result == RegistryResult::Listed);
    let listed = listed.map(|known| format!("{:?}", (&known.registry, at(&known.mark))));
    restrictions
        .chain(suppressions)
        .chain(asks)
        .chain(listed)
        .collect()
}

// Law 6: an opt-out through one address holds for its linked address.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_restricts_at_one_address_restricts_at_the_linked_one(
        world in world(step(act())), more in prop::collection::vec((side(), restrictive(), instant()), 0..3),
        case in case()
    ) {
        let mut world = linked_at_last(world);
        for (side, act, time) in more {
            world.happens(&Step::Act(side, Box::new(act), false), time, TimeSource::Caller);
        }
        let [phone, user] = [Side::Phone, Side::User].map(|side| in_force(&world.facts(side), &case));
        prop_assert_eq!(phone, user);
    }

    #[test]
    fn an_opt_out_before_or_after_the_link_denies_at_both(
        world in world(step(consent())), side in side(), act in restriction(), before in any::<bool>(),
        case in case()
    ) {
        let mut world = world;
        let stop = |world: &mut World| {
            let time = world.afterwards();
            world.happens(&Step::Act(side, Box::new(act.clone()), true), time, TimeSource::Caller);
        };
        if before {
            stop(&mut world);
        }
        let mut world = linked_at_last(world);
        if !before {
            stop(&mut world);
        }
        let Act::Restricted(restriction) = &act else { unreachable!("made by `restriction`") };
        for side in [Side::Phone, Side::User] {
            let asked = world.asked(side, &case);
            if concerns(restriction, &asked) && !is_confirmed(&asked) {
                prop_assert_eq!(asked.verdict().decision, Decision::Deny);
                prop_assert!(asked.verdict().reasons().contains(&restriction.kind.into()));
            }
        }
    }

    #[test]
    fn a_resume_at_one_address_lifts_the_stop_of_both(
        world in world(step(consent())), one in side(), other in side(), scope in scope(), sender in sender(),
        case in case()
    ) {
        let mut world = linked_at_last(world);
        let stop = suppressed(SuppressionBasis::PlatformStop, scope.clone(), sender.clone());
        let resume = Act::SuppressionLifted(Lift {
            basis: SuppressionBasis::PlatformStop,
            scope,
            sender_id: sender,
            lifts: None,
            indication_method: None,
        });
        let before = [Side::Phone, Side::User].map(|side| in_force(&world.facts(side), &case));
        let time = world.afterwards();
        world.happens(&Step::Act(one, Box::new(Act::Suppressed(stop)), false), time, TimeSource::Platform);
        let later = time.plus(Duration::from_secs(1));
        world.happens(&Step::Act(other, Box::new(resume), false), later, TimeSource::Platform);
        let after = [Side::Phone, Side::User].map(|side| in_force(&world.facts(side), &case));
        prop_assert_eq!(before, after);
    }
}

// Law 6: a grant counts at a linked address while the link stands and nothing is in doubt.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_consent_given_at_the_linked_address_speaks_only_while_the_link_stands_and_nothing_is_in_doubt(
        world in world(step(act())), side in side()
    ) {
        let facts = world.facts(side);
        let tolerance = Duration::from_mins(5);
        for grant in facts.grants.iter().filter(|grant| facts.speaks(grant, tolerance)) {
            if grant.via_link.is_some() {
                prop_assert!(world.is_linked(side));
                prop_assert_eq!(facts.doubt(), None);
                prop_assert!(grant.spelling.grants(world.spelling(side)));
            }
        }
    }

    #[test]
    fn a_consent_in_a_spelling_that_is_no_twin_of_the_linked_one_does_not_travel(
        family in select(&FAMILIES[..]), linked_first in any::<bool>(), case in case()
    ) {
        let mut world = World::new(family);
        let time = Timestamp::from_micros(1_000_001);
        let given = Step::Act(Side::Phone, Box::new(Act::ConsentGiven(full_consent(&case))), true);
        let steps = if linked_first { [&Step::Link, &given] } else { [&given, &Step::Link] };
        for (step, seconds) in steps.into_iter().zip(0..) {
            world.happens(step, time.plus(Duration::from_secs(seconds)), TimeSource::Platform);
        }
        let facts = world.facts(Side::User);
        let travels = facts.grants.iter().any(|grant| facts.speaks(grant, Duration::ZERO));
        prop_assert_eq!(travels, family[1].grants(family[0]));
    }

    #[test]
    fn after_an_address_was_left_no_earlier_consent_speaks_there_nor_at_the_other_one(
        world in world(step(act())), side in side(), source in source(), again in any::<bool>()
    ) {
        let mut world = linked_at_last(world);
        let time = world.afterwards();
        world.happens(&Step::Left(side), time, source);
        if again {
            let later = time.plus(Duration::from_hours(1));
            world.happens(&Step::Link, later, TimeSource::Platform);
        }
        let tolerance = Duration::from_mins(5);
        let left = world.facts(side);
        prop_assert!(!left.grants.iter().any(|grant| left.speaks(grant, tolerance)));
        let other = world.facts(side.other());
        let mut speaking = other.grants.iter().filter(|grant| other.speaks(grant, tolerance));
        prop_assert!(speaking.all(|grant| grant.via_link.is_none()), "{:?}", other.grants);
    }

    #[test]
    fn whoever_takes_an_address_that_was_left_is_a_stranger(
        world in world(step(act())), side in side(), case in case()
    ) {
        let mut world = linked_at_last(world);
        let time = world.afterwards();
        world.happens(&Step::Left(side), time, TimeSource::Platform);
        let verdict = world.asked(side, &case).verdict();
        prop_assert!(!verdict.reasons().contains(&Reason::ConsentGiven));
        // A consent of the next one counts, and for this address alone.
        let mut next = world.clone();
        let later = next.afterwards();
        let given = Step::Act(side, Box::new(Act::ConsentGiven(full_consent(&case))), false);
        next.happens(&given, later, TimeSource::Platform);
        let facts = next.facts(side);
        prop_assert!(facts.grants.iter().any(|grant| facts.speaks(grant, Duration::from_mins(5))));
        prop_assert_eq!(next.events(side.other()), world.events(side.other()));
    }
}

// A move carries restrictions, never grants.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_move_carries_what_restricts_and_no_consent(case in case()) {
        let former = Facts::fold(&case.events);
        let inherited = former.restrictive_inheritance();
        let moved = Act::IdentityChanged(IdentityChange::Successor { inherited });
        let successor = Case { events: Vec::new(), ..case.clone() }.and(on(case.afterwards(), moved));
        let facts = Facts::fold(&successor.events);
        prop_assert!(facts.grants.is_empty());
        // Whatever of the person's forbids it at the former address without its consents does so here.
        let bare = Facts { grants: Vec::new().into(), left: Latest::default(), ..former };
        let of_the_person = |reason: &Reason| {
            is_restricted(*reason)
                || matches!(reason, Reason::Suppressed | Reason::PlatformStopped | Reason::PossibleRevocation)
        };
        let there = case.verdict_on(&bare).reasons();
        let here = successor.verdict().reasons();
        for reason in there.iter().filter(|reason| of_the_person(reason)) {
            prop_assert!(here.contains(reason), "{:?} of {:?} is not in {:?}", reason, there, here);
        }
    }

    #[test]
    fn a_move_lifts_nothing_at_the_new_address(
        case in case(), lifts in prop::collection::vec(event_of(lift(select(SuppressionBasis::ALL))), 1..4)
    ) {
        let inherited = Facts::fold(&lifts).restrictive_inheritance();
        let moved = Act::IdentityChanged(IdentityChange::Successor { inherited });
        let after = case.and(on(case.afterwards(), moved));
        prop_assert_eq!(after.verdict(), case.verdict());
    }

    #[test]
    fn a_move_or_a_link_that_smuggles_consents_in_gives_none(case in case(), which in any::<Index>()) {
        // As no event of ours says it: a consent without the link that it came by.
        let stranger = subject(79);
        let bare = Case { events: Vec::new(), ..case.clone() };
        let given = consents_anew(&bare, Timestamp::EPOCH, TimeSource::Caller);
        let grants = Facts::fold(&given.events).grants.to_vec();
        let inherited = Inherited { grants, ..Inherited::default() };
        let acts = [
            Act::IdentityChanged(IdentityChange::Successor { inherited: inherited.clone() }),
            Act::Linked(Link { other: stranger, kind: AddressKind::UserId, here: case.spelling, inherited }),
        ];
        let time = given.afterwards();
        let ended = on(time.plus(Duration::from_secs(10)), Act::IdentityChanged(IdentityChange::Unlinked {
            former: stranger,
            kind: AddressKind::UserId,
        }));
        let broken = on(time, acts[which.index(2)].clone());
        let after = Case { at: ended.recorded_at, ..bare.and(broken).and(ended) };
        prop_assert!(!after.verdict().reasons().contains(&Reason::ConsentGiven));
    }
}

// Law 10, for both addresses and all that is handed over between them.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn facts_of_linked_addresses_do_not_depend_on_order_or_repetition(
        (world, phone, user) in world(step(act())).prop_flat_map(|world| {
            let world = linked_at_last(world);
            let (phone, user) = (world.phone.clone(), world.user.clone());
            (Just(world), Just(phone).prop_shuffle(), Just(user).prop_shuffle())
        }),
        again in any::<Index>()
    ) {
        for (side, shuffled) in [(Side::Phone, phone), (Side::User, user)] {
            let repeated = again.get(&shuffled);
            let facts = Facts::fold(shuffled.iter().chain([repeated]));
            prop_assert_eq!(facts.encode(), world.facts(side).encode());
            prop_assert_eq!(&Facts::decode(&facts.encode()).unwrap(), &facts);
        }
    }

    #[test]
    fn what_is_copied_and_handed_over_as_well_is_one_act(world in world(step(act())), side in side()) {
        // Linked once more, everything is handed over that was copied before.
        let once = linked_at_last(world);
        let twice = linked_at_last(once.clone());
        let (once, twice) = (once.facts(side), twice.facts(side));
        prop_assert_eq!(once.grants, twice.grants);
        prop_assert_eq!(once.asks, twice.asks);
        prop_assert_eq!(once.restrictions, twice.restrictions);
        prop_assert_eq!(once.suppressions, twice.suppressions);
        prop_assert_eq!(once.registries, twice.registries);
    }

    #[test]
    fn what_was_remembered_elsewhere_reads_back_as_it_was_written(elsewhere in elsewhere(), here in select(&Spelling::ALL[..])) {
        for act in [elsewhere.linked(here), elsewhere.moved_here(), elsewhere.unlinked()] {
            let event = on(Timestamp::EPOCH, act);
            prop_assert_eq!(Event::read(&event.canonical()).unwrap(), event);
        }
    }
}
