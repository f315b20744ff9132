//! What is asked of a gate with somebody's secrets in every field: as it should be, and as it should not.

use std::sync::OnceLock;

use consentgate::grpc::proto::recipient::Address;
use consentgate::grpc::proto::*;
use http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use super::Place;
use super::collector::Raw;
use super::every_call::every_call;
use super::gate::{self, Gate};
use super::people::{grant, history, now, opt_out, person, question};
use super::secrets::{self, ACTOR, GERMAN, KEY, LABEL, NUMBER, USER_ID, WAMID};

/// Every call, with everything personal in it: sound, malformed, refused and in conflict.
pub async fn everything_is_asked(gate: &Gate) {
    sound_calls_are_made(gate).await;
    malformed_calls_are_made(gate).await;
    let anywhere = |_: &str| NUMBER.to_owned();
    for service in ["ConsentService", "CatalogService", "LedgerService"] {
        let ended = every_call(&gate.channel(), service, anywhere).await;
        assert!(
            ended.iter().any(|(_, code)| *code == Code::InvalidArgument),
            "{ended:?}"
        );
    }
    // The catalogue holds nothing of people, so only these take it.
    for service in ["ConsentService", "LedgerService"] {
        every_call(&gate.channel(), service, where_it_belongs).await;
    }
}

/// What a field is for, and somebody's secrets wherever the contract expects personal data.
fn where_it_belongs(field: &str) -> String {
    let text = match field {
        "business_id" => "acme",
        "purpose" | "purposes" => "offers",
        "sender_id" => "1001",
        "notice_id" => "signup",
        "language" => "en",
        "jurisdiction" => "US",
        "import_batch_id" => "import-1",
        "phone_number" => NUMBER,
        "wa_id" => &NUMBER[1..],
        "business_scoped_user_id" => USER_ID,
        "message_id" => WAMID,
        "ip_address" => secrets::IP_ADDRESS,
        "sha256" => "0123456789abcdef0123456789abcdef",
        "registry"
        | "list_version"
        | "provider"
        | "error_code"
        | "template"
        | "reason"
        | "request_id"
        | "decision_id"
        | "consent_event_id"
        | "suppression_event_id" => "none",
        _ => KEY,
    };
    text.to_owned()
}

async fn sound_calls_are_made(gate: &Gate) {
    let mut client = gate.client();
    let mut record = record();
    let recorded = client.record_consent(record.clone()).await.unwrap();
    assert_eq!(recorded.into_inner().records.len(), 1);
    client.record_consent(record.clone()).await.unwrap();
    record.actor.push('2');
    let conflict = client.record_consent(record.clone()).await.unwrap_err();
    assert_eq!(conflict.code(), Code::AlreadyExists);

    record.recipient = secrets::recipient(Address::PhoneNumber(GERMAN.into()));
    record.idempotency_key.push_str("german");
    client.record_consent(record.clone()).await.unwrap();
    let confirm = ConfirmConsentRequest {
        business_id: "acme".into(),
        recipient: record.recipient.clone(),
        event_time: now(),
        indication_method: IndicationMethod::Keyword.into(),
        evidence: secrets::evidence(),
        actor: ACTOR.into(),
        idempotency_key: KEY.into(),
        ..ConfirmConsentRequest::default()
    };
    client.confirm_consent(confirm.clone()).await.unwrap();
    let again = ConfirmConsentRequest {
        idempotency_key: format!("{KEY}2"),
        ..confirm
    };
    let nothing_pending = client.confirm_consent(again).await.unwrap_err();
    assert_eq!(nothing_pending.code(), Code::FailedPrecondition);

    messages_are_reported(gate).await;
    for address in [
        Address::WaId(NUMBER[1..].into()),
        Address::BusinessScopedUserId(USER_ID.into()),
        Address::PhoneNumber(NUMBER.into()),
    ] {
        let recipient = secrets::recipient(address).unwrap();
        let key = format!("{KEY}-{recipient:?}");
        let mut withdraw = opt_out(&recipient, KEY);
        for key in [KEY, KEY, &key] {
            withdraw.idempotency_key = key.chars().take(128).collect();
            withdraw.evidence = secrets::evidence();
            withdraw.actor = ACTOR.into();
            client.withdraw(withdraw.clone()).await.unwrap();
        }
        let answer = gate.check(question(&recipient)).await;
        assert_eq!(answer.decision(), Decision::Deny);
        let events = client
            .list_consent_events(history(&recipient))
            .await
            .unwrap();
        assert_eq!(events.into_inner().events.last().unwrap().actor, ACTOR);
    }
}

/// What was sent to somebody and failed, and what a registry said of the number.
async fn messages_are_reported(gate: &Gate) {
    let mut client = gate.client();
    let sent = ReportSendRequest {
        business_id: "acme".into(),
        recipient: secrets::number(),
        sender_id: "1001".into(),
        purpose: "offers".into(),
        message_id: WAMID.into(),
        sent_at: now(),
        ..ReportSendRequest::default()
    };
    let asked = ReportSendRequest {
        message_class: MessageClass::ConsentRequest.into(),
        ..sent.clone()
    };
    for report in [sent.clone(), sent, asked.clone(), asked] {
        client.report_send(report).await.unwrap();
    }
    // A failure, an opt-out, a restricted sender, which is logged, and what is not known.
    for error_code in ["131026", "131050", "131031", "999999"] {
        let failed = ReportDeliveryRequest {
            business_id: "acme".into(),
            recipient: secrets::number(),
            sender_id: "1001".into(),
            message_id: WAMID.into(),
            error_code: error_code.into(),
            failed_at: now(),
            ..ReportDeliveryRequest::default()
        };
        client.report_delivery(failed.clone()).await.unwrap();
        client.report_delivery(failed).await.unwrap();
    }
    let check = RecordRegistryCheckRequest {
        business_id: "acme".into(),
        recipient: secrets::number(),
        registry: "sg-rnd".into(),
        result: RegistryResult::NotListed.into(),
        checked_at: now(),
        actor: ACTOR.into(),
        idempotency_key: format!("{KEY}-looked-up"),
        ..RecordRegistryCheckRequest::default()
    };
    client.record_registry_check(check).await.unwrap();
    // A message that opens a window, and an opt-out that is confirmed.
    for text in ["Please write after six", "STOP"] {
        let message = ReportInboundRequest {
            business_id: "acme".into(),
            sender_id: "1001".into(),
            recipient: secrets::number(),
            message_id: format!("{WAMID}{}", text.len()),
            received_at: now(),
            kind: InboundKind::Text.into(),
            text: text.into(),
            ..ReportInboundRequest::default()
        };
        client.report_inbound(message).await.unwrap();
    }
    let confirmation = CheckConsentRequest {
        message_class: MessageClass::OptOutConfirmation.into(),
        sender_id: "1001".into(),
        request_id: KEY.into(),
        ..question(&secrets::number().unwrap())
    };
    assert_eq!(gate.check(confirmation).await.decision(), Decision::Allow);
    let events = client
        .list_consent_events(history(&secrets::number().unwrap()))
        .await
        .unwrap()
        .into_inner()
        .events;
    let ids = events.into_iter().filter_map(|event| event.evidence);
    let told = ids.filter(|evidence| evidence.message_id == WAMID).count();
    assert!(told >= 3, "who asks is told the message's id: {told}");
}

/// Numbers as people write them; the same person wherever a field takes text; evidence that is refused.
async fn malformed_calls_are_made(gate: &Gate) {
    numbers_are_typed_by_hand(gate).await;
    let mut client = gate.client();
    let invalid = |result: Result<(), Status>| {
        assert_eq!(result.unwrap_err().code(), Code::InvalidArgument);
    };
    let misplaced: [fn(&mut CheckConsentRequest); 5] = [
        |asked| asked.business_id = NUMBER[1..].into(),
        |asked| asked.business_id = NUMBER.into(),
        |asked| asked.purpose = NUMBER[1..].into(),
        |asked| asked.sender_id = NUMBER.into(),
        |asked| asked.consistency = Some(fresh_as(WAMID)),
    ];
    for misplace in misplaced {
        let mut asked = question(&person(1));
        misplace(&mut asked);
        invalid(client.check_consent(asked).await.map(drop));
    }
    let mut in_template = question(&person(1));
    in_template.template = NUMBER.into();
    client.check_consent(in_template).await.unwrap();
    let mut page = history(&person(1));
    page.page_token = NUMBER.into();
    invalid(client.list_consent_events(page).await.map(drop));

    let refused: [fn(&mut RecordConsentRequest); 8] = [
        |record| record.declarations.get_or_insert_default().default_unticked = Some(false),
        |record| record.event_time = None,
        |record| record.jurisdiction = NUMBER.into(),
        |record| record.notice.as_mut().unwrap().notice_id = NUMBER[1..].into(),
        |record| record.purposes = vec![NUMBER[1..].into()],
        |record| record.actor = NUMBER.repeat(30),
        |record| record.import_batch_id = NUMBER.repeat(30),
        |record| record.evidence.as_mut().unwrap().ip_address = NUMBER.into(),
    ];
    for (number, spoil) in refused.into_iter().enumerate() {
        let mut record = record();
        record.idempotency_key = format!("{KEY}-refused-{number}");
        spoil(&mut record);
        invalid(client.record_consent(record).await.map(drop));
    }
    let mut huge = record();
    huge.evidence.as_mut().unwrap().statement = NUMBER.repeat(500_000);
    let huge = client.record_consent(huge).await.unwrap_err();
    assert_eq!(huge.code(), Code::ResourceExhausted);
    bytes_are_sent(gate).await;
}

async fn numbers_are_typed_by_hand(gate: &Gate) {
    let mut client = gate.client();
    let invalid = |result: Result<(), Status>| {
        assert_eq!(result.unwrap_err().code(), Code::InvalidArgument);
    };
    for text in [
        "(415) 555-9871",
        "4155559871",
        "+1 415 555 9871",
        "+14155559871x",
        "+1415555987100000",
    ] {
        let typed = secrets::recipient(Address::PhoneNumber(text.into())).unwrap();
        invalid(client.check_consent(question(&typed)).await.map(drop));
        invalid(client.withdraw(opt_out(&typed, KEY)).await.map(drop));
        invalid(client.record_consent(grant(&typed, KEY)).await.map(drop));
        let batch = BatchCheckConsentRequest {
            business_id: "acme".into(),
            purpose: "offers".into(),
            recipients: vec![typed, secrets::number().unwrap()],
            ..BatchCheckConsentRequest::default()
        };
        let answer = client.batch_check_consent(batch).await.unwrap();
        let results = answer.into_inner().results;
        assert!(results[0].error.is_some() && results[1].error.is_none());
    }
}

/// Messages that are none, to methods that are some and methods that are none.
async fn bytes_are_sent(gate: &Gate) {
    let garbage = NUMBER.repeat(3).into_bytes();
    // Field 1, a text of two bytes that are none, and then the number.
    let no_text = [&[0x0a, 2, 0xff, 0xfe], NUMBER.as_bytes()].concat();
    let record = "/consentgate.v1.ConsentService/RecordConsent";
    for (path, message, code) in [
        (record, &garbage, Code::InvalidArgument),
        (record, &no_text, Code::InvalidArgument),
        (
            "/consentgate.v1.ConsentService/Call14155559871",
            &garbage,
            Code::Unimplemented,
        ),
        ("/14155559871/Call", &garbage, Code::Unimplemented),
    ] {
        let mut client = tonic::client::Grpc::new(gate.channel());
        client.ready().await.unwrap();
        let request = Request::new(message.clone());
        let path = PathAndQuery::from_static(path);
        let status = client.unary(request, path, Raw).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
}

/// The command line says to its user what it was told, and the gate to nobody.
pub async fn commands_are_run(gate: &Gate, place: &Place) {
    place.write(
        "campaign.txt",
        &format!("{NUMBER}\n+1 (415) 555-9871\n0176 209876543\n{GERMAN}\n"),
    );
    let of = ["--business", "acme"];
    let offers = ["--purpose", "offers"];
    let said = format!("message_id={WAMID}");
    for (code, arguments) in [
        (
            1,
            [&["check", "+1 415 555 9871"][..], &of, &offers].concat(),
        ),
        (
            2,
            [&["check", NUMBER, "--business", "14155559871"][..], &offers].concat(),
        ),
        (2, [&["batch", "campaign.txt"][..], &of, &offers].concat()),
        (
            2,
            [
                &["record", NUMBER, "--type", "EXPRESSED", "--actor", ACTOR][..],
                &of,
                &offers,
            ]
            .concat(),
        ),
        (
            2,
            [
                &[
                    "confirm",
                    NUMBER,
                    "--method",
                    "KEYWORD",
                    "--evidence",
                    &said,
                ][..],
                &of,
            ]
            .concat(),
        ),
        (
            0,
            [
                &["withdraw", NUMBER, "--everything", "--evidence", &said][..],
                &of,
            ]
            .concat(),
        ),
        (
            0,
            [&["show", USER_ID_OF_COMMANDS, "--evidence"][..], &of].concat(),
        ),
    ] {
        let mut command = place.command(&arguments);
        command.env("CONSENTGATE_SERVER", gate.address().to_string());
        let (ended, _) = gate::run(command).await;
        assert_eq!(ended.code(), code, "{arguments:?}: {ended}");
    }
}

const USER_ID_OF_COMMANDS: &str = "user:US.13491208655302741918";

/// A grant with everything personal in it. The same again at the next call.
pub fn record() -> RecordConsentRequest {
    static AT: OnceLock<Option<prost_types::Timestamp>> = OnceLock::new();
    RecordConsentRequest {
        event_time: *AT.get_or_init(now),
        evidence: secrets::evidence(),
        labels: [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
        actor: ACTOR.into(),
        ..grant(&secrets::number().unwrap(), KEY)
    }
}

fn fresh_as(token: &str) -> Consistency {
    let requirement = consistency::Requirement::AtLeastAsFresh(token.into());
    Consistency {
        requirement: Some(requirement),
    }
}
