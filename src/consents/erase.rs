//! Erase: a person's data go, and what restricts stays under the keyed hash.
//!
//! It restricts, so it goes the way of an opt-out: one append on all addresses of the person, answered
//! once it holds on every instance. The sealed addresses and service windows go with that commit; what
//! proves a consent goes with it, too, or when the policy's retention has ended, by whoever serves then.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::append::{ATTEMPTS, Begun, Draft, Found, Group, Wait, Write, Written};
use super::idempotency::Key;
use super::payload::Payload;
use super::{Consents, Error, Evidence, Recipient};
use crate::catalog::Compiled;
use crate::domain::event::{Act, Erasure};
use crate::domain::id::{BusinessId, EventId};
use crate::domain::place;
use crate::domain::retention::{Kept, proofs_kept_until};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ErasureBasis, TimeSource};
use crate::ledger::{Offset, Recorded, Removal, Rpc};

/// How many events of a person are read at once.
const PAGE: u32 = 1_000;

/// How many erasures are carried out at once.
const AT_ONCE: u32 = 100;

/// An erasure, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct EraseRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    pub basis: ErasureBasis,
    /// Kept with the event, in the clear.
    pub note: String,
    /// Personal, so it goes with the rest.
    pub actor: String,
    #[serde(skip)]
    pub idempotency_key: String,
}

/// What an erasure did. A repeat gives the first call's event and date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseAnswer {
    pub event_id: EventId,
    /// When the rest goes; `None`: nothing personal was left when the first call ended.
    pub scheduled_for: Option<Timestamp>,
    pub token: String,
    /// Instances that answer from after it, this one included.
    pub instances_confirmed: u32,
    /// How long this call waited for that after its commit.
    pub waited: Duration,
}

/// The answer as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    event_id: EventId,
    scheduled_for: Option<Timestamp>,
}

impl Consents {
    /// Erases a person's data. When this returns, no check that starts later is answered from before it.
    pub async fn erase(&self, request: EraseRequest) -> Result<EraseAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.erase_now(&request).await })
            .await
    }

    async fn erase_now(&self, request: &EraseRequest) -> Result<EraseAnswer, Error> {
        let compiled = self.business(&request.business).await?;
        let write = Write {
            rpc: Rpc::EraseSubject,
            business: &request.business,
            compiled: &compiled,
            recipient: &request.recipient,
            payload: Payload::new(&Evidence::default(), &BTreeMap::new(), &request.actor),
            key: Some(Key::new(
                &compiled,
                &request.idempotency_key,
                &request.recipient,
                request,
            )),
        };
        let found = match self.begin(&write, Wait::Yes).await? {
            Begun::Repeated(first) => return Ok(self.erased(first)),
            Begun::New(found) => found,
        };
        // Whoever only wrote, or was only written to, has no events and was seen all the same.
        if found.version.0 == 0 && !self.0.activity.knows(&found.subject).await? {
            return Err(Error::NotFound { what: "the person" });
        }
        let written = self.append_erasure(&write, request, found).await?;
        Ok(self.erased(written))
    }

    async fn append_erasure(
        &self,
        write: &Write<'_>,
        request: &EraseRequest,
        mut own: Found,
    ) -> Result<Written<Stored>, Error> {
        for _ in 0..ATTEMPTS {
            let subject = own.subject.clone();
            let linked = self.read_linked(&own).await?;
            let group = Group { own, linked };
            let now = group.now(self.now());
            let mut kept_until = BTreeMap::new();
            for found in std::iter::once(&group.own).chain(&group.linked) {
                let until = self.kept_until(write, found, now).await?;
                kept_until.insert(found.subject_id, until);
            }
            let scheduled_for = kept_until.values().flatten().max().copied();
            let draft = Draft {
                act: Act::Erased(Erasure {
                    basis: request.basis,
                    note: request.note.clone(),
                    retained_until: scheduled_for,
                }),
                event_time: now,
                time_source: TimeSource::Gate,
            };
            let mut prepared = group.prepare(write, &draft, now);
            for one in &mut prepared {
                let until = kept_until.get(&one.found.subject_id).copied().flatten();
                one.removal = Some(until.map_or(Removal::Now, Removal::At));
                // Nobody's address is kept of the call that erases it.
                one.recipient = None;
            }
            let answer = Stored {
                event_id: prepared[0].event.event_id,
                scheduled_for,
            };
            if let Some(written) = self.commit(write, prepared, answer).await? {
                return Ok(written);
            }
            own = self.read_for_write(&subject).await?;
        }
        Err(Error::Contended)
    }

    /// Until when the policy has what proves the consents of one address kept.
    async fn kept_until(
        &self,
        write: &Write<'_>,
        found: &Found,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let Compiled { rules, .. } = write.compiled;
        let mut events = Vec::new();
        let mut after = Offset(0);
        loop {
            let page = self
                .history_of(write.business, found.subject_id, after, PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = last.position.offset;
            events.extend(page);
        }
        let kept: Vec<Kept<'_>> = events
            .iter()
            .map(|Recorded { event, payload, .. }| Kept {
                event,
                has_proof: payload.is_some(),
            })
            .collect();
        let place = place::of(&write.recipient.address);
        let until = proofs_kept_until(&kept, rules, &place.jurisdictions, now);
        Ok(until)
    }

    fn erased(&self, written: Written<Stored>) -> EraseAnswer {
        EraseAnswer {
            event_id: written.answer.event_id,
            scheduled_for: written.answer.scheduled_for,
            token: self.token_at(&written.positions),
            instances_confirmed: written.confirmation.instances,
            waited: written.confirmation.waited,
        }
    }

    /// Removes what erasures had to leave until now; says how many of them.
    pub async fn carry_out_erasures(&self) -> Result<u64, Error> {
        let mut carried_out = 0;
        loop {
            let ledger = &self.0.ledger;
            let done = ledger.carry_out_erasures(self.now(), AT_ONCE).await?;
            carried_out += done;
            if done < u64::from(AT_ONCE) {
                return Ok(carried_out);
            }
        }
    }
}
