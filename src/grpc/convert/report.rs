//! Reports of what was sent, what failed and what a registry said: from the wire, and the answers to it.
//!
//! A failure may be an opt-out, which only its business or recipient can be at fault for: what is
//! wrong with anything else of it goes along, and the use case refuses for it where it matters.

use super::{Fields, enums, proto, wire_duration, wire_time};
use crate::consents::Error;
use crate::consents::delivery::{DeliveryAnswer, DeliveryReport};
use crate::consents::registry::{RegistryAnswer, RegistryRequest};
use crate::consents::send::{Kept, MessageId, SendAnswer, SendReport};
use crate::domain::id::{DecisionId, EventId, PurposeKey, RegistryName, SenderId};

const LIST_VERSION: usize = 256;
const ACTOR: usize = 256;
const MESSAGE_ID: usize = 256;
const ERROR_CODE: usize = 64;
const PROVIDER: usize = 64;
const IDEMPOTENCY_KEY: usize = 128;

pub fn registry_check(
    request: proto::RecordRegistryCheckRequest,
) -> Result<RegistryRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let registry = fields.name("registry", &request.registry, RegistryName::parse);
    let list_version = fields.identifier("list_version", request.list_version, LIST_VERSION);
    let result = fields.required_enum("result", request.result, enums::read_registry_result);
    let checked_at = fields.time("checked_at", request.checked_at);
    let actor = fields.text("actor", request.actor, ACTOR);
    let key = fields.required_id("idempotency_key", request.idempotency_key, IDEMPOTENCY_KEY);
    let parsed = (|| {
        Some(RegistryRequest {
            business: business?,
            recipient: recipient?,
            registry: registry?,
            list_version: list_version.map(|text| Some(text).filter(|text| !text.is_empty()))?,
            result: result?,
            checked_at: checked_at?,
            actor: actor?,
            idempotency_key: key?,
        })
    })();
    fields.finish(parsed)
}

pub fn registry_checked(answer: RegistryAnswer) -> proto::RecordRegistryCheckResponse {
    let (instances_confirmed, waited) = restriction(answer.restricted);
    proto::RecordRegistryCheckResponse {
        event_id: answer.event_id.to_string(),
        consistency_token: answer.token,
        instances_confirmed,
        waited,
    }
}

pub fn send(request: proto::ReportSendRequest) -> Result<SendReport, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let sender = fields.name("sender_id", &request.sender_id, SenderId::parse);
    let purpose = fields.purpose(&request.purpose);
    let class = fields.optional_enum("message_class", request.message_class, enums::read_class);
    let decision_id = decision_id(&mut fields, &request.decision_id);
    let consent_event = consent_event(&mut fields, &request.consent_event_id);
    let message_id = message_id(&mut fields, request.message_id);
    let sent_at = fields.time("sent_at", request.sent_at);
    let parsed = (|| {
        Some(SendReport {
            business: business?,
            recipient: recipient?,
            sender: sender?,
            purpose: purpose?,
            class: class?,
            decision_id: decision_id?,
            consent_event: consent_event?,
            message_id: message_id?,
            sent_at: sent_at?,
        })
    })();
    fields.finish(parsed)
}

pub fn sent(answer: SendAnswer) -> proto::ReportSendResponse {
    let (event_id, consistency_token) = entry(answer.asked);
    proto::ReportSendResponse {
        event_id,
        consistency_token,
    }
}

pub fn delivery(request: proto::ReportDeliveryRequest) -> Result<DeliveryReport, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let error_code = fields.required_id("error_code", request.error_code, ERROR_CODE);
    let mut others = Fields::default();
    let sender = others.name("sender_id", &request.sender_id, SenderId::parse);
    // Checked, and kept nowhere yet.
    others.optional_name("purpose", &request.purpose, PurposeKey::parse);
    others.optional_enum("message_class", request.message_class, enums::read_class);
    let decision_id = decision_id(&mut others, &request.decision_id);
    let consent_event = consent_event(&mut others, &request.consent_event_id);
    let message_id = message_id(&mut others, request.message_id);
    let provider = others.identifier("provider", request.provider, PROVIDER);
    let failed_at = others.time("failed_at", request.failed_at);
    let violations = others.violations();
    if business.is_none() || recipient.is_none() || error_code.is_none() {
        for violation in &violations {
            fields.note(violation.clone());
        }
    }
    let parsed = (|| {
        Some(DeliveryReport {
            business: business?,
            recipient: recipient?,
            error_code: error_code?,
            // What is no name of a provider is one that is not known.
            provider: provider.unwrap_or_else(|| "?".to_owned()),
            sender,
            message_id,
            failed_at,
            decision_id: decision_id.flatten(),
            consent_event: consent_event.flatten(),
            violations,
        })
    })();
    fields.finish(parsed)
}

pub fn failed(answer: DeliveryAnswer) -> proto::ReportDeliveryResponse {
    let (event_id, consistency_token) = entry(answer.kept);
    let (instances_confirmed, waited) = restriction(answer.restricted);
    proto::ReportDeliveryResponse {
        opted_out: answer.opted_out,
        unreachable_until: answer.unreachable_until.map(wire_time),
        limited_until: answer.limited_until.map(wire_time),
        event_id,
        consistency_token,
        instances_confirmed,
        waited,
    }
}

fn message_id(fields: &mut Fields, text: String) -> Option<MessageId> {
    fields
        .required_id("message_id", text, MESSAGE_ID)
        .map(MessageId)
}

fn decision_id(fields: &mut Fields, text: &str) -> Option<Option<DecisionId>> {
    fields.optional_name("decision_id", text, DecisionId::parse)
}

fn consent_event(fields: &mut Fields, text: &str) -> Option<Option<EventId>> {
    if text.is_empty() {
        return Some(None);
    }
    let Ok(id) = uuid::Uuid::parse_str(text) else {
        fields.refuse("consent_event_id", "must be the event_id of a ledger entry");
        return None;
    };
    Some(Some(EventId(id)))
}

/// Id and token of a ledger entry; empty if none was made.
fn entry(kept: Option<Kept>) -> (String, String) {
    kept.map(|kept| (kept.event_id.to_string(), kept.token))
        .unwrap_or_default()
}

fn restriction(
    restricted: Option<(u32, std::time::Duration)>,
) -> (i32, Option<prost_types::Duration>) {
    restricted.map_or((0, None), |(instances, waited)| {
        let instances = i32::try_from(instances).unwrap_or(i32::MAX);
        (instances, Some(wire_duration(waited)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consents::Violation;

    fn person() -> Option<proto::Recipient> {
        Some(proto::Recipient {
            address: Some(proto::recipient::Address::PhoneNumber(
                "+14155559871".into(),
            )),
        })
    }

    fn names(violations: &[Violation]) -> Vec<&str> {
        violations.iter().map(|one| one.field.as_str()).collect()
    }

    fn refused<T: std::fmt::Debug>(read: Result<T, Error>) -> Vec<String> {
        match read {
            Err(Error::Invalid { violations }) => {
                names(&violations).into_iter().map(Into::into).collect()
            }
            other => panic!("refused: {other:?}"),
        }
    }

    #[test]
    fn a_send_names_everything_that_is_wrong_with_it() {
        assert_eq!(
            refused(send(proto::ReportSendRequest::default())),
            [
                "business_id",
                "recipient",
                "sender_id",
                "purpose",
                "message_id",
                "sent_at"
            ]
        );
        let bad = proto::ReportSendRequest {
            business_id: "acme".into(),
            recipient: person(),
            sender_id: "1001".into(),
            purpose: "offers".into(),
            message_class: 99,
            decision_id: "yesterday".into(),
            consent_event_id: "the first".into(),
            message_id: "x".repeat(257),
            sent_at: Some(prost_types::Timestamp::default()),
        };
        assert_eq!(
            refused(send(bad)),
            [
                "message_class",
                "decision_id",
                "consent_event_id",
                "message_id"
            ]
        );
    }

    #[test]
    fn of_a_failure_only_business_recipient_and_code_are_refused_here() {
        let nothing = proto::ReportDeliveryRequest::default();
        assert_eq!(
            refused(delivery(nothing.clone())),
            [
                "business_id",
                "recipient",
                "error_code",
                "sender_id",
                "message_id",
                "failed_at"
            ]
        );
        let spoilt = proto::ReportDeliveryRequest {
            business_id: "acme".into(),
            recipient: person(),
            error_code: "131050".into(),
            purpose: "No Slug".into(),
            message_class: 99,
            decision_id: "yesterday".into(),
            consent_event_id: "the first".into(),
            provider: "x".repeat(65),
            ..nothing
        };
        let read = delivery(spoilt).unwrap();
        assert_eq!(
            names(&read.violations),
            [
                "sender_id",
                "purpose",
                "message_class",
                "decision_id",
                "consent_event_id",
                "message_id",
                "provider",
                "failed_at"
            ]
        );
        assert!(read.sender.is_none() && read.message_id.is_none() && read.failed_at.is_none());
    }

    #[test]
    fn ids_of_messages_show_in_no_debug_output() {
        let read = send(proto::ReportSendRequest {
            business_id: "acme".into(),
            recipient: person(),
            sender_id: "1001".into(),
            purpose: "offers".into(),
            message_id: "wamid.of-somebody".into(),
            sent_at: Some(prost_types::Timestamp::default()),
            ..Default::default()
        });
        let shown = format!("{:?}", read.unwrap());
        assert!(!shown.contains("somebody"), "{shown}");
    }
}
