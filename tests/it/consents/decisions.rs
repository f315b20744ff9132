//! The same promise one floor up: while somebody agrees and withdraws by turns, every check in between says what holds
//! then, though facts are loaded late and thrown out at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use consentgate::cache::activity::ActivityCache;
use consentgate::cache::confirm::Confirming;
use consentgate::cache::lane::Lane;
use consentgate::cache::lease::Lease;
use consentgate::cache::{FactsCache, Limits};
use consentgate::catalog::{self, Catalog};
use consentgate::clock::{Clock, SystemClock};
use consentgate::consents::check::{Asked, Consistency};
use consentgate::consents::record::{EventState, RecordRequest};
use consentgate::consents::token::Tokens;
use consentgate::consents::withdraw::WithdrawRequest;
use consentgate::consents::{Alarms, Consents, Error, Evidence, Parts, Recipient};
use consentgate::domain::address::Address;
use consentgate::domain::event::{Declarations, Scope};
use consentgate::domain::id::{BusinessId, Language, NoticeId, NoticeRef, PurposeKey};
use consentgate::domain::rules::CLOCK_TOLERANCE;
use consentgate::domain::vocabulary::{ConsentType, Decision, IndicationMethod};
use consentgate::keys::Keyring;
use consentgate::ledger::Ledger;
use consentgate::policy;
use consentgate::telemetry::Metrics;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::slow_ledger::{Acknowledged, SlowLedger, Store};
use crate::harness::{Backend, CATALOG, POLICY};

const TURNS: u64 = 30;

struct Case {
    consents: Consents,
    acknowledged: Acknowledged,
    people: Vec<Turns>,
}

/// One person, who agrees in odd turns and withdraws in even ones.
pub(super) struct Turns {
    pub(super) recipient: Recipient,
    /// Twice the turn that is acknowledged, and one more while the next is under way.
    clock: AtomicU64,
    /// Checks that began and ended while nothing was under way.
    conclusive: AtomicU64,
    done: AtomicBool,
}

impl Case {
    async fn new(store: &Store, people: usize) -> Self {
        let acknowledged = Acknowledged::new();
        let slow = SlowLedger::over(Arc::clone(&store.ledger), &acknowledged);
        let keyring = Arc::new(Keyring::generate());
        let consents = consents(store, keyring, Arc::new(slow), 1 << 10).await;
        Self {
            consents,
            acknowledged,
            people: (0..people).map(Turns::new).collect(),
        }
    }

    async fn take_turns(&self, person: &Turns) {
        for turn in 1..=TURNS {
            person.clock.fetch_add(1, Ordering::SeqCst);
            if turn % 2 == 1 {
                self.consents.record(person.grant()).await.unwrap();
            } else {
                self.consents.withdraw(person.opt_out()).await.unwrap();
            }
            person.clock.fetch_add(1, Ordering::SeqCst);
            self.acknowledged.one_more();
            // Lets somebody look; nobody may be able to before the next turn.
            let looked = person.conclusive.load(Ordering::SeqCst);
            for _ in 0..2_000 {
                if person.conclusive.load(Ordering::SeqCst) > looked {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        person.done.store(true, Ordering::SeqCst);
    }

    async fn look(&self, person: &Turns) {
        let asked = Asked {
            business: acme(),
            purpose: offers(),
            class: None,
            sender: None,
            template: None,
            request_id: None,
            consistency: Consistency::Strict,
        };
        while !person.done.load(Ordering::SeqCst) {
            let before = person.clock.load(Ordering::SeqCst);
            let answer = self.consents.check(&asked, &person.recipient.address);
            let checked = match answer.await {
                Ok(checked) => checked,
                // No answer is no wrong answer.
                Err(Error::Contended) => continue,
                Err(error) => panic!("{error}"),
            };
            let after = person.clock.load(Ordering::SeqCst);
            if before == after && before.is_multiple_of(2) {
                let expected = match before / 2 % 2 {
                    1 => Decision::Allow,
                    _ => Decision::Deny,
                };
                let decision = checked.verdict.decision;
                assert_eq!(decision, expected, "after turn {}", before / 2);
                person.conclusive.fetch_add(1, Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The use cases over an empty ledger or one that has the catalogue, and a cache of so many bytes that reads from `cached`.
pub(super) async fn consents(
    store: &Store,
    keyring: Arc<Keyring>,
    cached: Arc<dyn Ledger>,
    bytes: u64,
) -> Consents {
    let (metrics, clock) = (Metrics::disabled(), Arc::new(SystemClock));
    let keys = Arc::new(keyring.ledger_keys());
    let catalog = Catalog::open(
        Arc::clone(&store.ledger),
        clock.clone(),
        keyring,
        CLOCK_TOLERANCE,
        Confirming::Alone,
    );
    let catalog = Arc::new(catalog.await.unwrap());
    catalog.adopt(POLICY).await.unwrap();
    let file = catalog::file::parse(CATALOG).unwrap();
    catalog.apply(&file).await.unwrap();
    let cache = FactsCache::new(
        cached,
        clock.clone(),
        Arc::new(Lease::endless()),
        Limits::of_bytes(bytes),
        Lane::of(4),
        metrics.clone(),
    );
    cache.restart_from(&store.ledger.heads().await.unwrap());
    let activity = ActivityCache::new(
        Arc::clone(&store.activity),
        clock.clone(),
        Limits::of_bytes(1 << 10),
        Lane::of(4),
        metrics.clone(),
    );
    let ledger_id = store.ledger.meta().await.unwrap().ledger_id;
    Consents::new(Parts {
        // Whoever writes must not wait for the writes to come.
        ledger: Arc::clone(&store.ledger),
        cache: Arc::new(cache),
        confirming: Confirming::Alone,
        activity: Arc::new(activity),
        catalog,
        words: Arc::new(policy::words::embedded()),
        clock,
        tokens: Tokens::new(Arc::clone(&keys), ledger_id),
        keys,
        metrics,
        alarms: Alarms::default(),
        valid_for: Duration::from_secs(5),
        looks: tokio::sync::Semaphore::new(1),
        writes: TaskTracker::new(),
    })
}

impl Turns {
    pub(super) fn new(number: usize) -> Self {
        let text = format!("+1415{}", 2_000_000 + number);
        Self {
            recipient: Recipient {
                address: Address::from_phone_number(&text).unwrap(),
                text: Zeroizing::new(text),
            },
            clock: AtomicU64::new(0),
            conclusive: AtomicU64::new(0),
            done: AtomicBool::new(false),
        }
    }

    pub(super) fn grant(&self) -> RecordRequest {
        RecordRequest {
            business: acme(),
            recipient: self.recipient.clone(),
            purposes: vec![offers()],
            sender: None,
            event_time: SystemClock.now(),
            event_state: EventState::Given,
            indication_method: Some(IndicationMethod::UntickedCheckbox),
            consent_type: Some(ConsentType::ExplicitlyExpressed),
            implied: None,
            notice: Some(NoticeRef {
                notice_id: NoticeId::parse("signup").unwrap(),
                version: 1,
                language: Language::parse("en").unwrap(),
            }),
            evidence: Evidence::default(),
            declarations: Declarations::default(),
            jurisdiction: None,
            labels: BTreeMap::new(),
            actor: String::new(),
            idempotency_key: uuid::Uuid::new_v4().to_string(),
            import_batch_id: None,
        }
    }

    pub(super) fn opt_out(&self) -> WithdrawRequest {
        WithdrawRequest {
            business: acme(),
            recipient: self.recipient.clone(),
            scope: Scope::Everything,
            sender: None,
            // By the same clock as the grants, or they would have to be later by its tolerance.
            event_time: Some(SystemClock.now()),
            method: None,
            evidence: Evidence::default(),
            actor: String::new(),
            idempotency_key: None,
        }
    }
}

fn acme() -> BusinessId {
    BusinessId::parse("acme").unwrap()
}

fn offers() -> PurposeKey {
    PurposeKey::parse("offers").unwrap()
}

async fn everybody_takes_turns(on: Backend, people: usize) {
    let store = Store::open(on).await;
    let case = Arc::new(Case::new(&store, people).await);
    let (mut turns, mut looks) = (JoinSet::new(), JoinSet::new());
    for index in 0..people {
        for _ in 0..3 {
            let case = Arc::clone(&case);
            looks.spawn(async move { case.look(&case.people[index]).await });
        }
        let case = Arc::clone(&case);
        turns.spawn(async move { case.take_turns(&case.people[index]).await });
    }
    turns.join_all().await;
    case.acknowledged.end();
    looks.join_all().await;
    let conclusive = case
        .people
        .iter()
        .map(|p| p.conclusive.load(Ordering::SeqCst));
    let conclusive: u64 = conclusive.sum();
    assert!(
        conclusive > TURNS / 2,
        "too few to say anything: {conclusive}"
    );
}

pub async fn while_one_person_agrees_and_withdraws_every_check_says_what_holds(on: Backend) {
    everybody_takes_turns(on, 1).await;
}

pub async fn while_several_people_agree_and_withdraw_every_check_says_what_holds(on: Backend) {
    everybody_takes_turns(on, 4).await;
}
