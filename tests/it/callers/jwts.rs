//! JWTs as credentials: what they permit, what those are told whose JWT is not good, and what happens when the
//! file of keys changes while the service runs.

use std::time::Duration;

use consentgate::clock::{Clock, SystemClock};
use consentgate::domain::caller::Permission::{self, Check, ReadHistory, Withdraw};
use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::{
    ListConsentEventsRequest, ListConsentEventsResponse, WithdrawRequest,
};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

use super::issuer::{AUDIENCE, ISSUER, Issuer, b64, claims, known, set};
use super::shown::{CHECK, question};
use super::{bearer, call, caller, make, visible};
use crate::harness::{Backend, TestServer};
use crate::process::Place;
use crate::process::collector::Collector;
use crate::process::gate::{self, Gate, LIMIT};
use crate::wait::eventually;

const USED: &str = "a file changed: the new one holds";
const UNUSABLE: &str = "a file changed and is not usable: the old one holds";

/// A server that knows an issuer.
async fn server() -> (TestServer, Issuer, TempDir) {
    let (issuer, directory) = (Issuer::new("one"), TempDir::new().unwrap());
    let server = TestServer::with(Backend::Sqlite, |config| {
        known(config, &directory, &issuer);
    });
    (server.await, issuer, directory)
}

async fn code(channel: &Channel, jwt: &str) -> Code {
    let shown = format!("Bearer {jwt}");
    let answer = call(channel, CHECK, question(), &[&shown]).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

fn checking(server: &TestServer) -> Value {
    claims("crm-sync", "acme", &[Check], server.now())
}

#[tokio::test]
async fn a_jwt_permits_what_it_says_and_every_bad_one_is_told_what_is_told_to_nobody() {
    let (server, issuer, _directory) = server().await;
    let channel = server.channel();
    let nothing = call(&channel, CHECK, question(), &[]).await.unwrap_err();
    assert_eq!(
        nothing.code(),
        Code::Unauthenticated,
        "a credential is needed"
    );
    let good = issuer.jwt(&checking(&server));
    for _ in 0..2 {
        assert_eq!(code(&channel, &good).await, Code::Ok);
    }
    let rival = claims("crm-sync", "rival", &[Check], server.now());
    assert_eq!(
        code(&channel, &issuer.jwt(&rival)).await,
        Code::PermissionDenied
    );
    let other = claims("crm-sync", "acme", &[Withdraw], server.now());
    assert_eq!(
        code(&channel, &issuer.jwt(&other)).await,
        Code::PermissionDenied
    );

    let stranger = Issuer::new("one");
    let with = |field: &str, value: Value| {
        let mut claims = checking(&server);
        claims[field] = value;
        issuer.jwt(&claims)
    };
    let now = server.now().as_micros() / 1_000_000;
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = b64(json!({"alg": "none", "kid": "one"}).to_string());
    let large = with("more", json!("x".repeat(9_000)));
    let bad = [
        stranger.jwt(&checking(&server)),
        Issuer::new("two").jwt(&checking(&server)),
        issuer.signed(&json!({"alg": "ES256"}), &checking(&server)),
        issuer.signed(&json!({"alg": "HS256", "kid": "one"}), &checking(&server)),
        format!("{unsigned}.{}.", parts[1]),
        format!("{}.{}.{}", parts[0], b64(rival.to_string()), parts[2]),
        format!("{good}="),
        format!("{good}.{}", parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        "..".to_owned(),
        with("iss", json!("https://other.example/")),
        with("aud", json!("other")),
        with("sub", json!("Crm Sync")),
        with("exp", json!(now - 40)),
        with("exp", json!(now + 100_000)),
        with("nbf", json!(now + 40)),
        with(
            "consentgate",
            json!({"businesses": ["acme"], "permissions": ["everything"]}),
        ),
        large,
    ];
    for jwt in &bad {
        let shown = format!("Bearer {jwt}");
        let status = call(&channel, CHECK, question(), &[&shown]).await;
        let status = status.expect_err(jwt);
        assert_eq!(visible(&status), visible(&nothing), "{jwt}");
    }
    for values in [
        vec![format!("Bearer {good}"), format!("Bearer {good}")],
        vec![format!("Basic {good}")],
        vec![good.clone()],
        vec![format!("Bearer {good} {good}")],
    ] {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let status = call(&channel, CHECK, question(), &values).await;
        assert_eq!(visible(&status.unwrap_err()), visible(&nothing));
    }
    assert_eq!(code(&channel, &good).await, Code::Ok);
}

#[tokio::test]
async fn a_jwt_ends_with_its_time_on_connections_that_are_open_and_in_streams() {
    use consentgate::grpc::proto::stream_check_consent_request::Payload;
    use consentgate::grpc::proto::{StreamCheckConsentRequest, StreamCheckQuestion};
    let (server, issuer, _directory) = server().await;
    let jwt = issuer.jwt(&checking(&server));
    let channel = server.channel();
    assert_eq!(code(&channel, &jwt).await, Code::Ok);

    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut request = tonic::Request::new(requests);
    let value = format!("Bearer {jwt}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let answers = server.client().stream_check_consent(request).await;
    let mut answers = answers.unwrap().into_inner();

    let end = Timestamp::from_micros(server.now().as_micros() / 1_000_000 * 1_000_000);
    let end = end.plus(Duration::from_secs(600 + 30));
    server.manual().set(end.minus(Duration::from_micros(1)));
    assert_eq!(code(&channel, &jwt).await, Code::Ok);
    server.manual().set(end);
    assert_eq!(code(&channel, &jwt).await, Code::Unauthenticated);
    let question = StreamCheckQuestion {
        business_id: "acme".into(),
        purpose: "offers".into(),
        ..StreamCheckQuestion::default()
    };
    let payload = Some(Payload::Question(question));
    send.send(StreamCheckConsentRequest { payload })
        .await
        .unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_event_names_the_subject_of_a_jwt_so_that_it_is_nobody_elses_name() {
    let (mut server, issuer, _directory) = server().await;
    server.stop().await;
    let both = [Withdraw, ReadHistory];
    let mut wanted = caller("acme", &both);
    wanted.caller = "crm-sync";
    let (token, _) = make(server.config(), &[wanted]).await.remove(0);
    server.resume();
    let jwt = issuer.jwt(&claims("crm-sync", "acme", &both, server.now()));
    let recipient = || consentgate::grpc::proto::CheckConsentRequest::decode(question().as_slice());
    let shown = [bearer(&token), format!("Bearer {jwt}")];
    for shown in &shown {
        let leave = WithdrawRequest {
            business_id: "acme".into(),
            recipient: recipient().unwrap().recipient,
            ..WithdrawRequest::default()
        };
        let rpc = "consentgate.v1.ConsentService/Withdraw";
        call(&server.channel(), rpc, leave.encode_to_vec(), &[shown])
            .await
            .unwrap();
    }
    server.restart().await;
    let list = ListConsentEventsRequest {
        business_id: "acme".into(),
        recipient: recipient().unwrap().recipient,
        ..ListConsentEventsRequest::default()
    };
    let rpc = "consentgate.v1.ConsentService/ListConsentEvents";
    let answer = call(&server.channel(), rpc, list.encode_to_vec(), &[&shown[1]]).await;
    let answer = ListConsentEventsResponse::decode(answer.unwrap()[0].as_slice()).unwrap();
    let by = answer.events.iter().map(|event| event.recorded_by.as_str());
    assert_eq!(by.collect::<Vec<_>>(), ["crm-sync", "jwt:crm-sync"]);
}

/// Arguments under which a gate knows JWTs.
pub fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--jwt-jwks-file", "jwks.json", "--jwt-issuer", ISSUER];
    all.extend(["--jwt-audience", AUDIENCE]);
    all.extend(more);
    all
}

fn checking_now() -> Value {
    claims("crm-sync", "acme", &[Check], SystemClock.now())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_added_is_taken_and_one_that_is_removed_is_not_and_a_bad_file_changes_nothing()
 {
    let (place, collector) = (Place::sqlite(), Collector::start().await);
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    place.write("jwks.json", &set(&[&old]));
    let endpoint = collector.endpoint();
    let telling = ["--otlp-endpoint", &endpoint, "--metrics-interval", "100ms"];
    let gate = Gate::start(place.serve(&arguments(&telling))).await;
    let channel = gate.channel();
    let (before, after) = (old.jwt(&checking_now()), new.jwt(&checking_now()));
    assert_eq!(code(&channel, &before).await, Code::Ok);
    assert_eq!(code(&channel, &after).await, Code::Unauthenticated);

    place.write("jwks.json", &set(&[&old, &new]));
    eventually(LIMIT, "the new key is taken", async || {
        (code(&channel, &after).await == Code::Ok).then_some(())
    })
    .await;
    assert_eq!(code(&channel, &before).await, Code::Ok);

    place.write("jwks.json", "{\"keys\": [");
    eventually(LIMIT, "it says what is wrong", async || {
        gate.log().contains(UNUSABLE).then_some(())
    })
    .await;
    let log = gate.log();
    let line = log.lines().find(|line| line.contains(UNUSABLE)).unwrap();
    assert!(line.contains("`jwt_jwks_file`: `jwks.json`"), "{line}");
    for jwt in [&before, &after] {
        assert_eq!(
            code(&channel, jwt).await,
            Code::Ok,
            "what was read before holds"
        );
    }

    place.write("jwks.json", &set(&[&new]));
    eventually(LIMIT, "the old key is refused", async || {
        (code(&channel, &before).await == Code::Unauthenticated).then_some(())
    })
    .await;
    assert_eq!(code(&channel, &after).await, Code::Ok);
    place.write("jwks.json", &set(&[]));
    eventually(LIMIT, "no key is left", async || {
        (code(&channel, &after).await == Code::Unauthenticated).then_some(())
    })
    .await;
    let log = gate.stop().await;
    assert!(log.matches(USED).count() >= 3, "{log}");
    let metrics = String::from_utf8_lossy(&collector.metrics()).into_owned();
    for part in [
        "consentgate.files.reread",
        "consentgate.file.used",
        "jwt_jwks_file",
    ] {
        assert!(metrics.contains(part), "{part}");
    }
}

#[tokio::test]
async fn a_file_of_keys_that_is_wrong_stops_the_start_and_so_does_an_algorithm_that_anybody_can_sign_by()
 {
    let place = Place::sqlite();
    let refused = async |more: &[&str], words: &[&str]| {
        let ended = Gate::refused(place.serve(&arguments(more))).await;
        ended.refused_with(words);
    };
    refused(
        &[],
        &["`jwt_jwks_file`: `jwks.json` is not usable", "No such file"],
    )
    .await;
    place.write("jwks.json", "{}");
    refused(&[], &["`jwt_jwks_file`", "no JWK set"]).await;
    place.write("jwks.json", &set(&[]));
    refused(&[], &["holds no key by which a JWT could be verified"]).await;
    let shared = json!({"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]});
    place.write("jwks.json", &shared.to_string());
    refused(&[], &["key 1 of the set is a secret"]).await;
    place.write("jwks.json", &set(&[&Issuer::new("one")]));
    for algorithms in ["none", "HS256", "ES256,HS512"] {
        refused(
            &["--jwt-algorithms", algorithms],
            &["`--jwt-algorithms`", "expected some of RS256"],
        )
        .await;
    }
    refused(
        &["--authentication", "off"],
        &["`--authentication` is `off`"],
    )
    .await;
}

#[tokio::test]
async fn the_command_line_shows_a_jwt_as_it_shows_a_token() {
    let (place, issuer) = (Place::sqlite(), Issuer::new("one"));
    place.write("jwks.json", &set(&[&issuer]));
    let gate = Gate::start(place.serve(&arguments(&[]))).await;
    place.write("gate.token", &issuer.jwt(&checking_now()));
    let line = "check +14155550100 --business acme --purpose offers --token-file gate.token";
    let mut check = place.command(&line.split(' ').collect::<Vec<_>>());
    check.env("CONSENTGATE_SERVER", gate.address().to_string());
    let (ended, out) = gate::run(check).await;
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(out.contains("NO_CONSENT"), "{out}");
    gate.stop().await;
}

/// What must be nowhere in what a gate says: of a JWT its claims and its signature.
pub fn secrets_of(jwt: &str) -> Vec<&str> {
    jwt.split('.')
        .skip(1)
        .filter(|part| part.len() > 20)
        .collect()
}

/// JWTs good and bad, with the arguments of a gate that knows them.
pub fn shown_to_a_gate(place: &Place) -> (Vec<String>, Vec<&'static str>) {
    let issuer = Issuer::new("one");
    place.write("jwks.json", &set(&[&issuer]));
    let mut expired = claims("crm-sync", "acme", &Permission::ALL, SystemClock.now());
    expired["exp"] = expired["iat"].clone();
    let unnamed = claims("Somebody", "acme", &Permission::ALL, SystemClock.now());
    let jwts = [
        issuer.jwt(&checking_now()),
        issuer.jwt(&expired),
        issuer.jwt(&unnamed),
        Issuer::new("one").jwt(&checking_now()),
        Issuer::new("nobody").jwt(&checking_now()),
    ];
    (jwts.to_vec(), arguments(&[]))
}
