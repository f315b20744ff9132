//! The way of every write: read the subject, decide, append on the version it was decided on, tell
//! the cache, answer. A lost race decides again, here and nowhere else.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::payload::Payload;
use super::{Consents, Error, Recipient, new_id};
use crate::cache::Entry;
use crate::catalog::Compiled;
use crate::domain::event::{Act, Event, SCHEMA};
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, EventId, SubjectId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::TimeSource;
use crate::keys::Place;
use crate::ledger::{
    Append, Appended, Idempotency, Part, Position, Rpc, StoredAnswer, Subject, SubjectRef, Touch,
    Version,
};

/// How often a write is decided again because somebody else wrote the same subject.
const ATTEMPTS: usize = 24;

/// What stays the same over all attempts of one write.
pub(super) struct Write<'a> {
    pub rpc: Rpc,
    pub business: &'a BusinessId,
    pub compiled: &'a Compiled,
    pub recipient: &'a Recipient,
    pub payload: Option<Payload>,
    pub key: Option<Key>,
}

/// An idempotency key with the content that it stands for, both as keyed hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub key_hash: [u8; 16],
    pub content_hash: [u8; 16],
}

/// What one attempt decided to record.
pub(super) struct Draft {
    pub act: Act,
    pub event_time: Timestamp,
    pub time_source: TimeSource,
}

/// An answer, and where the event lies that it speaks of.
pub(super) struct Written<A> {
    pub answer: A,
    pub position: Position,
}

impl Consents {
    /// Carries a write out. `decide` sees the facts before, `answer` the event and the facts after.
    pub(super) async fn append_with<A: Serialize + DeserializeOwned>(
        &self,
        write: &Write<'_>,
        decide: impl Fn(&Facts, Timestamp) -> Result<Draft, Error>,
        answer: impl Fn(&Event, &Facts) -> A,
    ) -> Result<Written<A>, Error> {
        let subject = self.subject_ref(
            write.business,
            &write.compiled.keys,
            &write.recipient.address,
        );
        for _ in 0..ATTEMPTS {
            let known = self.read_for_write(&subject).await?;
            let (subject_id, version, mut facts) = match known {
                None => (SubjectId(Uuid::new_v4()), Version(0), Facts::default()),
                Some(Subject {
                    subject_id,
                    version,
                    facts,
                }) => (subject_id, version, facts),
            };
            // A clock that was set back must not put a new act before what is recorded already.
            let now = self.now().max(facts.latest());
            let draft = decide(&facts, now)?;
            let event = Event {
                schema: SCHEMA,
                event_id: EventId(new_id(now)),
                subject_id,
                business_id: write.business.clone(),
                event_time: draft.event_time,
                recorded_at: now,
                time_source: draft.time_source,
                spelling: write.recipient.address.spelling(),
                act: draft.act,
                copied_from: None,
                payload_commitment: write.payload.as_ref().map(Payload::commitment),
            };
            facts.apply(&event);
            let answer = answer(&event, &facts);
            match self
                .append_once(write, &subject, version, &event, &facts, &answer)
                .await?
            {
                Appended::At(positions) => {
                    let position = *positions
                        .first()
                        .ok_or_else(|| Error::internal("an append has no position"))?;
                    let version = Version(version.0 + 1);
                    self.tell_cache(&subject, position, &event, version, facts);
                    self.still_serving()?;
                    return Ok(Written { answer, position });
                }
                Appended::VersionChanged => {}
                Appended::KeyUsed => {
                    let found = self.repeated(write, Touch::Yes).await?;
                    return found.ok_or_else(|| Error::internal("a used key has no answer"));
                }
            }
        }
        Err(Error::Contended)
    }

    async fn read_for_write(&self, subject: &SubjectRef) -> Result<Option<Subject>, Error> {
        let mut loaded = self.0.ledger.facts(std::slice::from_ref(subject)).await?;
        let loaded = loaded
            .pop()
            .ok_or_else(|| Error::internal("a read answered nothing"))?;
        Ok(loaded.subject)
    }

    async fn append_once<A: Serialize>(
        &self,
        write: &Write<'_>,
        subject: &SubjectRef,
        expected: Version,
        event: &Event,
        facts: &Facts,
        answer: &A,
    ) -> Result<Appended, Error> {
        let keys = &write.compiled.keys;
        let payload = write
            .payload
            .as_ref()
            .map(|payload| payload.seal(keys, event.event_id));
        let place = Place {
            column: "subject_address.sealed",
            row: event.subject_id.0.as_bytes(),
        };
        let address = keys.seal(place, write.recipient.text.as_bytes());
        let answer = serde_json::to_string(answer).expect("an answer has only string keys");
        let part = Part {
            subject,
            expected,
            event,
            facts,
            payload: payload.as_deref(),
            address: Some(&address),
        };
        let append = Append {
            parts: &[part],
            key_id: keys.current(),
            idempotency: write.key.map(|key| Idempotency {
                rpc: write.rpc,
                key_hash: key.key_hash,
                content_hash: key.content_hash,
                answer: &answer,
            }),
        };
        Ok(self.0.ledger.append(&append).await?)
    }

    fn tell_cache(
        &self,
        subject: &SubjectRef,
        position: Position,
        event: &Event,
        version: Version,
        facts: Facts,
    ) {
        let entry = Entry {
            subject_id: Some(event.subject_id),
            version,
            facts,
            partition: position.partition,
            as_of: position.offset,
        };
        self.0.cache.committed(subject, position, entry);
    }

    /// A commit may be acknowledged only while this instance serves: after that another one could
    /// answer from before it. The caller repeats with the same key.
    fn still_serving(&self) -> Result<(), Error> {
        let valid = self.0.cache.lease().is_valid(self.0.clock.steady());
        if valid { Ok(()) } else { Err(Error::LeaseLost) }
    }

    /// The answer of an earlier call with this key and content. Another content is an error.
    pub(super) async fn repeated<A: DeserializeOwned>(
        &self,
        write: &Write<'_>,
        touch: Touch,
    ) -> Result<Option<Written<A>>, Error> {
        let Some(key) = write.key else {
            return Ok(None);
        };
        let found = self
            .0
            .ledger
            .answer(write.business, write.rpc, &key.key_hash, touch)
            .await?;
        let Some(StoredAnswer {
            content_hash,
            answer,
            position,
        }) = found
        else {
            return Ok(None);
        };
        if content_hash != key.content_hash {
            return Err(Error::KeyReused);
        }
        let answer = serde_json::from_str(&answer).map_err(|fault| {
            Error::internal(format!(
                "the answer stored for {position:?} does not read: {fault}"
            ))
        })?;
        // The first answer may never have arrived, so its event may not be applied here yet.
        let subject = self.subject_ref(
            write.business,
            &write.compiled.keys,
            &write.recipient.address,
        );
        self.0.cache.observed(&subject, position);
        self.still_serving()?;
        Ok(Some(Written { answer, position }))
    }
}

impl Key {
    pub(super) fn new(
        compiled: &Compiled,
        key: &str,
        recipient: &Recipient,
        content: &[u8],
    ) -> Self {
        let keys = &compiled.keys;
        Self {
            key_hash: keys.idempotency_hash(&[b"key", key.as_bytes()]),
            content_hash: keys.idempotency_hash(&[b"content", recipient.text.as_bytes(), content]),
        }
    }

    /// The key under which other content of the same key is kept, for calls that always count.
    pub(super) fn for_other_content(self, compiled: &Compiled) -> Self {
        let parts: [&[u8]; 3] = [b"other", &self.key_hash, &self.content_hash];
        Self {
            key_hash: compiled.keys.idempotency_hash(&parts),
            ..self
        }
    }
}
