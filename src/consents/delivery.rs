//! ReportDelivery: a message was not delivered. What the code means stands in
//! [`crate::domain::delivery`]; here is what is done about it.
//!
//! Only WhatsApp's word that the person stopped marketing, and a provider's equal of it, is an
//! opt-out, and an opt-out is refused for nothing but its business or recipient. Everything else is a
//! fact of the address that passes, a matter of the sender or of the caller. A burst of failures is
//! an alarm ([`super::alarm`]) and nothing that its recipients did.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alarm::{Counted, Series};
use super::append::{Begun, Draft, Wait, Write, Written};
use super::idempotency::Key;
use super::payload::{Payload, Reported};
use super::send::{Kept, MessageId, time_of};
use super::{Consents, Error, Evidence, Recipient, Violation, resolve};
use crate::catalog::{Compiled, Named};
use crate::domain::delivery::{Class, Known, Provider, Said, meaning};
use crate::domain::event::{Act, Event, Failure, Scope, Suppression};
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, DecisionId, EventId, SenderId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{FailureKind, SuppressionBasis, TimeSource, WithdrawalMethod};
use crate::ledger::Rpc;

/// A failure as it was reported. What an opt-out can do without may be missing.
#[derive(Debug, Clone)]
pub struct DeliveryReport {
    pub business: BusinessId,
    pub recipient: Recipient,
    pub error_code: String,
    pub provider: String,
    pub sender: Option<SenderId>,
    pub message_id: Option<MessageId>,
    pub failed_at: Option<Timestamp>,
    pub decision_id: Option<DecisionId>,
    pub consent_event: Option<EventId>,
    /// What is wrong with the other fields: a reason to refuse anything but an opt-out.
    pub violations: Vec<Violation>,
}

/// What a failure led to. A repeat gives what the first call did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAnswer {
    pub opted_out: bool,
    pub unreachable_until: Option<Timestamp>,
    pub limited_until: Option<Timestamp>,
    pub kept: Option<Kept>,
    /// Of what was kept: instances that answer from after it, and how long this call waited for them.
    pub restricted: Option<(u32, Duration)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredFailure {
    event_id: EventId,
    opted_out: bool,
    unreachable_until: Option<Timestamp>,
    limited_until: Option<Timestamp>,
}

/// A report of a known code, with what was looked up for it.
struct Case<'a> {
    report: &'a DeliveryReport,
    compiled: &'a Compiled,
    provider: Provider,
    code: &'static str,
}

impl Consents {
    /// Takes a failed delivery in. When this returns, no check that starts later is answered from
    /// before what was recorded.
    pub async fn report_delivery(&self, report: DeliveryReport) -> Result<DeliveryAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.report_delivery_now(&report).await })
            .await
    }

    async fn report_delivery_now(&self, report: &DeliveryReport) -> Result<DeliveryAnswer, Error> {
        let provider = Provider::named(&report.provider);
        let case = |compiled, code| Case {
            report,
            compiled,
            provider,
            code,
        };
        let metrics = &self.0.metrics;
        let unkept = |class| metrics.delivery_failed(provider.word(), class, false);
        match meaning(provider, &report.error_code) {
            Some(Known { code, class }) => match class {
                Class::OptOut(said) => {
                    let sender = report.sender.as_ref();
                    let compiled = self.business_for_opt_out(&report.business, sender).await?;
                    self.stopped(&case(&compiled, code), said).await
                }
                Class::Failed(kind) => {
                    let (compiled, sender) = self.named(report).await?;
                    self.failed(&case(&compiled, code), kind, sender).await
                }
                Class::SenderRestricted => {
                    let (compiled, sender) = self.named(report).await?;
                    unkept("SENDER_RESTRICTED");
                    self.tell_of_sender(&case(&compiled, code), &sender);
                    self.nothing_kept(report, &compiled).await
                }
                Class::Caller => {
                    let (compiled, _) = self.named(report).await?;
                    unkept("CALLER");
                    self.nothing_kept(report, &compiled).await
                }
            },
            None => {
                let (compiled, _) = self.named(report).await?;
                unkept("UNKNOWN");
                self.nothing_kept(report, &compiled).await
            }
        }
    }

    /// The rules of the business and the sender's own id; everything that is wrong with the report.
    async fn named(&self, report: &DeliveryReport) -> Result<(Arc<Compiled>, SenderId), Error> {
        let names: Vec<Named<'_>> = report.sender.iter().map(Named::Sender).collect();
        let compiled = self.business_with(&report.business, &names).await?;
        let sender = report
            .sender
            .as_ref()
            .map(|name| resolve::sender(&compiled, name, "sender_id"))
            .transpose();
        match sender {
            Ok(Some(sender)) if report.violations.is_empty() => {
                let sender = sender.sender_id.clone();
                Ok((compiled, sender))
            }
            // INVARIANT: a sender is missing only where its violation was noted.
            Ok(_) => Err(Error::Invalid {
                violations: report.violations.clone(),
            }),
            Err(unknown) => Err(Error::Invalid {
                violations: report.violations.iter().cloned().chain([unknown]).collect(),
            }),
        }
    }

    /// The person stopped marketing from this sender. A sender that nobody has narrows nothing: the
    /// opt-out must hold for the one that it was, too.
    async fn stopped(&self, case: &Case<'_>, said: Said) -> Result<DeliveryAnswer, Error> {
        let sender = case.report.sender.as_ref();
        let sender = sender.and_then(|name| case.compiled.catalog().sender(name));
        let act = Act::Suppressed(Suppression {
            received_by: None,
            basis: SuppressionBasis::PlatformStop,
            scope: Scope::AllMarketing,
            sender_id: sender.map(|sender| sender.sender_id.clone()),
            until: None,
            withdrawal_method: Some(WithdrawalMethod::DeliveryError),
        });
        let doubted = match said {
            Said::ByWhatsApp => None,
            Said::ByProvider => Some(Series::OptOut),
        };
        self.keep(case, act, "OPT_OUT", doubted).await
    }

    async fn failed(
        &self,
        case: &Case<'_>,
        kind: FailureKind,
        sender_id: SenderId,
    ) -> Result<DeliveryAnswer, Error> {
        let act = Act::DeliveryFailed(Failure {
            kind,
            sender_id,
            code: case.code.to_owned(),
            provider: case.provider.word().to_owned(),
        });
        let doubted = match kind {
            FailureKind::Undeliverable => Some(Series::Undeliverable),
            FailureKind::Limited => Some(Series::Limited),
            // Whose number it is, is asked again: no harm is done to anybody by that.
            FailureKind::IdentityMismatch => None,
        };
        self.keep(case, act, kind.word(), doubted).await
    }

    /// Records what a failure says of a person, unless it is one of a burst.
    async fn keep(
        &self,
        case: &Case<'_>,
        act: Act,
        class: &'static str,
        doubted: Option<Series>,
    ) -> Result<DeliveryAnswer, Error> {
        let Case {
            report, compiled, ..
        } = *case;
        let write = Write {
            rpc: Rpc::ReportDelivery,
            business: &report.business,
            compiled,
            recipient: &report.recipient,
            payload: Some(payload(report)),
            key: key(case),
        };
        let found = match self.begin(&write, Wait::Yes).await? {
            Begun::Repeated(first) => return Ok(self.failure_kept(first)),
            Begun::New(found) => found,
        };
        let believed = doubted.is_none_or(|series| self.believes(case.provider, series, class));
        let word = case.provider.word();
        self.0.metrics.delivery_failed(word, class, believed);
        if !believed {
            return self.nothing_kept(report, compiled).await;
        }
        let written = self
            .append_with(
                &write,
                found,
                |_, now| {
                    let reported = report.failed_at.map(|at| time_of(at, now));
                    let (event_time, is_theirs) = reported.unwrap_or((now, false));
                    Ok(Draft {
                        act: act.clone(),
                        event_time,
                        time_source: match is_theirs {
                            true => TimeSource::Platform,
                            false => TimeSource::Gate,
                        },
                    })
                },
                StoredFailure::of,
            )
            .await?;
        Ok(self.failure_kept(written))
    }

    /// Counts a failure that may be one of a burst; false while there is one.
    fn believes(&self, provider: Provider, series: Series, class: &'static str) -> bool {
        let Counted {
            believed,
            begins,
            tell,
        } = self
            .0
            .alarms
            .failed(provider, series, self.0.clock.steady());
        if begins {
            self.0.metrics.delivery_alarm(provider.word(), class);
        }
        if let Some(burst) = tell {
            tracing::warn!(
                provider = provider.word(),
                class,
                last_hour = burst.last_hour,
                last_day = burst.last_day,
                sent_last_day = burst.sent_last_day,
                "a burst of failed deliveries: the provider or WhatsApp is probably in trouble, not \
                 the recipients. Until it is over, failures like these are not recorded against \
                 anybody; opt-outs by WhatsApp's own 131050 still are"
            );
        }
        believed
    }

    /// WhatsApp holds a sender back: somebody must look after it, and no recipient has a part in it.
    fn tell_of_sender(&self, case: &Case<'_>, sender: &SenderId) {
        let business = &case.report.business;
        let now = self.0.clock.steady();
        if self.0.alarms.restricted(business, sender, now) {
            let word = case.provider.word();
            self.0.metrics.delivery_alarm(word, "SENDER_RESTRICTED");
            tracing::warn!(
                %business,
                %sender,
                provider = word,
                code = case.code,
                "WhatsApp restricts this sender: its messages are not delivered. See the account's \
                 quality and status there; `held` stops the sender here. Nothing is recorded of the \
                 recipients"
            );
        }
    }

    /// This instance has applied it before it gets here, and it is the only one.
    fn failure_kept(&self, written: Written<StoredFailure>) -> DeliveryAnswer {
        let token = self.token_at(&written.positions);
        let StoredFailure {
            event_id,
            opted_out,
            unreachable_until,
            limited_until,
        } = written.answer;
        DeliveryAnswer {
            opted_out,
            unreachable_until,
            limited_until,
            kept: Some(Kept { event_id, token }),
            restricted: Some((1, Duration::ZERO)),
        }
    }

    /// How the address stands without this report.
    async fn nothing_kept(
        &self,
        report: &DeliveryReport,
        compiled: &Compiled,
    ) -> Result<DeliveryAnswer, Error> {
        let address = &report.recipient.address;
        let subject = self.subject_ref(&report.business, &compiled.keys, address);
        let entry = self.0.cache.facts(&subject).await?;
        let (unreachable_until, limited_until) = standing(&entry.facts, self.now());
        Ok(DeliveryAnswer {
            opted_out: false,
            unreachable_until,
            limited_until,
            kept: None,
            restricted: None,
        })
    }
}

impl StoredFailure {
    fn of(event: &Event, facts: &Facts) -> Self {
        let (unreachable_until, limited_until) = standing(facts, event.recorded_at);
        Self {
            event_id: event.event_id,
            opted_out: matches!(event.act, Act::Suppressed(_)),
            unreachable_until,
            limited_until,
        }
    }
}

/// Until when an address is unreachable, and marketing to it held back by WhatsApp.
fn standing(facts: &Facts, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let ahead = |end: Option<Timestamp>| end.filter(|end| now < *end);
    (
        ahead(facts.unreachable_until()),
        ahead(facts.limited_until()),
    )
}

fn payload(report: &DeliveryReport) -> Payload {
    let message_id = report.message_id.as_ref().map(|id| id.0.clone());
    let evidence = Evidence {
        message_id: message_id.unwrap_or_default(),
        ..Evidence::default()
    };
    let reported = Reported {
        error_code: report.error_code.clone(),
        provider: report.provider.clone(),
        ..Reported::of(report.decision_id.as_ref(), report.consent_event)
    };
    Payload::of_report(evidence, reported)
}

/// One message fails with one code once, however often that is reported. Without its id every
/// report is another one.
fn key(case: &Case<'_>) -> Option<Key> {
    let message = case.report.message_id.as_ref()?;
    let keys = &case.compiled.keys;
    let subject = keys.subject_key(&case.report.recipient.address).0;
    let parts: [&[u8]; 5] = [
        b"failed delivery",
        &subject,
        message.0.as_bytes(),
        case.provider.word().as_bytes(),
        case.code.as_bytes(),
    ];
    Some(Key::alone(keys.idempotency_hash(&parts)))
}
