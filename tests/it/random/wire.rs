//! The commands as requests, and the way to the server.

use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::ledger_service_client::LedgerServiceClient;
use consentgate::grpc::proto::recipient::Address as Written;
use consentgate::grpc::proto::*;
use tonic::Status;

use super::acts::{ADDRESSES, Act, BUSINESSES, By, Command, Give, Heard, Scope, Told};
use super::model::law::{DAY, SECOND};
use super::model::time::moment;
use crate::consents::acts::{self, keys, wire};
use crate::harness::TestServer;

/// A request as it was sent, to be sent once more.
#[derive(Debug, Clone)]
pub enum Sent {
    Record(RecordConsentRequest),
    Confirm(ConfirmConsentRequest),
    Withdraw(WithdrawRequest),
    Suppress(AddSuppressionRequest),
    Lift(LiftSuppressionRequest),
    LookUp(RecordRegistryCheckRequest),
    Inbound(ReportInboundRequest),
    Send(ReportSendRequest),
    Failures(Vec<ReportDeliveryRequest>),
    Erase(EraseSubjectRequest),
}

/// What of an answer the cases look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Empty: nothing was recorded.
    pub event_id: String,
    pub action: Option<InboundAction>,
    /// Of an erasure: until when proof is kept, in microseconds.
    pub kept_until: Option<i64>,
}

impl Reply {
    fn of(event_id: String) -> Self {
        Self {
            event_id,
            action: None,
            kept_until: None,
        }
    }
}

impl Sent {
    pub async fn to(&self, server: &TestServer) -> Result<Reply, Status> {
        let reply = match self.clone() {
            Self::Record(request) => {
                let mut answer = server.try_record(request).await?;
                Reply::of(answer.records.remove(0).event_id)
            }
            Self::Confirm(request) => {
                let mut answer = server.try_confirm(request).await?;
                Reply::of(answer.records.remove(0).event_id)
            }
            Self::Withdraw(request) => Reply::of(server.try_withdraw(request).await?.event_id),
            Self::Suppress(request) => {
                let answer = server.client().add_suppression(request).await?;
                Reply::of(answer.into_inner().event_id)
            }
            Self::Lift(request) => Reply::of(server.try_lift(request).await?.event_id),
            Self::LookUp(request) => Reply::of(server.try_look_up(request).await?.event_id),
            Self::Inbound(request) => {
                let answer = server.try_inbound(request).await?;
                Reply {
                    action: Some(answer.action()),
                    ..Reply::of(answer.event_id)
                }
            }
            Self::Send(request) => Reply::of(server.try_send(request).await?.event_id),
            Self::Failures(requests) => {
                let mut first = None;
                for request in requests {
                    let answer = server.try_failure(request).await?;
                    first.get_or_insert(answer.event_id);
                }
                Reply::of(first.unwrap_or_default())
            }
            Self::Erase(request) => {
                let mut client = LedgerServiceClient::new(server.channel());
                let answer = client.erase_subject(request).await?.into_inner();
                let until = answer.scheduled_for;
                Reply {
                    kept_until: until.map(|at| acts::time(Some(at)).as_micros()),
                    ..Reply::of(answer.event_id)
                }
            }
        };
        Ok(reply)
    }
}

/// An address as a phone number, or as WhatsApp's id.
pub fn recipient(address: usize, slot: u64, as_wa_id: bool) -> Recipient {
    let address = &ADDRESSES[address];
    let text = format!("{}{slot:02}", address.text);
    Recipient {
        address: Some(match (address.is_user_id, as_wa_id) {
            (true, _) => Written::BusinessScopedUserId(text),
            (false, true) => Written::WaId(text),
            (false, false) => Written::PhoneNumber(format!("+{text}")),
        }),
    }
}

fn time(micros: i64) -> Option<prost_types::Timestamp> {
    Some(wire(Timestamp::from_micros(micros)))
}

fn scope(scope: &Scope, sender: &str) -> Option<WithdrawalScope> {
    Some(WithdrawalScope {
        purposes: match scope {
            Scope::Purposes(purposes) => keys(purposes),
            Scope::Marketing | Scope::Everything => Vec::new(),
        },
        all_marketing: *scope == Scope::Marketing,
        everything: *scope == Scope::Everything,
        sender_id: sender.to_owned(),
    })
}

fn proof() -> Option<Evidence> {
    Some(Evidence {
        statement: "as told on the phone".into(),
        ..Evidence::default()
    })
}

/// The request of a command; `None` if it is none, or speaks of an entry that is not there.
pub fn request(
    command: &Command,
    slot: u64,
    now: i64,
    made: impl Fn(usize) -> Option<String>,
) -> Option<Sent> {
    let business_id = BUSINESSES[command.business].to_owned();
    let to = Some(recipient(command.to, slot, command.id % 2 == 1));
    let at = time(moment(command.told, now));
    let optional = at.filter(|_| command.told != Told::Unset);
    let key_of = |id: usize| format!("key-{slot}-{id}");
    let key = key_of(command.id);
    Some(match &command.act {
        Act::Give(_) | Act::WasAsked { .. } | Act::Refuse { .. } => {
            return record(command, slot, now);
        }
        Act::Confirm { purposes, sender } => Sent::Confirm(ConfirmConsentRequest {
            business_id,
            recipient: to,
            purposes: keys(purposes),
            sender_id: (*sender).into(),
            event_time: at,
            indication_method: IndicationMethod::ConfirmationLink.into(),
            idempotency_key: key,
            ..ConfirmConsentRequest::default()
        }),
        Act::Withdraw {
            scope: what,
            sender,
            by,
            key,
        } => Sent::Withdraw(WithdrawRequest {
            business_id,
            recipient: to,
            scope: scope(what, sender),
            event_time: optional,
            withdrawal_method: method(*by).into(),
            idempotency_key: key.map_or_else(String::new, key_of),
            ..WithdrawRequest::default()
        }),
        Act::Suppress {
            scope: what,
            sender,
            basis,
            days,
        } => Sent::Suppress(AddSuppressionRequest {
            business_id,
            recipient: to,
            scope: scope(what, sender),
            basis: (*basis).into(),
            since: optional,
            until: days.and_then(|days| time(now + i64::from(days) * DAY)),
            idempotency_key: key,
            ..AddSuppressionRequest::default()
        }),
        Act::Lift { made_by, person } => Sent::Lift(LiftSuppressionRequest {
            business_id,
            recipient: to,
            suppression_event_id: made(*made_by)?,
            event_time: at,
            indication_method: match person {
                true => IndicationMethod::VerbalRecorded.into(),
                false => 0,
            },
            evidence: proof().filter(|_| *person),
            idempotency_key: key,
            ..LiftSuppressionRequest::default()
        }),
        Act::LookUp { registry, result } => Sent::LookUp(RecordRegistryCheckRequest {
            business_id,
            recipient: to,
            registry: (*registry).into(),
            result: (*result).into(),
            checked_at: at,
            idempotency_key: key,
            ..RecordRegistryCheckRequest::default()
        }),
        Act::Hear { .. } | Act::Move { .. } | Act::Send { .. } | Act::Fail { .. } => {
            return report(command, slot, now);
        }
        Act::Erase => erasure(command, slot),
        Act::ConfirmOptOut { .. }
        | Act::Repeat { .. }
        | Act::Restart { .. }
        | Act::Rotate { .. } => return None,
    })
}

fn erasure(command: &Command, slot: u64) -> Sent {
    Sent::Erase(EraseSubjectRequest {
        business_id: BUSINESSES[command.business].to_owned(),
        recipient: Some(recipient(command.to, slot, command.id % 2 == 1)),
        basis: ErasureBasis::SubjectRequest.into(),
        reason: "a letter".into(),
        actor: "the desk".into(),
        idempotency_key: format!("key-{slot}-{}", command.id),
    })
}

fn record(command: &Command, slot: u64, now: i64) -> Option<Sent> {
    let record = RecordConsentRequest {
        business_id: BUSINESSES[command.business].to_owned(),
        recipient: Some(recipient(command.to, slot, command.id % 2 == 1)),
        event_time: time(moment(command.told, now)),
        idempotency_key: format!("key-{slot}-{}", command.id),
        ..RecordConsentRequest::default()
    };
    Some(Sent::Record(match &command.act {
        Act::Give(give) => {
            let record = RecordConsentRequest {
                idempotency_key: format!("key-{slot}-{}", give.key),
                ..record
            };
            gives(record, give, now)
        }
        Act::WasAsked { purpose } => RecordConsentRequest {
            purposes: keys(&[purpose]),
            event_state: ConsentState::Requested.into(),
            ..record
        },
        Act::Refuse { purpose, sender } => RecordConsentRequest {
            purposes: keys(&[purpose]),
            sender_id: (*sender).into(),
            event_state: ConsentState::Refused.into(),
            ..record
        },
        _ => return None,
    }))
}

/// What is reported, with the id of its message.
fn report(command: &Command, slot: u64, now: i64) -> Option<Sent> {
    let business_id = BUSINESSES[command.business].to_owned();
    let to = Some(recipient(command.to, slot, command.id % 2 == 1));
    let moment = moment(command.told, now);
    let message_id = format!("wamid.{slot}-{}", command.id);
    let inbound = ReportInboundRequest {
        business_id: business_id.clone(),
        sender_id: "1001".into(),
        recipient: to.clone(),
        // A report may have no id of its own.
        message_id: match command.id % 3 {
            0 => String::new(),
            _ => message_id.clone(),
        },
        received_at: time(moment),
        ..ReportInboundRequest::default()
    };
    Some(match &command.act {
        Act::Hear { sender, what, also } => Sent::Inbound(ReportInboundRequest {
            sender_id: (*sender).into(),
            kind: kind(*what).into(),
            text: match what {
                Heard::Text(text) => (*text).into(),
                Heard::StopPromotions => "Stop promotions".into(),
                _ => String::new(),
            },
            payload: match what {
                Heard::StopPromotions => "Stop promotions".into(),
                _ => String::new(),
            },
            signup_id: match what {
                Heard::SignUp => "signup-1".into(),
                _ => String::new(),
            },
            also_known_as: also.map(|other| recipient(other, slot, command.id.is_multiple_of(2))),
            ..inbound
        }),
        Act::Move { from } => Sent::Inbound(ReportInboundRequest {
            kind: InboundKind::IdentityChanged.into(),
            previous: Some(recipient(*from, slot, false)),
            ..inbound
        }),
        Act::Send {
            sender,
            purpose,
            class,
        } => Sent::Send(ReportSendRequest {
            business_id,
            recipient: to,
            sender_id: (*sender).into(),
            purpose: (*purpose).into(),
            message_class: class.map_or(0, i32::from),
            message_id,
            sent_at: time(moment),
            ..ReportSendRequest::default()
        }),
        Act::Fail {
            sender,
            code,
            times,
        } => {
            let failure = |number: u8| ReportDeliveryRequest {
                business_id: business_id.clone(),
                recipient: to.clone(),
                sender_id: (*sender).into(),
                message_id: format!("{message_id}-{number}"),
                error_code: (*code).into(),
                failed_at: time(moment - i64::from(number) * SECOND),
                ..ReportDeliveryRequest::default()
            };
            Sent::Failures((0..*times).map(failure).collect())
        }
        _ => return None,
    })
}

fn gives(record: RecordConsentRequest, give: &Give, now: i64) -> RecordConsentRequest {
    RecordConsentRequest {
        purposes: keys(&give.purposes),
        sender_id: give.sender.into(),
        indication_method: match give.import {
            true => IndicationMethod::Import.into(),
            false => IndicationMethod::UntickedCheckbox.into(),
        },
        consent_type: give.firm.into(),
        implied_basis: give.implied.map_or(0, |(basis, _)| basis.into()),
        basis_time: give
            .implied
            .and_then(|(_, days)| time(now - i64::from(days) * DAY)),
        notice: Some(NoticeRef {
            notice_id: "signup".into(),
            version: 1,
            language: "en".into(),
        }),
        declarations: Some(Declarations {
            whatsapp_named: give.whatsapp_named.then_some(true),
            ..Declarations::default()
        }),
        jurisdiction: give.lives_in.into(),
        evidence: proof().filter(|_| give.proven),
        import_batch_id: match give.import {
            true => "batch".into(),
            false => String::new(),
        },
        ..record
    }
}

fn method(by: By) -> WithdrawalMethod {
    match by {
        By::PreferenceCenter => WithdrawalMethod::PreferenceCenter,
        By::Operator => WithdrawalMethod::Operator,
        By::Authority => WithdrawalMethod::Authority,
        By::Import => WithdrawalMethod::Import,
        By::Platform => WithdrawalMethod::PlatformPreference,
    }
}

fn kind(what: Heard) -> InboundKind {
    match what {
        Heard::Text(_) => InboundKind::Text,
        Heard::StopPromotions => InboundKind::Button,
        Heard::PlatformStop => InboundKind::PreferenceStop,
        Heard::PlatformResume => InboundKind::PreferenceResume,
        Heard::SignUp => InboundKind::PlatformSignup,
        Heard::Call => InboundKind::Call,
    }
}
