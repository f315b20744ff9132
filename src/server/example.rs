//! The example that `serve --example` loads: a shop with a catalogue and a consent log.
//!
//! Each line of the log is read as the request that it stands for and goes the way of every other
//! record, with an idempotency key of its own: loading it again at the next start changes nothing.

use std::collections::HashMap;

use serde::Deserialize;

use super::Error;
use crate::consents::Consents;
use crate::domain;
use crate::grpc::convert::{WireTimestamp as Timestamp, wire_time, write};
use crate::grpc::proto;

/// The catalogue of `examples/acme`.
pub(super) const CATALOG: &str = include_str!("../../examples/acme/catalog.toml");
const LOG: &str = include_str!("../../examples/acme/consents.csv");

/// One line; `examples/acme/README.md` says what each column means. Empty: unset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    action: Action,
    business_id: String,
    recipient_kind: Kind,
    recipient: String,
    purposes: String,
    sender_id: String,
    event_time: String,
    event_state: String,
    indication_method: String,
    consent_type: String,
    notice_id: String,
    notice_version: Option<i32>,
    notice_language: String,
    declarations: String,
    jurisdiction: String,
    scope: String,
    withdrawal_method: String,
    source_url: String,
    form_id: String,
    message_id: String,
    ip_address: String,
    user_agent: String,
    signup_id: String,
    call_id: String,
    statement: String,
    labels: String,
    actor: String,
    idempotency_key: String,
    import_batch_id: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Record,
    Confirm,
    Withdraw,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    PhoneNumber,
    WaId,
    BusinessScopedUserId,
}

/// Loads the consent log, line by line: it is in the order of arrival.
pub(super) async fn load(consents: &Consents) -> Result<(), Error> {
    let mut reader = csv::Reader::from_reader(LOG.as_bytes());
    let mut count = 0_u32;
    for (index, line) in reader.deserialize::<Line>().enumerate() {
        let at = |fault: &dyn std::fmt::Display| {
            Error::Example(format!(
                "examples/acme/consents.csv, record {}: {fault}",
                index + 1
            ))
        };
        let line = line.map_err(|fault| at(&fault))?;
        line.apply(consents).await.map_err(|fault| at(&fault))?;
        count += 1;
    }
    tracing::info!(records = count, "the example's consent log is loaded");
    Ok(())
}

impl Line {
    async fn apply(self, consents: &Consents) -> Result<(), crate::consents::Error> {
        match self.action {
            Action::Record => {
                consents.record(write::record(self.record())?).await?;
            }
            Action::Confirm => {
                consents.confirm(write::confirm(self.confirm())?).await?;
            }
            Action::Withdraw => {
                consents.withdraw(write::withdraw(self.withdraw())?).await?;
            }
        }
        Ok(())
    }

    fn record(&self) -> proto::RecordConsentRequest {
        proto::RecordConsentRequest {
            business_id: self.business_id.clone(),
            recipient: Some(self.recipient()),
            purposes: list(&self.purposes),
            sender_id: self.sender_id.clone(),
            event_time: time(&self.event_time),
            event_state: word(
                &self.event_state,
                "CONSENT_STATE",
                proto::ConsentState::from_str_name,
            ),
            indication_method: self.method(),
            consent_type: word(
                &self.consent_type,
                "CONSENT_TYPE",
                proto::ConsentType::from_str_name,
            ),
            notice: self.notice(),
            evidence: Some(self.evidence()),
            declarations: Some(self.declarations()),
            jurisdiction: self.jurisdiction.clone(),
            labels: self.labels(),
            actor: self.actor.clone(),
            idempotency_key: self.idempotency_key.clone(),
            import_batch_id: self.import_batch_id.clone(),
            ..proto::RecordConsentRequest::default()
        }
    }

    fn confirm(&self) -> proto::ConfirmConsentRequest {
        proto::ConfirmConsentRequest {
            business_id: self.business_id.clone(),
            recipient: Some(self.recipient()),
            purposes: list(&self.purposes),
            sender_id: self.sender_id.clone(),
            event_time: time(&self.event_time),
            indication_method: self.method(),
            evidence: Some(self.evidence()),
            actor: self.actor.clone(),
            idempotency_key: self.idempotency_key.clone(),
        }
    }

    fn withdraw(&self) -> proto::WithdrawRequest {
        let scope = proto::WithdrawalScope {
            purposes: if self.scope == "purposes" {
                list(&self.purposes)
            } else {
                Vec::new()
            },
            all_marketing: self.scope == "all_marketing",
            everything: self.scope == "everything",
            sender_id: self.sender_id.clone(),
        };
        proto::WithdrawRequest {
            business_id: self.business_id.clone(),
            recipient: Some(self.recipient()),
            scope: Some(scope),
            event_time: time(&self.event_time),
            withdrawal_method: word(
                &self.withdrawal_method,
                "WITHDRAWAL_METHOD",
                proto::WithdrawalMethod::from_str_name,
            ),
            evidence: Some(self.evidence()),
            actor: self.actor.clone(),
            idempotency_key: self.idempotency_key.clone(),
        }
    }

    fn recipient(&self) -> proto::Recipient {
        use proto::recipient::Address;
        let text = self.recipient.clone();
        let address = match self.recipient_kind {
            Kind::PhoneNumber => Address::PhoneNumber(text),
            Kind::WaId => Address::WaId(text),
            Kind::BusinessScopedUserId => Address::BusinessScopedUserId(text),
        };
        proto::Recipient {
            address: Some(address),
        }
    }

    fn method(&self) -> i32 {
        let read = proto::IndicationMethod::from_str_name;
        word(&self.indication_method, "INDICATION_METHOD", read)
    }

    fn notice(&self) -> Option<proto::NoticeRef> {
        (!self.notice_id.is_empty()).then(|| proto::NoticeRef {
            notice_id: self.notice_id.clone(),
            version: self.notice_version.unwrap_or_default(),
            language: self.notice_language.clone(),
        })
    }

    fn evidence(&self) -> proto::Evidence {
        proto::Evidence {
            source_url: self.source_url.clone(),
            form_id: self.form_id.clone(),
            message_id: self.message_id.clone(),
            ip_address: self.ip_address.clone(),
            user_agent: self.user_agent.clone(),
            signup_id: self.signup_id.clone(),
            call_id: self.call_id.clone(),
            attachments: Vec::new(),
            statement: self.statement.clone(),
        }
    }

    /// The column names those that are true; the rest is unset.
    fn declarations(&self) -> proto::Declarations {
        let declared = list(&self.declarations);
        let yes = |name: &str| declared.iter().any(|one| one == name).then_some(true);
        proto::Declarations {
            default_unticked: yes("default_unticked"),
            separate_from_terms: yes("separate_from_terms"),
            whatsapp_named: yes("whatsapp_named"),
            number_entered_by_subject: yes("number_entered_by_subject"),
        }
    }

    fn labels(&self) -> HashMap<String, String> {
        let pairs = list(&self.labels);
        pairs
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(';')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// An enum's word without its prefix. One that is not known becomes a number that is not known
/// either, so that it is refused like any other.
fn word<E: Into<i32>>(text: &str, prefix: &str, read: impl Fn(&str) -> Option<E>) -> i32 {
    match text {
        "" => 0,
        text => read(&format!("{prefix}_{text}")).map_or(-1, Into::into),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(wire_time(domain::time::Timestamp::from_micros(
        time.as_microsecond(),
    )))
}
