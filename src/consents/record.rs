//! Record: a person consented, refused, was asked, or put the question off.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::append::{Begun, Draft, Wait, Write};
use super::error::reason;
use super::idempotency::Key;
use super::known::Absent;
use super::payload::Payload;
use super::withdraw::EARLIEST;
use super::{Consents, Error, Evidence, Recipient, Violation, resolve};
use crate::catalog::{Compiled, Named};
use crate::domain::address::Address;
use crate::domain::catalog::Purpose;
use crate::domain::event::{
    Act, Asked, Declarations, Event, Implied, NoticeShown, Restriction, Scope, Terms, sorted,
};
use crate::domain::evidence::judge_grant;
use crate::domain::facts::Facts;
use crate::domain::id::{
    BusinessId, EventId, ImportBatchId, JurisdictionCode, NoticeRef, PurposeKey, SenderId,
};
use crate::domain::phone::{self, Existence};
use crate::domain::place;
use crate::domain::standing::{effect_of, standing};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    ConsentState, ConsentType, Effect, IndicationMethod, RestrictionKind, TimeSource,
};
use crate::ledger::Rpc;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum EventState {
    Given,
    Requested,
    RequestDeferred,
    Refused,
}

/// An act to be recorded, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct RecordRequest {
    pub business: BusinessId,
    #[serde(skip)]
    pub recipient: Recipient,
    /// In the caller's order; the same purposes in another order are the same content.
    #[serde(serialize_with = "as_set")]
    pub purposes: Vec<PurposeKey>,
    pub sender: Option<SenderId>,
    pub event_time: Timestamp,
    pub event_state: EventState,
    /// Required for GIVEN.
    pub indication_method: Option<IndicationMethod>,
    /// Required for GIVEN.
    pub consent_type: Option<ConsentType>,
    pub implied: Option<Implied>,
    pub notice: Option<NoticeRef>,
    pub evidence: Evidence,
    pub declarations: Declarations,
    pub jurisdiction: Option<JurisdictionCode>,
    pub labels: BTreeMap<String, String>,
    pub actor: String,
    #[serde(skip)]
    pub idempotency_key: String,
    pub import_batch_id: Option<ImportBatchId>,
}

/// Purposes as they are compared: in one order, without duplicates.
pub(super) fn as_set<S: Serializer>(purposes: &[PurposeKey], to: S) -> Result<S::Ok, S::Error> {
    sorted(purposes.to_vec()).serialize(to)
}

/// What the act did, purpose by purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordAnswer {
    pub event_id: EventId,
    pub records: Vec<Record>,
    pub token: String,
}

/// The state of one purpose after the act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub purpose: PurposeKey,
    pub sender: Option<SenderId>,
    pub state: ConsentState,
    pub effect: Effect,
    pub expires_at: Option<Timestamp>,
}

/// The answer as it is stored under its idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredRecords {
    pub event_id: EventId,
    pub records: Vec<Record>,
}

impl RecordRequest {
    pub(super) fn write<'a>(&'a self, compiled: &'a Compiled) -> Write<'a> {
        let (key, recipient) = (&self.idempotency_key, &self.recipient);
        Write {
            rpc: Rpc::RecordConsent,
            business: &self.business,
            compiled,
            recipient,
            payload: Payload::new(&self.evidence, &self.labels, &self.actor),
            key: Some(Key::new(compiled, key, recipient, self)),
        }
    }

    pub(super) fn draft(&self, act: Act, now: Timestamp) -> Draft {
        Draft {
            act,
            event_time: self.event_time.min(now),
            // Also where it was cut to now: for a grant that is the generous bound.
            time_source: TimeSource::Caller,
        }
    }

    pub(super) fn stored(
        &self,
        compiled: &Compiled,
        purposes: &[Purpose],
        event: &Event,
        facts: &Facts,
    ) -> StoredRecords {
        stored_records(compiled, purposes, &self.recipient.address, event, facts)
    }

    /// An answer in the order in which this caller named the purposes.
    pub(super) fn in_order(&self, mut answer: RecordAnswer) -> RecordAnswer {
        let place = |record: &Record| self.purposes.iter().position(|p| *p == record.purpose);
        answer.records.sort_by_key(place);
        answer
    }
}

impl Consents {
    /// Records an act. The same key and content again gives the first answer.
    pub async fn record(&self, request: RecordRequest) -> Result<RecordAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.record_now(&request).await })
            .await
    }

    pub(super) async fn record_now(&self, request: &RecordRequest) -> Result<RecordAnswer, Error> {
        let compiled = self
            .business_with(&request.business, &names(request))
            .await?;
        let write = request.write(&compiled);
        let judged = self.judged(request, &compiled);
        if let Ok((act, purposes)) = &judged
            && let Some(known) = self.known(&write, Absent::Guessed).await
            && let Some(written) = self
                .append_known(
                    &write,
                    known,
                    |_, now| Ok(request.draft(act.clone(), now)),
                    |event, facts| request.stored(&compiled, purposes, event, facts),
                )
                .await?
        {
            return Ok(request.in_order(self.recorded(written)));
        }
        // A refusal restricts, and what restricts is acknowledged on the strength of a write alone.
        let touch = match request.event_state {
            EventState::Refused => Wait::Yes,
            EventState::Given | EventState::Requested | EventState::RequestDeferred => Wait::No,
        };
        let found = match self.begin(&write, touch).await? {
            Begun::Repeated(first) => return Ok(request.in_order(self.recorded(first))),
            Begun::New(found) => found,
        };
        // Only now: a repeat gets the first answer also under newer rules.
        let (act, purposes) = judged?;
        let written = self
            .append_with(
                &write,
                found,
                |_, now| Ok(request.draft(act.clone(), now)),
                |event, facts| request.stored(&compiled, &purposes, event, facts),
            )
            .await?;
        Ok(request.in_order(self.recorded(written)))
    }

    pub(super) fn recorded(&self, written: super::append::Written<StoredRecords>) -> RecordAnswer {
        RecordAnswer {
            event_id: written.answer.event_id,
            records: written.answer.records,
            token: self.token_at(&written.positions),
        }
    }

    fn judged(
        &self,
        request: &RecordRequest,
        compiled: &Compiled,
    ) -> Result<(Act, Vec<Purpose>), Error> {
        Ok((self.judge(request, compiled)?, purposes(request, compiled)?))
    }

    /// The act to be stored, or everything that is wrong with it.
    pub(super) fn judge(&self, request: &RecordRequest, compiled: &Compiled) -> Result<Act, Error> {
        let mut violations = Vec::new();
        let purposes: Vec<(usize, &Purpose)> = request
            .purposes
            .iter()
            .enumerate()
            .filter_map(|(index, key)| {
                resolve::purpose(compiled, key, &format!("purposes[{index}]"))
                    .map(|purpose| (index, purpose))
                    .map_err(|violation| violations.push(violation))
                    .ok()
            })
            .collect();
        let sender = request.sender.as_ref().and_then(|name| {
            resolve::sender(compiled, name, "sender_id")
                .map_err(|violation| violations.push(violation))
                .ok()
        });
        let notice = request.notice.as_ref().and_then(|name| {
            resolve::notice(compiled, name)
                .map_err(|violation| violations.push(violation))
                .ok()
        });
        let now = self.now();
        violations.extend(judge_time(request.event_time, now, compiled));
        let shown = notice.map(|notice| NoticeShown {
            notice: notice.name.clone(),
            sha256: notice.sha256.clone(),
            processing_version: notice.processing_version,
        });
        let sender_id = sender.map(|sender| sender.sender_id.clone());
        let purposes_asked = sorted(request.purposes.clone());
        let asked = || Asked {
            purposes: purposes_asked.clone(),
            sender_id: sender_id.clone(),
            notice: shown.clone(),
        };
        let act = match request.event_state {
            EventState::Requested => Act::ConsentRequested(asked()),
            EventState::RequestDeferred => Act::ConsentRequestDeferred(asked()),
            EventState::Refused => Act::Restricted(Restriction {
                received_by: None,
                kind: RestrictionKind::Refused,
                scope: Scope::Purposes(purposes_asked.clone()),
                sender_id: sender_id.clone(),
                withdrawal_method: None,
                indication_method: request.indication_method,
                notice: shown.clone(),
                import_batch_id: request.import_batch_id.clone(),
            }),
            EventState::Given => {
                let terms = terms(request, compiled, sender_id.clone(), shown.clone());
                let covered = notice.map(|notice| notice.purposes.as_slice());
                // A notice that is unknown has its violation already.
                let unknown_notice = request.notice.is_some() && notice.is_none();
                let address = &request.recipient.address;
                let refusals =
                    judge_grant(address, &terms, covered, &purposes, &compiled.rules, now);
                violations.extend(
                    refusals
                        .into_iter()
                        .filter(|refusal| !(unknown_notice && refusal.field == "notice"))
                        .map(|refusal| {
                            let field = match refusal.field.as_str() {
                                "recipient" => request.recipient.field().to_owned(),
                                _ => refusal.field,
                            };
                            Violation::new(field, refusal.reason.word(), refusal.message)
                        }),
                );
                Act::ConsentGiven(terms)
            }
        };
        if violations.is_empty() {
            Ok(act)
        } else {
            Err(Error::Invalid { violations })
        }
    }
}

/// What is wrong with the time of an act, if anything.
fn judge_time(event_time: Timestamp, now: Timestamp, compiled: &Compiled) -> Option<Violation> {
    if event_time > now.plus(compiled.rules.clock_tolerance) {
        let message = "lies too far in the future";
        return Some(Violation::new(
            "event_time",
            reason::EVENT_TIME_IN_FUTURE,
            message,
        ));
    }
    let message = "lies before WhatsApp's first year, as an instant that was never set does";
    (event_time < EARLIEST).then(|| Violation::new("event_time", reason::FIELD_INVALID, message))
}

pub(super) fn names(request: &RecordRequest) -> Vec<Named<'_>> {
    let purposes = request.purposes.iter().map(Named::Purpose);
    let notice = request.notice.iter().map(Named::Notice);
    let sender = request.sender.iter().map(Named::Sender);
    purposes.chain(notice).chain(sender).collect()
}

pub(super) fn purposes(
    request: &RecordRequest,
    compiled: &Compiled,
) -> Result<Vec<Purpose>, Error> {
    sorted(request.purposes.clone())
        .iter()
        .map(|key| {
            resolve::purpose(compiled, key, "purposes")
                .cloned()
                .map_err(|violation| Error::Invalid {
                    violations: vec![violation],
                })
        })
        .collect()
}

/// What the record says beats the number's prefix; where that leaves several places none is kept, and
/// the strictest of them holds whenever the consent is judged.
pub(super) fn derived_jurisdiction(address: &Address) -> Option<JurisdictionCode> {
    match place::of(address).jurisdictions.as_slice() {
        [one] => Some(*one),
        [] => match phone::existence(address) {
            Existence::Valid(country) => country,
            Existence::Invalid | Existence::NotANumber => None,
        },
        _ => None,
    }
}

fn terms(
    request: &RecordRequest,
    compiled: &Compiled,
    sender_id: Option<SenderId>,
    notice: Option<NoticeShown>,
) -> Terms {
    let jurisdiction = request
        .jurisdiction
        .or_else(|| derived_jurisdiction(&request.recipient.address));
    Terms {
        purposes: sorted(request.purposes.clone()),
        sender_id,
        consent_type: request.consent_type.unwrap_or(ConsentType::Implied),
        implied: request.implied,
        indication_method: request
            .indication_method
            .unwrap_or(IndicationMethod::Import),
        notice,
        declarations: request.declarations,
        evidence: request.evidence.fields(),
        jurisdiction,
        import_batch_id: request.import_batch_id.clone(),
        policy_version: compiled.rules.version().to_string(),
        phone_metadata: phone::METADATA.to_owned(),
    }
}

/// What each purpose stands at after an event, and what the event did to it.
pub(super) fn stored_records(
    compiled: &Compiled,
    purposes: &[Purpose],
    address: &Address,
    event: &Event,
    facts: &Facts,
) -> StoredRecords {
    let rules = &compiled.rules;
    let candidates = &place::of(address).jurisdictions;
    let records = purposes
        .iter()
        .map(|purpose| {
            let (sender, effect) = match &event.act {
                Act::ConsentGiven(terms) => (
                    terms.sender_id.as_ref(),
                    effect_of(facts, rules, purpose, event, terms),
                ),
                Act::ConsentConfirmed(confirmation) => {
                    let request = confirmation
                        .requests
                        .iter()
                        .find(|request| request.terms.purposes.contains(&purpose.key));
                    let sender = request.and_then(|request| request.terms.sender_id.as_ref());
                    let state = standing(
                        facts,
                        rules,
                        purpose,
                        sender,
                        event.spelling,
                        candidates,
                        event.recorded_at,
                    );
                    let applied = state.event == Some(event.event_id);
                    (
                        sender,
                        if applied {
                            Effect::Applied
                        } else {
                            Effect::Superseded
                        },
                    )
                }
                Act::ConsentRequested(asked) | Act::ConsentRequestDeferred(asked) => {
                    (asked.sender_id.as_ref(), Effect::Applied)
                }
                Act::Restricted(restriction) => (restriction.sender_id.as_ref(), Effect::Applied),
                Act::Suppressed(suppression) => (suppression.sender_id.as_ref(), Effect::Applied),
                Act::SuppressionLifted(lift) => (lift.sender_id.as_ref(), Effect::Applied),
                Act::RegistryChecked(_)
                | Act::Linked(_)
                | Act::IdentityChanged(_)
                | Act::DeliveryFailed(_)
                | Act::Reached(_)
                | Act::Erased(_) => (None, Effect::Applied),
            };
            let stands = standing(
                facts,
                rules,
                purpose,
                sender,
                event.spelling,
                candidates,
                event.recorded_at,
            );
            Record {
                purpose: purpose.key.clone(),
                sender: sender.cloned(),
                state: stands.state,
                effect,
                expires_at: stands.expires_at,
            }
        })
        .collect();
    StoredRecords {
        event_id: event.event_id,
        records,
    }
}
