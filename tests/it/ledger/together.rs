//! One act on several subjects, as a restriction through one of two linked addresses is: all of it commits or nothing,
//! and nobody waits for nobody without end.

use std::sync::Arc;

use consentgate::domain::id::EventId;
use consentgate::ledger::{
    Append, Appended, Error, Ledger, Offset, Position, Rpc, SubjectRef, Touch, replay,
};
use uuid::Uuid;

use super::people::{Call, Draft, Person, abandon_after, at, offer_together, race};
use super::store::Store;

const ALL: u32 = 100_000;

/// One act on these people, as somebody decides on who they are now. The event has one id for all.
pub fn act_on(people: &[&Person]) -> Vec<Draft> {
    let id = EventId(Uuid::new_v4());
    let drafts = people.iter().map(|person| {
        let mut draft = person.next();
        draft.event.event_id = id;
        draft.facts = person.facts();
        draft.facts.apply(&draft.event);
        let key = person.subject.key[0];
        draft.payload = Some(vec![b'p', key]);
        draft.address = Some(vec![b'a', key]);
        draft
    });
    drafts.collect()
}

pub async fn offer(drafts: &[Draft], ledger: &dyn Ledger) -> Result<Appended, Error> {
    let drafts: Vec<&Draft> = drafts.iter().collect();
    offer_together(&drafts, ledger).await
}

/// Everybody is as their acts make them, and the event of each has its payload.
async fn all_is_there(people: &[&Person], ledger: &dyn Ledger) {
    for person in people {
        let loaded = person.load(ledger).await.unwrap();
        assert_eq!(loaded.subject, person.loaded(0).subject);
        let history = ledger.history(person.id, Offset(0), ALL).await.unwrap();
        assert!(
            history
                .iter()
                .map(|recorded| &recorded.event)
                .eq(&person.events)
        );
        let payload = [b'p', person.subject.key[0]];
        let last = history.last().unwrap();
        assert_eq!(last.payload.as_deref(), Some(&payload[..]));
    }
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

pub async fn an_act_on_several_subjects_commits_the_part_of_each(store: &Store) {
    let ledger = &*store.ledger;
    // Two in one partition and one in another, none in the order of their keys; one is known already.
    let (mut ann, mut bob, mut eve) = (Person::new(3, 7), Person::new(1, 9), Person::new(2, 7));
    let mut first = bob.next();
    first.address = None;
    assert_eq!(bob.record_as(first, ledger).await, at(9, 1));
    let call = Call::new(Rpc::Withdraw, 1);
    let mut drafts = act_on(&[&ann, &bob, &eve]);
    drafts[0].call = Some(call.clone());
    drafts[2].address = None;

    let Appended::At(places) = offer(&drafts, ledger).await.unwrap() else {
        panic!("nothing stood in its way");
    };

    assert_eq!(places, [at(7, 2), at(9, 2), at(7, 1)]);
    for (person, draft) in [&mut ann, &mut bob, &mut eve].into_iter().zip(&drafts) {
        person.events.push(draft.event.clone());
    }
    all_is_there(&[&ann, &bob, &eve], ledger).await;
    for (person, address) in [(&ann, Some(b"a\x03")), (&bob, Some(b"a\x01")), (&eve, None)] {
        let kept = ledger.address(person.id).await.unwrap();
        assert_eq!(kept.as_deref(), address.map(|a| &a[..]));
    }
    let business = &ann.subject.business;
    let answer = ledger
        .answer(business, call.rpc, &call.key_hash, Touch::No)
        .await;
    assert_eq!(answer.unwrap().unwrap().position, places[0]);
    assert_eq!(answers_kept(store).await, 1);
    for (person, place) in [&ann, &bob, &eve].into_iter().zip(places) {
        let before = Position {
            offset: Offset(place.offset.0 - 1),
            ..place
        };
        let there = ledger.changes_after(before, 1).await.unwrap();
        assert_eq!(there[0].position, place);
        assert_eq!(there[0].event, *person.events.last().unwrap());
    }
    // Each of them goes on alone.
    assert_eq!(ann.record(ledger).await, at(7, 3));
    assert_eq!(bob.record(ledger).await, at(9, 3));
}

pub async fn an_act_lies_where_the_order_of_its_subjects_puts_it(store: &Store) {
    let ledger = &*store.ledger;
    let mut people: Vec<Person> = (1..=8).map(|number| Person::new(number, 7)).collect();
    for (act, turn) in (0..).zip([0, 3, 7]) {
        people.rotate_left(turn);
        let drafts = act_on(&people.iter().collect::<Vec<_>>());
        let Appended::At(places) = offer(&drafts, ledger).await.unwrap() else {
            panic!("nothing stood in its way");
        };
        for ((person, draft), place) in people.iter_mut().zip(drafts).zip(places) {
            let key = i64::from(person.subject.key[0]);
            assert_eq!(place, at(7, 8 * act + key));
            person.events.push(draft.event);
        }
    }
    all_is_there(&people.iter().collect::<Vec<_>>(), ledger).await;
}

async fn answers_kept(store: &Store) -> usize {
    let contents = store.contents().await;
    let answers = contents.iter().filter(|row| row.table == "idempotency");
    answers.count()
}

pub async fn an_act_of_which_one_part_is_outdated_writes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = [Person::new(1, 7), Person::new(2, 9), Person::new(3, 7)];
    for person in &mut known {
        person.record(ledger).await;
    }
    let [one, two, three] = &known;
    let strangers = [Person::new(4, 7), Person::new(5, 8)];
    let behind = |person: &Person| Person {
        events: Vec::new(),
        ..person.clone()
    };

    let before = store.contents().await;
    for acts in [
        vec![&behind(one), two],
        vec![one, &behind(two)],
        vec![&behind(three), one, two],
        vec![three, &behind(one), two],
        vec![two, three, &behind(one)],
        vec![&strangers[0], &behind(one), &strangers[1]],
        vec![&behind(two), &strangers[1]],
    ] {
        let mut drafts = act_on(&acts);
        drafts[0].call = Some(Call::new(Rpc::Withdraw, 1));
        let appended = offer(&drafts, ledger).await.unwrap();
        assert_eq!(appended, Appended::VersionChanged);
        assert!(store.contents().await == before);
    }
    let ahead = {
        let mut ahead = one.clone();
        ahead.events.push(ahead.next().event);
        ahead
    };
    for acts in [[two, &ahead], [&ahead, two]] {
        let appended = offer(&act_on(&acts), ledger).await.unwrap();
        assert_eq!(appended, Appended::VersionChanged);
        assert!(store.contents().await == before);
    }
    assert_eq!(known[0].record(ledger).await, at(7, 3));
}

pub async fn an_act_of_which_one_part_is_refused_writes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Person::new(1, 7);
    known.record(ledger).await;
    store
        .damage("DELETE FROM partition_head WHERE partition = 9")
        .await;
    let headless = Person::new(2, 9);
    let mut same_event = act_on(&[&known, &Person::new(3, 8)]);
    same_event[0].event.event_id = known.events[0].event_id;

    let before = store.contents().await;
    for drafts in [
        act_on(&[&known, &headless]),
        act_on(&[&headless, &known]),
        same_event,
    ] {
        let refused = offer(&drafts, ledger).await;
        assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
        assert!(store.contents().await == before);
    }
    // Nothing of it stands in the way of what follows.
    assert_eq!(known.record(ledger).await, at(7, 2));
}

pub async fn an_act_under_a_used_key_writes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Person::new(1, 7);
    let call = Call::new(Rpc::Withdraw, 1);
    let draft = known.next().with_call(call.clone());
    known.record_as(draft, ledger).await;

    let before = store.contents().await;
    for acts in [
        [&known, &Person::new(2, 9)],
        [&Person::new(2, 9), &Person::new(3, 7)],
    ] {
        let mut drafts = act_on(&acts);
        drafts[0].call = Some(call.clone());
        assert_eq!(offer(&drafts, ledger).await.unwrap(), Appended::KeyUsed);
        assert!(store.contents().await == before);
    }
    assert_eq!(known.record(ledger).await, at(7, 2));
}

pub async fn parts_that_no_act_may_have_are_refused(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Person::new(1, 7);
    known.record(ledger).await;
    let many: Vec<Person> = (1..=9).map(|number| Person::new(100 + number, 8)).collect();
    let elsewhere = Person::of("other", 2, 9);
    assert_eq!(Append::MOST_PARTS + 1, many.len());

    let before = store.contents().await;
    for (what, people) in [
        ("none", vec![]),
        ("too many", many.iter().collect()),
        ("one twice", vec![&known, &many[0], &known]),
        ("two businesses", vec![&known, &elsewhere]),
    ] {
        let refused = offer(&act_on(&people), ledger).await;
        assert!(
            matches!(refused, Err(Error::Rejected(_))),
            "{what}: {refused:?}"
        );
        assert!(store.contents().await == before, "{what}");
    }
    let most = &act_on(&many[..8].iter().collect::<Vec<_>>());
    assert!(
        matches!(offer(most, ledger).await.unwrap(), Appended::At(places) if places.len() == 8)
    );
}

/// What the writers of the next test write: a person's number, or several, in the order of the parts.
const ACTS: [&[u8]; 9] = [
    &[0, 1],
    &[1, 0],
    &[2, 3],
    &[3, 2],
    &[0, 1, 2],
    &[2, 1, 0],
    &[0],
    &[1],
    &[3],
];

pub async fn acts_in_opposite_orders_do_not_stand_in_each_others_way(store: &Store) {
    const ROUNDS: usize = 20;
    // 0 and 1 share a partition; 2 lies before it, and 3 behind it.
    let people = [
        Person::new(200, 7),
        Person::new(100, 7),
        Person::new(150, 3),
        Person::new(50, 9),
    ];
    let writers = (0..8).map(|writer| {
        let (ledger, people) = (Arc::clone(&store.ledger), people.clone());
        async move {
            for round in 0..ROUNDS {
                let on = ACTS[(writer + round) % ACTS.len()];
                carry_out(on, &people, &*ledger).await;
            }
        }
    });
    race(writers).await;

    let ledger = &*store.ledger;
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
    let written: usize = (0..8)
        .flat_map(|writer| (0..ROUNDS).map(move |round| ACTS[(writer + round) % ACTS.len()].len()))
        .sum();
    assert_eq!(report.events, u64::try_from(written).unwrap());
}

/// Decides again until nobody was faster. A deadlock would be an error of the database.
async fn carry_out(on: &[u8], people: &[Person], ledger: &dyn Ledger) {
    let on = on
        .iter()
        .map(|number| &people[usize::from(*number)].subject);
    let subjects: Vec<SubjectRef> = on.cloned().collect();
    loop {
        let loaded = ledger.facts(&subjects).await.unwrap();
        let drafts: Vec<Draft> = subjects
            .iter()
            .zip(loaded)
            .map(|(subject, loaded)| Draft::after(subject, loaded))
            .collect();
        match offer(&drafts, ledger).await.unwrap() {
            Appended::At(places) => {
                assert_eq!(places.len(), subjects.len());
                for (place, subject) in places.iter().zip(&subjects) {
                    assert_eq!(place.partition, subject.partition);
                }
                return;
            }
            Appended::VersionChanged => {}
            Appended::KeyUsed => panic!("no key was given"),
        }
    }
}

pub async fn acts_in_opposite_orders_under_one_key_are_carried_out_once(store: &Store) {
    for round in 0..10 {
        let call = Call::new(Rpc::Withdraw, round);
        // Strangers in two partitions, so that heads and key alone stand between them.
        let contenders = (0..12_u8).map(|contender| {
            let number = 24 * round + 2 * contender;
            let (low, high) = (Person::new(number, 7), Person::new(number + 1, 9));
            let mut drafts = match contender % 3 {
                0 => act_on(&[&low, &high]),
                1 => act_on(&[&high, &low]),
                _ => act_on(&[&high]),
            };
            drafts[0].call = Some(call.clone());
            let ledger = Arc::clone(&store.ledger);
            async move { offer(&drafts, &*ledger).await.unwrap() }
        });
        let results = race(contenders).await;
        let done = results.iter().filter(|r| matches!(r, Appended::At(_)));
        assert_eq!(done.count(), 1, "{results:?}");
        let used = results.iter().filter(|r| **r == Appended::KeyUsed);
        assert_eq!(used.count(), 11, "{results:?}");
    }
    assert_eq!(answers_kept(store).await, 10);
    let report = replay::check(&*store.ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

pub async fn an_abandoned_act_is_there_on_all_its_subjects_or_on_none(store: &Store) {
    let ledger = &*store.ledger;
    let mut pair = [Person::new(2, 7), Person::new(1, 9)];
    let mut abandoned = Vec::new();
    for polls in 0..60 {
        let drafts = act_on(&[&pair[0], &pair[1]]);
        abandoned.push(drafts[0].event.event_id);
        // The result is dropped with the future, so nobody knows whether it commits, or when.
        abandon_after(polls, offer(&drafts, ledger)).await;
        loop {
            pair = [pair[0].reread(ledger).await, pair[1].reread(ledger).await];
            let drafts = act_on(&[&pair[0], &pair[1]]);
            // On a connection that was given up PostgreSQL may warn that no transaction is open, and a
            // warning is taken for an unknown outcome: then what is there is read again.
            let Ok(Appended::At(_)) = offer(&drafts, ledger).await else {
                continue;
            };
            for (person, draft) in pair.iter_mut().zip(drafts) {
                person.events.push(draft.event);
            }
            break;
        }
    }

    let ids = |person: &Person| -> Vec<EventId> {
        person.events.iter().map(|event| event.event_id).collect()
    };
    assert_eq!(ids(&pair[0]), ids(&pair[1]));
    let there = abandoned.iter().filter(|id| ids(&pair[0]).contains(id));
    let there = there.count();
    assert!(there > 0 && there < abandoned.len(), "{there}");
    all_is_there(&[&pair[0], &pair[1]], ledger).await;
}
