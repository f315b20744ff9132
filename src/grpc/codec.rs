//! The protobuf codec of every RPC: prost's, with three changes.
//!
//! A request that is no valid message is the caller's fault, so it answers `INVALID_ARGUMENT` with
//! the path of the field at fault (tonic's own codec says `INTERNAL`). One with a list that is longer than
//! any may be is not decoded at all. And the buffers are sized to our messages: tonic's would allocate 16 KiB
//! for every call.

use std::marker::PhantomData;

use prost::bytes::Buf;
use prost::{Message, Name};
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::{lists, status};

/// What the generated services and clients are built with.
pub struct Codec<Encode, Decode>(PhantomData<(Encode, Decode)>);

impl<Encode, Decode> Default for Codec<Encode, Decode> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// A check's request and answer fit into one buffer of this size.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 32 * 1024)
}

impl<Encode, Decode> tonic::codec::Codec for Codec<Encode, Decode>
where
    Encode: Message + Send + 'static,
    Decode: Message + Name + Default + Send + 'static,
{
    type Encode = Encode;
    type Decode = Decode;
    type Encoder = ProstEncoder<Encode>;
    type Decoder = BlamingDecoder<Decode>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BlamingDecoder(ProstDecoder::new(buffers()))
    }
}

/// Decodes as prost does, and says whose fault it is when that fails.
pub struct BlamingDecoder<T>(ProstDecoder<T>);

impl<T: Message + Name + Default> Decoder for BlamingDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        // All of the message lies in one piece.
        if let Some(list) = lists::too_long(T::NAME, buffer.chunk()) {
            return Err(status::too_long(&list.field, list.count));
        }
        self.0.decode(buffer).map_err(|status| match status.code() {
            Code::Internal => blame(status.message()),
            _ => status,
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Prost says `failed to …: Inner.field: Message.field: what is wrong`, the innermost field first. A
/// caller knows fields.
fn blame(message: &str) -> Status {
    let mut fault = message
        .strip_prefix("failed to decode Protobuf message: ")
        .unwrap_or(message);
    let mut path = Vec::new();
    while let Some((place, rest)) = fault.split_once(": ")
        && let Some((_, field)) = place.split_once('.')
        && !place.contains(' ')
    {
        path.push(field);
        fault = rest;
    }
    path.reverse();
    status::unreadable(&path.join("."), fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto;
    use tonic_types::StatusExt;

    fn blamed(bytes: &[u8]) -> Vec<String> {
        let error = proto::CheckConsentRequest::decode(bytes).unwrap_err();
        let status = blame(&error.to_string());
        assert_eq!(status.code(), Code::InvalidArgument);
        let fields = status.get_details_bad_request().unwrap().field_violations;
        fields.into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn what_prost_cannot_read_is_blamed_on_the_field_by_its_path() {
        assert_eq!(blamed(&[0x0a, 1, 0xff]), ["business_id"]);
        assert_eq!(blamed(&[0x12, 3, 0x0a, 1, 0xff]), ["recipient.address"]);
        assert_eq!(blamed(&[0x0f]), [""]);
    }
}
