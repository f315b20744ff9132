//! Activity in memory: what of it is used again and for how long, and that a report counts at once on the instance that
//! took it, also for a read that was under way. On both databases, with a store whose answers arrive when a test says so.

mod hammer;
mod watched;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use consentgate::cache::Limits;
use consentgate::cache::activity::{ActivityCache, SENDS_HOLD};
use consentgate::cache::lane::Lane;
use consentgate::clock::{Clock, ManualClock};
use consentgate::domain::activity::{Activity, SERVICE_WINDOW, Sent, Wanted};
use consentgate::domain::id::{BusinessId, EventId, PurposeKey, SenderId};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::MessageClass;
use consentgate::ledger::activity::ActivityStore;
use consentgate::ledger::{Error, Partition, SubjectRef};
use consentgate::telemetry::Metrics;
use uuid::Uuid;

use crate::ledger::Store;
use watched::Watched;

/// Makes a test for each database of every case.
macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::Store::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::Store::postgres().await).await;
            })+
        }
    };
}

use hammer::{
    no_answer_is_from_before_an_acknowledged_report,
    the_hammer_catches_a_cache_that_keeps_what_it_read_unchecked,
};

on_both_databases! {
    what_nobody_wants_is_not_looked_up,
    an_open_window_is_used_until_its_end,
    a_closed_or_unknown_window_is_read_again_every_time,
    sends_are_used_for_a_second_from_before_they_were_read,
    sends_over_a_cap_are_used_for_as_long_as_they_are_over_it,
    sends_that_reach_back_too_little_are_read_again,
    only_what_is_missing_is_read_and_all_of_it_in_one_statement,
    a_report_counts_at_once_for_all_its_subjects,
    a_message_that_is_a_day_old_opens_nothing,
    a_read_under_way_does_not_bring_back_sends_from_before_a_report,
    a_read_under_way_does_not_close_a_window_that_a_report_opened,
    a_read_under_way_does_not_bring_back_an_older_window_where_the_newer_was_evicted,
    an_older_read_does_not_replace_a_newer_one,
    sends_are_read_again_after_a_report_of_unknown_outcome,
    sends_are_read_again_after_an_abandoned_report,
    a_permit_is_asked_of_the_store_every_time,
    no_answer_is_from_before_an_acknowledged_report,
    the_hammer_catches_a_cache_that_keeps_what_it_read_unchecked,
}

/// A cache over a store that counts and delays its reads.
struct Bench {
    cache: Arc<ActivityCache>,
    store: Arc<Watched>,
    clock: Arc<ManualClock>,
}

/// Noon of some day.
const NOON: Timestamp = Timestamp::from_micros(1_767_268_800_000_000);
const EVER: Timestamp = Timestamp::from_micros(i64::MIN);

impl Bench {
    fn over(store: &Store) -> Self {
        Self::of(store, 1 << 20)
    }

    fn of(store: &Store, capacity_bytes: u64) -> Self {
        let store = Arc::new(Watched::over(&store.activity));
        let clock = Arc::new(ManualClock::at(NOON));
        let cache = ActivityCache::new(
            Arc::clone(&store) as Arc<dyn ActivityStore>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Limits::of_bytes(capacity_bytes),
            Lane::of(4),
            Metrics::disabled(),
        );
        Self {
            cache: Arc::new(cache),
            store,
            clock,
        }
    }

    /// What is known of some people now; nobody is over a cap.
    async fn ask(&self, people: &[SubjectRef], wanted: Wanted<'_>) -> Vec<Arc<Activity>> {
        let at = self.clock.now();
        let found = self.cache.activity(people, wanted, at, |_, _| false);
        found.await.unwrap()
    }

    async fn window(&self, person: &SubjectRef) -> Option<Timestamp> {
        let wanted = window_of(&SHOP);
        let found = self.ask(std::slice::from_ref(person), wanted).await;
        assert_eq!(found[0].sends, []);
        found[0].last_inbound
    }

    async fn sends(&self, person: &SubjectRef) -> usize {
        let found = self.ask(std::slice::from_ref(person), SENDS).await;
        assert_eq!(found[0].last_inbound, None);
        found[0].sends.len()
    }

    async fn inbound(&self, people: &[SubjectRef], at: Timestamp) {
        let noted = self.cache.note_inbound(people, &SHOP, at).await;
        noted.unwrap();
    }

    async fn send(&self, people: &[SubjectRef], message: u8) -> Result<bool, Error> {
        let sent = offer(self.clock.now());
        self.cache.note_send(people, &sent, &[message; 16]).await
    }

    fn reads(&self) -> u64 {
        self.store.reads()
    }
}

const SENDS: Wanted<'static> = Wanted {
    window_of: None,
    sends_since: Some(EVER),
};

fn window_of(sender: &SenderId) -> Wanted<'_> {
    Wanted {
        window_of: Some(sender),
        sends_since: None,
    }
}

static SHOP: LazyLock<SenderId> = LazyLock::new(|| SenderId::parse("shop").unwrap());

fn offer(at: Timestamp) -> Sent {
    Sent {
        purpose: PurposeKey::parse("offers").unwrap(),
        class: MessageClass::Marketing,
        at,
    }
}

fn person(number: u8) -> SubjectRef {
    SubjectRef {
        business: BusinessId::parse("acme").unwrap(),
        partition: Partition(1 + u16::from(number) % 64),
        key: [number; 16],
    }
}

async fn what_nobody_wants_is_not_looked_up(store: &Store) {
    let bench = Bench::over(store);
    let people = [person(1), person(2)];
    bench.inbound(&people, NOON).await;
    let found = bench.ask(&people, Wanted::default()).await;
    assert_eq!(found, [Arc::default(), Arc::default()]);
    assert_eq!(bench.ask(&[], SENDS).await, []);
    assert_eq!(bench.reads(), 0);
}

async fn an_open_window_is_used_until_its_end(store: &Store) {
    let bench = Bench::over(store);
    let ann = person(1);
    let noted = store
        .activity
        .note_inbound(std::slice::from_ref(&ann), &SHOP, NOON);
    noted.await.unwrap();
    for wait in [Duration::ZERO, SERVICE_WINDOW - Duration::from_micros(1)] {
        bench.clock.set(NOON.plus(wait));
        assert_eq!(bench.window(&ann).await, Some(NOON));
        assert_eq!(bench.reads(), 1);
    }
    // It has moved on meanwhile, which is found out where the known one ends.
    let later = NOON.plus(Duration::from_hours(1));
    let noted = store
        .activity
        .note_inbound(std::slice::from_ref(&ann), &SHOP, later);
    noted.await.unwrap();
    assert_eq!(bench.window(&ann).await, Some(NOON));
    bench.clock.set(NOON.plus(SERVICE_WINDOW));
    assert_eq!(bench.window(&ann).await, Some(later));
    assert_eq!(bench.window(&ann).await, Some(later));
    assert_eq!(bench.reads(), 2);
}

async fn a_closed_or_unknown_window_is_read_again_every_time(store: &Store) {
    let bench = Bench::over(store);
    let (ann, stranger) = (person(1), person(2));
    bench.inbound(std::slice::from_ref(&ann), NOON).await;
    bench.clock.advance(SERVICE_WINDOW);
    for read in 1..=3 {
        assert_eq!(bench.window(&stranger).await, None);
        assert_eq!(bench.window(&ann).await, Some(NOON));
        assert_eq!(bench.reads(), 2 * read);
    }
    // The window of another sender is another matter.
    let help = SenderId::parse("help").unwrap();
    bench
        .inbound(std::slice::from_ref(&ann), bench.clock.now())
        .await;
    let found = bench
        .ask(std::slice::from_ref(&ann), window_of(&help))
        .await;
    assert_eq!((found[0].last_inbound, bench.reads()), (None, 7));
}

async fn sends_are_used_for_a_second_from_before_they_were_read(store: &Store) {
    let bench = Bench::over(store);
    let ann = person(1);
    assert_eq!(bench.sends(&ann).await, 0);
    // Reported to another instance.
    let sent = offer(NOON);
    let elsewhere = std::slice::from_ref(&ann);
    let noted = store.activity.note_send(elsewhere, &sent, &[1; 16]).await;
    assert!(noted.unwrap());
    bench.clock.advance(SENDS_HOLD - Duration::from_nanos(1));
    assert_eq!((bench.sends(&ann).await, bench.reads()), (0, 1));
    bench.clock.advance(Duration::from_nanos(1));
    assert_eq!((bench.sends(&ann).await, bench.reads()), (1, 2));

    // A read that takes most of a second is of use for the rest of it.
    bench.clock.advance(SENDS_HOLD);
    let reading = bench.store.hold();
    let asking = {
        let (cache, at, ann) = (Arc::clone(&bench.cache), bench.clock.now(), ann.clone());
        tokio::spawn(async move {
            cache
                .activity(&[ann], SENDS, at, |_, _| false)
                .await
                .unwrap()
        })
    };
    reading.arrived().await;
    bench.clock.advance(SENDS_HOLD * 3 / 4);
    reading.release();
    asking.await.unwrap();
    assert_eq!((bench.sends(&ann).await, bench.reads()), (1, 3));
    bench.clock.advance(SENDS_HOLD / 4);
    assert_eq!((bench.sends(&ann).await, bench.reads()), (1, 4));
}

async fn sends_over_a_cap_are_used_for_as_long_as_they_are_over_it(store: &Store) {
    let bench = Bench::over(store);
    let people = [person(1), person(2)];
    for (of, message) in [(0, 1), (0, 2), (1, 1)] {
        let of = std::slice::from_ref(&people[of]);
        bench.send(of, message).await.unwrap();
    }
    // Two a day are the most.
    let ask = async || {
        let at = bench.clock.now();
        let day_before = Timestamp::from_micros(at.as_micros() - 86_400_000_000);
        let is_over = |index: usize, known: &Activity| {
            let counted = known.sends.iter().filter(|sent| sent.at > day_before);
            assert_eq!(known.sends.len(), 2 - index);
            counted.count() >= 2
        };
        let found = bench.cache.activity(&people, SENDS, at, is_over).await;
        let sends = found.unwrap().into_iter().map(|known| known.sends.len());
        (sends.collect::<Vec<_>>(), bench.store.asked())
    };
    let known = vec![2, 1];
    assert_eq!(ask().await, (known.clone(), 2));
    assert_eq!(
        ask().await,
        (known.clone(), 2),
        "fresh ones are used as they are"
    );
    for rounds in 1..=3 {
        bench.clock.advance(Duration::from_hours(7));
        assert_eq!(
            ask().await,
            (known.clone(), 2 + rounds),
            "the second is read again"
        );
    }
    bench.clock.advance(Duration::from_hours(7));
    assert_eq!(ask().await, (known, 2 + 3 + 2));
}

async fn sends_that_reach_back_too_little_are_read_again(store: &Store) {
    let bench = Bench::over(store);
    let ann = std::slice::from_ref(&person(1)).to_vec();
    for (message, hours) in [(1, 50), (2, 30), (3, 1)] {
        let at = Timestamp::from_micros(NOON.as_micros() - hours * 3_600_000_000);
        let sent = offer(at);
        store
            .activity
            .note_send(&ann, &sent, &[message; 16])
            .await
            .unwrap();
    }
    let since = async |hours: i64| {
        let wanted = Wanted {
            window_of: None,
            sends_since: Some(Timestamp::from_micros(
                NOON.as_micros() - hours * 3_600_000_000,
            )),
        };
        (bench.ask(&ann, wanted).await[0].sends.len(), bench.reads())
    };
    assert_eq!(since(24).await, (1, 1));
    assert_eq!(since(48).await, (2, 2));
    // Older ones among them do no harm.
    assert_eq!(since(24).await, (2, 2));
    assert_eq!(since(72).await, (3, 3));
}

async fn only_what_is_missing_is_read_and_all_of_it_in_one_statement(store: &Store) {
    let bench = Bench::over(store);
    let people: Vec<SubjectRef> = (1..=4).map(person).collect();
    bench.inbound(&people[..2], NOON).await;
    bench.send(&people[2..], 1).await.unwrap();
    assert_eq!(bench.sends(&people[0]).await, 0);
    assert_eq!((bench.reads(), bench.store.asked()), (1, 1));
    let both = Wanted {
        window_of: Some(&SHOP),
        sends_since: Some(EVER),
    };
    let asked = [3, 0, 1, 3, 2].map(|index: usize| people[index].clone());
    let known = |last_inbound, sends: &[Sent]| Activity {
        last_inbound,
        sends: sends.to_vec(),
    };
    let sent = [offer(NOON)];
    let expected = [
        known(None, &sent),
        known(Some(NOON), &[]),
        known(Some(NOON), &[]),
        known(None, &sent),
        known(None, &sent),
    ];
    let found = bench.ask(&asked, both).await;
    assert!(
        found.iter().map(|known| &**known).eq(&expected),
        "{found:?}"
    );
    assert_eq!((bench.reads(), bench.store.asked()), (2, 1 + 4));
    // Closed windows again, and with them their sends.
    let found = bench.ask(&asked, both).await;
    assert!(
        found.iter().map(|known| &**known).eq(&expected),
        "{found:?}"
    );
    assert_eq!((bench.reads(), bench.store.asked()), (3, 1 + 4 + 3));
}

async fn a_report_counts_at_once_for_all_its_subjects(store: &Store) {
    let bench = Bench::over(store);
    let people = [person(1), person(2)];
    for (message, is_new, sends) in [(1, true, 1), (2, true, 2), (2, false, 2)] {
        for person in &people {
            bench.sends(person).await;
        }
        assert_eq!(bench.send(&people, message).await.unwrap(), is_new);
        for person in &people {
            assert_eq!(bench.sends(person).await, sends);
        }
    }
    assert_eq!(bench.window(&people[0]).await, None);
    let reads = bench.reads();
    for (minute, latest) in [(5, 5), (3, 5), (9, 9)] {
        let at = |minutes| NOON.plus(Duration::from_mins(minutes));
        bench.inbound(&people, at(minute)).await;
        for person in &people {
            assert_eq!(bench.window(person).await, Some(at(latest)));
        }
    }
    assert_eq!(bench.reads(), reads, "open windows need not be read");
    // A send leaves the window as it is.
    bench.send(&people, 3).await.unwrap();
    assert!(bench.window(&people[0]).await.is_some());
    assert_eq!(bench.reads(), reads);
}

async fn a_message_that_is_a_day_old_opens_nothing(store: &Store) {
    let bench = Bench::over(store);
    let people = [person(1)];
    let day_old = Timestamp::from_micros(NOON.as_micros() - 86_400_000_000);
    bench.inbound(&people, day_old).await;
    assert_eq!(bench.window(&people[0]).await, Some(day_old));
    assert_eq!(bench.reads(), 1);
}

/// Lets a read begin that sees the store as it is, carries `meanwhile` out, and only then hands the answer over.
async fn overtaken(bench: &Bench, wanted: Wanted<'static>, meanwhile: impl Future<Output = ()>) {
    let reading = bench.store.hold();
    let (cache, at) = (Arc::clone(&bench.cache), bench.clock.now());
    let asking =
        tokio::spawn(async move { cache.activity(&[person(1)], wanted, at, |_, _| false).await });
    reading.arrived().await;
    meanwhile.await;
    reading.release();
    asking.await.unwrap().unwrap();
}

async fn a_read_under_way_does_not_bring_back_sends_from_before_a_report(store: &Store) {
    let bench = Bench::over(store);
    for message in 1..=3 {
        overtaken(&bench, SENDS, async {
            bench.send(&[person(1)], message).await.unwrap();
        })
        .await;
        assert_eq!(bench.sends(&person(1)).await, usize::from(message));
        bench.clock.advance(SENDS_HOLD);
    }
}

async fn a_read_under_way_does_not_close_a_window_that_a_report_opened(store: &Store) {
    let bench = Bench::over(store);
    bench.inbound(&[person(1)], NOON).await;
    bench.clock.advance(SERVICE_WINDOW);
    let now = bench.clock.now();
    overtaken(&bench, window_of(&SHOP), async {
        bench.inbound(&[person(1)], now).await;
    })
    .await;
    assert_eq!(bench.window(&person(1)).await, Some(now));
    assert_eq!(bench.reads(), 1);
}

async fn a_read_under_way_does_not_bring_back_an_older_window_where_the_newer_was_evicted(
    store: &Store,
) {
    // Room for nothing, so that whatever is kept is gone with the next eviction, and not before.
    let bench = Bench::of(store, 1);
    let later = NOON.plus(Duration::from_mins(1));
    bench.inbound(&[person(1)], NOON).await;
    bench.cache.run_pending_evictions();
    overtaken(&bench, window_of(&SHOP), async {
        bench.inbound(&[person(1)], later).await;
        bench.cache.run_pending_evictions();
    })
    .await;
    assert_eq!(bench.window(&person(1)).await, Some(later));
    assert_eq!(bench.reads(), 2);
}

async fn an_older_read_does_not_replace_a_newer_one(store: &Store) {
    let bench = Bench::over(store);
    overtaken(&bench, SENDS, async {
        // Reported to another instance, and read here by somebody else half a second later.
        let (sent, all) = (offer(NOON), [person(1)]);
        let noted = store.activity.note_send(&all, &sent, &[1; 16]).await;
        assert!(noted.unwrap());
        bench.clock.advance(SENDS_HOLD / 2);
        assert_eq!(bench.sends(&person(1)).await, 1);
    })
    .await;
    assert_eq!(bench.sends(&person(1)).await, 1);
    assert_eq!(bench.reads(), 2);
}

async fn sends_are_read_again_after_a_report_of_unknown_outcome(store: &Store) {
    let bench = Bench::over(store);
    assert_eq!(bench.sends(&person(1)).await, 0);
    bench.store.lose_answers_of_reports(true);
    let lost = bench.send(&[person(1)], 1).await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    bench.store.lose_answers_of_reports(false);
    assert_eq!(bench.sends(&person(1)).await, 1);
    assert!(!bench.send(&[person(1)], 1).await.unwrap());
}

async fn sends_are_read_again_after_an_abandoned_report(store: &Store) {
    let bench = Bench::over(store);
    assert_eq!(bench.sends(&person(1)).await, 0);
    let reporting = bench.store.hold_reports();
    let cache = Arc::clone(&bench.cache);
    let report = tokio::spawn(async move {
        let sent = offer(NOON);
        cache.note_send(&[person(1)], &sent, &[1; 16]).await
    });
    reporting.arrived().await;
    assert_eq!(
        bench.sends(&person(1)).await,
        0,
        "it is not acknowledged yet"
    );
    report.abort();
    assert!(report.await.unwrap_err().is_cancelled());
    assert_eq!(bench.sends(&person(1)).await, 1);
}

async fn a_permit_is_asked_of_the_store_every_time(store: &Store) {
    let bench = Bench::over(store);
    let take = async |opt_out: u128, request: u8| {
        let opt_out = EventId(Uuid::from_u128(opt_out));
        let taken = bench.cache.take_permit(opt_out, &[request; 16], NOON).await;
        taken.unwrap()
    };
    assert!(take(1, 1).await);
    assert!(!take(1, 2).await);
    let elsewhere = EventId(Uuid::from_u128(2));
    let taken = store.activity.take_permit(elsewhere, &[1; 16], NOON).await;
    assert!(taken.unwrap());
    assert!(!take(2, 2).await);
    assert!(take(2, 1).await);
    let holder = bench.cache.permit_holder(elsewhere).await;
    assert_eq!(holder.unwrap(), Some([1; 16]));
}
