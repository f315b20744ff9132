//! ReportSend: a message went out. It counts for frequency caps, at every address of the person.
//! One that asked for consent is an act too, since laws count how often somebody is asked.
//!
//! Reports come late, twice and out of order: one message counts once, by its id, which is never
//! kept in the clear because WhatsApp's hold the number. An unknown person is no fault.

use serde::{Deserialize, Serialize};

use super::append::{Begun, Draft, Wait, Write};
use super::idempotency::Key;
use super::payload::{Payload, Reported};
use super::withdraw::EARLIEST;
use super::{Consents, Error, Evidence, Recipient, check, resolve};
use crate::catalog::{Compiled, Named};
use crate::domain::activity::Sent;
use crate::domain::catalog::Purpose;
use crate::domain::event::{Act, Asked};
use crate::domain::id::{BusinessId, DecisionId, EventId, PurposeKey, SenderId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{MessageClass, TimeSource};
use crate::ledger::Rpc;

/// A message that was sent, parsed and bounded.
#[derive(Debug, Clone)]
pub struct SendReport {
    pub business: BusinessId,
    pub recipient: Recipient,
    pub sender: SenderId,
    pub purpose: PurposeKey,
    /// `None`: the purpose's own.
    pub class: Option<MessageClass>,
    pub decision_id: Option<DecisionId>,
    pub consent_event: Option<EventId>,
    pub message_id: MessageId,
    pub sent_at: Timestamp,
}

/// WhatsApp's or a provider's id of a message. Personal data.
#[derive(Clone)]
pub struct MessageId(pub String);

impl std::fmt::Debug for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageId")
    }
}

/// What a send left in the ledger: of all but requests for consent, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendAnswer {
    pub asked: Option<Kept>,
}

/// A ledger entry that a report made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub event_id: EventId,
    pub token: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredAsk {
    event_id: EventId,
}

/// What a report says, its names looked up.
struct Resolved<'a> {
    purpose: &'a Purpose,
    sender: &'a SenderId,
    class: MessageClass,
}

impl Consents {
    /// Counts a message that was sent.
    pub async fn report_send(&self, report: SendReport) -> Result<SendAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.report_send_now(&report).await })
            .await
    }

    async fn report_send_now(&self, report: &SendReport) -> Result<SendAnswer, Error> {
        let names = [
            Named::Purpose(&report.purpose),
            Named::Sender(&report.sender),
        ];
        let compiled = self.business_with(&report.business, &names).await?;
        let resolved = resolve(report, &compiled)?;
        // The law's count first: if the other one fails, the repeat finds this one done.
        let asked = match resolved.class {
            MessageClass::ConsentRequest => {
                Some(self.keep_ask(report, &compiled, &resolved).await?)
            }
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::Service
            | MessageClass::OptOutConfirmation => None,
        };
        let keys = &compiled.keys;
        let own = self.subject_ref(&report.business, keys, &report.recipient.address);
        let group = self.read_group(&own).await?;
        let mut subjects = vec![own];
        subjects.extend(group.linked.into_iter().map(|found| found.subject));
        let sent = Sent {
            purpose: report.purpose.clone(),
            class: resolved.class,
            at: time_of(report.sent_at, self.now()).0,
        };
        let parts: [&[u8]; 2] = [b"sent message", report.message_id.0.as_bytes()];
        let message = keys.idempotency_hash(&parts);
        if self
            .0
            .activity
            .note_send(&subjects, &sent, &message)
            .await?
        {
            self.0.alarms.sent(self.0.clock.steady());
        }
        Ok(SendAnswer { asked })
    }

    /// Appends that the person was asked for consent.
    async fn keep_ask(
        &self,
        report: &SendReport,
        compiled: &Compiled,
        resolved: &Resolved<'_>,
    ) -> Result<Kept, Error> {
        let keys = &compiled.keys;
        let subject = keys.subject_key(&report.recipient.address).0;
        let message = report.message_id.0.as_bytes();
        let key_hash = keys.idempotency_hash(&[b"reported send", &subject, message]);
        let evidence = Evidence {
            message_id: report.message_id.0.clone(),
            ..Evidence::default()
        };
        let reported = Reported::of(report.decision_id.as_ref(), report.consent_event);
        let write = Write {
            rpc: Rpc::ReportSend,
            business: &report.business,
            compiled,
            recipient: &report.recipient,
            payload: Some(Payload::of_report(evidence, reported)),
            key: Some(Key::alone(key_hash)),
        };
        let written = match self.begin(&write, Wait::No).await? {
            Begun::Repeated(first) => first,
            Begun::New(found) => {
                let act = Act::ConsentRequested(Asked {
                    purposes: vec![resolved.purpose.key.clone()],
                    sender_id: Some(resolved.sender.clone()),
                    notice: None,
                });
                self.append_with(
                    &write,
                    found,
                    |_, now| {
                        let (event_time, is_theirs) = time_of(report.sent_at, now);
                        Ok(Draft {
                            act: act.clone(),
                            event_time,
                            time_source: match is_theirs {
                                true => TimeSource::Caller,
                                false => TimeSource::Gate,
                            },
                        })
                    },
                    |event, _| StoredAsk {
                        event_id: event.event_id,
                    },
                )
                .await?
            }
        };
        Ok(Kept {
            event_id: written.answer.event_id,
            token: self.token_at(&written.positions),
        })
    }
}

/// When something reported happened, and whether the report says so: a time ahead of ours, or from
/// before WhatsApp's first year, is none, and then it happened now.
pub(super) fn time_of(reported: Timestamp, now: Timestamp) -> (Timestamp, bool) {
    match (EARLIEST..=now).contains(&reported) {
        true => (reported, true),
        false => (now, false),
    }
}

fn resolve<'a>(report: &SendReport, compiled: &'a Compiled) -> Result<Resolved<'a>, Error> {
    let purpose = resolve::purpose(compiled, &report.purpose, "purpose");
    let sender = resolve::sender(compiled, &report.sender, "sender_id");
    match (purpose, sender) {
        (Ok(purpose), Ok(sender)) => Ok(Resolved {
            purpose,
            sender: &sender.sender_id,
            class: check::effective_class(compiled, purpose, report.class, None),
        }),
        (purpose, sender) => Err(Error::Invalid {
            violations: [purpose.err(), sender.err()]
                .into_iter()
                .flatten()
                .collect(),
        }),
    }
}
