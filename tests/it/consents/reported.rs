//! What senders and BSP adapters report in these tests: sound reports, to be bent where a test needs it.

use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::*;
use tonic::Status;

use super::acts::{fresh_key, wire};
use crate::harness::{ACME, TestServer};

/// A message id as WhatsApp makes them, that no other message has.
pub fn wamid() -> String {
    format!("wamid.HBgL{}", fresh_key())
}

impl TestServer {
    /// A message that goes out now.
    pub fn send(&self, person: &Recipient, purpose: &str) -> ReportSendRequest {
        ReportSendRequest {
            business_id: ACME.into(),
            recipient: Some(person.clone()),
            sender_id: "1001".into(),
            purpose: purpose.into(),
            message_id: wamid(),
            sent_at: Some(wire(self.now())),
            ..ReportSendRequest::default()
        }
    }

    /// A message that just failed with a code of WhatsApp's.
    pub fn failure(&self, person: &Recipient, code: &str) -> ReportDeliveryRequest {
        ReportDeliveryRequest {
            business_id: ACME.into(),
            recipient: Some(person.clone()),
            sender_id: "1001".into(),
            message_id: wamid(),
            error_code: code.into(),
            failed_at: Some(wire(self.now())),
            ..ReportDeliveryRequest::default()
        }
    }

    /// A registry's answer just now.
    pub fn look_up(
        &self,
        person: &Recipient,
        registry: &str,
        result: RegistryResult,
    ) -> RecordRegistryCheckRequest {
        RecordRegistryCheckRequest {
            business_id: ACME.into(),
            recipient: Some(person.clone()),
            registry: registry.into(),
            result: result.into(),
            checked_at: Some(wire(self.now())),
            idempotency_key: fresh_key(),
            ..RecordRegistryCheckRequest::default()
        }
    }

    pub async fn try_send(&self, request: ReportSendRequest) -> Result<ReportSendResponse, Status> {
        Ok(self.client().report_send(request).await?.into_inner())
    }

    pub async fn try_failure(
        &self,
        request: ReportDeliveryRequest,
    ) -> Result<ReportDeliveryResponse, Status> {
        Ok(self.client().report_delivery(request).await?.into_inner())
    }

    pub async fn try_look_up(
        &self,
        request: RecordRegistryCheckRequest,
    ) -> Result<RecordRegistryCheckResponse, Status> {
        let answer = self.client().record_registry_check(request).await?;
        Ok(answer.into_inner())
    }

    /// Reports a message for this purpose as sent now.
    pub async fn sends(&self, person: &Recipient, purpose: &str) -> ReportSendResponse {
        self.try_send(self.send(person, purpose)).await.unwrap()
    }

    /// Reports that a message just failed with this code.
    pub async fn fails(&self, person: &Recipient, code: &str) -> ReportDeliveryResponse {
        self.try_failure(self.failure(person, code)).await.unwrap()
    }

    /// Records what a registry just said.
    pub async fn looks_up(
        &self,
        person: &Recipient,
        registry: &str,
        result: RegistryResult,
    ) -> RecordRegistryCheckResponse {
        let check = self.look_up(person, registry, result);
        self.try_look_up(check).await.unwrap()
    }

    /// The policy of the tests with further columns for the United States and for where nothing is
    /// known.
    pub async fn restart_with_columns(&mut self, columns: &str) {
        let mut text = self.policy();
        for code in ["US", "ZZ"] {
            let head = format!("code = \"{code}\"\n");
            assert!(text.contains(&head), "{code}");
            text = text.replace(&head, &format!("{head}{columns}\n"));
        }
        self.restart_with_policy(&text).await;
    }
}

/// The instant until which a message is deferred.
#[track_caller]
pub fn not_before(answer: &CheckConsentResponse) -> Timestamp {
    assert_eq!(answer.decision(), Decision::Defer, "{answer:?}");
    super::acts::time(answer.not_before)
}
