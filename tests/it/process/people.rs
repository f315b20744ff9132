//! What people and senders ask of a gate in these tests.

use consentgate::clock::{Clock, SystemClock};
use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::recipient::Address;
use consentgate::grpc::proto::*;

use super::gate::Gate;

/// Somebody with an American number, where a consent holds without confirmation or end.
pub fn person(number: u32) -> Recipient {
    phone(&format!("+1415{}", 2_000_000 + number))
}

pub fn phone(number: &str) -> Recipient {
    Recipient {
        address: Some(Address::PhoneNumber(number.into())),
    }
}

pub fn now() -> Option<prost_types::Timestamp> {
    Some(instant(SystemClock.now()))
}

/// An instant as the wire has it.
pub fn instant(at: Timestamp) -> prost_types::Timestamp {
    let micros = at.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000)).unwrap() * 1_000,
    }
}

/// A grant that nothing is wrong with, given now.
pub fn grant(person: &Recipient, key: &str) -> RecordConsentRequest {
    RecordConsentRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        purposes: vec!["offers".into()],
        event_time: now(),
        indication_method: IndicationMethod::UntickedCheckbox.into(),
        consent_type: ConsentType::ExplicitlyExpressed.into(),
        notice: Some(NoticeRef {
            notice_id: "signup".into(),
            version: 1,
            language: "en".into(),
        }),
        evidence: Some(evidence(key)),
        idempotency_key: key.into(),
        ..RecordConsentRequest::default()
    }
}

/// An opt-out from everything, now.
pub fn opt_out(person: &Recipient, key: &str) -> WithdrawRequest {
    WithdrawRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        scope: Some(WithdrawalScope {
            everything: true,
            ..WithdrawalScope::default()
        }),
        withdrawal_method: WithdrawalMethod::Keyword.into(),
        evidence: Some(evidence(key)),
        idempotency_key: key.into(),
        ..WithdrawRequest::default()
    }
}

/// Evidence that can be told from that of every other call.
pub fn evidence(key: &str) -> Evidence {
    Evidence {
        statement: format!("said in {key}"),
        ..Evidence::default()
    }
}

/// May the shop send this person an offer?
pub fn question(person: &Recipient) -> CheckConsentRequest {
    CheckConsentRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        purpose: "offers".into(),
        ..CheckConsentRequest::default()
    }
}

pub fn history(person: &Recipient) -> ListConsentEventsRequest {
    ListConsentEventsRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        page_size: 1_000,
        ..ListConsentEventsRequest::default()
    }
}

impl Gate {
    /// Records a consent that is acknowledged; says its event.
    pub async fn agree(&self, person: &Recipient, key: &str) -> String {
        let answer = self.client().record_consent(grant(person, key)).await;
        answer.unwrap().into_inner().records[0].event_id.clone()
    }

    pub async fn decision(&self, person: &Recipient) -> Decision {
        self.check(question(person)).await.decision()
    }

    /// Everything recorded of a person, oldest first.
    pub async fn events(&self, person: &Recipient) -> Vec<ConsentEvent> {
        let answer = self.client().list_consent_events(history(person)).await;
        answer.unwrap().into_inner().events
    }
}
