//! gRPC: translation between the wire and the use cases, and nothing else.
//!
//! Each method has four steps: who calls, what is asked, answer it, put it on the wire. Field names
//! are known in [`convert`] alone, statuses are made in [`status`] alone. No rule, no SQL and no
//! metric lives here; what every call shares is in [`layer`].

pub mod codec;

/// The generated code of `proto/consentgate/v1`.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
#[allow(unreachable_pub, reason = "generated")]
pub mod proto {
    tonic::include_proto!("consentgate.v1");

    /// The descriptor set of every service, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/consentgate.bin"));
}
