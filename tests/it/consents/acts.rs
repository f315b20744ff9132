//! What people, forms and senders do in these tests: sound requests, to be bent where a test needs it, and short words
//! for carrying them out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::recipient::Address;
use consentgate::grpc::proto::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{ACME, TestServer};

/// Bends a sound request.
pub type Change<R> = fn(&mut R);

/// Puts a text into one field of a request.
pub type Put<R> = fn(&mut R, String);

/// A decision with its reasons, the decisive one first.
pub type Verdict = (Decision, Vec<Reason>);

pub fn allow(reason: Reason) -> Verdict {
    (Decision::Allow, vec![reason])
}

pub fn deny(reasons: &[Reason]) -> Verdict {
    (Decision::Deny, reasons.to_vec())
}

/// Somebody with an American number, where a consent holds without confirmation or end.
pub fn person(number: u32) -> Recipient {
    phone(&format!("+1415{}", 2_000_000 + number))
}

pub fn phone(number: &str) -> Recipient {
    recipient(Address::PhoneNumber(number.into()))
}

pub fn wa_id(digits: &str) -> Recipient {
    recipient(Address::WaId(digits.into()))
}

pub fn user_id(id: &str) -> Recipient {
    recipient(Address::BusinessScopedUserId(id.into()))
}

fn recipient(address: Address) -> Recipient {
    Recipient {
        address: Some(address),
    }
}

pub fn keys(purposes: &[&str]) -> Vec<String> {
    purposes.iter().map(ToString::to_string).collect()
}

pub fn wire(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000)).unwrap() * 1_000,
    }
}

pub fn time(wire: Option<prost_types::Timestamp>) -> Timestamp {
    let wire = wire.expect("the time is set");
    Timestamp::from_micros(wire.seconds * 1_000_000 + i64::from(wire.nanos / 1_000))
}

pub fn before(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(time.as_micros() - i64::try_from(by.as_micros()).unwrap())
}

/// A key that no other call of the test run has.
pub fn fresh_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn of_purposes(purposes: &[&str]) -> WithdrawalScope {
    WithdrawalScope {
        purposes: keys(purposes),
        ..WithdrawalScope::default()
    }
}

pub fn all_marketing() -> WithdrawalScope {
    WithdrawalScope {
        all_marketing: true,
        ..WithdrawalScope::default()
    }
}

pub fn everything() -> WithdrawalScope {
    WithdrawalScope {
        everything: true,
        ..WithdrawalScope::default()
    }
}

/// Narrows a scope to one sender.
pub fn at_sender(scope: WithdrawalScope, sender: &str) -> WithdrawalScope {
    WithdrawalScope {
        sender_id: sender.into(),
        ..scope
    }
}

pub fn question(person: &Recipient, purpose: &str) -> CheckConsentRequest {
    CheckConsentRequest {
        business_id: ACME.into(),
        recipient: Some(person.clone()),
        purpose: purpose.into(),
        ..CheckConsentRequest::default()
    }
}

pub fn batch(people: &[Recipient], purpose: &str) -> BatchCheckConsentRequest {
    BatchCheckConsentRequest {
        business_id: ACME.into(),
        recipients: people.to_vec(),
        purpose: purpose.into(),
        ..BatchCheckConsentRequest::default()
    }
}

pub fn standing_of(person: &Recipient) -> GetConsentRequest {
    GetConsentRequest {
        business_id: ACME.into(),
        recipient: Some(person.clone()),
        ..GetConsentRequest::default()
    }
}

pub fn history_of(person: &Recipient) -> ListConsentEventsRequest {
    ListConsentEventsRequest {
        business_id: ACME.into(),
        recipient: Some(person.clone()),
        ..ListConsentEventsRequest::default()
    }
}

pub fn signup_notice() -> NoticeRef {
    NoticeRef {
        notice_id: "signup".into(),
        version: 1,
        language: "en".into(),
    }
}

impl TestServer {
    /// A grant that nothing is wrong with, given now.
    pub fn grant(&self, person: &Recipient, purposes: &[&str]) -> RecordConsentRequest {
        RecordConsentRequest {
            business_id: ACME.into(),
            recipient: Some(person.clone()),
            purposes: keys(purposes),
            event_time: Some(wire(self.now())),
            indication_method: IndicationMethod::UntickedCheckbox.into(),
            consent_type: ConsentType::ExplicitlyExpressed.into(),
            notice: Some(signup_notice()),
            idempotency_key: fresh_key(),
            ..RecordConsentRequest::default()
        }
    }

    /// An opt-out now, by a clock of the caller's that runs as ours does.
    pub fn opt_out(&self, person: &Recipient, scope: WithdrawalScope) -> WithdrawRequest {
        WithdrawRequest {
            business_id: ACME.into(),
            recipient: Some(person.clone()),
            scope: Some(scope),
            event_time: Some(wire(self.now())),
            withdrawal_method: WithdrawalMethod::Keyword.into(),
            idempotency_key: fresh_key(),
            ..WithdrawRequest::default()
        }
    }

    /// A confirmation now of everything that waits for one.
    pub fn confirmation(&self, person: &Recipient) -> ConfirmConsentRequest {
        ConfirmConsentRequest {
            business_id: ACME.into(),
            recipient: Some(person.clone()),
            event_time: Some(wire(self.now())),
            indication_method: IndicationMethod::ConfirmationLink.into(),
            idempotency_key: fresh_key(),
            ..ConfirmConsentRequest::default()
        }
    }

    /// A text message of a person to a sender, now by WhatsApp's clock.
    pub fn message(&self, person: &Recipient, text: &str) -> ReportInboundRequest {
        ReportInboundRequest {
            business_id: ACME.into(),
            sender_id: "1001".into(),
            recipient: Some(person.clone()),
            message_id: fresh_key(),
            received_at: Some(wire(self.now())),
            kind: InboundKind::Text.into(),
            text: text.into(),
            ..ReportInboundRequest::default()
        }
    }

    /// A person writes.
    pub async fn hears(&self, person: &Recipient, text: &str) -> ReportInboundResponse {
        let message = self.message(person, text);
        self.try_inbound(message).await.unwrap()
    }

    pub async fn gives(&self, person: &Recipient, purposes: &[&str]) -> RecordConsentResponse {
        let grant = self.grant(person, purposes);
        self.try_record(grant).await.unwrap()
    }

    pub async fn withdraws(&self, person: &Recipient, scope: WithdrawalScope) -> WithdrawResponse {
        let opt_out = self.opt_out(person, scope);
        self.try_withdraw(opt_out).await.unwrap()
    }

    pub async fn confirms(&self, person: &Recipient) -> ConfirmConsentResponse {
        let confirmation = self.confirmation(person);
        self.try_confirm(confirmation).await.unwrap()
    }

    pub async fn check(&self, person: &Recipient, purpose: &str) -> CheckConsentResponse {
        self.try_check(question(person, purpose)).await.unwrap()
    }

    pub async fn verdict(&self, person: &Recipient, purpose: &str) -> Verdict {
        verdict_of(&self.check(person, purpose).await)
    }

    /// As [`TestServer::verdict`], from one sender.
    pub async fn verdict_from(&self, sender: &str, person: &Recipient, purpose: &str) -> Verdict {
        let question = CheckConsentRequest {
            sender_id: sender.into(),
            ..question(person, purpose)
        };
        verdict_of(&self.try_check(question).await.unwrap())
    }

    /// The states of all purposes of a person: purpose, sender, state.
    pub async fn states(&self, person: &Recipient) -> Vec<(String, String, ConsentState)> {
        let answer = self.try_get(standing_of(person)).await.unwrap();
        let state = |record: ConsentRecord| {
            let state = record.state();
            (record.purpose, record.sender_id, state)
        };
        answer.records.into_iter().map(state).collect()
    }

    /// The state of the one purpose that a person has anything recorded for.
    pub async fn state(&self, person: &Recipient) -> ConsentState {
        match self.states(person).await.as_slice() {
            [(_, _, state)] => *state,
            states => panic!("not one state: {states:?}"),
        }
    }

    /// The state of one purpose of a person.
    pub async fn state_of(&self, person: &Recipient, purpose: &str) -> ConsentState {
        let of_purpose = GetConsentRequest {
            purpose: purpose.into(),
            ..standing_of(person)
        };
        let answer = self.try_get(of_purpose).await.unwrap();
        answer.records[0].state()
    }

    /// A person's whole history, in one page.
    pub async fn events(&self, person: &Recipient) -> Vec<ConsentEvent> {
        let answer = self.try_events(history_of(person)).await.unwrap();
        assert_eq!(answer.next_page_token, "");
        answer.events
    }
}

pub fn verdict_of(answer: &CheckConsentResponse) -> Verdict {
    (answer.decision(), answer.reasons().collect())
}

/// Asserts that a call was refused as INVALID_ARGUMENT with this reason first, and exactly these fields.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, reason: &str, fields: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(
        (reason_of(&status).as_str(), fields_of(&status)),
        (reason, fields.iter().map(ToString::to_string).collect()),
        "{status}"
    );
}

/// `ErrorInfo.reason`, whose domain must be ours.
#[track_caller]
pub fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo: {status}"));
    assert_eq!(info.domain, "consentgate");
    info.reason
}

/// The fields that `BadRequest` names.
pub fn fields_of(status: &Status) -> Vec<String> {
    let Some(bad_request) = status.get_details_bad_request() else {
        return Vec::new();
    };
    let violations = bad_request.field_violations.into_iter();
    violations.map(|violation| violation.field).collect()
}
