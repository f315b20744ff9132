//! gRPC: translation between the wire and the use cases, and nothing else.
//!
//! Each method has four steps: who calls, what is asked, answer it, put it on the wire. Field names
//! are known in [`convert`] alone, statuses are made in [`status`] alone. No rule, no SQL and no
//! metric lives here; what every call shares is in [`layer`].

mod admission;
pub mod catalog_service;
pub mod codec;
pub mod consent_service;
pub mod convert;
mod front;
mod health;
mod home;
pub mod layer;
pub mod ledger_service;
mod lists;
mod patience;
mod shed;
pub mod status;
mod stream;
mod usage;

use std::sync::Arc;

use prost::Message;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use crate::auth::Gate;
use crate::clock::Clock;
use crate::config::Config;
use crate::consents::Consents;
use crate::telemetry::{Metrics, Rpcs, Sampling};
use catalog_service::CatalogService;
use consent_service::ConsentService;
use front::FrontLayer;
use home::HomeLayer;
use layer::{CallLayer, Shared};
use ledger_service::LedgerService;
use patience::Patience;
use proto::catalog_service_server::CatalogServiceServer;
use proto::consent_service_server::ConsentServiceServer;
use proto::ledger_service_server::LedgerServiceServer;
use shed::Shedding;
use usage::Usage;

pub use health::Health;

/// Bytes that a caller may send ahead of what one call has read. A stream whose caller does not read
/// its answers leaves that much unread.
const CALL_WINDOW: u32 = 256 << 10;

/// The same for all calls of a connection. Were it no larger than the window of one call, which is
/// the transport's default, one stream that is not read would stop all other calls beside it.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How many calls a connection may make us reset by breaking the protocol, before it is closed. Each costs
/// work that its caller does not wait for. The transport below has such a limit, and tonic takes it away
/// unless it is told.
const MOST_FAULTS: usize = 1024;

/// What answers, and who lets callers in.
#[derive(Debug)]
pub struct Services {
    pub consents: Consents,
    pub gate: Gate,
    pub health: Health,
}

/// Every service, with what is before them. Its clones share all limits.
pub type ServiceRouter = Router<Stack<FrontLayer, Stack<CallLayer, Stack<HomeLayer, Identity>>>>;

/// Every service behind the layer that all calls pass, with the limits of one connection. What calls begin belongs
/// to the runtime in which this is called, whichever carries their connections.
pub fn router(
    config: &Config,
    services: &Services,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    writes: &TaskTracker,
    stop: &CancellationToken,
) -> ServiceRouter {
    let sampling = match config.otlp_endpoint {
        Some(_) => Sampling::Share(config.trace_sample_ratio.get()),
        None => Sampling::All,
    };
    let rpcs = Rpcs::new(metrics, sampling, methods().iter().map(String::as_str));
    let shedding = Shedding::new(config, &rpcs, metrics);
    let mut server = Server::builder()
        .max_concurrent_streams(config.max_concurrent_streams)
        .http2_max_local_error_reset_streams(Some(MOST_FAULTS))
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(u32_of(config.max_header_list_size.0))
        .http2_keepalive_interval(config.http2_keepalive_interval);
    if let Some(age) = config.max_connection_age {
        server = server
            .max_connection_age(age)
            .max_connection_age_grace(config.shutdown_grace);
    }
    let limit = usize::try_from(config.max_message_size.0).unwrap_or(usize::MAX);
    let usage = Usage::new(config, metrics);
    let consent = ConsentService::new(services, shedding.clone(), usage, stop.clone());
    let consent = ConsentServiceServer::new(consent);
    let front = FrontLayer {
        consent: consent.max_decoding_message_size(limit),
        shedding: shedding.clone(),
    };
    server
        .layer(HomeLayer(Handle::current()))
        .layer(CallLayer::new(Shared {
            rpcs,
            shedding,
            clock: Arc::clone(clock),
            writes: writes.clone(),
            stop: stop.clone(),
            max_message_size: config.max_message_size.0,
            patience: Patience::new(config.max_silence, config.max_request_memory.0),
        }))
        .layer(front)
        .add_routes(routes(config, services))
}

/// Everything but `ConsentService`, which is in front.
fn routes(config: &Config, services: &Services) -> Routes {
    let Services {
        consents,
        gate,
        health,
    } = services;
    let limit = usize::try_from(config.max_message_size.0).unwrap_or(usize::MAX);
    let catalog = CatalogService::new(Arc::clone(consents.catalog()), gate.clone());
    let catalog = CatalogServiceServer::new(catalog);
    let ledger = LedgerServiceServer::new(LedgerService::new(services));
    let mut routes = Routes::new(catalog.max_decoding_message_size(limit))
        .add_service(ledger.max_decoding_message_size(limit))
        .add_service(health.service());
    if config.reflection {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptor sets are made by this build");
        routes = routes.add_service(reflection);
    }
    routes
}

/// Service and method of every RPC of ours, as in `consentgate.v1.ConsentService/CheckConsent`.
pub fn methods() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS)
        .expect("the descriptor set is made by this build");
    let mut methods = Vec::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!(
                    "{}.{}/{}",
                    file.package(),
                    service.name(),
                    method.name()
                ));
            }
        }
    }
    methods
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The generated code of `proto/consentgate/v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(unreachable_pub, reason = "generated")]
pub mod proto {
    tonic::include_proto!("consentgate.v1");

    /// The descriptor set of every service, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/consentgate.bin"));
}
