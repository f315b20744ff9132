//! An OpenTelemetry collector that takes everything and keeps nothing: so that the gate is measured with its telemetry on,
//! exporting as it does in production.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use super::bare::{Blob, answered};

/// Serves for as long as the benchmark runs, and says where.
pub async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tonic::transport::Server::builder()
        .add_service(Metrics)
        .add_service(Traces)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    Ok(address)
}

#[derive(Debug, Clone)]
struct Metrics;

#[derive(Debug, Clone)]
struct Traces;

impl NamedService for Metrics {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl NamedService for Traces {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Body>> for Metrics {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        Box::pin(answered(Blob::default(), request))
    }
}

impl Service<Request<Body>> for Traces {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        Box::pin(answered(Blob::default(), request))
    }
}
