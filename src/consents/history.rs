//! History: how a person stands to each purpose, and what proves it. Read from the ledger, for
//! people; a person of whom nothing is known has an empty history, not an error.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;

use super::check::Consistency;
use super::error::reason;
use super::payload::{Payload, Reported};
use super::{Consents, Error, Evidence, Recipient, resolve};
use crate::catalog::Compiled;
use crate::domain::event::Event;
use crate::domain::facts::{Facts, Suppressed};
use crate::domain::id::{BusinessId, EventId, PurposeKey, SenderId, SubjectId};
use crate::domain::place;
use crate::domain::standing::{Standing, standing};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::ConsentState;
use crate::keys::BusinessKeys;
use crate::ledger::{Offset, Position, Recorded};

/// How many events are read at once when some are looked for.
const PAGE: u32 = 1_000;

/// Whose states are asked for, narrowed where wanted.
#[derive(Debug, Clone)]
pub struct GetRequest {
    pub business: BusinessId,
    pub recipient: Recipient,
    pub purpose: Option<PurposeKey>,
    pub sender: Option<SenderId>,
    /// `None`: now.
    pub at: Option<Timestamp>,
    pub consistency: Consistency,
}

/// How a person stands.
#[derive(Debug, Clone)]
pub struct Standings {
    pub standings: Vec<PurposeStanding>,
    /// Those that hold.
    pub suppressions: Vec<Suppressed>,
    pub token: String,
}

/// How a person stands to one purpose.
#[derive(Debug, Clone)]
pub struct PurposeStanding {
    pub purpose: PurposeKey,
    pub sender: Option<SenderId>,
    pub standing: Standing,
    /// The event that made it so; `None` if nothing did.
    pub event: Option<Event>,
}

/// One event with what could be opened of its personal part.
#[derive(Debug, Clone)]
pub struct HistoryEvent {
    pub position: Position,
    pub event: Event,
    pub evidence: Evidence,
    pub labels: BTreeMap<String, String>,
    pub actor: String,
    pub reported: Reported,
}

impl Consents {
    /// The state of every purpose that is known of a person.
    pub async fn standings(&self, request: &GetRequest) -> Result<Standings, Error> {
        let required = self.required(&request.consistency).await?;
        let compiled = self.business(&request.business).await?;
        let invalid = |violation| Error::Invalid {
            violations: vec![violation],
        };
        if let Some(purpose) = &request.purpose {
            resolve::purpose(&compiled, purpose, "purpose").map_err(invalid)?;
        }
        let sender = request
            .sender
            .as_ref()
            .map(|name| resolve::sender(&compiled, name, "sender_id"))
            .transpose()
            .map_err(invalid)?
            .map(|sender| &sender.sender_id);
        let address = &request.recipient.address;
        let subject = self.subject_ref(&request.business, &compiled.keys, address);
        let partition = subject.partition;
        let loaded = self.0.ledger.facts(&[subject]).await?.pop();
        let loaded = loaded.ok_or_else(|| Error::internal("a read answered nothing"))?;
        if !required.is_met_by(partition, loaded.as_of) {
            return Err(Error::NotYetFresh);
        }
        let known = loaded.subject;
        let subject_id = known.as_ref().map(|subject| subject.subject_id);
        let facts = known.map(|subject| subject.facts).unwrap_or_default();
        let at = request.at.unwrap_or_else(|| self.now());
        let mut standings = Vec::new();
        for purpose in compiled.catalog().purposes.values() {
            if request
                .purpose
                .as_ref()
                .is_some_and(|wanted| *wanted != purpose.key)
            {
                continue;
            }
            for sender in senders_of(&facts, &purpose.key, sender) {
                let stands = standing(
                    &facts,
                    &compiled.rules,
                    purpose,
                    sender.as_ref(),
                    address.spelling(),
                    &place::of(address).jurisdictions,
                    at,
                );
                if stands.state != ConsentState::Unknown || request.purpose.is_some() {
                    let purpose = purpose.key.clone();
                    standings.push(PurposeStanding {
                        purpose,
                        sender,
                        standing: stands,
                        event: None,
                    });
                }
            }
        }
        if let Some(subject_id) = subject_id {
            let wanted = standings
                .iter()
                .filter_map(|one| one.standing.event)
                .collect();
            let found = self
                .find_events(&request.business, subject_id, wanted)
                .await?;
            for one in &mut standings {
                let made_by = |found: &&Recorded| Some(found.event.event_id) == one.standing.event;
                one.event = found.iter().find(made_by).map(|found| found.event.clone());
            }
        }
        Ok(Standings {
            standings,
            suppressions: facts
                .suppressions_at(at, compiled.rules.clock_tolerance)
                .cloned()
                .collect(),
            token: self.token_of(&[(partition, loaded.as_of)]),
        })
    }

    /// Events of a subject of this business after an offset, oldest first. A row that is another
    /// business's is nobody's answer.
    pub(super) async fn history_of(
        &self,
        business: &BusinessId,
        subject: SubjectId,
        after: Offset,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        let recorded = self.0.ledger.history(subject, after, limit).await?;
        // INVARIANT: a subject is of one business; the second wall between businesses.
        match recorded
            .iter()
            .find(|one| one.event.business_id != *business)
        {
            None => Ok(recorded),
            Some(one) => Err(Error::internal(format!(
                "event {} of subject {subject} belongs to another business",
                one.event.event_id
            ))),
        }
    }

    /// The wanted events of a person, however many there are of others.
    pub(super) async fn find_events(
        &self,
        business: &BusinessId,
        subject: SubjectId,
        mut wanted: BTreeSet<EventId>,
    ) -> Result<Vec<Recorded>, Error> {
        let mut found = Vec::new();
        let mut after = Offset(0);
        while !wanted.is_empty() {
            let page = self.history_of(business, subject, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.position.offset;
            found.extend(
                page.into_iter()
                    .filter(|one| wanted.remove(&one.event.event_id)),
            );
        }
        Ok(found)
    }

    /// Events of a person after an offset, oldest first, and whether there are more.
    pub async fn events(
        &self,
        business: &BusinessId,
        recipient: &Recipient,
        after: Offset,
        limit: u32,
    ) -> Result<(Vec<HistoryEvent>, bool), Error> {
        let compiled = self.business(business).await?;
        let subject = self.subject_ref(business, &compiled.keys, &recipient.address);
        let loaded = self.0.ledger.facts(&[subject]).await?.pop();
        let Some(known) = loaded.and_then(|loaded| loaded.subject) else {
            return Ok((Vec::new(), false));
        };
        let wanted = limit.saturating_add(1);
        let mut recorded = self
            .history_of(business, known.subject_id, after, wanted)
            .await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = recorded.len() > limit;
        recorded.truncate(limit);
        let events = recorded
            .into_iter()
            .map(|one| opened(&compiled, one))
            .collect::<Result<_, _>>()?;
        Ok((events, more))
    }

    /// One page of a person's history, and the token of the next; empty at the end.
    pub async fn page(
        &self,
        business: &BusinessId,
        recipient: &Recipient,
        token: &str,
        size: u32,
    ) -> Result<(Vec<HistoryEvent>, String), Error> {
        let compiled = self.business(business).await?;
        let after = match token {
            "" => Offset(0),
            token => read_page_token(&compiled.keys, recipient, token)?,
        };
        let (events, more) = self.events(business, recipient, after, size).await?;
        let next = match events.last() {
            Some(last) if more => page_token(&compiled.keys, recipient, last.position.offset),
            _ => String::new(),
        };
        Ok((events, next))
    }
}

/// Names a place in one person's history. A token of another person or business does not read.
fn page_token(keys: &BusinessKeys, recipient: &Recipient, after: Offset) -> String {
    let mac = page_mac(keys, recipient, after);
    BASE64URL_NOPAD.encode(&[after.0.to_be_bytes().as_slice(), &mac].concat())
}

fn read_page_token(
    keys: &BusinessKeys,
    recipient: &Recipient,
    token: &str,
) -> Result<Offset, Error> {
    let read = || {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (offset, mac) = bytes.split_first_chunk::<8>()?;
        let after = Offset(i64::from_be_bytes(*offset));
        verify_slices_are_equal(mac, &page_mac(keys, recipient, after))
            .ok()
            .map(|()| after)
    };
    read().ok_or_else(|| {
        let message = "is not a token that this list gave for this person";
        Error::invalid("page_token", reason::TOKEN_INVALID, message)
    })
}

fn page_mac(keys: &BusinessKeys, recipient: &Recipient, after: Offset) -> [u8; 16] {
    let subject = keys.subject_key(&recipient.address);
    keys.idempotency_hash(&[b"page", &subject.0, &after.0.to_be_bytes()])
}

/// For whom a purpose's state is told: the sender asked for, or any, and each that has its own.
fn senders_of(
    facts: &Facts,
    purpose: &PurposeKey,
    wanted: Option<&SenderId>,
) -> Vec<Option<SenderId>> {
    if let Some(wanted) = wanted {
        return vec![Some(wanted.clone())];
    }
    let narrowed: BTreeSet<&SenderId> = facts
        .grants
        .iter()
        .filter(|grant| grant.purpose == *purpose)
        .filter_map(|grant| grant.sender.as_ref())
        .collect();
    std::iter::once(None)
        .chain(narrowed.into_iter().cloned().map(Some))
        .collect()
}

/// An event with its personal part.
pub(super) fn opened(compiled: &Compiled, recorded: Recorded) -> Result<HistoryEvent, Error> {
    let event_id = recorded.event.event_id;
    let payload = recorded
        .payload
        .map(|sealed| Payload::open(&compiled.keys, event_id, &sealed))
        .transpose()
        .map_err(|fault| Error::internal(format!("event_payload of {event_id}: {fault}")))?;
    let (evidence, labels, actor, reported) = match payload {
        None => Default::default(),
        Some(Payload {
            evidence,
            labels,
            actor,
            reported,
            ..
        }) => (evidence, labels, actor, reported),
    };
    Ok(HistoryEvent {
        position: recorded.position,
        event: recorded.event,
        evidence,
        labels,
        actor,
        reported,
    })
}
