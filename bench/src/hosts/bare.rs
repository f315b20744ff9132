//! The bare service: tonic as it comes, with messages of the same sizes as a check's, doing nothing. What a check costs
//! above it is ours.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use consentgate::config::Config;
use consentgate::telemetry;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Status, codegen::Service};
use tonic_prost::ProstCodec;

use super::{Cores, Process, free_address};

/// Any message: one field with all its bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}

impl Blob {
    /// A message that is encoded as this many bytes, at least three. Of 130 there is none: it is one less.
    pub fn sized(bytes: usize) -> Self {
        let mut data = bytes.saturating_sub(2);
        while Self::zeros(data).1 > bytes && data > 0 {
            data -= 1;
        }
        Self::zeros(data).0
    }

    fn zeros(data: usize) -> (Self, usize) {
        let blob = Self {
            data: vec![0; data].into(),
        };
        let length = prost::Message::encoded_len(&blob);
        (blob, length)
    }
}

/// The method that it answers.
pub const PATH: &str = "/bare.Bare/Call";

/// Answers every call with the same message.
#[derive(Debug, Clone)]
pub struct Bare {
    answer: Blob,
}

impl Bare {
    pub fn new(answer_bytes: usize) -> Self {
        Self {
            answer: Blob::sized(answer_bytes),
        }
    }

    /// Serves until the process ends.
    pub async fn serve(self, address: SocketAddr) -> anyhow::Result<()> {
        // As a service in production: without a subscriber every span of the transport would look for
        // another logger.
        let subscriber = telemetry::subscriber(&Config::default(), std::io::stderr, false, None)?;
        tracing::subscriber::set_global_default(subscriber)?;
        tonic::transport::Server::builder()
            .add_service(self)
            .serve(address)
            .await?;
        Ok(())
    }
}

impl NamedService for Bare {
    const NAME: &'static str = "bare.Bare";
}

impl Service<Request<Body>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(answered(self.answer.clone(), request))
    }
}

/// Reads a call, whatever it says, and answers it with this.
pub(super) async fn answered(
    answer: Blob,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let mut grpc = Grpc::new(ProstCodec::<Blob, Blob>::default());
    Ok(grpc.unary(Answer(answer), request).await)
}

struct Answer(Blob);

impl UnaryService<Blob> for Answer {
    type Response = Blob;
    type Future = std::future::Ready<Result<tonic::Response<Blob>, Status>>;

    fn call(&mut self, _: tonic::Request<Blob>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

/// Starts it as a process of its own: this program, as `bare`.
pub async fn start(cores: Cores, answer_bytes: usize) -> anyhow::Result<Process> {
    let address = free_address()?;
    let mut command = cores.command(std::env::current_exe()?);
    command
        .arg("bare")
        .arg(address.to_string())
        .arg(answer_bytes.to_string());
    Process::start(command, address).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn a_message_is_as_long_as_it_is_told_to_be() {
        for bytes in [3, 60, 129, 131, 228, 20_000] {
            assert_eq!(Blob::sized(bytes).encoded_len(), bytes);
        }
    }
}
