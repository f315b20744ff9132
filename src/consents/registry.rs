//! RecordRegistryCheck: what a do-not-contact registry said of a number, and when it was asked.
//!
//! That the number is listed bars messages at once. That it is not is a look-up, which some
//! jurisdictions require before marketing and which ages. No data is no answer: it is kept, and
//! counts as not consulted. What follows is decided in [`crate::domain::decide`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::append::{Begun, Draft, Wait, Write, Written};
use super::error::reason;
use super::idempotency::Key;
use super::payload::Payload;
use super::withdraw::EARLIEST;
use super::{Consents, Error, Evidence, Recipient, Violation};
use crate::catalog::Compiled;
use crate::domain::event::{Act, RegistryCheck};
use crate::domain::id::{BusinessId, EventId, RegistryName};
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{RegistryResult, TimeSource};
use crate::ledger::Rpc;

/// A registry's answer, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct RegistryRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    pub registry: RegistryName,
    /// `None`: not said.
    pub list_version: Option<String>,
    pub result: RegistryResult,
    pub checked_at: Timestamp,
    pub actor: String,
    #[serde(skip)]
    pub idempotency_key: String,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryAnswer {
    pub event_id: EventId,
    pub token: String,
    /// Of a listing: instances that answer from after it, and how long this call waited for them.
    pub restricted: Option<(u32, Duration)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredCheck {
    event_id: EventId,
}

impl Consents {
    /// Keeps a registry's answer. When this returns for a listing, no check that starts later is
    /// answered from before it.
    pub async fn record_registry_check(
        &self,
        request: RegistryRequest,
    ) -> Result<RegistryAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.registry_check_now(&request).await })
            .await
    }

    async fn registry_check_now(&self, request: &RegistryRequest) -> Result<RegistryAnswer, Error> {
        let compiled = self.business(&request.business).await?;
        let write = Write {
            rpc: Rpc::RecordRegistryCheck,
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
        // What restricts is acknowledged on the strength of a write alone.
        let touch = match request.result {
            RegistryResult::Listed => Wait::Yes,
            RegistryResult::NotListed | RegistryResult::NoData => Wait::No,
        };
        let found = match self.begin(&write, touch).await? {
            Begun::Repeated(first) => return Ok(self.registry_checked(request, first)),
            Begun::New(found) => found,
        };
        judge(request, &compiled, self.now())?;
        let written = self
            .append_with(
                &write,
                found,
                |_, now| {
                    Ok(Draft {
                        act: Act::RegistryChecked(RegistryCheck {
                            registry: request.registry.clone(),
                            list_version: request.list_version.clone(),
                            result: request.result,
                        }),
                        event_time: request.checked_at.min(now),
                        time_source: TimeSource::Caller,
                    })
                },
                |event, _| StoredCheck {
                    event_id: event.event_id,
                },
            )
            .await?;
        Ok(self.registry_checked(request, written))
    }

    /// This instance has applied it before it gets here, and it is the only one.
    fn registry_checked(
        &self,
        request: &RegistryRequest,
        written: Written<StoredCheck>,
    ) -> RegistryAnswer {
        RegistryAnswer {
            event_id: written.answer.event_id,
            token: self.token_at(&written.positions),
            restricted: match request.result {
                RegistryResult::Listed => Some((1, Duration::ZERO)),
                RegistryResult::NotListed | RegistryResult::NoData => None,
            },
        }
    }
}

fn judge(request: &RegistryRequest, compiled: &Compiled, now: Timestamp) -> Result<(), Error> {
    let mut violations = Vec::new();
    let policy = &compiled.rules.policy;
    if policy.registry_kind(&request.registry).is_none() {
        let message = match names(policy).as_slice() {
            [] => "is in no entry of the policy file, which names no registry".to_owned(),
            known => format!(
                "is in no entry of the policy file, which names {}",
                known.join(", ")
            ),
        };
        let reason = reason::REGISTRY_UNKNOWN;
        violations.push(Violation::new("registry", reason, message));
    }
    let checked_at = request.checked_at;
    if checked_at > now.plus(compiled.rules.clock_tolerance) {
        let message = "lies too far in the future";
        let reason = reason::EVENT_TIME_IN_FUTURE;
        violations.push(Violation::new("checked_at", reason, message));
    }
    if checked_at < EARLIEST {
        let message = "lies before WhatsApp's first year, as an instant that was never set does";
        let reason = reason::FIELD_INVALID;
        violations.push(Violation::new("checked_at", reason, message));
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid { violations })
    }
}

/// The registries that any entry of the policy names, at whatever time it holds.
fn names(policy: &Policy) -> Vec<&str> {
    let entries = policy.jurisdictions().values().flatten();
    let rules = entries.flat_map(|entry| &entry.requirements.registries);
    let names: BTreeSet<&str> = rules.map(|rule| rule.registry.as_str()).collect();
    names.into_iter().collect()
}
