//! Suppress: somebody must not be written to, whatever they consented to; and lift that again.
//!
//! A suppression is no state of a consent but an overlay: it beats every grant until it ends or is
//! lifted. One that the person made is lifted only by a later explicit act of the person, with
//! evidence; WhatsApp's own stop only by WhatsApp's resume. Lifting is no grant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::append::{Begun, Draft, Wait, Write, Written};
use super::error::reason;
use super::idempotency::Key;
use super::payload::Payload;
use super::withdraw::{Restrictive, WithdrawAnswer};
use super::{Consents, Error, Evidence, Recipient, Violation, resolve};
use crate::catalog::{Compiled, Named};
use crate::domain::event::{Act, Event, Lift, Scope, Suppression};
use crate::domain::facts::Mark;
use crate::domain::id::{BusinessId, EventId, SenderId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{IndicationMethod, SuppressionBasis, TimeSource};
use crate::ledger::Rpc;

/// A suppression, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct SuppressRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    pub scope: Scope,
    pub sender: Option<SenderId>,
    pub basis: SuppressionBasis,
    /// `None`: now.
    pub since: Option<Timestamp>,
    /// `None`: without end.
    pub until: Option<Timestamp>,
    pub evidence: Evidence,
    pub actor: String,
    #[serde(skip)]
    pub idempotency_key: String,
}

/// The lifting of one suppression, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct LiftRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    pub suppression: EventId,
    pub event_time: Timestamp,
    /// Required for a suppression that the person made.
    pub indication_method: Option<IndicationMethod>,
    pub evidence: Evidence,
    pub actor: String,
    #[serde(skip)]
    pub idempotency_key: String,
}

/// What a lifting did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiftAnswer {
    pub event_id: EventId,
    pub effective_at: Timestamp,
    pub token: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredLift {
    event_id: EventId,
    effective_at: Timestamp,
}

impl Consents {
    /// Bars sending. When this returns, no check that starts later is answered from before it.
    pub async fn suppress(&self, request: SuppressRequest) -> Result<WithdrawAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.suppress_now(&request).await })
            .await
    }

    async fn suppress_now(&self, request: &SuppressRequest) -> Result<WithdrawAnswer, Error> {
        let names = suppressed_names(request);
        let compiled = self.business_with(&request.business, &names).await?;
        let write = Write {
            rpc: Rpc::AddSuppression,
            business: &request.business,
            compiled: &compiled,
            recipient: &request.recipient,
            payload: Payload::new(&request.evidence, &BTreeMap::new(), &request.actor),
            key: Some(Key::new(
                &compiled,
                &request.idempotency_key,
                &request.recipient,
                request,
            )),
        };
        let found = match self.begin(&write, Wait::Yes).await? {
            Begun::Repeated(first) => return Ok(self.restricted(first)),
            Begun::New(found) => found,
        };
        let sender_id = judge_names(request, &compiled)?;
        if request.until.is_some_and(|until| until <= self.now()) {
            return Err(Error::invalid(
                "until",
                reason::FIELD_INVALID,
                "must be in the future",
            ));
        }
        let written = self
            .append_with(
                &write,
                found,
                |_, now| {
                    let (event_time, time_source) = match request.since {
                        Some(since) if since <= now => (since, TimeSource::Caller),
                        Some(_) | None => (now, TimeSource::Gate),
                    };
                    let act = Act::Suppressed(Suppression {
                        received_by: None,
                        basis: request.basis,
                        scope: request.scope.clone(),
                        sender_id: sender_id.clone(),
                        until: request.until,
                        withdrawal_method: None,
                    });
                    Ok(Draft {
                        act,
                        event_time,
                        time_source,
                    })
                },
                |event, _| Restrictive::of(event),
            )
            .await?;
        Ok(self.restricted(written))
    }

    /// Lifts one suppression.
    pub async fn lift(&self, request: LiftRequest) -> Result<LiftAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.lift_now(&request).await })
            .await
    }

    async fn lift_now(&self, request: &LiftRequest) -> Result<LiftAnswer, Error> {
        let compiled = self.business(&request.business).await?;
        let write = Write {
            rpc: Rpc::LiftSuppression,
            business: &request.business,
            compiled: &compiled,
            recipient: &request.recipient,
            payload: Payload::new(&request.evidence, &BTreeMap::new(), &request.actor),
            key: Some(Key::new(
                &compiled,
                &request.idempotency_key,
                &request.recipient,
                request,
            )),
        };
        let found = match self.begin(&write, Wait::No).await? {
            Begun::Repeated(first) => return Ok(self.lifted(first)),
            Begun::New(found) => found,
        };
        let (event, suppression) = self.suppression(request, &compiled).await?;
        self.judge_lift(request, &compiled, &event, &suppression)?;
        let written = self
            .append_with(
                &write,
                found,
                |_, now| {
                    let (event_time, time_source) = match request.event_time > now {
                        true => (now, TimeSource::Gate),
                        false => (request.event_time, TimeSource::Caller),
                    };
                    let act = Act::SuppressionLifted(Lift {
                        basis: suppression.basis,
                        scope: suppression.scope.clone(),
                        sender_id: suppression.sender_id.clone(),
                        lifts: Some(event.event_id),
                        indication_method: request.indication_method,
                    });
                    Ok(Draft {
                        act,
                        event_time,
                        time_source,
                    })
                },
                |event, _| StoredLift {
                    event_id: event.event_id,
                    effective_at: event.effective_at(),
                },
            )
            .await?;
        Ok(self.lifted(written))
    }

    fn lifted(&self, written: Written<StoredLift>) -> LiftAnswer {
        LiftAnswer {
            event_id: written.answer.event_id,
            effective_at: written.answer.effective_at,
            token: self.token_at(&written.positions),
        }
    }

    /// The suppression that is to be lifted, as it was recorded for this very person.
    async fn suppression(
        &self,
        request: &LiftRequest,
        compiled: &Compiled,
    ) -> Result<(Event, Suppression), Error> {
        let subject = self.subject_ref(
            &request.business,
            &compiled.keys,
            &request.recipient.address,
        );
        let loaded = self.0.ledger.facts(&[subject]).await?.pop();
        let history = match loaded.and_then(|loaded| loaded.subject) {
            None => Vec::new(),
            Some(known) => {
                let wanted = [request.suppression].into();
                self.find_events(&request.business, known.subject_id, wanted)
                    .await?
            }
        };
        history
            .into_iter()
            .find_map(|recorded| match &recorded.event.act {
                Act::Suppressed(suppression) if recorded.event.event_id == request.suppression => {
                    let suppression = suppression.clone();
                    Some((recorded.event, suppression))
                }
                _ => None,
            })
            .ok_or(Error::NotFound {
                what: "this suppression of this person",
            })
    }

    fn judge_lift(
        &self,
        request: &LiftRequest,
        compiled: &Compiled,
        event: &Event,
        suppression: &Suppression,
    ) -> Result<(), Error> {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            violations.push(Violation::new(field, reason::FIELD_INVALID, message));
        };
        let now = self.now();
        let tolerance = compiled.rules.clock_tolerance;
        if suppression.basis == SuppressionBasis::PlatformStop {
            refuse(
                "suppression_event_id",
                "is WhatsApp's own stop, which only its resume lifts",
            );
        }
        if suppression.basis.is_made_by_subject() {
            match request.indication_method {
                None => refuse(
                    "indication_method",
                    "is required: only the person lifts this",
                ),
                Some(IndicationMethod::Import) => {
                    refuse(
                        "indication_method",
                        "must not be IMPORT: only the person lifts this",
                    );
                }
                Some(_) => {}
            }
            if request.evidence == Evidence::default() {
                refuse(
                    "evidence",
                    "is required: only a proven act of the person lifts this",
                );
            }
        }
        if request.event_time > now.plus(tolerance) {
            refuse("event_time", "lies too far in the future");
        }
        let suppressed = Mark::of(event);
        let (at, source) = match request.event_time > now {
            true => (now, TimeSource::Gate),
            false => (request.event_time, TimeSource::Caller),
        };
        if !(Mark {
            at,
            source,
            ..suppressed
        })
        .is_later_than(&suppressed, tolerance)
        {
            refuse(
                "event_time",
                "must be later than the suppression, by more than the clock tolerance where \
                 another clock timed that",
            );
        }
        if violations.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid { violations })
        }
    }
}

fn suppressed_names(request: &SuppressRequest) -> Vec<Named<'_>> {
    let purposes = match &request.scope {
        Scope::Purposes(purposes) => purposes.as_slice(),
        Scope::AllMarketing | Scope::Everything => &[],
    };
    purposes
        .iter()
        .map(Named::Purpose)
        .chain(request.sender.iter().map(Named::Sender))
        .collect()
}

/// The sender's own id, or every name that the catalogue does not hold.
fn judge_names(request: &SuppressRequest, compiled: &Compiled) -> Result<Option<SenderId>, Error> {
    let mut violations = Vec::new();
    if let Scope::Purposes(purposes) = &request.scope {
        for (index, key) in purposes.iter().enumerate() {
            let field = format!("scope.purposes[{index}]");
            violations.extend(resolve::purpose(compiled, key, &field).err());
        }
    }
    let sender = request.sender.as_ref().and_then(|name| {
        resolve::sender(compiled, name, "scope.sender_id")
            .map(|sender| sender.sender_id.clone())
            .map_err(|violation| violations.push(violation))
            .ok()
    });
    if violations.is_empty() {
        Ok(sender)
    } else {
        Err(Error::Invalid { violations })
    }
}
