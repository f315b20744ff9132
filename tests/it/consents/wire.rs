//! The wire below the messages: bytes that are no message, messages that are too large, RPCs that are not built yet, and
//! what stands beside our services.

use std::collections::BTreeSet;

use consentgate::config::ByteSize;
use consentgate::grpc::proto::*;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use super::acts::*;
use crate::harness::{Backend, TestServer};

/// Sends bytes as they are, and gives back those of the answer.
#[derive(Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Calls `Service/Method` with these bytes as its message.
async fn call(server: &TestServer, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = Grpc::new(server.channel());
    client.ready().await.unwrap();
    let path = format!("/{method}").parse().unwrap();
    let answer = client.unary(Request::new(message), path, Raw).await?;
    Ok(answer.into_inner())
}

const CHECK: &str = "consentgate.v1.ConsentService/CheckConsent";
const RECORD: &str = "consentgate.v1.ConsentService/RecordConsent";
const WITHDRAW: &str = "consentgate.v1.ConsentService/Withdraw";
const BATCH: &str = "consentgate.v1.ConsentService/BatchCheckConsent";

/// A field of protobuf's wire format that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(number < 16 && content.len() < 128);
    let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    bytes.extend_from_slice(content);
    bytes
}

/// Asserts that a message is blamed on its sender, with the path of the field at fault.
#[track_caller]
fn blamed(answer: Result<Vec<u8>, Status>, path: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(path), "{path}: {status}");
    assert_eq!(fields_of(&status), [path], "{status}");
    assert_eq!(reason_of(&status), "FIELD_INVALID");
}

pub async fn text_that_is_not_utf8_is_refused_with_the_path_of_its_field(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let bad: &[u8] = &[b'a', 0xff, 0xc0];
    let with = |message: Vec<u8>, bad: Vec<u8>| [message, bad].concat();
    let check = || question(&ann, "offers").encode_to_vec();
    let record = || server.grant(&ann, &["offers"]).encode_to_vec();
    let withdraw = || server.opt_out(&ann, everything()).encode_to_vec();
    let many = || batch(std::slice::from_ref(&ann), "offers").encode_to_vec();
    for (method, message, path) in [
        (CHECK, with(check(), field(1, bad)), "business_id"),
        (
            CHECK,
            with(check(), field(2, &field(1, bad))),
            "recipient.address",
        ),
        (
            CHECK,
            with(check(), field(8, &field(2, bad))),
            "consistency.requirement",
        ),
        (
            RECORD,
            with(record(), field(12, &field(9, bad))),
            "evidence.statement",
        ),
        (RECORD, with(record(), field(3, bad)), "purposes"),
        (
            WITHDRAW,
            with(withdraw(), field(2, &field(2, bad))),
            "recipient.address",
        ),
        (
            BATCH,
            with(many(), field(7, &field(3, bad))),
            "recipients.address",
        ),
    ] {
        blamed(call(&server, method, message).await, path);
    }
    assert_eq!(server.events(&ann).await, []);
}

pub async fn bytes_that_are_no_message_are_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let whole = question(&person(1), "offers").encode_to_vec();
    for message in [
        // Cut in the middle of a field.
        whole[..whole.len() - 1].to_vec(),
        // A field that says that it is longer than the message.
        vec![0x0a, 0x7f, b'a'],
        // A number where a text belongs.
        vec![0x08, 0x01],
        // A field number of 0, a wire type that does not exist, a varint without an end.
        vec![0x02, 0x00],
        vec![0x0f],
        vec![0xff; 11],
        b"hello".to_vec(),
        b"{\"business_id\": \"acme\"}".to_vec(),
    ] {
        let status = call(&server, CHECK, message.clone()).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{message:?}: {status}"
        );
    }
    // No bytes at all are a message: an empty one.
    let status = call(&server, CHECK, Vec::new()).await.unwrap_err();
    assert_eq!(fields_of(&status), ["recipient", "business_id", "purpose"]);
    // And the connection serves on.
    let answer = call(&server, CHECK, whole).await.unwrap();
    let answer = CheckConsentResponse::decode(answer.as_slice()).unwrap();
    assert_eq!(verdict_of(&answer), deny(&[Reason::NoConsent]));
}

/// A newer client may know more fields. They change nothing here, and are not kept.
pub async fn fields_that_are_not_known_are_ignored(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    // Field 1,000 as a number, as text, as a group of 64 bits.
    let unknown = [
        &[0xc0, 0x3e, 0x07][..],
        &[0xc2, 0x3e, 0x02, 0xff, 0xfe],
        &[0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
    ]
    .concat();
    let grant = server.grant(&ann, &["offers"]);
    let extended = [grant.encode_to_vec(), unknown.clone()].concat();
    let first = call(&server, RECORD, extended).await.unwrap();
    let first = RecordConsentResponse::decode(first.as_slice()).unwrap();
    // The same content, as far as anybody here can tell.
    let again = server.try_record(grant).await.unwrap();
    assert_eq!(again.records, first.records);
    let check = [question(&ann, "offers").encode_to_vec(), unknown].concat();
    let answer = call(&server, CHECK, check).await.unwrap();
    let answer = CheckConsentResponse::decode(answer.as_slice()).unwrap();
    assert_eq!(verdict_of(&answer), allow(Reason::ConsentGiven));
}

pub async fn a_message_over_the_limit_is_refused_and_one_below_is_taken(on: Backend) {
    let limit = 64 << 10;
    let server = TestServer::with(on, |config| config.max_message_size = ByteSize(limit)).await;
    let limit = usize::try_from(limit).unwrap();
    let ann = person(1);
    let long = |length: usize| {
        let mut grant = server.grant(&ann, &["offers"]);
        grant.actor = "a".repeat(length);
        let over = grant.encoded_len() - length;
        grant.actor.truncate(length - over);
        assert_eq!(grant.encoded_len(), length);
        grant
    };
    // It fits, and is judged: the actor is too long.
    let fits = server.try_record(long(limit)).await;
    refused(fits, "FIELD_INVALID", &["actor"]);
    for length in [limit + 1, 2 * limit, 5 << 20] {
        let status = server.try_record(long(length)).await.unwrap_err();
        is_too_large(&status, limit);
    }
    server.gives(&ann, &["offers"]).await;
}

pub async fn more_than_four_mebibytes_are_refused_by_default(on: Backend) {
    let server = TestServer::start(on).await;
    let check = CheckConsentRequest {
        template: "a".repeat(4 << 20),
        ..question(&person(1), "offers")
    };
    let status = server.try_check(check).await.unwrap_err();
    is_too_large(&status, 4 << 20);
}

/// The caller learns the limit, and is not told to repeat what cannot pass.
#[track_caller]
fn is_too_large(status: &Status, limit: usize) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let limit = limit.to_string();
    assert!(status.message().contains(&limit), "{status}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "MESSAGE_TOO_LARGE");
    assert_eq!(info.metadata["max_message_size"], limit);
    assert!(details.retry_info().is_none());
}

/// The methods whose comment in the contract says so.
fn announced() -> BTreeSet<String> {
    let files = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut announced = BTreeSet::new();
    for file in &files.file {
        let comments = file.source_code_info.iter().flat_map(|info| &info.location);
        for comment in comments {
            let says = comment.leading_comments().contains("Answers UNIMPLEMENTED");
            // Method m of service s has the path [6, s, 2, m].
            if says && let [6, service, 2, method] = comment.path.as_slice() {
                let at = |index: &i32| usize::try_from(*index).unwrap();
                let method = &file.service[at(service)].method[at(method)];
                announced.insert(method.name().to_owned());
            }
        }
    }
    announced
}

pub async fn exactly_what_the_contract_announces_is_unimplemented(on: Backend) {
    let server = TestServer::start(on).await;
    let mut unimplemented = BTreeSet::new();
    for method in consentgate::grpc::methods() {
        match call(&server, &method, Vec::new()).await {
            Err(status) if status.code() == Code::Unimplemented => {
                let (_, name) = method.rsplit_once('/').unwrap();
                assert!(status.message().contains(name), "{status}");
                unimplemented.insert(name.to_owned());
            }
            Err(status) => {
                assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status}");
            }
            Ok(_) => assert_eq!(method, "consentgate.v1.CatalogService/ListBusinesses"),
        }
    }
    assert_eq!(unimplemented, announced());
    // What must never be announced, because it is the main road.
    for built in [
        "CheckConsent",
        "BatchCheckConsent",
        "StreamCheckConsent",
        "RecordConsent",
        "ConfirmConsent",
        "Withdraw",
        "GetConsent",
        "ListConsentEvents",
        "GetPurpose",
        "EraseSubject",
    ] {
        assert!(!unimplemented.contains(built), "{built}");
    }
    for unheard in [
        "consentgate.v1.ConsentService/Nothing",
        "consentgate.v2.Nothing/Nothing",
    ] {
        let status = call(&server, unheard, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{unheard}");
    }
}

pub async fn health_answers_for_the_server_and_each_service(on: Backend) {
    let server = TestServer::start(on).await;
    let mut health = HealthClient::new(server.channel());
    for service in [
        "",
        "consentgate.v1.ConsentService",
        "consentgate.v1.CatalogService",
        "consentgate.v1.LedgerService",
    ] {
        let service = service.to_owned();
        crate::wait::eventually(
            std::time::Duration::from_secs(20),
            "the server is SERVING",
            async || {
                let request = HealthCheckRequest {
                    service: service.clone(),
                };
                let answer = health.check(request).await.unwrap().into_inner();
                (answer.status() == ServingStatus::Serving).then_some(())
            },
        )
        .await;
    }
    let request = HealthCheckRequest {
        service: "consentgate.v1.Nothing".into(),
    };
    let status = health.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

async fn reflect(server: &TestServer, asked: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(asked),
    };
    let mut reflection = ServerReflectionClient::new(server.channel());
    let answers = reflection.server_reflection_info(tokio_stream::once(request));
    let answer = answers.await?.into_inner().message().await?;
    Ok(answer.unwrap().message_response.unwrap())
}

pub async fn reflection_lists_the_services_and_knows_every_message(on: Backend) {
    let server = TestServer::start(on).await;
    let listed = reflect(&server, MessageRequest::ListServices(String::new())).await;
    let Ok(MessageResponse::ListServicesResponse(listed)) = listed else {
        panic!("a list: {listed:?}");
    };
    let names: BTreeSet<_> = listed.service.iter().map(|s| s.name.as_str()).collect();
    for service in [
        "consentgate.v1.ConsentService",
        "consentgate.v1.CatalogService",
        "consentgate.v1.LedgerService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(service), "{names:?}");
    }
    for symbol in [
        "consentgate.v1.ConsentService",
        "consentgate.v1.CheckConsentResponse",
        "google.protobuf.Timestamp",
    ] {
        let found = reflect(&server, MessageRequest::FileContainingSymbol(symbol.into())).await;
        let Ok(MessageResponse::FileDescriptorResponse(found)) = found else {
            panic!("a file for {symbol}: {found:?}");
        };
        assert!(!found.file_descriptor_proto.is_empty());
    }
}

pub async fn reflection_can_be_switched_off(on: Backend) {
    let server = TestServer::with(on, |config| config.reflection = false).await;
    let status = reflect(&server, MessageRequest::ListServices(String::new())).await;
    assert_eq!(status.unwrap_err().code(), Code::Unimplemented);
}
