//! A request to every method that the contract has, made from its descriptors: whoever adds a method or a field is
//! asked with it, too.

use std::collections::BTreeMap;

use consentgate::grpc::proto::DESCRIPTORS;
use http::uri::PathAndQuery;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::collector::Raw;

/// Messages nest no deeper than this in what is sent.
const DEPTH: u32 = 5;

/// Calls every method of the services whose name ends so, with every field set; `text` says by its name what a field
/// holds. Says how each call ended.
pub async fn every_call(
    channel: &Channel,
    service: &str,
    text: impl Fn(&str) -> String,
) -> Vec<(String, Code)> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let shapes = Shapes::of(&files);
    let mut ended = Vec::new();
    for file in &files.file {
        for offered in file
            .service
            .iter()
            .filter(|one| one.name().ends_with(service))
        {
            for method in &offered.method {
                let message = shapes.filled(method.input_type(), &text, DEPTH);
                let path = format!("/{}.{}/{}", file.package(), offered.name(), method.name());
                let mut client = tonic::client::Grpc::new(channel.clone());
                client.ready().await.unwrap();
                let request = Request::new(message);
                let answer = client
                    .unary(request, PathAndQuery::try_from(&path).unwrap(), Raw)
                    .await;
                let code = answer.map_or_else(
                    |status| status.code(),
                    |_: tonic::Response<Vec<u8>>| Code::Ok,
                );
                ended.push((path, code));
            }
        }
    }
    ended
}

/// A request to one method, as in `consentgate.v1.ConsentService/CheckConsent`, with every field set.
pub fn request_of(rpc: &str, text: impl Fn(&str) -> String) -> Vec<u8> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    Shapes::of(&files).filled(&input_of(&files, rpc), &text, DEPTH)
}

/// Requests to one method in each of which nothing but one string is set, to `text`; with the path of its field.
pub fn texts_of(rpc: &str, text: &str) -> Vec<(String, Vec<u8>)> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    Shapes::of(&files).texts(&input_of(&files, rpc), text, DEPTH)
}

fn input_of(files: &FileDescriptorSet, rpc: &str) -> String {
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                if name == rpc {
                    return method.input_type().to_owned();
                }
            }
        }
    }
    panic!("there is no method {rpc}");
}

/// Every message type by its full name.
struct Shapes<'a>(BTreeMap<String, &'a DescriptorProto>);

impl<'a> Shapes<'a> {
    fn of(files: &'a FileDescriptorSet) -> Self {
        let mut shapes = Self(BTreeMap::new());
        for file in &files.file {
            for message in &file.message_type {
                shapes.add(&format!(".{}", file.package()), message);
            }
        }
        shapes
    }

    fn add(&mut self, within: &str, message: &'a DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.0.insert(name, message);
    }

    /// A message of this type with every field set. Of several that exclude each other the last one counts.
    fn filled(&self, name: &str, text: &impl Fn(&str) -> String, depth: u32) -> Vec<u8> {
        let mut message = Vec::new();
        for field in &self.0[name].field {
            self.add_field(field, text, depth, &mut message);
        }
        message
    }

    fn add_field(
        &self,
        field: &FieldDescriptorProto,
        text: &impl Fn(&str) -> String,
        depth: u32,
        message: &mut Vec<u8>,
    ) {
        let tag = u32::try_from(field.number()).unwrap();
        let bytes = match field.r#type() {
            Type::String | Type::Bytes => text(field.name()).into_bytes(),
            Type::Message if depth > 0 => self.filled(field.type_name(), text, depth - 1),
            Type::Message => return,
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Bool | Type::Enum => {
                encode_key(tag, WireType::Varint, message);
                encode_varint(1, message);
                return;
            }
            other => panic!("a field of a type that the contract did not have: {other:?}"),
        };
        message.extend(delimited(tag, &bytes));
    }

    fn texts(&self, name: &str, text: &str, depth: u32) -> Vec<(String, Vec<u8>)> {
        let mut texts = Vec::new();
        for field in &self.0[name].field {
            let tag = u32::try_from(field.number()).unwrap();
            match field.r#type() {
                Type::String => {
                    texts.push((field.name().to_owned(), delimited(tag, text.as_bytes())));
                }
                Type::Message if depth > 0 => {
                    for (path, within) in self.texts(field.type_name(), text, depth - 1) {
                        let path = format!("{}.{path}", field.name());
                        texts.push((path, delimited(tag, &within)));
                    }
                }
                _ => {}
            }
        }
        texts
    }
}

fn delimited(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut field);
    encode_varint(u64::try_from(bytes.len()).unwrap(), &mut field);
    field.extend(bytes);
    field
}
