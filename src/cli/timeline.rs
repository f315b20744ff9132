//! A person's history for reading: for each act when it happened, what it was, and below it how,
//! on which notice, with which evidence.

use super::table;
use super::wire::{self, Evident, short_time};
use super::words::{known, word};
use crate::grpc::proto::{
    ConsentEvent, ConsentState, ConsentType, ErasureBasis, EventKind, ImpliedBasis,
    IndicationMethod, RegistryResult, SuppressionBasis, WithdrawalMethod,
};

/// The events, oldest act first. Acts that were reported late stand where they belong.
pub(super) fn text(events: &[ConsentEvent], evident: Evident) -> String {
    let mut order: Vec<_> = events.iter().collect();
    order.sort_by_key(|event| event.effective_at.map(|at| (at.seconds, at.nanos)));
    let acts: Vec<_> = order.into_iter().map(|event| act(event, evident)).collect();
    acts.join("\n\n")
}

fn act(event: &ConsentEvent, evident: Evident) -> String {
    let when = short_time(event.effective_at.as_ref().or(event.event_time.as_ref()));
    let mut rows = vec![
        ("how", how(event)),
        ("purposes", event.purposes.join(", ")),
        (
            "scope",
            event
                .scope
                .as_ref()
                .map(wire::scope_text)
                .unwrap_or_default(),
        ),
        ("sender", event.sender_id.clone()),
        (
            "notice",
            event
                .notice
                .as_ref()
                .map(wire::notice_text)
                .unwrap_or_default(),
        ),
        ("declared", declared(event)),
        ("suppression", suppression(event)),
        ("registry", registry(event)),
        ("message", message(event)),
        ("erased", erasure(event)),
        ("jurisdiction", event.jurisdiction.clone()),
    ];
    rows.extend(evidence(event, evident));
    rows.extend([
        ("labels", pairs(wire::sorted(&event.labels))),
        ("recorded by", event.actor.clone()),
        ("import", event.import_batch_id.clone()),
        ("spelling", event.spelling.clone()),
        ("reported", reported(event)),
        ("refers to", event.refers_to_event_id.clone()),
        ("event", event_text(event)),
    ]);
    format!(
        "{when}  {}\n{}",
        what(event),
        table::indented(&table::list(rows))
    )
}

fn what(event: &ConsentEvent) -> String {
    let kind = word::<EventKind>(event.kind);
    match known::<ConsentState>(event.event_state) {
        Some(state) if state != kind => format!("{kind} {state}"),
        _ => kind,
    }
}

fn how(event: &ConsentEvent) -> String {
    let basis_time = event.basis_time.as_ref().map(|at| short_time(Some(at)));
    let parts = [
        known::<IndicationMethod>(event.indication_method),
        known::<WithdrawalMethod>(event.withdrawal_method),
        known::<ConsentType>(event.consent_type),
        known::<ImpliedBasis>(event.implied_basis),
        basis_time,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn declared(event: &ConsentEvent) -> String {
    let Some(declarations) = &event.declarations else {
        return String::new();
    };
    let said = wire::declared(declarations).into_iter();
    let said = said.filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    said.collect::<Vec<_>>().join(", ")
}

fn suppression(event: &ConsentEvent) -> String {
    let Some(suppression) = &event.suppression else {
        return String::new();
    };
    let basis = word::<SuppressionBasis>(suppression.basis);
    let scope = suppression
        .scope
        .as_ref()
        .map(wire::scope_text)
        .unwrap_or_default();
    match &suppression.until {
        Some(until) => format!("{basis}, {scope}, until {}", short_time(Some(until))),
        None => format!("{basis}, {scope}"),
    }
}

fn registry(event: &ConsentEvent) -> String {
    let Some(check) = &event.registry_check else {
        return String::new();
    };
    let result = word::<RegistryResult>(check.result);
    format!("{} {}: {result}", check.registry, check.list_version)
}

fn erasure(event: &ConsentEvent) -> String {
    let Some(erasure) = &event.erasure else {
        return String::new();
    };
    let basis = word::<ErasureBasis>(erasure.basis);
    let until = erasure.retained_until.as_ref();
    let until = until.map(|until| format!("evidence kept until {}", short_time(Some(until))));
    let said = [Some(basis), until, Some(erasure.reason.clone())];
    let said = said.into_iter().flatten().filter(|text| !text.is_empty());
    said.collect::<Vec<_>>().join(", ")
}

/// What was said of the message that the entry came of.
fn message(event: &ConsentEvent) -> String {
    let Some(message) = &event.reported_message else {
        return String::new();
    };
    let provider = match message.provider.as_str() {
        "" => "whatsapp",
        named => named,
    };
    let said = [
        (format!("failed with {provider} "), &message.error_code),
        ("allowed by decision ".to_owned(), &message.decision_id),
        ("resting on ".to_owned(), &message.consent_event_id),
    ];
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(what, text)| what + text)
        .collect::<Vec<_>>()
        .join(", ")
}

fn evidence(event: &ConsentEvent, evident: Evident) -> Vec<(&'static str, String)> {
    let Some(evidence) = &event.evidence else {
        return Vec::new();
    };
    match evident {
        Evident::Fields => vec![("evidence", wire::evidence_fields(evidence).join(", "))],
        Evident::Values => {
            let texts = wire::evidence_texts(evidence).into_iter();
            let texts = texts.map(|(name, text)| (name, text.to_owned()));
            let attachments = evidence.attachments.iter().map(|attachment| {
                let digest = data_encoding::HEXLOWER.encode(&attachment.sha256);
                (
                    "attachment",
                    format!("{} {} sha256:{digest}", attachment.kind, attachment.uri),
                )
            });
            texts.chain(attachments).collect()
        }
    }
}

/// When the ledger heard of it, if that was later than the act.
fn reported(event: &ConsentEvent) -> String {
    let second = |at: &Option<prost_types::Timestamp>| at.as_ref().map(|at| at.seconds);
    if second(&event.recorded_at) == second(&event.effective_at) {
        String::new()
    } else {
        short_time(event.recorded_at.as_ref())
    }
}

fn event_text(event: &ConsentEvent) -> String {
    let copied = if event.copied_from_link {
        ", copied from the linked address"
    } else {
        ""
    };
    format!(
        "{} at {}/{}{copied}",
        event.event_id, event.partition, event.offset
    )
}

fn pairs(pairs: Vec<(&String, &String)>) -> String {
    pairs
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::{Declarations, Evidence, NoticeRef, ReportedMessage, WithdrawalScope};

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn grant() -> ConsentEvent {
        ConsentEvent {
            event_id: "e1".to_owned(),
            kind: EventKind::Consent.into(),
            event_state: ConsentState::Given.into(),
            event_time: at(1_777_818_127),
            effective_at: at(1_777_818_127),
            recorded_at: at(1_777_818_200),
            purposes: vec!["offers".to_owned(), "news".to_owned()],
            indication_method: IndicationMethod::UntickedCheckbox.into(),
            consent_type: ConsentType::ExplicitlyExpressed.into(),
            notice: Some(NoticeRef {
                notice_id: "signup".to_owned(),
                version: 3,
                language: "de".to_owned(),
            }),
            declarations: Some(Declarations {
                default_unticked: Some(true),
                whatsapp_named: Some(false),
                ..Declarations::default()
            }),
            evidence: Some(Evidence {
                source_url: "https://acme.example/join".to_owned(),
                ip_address: "192.0.2.7".to_owned(),
                ..Evidence::default()
            }),
            partition: 17,
            offset: 3,
            ..ConsentEvent::default()
        }
    }

    #[test]
    fn an_act_says_when_what_how_and_on_which_notice() {
        assert_eq!(
            text(&[grant()], Evident::Fields),
            "2026-05-03 14:22:07 UTC  CONSENT GIVEN\n  \
             how       UNTICKED_CHECKBOX, EXPLICITLY_EXPRESSED\n  \
             purposes  offers, news\n  \
             notice    signup v3 (de)\n  \
             declared  default_unticked=true, whatsapp_named=false\n  \
             evidence  source_url, ip_address\n  \
             reported  2026-05-03 14:23:20 UTC\n  \
             event     e1 at 17/3"
        );
    }

    #[test]
    fn a_failed_message_says_with_what_code_and_on_what_it_rested() {
        let failed = ConsentEvent {
            event_id: "e9".to_owned(),
            kind: EventKind::DeliveryFailed.into(),
            event_time: at(1_777_818_127),
            effective_at: at(1_777_818_127),
            recorded_at: at(1_777_818_127),
            sender_id: "de-1".to_owned(),
            reported_message: Some(ReportedMessage {
                decision_id: "d1".to_owned(),
                consent_event_id: "e1".to_owned(),
                error_code: "63024".to_owned(),
                provider: "twilio".to_owned(),
            }),
            ..ConsentEvent::default()
        };
        let shown = text(std::slice::from_ref(&failed), Evident::Fields);
        let said = "failed with twilio 63024, allowed by decision d1, resting on e1";
        assert!(shown.contains(said), "{shown}");
        let json = serde_json::to_string(&wire::event(&failed, Evident::Fields)).unwrap();
        let said = concat!(
            r#""reported_message":{"decision_id":"d1","consent_event_id":"e1","#,
            r#""error_code":"63024","provider":"twilio"}"#
        );
        assert!(json.contains(said), "{json}");
    }

    #[test]
    fn evidence_is_shown_when_asked_for() {
        let shown = text(&[grant()], Evident::Values);
        assert!(shown.contains("ip_address  192.0.2.7"), "{shown}");
        assert!(!text(&[grant()], Evident::Fields).contains("192.0.2.7"));
    }

    #[test]
    fn acts_stand_in_the_order_in_which_they_happened() {
        let late = ConsentEvent {
            kind: EventKind::Withdrawal.into(),
            event_state: ConsentState::Withdrawn.into(),
            effective_at: at(1_777_818_000),
            withdrawal_method: WithdrawalMethod::Keyword.into(),
            scope: Some(WithdrawalScope {
                all_marketing: true,
                ..WithdrawalScope::default()
            }),
            ..ConsentEvent::default()
        };
        let shown = text(&[grant(), late], Evident::Fields);
        assert!(shown.starts_with("2026-05-03 14:20:00 UTC  WITHDRAWAL WITHDRAWN\n  how    KEYWORD\n  scope  all marketing"), "{shown}");
        assert!(shown.find("WITHDRAWAL") < shown.find("CONSENT GIVEN"));
    }
}
