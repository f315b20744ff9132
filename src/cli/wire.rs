//! Messages of the contract as JSON objects, and times and spans as text.
//!
//! Evidence is personal, and a WhatsApp message id carries the number: it is left out unless the
//! caller asks for it.

use std::collections::HashMap;

use data_encoding::HEXLOWER;

use super::json::{Json, Object};
use crate::grpc::proto::{
    ConsentEvent, ConsentRecord, ConsentState, ConsentType, Declarations, Effect, Erasure,
    ErasureBasis, EventKind, Evidence, ImpliedBasis, IndicationMethod, NoticeRef, RegistryCheck,
    RegistryResult, ReportedMessage, Suppression, SuppressionBasis, WithdrawalMethod,
    WithdrawalScope,
};

/// Whether personal evidence is shown or only which fields of it there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evident {
    Fields,
    Values,
}

/// RFC 3339 in UTC.
pub(super) fn time(at: &prost_types::Timestamp) -> String {
    match jiff::Timestamp::new(at.seconds, at.nanos) {
        Ok(instant) => instant.to_string(),
        Err(_) => format!("{}s", at.seconds),
    }
}

pub(super) fn some_time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    at.map(time)
}

/// To the second, for people.
pub(super) fn short_time(at: Option<&prost_types::Timestamp>) -> String {
    let Some(at) = at else { return String::new() };
    match jiff::Timestamp::new(at.seconds, at.nanos) {
        Ok(instant) => instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => time(at),
    }
}

/// Seconds with as many decimals as needed, as in protobuf's JSON: `4.25s`.
pub(super) fn span(length: &prost_types::Duration) -> String {
    let sign = if length.seconds < 0 || length.nanos < 0 {
        "-"
    } else {
        ""
    };
    let (seconds, nanos) = (length.seconds.unsigned_abs(), length.nanos.unsigned_abs());
    if nanos == 0 {
        return format!("{sign}{seconds}s");
    }
    let decimals = format!("{nanos:09}");
    format!("{sign}{seconds}.{}s", decimals.trim_end_matches('0'))
}

pub(super) fn some_span(length: Option<&prost_types::Duration>) -> Option<String> {
    length.map(span)
}

/// How many instances answer from after what was done.
pub(super) fn instances(confirmed: i32) -> String {
    match confirmed {
        1 => "1 instance".to_owned(),
        many => format!("{many} instances"),
    }
}

/// `signup v3 (pt-BR)`.
pub(super) fn notice_text(notice: &NoticeRef) -> String {
    format!(
        "{} v{} ({})",
        notice.notice_id, notice.version, notice.language
    )
}

/// What a withdrawal or suppression covers, in words.
pub(super) fn scope_text(scope: &WithdrawalScope) -> String {
    let what = if scope.everything {
        "everything".to_owned()
    } else if scope.all_marketing {
        "all marketing".to_owned()
    } else {
        scope.purposes.join(", ")
    };
    match scope.sender_id.as_str() {
        "" => what,
        sender => format!("{what} from sender {sender}"),
    }
}

pub(super) fn record(record: &ConsentRecord) -> Object {
    Object::new()
        .with("purpose", &record.purpose)
        .with("state", super::words::word::<ConsentState>(record.state))
        .word::<Effect>("effect", record.effect)
        .maybe("expires_at", some_time(record.expires_at.as_ref()))
        .text("event_id", &record.event_id)
        .text("sender_id", &record.sender_id)
        .word::<ConsentType>("consent_type", record.consent_type)
        .maybe("given_at", some_time(record.given_at.as_ref()))
        .maybe("confirmed_at", some_time(record.confirmed_at.as_ref()))
        .maybe("notice", record.notice.as_ref().map(notice))
        .text("jurisdiction", &record.jurisdiction)
        .maybe("state_since", some_time(record.state_since.as_ref()))
        .word::<IndicationMethod>("indication_method", record.indication_method)
        .word::<WithdrawalMethod>("withdrawal_method", record.withdrawal_method)
        .word::<ImpliedBasis>("implied_basis", record.implied_basis)
        .text("spelling", &record.spelling)
}

pub(super) fn notice(notice: &NoticeRef) -> Object {
    Object::new()
        .with("notice_id", &notice.notice_id)
        .with("version", notice.version)
        .with("language", &notice.language)
}

pub(super) fn scope(scope: &WithdrawalScope) -> Object {
    let flag = |set: bool| set.then_some(true);
    Object::new()
        .some("purposes", &scope.purposes)
        .maybe("all_marketing", flag(scope.all_marketing))
        .maybe("everything", flag(scope.everything))
        .text("sender_id", &scope.sender_id)
}

pub(super) fn suppression(suppression: &Suppression) -> Object {
    Object::new()
        .text("event_id", &suppression.event_id)
        .maybe("scope", suppression.scope.as_ref().map(scope))
        .word::<SuppressionBasis>("basis", suppression.basis)
        .maybe("since", some_time(suppression.since.as_ref()))
        .maybe("until", some_time(suppression.until.as_ref()))
        .with("made_by_subject", suppression.made_by_subject)
}

pub(super) fn event(event: &ConsentEvent, evident: Evident) -> Object {
    Object::new()
        .with("event_id", &event.event_id)
        .word::<EventKind>("kind", event.kind)
        .word::<ConsentState>("event_state", event.event_state)
        .maybe("event_time", some_time(event.event_time.as_ref()))
        .maybe("recorded_at", some_time(event.recorded_at.as_ref()))
        .maybe("effective_at", some_time(event.effective_at.as_ref()))
        .some("purposes", &event.purposes)
        .maybe("scope", event.scope.as_ref().map(scope))
        .text("sender_id", &event.sender_id)
        .word::<IndicationMethod>("indication_method", event.indication_method)
        .word::<WithdrawalMethod>("withdrawal_method", event.withdrawal_method)
        .word::<ConsentType>("consent_type", event.consent_type)
        .word::<ImpliedBasis>("implied_basis", event.implied_basis)
        .maybe("basis_time", some_time(event.basis_time.as_ref()))
        .maybe("notice", event.notice.as_ref().map(notice))
        .maybe(
            "declarations",
            event.declarations.as_ref().map(declarations),
        )
        .text("jurisdiction", &event.jurisdiction)
        .evidence(event.evidence.as_ref(), evident)
        .object("labels", text_map(&event.labels))
        .text("actor", &event.actor)
        .text("recorded_by", &event.recorded_by)
        .text("import_batch_id", &event.import_batch_id)
        .text("spelling", &event.spelling)
        .with("partition", event.partition)
        .with("offset", event.offset)
        .text("policy_version", &event.policy_version)
        .maybe("copied_from_link", event.copied_from_link.then_some(true))
        .text("refers_to_event_id", &event.refers_to_event_id)
        .maybe("suppression", event.suppression.as_ref().map(suppression))
        .maybe(
            "registry_check",
            event.registry_check.as_ref().map(registry_check),
        )
        .maybe(
            "reported_message",
            event.reported_message.as_ref().map(reported_message),
        )
        .maybe("erasure", event.erasure.as_ref().map(erasure))
}

impl Object {
    fn evidence(self, evidence: Option<&Evidence>, evident: Evident) -> Self {
        let Some(evidence) = evidence else {
            return self;
        };
        match evident {
            Evident::Fields => self.some("evidence_fields", evidence_fields(evidence)),
            Evident::Values => self.object("evidence", evidence_values(evidence)),
        }
    }
}

/// The fields that have a value.
pub(super) fn evidence_fields(evidence: &Evidence) -> Vec<&'static str> {
    let attachments = evidence.attachments.first().map(|_| "attachments");
    let texts = evidence_texts(evidence).into_iter();
    texts
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, _)| name)
        .chain(attachments)
        .collect()
}

/// The fields that are one text each.
pub(super) fn evidence_texts(evidence: &Evidence) -> [(&'static str, &str); 8] {
    [
        ("source_url", &evidence.source_url),
        ("form_id", &evidence.form_id),
        ("message_id", &evidence.message_id),
        ("ip_address", &evidence.ip_address),
        ("user_agent", &evidence.user_agent),
        ("signup_id", &evidence.signup_id),
        ("call_id", &evidence.call_id),
        ("statement", &evidence.statement),
    ]
}

fn evidence_values(evidence: &Evidence) -> Object {
    let attachment = |attachment: &crate::grpc::proto::Attachment| {
        Object::new()
            .with("kind", &attachment.kind)
            .with("sha256", HEXLOWER.encode(&attachment.sha256))
            .text("uri", &attachment.uri)
    };
    evidence_texts(evidence)
        .into_iter()
        .fold(Object::new(), |object, (name, text)| {
            object.text(name, text)
        })
        .some("attachments", evidence.attachments.iter().map(attachment))
}

pub(super) fn declared(declarations: &Declarations) -> [(&'static str, Option<bool>); 4] {
    [
        ("default_unticked", declarations.default_unticked),
        ("separate_from_terms", declarations.separate_from_terms),
        ("whatsapp_named", declarations.whatsapp_named),
        (
            "number_entered_by_subject",
            declarations.number_entered_by_subject,
        ),
    ]
}

fn declarations(declarations: &Declarations) -> Object {
    let fields = declared(declarations).into_iter();
    fields.fold(Object::new(), |object, (name, said)| {
        object.maybe(name, said)
    })
}

fn registry_check(check: &RegistryCheck) -> Object {
    Object::new()
        .with("registry", &check.registry)
        .text("list_version", &check.list_version)
        .word::<RegistryResult>("result", check.result)
        .maybe("checked_at", some_time(check.checked_at.as_ref()))
}

fn erasure(erasure: &Erasure) -> Object {
    Object::new()
        .word::<ErasureBasis>("basis", erasure.basis)
        .text("reason", &erasure.reason)
        .maybe("retained_until", some_time(erasure.retained_until.as_ref()))
}

fn reported_message(message: &ReportedMessage) -> Object {
    Object::new()
        .text("decision_id", &message.decision_id)
        .text("consent_event_id", &message.consent_event_id)
        .text("error_code", &message.error_code)
        .text("provider", &message.provider)
}

/// A map in the order of its keys, so that the same answer prints the same.
pub(super) fn sorted<T>(map: &HashMap<String, T>) -> Vec<(&String, &T)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
}

pub(super) fn text_map(map: &HashMap<String, String>) -> Object {
    sorted(map)
        .into_iter()
        .fold(Object::new(), |object, (key, value)| {
            object.with(key, Json::from(value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos }
    }

    #[test]
    fn times_are_rfc_3339_and_shorter_for_people() {
        let instant = at(1_777_818_127, 250_000_000);
        assert_eq!(time(&instant), "2026-05-03T14:22:07.25Z");
        assert_eq!(short_time(Some(&instant)), "2026-05-03 14:22:07 UTC");
        assert_eq!(short_time(None), "");
        assert_eq!(
            time(&at(i64::MAX, 0)),
            "9223372036854775807s",
            "never a panic"
        );
    }

    #[test]
    fn spans_read_as_protobufs_json() {
        let length = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(span(&length(5, 0)), "5s");
        assert_eq!(span(&length(4, 250_000_000)), "4.25s");
        assert_eq!(span(&length(0, 1_000)), "0.000001s");
        assert_eq!(span(&length(-1, -500_000_000)), "-1.5s");
    }

    fn with_evidence() -> ConsentEvent {
        let attachments = vec![crate::grpc::proto::Attachment {
            kind: "screenshot".to_owned(),
            sha256: vec![0xab; 32],
            uri: String::new(),
        }];
        ConsentEvent {
            event_id: "e1".to_owned(),
            kind: EventKind::Consent.into(),
            evidence: Some(Evidence {
                message_id: "wamid.HBgNNDkxNTExMjM0NTY3OA==".to_owned(),
                attachments,
                ..Evidence::default()
            }),
            labels: HashMap::from([
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]),
            declarations: Some(Declarations {
                whatsapp_named: Some(false),
                ..Declarations::default()
            }),
            offset: 7,
            ..ConsentEvent::default()
        }
    }

    #[test]
    fn an_event_names_its_evidence_and_shows_it_only_when_asked() {
        let hidden = serde_json::to_string(&event(&with_evidence(), Evident::Fields)).unwrap();
        assert_eq!(
            hidden,
            r#"{"event_id":"e1","kind":"CONSENT","declarations":{"whatsapp_named":false},"evidence_fields":["message_id","attachments"],"labels":{"a":"1","b":"2"},"partition":0,"offset":7}"#
        );
        let shown = serde_json::to_string(&event(&with_evidence(), Evident::Values)).unwrap();
        assert!(
            shown.contains(r#""evidence":{"message_id":"wamid."#),
            "{shown}"
        );
    }

    #[test]
    fn a_scope_reads_in_words() {
        let scope = WithdrawalScope {
            purposes: vec!["offers".to_owned(), "news".to_owned()],
            sender_id: "de-1".to_owned(),
            ..WithdrawalScope::default()
        };
        assert_eq!(scope_text(&scope), "offers, news from sender de-1");
        let all = WithdrawalScope {
            everything: true,
            ..WithdrawalScope::default()
        };
        assert_eq!(scope_text(&all), "everything");
    }
}
