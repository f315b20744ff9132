//! Answers that no real server gives: decisions that nobody knows, too few results, lost writes.
//! None of them may ever read as a permission.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use consentgate::grpc::proto::consent_service_server::{ConsentService, ConsentServiceServer};
use consentgate::grpc::proto::recipient::Address;
use consentgate::grpc::proto::*;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{CHECK, Ran};

/// Answers what it was given, and keeps what it was asked.
#[derive(Debug, Default)]
struct Answers {
    check: Mutex<Option<Result<CheckConsentResponse, Status>>>,
    /// How many results too few a batch answers.
    missing: usize,
    /// From this call on, batches fail.
    fails_from: Option<usize>,
    batches: Mutex<Vec<BatchCheckConsentRequest>>,
    recorded: Mutex<Vec<RecordConsentRequest>>,
}

macro_rules! not_here {
    ($($name:ident $request:ident $response:ident,)+) => {
        $(fn $name<'life, 'async_trait>(
            &'life self,
            _: Request<$request>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
        where
            'life: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented("not here")) })
        })+
    };
}

#[tonic::async_trait]
impl ConsentService for Answers {
    type StreamCheckConsentStream = tokio_stream::Empty<Result<StreamCheckConsentResponse, Status>>;

    async fn check_consent(
        &self,
        _: Request<CheckConsentRequest>,
    ) -> Result<Response<CheckConsentResponse>, Status> {
        self.check
            .lock()
            .unwrap()
            .clone()
            .expect("an answer was given")
            .map(Response::new)
    }

    /// Numbers that end in 1 are allowed, in 2 denied, in 3 deferred, in 4 an error, in 5 something
    /// that no version knows.
    async fn batch_check_consent(
        &self,
        request: Request<BatchCheckConsentRequest>,
    ) -> Result<Response<BatchCheckConsentResponse>, Status> {
        let mut batches = self.batches.lock().unwrap();
        if self.fails_from.is_some_and(|from| batches.len() >= from) {
            return Err(Status::unavailable("the ledger cannot be reached"));
        }
        let request = request.into_inner();
        let answered = request.recipients.len() - self.missing;
        let result = |recipient: &Recipient| {
            let Some(Address::PhoneNumber(number)) = &recipient.address else {
                panic!("a number")
            };
            let (decision, reason) = match number.as_bytes().last() {
                Some(b'1') => (Decision::Allow.into(), Reason::ConsentGiven),
                Some(b'2') => (Decision::Deny.into(), Reason::Withdrawn),
                Some(b'3') => (Decision::Defer.into(), Reason::QuietHours),
                Some(b'4') => (0, Reason::Unspecified),
                _ => (99, Reason::Unspecified),
            };
            let error = (decision == 0).then(|| ItemError {
                field: "recipients[0].phone_number".to_owned(),
                reason: "PHONE_NUMBER_INVALID".to_owned(),
                message: "there is no such number".to_owned(),
            });
            BatchCheckResult {
                decision,
                reasons: vec![reason.into()],
                error,
                ..BatchCheckResult::default()
            }
        };
        let results = request
            .recipients
            .iter()
            .take(answered)
            .map(result)
            .collect();
        batches.push(request);
        Ok(Response::new(BatchCheckConsentResponse {
            results,
            ..BatchCheckConsentResponse::default()
        }))
    }

    async fn record_consent(
        &self,
        request: Request<RecordConsentRequest>,
    ) -> Result<Response<RecordConsentResponse>, Status> {
        self.recorded.lock().unwrap().push(request.into_inner());
        Err(Status::unavailable("the answer was lost"))
    }

    async fn stream_check_consent(
        &self,
        _: Request<tonic::Streaming<StreamCheckConsentRequest>>,
    ) -> Result<Response<Self::StreamCheckConsentStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    not_here! {
        confirm_consent ConfirmConsentRequest ConfirmConsentResponse,
        withdraw WithdrawRequest WithdrawResponse,
        add_suppression AddSuppressionRequest AddSuppressionResponse,
        lift_suppression LiftSuppressionRequest LiftSuppressionResponse,
        record_registry_check RecordRegistryCheckRequest RecordRegistryCheckResponse,
        report_inbound ReportInboundRequest ReportInboundResponse,
        report_send ReportSendRequest ReportSendResponse,
        report_delivery ReportDeliveryRequest ReportDeliveryResponse,
        get_consent GetConsentRequest GetConsentResponse,
        list_consent_events ListConsentEventsRequest ListConsentEventsResponse,
        explain_consent ExplainConsentRequest ExplainConsentResponse,
    }
}

/// Serves `answers` until the test ends.
async fn serve(answers: &Arc<Answers>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let service = ConsentServiceServer::from_arc(Arc::clone(answers));
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    address
}

/// Runs the binary against `server` while this thread goes on serving.
async fn ask(server: SocketAddr, arguments: &[&str], stdin: &str) -> Ran {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let stdin = stdin.to_owned();
    let asking = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        super::ask(server, &arguments, &stdin)
    });
    asking.await.unwrap()
}

fn decided(decision: i32, reason: Reason) -> Result<CheckConsentResponse, Status> {
    Ok(CheckConsentResponse {
        decision,
        reasons: vec![reason.into()],
        decision_id: "0190a0b0-0000-7000-8000-000000000000".to_owned(),
        ..CheckConsentResponse::default()
    })
}

#[tokio::test]
async fn the_exit_code_of_a_check_is_the_decision_and_only_allow_is_0() {
    let answers = Arc::new(Answers::default());
    let server = serve(&answers).await;
    for (decision, reason, word, code) in [
        (1, Reason::ConsentGiven, "ALLOW", 0),
        (2, Reason::Withdrawn, "DENY", 1),
        (3, Reason::QuietHours, "DEFER", 3),
        (0, Reason::ConsentGiven, "UNSPECIFIED", 2),
        (4, Reason::ConsentGiven, "UNRECOGNIZED_4", 2),
    ] {
        *answers.check.lock().unwrap() = Some(decided(decision, reason));
        let ran = ask(server, &CHECK, "").await;
        assert_eq!(ran.code, code, "{word}: {}", ran.err);
        assert!(ran.out.starts_with(word), "{}", ran.out);
        assert_eq!(ran.err.contains("do not send"), code == 2, "{}", ran.err);

        let ran = ask(server, &[&CHECK[..], &["--output", "json"]].concat(), "").await;
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, json["decision"].as_str()), (code, Some(word)));
    }
}

#[tokio::test]
async fn a_refusal_names_every_field_and_the_reason() {
    let answers = Arc::new(Answers::default());
    let server = serve(&answers).await;
    let mut details = ErrorDetails::new();
    details
        .add_bad_request_violation("purpose", "there is no purpose `offer`")
        .add_bad_request_violation("sender_id", "is required for SERVICE")
        .set_error_info(
            "PURPOSE_UNKNOWN",
            "consentgate",
            [("limit".to_owned(), "5".to_owned())],
        );
    let status = Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details);
    *answers.check.lock().unwrap() = Some(Err(status));

    let ran = ask(server, &CHECK, "").await;

    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert_eq!(
        ran.err,
        "error: INVALID_ARGUMENT: 2 fields are wrong\n  purpose: there is no purpose `offer`\n  \
         sender_id: is required for SERVICE\n  reason: PURPOSE_UNKNOWN\n  limit: 5\n"
    );
}

const BATCH: [&str; 6] = [
    "batch",
    "--business",
    "acme",
    "--purpose",
    "offers",
    "--output=json",
];

#[tokio::test]
async fn a_list_is_asked_in_chunks_and_counted_by_reason() {
    let answers = Arc::new(Answers::default());
    let server = serve(&answers).await;
    let list: String = (0..2_100)
        .map(|n| format!("+49 (151) 2{n:05} {} # no. {n}\n", n % 3 + 1))
        .collect();

    let ran = ask(
        server,
        &BATCH,
        &format!("# campaign\n\n{list}+49 151 2000001\n"),
    )
    .await;

    assert_eq!(ran.code, 0, "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["people"], 2_101);
    assert_eq!(json["duplicates"], 1);
    assert_eq!(
        json["decisions"],
        serde_json::json!({"ALLOW": 701, "DENY": 700, "DEFER": 700})
    );
    assert_eq!(json["complete"], true);
    let batches = answers.batches.lock().unwrap();
    let sizes: Vec<_> = batches.iter().map(|batch| batch.recipients.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 101]);
    assert_eq!(
        batches[0].recipients[0].address,
        Some(Address::PhoneNumber("+491512000001".to_owned()))
    );
}

#[tokio::test]
async fn lines_that_name_nobody_are_refused_by_number_and_the_others_answered() {
    let answers = Arc::new(Answers::default());
    let server = serve(&answers).await;
    let list = "+4915120000001\n0151 20000002\n0049 151 20000003\n+49 (0) 151 20000004\n+4915120000004\n+4915120000005\n";

    let ran = ask(server, &[&BATCH[..], &["--details"]].concat(), list).await;

    assert_eq!(ran.code, 2);
    for (line, said) in [
        (2, "country code"),
        (3, "`00`"),
        (4, "`(0)`"),
        (5, "PHONE_NUMBER_INVALID"),
        (6, "does not know"),
    ] {
        let told = ran
            .err
            .lines()
            .find(|told| told.starts_with(&format!("standard input:{line}: ")));
        assert!(
            told.is_some_and(|told| told.contains(said)),
            "{line}: {}",
            ran.err
        );
    }
    assert!(
        !ran.err.contains("2000000"),
        "errors repeat no address: {}",
        ran.err
    );
    let lines: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["decision"], "ALLOW");
    for (line, told) in (1..).zip(&lines[..6]) {
        assert_eq!(told["line"], line);
        assert_eq!(told["decision"].is_null(), line > 1, "{told}");
        assert_eq!(told["error"].is_null(), line == 1, "{told}");
    }
    assert_eq!(lines[6]["summary"]["people"], 3);
    assert_eq!(lines[6]["summary"]["lines_refused"], 3);
    assert_eq!(lines[6]["summary"]["not_judged"], 2);
}

#[tokio::test]
async fn a_call_that_fails_ends_the_list_and_says_from_which_line_on() {
    let answers = Arc::new(Answers {
        fails_from: Some(1),
        ..Answers::default()
    });
    let server = serve(&answers).await;
    let list: String = (0..1_500).map(|n| format!("+4915120{n:05}1\n")).collect();

    let ran = ask(server, &BATCH, &list).await;

    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .contains("lines 1001 to 1500 and all after them are undecided: UNAVAILABLE"),
        "{}",
        ran.err
    );
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (json["people"].as_i64(), json["complete"].as_bool()),
        (Some(1_000), Some(false))
    );
}

#[tokio::test]
async fn answers_that_do_not_match_the_questions_are_not_used() {
    let answers = Arc::new(Answers {
        missing: 1,
        ..Answers::default()
    });
    let server = serve(&answers).await;

    let ran = ask(server, &BATCH, "+4915120000001\n+4915120000002\n").await;

    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("1 results for 2 people"), "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["people"], 0);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_can_be_repeated_as_it_says() {
    let answers = Arc::new(Answers::default());
    let server = serve(&answers).await;
    let record = [
        "record",
        "+49 151 12345678",
        "--business",
        "acme",
        "--purpose",
        "offers",
        "--method",
        "button",
    ];

    let first = ask(server, &record, "").await;
    assert_eq!((first.code, first.out.as_str()), (2, ""));
    let said = first
        .err
        .split_once("repeat it with ")
        .expect("it says how")
        .1;
    let again: Vec<_> = record.into_iter().chain(said.split_whitespace()).collect();
    ask(server, &again, "").await;

    let recorded = answers.recorded.lock().unwrap();
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[0], recorded[1]);
}
