//! The people of the benchmarks and the messages about them: numbers that a country's plan allows, one for each index,
//! and requests as bytes. Measures nothing.
//!
//! Numbers are of the United Kingdom's mobile range 71 to 73: 300 million of them are valid, so any index below that
//! has one of its own.

use bytes::{BufMut, Bytes, BytesMut};
use consentgate::grpc::proto;
use prost::Message;

pub const BUSINESS: &str = "acme";
pub const PURPOSE: &str = "offers";
pub const CHECK: &str = "/consentgate.v1.ConsentService/CheckConsent";
pub const BATCH: &str = "/consentgate.v1.ConsentService/BatchCheckConsent";
pub const RECORD: &str = "/consentgate.v1.ConsentService/RecordConsent";
pub const WITHDRAW: &str = "/consentgate.v1.ConsentService/Withdraw";

/// The rules that come with the service, except that these people may be written to at nearly any hour: what is measured
/// must not depend on the time of day. Not at all hours: that these never end takes longer to find than an end that is near.
///
/// # Panics
///
/// If the rules say nothing of the country's hours any more.
pub fn policy() -> String {
    let whole = include_str!("../../policy/default.toml");
    let hours = |text: &str| {
        let (before, country) = text.split_once("code = \"GB\"")?;
        let (rules, after) = country.split_once("mon-sun = \"")?;
        let (_, after) = after.split_once('"')?;
        Some(format!(
            "{before}code = \"GB\"{rules}mon-sun = \"00:00-23:59\"{after}"
        ))
    };
    hours(whole).expect("the rules have hours for GB")
}

/// The number of the person with this index.
pub fn number(index: u64) -> String {
    format!("+44{}", 7_100_000_000 + index)
}

fn recipient(index: u64) -> proto::Recipient {
    proto::Recipient {
        address: Some(proto::recipient::Address::PhoneNumber(number(index))),
    }
}

/// A message as gRPC frames it: not compressed, its length, itself (gRPC over HTTP/2, "Length-Prefixed-Message").
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("messages of the benchmark are small"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

/// May an offer be sent to this person?
pub fn check(index: u64) -> proto::CheckConsentRequest {
    proto::CheckConsentRequest {
        business_id: BUSINESS.into(),
        recipient: Some(recipient(index)),
        purpose: PURPOSE.into(),
        ..Default::default()
    }
}

/// The same for many.
pub fn batch(indices: impl IntoIterator<Item = u64>) -> proto::BatchCheckConsentRequest {
    proto::BatchCheckConsentRequest {
        business_id: BUSINESS.into(),
        purpose: PURPOSE.into(),
        recipients: indices.into_iter().map(recipient).collect(),
        ..Default::default()
    }
}

/// The same question for an audience that follows in chunks.
pub fn question() -> proto::StreamCheckConsentRequest {
    let question = proto::StreamCheckQuestion {
        business_id: BUSINESS.into(),
        purpose: PURPOSE.into(),
        ..Default::default()
    };
    let payload = proto::stream_check_consent_request::Payload::Question(question);
    proto::StreamCheckConsentRequest {
        payload: Some(payload),
    }
}

/// A chunk of that audience.
pub fn chunk(indices: impl IntoIterator<Item = u64>) -> proto::StreamCheckConsentRequest {
    let recipients = proto::StreamCheckRecipients {
        recipients: indices.into_iter().map(recipient).collect(),
    };
    let payload = proto::stream_check_consent_request::Payload::Recipients(recipients);
    proto::StreamCheckConsentRequest {
        payload: Some(payload),
    }
}

/// A grant on a web form, as the example's shop records them.
pub fn record(index: u64, key: &str) -> proto::RecordConsentRequest {
    proto::RecordConsentRequest {
        business_id: BUSINESS.into(),
        recipient: Some(recipient(index)),
        purposes: vec![PURPOSE.into()],
        event_time: Some(now()),
        indication_method: proto::IndicationMethod::UntickedCheckbox.into(),
        consent_type: proto::ConsentType::Expressed.into(),
        notice: Some(proto::NoticeRef {
            notice_id: "signup".into(),
            version: 1,
            language: "en".into(),
        }),
        evidence: Some(proto::Evidence {
            source_url: "https://shop.acme-outdoor.example/checkout".into(),
            form_id: "checkout-contact".into(),
            ip_address: "203.0.113.99".into(),
            ..Default::default()
        }),
        declarations: Some(proto::Declarations {
            default_unticked: Some(true),
            separate_from_terms: Some(true),
            whatsapp_named: Some(true),
            number_entered_by_subject: Some(true),
        }),
        jurisdiction: "GB".into(),
        actor: "web-checkout".into(),
        idempotency_key: format!("{key}-{index}"),
        ..Default::default()
    }
}

/// A bare STOP.
pub fn withdraw(index: u64, key: &str) -> proto::WithdrawRequest {
    proto::WithdrawRequest {
        business_id: BUSINESS.into(),
        recipient: Some(recipient(index)),
        scope: Some(proto::WithdrawalScope {
            all_marketing: true,
            ..Default::default()
        }),
        event_time: Some(now()),
        withdrawal_method: proto::WithdrawalMethod::Keyword.into(),
        idempotency_key: format!("{key}-{index}"),
        ..Default::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person acts now, by everybody's clock"
)]
fn now() -> prost_types::Timestamp {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_a_number_of_its_own_with_ten_digits() {
        assert_eq!(number(0), "+447100000000");
        assert_eq!(number(12_345_678), "+447112345678");
    }

    #[test]
    fn a_frame_tells_the_length_of_its_message() {
        let message = check(7);
        let frame = framed(&message);
        let length = u8::try_from(message.encoded_len()).unwrap();
        assert_eq!(frame[..5], [0, 0, 0, 0, length]);
        assert_eq!(frame.len(), 5 + usize::from(length));
    }
}
