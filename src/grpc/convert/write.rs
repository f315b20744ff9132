//! Acts: RecordConsent, ConfirmConsent, Withdraw, AddSuppression, LiftSuppression.
//!
//! A recorded consent is read strictly: what is wrong with it is refused. An opt-out is read
//! leniently: only its recipient can be at fault. What exceeds a limit is cut, what is not known is
//! left out, and of several scopes the widest counts.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;

use super::{Fields, MAX_PURPOSES, enums, proto};
use crate::consents::confirm::ConfirmRequest;
use crate::consents::record::{EventState, RecordRequest};
use crate::consents::suppress::{LiftRequest, SuppressRequest};
use crate::consents::withdraw::WithdrawRequest;
use crate::consents::{Attachment, Error, Evidence};
use crate::domain::event::{Declarations, Implied, Scope, sorted};
use crate::domain::id::{EventId, ImportBatchId, JurisdictionCode, PurposeKey, SenderId};
use crate::domain::vocabulary::{ConsentState, ConsentType, IndicationMethod};

const ID: usize = 256;
const URL: usize = 2_048;
const USER_AGENT: usize = 1_024;
const STATEMENT: usize = 4_000;
pub(super) const ACTOR: usize = 256;
const ATTACHMENTS: usize = 16;
const ATTACHMENT_KIND: usize = 64;
const SHA256: usize = 32;
const LABELS: usize = 32;
const LABEL_KEY: usize = 64;
const LABEL_VALUE: usize = 256;
const IDEMPOTENCY_KEY: usize = 128;

pub fn record(request: proto::RecordConsentRequest) -> Result<RecordRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let purposes = some_purposes(&mut fields, &request.purposes);
    let sender = fields.sender("sender_id", &request.sender_id);
    let event_time = fields.time("event_time", request.event_time);
    let event_state = event_state(&mut fields, request.event_state);
    let method = fields.optional_enum(
        "indication_method",
        request.indication_method,
        enums::read_method,
    );
    let kind = fields.optional_enum("consent_type", request.consent_type, enums::read_type);
    let implied = implied(
        &mut fields,
        request.implied_basis,
        request.basis_time,
        kind.flatten(),
    );
    let notice = fields.notice(request.notice);
    let evidence = evidence(&mut fields, request.evidence);
    let jurisdiction = fields.optional_name(
        "jurisdiction",
        &request.jurisdiction,
        JurisdictionCode::parse,
    );
    let labels = labels(&mut fields, request.labels);
    let actor = fields.text("actor", request.actor, ACTOR);
    let idempotency_key = idempotency_key(&mut fields, request.idempotency_key);
    let import = fields.optional_name(
        "import_batch_id",
        &request.import_batch_id,
        ImportBatchId::parse,
    );
    if event_state == Some(EventState::Given) {
        for (field, value) in [
            ("indication_method", request.indication_method),
            ("consent_type", request.consent_type),
        ] {
            if value == 0 {
                fields.refuse(field, "is required for a grant");
            }
        }
    }
    if method.flatten() == Some(IndicationMethod::Import) && request.import_batch_id.is_empty() {
        fields.refuse("import_batch_id", "is required with IMPORT");
    }
    let parsed = (|| {
        Some(RecordRequest {
            business: business?,
            recipient: recipient?,
            purposes: purposes?,
            sender: sender?,
            event_time: event_time?,
            event_state: event_state?,
            indication_method: method?,
            consent_type: kind?,
            implied: implied?,
            notice: notice?,
            evidence: evidence?,
            declarations: declarations(request.declarations),
            jurisdiction: jurisdiction?,
            labels: labels?,
            actor: actor?,
            idempotency_key: idempotency_key?,
            import_batch_id: import?,
        })
    })();
    fields.finish(parsed)
}

pub fn confirm(request: proto::ConfirmConsentRequest) -> Result<ConfirmRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let purposes = fields.purposes("purposes", &request.purposes);
    let sender = fields.sender("sender_id", &request.sender_id);
    let event_time = fields.time("event_time", request.event_time);
    let method = fields.required_enum(
        "indication_method",
        request.indication_method,
        enums::read_method,
    );
    if method == Some(IndicationMethod::Import) {
        fields.refuse(
            "indication_method",
            "must not be IMPORT: only the person can confirm",
        );
    }
    let evidence = evidence(&mut fields, request.evidence);
    let actor = fields.text("actor", request.actor, ACTOR);
    let idempotency_key = idempotency_key(&mut fields, request.idempotency_key);
    let parsed = (|| {
        Some(ConfirmRequest {
            business: business?,
            recipient: recipient?,
            purposes: purposes?,
            sender: sender?,
            event_time: event_time?,
            indication_method: method?,
            evidence: evidence?,
            actor: actor?,
            idempotency_key: idempotency_key?,
        })
    })();
    fields.finish(parsed)
}

pub fn withdraw(request: proto::WithdrawRequest) -> Result<WithdrawRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let asked = request.scope.unwrap_or_default();
    let mut ignored = Fields::default();
    let event_time = ignored
        .optional_time("event_time", request.event_time)
        .flatten();
    let method = proto::WithdrawalMethod::try_from(request.withdrawal_method)
        .ok()
        .and_then(enums::read_withdrawal);
    let key = Some(request.idempotency_key)
        .filter(|key| (1..=IDEMPOTENCY_KEY).contains(&key.chars().count()));
    let parsed = (|| {
        Some(WithdrawRequest {
            business: business?,
            recipient: recipient?,
            scope: widest(&asked),
            // A name that cannot be a sender's narrows nothing: the opt-out holds for all.
            sender: SenderId::parse(&asked.sender_id).ok(),
            event_time,
            method,
            evidence: cut_evidence(request.evidence.unwrap_or_default()),
            actor: cut(request.actor, ACTOR),
            idempotency_key: key,
        })
    })();
    fields.finish(parsed)
}

pub fn suppress(request: proto::AddSuppressionRequest) -> Result<SuppressRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let asked = request.scope.unwrap_or_default();
    let scope = exact_scope(&mut fields, &asked);
    let sender = fields.sender("scope.sender_id", &asked.sender_id);
    let basis = fields.required_enum("basis", request.basis, enums::read_suppression);
    let since = fields.optional_time("since", request.since);
    let until = fields.optional_time("until", request.until);
    if let (Some(Some(since)), Some(Some(until))) = (since, until)
        && until <= since
    {
        fields.refuse("until", "must be later than `since`");
    }
    let evidence = evidence(&mut fields, request.evidence);
    let actor = fields.text("actor", request.actor, ACTOR);
    let idempotency_key = idempotency_key(&mut fields, request.idempotency_key);
    let parsed = (|| {
        Some(SuppressRequest {
            business: business?,
            recipient: recipient?,
            scope: scope?,
            sender: sender?,
            basis: basis?,
            since: since?,
            until: until?,
            evidence: evidence?,
            actor: actor?,
            idempotency_key: idempotency_key?,
        })
    })();
    fields.finish(parsed)
}

pub fn lift(request: proto::LiftSuppressionRequest) -> Result<LiftRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let suppression = uuid::Uuid::parse_str(&request.suppression_event_id)
        .ok()
        .map(EventId);
    if suppression.is_none() {
        fields.refuse(
            "suppression_event_id",
            "is required: the event_id of the suppression",
        );
    }
    let event_time = fields.time("event_time", request.event_time);
    let method = fields.optional_enum(
        "indication_method",
        request.indication_method,
        enums::read_method,
    );
    let evidence = evidence(&mut fields, request.evidence);
    let actor = fields.text("actor", request.actor, ACTOR);
    let idempotency_key = idempotency_key(&mut fields, request.idempotency_key);
    let parsed = (|| {
        Some(LiftRequest {
            business: business?,
            recipient: recipient?,
            suppression: suppression?,
            event_time: event_time?,
            indication_method: method?,
            evidence: evidence?,
            actor: actor?,
            idempotency_key: idempotency_key?,
        })
    })();
    fields.finish(parsed)
}

/// Exactly one of the scopes. An opt-out is read leniently, this is not.
fn exact_scope(fields: &mut Fields, scope: &proto::WithdrawalScope) -> Option<Scope> {
    let set = [
        !scope.purposes.is_empty(),
        scope.all_marketing,
        scope.everything,
    ];
    if set.into_iter().filter(|is_set| *is_set).count() != 1 {
        fields.refuse(
            "scope",
            "must set exactly one of purposes, all_marketing and everything",
        );
        return None;
    }
    if scope.everything {
        return Some(Scope::Everything);
    }
    if scope.all_marketing {
        return Some(Scope::AllMarketing);
    }
    fields
        .purposes("scope.purposes", &scope.purposes)
        .map(|keys| Scope::Purposes(sorted(keys)))
}

/// The widest of the scopes that are set; everything if none is, or if a purpose cannot be read.
fn widest(scope: &proto::WithdrawalScope) -> Scope {
    let keys: Option<Vec<PurposeKey>> = scope
        .purposes
        .iter()
        .map(|text| PurposeKey::parse(text).ok())
        .collect();
    match keys {
        _ if scope.everything => Scope::Everything,
        _ if scope.all_marketing => Scope::AllMarketing,
        Some(keys) if !keys.is_empty() && keys.len() <= MAX_PURPOSES => {
            Scope::Purposes(sorted(keys))
        }
        _ => Scope::Everything,
    }
}

fn some_purposes(fields: &mut Fields, texts: &[String]) -> Option<Vec<PurposeKey>> {
    if texts.is_empty() {
        fields.refuse("purposes", "is required: 1 to 32 keys");
        return None;
    }
    fields.purposes("purposes", texts)
}

fn event_state(fields: &mut Fields, number: i32) -> Option<EventState> {
    match fields.optional_enum("event_state", number, enums::read_state)? {
        None | Some(ConsentState::Given) => Some(EventState::Given),
        Some(ConsentState::Requested) => Some(EventState::Requested),
        Some(ConsentState::RequestDeferred) => Some(EventState::RequestDeferred),
        Some(ConsentState::Refused) => Some(EventState::Refused),
        Some(
            ConsentState::Unknown
            | ConsentState::PendingConfirmation
            | ConsentState::RenewedConsentGiven
            | ConsentState::Withdrawn
            | ConsentState::Revoked
            | ConsentState::Invalidated
            | ConsentState::Expired,
        ) => {
            fields.refuse(
                "event_state",
                "must be GIVEN, REQUESTED, REQUEST_DEFERRED or REFUSED",
            );
            None
        }
    }
}

fn implied(
    fields: &mut Fields,
    basis: i32,
    time: Option<prost_types::Timestamp>,
    kind: Option<ConsentType>,
) -> Option<Option<Implied>> {
    if kind != Some(ConsentType::Implied) {
        let given = [
            ("implied_basis", basis != 0),
            ("basis_time", time.is_some()),
        ];
        for (field, _) in given.iter().filter(|(_, given)| *given) {
            fields.refuse(*field, "belongs to consent_type IMPLIED alone");
        }
        return Some(None);
    }
    let basis = fields.required_enum("implied_basis", basis, enums::read_basis);
    let basis_time = fields.time("basis_time", time);
    Some(Some(Implied {
        basis: basis?,
        basis_time: basis_time?,
    }))
}

fn declarations(wire: Option<proto::Declarations>) -> Declarations {
    let wire = wire.unwrap_or_default();
    Declarations {
        default_unticked: wire.default_unticked,
        separate_from_terms: wire.separate_from_terms,
        whatsapp_named: wire.whatsapp_named,
        number_entered_by_subject: wire.number_entered_by_subject,
    }
}

fn evidence(fields: &mut Fields, wire: Option<proto::Evidence>) -> Option<Evidence> {
    let wire = wire.unwrap_or_default();
    let source_url = fields.text("evidence.source_url", wire.source_url, URL);
    let form_id = fields.identifier("evidence.form_id", wire.form_id, ID);
    let message_id = fields.identifier("evidence.message_id", wire.message_id, ID);
    let ip_address = ip_address(fields, wire.ip_address);
    let user_agent = fields.text("evidence.user_agent", wire.user_agent, USER_AGENT);
    let signup_id = fields.identifier("evidence.signup_id", wire.signup_id, ID);
    let call_id = fields.identifier("evidence.call_id", wire.call_id, ID);
    let attachments = attachments(fields, wire.attachments);
    let statement = fields.text("evidence.statement", wire.statement, STATEMENT);
    Some(Evidence {
        source_url: source_url?,
        form_id: form_id?,
        message_id: message_id?,
        ip_address: ip_address?,
        user_agent: user_agent?,
        signup_id: signup_id?,
        call_id: call_id?,
        attachments: attachments?,
        statement: statement?,
    })
}

fn ip_address(fields: &mut Fields, text: String) -> Option<String> {
    if !text.is_empty() && text.parse::<std::net::IpAddr>().is_err() {
        fields.refuse("evidence.ip_address", "must be an IPv4 or IPv6 address");
        return None;
    }
    Some(text)
}

fn attachments(fields: &mut Fields, wire: Vec<proto::Attachment>) -> Option<Vec<Attachment>> {
    if wire.len() > ATTACHMENTS {
        let message = format!("has {}, the most is {ATTACHMENTS}", wire.len());
        fields.refuse("evidence.attachments", message);
        return None;
    }
    let mut read = Vec::with_capacity(wire.len());
    let count = wire.len();
    for (index, attachment) in wire.into_iter().enumerate() {
        let field = format!("evidence.attachments[{index}]");
        if attachment.kind.is_empty() {
            fields.refuse(format!("{field}.kind"), "is required");
        }
        if attachment.sha256.len() != SHA256 {
            let message = format!("must have 32 bytes, has {}", attachment.sha256.len());
            fields.refuse(format!("{field}.sha256"), message);
            continue;
        }
        let kind = fields.text(&format!("{field}.kind"), attachment.kind, ATTACHMENT_KIND);
        let uri = fields.text(&format!("{field}.uri"), attachment.uri, URL);
        let sha256 = HEXLOWER.encode(&attachment.sha256);
        read.extend(
            kind.zip(uri)
                .map(|(kind, uri)| Attachment { kind, sha256, uri }),
        );
    }
    (read.len() == count).then_some(read)
}

fn labels(
    fields: &mut Fields,
    wire: std::collections::HashMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    if wire.len() > LABELS {
        fields.refuse(
            "labels",
            format!("has {} entries, the most is {LABELS}", wire.len()),
        );
        return None;
    }
    let count = wire.len();
    let mut read = BTreeMap::new();
    for (key, value) in wire {
        if key.is_empty() {
            fields.refuse("labels", "has an empty key");
            continue;
        }
        let key = fields.text("labels", key, LABEL_KEY);
        let value = fields.text("labels", value, LABEL_VALUE);
        read.extend(key.zip(value));
    }
    (read.len() == count).then_some(read)
}

pub(super) fn idempotency_key(fields: &mut Fields, key: String) -> Option<String> {
    fields.required_id("idempotency_key", key, IDEMPOTENCY_KEY)
}

fn cut(text: String, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text,
        Some((end, _)) => text[..end].to_owned(),
    }
}

fn cut_evidence(wire: proto::Evidence) -> Evidence {
    let attachment = |wire: proto::Attachment| Attachment {
        kind: cut(wire.kind, ATTACHMENT_KIND),
        sha256: HEXLOWER.encode(&wire.sha256[..wire.sha256.len().min(SHA256)]),
        uri: cut(wire.uri, URL),
    };
    Evidence {
        source_url: cut(wire.source_url, URL),
        form_id: cut(wire.form_id, ID),
        message_id: cut(wire.message_id, ID),
        ip_address: cut(wire.ip_address, 64),
        user_agent: cut(wire.user_agent, USER_AGENT),
        signup_id: cut(wire.signup_id, ID),
        call_id: cut(wire.call_id, ID),
        attachments: wire
            .attachments
            .into_iter()
            .take(ATTACHMENTS)
            .map(attachment)
            .collect(),
        statement: cut(wire.statement, STATEMENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_scope_counts_and_nothing_said_is_everything() {
        let scope = |purposes: &[&str], all_marketing, everything| proto::WithdrawalScope {
            purposes: purposes.iter().map(ToString::to_string).collect(),
            all_marketing,
            everything,
            sender_id: String::new(),
        };
        let offers = Scope::Purposes(vec![PurposeKey::parse("offers").unwrap()]);
        assert_eq!(widest(&scope(&["offers", "offers"], false, false)), offers);
        assert_eq!(
            widest(&scope(&["offers"], true, false)),
            Scope::AllMarketing
        );
        assert_eq!(widest(&scope(&["offers"], true, true)), Scope::Everything);
        assert_eq!(widest(&scope(&[], false, false)), Scope::Everything);
        assert_eq!(
            widest(&scope(&["No Slug"], false, false)),
            Scope::Everything
        );
    }

    #[test]
    fn an_opt_out_is_cut_to_size_and_refused_only_for_its_recipient() {
        let request = proto::WithdrawRequest {
            business_id: "acme".into(),
            recipient: Some(proto::Recipient {
                address: Some(proto::recipient::Address::PhoneNumber(
                    "+4915112345678".into(),
                )),
            }),
            actor: "ä".repeat(1_000),
            withdrawal_method: 4_711,
            idempotency_key: "k".repeat(1_000),
            event_time: Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: -1,
            }),
            ..Default::default()
        };
        let read = withdraw(request.clone()).unwrap();
        assert_eq!(read.actor.chars().count(), ACTOR);
        assert_eq!(
            (read.method, read.idempotency_key, read.event_time),
            (None, None, None)
        );
        let without = proto::WithdrawRequest {
            recipient: None,
            ..request
        };
        assert!(matches!(withdraw(without), Err(Error::Invalid { .. })));
    }
}
