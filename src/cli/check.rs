//! `check`: may this message be sent to this person, now? The exit code is the decision, so that a
//! script cannot mistake an error for a permission.

use clap::Args;

use super::client::Client;
use super::json::Object;
use super::output::{Format, Output, say};
use super::reasons;
use super::recipient::Recipient;
use super::wire::{some_span, some_time};
use super::words::{self, word};
use super::{Exit, Globals, fields, table};
use crate::grpc::proto::{
    CheckConsentRequest, CheckConsentResponse, Consistency, Decision, MessageClass, Reason,
};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The person: +NUMBER (spaces, dashes, dots, slashes and parentheses are taken out), wa:DIGITS
    /// or user:CC.ID.
    recipient: Recipient,
    /// Slug of the business that wants to send.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// Key of the purpose.
    #[arg(long, value_name = "KEY")]
    purpose: String,
    /// Class of the message. Unset: the purpose's own; of the two the stricter counts.
    #[arg(long, value_name = "CLASS", value_parser = words::any_of::<MessageClass>())]
    class: Option<MessageClass>,
    /// The sending number: WhatsApp's phone_number_id, or an alias.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    sender: String,
    /// Name of the template.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    template: String,
    /// With OPT_OUT_CONFIRMATION: the same id gets the same answer.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// How fresh the answer must be: strict, fully, or token:TOKEN of an earlier answer.
    #[arg(long, value_name = "HOW", value_parser = fields::consistency)]
    consistency: Option<Consistency>,
}

impl CheckArgs {
    /// What is asked.
    pub(super) fn question(self) -> CheckConsentRequest {
        CheckConsentRequest {
            business_id: self.business,
            recipient: Some(self.recipient.to_proto()),
            purpose: self.purpose,
            message_class: words::number(self.class),
            sender_id: self.sender,
            template: self.template,
            request_id: self.request_id,
            consistency: self.consistency,
        }
    }
}

pub(super) async fn check(
    args: CheckArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let client = Client::connect(globals).await?;
    let answer = client
        .consents()
        .check_consent(client.request(args.question()))
        .await?
        .into_inner();
    match output.format {
        Format::Table => output.text(text(&answer))?,
        Format::Json => output.json(&json(&answer))?,
    }
    Ok(told(answer.decision))
}

/// The exit code of a decision; one that nobody knows is an error, and said to be.
pub(super) fn told(decision: i32) -> Exit {
    let exit = exit(decision);
    if exit == Exit::Failed {
        say("error: the server answered a decision that this version does not know: do not send");
    }
    exit
}

/// What a decision on the wire tells the caller. Only ALLOW is 0.
fn exit(decision: i32) -> Exit {
    match Decision::try_from(decision) {
        Ok(Decision::Allow) => Exit::Done,
        Ok(Decision::Deny) => Exit::No,
        Ok(Decision::Defer) => Exit::Later,
        Ok(Decision::Unspecified) | Err(_) => Exit::Failed,
    }
}

fn text(answer: &CheckConsentResponse) -> String {
    let reasons = reasons::list(&answer.reasons);
    let valid_for = some_span(answer.valid_for.as_ref()).unwrap_or_default();
    let valid_until = some_time(answer.valid_until.as_ref());
    let facts = table::list([
        (
            "not before",
            some_time(answer.not_before.as_ref()).unwrap_or_default(),
        ),
        ("consent event", answer.consent_event_id.clone()),
        (
            "valid for",
            match valid_until {
                Some(until) => format!("{valid_for}, until {until}"),
                None => valid_for,
            },
        ),
        ("decision id", answer.decision_id.clone()),
    ]);
    let decision = word::<Decision>(answer.decision);
    [decision, table::indented(&reasons), String::new(), facts]
        .join("\n")
        .trim_end()
        .to_owned()
}

fn json(answer: &CheckConsentResponse) -> Object {
    Object::new()
        .with("decision", word::<Decision>(answer.decision))
        .list(
            "reasons",
            answer.reasons.iter().map(|reason| word::<Reason>(*reason)),
        )
        .maybe("not_before", some_time(answer.not_before.as_ref()))
        .text("consent_event_id", &answer.consent_event_id)
        .maybe("valid_until", some_time(answer.valid_until.as_ref()))
        .maybe("valid_for", some_span(answer.valid_for.as_ref()))
        .text("policy_version", &answer.policy_version)
        .text("consistency_token", &answer.consistency_token)
        .text("decision_id", &answer.decision_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allow_is_zero_and_what_is_unknown_is_an_error() {
        assert_eq!(exit(Decision::Allow.into()), Exit::Done);
        assert_eq!(exit(Decision::Deny.into()), Exit::No);
        assert_eq!(exit(Decision::Defer.into()), Exit::Later);
        for unknown in [0, 4, 17, -1, i32::MAX] {
            assert_eq!(exit(unknown), Exit::Failed, "{unknown}");
        }
        let codes = [Exit::Done, Exit::No, Exit::Failed, Exit::Later].map(|exit| exit as u8);
        assert_eq!(codes, [0, 1, 2, 3]);
    }

    fn deferred() -> CheckConsentResponse {
        CheckConsentResponse {
            decision: Decision::Defer.into(),
            reasons: vec![Reason::QuietHours.into(), Reason::FrequencyCap.into()],
            not_before: Some(prost_types::Timestamp {
                seconds: 1_777_818_127,
                nanos: 0,
            }),
            valid_until: Some(prost_types::Timestamp {
                seconds: 1_777_818_000,
                nanos: 0,
            }),
            valid_for: Some(prost_types::Duration {
                seconds: 5,
                nanos: 0,
            }),
            decision_id: "d1".to_owned(),
            ..CheckConsentResponse::default()
        }
    }

    #[test]
    fn an_answer_reads_as_text() {
        assert_eq!(
            text(&deferred()),
            "DEFER\n  \
             QUIET_HOURS    It is outside the permitted hours where the person is.\n  \
             FREQUENCY_CAP  The person has had as many messages as is permitted.\n\n\
             not before   2026-05-03T14:22:07Z\n\
             valid for    5s, until 2026-05-03T14:20:00Z\n\
             decision id  d1"
        );
    }

    #[test]
    fn an_answer_reads_as_json() {
        assert_eq!(
            serde_json::to_string(&json(&deferred())).unwrap(),
            r#"{"decision":"DEFER","reasons":["QUIET_HOURS","FREQUENCY_CAP"],"not_before":"2026-05-03T14:22:07Z","valid_until":"2026-05-03T14:20:00Z","valid_for":"5s","decision_id":"d1"}"#
        );
    }
}
