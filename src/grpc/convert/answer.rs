//! Answers of the consent service.

use uuid::Uuid;

use super::{enums, proto, take_turns, wire_duration, wire_time};
use crate::consents::Violation;
use crate::consents::check::{BatchChecked, Checked};
use crate::consents::history::{HistoryEvent, PurposeStanding, Standings};
use crate::consents::record::{Record, RecordAnswer};
use crate::consents::suppress::LiftAnswer;
use crate::consents::withdraw::WithdrawAnswer;
use crate::consents::{Attachment, Evidence, Reported};
use crate::domain::decide::Verdict;
use crate::domain::event::{
    Act, Declarations, Erasure, Event, RegistryCheck, Restriction, Scope, Terms,
};
use crate::domain::facts::{Coverage, Suppressed};
use crate::domain::id::{PurposeKey, SenderId};
use crate::domain::vocabulary::{ConsentState, RestrictionKind};

/// So that 10,000 failed items stay below a default client's 4 MiB.
const ITEM_MESSAGE: usize = 160;

pub fn checked(checked: Checked) -> proto::CheckConsentResponse {
    let verdict = checked.verdict;
    proto::CheckConsentResponse {
        decision: enums::write_decision(verdict.decision).into(),
        reasons: reasons(&verdict),
        not_before: verdict.not_before.map(wire_time),
        consent_event_id: event_id(&verdict),
        valid_until: Some(wire_time(checked.valid_until)),
        valid_for: Some(wire_duration(checked.valid_for)),
        policy_version: checked.policy_version.to_string(),
        consistency_token: checked.token,
        decision_id: written(checked.decision_id),
    }
}

/// Verdicts and the faults of malformed recipients, put back into the order asked.
pub async fn batch_checked(
    checked: BatchChecked,
    faults: Vec<Option<Violation>>,
) -> proto::BatchCheckConsentResponse {
    proto::BatchCheckConsentResponse {
        results: results(&checked.verdicts, faults).await,
        policy_version: checked.policy_version.to_string(),
        consistency_token: checked.token,
        decision_id: written(checked.decision_id),
        valid_until: Some(wire_time(checked.valid_until)),
        valid_for: Some(wire_duration(checked.valid_for)),
    }
}

/// As [`batch_checked`], for a chunk of a stream whose first recipient has this place in the audience.
pub async fn stream_checked(
    checked: BatchChecked,
    faults: Vec<Option<Violation>>,
    first_index: i64,
) -> proto::StreamCheckConsentResponse {
    proto::StreamCheckConsentResponse {
        results: results(&checked.verdicts, faults).await,
        policy_version: checked.policy_version.to_string(),
        consistency_token: checked.token,
        decision_id: written(checked.decision_id),
        valid_until: Some(wire_time(checked.valid_until)),
        valid_for: Some(wire_duration(checked.valid_for)),
        first_index,
    }
}

async fn results(
    verdicts: &[Verdict],
    faults: Vec<Option<Violation>>,
) -> Vec<proto::BatchCheckResult> {
    let mut verdicts = verdicts.iter();
    let mut results = Vec::with_capacity(faults.len());
    for (index, fault) in faults.into_iter().enumerate() {
        results.push(match fault {
            Some(fault) => failed(fault),
            None => verdicts.next().map_or_else(undecided, decided),
        });
        take_turns(index).await;
    }
    results
}

fn decided(verdict: &Verdict) -> proto::BatchCheckResult {
    proto::BatchCheckResult {
        decision: enums::write_decision(verdict.decision).into(),
        reasons: reasons(verdict),
        not_before: verdict.not_before.map(wire_time),
        consent_event_id: event_id(verdict),
        error: None,
    }
}

fn failed(fault: Violation) -> proto::BatchCheckResult {
    let message: String = fault.message.chars().take(ITEM_MESSAGE).collect();
    proto::BatchCheckResult {
        error: Some(proto::ItemError {
            field: fault.field,
            reason: fault.reason.to_owned(),
            message,
        }),
        ..proto::BatchCheckResult::default()
    }
}

/// INVARIANT: there are as many verdicts as sound recipients. Were there fewer, an item without a
/// decision is what a caller must not send on.
fn undecided() -> proto::BatchCheckResult {
    proto::BatchCheckResult::default()
}

/// The reasons, the decisive one first.
pub(super) fn reasons(verdict: &Verdict) -> Vec<i32> {
    verdict
        .findings
        .iter()
        .map(|finding| enums::write_reason(finding.reason).into())
        .collect()
}

/// The event that a verdict rests on; empty if none.
pub(super) fn event_id(verdict: &Verdict) -> String {
    verdict.rests_on.map(|id| written(id.0)).unwrap_or_default()
}

/// As its `Display` writes it, without growing the text piece by piece: there is one in each answer.
fn written(id: Uuid) -> String {
    let mut buffer = Uuid::encode_buffer();
    id.hyphenated().encode_lower(&mut buffer).to_owned()
}

pub fn recorded(answer: RecordAnswer) -> (Vec<proto::ConsentRecord>, String) {
    let event_id = answer.event_id.to_string();
    let records = answer
        .records
        .into_iter()
        .map(|r| record(r, &event_id))
        .collect();
    (records, answer.token)
}

fn record(record: Record, event_id: &str) -> proto::ConsentRecord {
    proto::ConsentRecord {
        purpose: record.purpose.to_string(),
        state: enums::write_state(record.state).into(),
        effect: enums::write_effect(record.effect).into(),
        expires_at: record.expires_at.map(wire_time),
        event_id: event_id.to_owned(),
        sender_id: sender(record.sender.as_ref()),
        ..proto::ConsentRecord::default()
    }
}

pub fn withdrawn(answer: WithdrawAnswer) -> proto::WithdrawResponse {
    proto::WithdrawResponse {
        event_id: answer.event_id.to_string(),
        effective_at: Some(wire_time(answer.effective_at)),
        consistency_token: answer.token,
        instances_confirmed: i32::try_from(answer.instances_confirmed).unwrap_or(i32::MAX),
        waited: Some(wire_duration(answer.waited)),
    }
}

pub fn suppressed(answer: WithdrawAnswer) -> proto::AddSuppressionResponse {
    let proto::WithdrawResponse {
        event_id,
        effective_at,
        consistency_token,
        instances_confirmed,
        waited,
    } = withdrawn(answer);
    proto::AddSuppressionResponse {
        event_id,
        effective_at,
        consistency_token,
        instances_confirmed,
        waited,
    }
}

pub fn lifted(answer: LiftAnswer) -> proto::LiftSuppressionResponse {
    proto::LiftSuppressionResponse {
        event_id: answer.event_id.to_string(),
        effective_at: Some(wire_time(answer.effective_at)),
        consistency_token: answer.token,
    }
}

pub fn standings(standings: Standings) -> proto::GetConsentResponse {
    let records = standings.standings.into_iter();
    proto::GetConsentResponse {
        records: records.map(standing).collect(),
        suppressions: standings.suppressions.iter().map(suppression).collect(),
        consistency_token: standings.token,
    }
}

fn standing(one: PurposeStanding) -> proto::ConsentRecord {
    let PurposeStanding {
        purpose,
        sender: asked,
        standing,
        event,
    } = one;
    let (indication_method, withdrawal_method) = event.as_ref().map_or((0, 0), methods);
    let grant = standing.grant.as_ref();
    let given = matches!(
        standing.state,
        ConsentState::Given | ConsentState::RenewedConsentGiven | ConsentState::Expired
    );
    proto::ConsentRecord {
        purpose: purpose.to_string(),
        state: enums::write_state(standing.state).into(),
        effect: proto::Effect::Unspecified.into(),
        expires_at: standing.expires_at.filter(|_| given).map(wire_time),
        event_id: standing.event.map(|id| id.to_string()).unwrap_or_default(),
        sender_id: sender(asked.as_ref()),
        consent_type: grant.map_or(0, |grant| enums::write_type(grant.consent_type).into()),
        given_at: grant.map(|grant| wire_time(grant.mark.at)),
        confirmed_at: grant.and_then(|grant| grant.confirmed_at).map(wire_time),
        notice: grant.and_then(|grant| grant.notice.as_ref()).map(notice),
        jurisdiction: grant
            .and_then(|grant| grant.jurisdiction.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        state_since: standing.since.map(wire_time),
        implied_basis: grant
            .and_then(|grant| grant.implied)
            .map_or(0, |implied| enums::write_basis(implied.basis).into()),
        indication_method,
        withdrawal_method,
        spelling: grant.map_or_else(String::new, |g| {
            enums::write_spelling(g.spelling).to_owned()
        }),
    }
}

/// How an act was expressed or ended.
fn methods(event: &Event) -> (i32, i32) {
    let mut wire = proto::ConsentEvent::default();
    describe(&event.act, &mut wire);
    (wire.indication_method, wire.withdrawal_method)
}

fn suppression(suppressed: &Suppressed) -> proto::Suppression {
    let mark = suppressed.mark;
    let scope = match &suppressed.coverage {
        Coverage::Purpose(key) => Scope::Purposes(vec![key.clone()]),
        Coverage::AllMarketing => Scope::AllMarketing,
        Coverage::Everything => Scope::Everything,
    };
    proto::Suppression {
        event_id: mark.event_id.to_string(),
        scope: Some(wire_scope(&scope, suppressed.sender.as_ref())),
        basis: enums::write_suppression(suppressed.basis).into(),
        since: Some(wire_time(mark.at)),
        until: suppressed.until.map(wire_time),
        made_by_subject: suppressed.basis.is_made_by_subject(),
    }
}

/// One event of a history, with its evidence.
pub fn event(one: HistoryEvent) -> proto::ConsentEvent {
    let HistoryEvent {
        position,
        event,
        evidence,
        labels,
        actor,
        reported,
    } = one;
    let mut wire = proto::ConsentEvent {
        event_id: event.event_id.to_string(),
        event_time: Some(wire_time(event.event_time)),
        recorded_at: Some(wire_time(event.recorded_at)),
        effective_at: Some(wire_time(event.effective_at())),
        evidence: (evidence != Evidence::default()).then(|| wire_evidence(evidence)),
        labels: labels.into_iter().collect(),
        actor,
        spelling: enums::write_spelling(event.spelling).to_owned(),
        partition: position.partition.0.into(),
        offset: position.offset.0,
        copied_from_link: event.copied_from.is_some(),
        reported_message: reported_message(reported),
        recorded_by: event
            .recorded_by
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        ..proto::ConsentEvent::default()
    };
    describe(&event.act, &mut wire);
    wire
}

fn reported_message(reported: Reported) -> Option<proto::ReportedMessage> {
    if reported == Reported::default() {
        return None;
    }
    Some(proto::ReportedMessage {
        decision_id: reported.decision_id,
        consent_event_id: reported.consent_event_id,
        error_code: reported.error_code,
        provider: reported.provider,
    })
}

fn describe(act: &Act, wire: &mut proto::ConsentEvent) {
    let state = |state: ConsentState| i32::from(enums::write_state(state));
    match act {
        Act::ConsentGiven(terms) => {
            wire.kind = proto::EventKind::Consent.into();
            wire.event_state = state(ConsentState::Given);
            describe_terms(terms, wire);
        }
        Act::ConsentConfirmed(confirmation) => {
            wire.kind = proto::EventKind::Confirmation.into();
            wire.event_state = state(ConsentState::Given);
            for request in &confirmation.requests {
                let before = std::mem::take(&mut wire.purposes);
                describe_terms(&request.terms, wire);
                wire.purposes = [before, std::mem::take(&mut wire.purposes)].concat();
                wire.refers_to_event_id = request.request.to_string();
            }
            wire.indication_method = enums::write_method(confirmation.indication_method).into();
        }
        Act::ConsentRequested(asked) | Act::ConsentRequestDeferred(asked) => {
            wire.kind = proto::EventKind::Consent.into();
            wire.event_state = state(match act {
                Act::ConsentRequestDeferred(_) => ConsentState::RequestDeferred,
                _ => ConsentState::Requested,
            });
            wire.purposes = keys(&asked.purposes);
            wire.sender_id = sender(asked.sender_id.as_ref());
            wire.notice = asked.notice.as_ref().map(|shown| notice(&shown.notice));
        }
        Act::Restricted(restriction) => describe_restriction(restriction, wire),
        Act::Suppressed(suppression) => {
            wire.kind = proto::EventKind::SuppressionAdded.into();
            wire.purposes = scope_keys(&suppression.scope);
            wire.scope = Some(wire_scope(
                &suppression.scope,
                suppression.sender_id.as_ref(),
            ));
            wire.sender_id = sender(suppression.sender_id.as_ref());
            wire.withdrawal_method = suppression
                .withdrawal_method
                .map_or(0, |m| enums::write_withdrawal(m).into());
            wire.suppression = Some(proto::Suppression {
                event_id: wire.event_id.clone(),
                scope: wire.scope.clone(),
                basis: enums::write_suppression(suppression.basis).into(),
                since: wire.effective_at,
                until: suppression.until.map(wire_time),
                made_by_subject: suppression.basis.is_made_by_subject(),
            });
        }
        Act::SuppressionLifted(lift) => {
            wire.kind = proto::EventKind::SuppressionLifted.into();
            wire.refers_to_event_id = lift.lifts.map(|id| id.to_string()).unwrap_or_default();
            wire.indication_method = lift
                .indication_method
                .map_or(0, |m| enums::write_method(m).into());
            wire.purposes = scope_keys(&lift.scope);
            wire.scope = Some(wire_scope(&lift.scope, lift.sender_id.as_ref()));
            wire.sender_id = sender(lift.sender_id.as_ref());
        }
        Act::RegistryChecked(check) => {
            wire.kind = proto::EventKind::RegistryCheck.into();
            wire.registry_check = Some(wire_look_up(check, wire.event_time));
        }
        Act::Linked(_) => wire.kind = proto::EventKind::Linked.into(),
        Act::IdentityChanged(_) => wire.kind = proto::EventKind::IdentityChanged.into(),
        Act::DeliveryFailed(failure) => {
            wire.kind = proto::EventKind::DeliveryFailed.into();
            wire.sender_id = failure.sender_id.to_string();
        }
        Act::Reached(reached) => {
            wire.kind = proto::EventKind::Reached.into();
            wire.sender_id = reached.sender_id.to_string();
        }
        Act::Erased(erasure) => {
            wire.kind = proto::EventKind::Erasure.into();
            wire.erasure = Some(wire_erasure(erasure));
        }
    }
}

fn wire_look_up(
    check: &RegistryCheck,
    checked_at: Option<prost_types::Timestamp>,
) -> proto::RegistryCheck {
    proto::RegistryCheck {
        registry: check.registry.to_string(),
        list_version: check.list_version.clone().unwrap_or_default(),
        result: enums::write_registry_result(check.result).into(),
        checked_at,
    }
}

fn wire_erasure(erasure: &Erasure) -> proto::Erasure {
    proto::Erasure {
        basis: enums::write_erasure(erasure.basis).into(),
        reason: erasure.note.clone(),
        retained_until: erasure.retained_until.map(wire_time),
    }
}

fn describe_restriction(restriction: &Restriction, wire: &mut proto::ConsentEvent) {
    wire.kind = match restriction.kind {
        RestrictionKind::Refused => proto::EventKind::Consent,
        RestrictionKind::Withdrawn | RestrictionKind::Revoked | RestrictionKind::Invalidated => {
            proto::EventKind::Withdrawal
        }
    }
    .into();
    wire.event_state = enums::write_state(restriction.kind.into()).into();
    wire.purposes = scope_keys(&restriction.scope);
    wire.scope = Some(wire_scope(
        &restriction.scope,
        restriction.sender_id.as_ref(),
    ));
    wire.sender_id = sender(restriction.sender_id.as_ref());
    wire.notice = restriction
        .notice
        .as_ref()
        .map(|shown| notice(&shown.notice));
    wire.withdrawal_method = restriction
        .withdrawal_method
        .map_or(0, |m| enums::write_withdrawal(m).into());
    wire.indication_method = restriction
        .indication_method
        .map_or(0, |m| enums::write_method(m).into());
    wire.import_batch_id = restriction
        .import_batch_id
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
}

fn describe_terms(terms: &Terms, wire: &mut proto::ConsentEvent) {
    wire.purposes = keys(&terms.purposes);
    wire.sender_id = sender(terms.sender_id.as_ref());
    wire.indication_method = enums::write_method(terms.indication_method).into();
    wire.consent_type = enums::write_type(terms.consent_type).into();
    if let Some(implied) = terms.implied {
        wire.implied_basis = enums::write_basis(implied.basis).into();
        wire.basis_time = Some(wire_time(implied.basis_time));
    }
    wire.notice = terms.notice.as_ref().map(|shown| notice(&shown.notice));
    wire.declarations = (terms.declarations != Declarations::default())
        .then(|| wire_declarations(terms.declarations));
    wire.jurisdiction = terms
        .jurisdiction
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    wire.import_batch_id = terms
        .import_batch_id
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    wire.policy_version.clone_from(&terms.policy_version);
}

fn wire_scope(scope: &Scope, narrowed: Option<&SenderId>) -> proto::WithdrawalScope {
    proto::WithdrawalScope {
        purposes: scope_keys(scope),
        all_marketing: *scope == Scope::AllMarketing,
        everything: *scope == Scope::Everything,
        sender_id: sender(narrowed),
    }
}

fn scope_keys(scope: &Scope) -> Vec<String> {
    match scope {
        Scope::Purposes(purposes) => keys(purposes),
        Scope::AllMarketing | Scope::Everything => Vec::new(),
    }
}

fn keys(purposes: &[PurposeKey]) -> Vec<String> {
    purposes.iter().map(ToString::to_string).collect()
}

fn sender(sender: Option<&SenderId>) -> String {
    sender.map(ToString::to_string).unwrap_or_default()
}

fn notice(notice: &crate::domain::id::NoticeRef) -> proto::NoticeRef {
    proto::NoticeRef {
        notice_id: notice.notice_id.to_string(),
        version: notice.version,
        language: notice.language.to_string(),
    }
}

fn wire_declarations(declared: Declarations) -> proto::Declarations {
    proto::Declarations {
        default_unticked: declared.default_unticked,
        separate_from_terms: declared.separate_from_terms,
        whatsapp_named: declared.whatsapp_named,
        number_entered_by_subject: declared.number_entered_by_subject,
    }
}

fn wire_evidence(evidence: Evidence) -> proto::Evidence {
    let attachment = |attachment: Attachment| proto::Attachment {
        kind: attachment.kind,
        sha256: data_encoding::HEXLOWER
            .decode(attachment.sha256.as_bytes())
            .unwrap_or_default(),
        uri: attachment.uri,
    };
    proto::Evidence {
        source_url: evidence.source_url,
        form_id: evidence.form_id,
        message_id: evidence.message_id,
        ip_address: evidence.ip_address,
        user_agent: evidence.user_agent,
        signup_id: evidence.signup_id,
        call_id: evidence.call_id,
        attachments: evidence.attachments.into_iter().map(attachment).collect(),
        statement: evidence.statement,
    }
}
