//! `record` and `confirm`: what a person agreed to, was asked, put off, declined or confirmed.

use clap::Args;
use data_encoding::BASE64;
use tonic::Status;
use uuid::Uuid;

use super::client::Client;
use super::failure;
use super::fields::{self, EvidencePart};
use super::json::Object;
use super::output::{Format, Output};
use super::recipient::Recipient;
use super::wire::{self, short_time};
use super::words::{self, known, word};
use super::{Exit, Globals, table};
use crate::grpc::proto::{
    ConfirmConsentRequest, ConsentRecord, ConsentState, ConsentType, Effect, ImpliedBasis,
    IndicationMethod, NoticeRef, RecordConsentRequest,
};

/// The states that an act can have.
const STATES: &[ConsentState] = &[
    ConsentState::Given,
    ConsentState::Requested,
    ConsentState::RequestDeferred,
    ConsentState::Refused,
];

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The person: +NUMBER (spaces, dashes, dots, slashes and parentheses are taken out), wa:DIGITS
    /// or user:CC.ID.
    recipient: Recipient,
    /// Slug of the business that consent is given to.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// Key of a purpose. Give it again for each further one.
    #[arg(long, value_name = "KEY", required = true)]
    purpose: Vec<String>,
    /// Narrow the grant to this sender.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    sender: String,
    /// When the person acted, RFC 3339. Unset: now.
    #[arg(long, value_name = "TIME", value_parser = fields::time)]
    event_time: Option<prost_types::Timestamp>,
    /// What the person did. Unset: GIVEN.
    #[arg(long, value_name = "STATE", value_parser = words::one_of(STATES))]
    event_state: Option<ConsentState>,
    /// How it was expressed. Required for a grant.
    #[arg(long, value_name = "METHOD", value_parser = words::any_of::<IndicationMethod>())]
    method: Option<IndicationMethod>,
    /// How firmly the person agreed. Required for a grant.
    #[arg(long = "type", value_name = "TYPE", value_parser = words::any_of::<ConsentType>())]
    consent_type: Option<ConsentType>,
    /// With IMPLIED: what it is inferred from.
    #[arg(long, value_name = "BASIS", value_parser = words::any_of::<ImpliedBasis>())]
    implied_basis: Option<ImpliedBasis>,
    /// With IMPLIED: when that happened or ended, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = fields::time)]
    basis_time: Option<prost_types::Timestamp>,
    /// What the person was shown. Required for a grant that is not IMPLIED.
    #[arg(long, value_name = "ID:VERSION:LANGUAGE", value_parser = fields::notice)]
    notice: Option<NoticeRef>,
    /// What proves it: source_url, form_id, message_id, ip_address, user_agent, signup_id, call_id,
    /// statement, or attachment=KIND:SHA256[:URI]. Give it again for each further field.
    #[arg(long, value_name = "KEY=VALUE", value_parser = fields::evidence_part)]
    evidence: Vec<EvidencePart>,
    /// What you state about the form: default_unticked, separate_from_terms, whatsapp_named,
    /// number_entered_by_subject. What is not stated is missing, not false.
    #[arg(long, value_name = "KEY=true|false", value_parser = fields::declaration)]
    declare: Vec<(&'static str, bool)>,
    /// ISO 3166-1 or -2 code where the person lives. Unset: derived from the number.
    #[arg(
        long,
        value_name = "CODE",
        default_value = "",
        hide_default_value = true
    )]
    jurisdiction: String,
    /// A label for segments, such as store=berlin. Give it again for each further one.
    #[arg(long, value_name = "KEY=VALUE", value_parser = fields::pair)]
    label: Vec<(String, String)>,
    /// Who or what records it.
    #[arg(
        long,
        value_name = "WHO",
        default_value = "",
        hide_default_value = true
    )]
    actor: String,
    /// The same key and content again returns the first answer. Unset: a random one.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The import that brought it. Required with the method IMPORT.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    import_batch: String,
}

#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// The address that was asked: +NUMBER, wa:DIGITS or user:CC.ID.
    recipient: Recipient,
    /// Slug of the business.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// Key of a purpose that is confirmed. Give it again for each further one. Unset: all that are
    /// pending.
    #[arg(long, value_name = "KEY")]
    purpose: Vec<String>,
    /// The sender that the grant was narrowed to.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    sender: String,
    /// When the person confirmed, RFC 3339. Unset: now.
    #[arg(long, value_name = "TIME", value_parser = fields::time)]
    event_time: Option<prost_types::Timestamp>,
    /// How the person confirmed.
    #[arg(long, value_name = "METHOD", value_parser = words::any_of::<IndicationMethod>())]
    method: IndicationMethod,
    /// What proves it, as in `record`.
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
    /// The same key and content again returns the first answer. Unset: a random one.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// What the answers to `record` and `confirm` have in common.
struct Recorded {
    records: Vec<ConsentRecord>,
    consistency_token: String,
    receipt: Vec<u8>,
}

pub(super) async fn record(
    args: RecordArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let request = request(args)?;
    let again = Repeat::of(&request.idempotency_key, request.event_time.as_ref());
    let client = Client::connect(globals).await?;
    let answer = client
        .consents()
        .record_consent(client.request(request))
        .await;
    let answer = again.of_answer(answer)?;
    print(
        &Recorded {
            records: answer.records,
            consistency_token: answer.consistency_token,
            receipt: answer.receipt,
        },
        output,
    )
}

fn request(args: RecordArgs) -> anyhow::Result<RecordConsentRequest> {
    Ok(RecordConsentRequest {
        business_id: args.business,
        recipient: Some(args.recipient.to_proto()),
        purposes: args.purpose,
        sender_id: args.sender,
        event_time: Some(args.event_time.unwrap_or_else(fields::now)),
        event_state: words::number(args.event_state),
        indication_method: words::number(args.method),
        consent_type: words::number(args.consent_type),
        implied_basis: words::number(args.implied_basis),
        basis_time: args.basis_time,
        notice: args.notice,
        evidence: fields::evidence(args.evidence)?,
        declarations: fields::declarations(&args.declare)?,
        jurisdiction: args.jurisdiction,
        labels: fields::labels(args.label)?,
        actor: args.actor,
        idempotency_key: args
            .idempotency_key
            .unwrap_or_else(|| Uuid::new_v4().to_string()),
        import_batch_id: args.import_batch,
    })
}

pub(super) async fn confirm(
    args: ConfirmArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let request = ConfirmConsentRequest {
        business_id: args.business,
        recipient: Some(args.recipient.to_proto()),
        purposes: args.purpose,
        sender_id: args.sender,
        event_time: Some(args.event_time.unwrap_or_else(fields::now)),
        indication_method: args.method.into(),
        evidence: fields::evidence(args.evidence)?,
        actor: args.actor,
        idempotency_key: args
            .idempotency_key
            .unwrap_or_else(|| Uuid::new_v4().to_string()),
    };
    let again = Repeat::of(&request.idempotency_key, request.event_time.as_ref());
    let client = Client::connect(globals).await?;
    let answer = client
        .consents()
        .confirm_consent(client.request(request))
        .await;
    let answer = again.of_answer(answer)?;
    print(
        &Recorded {
            records: answer.records,
            consistency_token: answer.consistency_token,
            receipt: answer.receipt,
        },
        output,
    )
}

/// The flags with which a write can be repeated. The time belongs to them: the same key with
/// another time is other content.
struct Repeat(String);

impl Repeat {
    fn of(key: &str, event_time: Option<&prost_types::Timestamp>) -> Self {
        let time = event_time.map(wire::time).unwrap_or_default();
        Self(format!("--idempotency-key {key} --event-time {time}"))
    }

    fn of_answer<T>(self, answer: Result<tonic::Response<T>, Status>) -> anyhow::Result<T> {
        failure::answered(answer, || self.0)
    }
}

fn print(recorded: &Recorded, output: &mut Output) -> anyhow::Result<Exit> {
    match output.format {
        Format::Table => output.text(text(&recorded.records))?,
        Format::Json => output.json(&json(recorded))?,
    }
    Ok(Exit::Done)
}

fn text(records: &[ConsentRecord]) -> String {
    let rows = records.iter().map(|record| {
        [
            record.purpose.clone(),
            word::<ConsentState>(record.state),
            known::<Effect>(record.effect).unwrap_or_default(),
            short_time(record.expires_at.as_ref()),
            record.event_id.clone(),
        ]
    });
    table::table(["purpose", "state", "effect", "expires", "event"], rows)
}

fn json(recorded: &Recorded) -> Object {
    Object::new()
        .list("records", recorded.records.iter().map(wire::record))
        .text("consistency_token", &recorded.consistency_token)
        .text("receipt", &BASE64.encode(&recorded.receipt))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::failure::Repeatable;
    use super::*;

    #[derive(Debug, Parser)]
    struct Record {
        #[command(flatten)]
        args: RecordArgs,
    }

    fn parse(line: &str) -> RecordArgs {
        Record::try_parse_from(line.split(' ')).unwrap().args
    }

    #[test]
    fn every_flag_reaches_its_field() {
        let found = request(parse(
            "record +4915112345678 --business acme --purpose offers --purpose news --sender de-1 \
             --event-time 2026-05-03T14:22:07Z --event-state GIVEN --method unticked-checkbox \
             --type IMPLIED --implied-basis PURCHASE --basis-time 2026-05-01T00:00:00Z \
             --notice signup:3:de --evidence form_id=f1 --declare default_unticked=true \
             --jurisdiction DE --label store=berlin --actor cli --idempotency-key k1 \
             --import-batch b1",
        ))
        .unwrap();
        assert_eq!(found.business_id, "acme");
        assert_eq!(found.purposes, ["offers", "news"]);
        assert_eq!(found.sender_id, "de-1");
        assert_eq!(found.event_time.unwrap().seconds, 1_777_818_127);
        assert_eq!(found.event_state(), ConsentState::Given);
        assert_eq!(
            found.indication_method(),
            IndicationMethod::UntickedCheckbox
        );
        assert_eq!(found.consent_type(), ConsentType::Implied);
        assert_eq!(found.implied_basis(), ImpliedBasis::Purchase);
        assert!(found.basis_time.is_some());
        assert_eq!(found.notice.unwrap().version, 3);
        assert_eq!(found.evidence.unwrap().form_id, "f1");
        assert_eq!(found.declarations.unwrap().default_unticked, Some(true));
        assert_eq!(found.jurisdiction, "DE");
        assert_eq!(found.labels["store"], "berlin");
        assert_eq!(found.actor, "cli");
        assert_eq!(found.idempotency_key, "k1");
        assert_eq!(found.import_batch_id, "b1");
    }

    #[test]
    fn what_is_not_said_is_unset_but_for_the_time_and_the_key() {
        let line = "record +4915112345678 --business acme --purpose offers";
        let (one, other) = (request(parse(line)).unwrap(), request(parse(line)).unwrap());
        assert!(one.event_time.unwrap().seconds > 1_700_000_000);
        assert_ne!(one.idempotency_key, other.idempotency_key);
        assert_eq!(one.event_state, 0);
        assert_eq!(
            (one.evidence, one.declarations, one.notice),
            (None, None, None)
        );
    }

    #[test]
    fn a_lost_answer_says_how_to_repeat_the_write() {
        let at = prost_types::Timestamp {
            seconds: 1_777_818_127,
            nanos: 5_000,
        };
        let lost = Repeat::of("k1", Some(&at)).of_answer::<()>(Err(Status::unavailable("gone")));
        let Repeatable(how) = lost.unwrap_err().downcast().unwrap();
        assert_eq!(
            how,
            "--idempotency-key k1 --event-time 2026-05-03T14:22:07.000005Z"
        );

        let refused = Repeat::of("k1", None).of_answer::<()>(Err(Status::invalid_argument("no")));
        assert!(refused.unwrap_err().downcast_ref::<Repeatable>().is_none());
    }

    #[test]
    fn records_read_as_a_table() {
        let record = ConsentRecord {
            purpose: "offers".to_owned(),
            state: ConsentState::PendingConfirmation.into(),
            effect: Effect::Applied.into(),
            event_id: "e1".to_owned(),
            ..ConsentRecord::default()
        };
        assert_eq!(
            text(&[record]),
            "PURPOSE  STATE                 EFFECT   EXPIRES  EVENT\n\
             offers   PENDING_CONFIRMATION  APPLIED           e1"
        );
    }
}
