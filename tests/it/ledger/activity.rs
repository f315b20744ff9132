//! Activity: service windows, sends and permits are noted once, read as they were noted, and forgotten in time.

use std::sync::Arc;
use std::time::Duration;

use consentgate::domain::activity::{Activity, MOST_SENDS, Sent, Wanted};
use consentgate::domain::id::{EventId, PurposeKey, SenderId};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::MessageClass;
use consentgate::ledger::activity::{Kind, PERMITS_KEPT, SENDS_KEPT, WINDOWS_KEPT, prune};
use consentgate::ledger::{Error, SubjectRef};
use uuid::Uuid;

use super::people::{Person, minute, race};
use super::store::Store;

fn somebody(number: u8, partition: u16) -> SubjectRef {
    Person::new(number, partition).subject
}

fn sender(name: &str) -> SenderId {
    SenderId::parse(name).unwrap()
}

fn offer(at: Timestamp) -> Sent {
    sent("offers", MessageClass::Marketing, at)
}

fn sent(purpose: &str, class: MessageClass, at: Timestamp) -> Sent {
    Sent {
        purpose: PurposeKey::parse(purpose).unwrap(),
        class,
        at,
    }
}

const EVER: Timestamp = Timestamp::from_micros(i64::MIN);

async fn window(store: &Store, subject: &SubjectRef, of: &SenderId) -> Option<Timestamp> {
    let wanted = Wanted {
        window_of: Some(of),
        sends_since: None,
    };
    let found = read(store, std::slice::from_ref(subject), wanted).await;
    assert_eq!(found[0].sends, []);
    found[0].last_inbound
}

async fn sends(store: &Store, subject: &SubjectRef, since: Timestamp) -> Vec<Sent> {
    let wanted = Wanted {
        window_of: None,
        sends_since: Some(since),
    };
    let found = read(store, std::slice::from_ref(subject), wanted).await;
    assert_eq!(found[0].last_inbound, None);
    found.into_iter().next().unwrap().sends
}

async fn read(store: &Store, subjects: &[SubjectRef], wanted: Wanted<'_>) -> Vec<Activity> {
    let found = store.activity.activity(subjects, wanted).await.unwrap();
    assert_eq!(found.len(), subjects.len());
    found
}

pub async fn activity_comes_in_the_order_asked_with_duplicates_and_strangers(store: &Store) {
    let activity = &*store.activity;
    let (shop, help) = (sender("shop"), sender("help"));
    let (ann, bob) = (somebody(1, 7), somebody(2, 7));
    let eve = Person::of("other", 3, 9).subject;
    let stranger = somebody(4, 7);
    // The key of somebody, where that one does not lie.
    let misplaced = somebody(1, 9);
    let note = async |subject: &SubjectRef, of: &SenderId, at| {
        let subject = std::slice::from_ref(subject);
        activity.note_inbound(subject, of, at).await.unwrap();
    };
    note(&ann, &shop, minute(1)).await;
    note(&ann, &help, minute(2)).await;
    note(&bob, &help, minute(3)).await;
    note(&eve, &shop, minute(4)).await;
    let news = sent("news", MessageClass::Utility, minute(6));
    for (subject, sent, message) in [
        (&ann, &offer(minute(5)), [1; 16]),
        (&ann, &news, [2; 16]),
        (&eve, &news, [1; 16]),
    ] {
        let subject = std::slice::from_ref(subject);
        assert!(activity.note_send(subject, sent, &message).await.unwrap());
    }

    let known = |last_inbound: Option<i64>, sends: &[&Sent]| Activity {
        last_inbound: last_inbound.map(minute),
        sends: sends.iter().map(|sent| (*sent).clone()).collect(),
    };
    let of_ann = known(Some(1), &[&news, &offer(minute(5))]);
    let nothing = Activity::default();
    let asked = [&eve, &stranger, &ann, &misplaced, &ann, &bob];
    let subjects = asked.map(Clone::clone);
    let all = Wanted {
        window_of: Some(&shop),
        sends_since: Some(minute(5)),
    };
    let expected = [
        known(Some(4), &[&news]),
        nothing.clone(),
        of_ann.clone(),
        nothing.clone(),
        of_ann,
        nothing.clone(),
    ];
    assert_eq!(read(store, &subjects, all).await, expected);
    assert_eq!(read(store, &[], all).await, []);

    let windows = Wanted {
        window_of: Some(&help),
        sends_since: None,
    };
    let times = [None, None, Some(2), None, Some(2), Some(3)];
    let expected = times.map(|time| known(time, &[]));
    assert_eq!(read(store, &subjects, windows).await, expected);
    // An instant counts itself.
    let later = Wanted {
        window_of: None,
        sends_since: Some(minute(6)),
    };
    let found = read(store, &subjects, later).await;
    assert_eq!(found[2], known(None, &[&news]));
    let none = read(store, &subjects, Wanted::default()).await;
    assert_eq!(none, vec![nothing; 6]);
}

pub async fn activity_is_kept_apart_from_events_and_subjects(store: &Store) {
    let mut person = Person::new(1, 7);
    person.record(&*store.ledger).await;
    let ours = ["service_window", "message_send", "opt_out_permit"];
    let rest = async || {
        let mut rows = store.contents().await;
        rows.retain(|row| !ours.contains(&row.table.as_str()));
        rows
    };
    let before = rest().await;
    let both = [person.subject.clone(), somebody(2, 8)];
    let activity = &*store.activity;
    let shop = sender("shop");
    activity
        .note_inbound(&both, &shop, minute(1))
        .await
        .unwrap();
    let sent = offer(minute(2));
    assert!(activity.note_send(&both, &sent, &[1; 16]).await.unwrap());
    let opt_out = person.events[0].event_id;
    let taken = activity.take_permit(opt_out, &[1; 16], minute(3)).await;
    assert!(taken.unwrap());
    assert!(rest().await == before);
    assert_eq!(store.contents().await.len(), before.len() + 5);
}

pub async fn activity_of_10000_subjects_comes_in_one_statement(store: &Store) {
    let activity = &*store.activity;
    let (shop, sent) = (sender("shop"), offer(minute(2)));
    let known: Vec<SubjectRef> = (0..20).map(|n| somebody(n, 1 + u16::from(n))).collect();
    activity
        .note_inbound(&known, &shop, minute(1))
        .await
        .unwrap();
    assert!(activity.note_send(&known, &sent, &[1; 16]).await.unwrap());
    let subjects: Vec<SubjectRef> = (0..10_000_u32)
        .map(|n| {
            let mut subject = known[usize::try_from(n).unwrap() % known.len()].clone();
            if n % 3 != 0 {
                subject.key[..4].copy_from_slice(&(n + 1_000_000).to_be_bytes());
            }
            subject
        })
        .collect();
    let wanted = Wanted {
        window_of: Some(&shop),
        sends_since: Some(EVER),
    };
    let is_known = Activity {
        last_inbound: Some(minute(1)),
        sends: vec![sent],
    };
    for (n, found) in read(store, &subjects, wanted).await.iter().enumerate() {
        let expected = if n % 3 == 0 {
            is_known.clone()
        } else {
            Activity::default()
        };
        assert_eq!(*found, expected, "{n}");
    }
}

pub async fn a_window_keeps_the_latest_message_in_whatever_order_they_come(store: &Store) {
    let (shop, help) = (sender("shop"), sender("help"));
    let both = [somebody(1, 7), somebody(2, 9)];
    for (at, latest) in [(5, 5), (3, 5), (5, 5), (9, 9), (8, 9)] {
        // Somebody named twice counts once.
        let named = [&both[0], &both[1], &both[0]].map(Clone::clone);
        let noted = store.activity.note_inbound(&named, &shop, minute(at));
        noted.await.unwrap();
        for subject in &both {
            assert_eq!(window(store, subject, &shop).await, Some(minute(latest)));
            assert_eq!(window(store, subject, &help).await, None);
        }
    }

    let reports = (0..16).map(|number| {
        let (activity, shop) = (Arc::clone(&store.activity), shop.clone());
        let mut named = both.clone();
        if number % 2 == 0 {
            named.reverse();
        }
        async move {
            for round in 0..10 {
                let at = minute(10 + (number * 7 + round * 3) % 160);
                activity.note_inbound(&named, &shop, at).await.unwrap();
            }
        }
    });
    race(reports).await;
    let latest = (0..16).flat_map(|n| (0..10).map(move |round| 10 + (n * 7 + round * 3) % 160));
    let latest = latest.max().map(minute);
    for subject in &both {
        assert_eq!(window(store, subject, &shop).await, latest);
    }
}

pub async fn a_send_reported_twice_counts_once(store: &Store) {
    let activity = &*store.activity;
    let (ann, bob) = (somebody(1, 7), somebody(2, 9));
    let first = offer(minute(5));
    let again = sent("news", MessageClass::Utility, minute(6));
    let note = async |subjects: &[&SubjectRef], sent: &Sent, message| {
        let subjects: Vec<SubjectRef> = subjects.iter().map(|s| (*s).clone()).collect();
        let message = [message; 16];
        let noted = activity.note_send(&subjects, sent, &message);
        noted.await.unwrap()
    };
    assert!(note(&[&ann, &ann], &first, 1).await);
    assert!(!note(&[&ann], &again, 1).await);
    // Known of one of them: it was reported before, and now holds for the other, too.
    assert!(!note(&[&bob, &ann], &again, 1).await);
    assert!(!note(&[], &again, 9).await);
    assert_eq!(sends(store, &ann, EVER).await, std::slice::from_ref(&first));
    assert_eq!(sends(store, &bob, EVER).await, std::slice::from_ref(&again));
    assert!(note(&[&bob, &ann], &again, 2).await);
    assert_eq!(sends(store, &ann, EVER).await, [again, first.clone()]);

    for round in 10..20 {
        let reports = (0..16).map(|number| {
            let (activity, first) = (Arc::clone(&store.activity), first.clone());
            let mut named = [ann.clone(), bob.clone()];
            if number % 2 == 0 {
                named.reverse();
            }
            async move {
                let message = [round; 16];
                let noted = activity.note_send(&named, &first, &message);
                noted.await.unwrap()
            }
        });
        let new = race(reports).await.into_iter().filter(|new| *new).count();
        assert_eq!(new, 1);
    }
    assert_eq!(sends(store, &ann, EVER).await.len(), 12);
    assert_eq!(sends(store, &bob, EVER).await.len(), 12);
}

pub async fn the_newest_sends_are_read_newest_first(store: &Store) {
    let activity = &*store.activity;
    let subject = [somebody(1, 7)];
    let neighbour = [somebody(2, 7)];
    let most = i64::try_from(MOST_SENDS).unwrap();
    // Three of each minute, so that the last that counts is among its like.
    for number in 0..most + 40 {
        let mut message = [0; 16];
        message[..8].copy_from_slice(&(number * 7_919 % 1_000).to_be_bytes());
        let sent = offer(minute(number / 3));
        assert!(activity.note_send(&subject, &sent, &message).await.unwrap());
    }
    let sent = offer(minute(0));
    assert!(
        activity
            .note_send(&neighbour, &sent, &[1; 16])
            .await
            .unwrap()
    );

    let newest_first = |count: i64| -> Vec<Sent> {
        let numbers = (0..most + 40).rev().map(|number| offer(minute(number / 3)));
        numbers.take(usize::try_from(count).unwrap()).collect()
    };
    assert_eq!(sends(store, &subject[0], EVER).await, newest_first(most));
    assert_eq!(
        sends(store, &subject[0], minute(0)).await,
        newest_first(most)
    );
    let last = (most + 39) / 3;
    let of_last_minute = (most + 39) % 3 + 1;
    let since = sends(store, &subject[0], minute(last - 1)).await;
    assert_eq!(since, newest_first(of_last_minute + 3));
    assert_eq!(sends(store, &subject[0], minute(last + 1)).await, []);
    let all = [subject, neighbour].concat();
    let wanted = Wanted {
        window_of: None,
        sends_since: Some(EVER),
    };
    let both = read(store, &all, wanted).await;
    assert_eq!((both[0].sends.len(), both[1].sends.len()), (MOST_SENDS, 1));
}

pub async fn a_permit_is_of_the_request_that_took_it(store: &Store) {
    let activity = &*store.activity;
    let opt_out = EventId(Uuid::from_u128(1));
    let take = async |opt_out, request, at| {
        let request = [request; 16];
        let taken = activity.take_permit(opt_out, &request, minute(at));
        taken.await.unwrap()
    };
    let holder = async |opt_out| activity.permit_holder(opt_out).await.unwrap();
    assert_eq!(holder(opt_out).await, None);
    assert!(take(opt_out, 1, 1).await);
    assert_eq!(holder(opt_out).await, Some([1; 16]));
    let before = store.contents().await;
    assert!(take(opt_out, 1, 2).await);
    assert!(!take(opt_out, 2, 2).await);
    assert!(take(opt_out, 1, 3).await);
    assert_eq!(holder(opt_out).await, Some([1; 16]));
    assert!(store.contents().await == before);
    assert!(take(EventId(Uuid::from_u128(2)), 2, 4).await);

    for round in 10..20 {
        let opt_out = EventId(Uuid::from_u128(round));
        // Two of each request: either both are told that they have it, or neither.
        let requests = (0..16_u8).map(|number| {
            let activity = Arc::clone(&store.activity);
            async move {
                let request = [number / 2; 16];
                activity
                    .take_permit(opt_out, &request, minute(5))
                    .await
                    .unwrap()
            }
        });
        let told = race(requests).await;
        let holders: Vec<usize> = (0..16).filter(|number| told[*number]).collect();
        let [one, other] = holders[..] else {
            panic!("{told:?}");
        };
        assert_eq!(one / 2, other / 2);
    }
}

pub async fn activity_is_forgotten_by_kind_age_and_limit(store: &Store) {
    let activity = &*store.activity;
    let shop = sender("shop");
    for number in 1..=5 {
        let subject = [somebody(number, 7)];
        let at = minute(i64::from(number));
        activity.note_inbound(&subject, &shop, at).await.unwrap();
        let sent = offer(at);
        activity
            .note_send(&subject, &sent, &[number; 16])
            .await
            .unwrap();
        let opt_out = EventId(Uuid::from_bytes([number; 16]));
        activity
            .take_permit(opt_out, &[number; 16], at)
            .await
            .unwrap();
    }
    for (kind, table) in [
        (Kind::Windows, "service_window"),
        (Kind::Sends, "message_send"),
        (Kind::Permits, "opt_out_permit"),
    ] {
        let rest = async || {
            let mut rows = store.contents().await;
            rows.retain(|row| row.table != table);
            rows
        };
        let before = rest().await;
        let left = async || {
            let mut raw = store.connect().await;
            raw.number(&format!("SELECT count(*) FROM {table}")).await
        };
        let forget = async |before, limit| {
            let done = activity.forget_activity(kind, minute(before), limit);
            done.await.unwrap()
        };
        assert_eq!(forget(1, 100).await, 0);
        assert_eq!(forget(4, 0).await, 0);
        assert_eq!(forget(4, 2).await, 2);
        assert_eq!(left().await, 3);
        assert_eq!(forget(4, 2).await, 1);
        assert_eq!(forget(4, 2).await, 0);
        assert_eq!(left().await, 2);
        assert!(rest().await == before, "{kind:?}");
    }
    let kept = [
        window(store, &somebody(3, 7), &shop).await,
        window(store, &somebody(4, 7), &shop).await,
    ];
    assert_eq!(kept, [None, Some(minute(4))]);
    // A message whose report was forgotten would be new again.
    let sent = offer(minute(9));
    let again = activity.note_send(&[somebody(3, 7)], &sent, &[3; 16]).await;
    assert!(again.unwrap());
}

pub async fn what_may_still_count_is_not_pruned(store: &Store) {
    let activity = &*store.activity;
    let shop = sender("shop");
    let now = minute(1_000_000);
    let ago = |kept: Duration, micros: i64| {
        let kept = i64::try_from(kept.as_micros()).unwrap();
        Timestamp::from_micros(now.as_micros() - kept - micros)
    };
    let (old, kept) = (somebody(1, 7), somebody(2, 7));
    for (subject, past) in [(&old, 1), (&kept, 0)] {
        let subject = std::slice::from_ref(subject);
        let at = ago(WINDOWS_KEPT, past);
        activity.note_inbound(subject, &shop, at).await.unwrap();
        // More than are pruned at once.
        for message in 0..1_010_u16 {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&message.to_be_bytes());
            let sent = offer(ago(SENDS_KEPT, past));
            if past == 1 || message < 3 {
                activity.note_send(subject, &sent, &id).await.unwrap();
            }
        }
        let opt_out = EventId(Uuid::from_bytes([subject[0].key[0]; 16]));
        let at = ago(PERMITS_KEPT, past);
        let taken = activity.take_permit(opt_out, &[1; 16], at).await;
        assert!(taken.unwrap());
    }

    assert_eq!(prune(activity, now).await.unwrap(), 1 + 1_010 + 1);
    assert_eq!(prune(activity, now).await.unwrap(), 0);

    assert_eq!(window(store, &old, &shop).await, None);
    assert!(window(store, &kept, &shop).await.is_some());
    assert_eq!(sends(store, &old, EVER).await, []);
    assert_eq!(sends(store, &kept, EVER).await.len(), 3);
    let taken = async |number| {
        let opt_out = EventId(Uuid::from_bytes([number; 16]));
        activity.take_permit(opt_out, &[2; 16], now).await.unwrap()
    };
    assert!(taken(1).await);
    assert!(!taken(2).await);
}

pub async fn damaged_activity_is_corrupt(store: &Store) {
    let activity = &*store.activity;
    let (shop, subject) = (sender("shop"), somebody(1, 7));
    let all = std::slice::from_ref(&subject);
    let opt_out = EventId(Uuid::from_u128(1));
    activity.note_inbound(all, &shop, minute(1)).await.unwrap();
    let sent = offer(minute(1));
    activity.note_send(all, &sent, &[1; 16]).await.unwrap();
    activity
        .take_permit(opt_out, &[1; 16], minute(1))
        .await
        .unwrap();
    let wanted = Wanted {
        window_of: Some(&shop),
        sends_since: Some(EVER),
    };
    let short = store.bytes(&[1]);
    let mut damages = vec![
        ("service_window", "business_id", "'other'", "'acme'"),
        ("message_send", "business_id", "'Acme'", "'acme'"),
        ("message_send", "purpose", "'No Slug'", "'offers'"),
        ("message_send", "class", "0", "1"),
        ("message_send", "class", "7", "1"),
        ("message_send", "class", "257", "1"),
        ("message_send", "class", "-1", "1"),
    ];
    if store.has_loose_types() {
        damages.push(("message_send", "purpose", "CAST(x'ff' AS TEXT)", "'offers'"));
    }
    let key = format!("partition 7, key {}", "01".repeat(16));
    for (table, column, damage, whole) in damages {
        store
            .damage(&format!("UPDATE {table} SET {column} = {damage}"))
            .await;
        let asked = [somebody(2, 8), subject.clone()];
        match activity.activity(&asked, wanted).await {
            Err(Error::Corrupt {
                table: named,
                key: at,
                ..
            }) => assert_eq!((named, at.as_str()), (table, key.as_str())),
            other => panic!("{table}.{column} = {damage}: {other:?}"),
        }
        store
            .damage(&format!("UPDATE {table} SET {column} = {whole}"))
            .await;
    }
    activity.activity(all, wanted).await.unwrap();

    store
        .damage(&format!("UPDATE opt_out_permit SET request = {short}"))
        .await;
    let taken = activity.take_permit(opt_out, &[1; 16], minute(1)).await;
    assert!(
        matches!(&taken, Err(Error::Corrupt { table: "opt_out_permit", key, .. }) if *key == opt_out.to_string()),
        "{taken:?}"
    );
}

pub async fn a_closed_ledger_has_no_activity_to_tell(store: &Store) {
    store.ledger.close().await;
    let activity = &*store.activity;
    let (shop, all) = (sender("shop"), [somebody(1, 7)]);
    let wanted = Wanted {
        window_of: Some(&shop),
        sends_since: None,
    };
    let since = Wanted {
        window_of: None,
        sends_since: Some(EVER),
    };
    let opt_out = EventId(Uuid::from_u128(1));
    let results = [
        activity.activity(&all, wanted).await.map(drop),
        activity.activity(&all, since).await.map(drop),
        activity.note_inbound(&all, &shop, minute(1)).await,
        activity
            .note_send(&all, &offer(minute(1)), &[1; 16])
            .await
            .map(drop),
        activity
            .take_permit(opt_out, &[1; 16], minute(1))
            .await
            .map(drop),
        activity
            .forget_activity(Kind::Sends, minute(1), 1)
            .await
            .map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    }
}
