//! Generates the Rust code of the contract in `proto/`, and nothing else.
//!
//! The files are compiled by protox, so that no protoc has to be installed. The descriptor set is
//! written too: server reflection serves it.

use std::error::Error;
use std::path::PathBuf;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by variables"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "consentgate/v1/consent_service.proto",
        "consentgate/v1/catalog_service.proto",
        "consentgate/v1/ledger_service.proto",
    ];
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    let out: PathBuf = std::env::var("OUT_DIR")?.into();
    std::fs::write(
        out.join("consentgate.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    // The codec knows by its name what a message may hold.
    let mut messages = tonic_prost_build::Config::new();
    messages.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::Codec")
        .compile_fds_with_config(compiler.file_descriptor_set(), messages)?;
    Ok(())
}
