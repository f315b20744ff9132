//! Report inbound: what a person sent to a business's number, and what follows from it.
//!
//! An opt-out is heard in any spelling and taken at once; a yes counts only while a confirmation is
//! pending; what may be an opt-out pauses marketing. Every other message opens the service window. A
//! report may come late, twice or out of order, and never fails because the person is unknown. What a
//! message says is [`crate::domain::keywords`]'s business, what two addresses have to do with each
//! other [`super::identity`]'s.

mod action;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::append::{Begun, Wait, Write, Written};
use super::idempotency::Key;
use super::identity::Said;
use super::payload::Payload;
use super::withdraw::EARLIEST;
use super::{Consents, Error, Evidence, Recipient};
use crate::catalog::Compiled;
use crate::domain::activity::Wanted;
use crate::domain::id::{BusinessId, EventId, SenderId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{InboundAction, InboundKind, TimeSource};
use crate::ledger::{Rpc, SubjectRef};
use action::Intent;

/// What a person sent, parsed and bounded.
#[derive(Debug, Clone, Serialize)]
pub struct InboundReport {
    pub business: BusinessId,
    pub sender: SenderId,
    #[serde(skip)]
    pub recipient: Recipient,
    /// Empty: not given.
    #[serde(skip)]
    pub message_id: String,
    pub received_at: Timestamp,
    pub kind: InboundKind,
    pub text: String,
    pub payload: String,
    #[serde(skip)]
    pub also_known_as: Option<Recipient>,
    /// With [`InboundKind::IdentityChanged`] alone.
    #[serde(skip)]
    pub previous: Option<Recipient>,
    pub signup_id: String,
}

/// What a report did. A repeat gives what the first one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundAnswer {
    pub action: InboundAction,
    /// The word or phrase of the lists; empty if none.
    pub matched_keyword: String,
    /// Language of the list it stands in; empty if none.
    pub language: String,
    /// `None`: no window is open.
    pub service_window_until: Option<Timestamp>,
    pub event_id: Option<EventId>,
    pub token: String,
    /// 0: nothing was restricted.
    pub instances_confirmed: u32,
    /// `None`: nothing was restricted.
    pub waited: Option<Duration>,
}

/// The answer as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Done {
    pub action: InboundAction,
    #[serde(default)]
    pub keyword: String,
    #[serde(default)]
    pub language: String,
    pub event_id: Option<EventId>,
}

impl Consents {
    /// Takes a report. When it was an opt-out and this returns, no check that starts later is
    /// answered from before it.
    pub async fn report_inbound(&self, report: InboundReport) -> Result<InboundAnswer, Error> {
        let consents = self.clone();
        self.to_its_end(async move { consents.report_inbound_now(&report).await })
            .await
    }

    async fn report_inbound_now(&self, report: &InboundReport) -> Result<InboundAnswer, Error> {
        let mut compiled = self.business(&report.business).await?;
        // Nothing of the catalogue can refuse an opt-out, not even that it cannot be read now.
        if compiled.catalog().sender(&report.sender).is_none()
            && self.0.catalog.catch_up().await.is_ok()
        {
            compiled = self.business(&report.business).await?;
        }
        let sender = compiled
            .catalog()
            .sender(&report.sender)
            .map(|sender| sender.sender_id.clone());
        let key = report_key(report, &compiled);
        let mut write = Write {
            rpc: Rpc::ReportInbound,
            business: &report.business,
            compiled: &compiled,
            recipient: &report.recipient,
            payload: Payload::new(&evidence(report), &BTreeMap::new(), ""),
            key: Some(key),
        };
        let mut first = self.begin::<Done>(&write, Wait::Yes).await;
        if matches!(first, Err(Error::KeyReused)) {
            // An edited message has the id of the first one: it is another message.
            write.key = Some(key.for_other_content(&compiled));
            first = self.begin::<Done>(&write, Wait::Yes).await;
        }
        let written = match first? {
            Begun::Repeated(first) => Some(first),
            Begun::New(_) => self.act_on(write, report, sender.as_ref()).await?,
        };
        self.open_window(report, &compiled, sender.as_ref()).await?;
        self.answer_inbound(report, &compiled, sender.as_ref(), written)
            .await
    }

    /// What the report asks for, recorded; `None` if it asks for nothing.
    async fn act_on(
        &self,
        mut write: Write<'_>,
        report: &InboundReport,
        sender: Option<&SenderId>,
    ) -> Result<Option<Written<Done>>, Error> {
        let said = self.said(report);
        let mut linked = None;
        let intent = Intent::of(report, &self.0.words);
        // Of a message that asks for nothing the link is all that may come, and a repeat hears of it.
        // What does ask for something must never be taken for done because its link was.
        let link_key = write.key.filter(|_| intent.asks_for_nothing(report.kind));
        // First, so that what the message asks for holds for both addresses.
        if let Some(other) = &report.also_known_as {
            let link = Write {
                payload: None,
                key: link_key,
                ..write
            };
            linked = self
                .link(&link, other, said, |event_id| Done {
                    action: InboundAction::Linked,
                    keyword: String::new(),
                    language: String::new(),
                    event_id: Some(event_id),
                })
                .await?;
        }
        let link_is_the_answer = linked.is_some() && link_key.is_some();
        if link_is_the_answer {
            write.key = None;
        }
        let done = match (&report.kind, &report.previous) {
            (InboundKind::IdentityChanged, Some(previous)) => {
                self.move_identity(&write, previous, said, |event_id| Done {
                    action: InboundAction::Linked,
                    keyword: String::new(),
                    language: String::new(),
                    event_id: Some(event_id),
                })
                .await?
            }
            _ => {
                let done = self.carry_out(&write, report, sender, said, &intent);
                let done = done.await?;
                if done.is_some() && intent.opens_window(report.kind) {
                    // Whoever says yes or no answers as much as whoever says anything else.
                    let answers = Write {
                        payload: None,
                        key: None,
                        ..write
                    };
                    let reached = self.carry_out(&answers, report, sender, said, &Intent::Nothing);
                    reached.await?;
                }
                done
            }
        };
        Ok(match link_is_the_answer {
            true => linked,
            false => done.or(linked),
        })
    }

    /// WhatsApp's own time; ours where it names one that cannot be.
    fn said(&self, report: &InboundReport) -> Said {
        let now = self.now();
        match (EARLIEST..=now).contains(&report.received_at) {
            true => Said {
                at: report.received_at,
                source: TimeSource::Platform,
            },
            false => Said {
                at: now,
                source: TimeSource::Gate,
            },
        }
    }

    /// A message or a call opens the service window, unless it is or may be an opt-out.
    async fn open_window(
        &self,
        report: &InboundReport,
        compiled: &Compiled,
        sender: Option<&SenderId>,
    ) -> Result<(), Error> {
        let Some(sender) = sender else {
            return Ok(());
        };
        if !Intent::of(report, &self.0.words).opens_window(report.kind) {
            return Ok(());
        }
        let at = report.received_at.min(self.now());
        let subjects = self.addresses_of(report, compiled);
        self.0.activity.note_inbound(&subjects, sender, at).await?;
        Ok(())
    }

    /// Every address that the webhook itself carried.
    fn addresses_of(&self, report: &InboundReport, compiled: &Compiled) -> Vec<SubjectRef> {
        let recipients = std::iter::once(&report.recipient).chain(&report.also_known_as);
        let mut subjects: Vec<SubjectRef> = Vec::new();
        for recipient in recipients {
            let subject = self.subject_ref(&report.business, &compiled.keys, &recipient.address);
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
        subjects
    }

    async fn answer_inbound(
        &self,
        report: &InboundReport,
        compiled: &Compiled,
        sender: Option<&SenderId>,
        written: Option<Written<Done>>,
    ) -> Result<InboundAnswer, Error> {
        let now = self.now();
        let subject = self.subject_ref(&report.business, &compiled.keys, &report.recipient.address);
        let wanted = Wanted {
            window_of: sender,
            ..Wanted::default()
        };
        let activity = self
            .0
            .activity
            .activity(std::slice::from_ref(&subject), wanted, now, |_, _| false)
            .await?;
        let service_window_until = activity
            .first()
            .and_then(|activity| activity.window_end())
            .filter(|end| now < *end);
        let matched = Intent::of(report, &self.0.words);
        let token = written
            .as_ref()
            .map(|written| self.token_at(&written.positions))
            .unwrap_or_default();
        let done = written.map_or_else(|| matched.idle(), |written| written.answer);
        let restricts = match done.action {
            InboundAction::Withdrew | InboundAction::PossibleRevocation | InboundAction::Linked => {
                done.event_id.is_some()
            }
            InboundAction::None
            | InboundAction::Confirmed
            | InboundAction::Help
            | InboundAction::Granted
            | InboundAction::Resumed => false,
        };
        Ok(InboundAnswer {
            action: done.action,
            matched_keyword: done.keyword,
            language: done.language,
            service_window_until,
            event_id: done.event_id,
            token,
            instances_confirmed: u32::from(restricts),
            waited: restricts.then_some(Duration::ZERO),
        })
    }
}

/// The message id identifies a report; without one what, by whom, to whom and when do.
fn report_key(report: &InboundReport, compiled: &Compiled) -> Key {
    let name = match report.message_id.as_str() {
        "" => format!(
            "{}/{}/{}",
            report.sender,
            report.kind,
            report.received_at.as_micros()
        ),
        id => id.to_owned(),
    };
    // Ids of other people's messages are other ids: a provider's may be unique to a chat only.
    let name = format!("{}/{name}", report.recipient.text.as_str());
    Key::new(compiled, &name, &report.recipient, report)
}

/// What proves the act: the message itself.
fn evidence(report: &InboundReport) -> Evidence {
    const LONGEST: usize = 1_024;
    let mut statement: String = report.text.chars().take(LONGEST).collect();
    if statement.is_empty() {
        statement = report.payload.chars().take(LONGEST).collect();
    }
    Evidence {
        message_id: report.message_id.clone(),
        signup_id: report.signup_id.clone(),
        statement,
        ..Evidence::default()
    }
}
