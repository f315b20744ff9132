//! Confirm: the second half of a double opt-in. It counts only from the address that was asked,
//! later than the request and before the request expires.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::append::{Begun, Draft, Wait, Write};
use super::error::reason;
use super::idempotency::Key;
use super::payload::Payload;
use super::record::{RecordAnswer, as_set, stored_records};
use super::{Consents, Error, Evidence, Recipient, Violation, resolve};
use crate::catalog::{Compiled, Named};
use crate::domain::address::Address;
use crate::domain::catalog::Purpose;
use crate::domain::event::{Act, Confirmation, ConfirmedRequest, Terms, sorted};
use crate::domain::facts::{Facts, Grant};
use crate::domain::id::{BusinessId, EventId, PurposeKey, SenderId, SubjectId};
use crate::domain::place;
use crate::domain::standing::awaits_confirmation;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{IndicationMethod, TimeSource};
use crate::ledger::{Recorded, Rpc};

/// A confirmation, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct ConfirmRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    /// In the caller's order. Empty: everything that waits.
    #[serde(serialize_with = "as_set")]
    pub purposes: Vec<PurposeKey>,
    pub sender: Option<SenderId>,
    pub event_time: Timestamp,
    pub indication_method: IndicationMethod,
    pub evidence: Evidence,
    pub actor: String,
    #[serde(skip)]
    pub idempotency_key: String,
}

impl Consents {
    /// Confirms what waits for it; nothing that waits is `FAILED_PRECONDITION`, and stores nothing.
    pub async fn confirm(&self, request: ConfirmRequest) -> Result<RecordAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.confirm_now(&request).await })
            .await
    }

    async fn confirm_now(&self, request: &ConfirmRequest) -> Result<RecordAnswer, Error> {
        let purposes = request.purposes.iter().map(Named::Purpose);
        let names: Vec<Named<'_>> = purposes
            .chain(request.sender.iter().map(Named::Sender))
            .collect();
        let compiled = self.business_with(&request.business, &names).await?;
        let key = Key::new(
            &compiled,
            &request.idempotency_key,
            &request.recipient,
            request,
        );
        let write = Write {
            rpc: Rpc::ConfirmConsent,
            business: &request.business,
            compiled: &compiled,
            recipient: &request.recipient,
            payload: Payload::new(&request.evidence, &BTreeMap::new(), &request.actor),
            key: Some(key),
        };
        let found = match self.begin(&write, Wait::No).await? {
            Begun::Repeated(first) => return Ok(self.recorded(first)),
            Begun::New(found) => found,
        };
        let asked = self.asked(request, &compiled)?;
        let confirming = Confirming {
            address: &request.recipient.address,
            purposes: &request.purposes,
            senders: asked.as_ref().map_or(Senders::Any, Senders::Only),
            event_time: request.event_time,
            indication_method: request.indication_method,
        };
        // The terms stand in the request's event; events never change, so they can be read ahead.
        let history = self
            .requests_of(&request.business, &compiled, &request.recipient.address)
            .await?;
        let written = self
            .append_with(
                &write,
                found,
                |facts, now| {
                    let act = confirmation(&confirming, &compiled, facts, &history, now)?;
                    Ok(Draft {
                        act: act.ok_or_else(nothing_waits)?,
                        event_time: request.event_time.min(now),
                        time_source: TimeSource::Caller,
                    })
                },
                |event, facts| {
                    let confirmed = confirmed_purposes(&event.act, &compiled);
                    stored_records(
                        &compiled,
                        &confirmed,
                        &request.recipient.address,
                        event,
                        facts,
                    )
                },
            )
            .await?;
        Ok(self.recorded(written))
    }

    /// The sender's own id, and every fault of the names.
    fn asked(
        &self,
        request: &ConfirmRequest,
        compiled: &Compiled,
    ) -> Result<Option<SenderId>, Error> {
        let mut violations = Vec::new();
        for (index, key) in request.purposes.iter().enumerate() {
            let field = format!("purposes[{index}]");
            violations.extend(resolve::purpose(compiled, key, &field).err());
        }
        if request.event_time > self.now().plus(compiled.rules.clock_tolerance) {
            violations.push(Violation::new(
                "event_time",
                reason::EVENT_TIME_IN_FUTURE,
                "lies too far in the future",
            ));
        }
        let sender = request.sender.as_ref().and_then(|name| {
            resolve::sender(compiled, name, "sender_id")
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

    /// The events of the requests that could be confirmed. One that was made at a linked address
    /// before the link stands in that address's history alone.
    pub(super) async fn requests_of(
        &self,
        business: &BusinessId,
        compiled: &Compiled,
        address: &Address,
    ) -> Result<Vec<Recorded>, Error> {
        let subject = self.subject_ref(business, &compiled.keys, address);
        let loaded = self.0.ledger.facts(&[subject]).await?.pop();
        let Some(known) = loaded.and_then(|loaded| loaded.subject) else {
            return Ok(Vec::new());
        };
        let mut histories: BTreeMap<SubjectId, BTreeSet<EventId>> = BTreeMap::new();
        for grant in &known.facts.grants {
            if grant.confirmed_at.is_none() {
                for subject in [Some(known.subject_id), grant.via_link]
                    .into_iter()
                    .flatten()
                {
                    histories
                        .entry(subject)
                        .or_default()
                        .insert(grant.mark.event_id);
                }
            }
        }
        let mut found = Vec::new();
        for (subject, wanted) in histories {
            found.extend(self.find_events(business, subject, wanted).await?);
        }
        Ok(found)
    }
}

fn nothing_waits() -> Error {
    Error::Precondition {
        subject: "recipient",
        message: "nothing waits for a confirmation from this address: none was requested, it \
                  expired, or a later opt-out ended it"
            .into(),
    }
}

/// Whose requests a confirmation may confirm, and how it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirming<'a> {
    pub address: &'a Address,
    /// Empty: everything that waits.
    pub purposes: &'a [PurposeKey],
    pub senders: Senders<'a>,
    pub event_time: Timestamp,
    pub indication_method: IndicationMethod,
}

/// For which senders the confirmed consent may have been asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Senders<'a> {
    Any,
    /// For this one alone.
    Only(&'a SenderId),
    /// For this one, or for none in particular: the reply was written to it.
    RepliedTo(&'a SenderId),
}

impl Senders<'_> {
    fn include(self, asked: Option<&SenderId>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(sender) => asked == Some(sender),
            Self::RepliedTo(sender) => asked.is_none_or(|asked| asked == sender),
        }
    }
}

/// The requests that wait for a confirmation, as one act; `None` if none does.
pub(super) fn confirmation(
    confirming: &Confirming<'_>,
    compiled: &Compiled,
    facts: &Facts,
    history: &[Recorded],
    now: Timestamp,
) -> Result<Option<Act>, Error> {
    let mut requests: Vec<ConfirmedRequest> = Vec::new();
    for grant in waiting(confirming, compiled, facts, now) {
        let Some(terms) = terms_of(grant, history) else {
            // Recorded between our reading and now: whoever repeats will find it.
            return Err(Error::Contended);
        };
        let known = requests
            .iter_mut()
            .find(|known| known.request == grant.mark.event_id);
        match known {
            Some(known) => known.terms.purposes.push(grant.purpose.clone()),
            None => requests.push(ConfirmedRequest {
                request: grant.mark.event_id,
                requested_at: grant.mark.at,
                requested_source: grant.mark.source,
                requested_digest: grant.mark.digest,
                terms: Terms {
                    purposes: vec![grant.purpose.clone()],
                    ..terms.clone()
                },
            }),
        }
    }
    if requests.is_empty() {
        return Ok(None);
    }
    for request in &mut requests {
        request.terms.purposes = sorted(std::mem::take(&mut request.terms.purposes));
    }
    Ok(Some(Act::ConsentConfirmed(Confirmation {
        indication_method: confirming.indication_method,
        requests,
    })))
}

/// The grants that wait for this confirmation.
pub(super) fn waiting<'f>(
    confirming: &Confirming<'_>,
    compiled: &Compiled,
    facts: &'f Facts,
    now: Timestamp,
) -> Vec<&'f Grant> {
    let grants = facts.grants.iter();
    grants
        .filter(|grant| waits(grant, confirming, compiled, facts, now))
        .collect()
}

/// Whether a grant waits for this confirmation: from the address that was asked, and in time.
fn waits(
    grant: &Grant,
    confirming: &Confirming<'_>,
    compiled: &Compiled,
    facts: &Facts,
    now: Timestamp,
) -> bool {
    let rules = &compiled.rules;
    let spelling = confirming.address.spelling();
    let candidates = place::of(confirming.address).jurisdictions.as_slice();
    let event_time = confirming.event_time.min(now);
    let Some(purpose) = compiled.catalog().purposes.get(&grant.purpose) else {
        return false;
    };
    let named = confirming.purposes.is_empty() || confirming.purposes.contains(&grant.purpose);
    let codes = grant
        .jurisdiction
        .as_ref()
        .map_or(candidates, std::slice::from_ref);
    let within = rules
        .requirements_of(codes, now)
        .is_some_and(|required| event_time < grant.mark.at.plus(required.confirmation_within));
    let pending = || awaits_confirmation(grant, facts, rules, purpose, candidates, event_time);
    grant.confirmed_at.is_none()
        && grant.spelling.grants(spelling)
        && facts.speaks(grant, rules.clock_tolerance)
        && named
        && confirming.senders.include(grant.sender.as_ref())
        && event_time > grant.mark.at
        && within
        && pending()
}

fn terms_of<'a>(grant: &Grant, history: &'a [Recorded]) -> Option<&'a Terms> {
    history
        .iter()
        .find_map(|recorded| match &recorded.event.act {
            Act::ConsentGiven(terms) if recorded.event.event_id == grant.mark.event_id => {
                Some(terms)
            }
            _ => None,
        })
}

fn confirmed_purposes(act: &Act, compiled: &Compiled) -> Vec<Purpose> {
    let Act::ConsentConfirmed(confirmation) = act else {
        return Vec::new();
    };
    let keys = confirmation
        .requests
        .iter()
        .flat_map(|request| &request.terms.purposes);
    sorted(keys.cloned().collect())
        .iter()
        .filter_map(|key| compiled.catalog().purposes.get(key).cloned())
        .collect()
}
