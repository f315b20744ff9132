//! `explain`: why a check answers as it does, as a letter to somebody who asks or complains: the
//! question, the answer, what decided, what would have to change, each rule, and the events behind it.
//!
//! The sentences are the server's, so that they are those of the decision itself; the exit code is the
//! decision's, so that a script that takes it for a permission does no more than `check` would let it.

use clap::Args;

use super::check::{self, CheckArgs};
use super::client::Client;
use super::json::Object;
use super::output::{Format, Output};
use super::wire::{self, Evident, short_time, some_time};
use super::words::word;
use super::{Exit, Globals, fields, reasons, table, timeline};
use crate::grpc::proto::{
    CheckConsentRequest, Decision, ExplainConsentRequest, ExplainConsentResponse, ExplainStep,
    MessageClass, Reason,
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    question: CheckArgs,
    /// Judge as of this instant, RFC 3339: what was agreed to later does not count, what was
    /// restricted does. Unset: now.
    #[arg(long, value_name = "TIME", value_parser = fields::time)]
    at: Option<prost_types::Timestamp>,
    /// Print the evidence itself, not only which there is. It is personal: message ids, for one,
    /// contain the number.
    #[arg(long)]
    evidence: bool,
}

pub(super) async fn explain(
    args: ExplainArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let client = Client::connect(globals).await?;
    let evident = if args.evidence {
        Evident::Values
    } else {
        Evident::Fields
    };
    let question = args.question.question();
    let answer = client
        .consents()
        .explain_consent(client.request(to_be_explained(question.clone(), args.at)))
        .await?
        .into_inner();
    match output.format {
        Format::Table => output.text(letter(&question, &answer, evident))?,
        Format::Json => output.json(&json(&answer, evident))?,
    }
    Ok(check::told(answer.decision))
}

fn to_be_explained(
    question: CheckConsentRequest,
    at: Option<prost_types::Timestamp>,
) -> ExplainConsentRequest {
    let CheckConsentRequest {
        business_id,
        recipient,
        purpose,
        message_class,
        sender_id,
        template,
        request_id,
        consistency,
    } = question;
    ExplainConsentRequest {
        business_id,
        recipient,
        purpose,
        message_class,
        sender_id,
        template,
        request_id,
        consistency,
        at,
    }
}

fn letter(
    question: &CheckConsentRequest,
    answer: &ExplainConsentResponse,
    evident: Evident,
) -> String {
    let mut parts = vec![asked(question, answer), decided(answer)];
    let decisive = decisive(answer);
    parts.extend(decisive.map(|step| section("Why", &table::paragraph(&step.detail))));
    parts.extend(changes(answer).map(|text| section("What would have to change", &text)));
    parts.push(section("The rules, in their order", &rules(&answer.steps)));
    parts.extend(sources(&answer.steps).map(|text| section("Where the rules come from", &text)));
    let events = match answer.events.as_slice() {
        [] => "Nothing is recorded of this person that bears on the question.".to_owned(),
        events => timeline::text(events, evident),
    };
    parts.push(section("What is on record", &events));
    parts.join("\n\n")
}

fn section(title: &str, text: &str) -> String {
    format!("{title}\n{}", table::indented(text))
}

/// The question. It does not repeat the address, so that the letter can be passed on.
fn asked(question: &CheckConsentRequest, answer: &ExplainConsentResponse) -> String {
    let from = match question.sender_id.as_str() {
        "" => String::new(),
        sender => format!(" from sender {sender}"),
    };
    let class = word::<MessageClass>(answer.message_class);
    let question = format!(
        "May {} send this person a message for `{}`{from}, of class {class}?",
        question.business_id, question.purpose
    );
    let judged = table::list([
        ("as of", short_time(answer.at.as_ref())),
        ("rules of", answer.jurisdictions.join(", ")),
        ("time zones", answer.time_zones.join(", ")),
        ("version", answer.policy_version.clone()),
    ]);
    format!(
        "{}\n{}",
        table::one_line(question),
        table::indented(&judged)
    )
}

fn decided(answer: &ExplainConsentResponse) -> String {
    let decision = word::<Decision>(answer.decision);
    let said = match Decision::try_from(answer.decision) {
        Ok(Decision::Allow) => "yes.".to_owned(),
        Ok(Decision::Deny) => "no.".to_owned(),
        Ok(Decision::Defer) => match &answer.not_before {
            Some(at) => format!("not before {}.", short_time(Some(at))),
            None => "not yet.".to_owned(),
        },
        Ok(Decision::Unspecified) | Err(_) => "unknown: do not send.".to_owned(),
    };
    let reasons = table::indented(&reasons::list(&answer.reasons));
    format!("{decision}: {said}\n{reasons}")
}

/// The step that gave the first reason.
fn decisive(answer: &ExplainConsentResponse) -> Option<&ExplainStep> {
    let first = answer.reasons.first()?;
    answer.steps.iter().find(|step| step.reason == *first)
}

/// What would have to change, for every rule that stands in the way.
fn changes(answer: &ExplainConsentResponse) -> Option<String> {
    let failed = answer.steps.iter().filter(|step| !step.passed);
    let mut said: Vec<[String; 2]> = Vec::new();
    for step in failed.filter(|step| !step.remedy.is_empty()) {
        if said.iter().all(|known| known[1] != step.remedy) {
            said.push([step.rule.clone(), step.remedy.clone()]);
        }
    }
    (!said.is_empty()).then(|| table::wrapped(["rule", "what"], said))
}

fn rules(steps: &[ExplainStep]) -> String {
    let rows = steps.iter().map(|step| {
        [
            step.rule.clone(),
            result(step).to_owned(),
            step.detail.clone(),
        ]
    });
    table::wrapped(["rule", "result", "what came of it"], rows)
}

fn result(step: &ExplainStep) -> &'static str {
    match (step.passed, step.applies) {
        (true, true) => "passed",
        (true, false) => "-",
        (false, _) => "FAILED",
    }
}

/// Every source once, with the rules that come from it.
fn sources(steps: &[ExplainStep]) -> Option<String> {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for step in steps {
        for source in step.source.lines() {
            match said.iter_mut().find(|(known, _)| *known == source) {
                Some((_, rules)) if rules.contains(&step.rule.as_str()) => {}
                Some((_, rules)) => rules.push(&step.rule),
                None => said.push((source, vec![&step.rule])),
            }
        }
    }
    let rows: Vec<_> = said
        .into_iter()
        .map(|(source, rules)| [rules.join(", "), source.to_owned()])
        .collect();
    (!rows.is_empty()).then(|| table::wrapped(["rules", "source"], rows))
}

fn json(answer: &ExplainConsentResponse, evident: Evident) -> Object {
    Object::new()
        .with("decision", word::<Decision>(answer.decision))
        .list(
            "reasons",
            answer.reasons.iter().map(|reason| word::<Reason>(*reason)),
        )
        .maybe("not_before", some_time(answer.not_before.as_ref()))
        .text("consent_event_id", &answer.consent_event_id)
        .list("steps", answer.steps.iter().map(step))
        .list(
            "events",
            answer
                .events
                .iter()
                .map(|event| wire::event(event, evident)),
        )
        .word::<MessageClass>("message_class", answer.message_class)
        .list("jurisdictions", &answer.jurisdictions)
        .some("time_zones", &answer.time_zones)
        .maybe("at", some_time(answer.at.as_ref()))
        .text("policy_version", &answer.policy_version)
        .text("consistency_token", &answer.consistency_token)
}

fn step(step: &ExplainStep) -> Object {
    Object::new()
        .with("rule", &step.rule)
        .with("passed", step.passed)
        .word::<Reason>("reason", step.reason)
        .text("detail", &step.detail)
        .text("event_id", &step.event_id)
        .text("source", &step.source)
        .with("applies", step.applies)
        .text("remedy", &step.remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::{ConsentEvent, ConsentState, EventKind, Evidence};

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn question() -> CheckConsentRequest {
        CheckConsentRequest {
            business_id: "acme".to_owned(),
            purpose: "offers".to_owned(),
            sender_id: "1001".to_owned(),
            ..CheckConsentRequest::default()
        }
    }

    fn denied() -> ExplainConsentResponse {
        let step = |rule: &str, passed, applies, detail: &str| ExplainStep {
            rule: rule.to_owned(),
            passed,
            applies,
            detail: detail.to_owned(),
            ..ExplainStep::default()
        };
        let restriction = ExplainStep {
            reason: Reason::Withdrawn.into(),
            remedy: "A new consent by the person.".to_owned(),
            ..step(
                "restriction",
                false,
                true,
                "The person withdrew consent on 2026-05-03 14:22:07 UTC: all marketing, from every sender.",
            )
        };
        let source = "DE (law): UWG § 7";
        let sourced = |step: ExplainStep| ExplainStep {
            source: source.to_owned(),
            ..step
        };
        ExplainConsentResponse {
            decision: Decision::Deny.into(),
            reasons: vec![Reason::Withdrawn.into()],
            message_class: MessageClass::Marketing.into(),
            jurisdictions: vec!["DE".to_owned()],
            at: at(1_777_818_127),
            steps: vec![
                step(
                    "sender-held",
                    true,
                    true,
                    "The operator does not hold sender 1001.",
                ),
                restriction,
                sourced(step("consent", true, true, "The person consented.")),
                step(
                    "asking",
                    true,
                    false,
                    "Only a CONSENT_REQUEST depends on it.",
                ),
                sourced(step("policy", true, true, "DE applies.")),
            ],
            events: vec![ConsentEvent {
                event_id: "e1".to_owned(),
                kind: EventKind::Withdrawal.into(),
                event_state: ConsentState::Withdrawn.into(),
                effective_at: at(1_777_818_127),
                recorded_at: at(1_777_818_127),
                evidence: Some(Evidence {
                    message_id: "wamid.1".to_owned(),
                    ..Evidence::default()
                }),
                ..ConsentEvent::default()
            }],
            ..ExplainConsentResponse::default()
        }
    }

    #[test]
    fn an_answer_reads_as_a_letter() {
        let shown = letter(&question(), &denied(), Evident::Fields);
        let expected = "\
May acme send this person a message for `offers` from sender 1001, of class MARKETING?
  as of     2026-05-03 14:22:07 UTC
  rules of  DE

DENY: no.
  WITHDRAWN  The person withdrew consent.

Why
  The person withdrew consent on 2026-05-03 14:22:07 UTC: all marketing, from every sender.

What would have to change
  RULE         WHAT
  restriction  A new consent by the person.

The rules, in their order
  RULE         RESULT  WHAT CAME OF IT
  sender-held  passed  The operator does not hold sender 1001.
  restriction  FAILED  The person withdrew consent on 2026-05-03 14:22:07 UTC: all marketing, from
                       every sender.
  consent      passed  The person consented.
  asking       -       Only a CONSENT_REQUEST depends on it.
  policy       passed  DE applies.

Where the rules come from
  RULES            SOURCE
  consent, policy  DE (law): UWG § 7

What is on record
  2026-05-03 14:22:07 UTC  WITHDRAWAL WITHDRAWN
    evidence  message_id
    event     e1 at 0/0";
        assert_eq!(shown, expected);
    }

    #[test]
    fn evidence_is_shown_when_asked_for() {
        let shown = letter(&question(), &denied(), Evident::Values);
        assert!(shown.contains("wamid.1"), "{shown}");
        assert!(!letter(&question(), &denied(), Evident::Fields).contains("wamid.1"));
    }

    #[test]
    fn a_deferral_says_until_when_and_what_nobody_knows_is_no_yes() {
        let deferred = ExplainConsentResponse {
            decision: Decision::Defer.into(),
            not_before: at(1_777_818_127),
            ..ExplainConsentResponse::default()
        };
        assert!(decided(&deferred).starts_with("DEFER: not before 2026-05-03 14:22:07 UTC."));
        for unknown in [0, 4, -1] {
            let answer = ExplainConsentResponse {
                decision: unknown,
                ..ExplainConsentResponse::default()
            };
            assert!(decided(&answer).contains("do not send"), "{unknown}");
        }
    }

    #[test]
    fn an_answer_reads_as_json() {
        let mut answer = denied();
        answer.steps.truncate(2);
        answer.events.clear();
        assert_eq!(
            serde_json::to_string(&json(&answer, Evident::Fields)).unwrap(),
            r#"{"decision":"DENY","reasons":["WITHDRAWN"],"steps":[{"rule":"sender-held","passed":true,"detail":"The operator does not hold sender 1001.","applies":true},{"rule":"restriction","passed":false,"reason":"WITHDRAWN","detail":"The person withdrew consent on 2026-05-03 14:22:07 UTC: all marketing, from every sender.","applies":true,"remedy":"A new consent by the person."}],"events":[],"message_class":"MARKETING","jurisdictions":["DE"],"at":"2026-05-03T14:22:07Z"}"#
        );
    }
}
