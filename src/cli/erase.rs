//! `erase`: removes a person's data, and returns once nothing can be allowed from before it.

use clap::Args;
use uuid::Uuid;

use super::client::Client;
use super::failure;
use super::json::Object;
use super::output::{Format, Output};
use super::recipient::Recipient;
use super::wire::{self, some_span, some_time};
use super::words;
use super::{Exit, Globals, table};
use crate::grpc::proto::{EraseSubjectRequest, EraseSubjectResponse, ErasureBasis};

#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    /// The person: +NUMBER, wa:DIGITS or user:CC.ID.
    recipient: Recipient,
    /// Slug of the business.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// Why.
    #[arg(long, value_name = "BASIS", value_parser = words::any_of::<ErasureBasis>())]
    basis: ErasureBasis,
    /// A note for the file. It is kept for ever and in the clear: nothing personal.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    /// Who or what asks. Goes with the person's data.
    #[arg(
        long,
        value_name = "WHO",
        default_value = "",
        hide_default_value = true
    )]
    actor: String,
    /// The same key again returns the first answer. Unset: a random one.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(super) async fn erase(
    args: EraseArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let client = Client::connect(globals).await?;
    let key = args
        .idempotency_key
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    let request = EraseSubjectRequest {
        business_id: args.business,
        recipient: Some(args.recipient.to_proto()),
        basis: args.basis.into(),
        reason: args.reason,
        actor: args.actor,
        idempotency_key: key.clone(),
    };
    let answer = client.ledger().erase_subject(client.request(request)).await;
    let answer = failure::answered(answer, || format!("--idempotency-key {key}"))?;
    match output.format {
        Format::Table => output.text(text(&answer))?,
        Format::Json => output.json(&json(&answer))?,
    }
    Ok(Exit::Done)
}

fn text(answer: &EraseSubjectResponse) -> String {
    let (done, rest) = match some_time(answer.scheduled_for.as_ref()) {
        None => ("Erased", String::new()),
        Some(time) => (
            "Erased, but for the evidence of consents, which the policy has kept for now",
            time,
        ),
    };
    let facts = table::list([
        ("evidence goes", rest),
        ("event", answer.event_id.clone()),
        ("confirmed by", wire::instances(answer.instances_confirmed)),
        (
            "waited",
            some_span(answer.waited.as_ref()).unwrap_or_default(),
        ),
    ]);
    format!("{done}\n{}", table::indented(&facts))
}

fn json(answer: &EraseSubjectResponse) -> Object {
    Object::new()
        .with("event_id", &answer.event_id)
        .maybe("scheduled_for", some_time(answer.scheduled_for.as_ref()))
        .text("consistency_token", &answer.consistency_token)
        .with("instances_confirmed", answer.instances_confirmed)
        .maybe("waited", some_span(answer.waited.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erasure_says_what_is_gone_and_when_the_rest_goes() {
        let done = EraseSubjectResponse {
            event_id: "e1".to_owned(),
            scheduled_for: None,
            consistency_token: "t".to_owned(),
            instances_confirmed: 2,
            waited: Some(prost_types::Duration {
                seconds: 0,
                nanos: 2_000_000,
            }),
        };
        let put_off = EraseSubjectResponse {
            scheduled_for: Some(prost_types::Timestamp {
                seconds: 1_777_818_127,
                nanos: 0,
            }),
            ..done.clone()
        };
        assert_eq!(
            text(&done),
            "Erased\n  event         e1\n  confirmed by  2 instances\n  waited        0.002s"
        );
        assert_eq!(
            text(&put_off),
            "Erased, but for the evidence of consents, which the policy has kept for now\n  \
             evidence goes  2026-05-03T14:22:07Z\n  event          e1\n  \
             confirmed by   2 instances\n  waited         0.002s"
        );
        assert_eq!(
            serde_json::to_string(&json(&put_off)).unwrap(),
            r#"{"event_id":"e1","scheduled_for":"2026-05-03T14:22:07Z","consistency_token":"t","instances_confirmed":2,"waited":"0.002s"}"#
        );
    }
}
