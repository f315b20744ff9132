//! `withdraw`: ends consent, and returns once nothing can be allowed from before it.

use clap::{ArgGroup, Args};
use uuid::Uuid;

use super::client::Client;
use super::failure;
use super::fields::{self, EvidencePart};
use super::json::Object;
use super::output::{Format, Output};
use super::recipient::Recipient;
use super::wire::{self, some_span, some_time};
use super::words;
use super::{Exit, Globals, table};
use crate::grpc::proto::{WithdrawRequest, WithdrawResponse, WithdrawalMethod, WithdrawalScope};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scope").required(true).args(["purpose", "all_marketing", "everything"])))]
pub(super) struct WithdrawArgs {
    /// The person: +NUMBER, wa:DIGITS or user:CC.ID.
    recipient: Recipient,
    /// Slug of the business.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// End this purpose. Give it again for each further one.
    #[arg(long, value_name = "KEY")]
    purpose: Vec<String>,
    /// End every purpose for marketing messages, also those added later.
    #[arg(long)]
    all_marketing: bool,
    /// End every purpose and class, also those added later.
    #[arg(long)]
    everything: bool,
    /// Only for messages of this sender.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    sender: String,
    /// How it reached the business.
    #[arg(long, value_name = "METHOD", value_parser = words::any_of::<WithdrawalMethod>())]
    method: Option<WithdrawalMethod>,
    /// When the person withdrew, RFC 3339. Unset: now.
    #[arg(long, value_name = "TIME", value_parser = fields::time)]
    event_time: Option<prost_types::Timestamp>,
    /// What proves it, such as message_id=wamid.… Give it again for each further field.
    #[arg(long, value_name = "KEY=VALUE", value_parser = fields::evidence_part)]
    evidence: Vec<EvidencePart>,
    /// Who or what records it.
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

pub(super) async fn withdraw(
    args: WithdrawArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let client = Client::connect(globals).await?;
    let key = args
        .idempotency_key
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    let scope = WithdrawalScope {
        purposes: args.purpose,
        all_marketing: args.all_marketing,
        everything: args.everything,
        sender_id: args.sender,
    };
    let request = WithdrawRequest {
        business_id: args.business,
        recipient: Some(args.recipient.to_proto()),
        scope: Some(scope.clone()),
        // As for `record`: both by this clock, so that a consent given after it counts.
        event_time: Some(args.event_time.unwrap_or_else(fields::now)),
        withdrawal_method: words::number(args.method),
        evidence: fields::evidence(args.evidence)?,
        actor: args.actor,
        idempotency_key: key.clone(),
    };
    let answer = client.consents().withdraw(client.request(request)).await;
    let answer = failure::answered(answer, || format!("--idempotency-key {key}"))?;
    match output.format {
        Format::Table => output.text(text(&answer, &scope))?,
        Format::Json => output.json(&json(&answer))?,
    }
    Ok(Exit::Done)
}

fn text(answer: &WithdrawResponse, scope: &WithdrawalScope) -> String {
    let facts = table::list([
        ("scope", wire::scope_text(scope)),
        (
            "effective",
            some_time(answer.effective_at.as_ref()).unwrap_or_default(),
        ),
        ("event", answer.event_id.clone()),
        ("confirmed by", wire::instances(answer.instances_confirmed)),
        (
            "waited",
            some_span(answer.waited.as_ref()).unwrap_or_default(),
        ),
    ]);
    format!("Withdrawn\n{}", table::indented(&facts))
}

fn json(answer: &WithdrawResponse) -> Object {
    Object::new()
        .with("event_id", &answer.event_id)
        .maybe("effective_at", some_time(answer.effective_at.as_ref()))
        .text("consistency_token", &answer.consistency_token)
        .with("instances_confirmed", answer.instances_confirmed)
        .maybe("waited", some_span(answer.waited.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_says_what_it_ended_and_since_when() {
        let answer = WithdrawResponse {
            event_id: "e1".to_owned(),
            effective_at: Some(prost_types::Timestamp {
                seconds: 1_777_818_127,
                nanos: 0,
            }),
            consistency_token: "t".to_owned(),
            instances_confirmed: 1,
            waited: Some(prost_types::Duration {
                seconds: 0,
                nanos: 2_000_000,
            }),
        };
        let scope = WithdrawalScope {
            all_marketing: true,
            ..WithdrawalScope::default()
        };
        assert_eq!(
            text(&answer, &scope),
            "Withdrawn\n  scope         all marketing\n  effective     2026-05-03T14:22:07Z\n  \
             event         e1\n  confirmed by  1 instance\n  waited        0.002s"
        );
        assert_eq!(
            serde_json::to_string(&json(&answer)).unwrap(),
            r#"{"event_id":"e1","effective_at":"2026-05-03T14:22:07Z","consistency_token":"t","instances_confirmed":1,"waited":"0.002s"}"#
        );
    }
}
