//! SQL, lines of the log and what terminals obey, in every string of every message.

use consentgate::grpc::proto::stream_check_consent_request::Payload;
use consentgate::grpc::proto::*;
use prost::Message;
use tonic::Code;

use crate::callers::call;
use crate::process::every_call::{request_of, texts_of};
use crate::process::gate::{self, Gate};
use crate::process::people::{grant, history, now, opt_out, person, question};
use crate::process::{Place, REPLAY};

/// In each, so that it is found wherever it comes out again.
const MARK: &str = "forged-line";

/// What is tried in each string.
const POISONS: [&str; 7] = [
    "forged-line'; DROP TABLE event; --",
    "forged-line' OR '1'='1",
    "forged-line\\'); TRUNCATE subject CASCADE; --",
    "\n2026-11-23T00:00:00Z ERROR consentgate: forged-line",
    "\r\u{1b}[2J\u{1b}]0;forged-line\u{7}",
    "forged-line\0'; DELETE FROM event; --",
    "\"}{\"level\":\"ERROR\",\"message\":\"forged-line\"}${jndi:ldap://x}%n%s$1",
];

/// Requests with which nothing is wrong, so that a string that is taken gets as far as it can.
fn sound(rpc: &str, key: &str) -> Vec<u8> {
    let recipient = || Some(person(2));
    let business_id = || "acme".to_owned();
    match rpc {
        "ConsentService/CheckConsent" => question(&person(2)).encode_to_vec(),
        "ConsentService/BatchCheckConsent" => BatchCheckConsentRequest {
            business_id: business_id(),
            recipients: vec![person(2)],
            purpose: "offers".into(),
            ..BatchCheckConsentRequest::default()
        }
        .encode_to_vec(),
        "ConsentService/StreamCheckConsent" => {
            let question = StreamCheckQuestion {
                business_id: business_id(),
                purpose: "offers".into(),
                ..StreamCheckQuestion::default()
            };
            let payload = Some(Payload::Question(question));
            StreamCheckConsentRequest { payload }.encode_to_vec()
        }
        "ConsentService/RecordConsent" => grant(&person(2), key).encode_to_vec(),
        "ConsentService/Withdraw" => opt_out(&person(2), key).encode_to_vec(),
        "ConsentService/ReportSend" => ReportSendRequest {
            business_id: business_id(),
            recipient: recipient(),
            sender_id: "1001".into(),
            purpose: "offers".into(),
            message_id: format!("wamid.{key}"),
            sent_at: now(),
            ..ReportSendRequest::default()
        }
        .encode_to_vec(),
        "ConsentService/GetConsent" => GetConsentRequest {
            business_id: business_id(),
            recipient: recipient(),
            ..GetConsentRequest::default()
        }
        .encode_to_vec(),
        "ConsentService/ListConsentEvents" => history(&person(2)).encode_to_vec(),
        // Of the others every field that there is.
        rpc => request_of(&format!("consentgate.v1.{rpc}"), |field| {
            let text = match field {
                "business_id" => "acme",
                "purpose" | "purposes" | "key" => "offers",
                "sender_id" => "1001",
                "notice_id" => "signup",
                "phone_number" => "+14152000002",
                "wa_id" => "14152000002",
                "business_scoped_user_id" => "US.13491208655302741918",
                "language" => "en",
                "page_token" | "token" | "filter" => "",
                _ => key,
            };
            text.to_owned()
        }),
    }
}

/// Whether this is an answer to what was asked, and no failure of ours.
fn is_an_answer(code: Code) -> bool {
    matches!(
        code,
        Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
    )
}

/// Sends every poison in every string of every method; says how many calls were taken.
async fn every_string_is_poisoned(gate: &Gate) -> (usize, usize) {
    let channel = gate.channel();
    let (mut asked, mut taken) = (0, 0);
    for rpc in consentgate::grpc::methods() {
        let name = rpc.strip_prefix("consentgate.v1.").unwrap();
        // What is wrong is put behind what is sound: of two values of one field the last one counts.
        for poison in POISONS {
            for (field, wrong) in texts_of(&rpc, poison) {
                asked += 1;
                let mut message = sound(name, &format!("key-{asked}"));
                message.extend(wrong);
                let code = match call(&channel, &rpc, message, &[]).await {
                    Ok(_) => Code::Ok,
                    Err(status) => status.code(),
                };
                assert!(is_an_answer(code), "{code:?}: {rpc}, {field}: {poison:?}");
                taken += usize::from(code == Code::Ok);
            }
        }
    }
    (asked, taken)
}

#[expect(clippy::print_stdout, reason = "what `make hostile` is run for")]
async fn nothing_obeys(place: Place) {
    let gate = Gate::start(place.serve(&["--log", "debug"])).await;
    let (stranger, opposed, told) = (person(1), person(3), person(4));
    gate.agree(&opposed, "once").await;
    let out = gate.client().withdraw(opt_out(&opposed, "never")).await;
    out.unwrap();
    let (asked, taken) = every_string_is_poisoned(&gate).await;
    println!("| {asked} strings of SQL, of the log and of terminals | {taken} taken as they are |");
    assert!(asked > 1_000 && taken > 100, "{taken} of {asked}");

    // What may hold anything holds it as it came.
    let mut record = grant(&told, "told");
    record.evidence.as_mut().unwrap().statement = POISONS[0].into();
    gate.client().record_consent(record).await.unwrap();
    let events = gate.events(&told).await;
    assert_eq!(events[0].evidence.as_ref().unwrap().statement, POISONS[0]);
    assert_eq!(gate.decision(&told).await, Decision::Allow);
    for person in [stranger, opposed.clone()] {
        assert_ne!(gate.decision(&person).await, Decision::Allow);
    }
    assert_eq!(gate.events(&opposed).await.len(), 2);
    let log = gate.stop().await;
    assert!(!log.contains(MARK), "{log}");
    let (ended, _) = gate::run(place.maintain(&REPLAY)).await;
    assert_eq!(ended.code(), 0, "{ended}");
}

#[tokio::test]
async fn sqlite_obeys_no_string_and_no_string_is_a_line_of_the_log() {
    nothing_obeys(Place::sqlite()).await;
}

#[tokio::test]
async fn postgresql_obeys_no_string_and_no_string_is_a_line_of_the_log() {
    nothing_obeys(Place::migrated().await).await;
}
