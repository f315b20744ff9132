//! The gate itself: the release binary, as an operator starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::{Cores, Process, free_address};

/// How gates are started: with which program, on which database.
#[derive(Debug, Clone)]
pub struct Gates {
    program: PathBuf,
    directory: PathBuf,
    database: String,
    /// Where its telemetry goes.
    collector: SocketAddr,
}

impl Gates {
    /// Makes a key, brings the schema up to date.
    pub fn prepare(
        program: &Path,
        directory: &Path,
        database: &str,
        collector: SocketAddr,
    ) -> anyhow::Result<Self> {
        let gates = Self {
            collector,
            program: program.to_owned(),
            directory: directory.to_owned(),
            database: database.to_owned(),
        };
        std::fs::write(
            directory.join("catalog.toml"),
            include_str!("../../../examples/acme/catalog.toml"),
        )?;
        let key = directory.join("consentgate.key");
        if !key.exists() {
            let mut generate = Cores::All.command(program);
            generate.args(["keys", "generate", "--out"]).arg(&key);
            ensure!(generate.output()?.status.success(), "no key was made");
        }
        let mut migrate = Cores::All.command(program);
        migrate
            .args(["migrate", "--database", database, "--key-file"])
            .arg(&key);
        let migrated = migrate.output()?;
        ensure!(
            migrated.status.success(),
            "the schema was not made: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        Ok(gates)
    }

    /// Starts one with these settings beside the defaults, and waits until it serves.
    pub async fn start(&self, cores: Cores, settings: &[&str]) -> anyhow::Result<Process> {
        let address = free_address()?;
        let mut command = cores.command(&self.program);
        command
            .arg("serve")
            .args(["--listen", &address.to_string()])
            .args(["--database", &self.database])
            .arg("--key-file")
            .arg(self.directory.join("consentgate.key"))
            .arg("--catalog")
            .arg(self.directory.join("catalog.toml"))
            .args(["--log", "warn", "--otlp-endpoint"])
            .arg(format!("http://{}", self.collector))
            .args(settings)
            .stdout(Stdio::null());
        Process::start(command, address)
            .await
            .context("consentgate")
    }

    /// Where the database is.
    pub fn database(&self) -> &str {
        &self.database
    }
}
