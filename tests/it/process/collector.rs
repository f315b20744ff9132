//! An OpenTelemetry collector that keeps the bytes of what it is sent, and a codec that leaves bytes as they are.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use prost::bytes::{Buf, BufMut};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// A collector for traces and metrics. Dropping it ends it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    traces: Kept,
    metrics: Kept,
    serving: AbortHandle,
}

type Kept = Arc<Mutex<Vec<u8>>>;

impl Collector {
    pub async fn start() -> Self {
        let (traces, metrics) = (Kept::default(), Kept::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Server::builder()
            .add_service(Traces(Keeper(Arc::clone(&traces))))
            .add_service(Metrics(Keeper(Arc::clone(&metrics))));
        let serving = router.serve_with_incoming(TcpIncoming::from(listener));
        let serving = tokio::spawn(serving).abort_handle();
        Self {
            address,
            traces,
            metrics,
            serving,
        }
    }

    /// What `--otlp-endpoint` takes.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn traces(&self) -> Vec<u8> {
        self.traces.lock().unwrap().clone()
    }

    pub fn metrics(&self) -> Vec<u8> {
        self.metrics.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Debug, Clone)]
struct Keeper(Kept);

impl Keeper {
    fn call(&self, request: Request<Body>) -> Answer {
        let kept = Arc::clone(&self.0);
        Box::pin(async move {
            let keep = tower::service_fn(move |request: tonic::Request<Vec<u8>>| {
                kept.lock().unwrap().extend(request.into_inner());
                // An empty message: everything was taken.
                std::future::ready(Ok::<_, Status>(tonic::Response::new(Vec::new())))
            });
            Ok(Grpc::new(Raw).unary(keep, request).await)
        })
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

macro_rules! service {
    ($service:ident, $name:literal) => {
        #[derive(Debug, Clone)]
        struct $service(Keeper);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl tower::Service<Request<Body>> for $service {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = Answer;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Answer {
                self.0.call(request)
            }
        }
    };
}

service!(
    Traces,
    "opentelemetry.proto.collector.trace.v1.TraceService"
);
service!(
    Metrics,
    "opentelemetry.proto.collector.metrics.v1.MetricsService"
);

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy)]
pub struct Raw;

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

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
