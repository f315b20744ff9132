//! The protobuf codec of every RPC: prost's, with two changes.
//!
//! A request that is no valid message is the caller's fault, so it answers `INVALID_ARGUMENT` with
//! the path of the field at fault (tonic's own codec says `INTERNAL`). And the buffers are sized to
//! our messages: tonic's would allocate 16 KiB for every call.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstDecoder, ProstEncoder};

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
    Decode: Message + Default + Send + 'static,
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

impl<T: Message + Default> Decoder for BlamingDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        self.0.decode(buffer).map_err(|status| match status.code() {
            Code::Internal => Status::invalid_argument(status.message()),
            _ => status,
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
