//! The way of every write: read the subject, decide, append on the version it was decided on, tell
//! the cache, answer. A lost race decides again, here and nowhere else.
//!
//! What is recorded for one address of a person is recorded for the linked ones in the same commit:
//! see [`Group`]. How addresses come to be linked is said in [`super::identity`].

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::idempotency::Key;
use super::payload::Payload;
use super::progress::Progress;
use super::{Consents, Error, Recipient, new_id};
use crate::cache::Entry;
use crate::cache::confirm::{Committed, Confirmation};
use crate::catalog::Compiled;
use crate::domain::address::Spelling;
use crate::domain::event::{Act, Event, SCHEMA};
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, EventId, SubjectId};
use crate::domain::json;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::TimeSource;
use crate::keys::Place;
use crate::ledger::{
    Append, Appended, Call, Epoch, Idempotency, Loaded, Part, Position, Removal, Rpc, StoredAnswer,
    Subject, SubjectRef, Version,
};

/// How often a write is decided again because somebody else wrote the same subject.
pub(super) const ATTEMPTS: usize = 24;

/// How many addresses of one person are written together at most: the ledger's limit.
const ADDRESSES: usize = 8;

/// What of an act is personal, sealed; where there is something.
pub(super) struct Sealed {
    payload: Option<Vec<u8>>,
    address: Option<Vec<u8>>,
}

/// What stays the same over all attempts of one write.
pub(super) struct Write<'a> {
    pub rpc: Rpc,
    pub business: &'a BusinessId,
    pub compiled: &'a Compiled,
    pub recipient: &'a Recipient,
    pub payload: Option<Payload>,
    pub key: Option<Key>,
}

/// Whether a repeat waits, as its first call did, until it holds on every instance. Every repeat
/// commits something: what a read shows of an earlier call may never have been replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

/// What one attempt decided to record.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub act: Act,
    pub event_time: Timestamp,
    pub time_source: TimeSource,
}

/// What a write finds that is about to begin.
pub(super) enum Begun<A> {
    /// Its call was carried out before: the first answer.
    Repeated(Written<A>),
    /// It was not: the subject to decide on.
    New(Found),
}

/// An answer, and where the events lie that it speaks of.
pub(super) struct Written<A> {
    pub answer: A,
    /// The asked address's first.
    pub positions: Vec<Position>,
    /// That it holds on every instance, where it restricts or repeats what did.
    pub confirmation: Confirmation,
}

/// An address of a person as a write found it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub subject: SubjectRef,
    pub subject_id: SubjectId,
    pub version: Version,
    pub facts: Facts,
}

/// The addresses of one person: the one that is written for, and those that are linked with it,
/// directly or through another one.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub own: Found,
    pub linked: Vec<Found>,
}

/// What is to be appended to one address.
pub(super) struct Prepared<'a> {
    pub found: Found,
    pub event: Event,
    /// Who has the address, where the ledger may not know it yet.
    pub recipient: Option<&'a Recipient>,
    /// Of an erasure: when what is sealed goes.
    pub removal: Option<Removal>,
}

impl Consents {
    /// Looks an earlier call and the subject up, of one snapshot. Another content under the key is an
    /// error.
    pub(super) async fn begin<A: DeserializeOwned>(
        &self,
        write: &Write<'_>,
        wait: Wait,
    ) -> Result<Begun<A>, Error> {
        let subject = self.subject_of(write);
        let epoch = self.0.ledger.followed().current();
        let call = write.call();
        let place = match wait {
            Wait::No => self.0.looks.acquire().await.ok(),
            Wait::Yes => None,
        };
        let looked = self.0.ledger.look(&subject, call).await?;
        drop(place);
        let at = self.0.clock.steady();
        let found = Found::new(subject, looked.loaded, self.now());
        Ok(match (looked.answer, write.key) {
            (Some(answer), Some(key)) => {
                let first = First {
                    answer,
                    key,
                    epoch,
                    at,
                };
                Begun::Repeated(self.repeat(found, first, wait).await?)
            }
            (Some(_), None) | (None, _) => Begun::New(found),
        })
    }

    /// Carries a write out, that has found its subject so. `decide` sees the facts before, `answer`
    /// the event and the facts after.
    pub(super) async fn append_with<A: Serialize + DeserializeOwned>(
        &self,
        write: &Write<'_>,
        mut own: Found,
        decide: impl Fn(&Facts, Timestamp) -> Result<Draft, Error>,
        answer: impl Fn(&Event, &Facts) -> A,
    ) -> Result<Written<A>, Error> {
        for _ in 0..ATTEMPTS {
            let subject = own.subject.clone();
            let linked = self.read_linked(&own).await?;
            let group = Group { own, linked };
            let now = group.now(self.now());
            let draft = decide(&group.own.facts, now)?;
            let prepared = group.prepare(write, &draft, now);
            let (event, facts) = (&prepared[0].event, &prepared[0].found.facts);
            let answer = answer(event, facts);
            if let Some(written) = self.commit(write, prepared, answer).await? {
                return Ok(written);
            }
            own = self.read_for_write(&subject).await?;
        }
        Err(Error::Contended)
    }

    /// Commits what was prepared, all of it or nothing, and tells the cache; `None` if somebody else
    /// wrote one of the addresses meanwhile.
    pub(super) async fn commit<A: Serialize + DeserializeOwned>(
        &self,
        write: &Write<'_>,
        mut prepared: Vec<Prepared<'_>>,
        answer: A,
    ) -> Result<Option<Written<A>>, Error> {
        let epoch = self.0.ledger.followed().current();
        match self.append_once(write, &mut prepared, &answer).await? {
            Appended::At(positions) => {
                let written = self.committed(prepared, positions, epoch, answer).await?;
                Ok(Some(written))
            }
            Appended::VersionChanged => Ok(None),
            Appended::KeyUsed => match self.begin(write, Wait::Yes).await? {
                Begun::Repeated(first) => Ok(Some(first)),
                Begun::New(_) => Err(Error::internal("a used key has no answer")),
            },
        }
    }

    /// Tells the cache what was committed, and waits until it holds everywhere if it restricts.
    pub(super) async fn committed<A>(
        &self,
        prepared: Vec<Prepared<'_>>,
        positions: Vec<Position>,
        epoch: Epoch,
        answer: A,
    ) -> Result<Written<A>, Error> {
        let at = self.0.clock.steady();
        Progress::committed();
        let restricts = prepared.iter().any(|one| one.event.act.restricts());
        for (one, position) in prepared.into_iter().zip(&positions) {
            self.tell_cache(one, *position, epoch);
        }
        let committed = Committed {
            positions: Some(&positions),
            epoch,
            at,
        };
        let confirmation = match restricts {
            true => self.0.confirming.confirmed(committed).await?,
            false => Confirmation::NOT_NEEDED,
        };
        Ok(Written {
            answer,
            positions,
            confirmation,
        })
    }

    /// One address as the ledger has it, without those that are linked.
    pub(super) async fn read_for_write(&self, subject: &SubjectRef) -> Result<Found, Error> {
        let mut loaded = self.0.ledger.facts(std::slice::from_ref(subject)).await?;
        let loaded = loaded
            .pop()
            .ok_or_else(|| Error::internal("a read answered nothing"))?;
        Ok(Found::new(subject.clone(), loaded, self.now()))
    }

    pub(super) async fn read_group(&self, subject: &SubjectRef) -> Result<Group, Error> {
        let own = self.read_for_write(subject).await?;
        let linked = self.read_linked(&own).await?;
        Ok(Group { own, linked })
    }

    /// The addresses that are linked with one, and with those in turn.
    pub(super) async fn read_linked(&self, own: &Found) -> Result<Vec<Found>, Error> {
        let mut linked: Vec<Found> = Vec::new();
        let mut waiting: Vec<SubjectId> = own.facts.linked().map(|link| link.other).collect();
        while let Some(next) = waiting.pop() {
            let known = next == own.subject_id || linked.iter().any(|one| one.subject_id == next);
            if known || linked.len() + 1 == ADDRESSES {
                continue;
            }
            let found = self.0.ledger.find(next).await?;
            let (subject, found) = found.ok_or_else(|| {
                Error::internal(format!("the linked subject {next} is not there"))
            })?;
            // INVARIANT: links are made within a business; the second wall between businesses.
            if subject.business != own.subject.business {
                return Err(Error::internal(format!(
                    "the linked subject {next} belongs to another business"
                )));
            }
            waiting.extend(found.facts.linked().map(|link| link.other));
            linked.push(Found {
                subject,
                subject_id: found.subject_id,
                version: found.version,
                facts: found.facts,
            });
        }
        Ok(linked)
    }

    pub(super) async fn append_once<A: Serialize>(
        &self,
        write: &Write<'_>,
        prepared: &mut [Prepared<'_>],
        answer: &A,
    ) -> Result<Appended, Error> {
        for one in &mut *prepared {
            one.event.recorded_by.clone_from(&self.1);
        }
        let answer = json::text(answer);
        // Asked first: what is sealed after it is sealed under this number or a later one.
        let key_id = write.compiled.keys.current();
        let sealed: Vec<Sealed> = prepared.iter().map(|one| one.seal(write)).collect();
        let parts: Vec<Part<'_>> = prepared
            .iter()
            .zip(&sealed)
            .map(|(one, sealed)| one.part(sealed))
            .collect();
        let append = Append {
            parts: &parts,
            key_id,
            idempotency: write.idempotency(&answer),
        };
        Ok(self.0.ledger.append(&append).await?)
    }

    pub(super) fn tell_cache(&self, appended: Prepared<'_>, position: Position, epoch: Epoch) {
        let Prepared { found, .. } = appended;
        let entry = Entry {
            subject_id: Some(found.subject_id),
            version: Version(found.version.0 + 1),
            facts: found.facts,
            partition: position.partition,
            as_of: position.offset,
            epoch: epoch.generation(),
        };
        self.0.cache.committed(&found.subject, position, entry);
    }

    /// The answer of the first call, if this is a repeat of it and not another one under its key.
    async fn repeat<A: DeserializeOwned>(
        &self,
        found: Found,
        first: First,
        wait: Wait,
    ) -> Result<Written<A>, Error> {
        let First {
            answer:
                StoredAnswer {
                    content_hash,
                    answer,
                    position,
                },
            key,
            epoch,
            at,
        } = first;
        if content_hash != key.content_hash {
            return Err(Error::KeyReused);
        }
        let answer = serde_json::from_str(&answer).map_err(|fault| {
            Error::internal(format!(
                "the answer stored for {position:?} does not read: {fault}"
            ))
        })?;
        self.observed_everywhere(&found, position).await?;
        // W6: the first call may have ended before it knew. Where the linked addresses' events lie is
        // not kept, so everything up to now is waited for.
        let confirmation = match wait {
            Wait::Yes => {
                let positions = None;
                let committed = Committed {
                    positions,
                    epoch,
                    at,
                };
                self.0.confirming.confirmed(committed).await?
            }
            Wait::No => Confirmation::NOT_NEEDED,
        };
        Ok(Written {
            answer,
            positions: vec![position],
            confirmation,
        })
    }

    /// The first answer may never have arrived, so its events may not be applied here yet: not those
    /// of the linked addresses either, which lie in other partitions.
    async fn observed_everywhere(&self, found: &Found, position: Position) -> Result<(), Error> {
        self.0.cache.observed(&found.subject, position);
        let linked = self.read_linked(found).await?;
        if linked.is_empty() {
            return Ok(());
        }
        let linked: Vec<SubjectRef> = linked.into_iter().map(|one| one.subject).collect();
        let loaded = self.0.ledger.facts(&linked).await?;
        for (subject, loaded) in linked.iter().zip(loaded) {
            let position = Position {
                partition: subject.partition,
                offset: loaded.as_of,
            };
            self.0.cache.observed(subject, position);
        }
        Ok(())
    }

    pub(super) fn subject_of(&self, write: &Write<'_>) -> SubjectRef {
        let keys = &write.compiled.keys;
        self.subject_ref(write.business, keys, &write.recipient.address)
    }
}

/// A first call, as a repeat of it finds it.
struct First {
    answer: StoredAnswer,
    /// The repeat's.
    key: Key,
    /// When and in which history it was looked up.
    epoch: Epoch,
    at: Duration,
}

impl Write<'_> {
    /// What is kept of the call with its answer.
    pub(super) fn idempotency<'a>(&self, answer: &'a str) -> Option<Idempotency<'a>> {
        self.key.map(|key| Idempotency {
            rpc: self.rpc,
            key_hash: key.key_hash,
            content_hash: key.content_hash,
            answer,
        })
    }

    fn call(&self) -> Option<Call> {
        self.key.map(|Key { key_hash, .. }| Call {
            rpc: self.rpc,
            key_hash,
        })
    }
}

impl Found {
    /// Whoever is not there yet gets an id of this instant.
    pub(super) fn new(subject: SubjectRef, loaded: Loaded, now: Timestamp) -> Self {
        match loaded.subject {
            None => Self {
                subject,
                subject_id: SubjectId(new_id(now)),
                version: Version(0),
                facts: Facts::default(),
            },
            Some(Subject {
                subject_id,
                version,
                facts,
            }) => Self {
                subject,
                subject_id,
                version,
                facts,
            },
        }
    }
}

impl Group {
    /// A clock that was set back must not put a new act before what is recorded already.
    pub(super) fn now(&self, clock: Timestamp) -> Timestamp {
        self.linked
            .iter()
            .chain([&self.own])
            .map(|found| found.facts.latest())
            .fold(clock, Timestamp::max)
    }

    /// The event for each address that it concerns, the asked one's first, applied to its facts.
    pub(super) fn prepare<'a>(
        self,
        write: &Write<'a>,
        draft: &Draft,
        now: Timestamp,
    ) -> Vec<Prepared<'a>> {
        let event_id = EventId(new_id(now));
        let event = Event {
            schema: SCHEMA,
            event_id,
            subject_id: self.own.subject_id,
            business_id: write.business.clone(),
            event_time: draft.event_time,
            recorded_at: now,
            time_source: draft.time_source,
            spelling: write.recipient.address.spelling(),
            act: draft.act.clone(),
            copied_from: None,
            payload_commitment: write.payload.as_ref().map(Payload::commitment),
            recorded_by: None,
        };
        let own_id = self.own.subject_id;
        let copies: Vec<Prepared<'a>> = self
            .linked
            .into_iter()
            .filter(|other| holds_for(&event, &self.own.facts, other))
            .map(|other| {
                let here = other.facts.links.iter().find(|link| link.other == own_id);
                let copy = Event {
                    subject_id: other.subject_id,
                    spelling: here.map_or(Spelling::Verbatim, |link| link.here),
                    copied_from: Some(own_id),
                    ..event.clone()
                };
                Prepared::new(other, copy, None)
            })
            .collect();
        let mut prepared = vec![Prepared::new(self.own, event, Some(write.recipient))];
        prepared.extend(copies);
        prepared
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(mut found: Found, event: Event, recipient: Option<&'a Recipient>) -> Self {
        found.facts.apply(&event);
        Self {
            found,
            event,
            recipient,
            removal: None,
        }
    }

    pub(super) fn seal(&self, write: &Write<'_>) -> Sealed {
        let keys = &write.compiled.keys;
        let place = Place {
            column: "subject_address.sealed",
            row: self.found.subject_id.0.as_bytes(),
        };
        // Late reports must not bring back what was erased.
        let erased = self.found.facts.is_erased();
        let payload = write.payload.as_ref();
        let payload = payload.filter(|_| !erased || proves_a_restriction(&self.event.act));
        let recipient = self.recipient.filter(|_| !erased);
        Sealed {
            payload: payload.map(|payload| payload.seal(keys, self.event.event_id)),
            address: recipient.map(|recipient| keys.seal(place, recipient.text.as_bytes())),
        }
    }

    pub(super) fn part<'b>(&'b self, sealed: &'b Sealed) -> Part<'b> {
        Part {
            subject: &self.found.subject,
            expected: self.found.version,
            event: &self.event,
            facts: &self.found.facts,
            payload: sealed.payload.as_deref(),
            address: sealed.address.as_deref(),
            removal: self.removal,
        }
    }
}

/// Whether what comes with an act is kept though the person's data were erased: an opt-out must be
/// provable. Everything else would be kept for nothing, since it permits nothing.
const fn proves_a_restriction(act: &Act) -> bool {
    match act {
        Act::Restricted(_) | Act::Suppressed(_) | Act::SuppressionLifted(_) | Act::Erased(_) => {
            true
        }
        Act::ConsentGiven(_)
        | Act::ConsentConfirmed(_)
        | Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::RegistryChecked(_)
        | Act::Linked(_)
        | Act::IdentityChanged(_)
        | Act::DeliveryFailed(_)
        | Act::Reached(_) => false,
    }
}

/// Whether what happened at one address holds for a linked one: everything that restricts, always;
/// what permits, only between two that are linked directly, in the spelling that was linked, and
/// while nobody doubts whose they are.
fn holds_for(event: &Event, own: &Facts, other: &Found) -> bool {
    match &event.act {
        Act::Restricted(_)
        | Act::Suppressed(_)
        | Act::SuppressionLifted(_)
        | Act::RegistryChecked(_)
        | Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::Erased(_) => true,
        Act::ConsentGiven(_) | Act::ConsentConfirmed(_) => {
            let linked = own
                .linked()
                .any(|link| link.other == other.subject_id && event.spelling.grants(link.here));
            linked && own.doubt().is_none() && other.facts.doubt().is_none()
        }
        // They speak of the one address alone.
        Act::Linked(_) | Act::IdentityChanged(_) | Act::DeliveryFailed(_) | Act::Reached(_) => {
            false
        }
    }
}
