//! The personal part of an event: evidence, actor, labels. Sealed beside the event, erasable
//! without touching it, and no input of the fold.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, rand};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::id::{DecisionId, EventId};
use crate::domain::json;
use crate::domain::vocabulary::{EvidenceField, EvidenceFields};
use crate::keys::{BusinessKeys, KeyError, Place};

/// What proves an act. Empty: not given.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub form_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signup_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub call_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub statement: String,
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({:?})", self.fields())
    }
}

/// A document kept elsewhere, by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub kind: String,
    /// Hex.
    pub sha256: String,
    pub uri: String,
}

impl Evidence {
    /// Which fields are given.
    pub fn fields(&self) -> EvidenceFields {
        [
            (EvidenceField::SourceUrl, self.source_url.is_empty()),
            (EvidenceField::FormId, self.form_id.is_empty()),
            (EvidenceField::MessageId, self.message_id.is_empty()),
            (EvidenceField::IpAddress, self.ip_address.is_empty()),
            (EvidenceField::UserAgent, self.user_agent.is_empty()),
            (EvidenceField::SignupId, self.signup_id.is_empty()),
            (EvidenceField::CallId, self.call_id.is_empty()),
            (EvidenceField::Attachments, self.attachments.is_empty()),
            (EvidenceField::Statement, self.statement.is_empty()),
        ]
        .into_iter()
        .filter(|(_, empty)| !empty)
        .fold(EvidenceFields::default(), |set, (field, _)| set.with(field))
    }
}

/// What was said of a message of the business's when it was reported. Empty: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reported {
    /// The decision that allowed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decision_id: String,
    /// The event that the decision rested on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consent_event_id: String,
    /// With what code its delivery failed, and whose code it is, both as they came.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
}

impl Reported {
    /// What allowed the message, as far as that was said.
    pub(super) fn of(decision: Option<&DecisionId>, consent: Option<EventId>) -> Self {
        Self {
            decision_id: decision.map(ToString::to_string).unwrap_or_default(),
            consent_event_id: consent.map(|id| id.to_string()).unwrap_or_default(),
            ..Self::default()
        }
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What is sealed. The salt keeps the commitment from being guessed once the payload is gone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    salt: String,
    #[serde(default)]
    pub evidence: Evidence,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    #[serde(default, skip_serializing_if = "Reported::is_nothing")]
    pub reported: Reported,
}

const COLUMN: &str = "event_payload.sealed";

impl Payload {
    /// `None` if there is nothing to keep.
    pub(super) fn new(
        evidence: &Evidence,
        labels: &BTreeMap<String, String>,
        actor: &str,
    ) -> Option<Self> {
        let nothing = *evidence == Evidence::default() && labels.is_empty() && actor.is_empty();
        (!nothing).then(|| Self {
            salt: salt(),
            evidence: evidence.clone(),
            labels: labels.clone(),
            actor: actor.to_owned(),
            reported: Reported::default(),
        })
    }

    /// Of a message that was reported, as sent or as failed; its id is in the evidence.
    pub(super) fn of_report(evidence: Evidence, reported: Reported) -> Self {
        Self {
            salt: salt(),
            evidence,
            labels: BTreeMap::new(),
            actor: String::new(),
            reported,
        }
    }

    fn plain(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(json::bytes(self))
    }

    /// The hash that the event carries.
    pub(super) fn commitment(&self) -> String {
        HEXLOWER.encode(digest::digest(&digest::SHA256, &self.plain()).as_ref())
    }

    pub(super) fn seal(&self, keys: &BusinessKeys, event: EventId) -> Vec<u8> {
        keys.seal(
            Place {
                column: COLUMN,
                row: event.0.as_bytes(),
            },
            &self.plain(),
        )
    }

    pub(super) fn open(
        keys: &BusinessKeys,
        event: EventId,
        sealed: &[u8],
    ) -> Result<Self, OpenError> {
        let plain = keys.open(
            Place {
                column: COLUMN,
                row: event.0.as_bytes(),
            },
            sealed,
        )?;
        Ok(serde_json::from_slice(&plain)?)
    }
}

fn salt() -> String {
    let mut salt = [0; 32];
    rand::fill(&mut salt).expect("the system gives random numbers");
    HEXLOWER.encode(&salt)
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("not a payload: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::BusinessId;
    use crate::keys::Keyring;
    use uuid::Uuid;

    #[test]
    fn a_payload_opens_for_its_event_and_its_commitment_is_salted() {
        let keys = Keyring::generate().business_keys(&BusinessId::parse("acme").unwrap());
        let evidence = Evidence {
            ip_address: "192.0.2.7".into(),
            ..Evidence::default()
        };
        let payload = Payload::new(&evidence, &BTreeMap::new(), "form").unwrap();
        let same = Payload::new(&evidence, &BTreeMap::new(), "form").unwrap();
        assert_ne!(payload.commitment(), same.commitment());
        let event = EventId(Uuid::from_u128(1));
        let sealed = payload.seal(&keys, event);
        assert_eq!(
            Payload::open(&keys, event, &sealed).unwrap().evidence,
            evidence
        );
        assert!(Payload::open(&keys, EventId(Uuid::from_u128(2)), &sealed).is_err());
        assert_eq!(format!("{evidence:?}"), "Evidence({IpAddress})");
    }

    #[test]
    fn nothing_personal_makes_no_payload() {
        assert!(Payload::new(&Evidence::default(), &BTreeMap::new(), "").is_none());
    }
}
