//! What a caller shows: good, no longer good, somebody else's, malformed; and when nothing need be shown.

use std::time::Duration;

use consentgate::auth::TokenText;
use consentgate::config::Authentication;
use consentgate::domain::caller::Permission;
use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::recipient::Address;
use consentgate::grpc::proto::{CheckConsentRequest, Recipient};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{bearer, call, caller, make, revoke, visible};
use crate::harness::{Backend, TestServer};
use crate::process::collector::Raw;
use crate::wait::eventually;

pub const CHECK: &str = "consentgate.v1.ConsentService/CheckConsent";

pub fn question() -> Vec<u8> {
    let asked = CheckConsentRequest {
        business_id: "acme".into(),
        recipient: Some(Recipient {
            address: Some(Address::PhoneNumber("+14155550100".into())),
        }),
        purpose: "offers".into(),
        ..CheckConsentRequest::default()
    };
    asked.encode_to_vec()
}

async fn asked(server: &TestServer, authorization: &[&str]) -> Code {
    let answer = call(&server.channel(), CHECK, question(), authorization).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// A server on which one token permits to check, and that token.
async fn closed(on: Backend) -> (TestServer, TokenText) {
    let mut server = TestServer::start(on).await;
    server.stop().await;
    let check = caller("acme", &[Permission::Check]);
    let (text, _) = make(server.config(), &[check]).await.remove(0);
    server.resume();
    (server, text)
}

#[tokio::test]
async fn only_the_whole_token_in_one_value_is_a_credential() {
    let (server, token) = closed(Backend::Sqlite).await;
    let good = bearer(&token);
    let text = token.expose();
    for same in [
        good.clone(),
        format!("bearer {text}"),
        format!("BEARER  {text}"),
    ] {
        assert_eq!(asked(&server, &[&same]).await, Code::Ok);
    }
    let other = TokenText::generate();
    // Somebody else's secret behind a prefix that is known.
    let mixed = format!("{}{}", &text[..12], &other.expose()[12..]);
    let mut last = text.to_owned();
    last.replace_range(71.., if text.ends_with('a') { "b" } else { "a" });
    let refused: Vec<Vec<String>> = vec![
        vec![],
        vec![String::new()],
        vec!["Bearer".into()],
        vec!["Bearer ".into()],
        vec![text.into()],
        vec![format!("Basic {text}")],
        vec![format!("Bearer{text}")],
        vec![format!("Bearer {text} ")],
        vec![format!("Bearer {}", text.to_uppercase())],
        vec![format!("Bearer {}", &text[..71])],
        vec![format!("Bearer {text}a")],
        vec![format!("Bearer {}", &text[3..])],
        vec![format!("Bearer cg_{}", token.prefix())],
        vec![format!("Bearer {mixed}")],
        vec![format!("Bearer {last}")],
        vec![bearer(&other)],
        vec![good.clone(), good.clone()],
        vec![good.clone(), bearer(&other)],
        vec![format!("Bearer {}", "a".repeat(10_000))],
        vec![format!("Bearer {text}{}", "a".repeat(10_000))],
    ];
    let nothing = call(&server.channel(), CHECK, question(), &[])
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::Unauthenticated);
    for values in refused {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let answer = call(&server.channel(), CHECK, question(), &values).await;
        let status = answer.expect_err(&format!("{values:?}"));
        assert_eq!(visible(&status), visible(&nothing), "{values:?}");
    }
    // Every one of them was refused, and the good one is still good.
    assert_eq!(asked(&server, &[&good]).await, Code::Ok);
}

/// Bytes that are no text, as a client that is no library may send.
#[tokio::test]
async fn bytes_that_are_no_text_are_no_credential() {
    let (server, _) = closed(Backend::Sqlite).await;
    for bytes in [
        &b"Bearer \xff\xfe"[..],
        b"Bearer cg_\x80aaaaaaa_",
        b"\xf0\x9f\x94\x91",
    ] {
        let value = http::HeaderValue::from_bytes(bytes).unwrap();
        let add = move |mut request: http::Request<tonic::body::Body>| {
            request.headers_mut().insert("authorization", value.clone());
            request
        };
        let channel = tower::ServiceBuilder::new()
            .map_request(add)
            .service(server.channel());
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/consentgate.v1.ConsentService/CheckConsent");
        let answer = client.unary(Request::new(question()), path, Raw).await;
        let status = answer.map(|_: tonic::Response<Vec<u8>>| ()).unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_token_is_good_until_the_instant_at_which_it_ends() {
    let mut server = TestServer::start(Backend::Sqlite).await;
    server.stop().await;
    let mut wanted = caller("acme", &[Permission::Check]);
    wanted.lifetime = Some(Duration::from_hours(24));
    let (text, token) = make(server.config(), &[wanted]).await.remove(0);
    let end = token.expire_time.unwrap();
    assert_eq!(end, token.create_time.plus(Duration::from_hours(24)));
    server.resume();
    let shown = bearer(&text);
    for (now, code) in [
        (end.minus(Duration::from_micros(1)), Code::Ok),
        (end, Code::Unauthenticated),
        (Timestamp::MAX, Code::Unauthenticated),
        // A clock that was corrected is the clock.
        (end.minus(Duration::from_micros(1)), Code::Ok),
    ] {
        server.manual().set(now);
        assert_eq!(asked(&server, &[&shown]).await, code, "{now}");
    }
}

#[tokio::test]
async fn a_ledger_without_a_token_is_open_and_one_whose_tokens_are_all_revoked_is_not() {
    let mut server = TestServer::start(Backend::Sqlite).await;
    assert_eq!(asked(&server, &[]).await, Code::Ok);
    // Whoever shows something is no worse off.
    let stray = bearer(&TokenText::generate());
    assert_eq!(asked(&server, &[&stray]).await, Code::Ok);
    server.stop().await;
    let check = caller("acme", &[Permission::Check]);
    let (text, token) = make(server.config(), &[check]).await.remove(0);
    server.resume();
    assert_eq!(asked(&server, &[]).await, Code::Unauthenticated);
    assert_eq!(asked(&server, &[&bearer(&text)]).await, Code::Ok);
    server.stop().await;
    assert!(
        revoke(server.config(), token.prefix)
            .await
            .revoke_time
            .is_some()
    );
    server.resume();
    assert_eq!(asked(&server, &[]).await, Code::Unauthenticated);
    assert_eq!(
        asked(&server, &[&bearer(&text)]).await,
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn whoever_requires_authentication_answers_nobody_until_there_is_a_token() {
    let required = TestServer::with(Backend::Sqlite, |config| {
        config.authentication = Some(Authentication::Required);
    });
    assert_eq!(asked(&required.await, &[]).await, Code::Unauthenticated);

    let mut off = TestServer::with(Backend::Sqlite, |config| {
        config.authentication = Some(Authentication::Off);
    })
    .await;
    assert_eq!(asked(&off, &[]).await, Code::Ok);
    off.stop().await;
    make(off.config(), &[caller("acme", &[Permission::Check])]).await;
    off.resume();
    assert_eq!(asked(&off, &[]).await, Code::Unauthenticated);
}

#[tokio::test]
async fn probes_and_reflection_need_no_credential() {
    let (server, _) = closed(Backend::Sqlite).await;
    let limit = Duration::from_secs(20);
    eventually(limit, "it says that it serves", async || {
        (health(server.channel()).await == ServingStatus::Serving).then_some(())
    })
    .await;
    // `list_services`, field 7, empty.
    let asked = vec![0x3a, 0];
    let rpc = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let answer = call(&server.channel(), rpc, asked, &[]).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[0]).into_owned();
    assert!(answer.contains("consentgate.v1.ConsentService"), "{answer}");
}

async fn health(channel: Channel) -> ServingStatus {
    let asked = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(asked).await;
    answer.unwrap().into_inner().status()
}

#[tokio::test]
async fn an_event_says_who_had_it_recorded() {
    use consentgate::grpc::proto::{
        ListConsentEventsRequest, ListConsentEventsResponse, WithdrawRequest,
    };
    let person = || Recipient {
        address: Some(Address::PhoneNumber("+14155550100".into())),
    };
    let leave = || {
        let request = WithdrawRequest {
            business_id: "acme".into(),
            recipient: Some(person()),
            ..WithdrawRequest::default()
        };
        request.encode_to_vec()
    };
    let mut server = TestServer::start(Backend::Sqlite).await;
    let withdraw = "consentgate.v1.ConsentService/Withdraw";
    call(&server.channel(), withdraw, leave(), &[])
        .await
        .unwrap();
    server.stop().await;
    let both = [Permission::Withdraw, Permission::ReadHistory];
    let mut wanted = [caller("acme", &both), caller("acme", &both)];
    wanted[1].caller = "webhook";
    let tokens = make(server.config(), &wanted).await;
    server.resume();
    for (token, _) in &tokens {
        let shown = bearer(token);
        call(&server.channel(), withdraw, leave(), &[&shown])
            .await
            .unwrap();
    }
    let list = ListConsentEventsRequest {
        business_id: "acme".into(),
        recipient: Some(person()),
        ..ListConsentEventsRequest::default()
    };
    let rpc = "consentgate.v1.ConsentService/ListConsentEvents";
    let shown = bearer(&tokens[0].0);
    let answer = call(&server.channel(), rpc, list.encode_to_vec(), &[&shown]).await;
    let answer = ListConsentEventsResponse::decode(answer.unwrap()[0].as_slice()).unwrap();
    let by: Vec<_> = answer
        .events
        .iter()
        .map(|event| event.recorded_by.as_str())
        .collect();
    assert_eq!(by, ["", "test", "webhook"]);
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    use consentgate::grpc::proto::stream_check_consent_request::Payload;
    use consentgate::grpc::proto::{
        StreamCheckConsentRequest, StreamCheckQuestion, StreamCheckRecipients,
    };
    let mut server = TestServer::start(Backend::Sqlite).await;
    server.stop().await;
    let mut wanted = caller("acme", &[Permission::Check]);
    wanted.lifetime = Some(Duration::from_hours(24));
    let (text, token) = make(server.config(), &[wanted]).await.remove(0);
    server.resume();
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut request = Request::new(requests);
    let value = bearer(&text).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let said = |payload| StreamCheckConsentRequest {
        payload: Some(payload),
    };
    let chunk = || {
        said(Payload::Recipients(StreamCheckRecipients {
            recipients: vec![Recipient {
                address: Some(Address::PhoneNumber("+14155550100".into())),
            }],
        }))
    };
    let mut client = server.client();
    let mut answers = client
        .stream_check_consent(request)
        .await
        .unwrap()
        .into_inner();
    let question = StreamCheckQuestion {
        business_id: "acme".into(),
        purpose: "offers".into(),
        ..StreamCheckQuestion::default()
    };
    send.send(said(Payload::Question(question))).await.unwrap();
    send.send(chunk()).await.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    server.manual().set(token.expire_time.unwrap());
    send.send(chunk()).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
