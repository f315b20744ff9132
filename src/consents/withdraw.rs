//! Withdraw: somebody no longer wants messages. Always accepted: for a person never seen before, a
//! purpose or sender that the catalogue does not hold, a time that cannot be. Harmless to repeat.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::append::{Begun, Draft, Wait, Write, Written};
use super::idempotency::Key;
use super::known::Absent;
use super::payload::Payload;
use super::{Consents, Error, Evidence, Recipient};
use crate::domain::event::{Act, Event, Restriction, Scope, Suppression};
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, EventId, SenderId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{RestrictionKind, SuppressionBasis, TimeSource, WithdrawalMethod};
use crate::ledger::Rpc;

/// WhatsApp's first year. Whoever names an earlier time for an act on it has named none: an unset
/// instant that was sent as 1970 must not put an opt-out before what it ends.
pub const EARLIEST: Timestamp = Timestamp::from_micros(1_230_768_000_000_000);

/// An opt-out.
#[derive(Debug, Clone, Serialize)]
pub struct WithdrawRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    pub scope: Scope,
    pub sender: Option<SenderId>,
    /// `None`: now.
    pub event_time: Option<Timestamp>,
    pub method: Option<WithdrawalMethod>,
    pub evidence: Evidence,
    pub actor: String,
    /// Without one each call appends an event.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What an opt-out did. A repeat gives the first call's event and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawAnswer {
    pub event_id: EventId,
    pub effective_at: Timestamp,
    pub token: String,
    /// Instances that answer from after it, this one included.
    pub instances_confirmed: u32,
    /// How long this call waited for that after its commit.
    pub waited: Duration,
}

/// The answer to a restricting call as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Restrictive {
    event_id: EventId,
    effective_at: Timestamp,
}

impl Restrictive {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            event_id: event.event_id,
            effective_at: event.effective_at(),
        }
    }
}

impl Consents {
    /// Records an opt-out. When this returns, no check that starts later is answered from before it.
    pub async fn withdraw(&self, request: WithdrawRequest) -> Result<WithdrawAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.withdraw_now(&request).await })
            .await
    }

    async fn withdraw_now(&self, request: &WithdrawRequest) -> Result<WithdrawAnswer, Error> {
        let sender = request.sender.as_ref();
        let compiled = self.business_for_opt_out(&request.business, sender).await?;
        let key = request
            .idempotency_key
            .as_ref()
            .map(|key| Key::new(&compiled, key, &request.recipient, request));
        let mut write = Write {
            rpc: Rpc::Withdraw,
            business: &request.business,
            compiled: &compiled,
            recipient: &request.recipient,
            payload: Payload::new(&request.evidence, &BTreeMap::new(), &request.actor),
            key,
        };
        match self.withdraw_once(&write, request).await {
            // The same key for other content is another opt-out, not a fault of the person: also
            // when the other one came between our looking and our writing.
            Err(Error::KeyReused) => {
                write.key = write.key.map(|key| key.for_other_content(&compiled));
                self.withdraw_once(&write, request).await
            }
            done => done,
        }
    }

    async fn withdraw_once(
        &self,
        write: &Write<'_>,
        request: &WithdrawRequest,
    ) -> Result<WithdrawAnswer, Error> {
        // An alias is stored as the sender that it names. A name that nobody has narrows nothing: it
        // may become some sender's, or have been, and the opt-out must hold for that one, too.
        let sender = request
            .sender
            .as_ref()
            .and_then(|name| write.compiled.catalog().sender(name))
            .map(|sender| sender.sender_id.clone());
        let decide = |_: &Facts, now: Timestamp| {
            let (event_time, time_source) = match request.event_time {
                Some(time) if (EARLIEST..=now).contains(&time) => (time, TimeSource::Caller),
                Some(_) | None => (now, TimeSource::Gate),
            };
            Ok(Draft {
                act: act(request, sender.clone()),
                event_time,
                time_source,
            })
        };
        let answer = |event: &Event, _: &Facts| Restrictive::of(event);
        if let Some(known) = self.known(write, Absent::Loaded).await
            && let Some(written) = self.append_known(write, known, decide, answer).await?
        {
            return Ok(self.restricted(written));
        }
        let found = match self.begin(write, Wait::Yes).await? {
            Begun::Repeated(first) => return Ok(self.restricted(first)),
            Begun::New(found) => found,
        };
        let written = self.append_with(write, found, decide, answer).await?;
        Ok(self.restricted(written))
    }

    pub(super) fn restricted(&self, written: Written<Restrictive>) -> WithdrawAnswer {
        WithdrawAnswer {
            event_id: written.answer.event_id,
            effective_at: written.answer.effective_at,
            token: self.token_at(&written.positions),
            instances_confirmed: written.confirmation.instances,
            waited: written.confirmation.waited,
        }
    }
}

/// What the platform stopped is lifted when the platform resumes; everything else is a state of the
/// consent, named by who ended it.
fn act(request: &WithdrawRequest, sender_id: Option<SenderId>) -> Act {
    use WithdrawalMethod as M;
    let scope = request.scope.clone();
    let withdrawal_method = request.method;
    let kind = match request.method {
        Some(M::PlatformPreference | M::DeliveryError) => {
            return Act::Suppressed(Suppression {
                received_by: None,
                basis: SuppressionBasis::PlatformStop,
                scope,
                sender_id,
                until: None,
                withdrawal_method,
            });
        }
        Some(M::Operator) => RestrictionKind::Revoked,
        Some(M::Authority) => RestrictionKind::Invalidated,
        Some(
            M::Keyword
            | M::Button
            | M::PreferenceCenter
            | M::Email
            | M::Phone
            | M::InPerson
            | M::Import,
        )
        | None => RestrictionKind::Withdrawn,
    };
    Act::Restricted(Restriction {
        received_by: None,
        kind,
        scope,
        sender_id,
        withdrawal_method,
        indication_method: None,
        notice: None,
        import_batch_id: None,
    })
}
