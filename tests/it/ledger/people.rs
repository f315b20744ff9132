//! People of the tests, and what is recorded of them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use consentgate::domain::address::Spelling;
use consentgate::domain::event::{
    Act, Declarations, Event, Restriction, SCHEMA, Scope, Terms, sorted,
};
use consentgate::domain::facts::Facts;
use consentgate::domain::id::{BusinessId, EventId, PurposeKey, SubjectId};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::{
    ConsentType, EvidenceFields, IndicationMethod, RestrictionKind, TimeSource, WithdrawalMethod,
};
use consentgate::ledger::{
    Append, Appended, Error, Idempotency, Ledger, Loaded, Offset, Part, Partition, Position,
    Removal, Rpc, Subject, SubjectRef, Version,
};
use tokio::sync::Barrier;
use uuid::Uuid;

/// Somebody with a subject in the ledger, and what was recorded of them so far.
#[derive(Debug, Clone)]
pub struct Person {
    pub subject: SubjectRef,
    pub id: SubjectId,
    pub events: Vec<Event>,
}

impl Person {
    /// The number makes the subject's key and id, so that a failing test names them.
    pub fn new(number: u8, partition: u16) -> Self {
        Self::of("acme", number, partition)
    }

    pub fn of(business: &str, number: u8, partition: u16) -> Self {
        Self {
            subject: SubjectRef {
                business: BusinessId::parse(business).unwrap(),
                partition: Partition(partition),
                key: [number; 16],
            },
            id: SubjectId(Uuid::from_bytes([number; 16])),
            events: Vec::new(),
        }
    }

    pub fn version(&self) -> Version {
        Version(i64::try_from(self.events.len()).unwrap())
    }

    pub fn facts(&self) -> Facts {
        Facts::fold(&self.events)
    }

    /// What reading this person's facts must give.
    pub fn loaded(&self, as_of: i64) -> Loaded {
        let recorded = Subject {
            subject_id: self.id,
            version: self.version(),
            facts: self.facts(),
        };
        Loaded {
            subject: (!self.events.is_empty()).then_some(recorded),
            as_of: Offset(as_of),
        }
    }

    /// The next act, decided on what was recorded so far.
    pub fn next(&self) -> Draft {
        Draft::new(&self.subject, self.id, self.version(), self.facts())
    }

    /// Appends the next act, which nothing may stand in the way of.
    pub async fn record(&mut self, ledger: &dyn Ledger) -> Position {
        let draft = self.next();
        self.record_as(draft, ledger).await
    }

    pub async fn record_as(&mut self, draft: Draft, ledger: &dyn Ledger) -> Position {
        match draft.offer(ledger).await.unwrap() {
            Appended::At(positions) => {
                self.events.push(draft.event);
                let [position] = positions[..] else {
                    panic!("one part, {positions:?}");
                };
                position
            }
            lost @ (Appended::VersionChanged | Appended::KeyUsed) => panic!("{lost:?}"),
        }
    }

    pub async fn load(&self, ledger: &dyn Ledger) -> Result<Loaded, Error> {
        let loaded = ledger.facts(std::slice::from_ref(&self.subject)).await?;
        assert_eq!(loaded.len(), 1);
        Ok(loaded.into_iter().next().unwrap())
    }

    /// The same person as it is stored now, with the acts that the ledger has.
    pub async fn reread(&self, ledger: &dyn Ledger) -> Self {
        let history = ledger.history(self.id, Offset(0), 10_000).await.unwrap();
        let events = history.into_iter().map(|recorded| recorded.event).collect();
        Self {
            events,
            ..self.clone()
        }
    }
}

/// An append that is yet to be offered.
#[derive(Debug, Clone)]
pub struct Draft {
    pub subject: SubjectRef,
    /// Number of the key that it was sealed under.
    pub key_id: u16,
    pub expected: Version,
    pub event: Event,
    pub facts: Facts,
    pub payload: Option<Vec<u8>>,
    pub address: Option<Vec<u8>>,
    pub removal: Option<Removal>,
    pub call: Option<Call>,
}

/// The call that an append is made for.
#[derive(Debug, Clone)]
pub struct Call {
    pub rpc: Rpc,
    pub key_hash: [u8; 16],
    pub content_hash: [u8; 16],
    pub answer: String,
}

impl Call {
    pub fn new(rpc: Rpc, key: u8) -> Self {
        Self {
            rpc,
            key_hash: [key; 16],
            content_hash: [key ^ 0xff; 16],
            answer: format!(r#"{{"answer":{key}}}"#),
        }
    }
}

impl Draft {
    /// The act that follows so many others: consents, withdrawals and consents again, each a minute after the one
    /// before.
    pub fn new(subject: &SubjectRef, id: SubjectId, expected: Version, facts: Facts) -> Self {
        let count = expected.0;
        let event = Event {
            copied_from: None,
            schema: SCHEMA,
            event_id: EventId(Uuid::new_v4()),
            subject_id: id,
            business_id: subject.business.clone(),
            event_time: minute(count),
            recorded_at: minute(count + 1),
            time_source: TimeSource::Caller,
            spelling: Spelling::Verbatim,
            act: if count % 2 == 0 {
                consent()
            } else {
                withdrawal()
            },
            payload_commitment: None,
            recorded_by: None,
        };
        let mut facts = facts;
        facts.apply(&event);
        Self {
            subject: subject.clone(),
            key_id: 1,
            expected,
            event,
            facts,
            payload: None,
            address: Some(b"sealed address".to_vec()),
            removal: None,
            call: None,
        }
    }

    /// What a caller appends to a subject as it was loaded, who makes an id for somebody unknown.
    pub fn after(subject: &SubjectRef, loaded: Loaded) -> Self {
        match loaded.subject {
            None => {
                let id = SubjectId(Uuid::new_v4());
                Self::new(subject, id, Version(0), Facts::default())
            }
            Some(known) => Self::new(subject, known.subject_id, known.version, known.facts),
        }
    }

    pub fn with_call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    pub fn under(mut self, key_id: u16) -> Self {
        self.key_id = key_id;
        self
    }

    pub fn with_payload(mut self, payload: &[u8]) -> Self {
        self.payload = Some(payload.to_vec());
        self
    }

    pub async fn offer(&self, ledger: &dyn Ledger) -> Result<Appended, Error> {
        offer_together(&[self], ledger).await
    }
}

/// Offers one act on several subjects, made for the call of the first.
pub async fn offer_together(drafts: &[&Draft], ledger: &dyn Ledger) -> Result<Appended, Error> {
    let call = drafts.first().and_then(|draft| draft.call.as_ref());
    let parts: Vec<Part<'_>> = drafts.iter().map(|draft| draft.part()).collect();
    let append = Append {
        parts: &parts,
        key_id: drafts.first().map_or(1, |draft| draft.key_id),
        idempotency: call.map(|call| Idempotency {
            rpc: call.rpc,
            key_hash: call.key_hash,
            content_hash: call.content_hash,
            answer: &call.answer,
        }),
    };
    ledger.append(&append).await
}

/// Offers acts that do not depend on each other, each for its own call.
pub async fn offer_many(drafts: &[Draft], ledger: &dyn Ledger) -> Vec<Result<Appended, Error>> {
    let parts: Vec<[Part<'_>; 1]> = drafts.iter().map(|draft| [draft.part()]).collect();
    let appends: Vec<Append<'_>> = drafts
        .iter()
        .zip(&parts)
        .map(|(draft, parts)| Append {
            parts,
            key_id: draft.key_id,
            idempotency: draft.call.as_ref().map(|call| Idempotency {
                rpc: call.rpc,
                key_hash: call.key_hash,
                content_hash: call.content_hash,
                answer: &call.answer,
            }),
        })
        .collect();
    ledger.append_many(&appends).await
}

impl Draft {
    fn part(&self) -> Part<'_> {
        Part {
            subject: &self.subject,
            expected: self.expected,
            event: &self.event,
            facts: &self.facts,
            payload: self.payload.as_deref(),
            address: self.address.as_deref(),
            removal: self.removal,
        }
    }
}

/// Lets all begin at the same moment; their results are in the order given.
pub async fn race<F>(contenders: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let contenders: Vec<F> = contenders.into_iter().collect();
    let start = Arc::new(Barrier::new(contenders.len()));
    let tasks: Vec<_> = contenders
        .into_iter()
        .map(|contender| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                start.wait().await;
                contender.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Lets a future make so many steps, then drops it.
pub async fn abandon_after<T>(polls: u32, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| ())
    })
    .await;
}

pub fn at(partition: u16, offset: i64) -> Position {
    Position {
        partition: Partition(partition),
        offset: Offset(offset),
    }
}

/// So many minutes into 2026.
pub fn minute(count: i64) -> Timestamp {
    Timestamp::from_micros((1_767_225_600 + 60 * count) * 1_000_000)
}

fn purpose(key: &str) -> PurposeKey {
    PurposeKey::parse(key).unwrap()
}

fn consent() -> Act {
    Act::ConsentGiven(Terms {
        purposes: sorted(vec![purpose("offers"), purpose("news")]),
        sender_id: None,
        consent_type: ConsentType::ExplicitlyExpressed,
        implied: None,
        indication_method: IndicationMethod::UntickedCheckbox,
        notice: None,
        declarations: Declarations::default(),
        evidence: EvidenceFields::default(),
        jurisdiction: None,
        import_batch_id: None,
        policy_version: "test".into(),
        phone_metadata: "test".into(),
    })
}

fn withdrawal() -> Act {
    Act::Restricted(Restriction {
        received_by: None,
        kind: RestrictionKind::Withdrawn,
        scope: Scope::AllMarketing,
        sender_id: None,
        withdrawal_method: Some(WithdrawalMethod::Keyword),
        import_batch_id: None,
        indication_method: None,
        notice: None,
    })
}
