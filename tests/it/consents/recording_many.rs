//! Many acts at once: each is answered, and stands, as if it had been recorded by itself.
//!
//! There is no RPC for it yet, so that these tests call the use case behind the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consentgate::clock::ManualClock;
use consentgate::config::{Config, Database, Secret};
use consentgate::consents::record::{EventState, RecordAnswer, RecordRequest};
use consentgate::consents::{Consents, Error, Evidence, Recipient};
use consentgate::domain::address::Address;
use consentgate::domain::event::Declarations;
use consentgate::domain::id::{BusinessId, CallerName, Language, NoticeId, NoticeRef, PurposeKey};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::{ConsentType, IndicationMethod};
use consentgate::keys;
use consentgate::ledger::{Offset, replay};
use consentgate::server::{Server, open_ledger};
use consentgate::telemetry::Metrics;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::harness::{ACME, Backend, CATALOG, POLICY};
use crate::postgres::{TestDatabase, database};

const NOW: Timestamp = Timestamp::from_micros(1_780_315_200_250_000);
const LATER: Duration = Duration::from_secs(3_600);

/// A gate of its own, without the wire.
struct Gate {
    consents: Consents,
    server: Server,
    config: Config,
    _directory: TempDir,
    _database: Option<TestDatabase>,
}

impl Gate {
    async fn open(on: Backend) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("catalog.toml"), CATALOG).unwrap();
        std::fs::write(file("policy.toml"), POLICY).unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            catalog: Some(file("catalog.toml")),
            policy: Some(file("policy.toml")),
            database_acquire_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_secs(20),
            ..Config::default()
        };
        let database = match on {
            Backend::Sqlite => {
                config.database = Database::Sqlite(file("ledger.db"));
                None
            }
            Backend::Postgres => {
                let database = database().await;
                keys::source::create(&file("ledger.key")).unwrap();
                config.database = Database::Postgres(Secret::new(database.url().to_owned()));
                config.key_file = Some(file("ledger.key"));
                config.migrate = Some(true);
                Some(database)
            }
        };
        let clock = Arc::new(ManualClock::at(NOW));
        let server = Server::bind(&config, clock, Metrics::disabled());
        let server = server.await.unwrap();
        let caller = CallerName::parse("importer").unwrap();
        Self {
            consents: server.consents().for_caller(Some(caller)),
            server,
            config,
            _directory: directory,
            _database: database,
        }
    }

    /// What was recorded of a person, in its order, but for what is made anew each time.
    async fn acts(&self, person: u32) -> Vec<String> {
        let business = BusinessId::parse(ACME).unwrap();
        let person = recipient(person);
        let page = self.consents.events(&business, &person, Offset(0), 100);
        let (events, _) = page.await.unwrap();
        let acts = events.into_iter().map(|one| {
            let (act, time, by) = (one.event.act, one.event.event_time, one.event.recorded_by);
            format!("{act:?} {time:?} {by:?} {:?} {}", one.evidence, one.actor)
        });
        acts.collect()
    }

    /// Ends it; how many events its ledger holds, all of them folded as they should be.
    async fn replayed(self) -> u64 {
        let Self {
            consents, server, ..
        } = self;
        server.serve(std::future::ready(())).await.unwrap();
        drop(consents);
        let ledger = open_ledger(&self.config).await.unwrap();
        let report = replay::check(&*ledger).await.unwrap();
        assert_eq!(report.differences, []);
        report.events
    }
}

fn recipient(person: u32) -> Recipient {
    let text = format!("+447400{:06}", 100_000 + person);
    Recipient {
        address: Address::from_phone_number(&text).unwrap(),
        text: Zeroizing::new(text),
    }
}

fn purposes(names: &[&str]) -> Vec<PurposeKey> {
    let parse = |name: &&str| PurposeKey::parse(name).unwrap();
    names.iter().map(parse).collect()
}

fn given(person: u32, names: &[&str], key: &str) -> RecordRequest {
    RecordRequest {
        business: BusinessId::parse(ACME).unwrap(),
        recipient: recipient(person),
        purposes: purposes(names),
        sender: None,
        event_time: NOW,
        event_state: EventState::Given,
        indication_method: Some(IndicationMethod::UntickedCheckbox),
        consent_type: Some(ConsentType::ExplicitlyExpressed),
        implied: None,
        notice: Some(NoticeRef {
            notice_id: NoticeId::parse("signup").unwrap(),
            version: 1,
            language: Language::parse("en").unwrap(),
        }),
        evidence: Evidence {
            source_url: "https://acme.example/signup".into(),
            form_id: "form-1".into(),
            ip_address: "192.0.2.7".into(),
            ..Evidence::default()
        },
        declarations: Declarations {
            default_unticked: Some(true),
            separate_from_terms: Some(true),
            whatsapp_named: Some(true),
            number_entered_by_subject: Some(true),
        },
        jurisdiction: None,
        labels: BTreeMap::new(),
        actor: "web".into(),
        idempotency_key: key.into(),
        import_batch_id: None,
    }
}

/// What both ways must have in common: all but what is made anew each time.
fn told(answer: Result<RecordAnswer, Error>) -> String {
    match answer {
        Ok(answer) => format!("{:?}", answer.records),
        Err(error) => format!("{error:?}"),
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u32::try_from(self.0 >> 33).unwrap() % limit
    }

    /// Mostly new people; also repeats, keys that are used for something else, several acts of one
    /// person, what restricts, and what is refused.
    fn requests(&mut self, before: &[RecordRequest], round: u32) -> Vec<RecordRequest> {
        let mut requests: Vec<RecordRequest> = Vec::new();
        for number in 0..self.below(30) {
            let person = self.below(40);
            let names: &[&str] = [&["offers"][..], &["news", "offers"], &["offers", "news"]]
                [usize::try_from(self.below(3)).unwrap()];
            let mut request = given(person, names, &format!("key-{round}-{number}"));
            // No two at one instant: their order would be by chance.
            let earlier = 100 * (100 - i64::from(round)) - i64::from(number);
            request.event_time = Timestamp::from_micros(NOW.as_micros() - 1_000_000 * earlier);
            let known: Vec<&RecordRequest> = before.iter().chain(&requests).collect();
            match self.below(12) {
                0 | 1 if !known.is_empty() => {
                    let at = self.below(u32::try_from(known.len()).unwrap());
                    request = known[usize::try_from(at).unwrap()].clone();
                }
                2 if !known.is_empty() => {
                    let at = self.below(u32::try_from(known.len()).unwrap());
                    let other = known[usize::try_from(at).unwrap()];
                    request.idempotency_key.clone_from(&other.idempotency_key);
                }
                3 => {
                    request.event_state = EventState::Refused;
                    request.consent_type = None;
                }
                4 => request.event_state = EventState::Requested,
                5 => request.event_time = NOW.plus(LATER),
                6 => request.purposes = purposes(&["nonsense"]),
                7 => request.declarations = Declarations::default(),
                8 => request.business = BusinessId::parse("nobody").unwrap(),
                _ => {}
            }
            requests.push(request);
        }
        requests
    }
}

pub async fn many_acts_are_recorded_as_one_by_one(on: Backend) {
    let (many, single) = (Gate::open(on).await, Gate::open(on).await);
    let mut random = Random(7);
    let mut before: Vec<RecordRequest> = Vec::new();
    let (mut recorded, mut refused) = (0, 0);
    for round in 0..10 {
        let requests = random.requests(&before, round);
        let answers = many.consents.record_many(requests.clone()).await;
        assert_eq!(answers.len(), requests.len());
        for (request, answer) in requests.iter().zip(answers) {
            let alone = single.consents.record(request.clone()).await;
            match &alone {
                Ok(_) => recorded += 1,
                Err(_) => refused += 1,
            }
            assert_eq!(told(answer), told(alone), "round {round}: {request:?}");
        }
        before.extend(requests);
    }
    assert!(recorded > 50 && refused > 20, "{recorded}, {refused}");
    for person in 0..40 {
        let acts = many.acts(person).await;
        assert_eq!(acts, single.acts(person).await, "{person}");
        let by = r#"Some("importer")"#;
        assert!(acts.iter().all(|act| act.contains(by)), "{acts:?}");
    }
    assert_eq!(many.replayed().await, single.replayed().await);
}

pub async fn many_acts_repeated_get_their_first_answers(on: Backend) {
    let gate = Gate::open(on).await;
    let requests: Vec<RecordRequest> = (0..1_200)
        .map(|person| given(person, &["offers"], &format!("key-{person}")))
        .collect();
    let ids = |answers: Vec<Result<RecordAnswer, Error>>| -> Vec<_> {
        let answers = answers.into_iter().map(Result::unwrap);
        answers.map(|answer| answer.event_id).collect()
    };
    let first = ids(gate.consents.record_many(requests.clone()).await);
    let again = ids(gate.consents.record_many(requests[..50].to_vec()).await);
    assert_eq!(first[..50], again);
    let single = gate.consents.record(requests[1_100].clone()).await.unwrap();
    assert_eq!(single.event_id, first[1_100]);
    // Beside what a new gate's catalogue is.
    let before = Gate::open(on).await.replayed().await;
    assert_eq!(gate.replayed().await - before, 1_200);
}
