//! The gate itself: the release binary, as an operator starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use consentgate::config::{Config, Database, Secret};

use super::{Cores, Process, free_address};
use crate::audience;
use crate::load::wire::Call;

/// How gates are started: with which program, on which database.
#[derive(Debug, Clone)]
pub struct Gates {
    program: PathBuf,
    directory: PathBuf,
    database: String,
    /// Where its telemetry goes.
    collector: SocketAddr,
    /// What callers show, where they must.
    authorization: Option<String>,
}

impl Gates {
    /// Makes a key, brings the schema up to date, and makes a token, without which nobody is let in.
    pub fn prepare(
        program: &Path,
        directory: &Path,
        database: &str,
        collector: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut gates = Self::open(program, directory, database, collector)?;
        gates.make_token()?;
        Ok(gates)
    }

    /// As [`Self::prepare`], without a token: whoever calls is let in.
    pub fn open(
        program: &Path,
        directory: &Path,
        database: &str,
        collector: SocketAddr,
    ) -> anyhow::Result<Self> {
        let gates = Self {
            collector,
            authorization: None,
            program: program.to_owned(),
            directory: directory.to_owned(),
            database: database.to_owned(),
        };
        std::fs::write(
            directory.join("catalog.toml"),
            include_str!("../../../examples/acme/catalog.toml"),
        )?;
        std::fs::write(directory.join("policy.toml"), audience::policy())?;
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

    fn make_token(&mut self) -> anyhow::Result<()> {
        let mut token = Cores::All.command(&self.program);
        token
            .args(["token", "create", "bench", "--all-businesses"])
            .args([
                "--permission",
                "check",
                "--permission",
                "record",
                "--permission",
                "withdraw",
            ])
            .args(["--database", &self.database, "--key-file"])
            .arg(self.directory.join("consentgate.key"));
        let made = token.output()?;
        ensure!(
            made.status.success(),
            "no token was made: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let token = String::from_utf8(made.stdout)?;
        self.authorization = Some(format!("Bearer {}", token.trim()));
        Ok(())
    }

    /// The same program on another database, for whose callers no credential is needed.
    pub fn open_to_all(&self, directory: &Path, database: &str) -> anyhow::Result<Self> {
        Self::open(&self.program, directory, database, self.collector)
    }

    /// The header that lets callers in.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// A call of a caller who may.
    pub fn call(&self, path: &str) -> anyhow::Result<Call> {
        Call::to(path, self.authorization())
    }

    /// How the service is configured to work on the same database in this process.
    pub fn config(&self) -> Config {
        Config {
            database: Database::Postgres(Secret::new(self.database.clone())),
            key_file: Some(self.directory.join("consentgate.key")),
            catalog: Some(self.directory.join("catalog.toml")),
            policy: Some(self.directory.join("policy.toml")),
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            ..Config::default()
        }
    }

    /// Starts one with these settings beside the defaults, and waits until it serves.
    pub async fn start(&self, cores: Cores, settings: &[&str]) -> anyhow::Result<Process> {
        let address = free_address()?;
        let command = self.command(cores, &address.to_string(), settings);
        Process::start(command, address)
            .await
            .context("consentgate")
    }

    /// As [`Self::start`], on a Unix domain socket.
    pub async fn start_on(&self, cores: Cores, socket: &Path) -> anyhow::Result<Process> {
        let command = self.command(cores, &format!("unix:{}", socket.display()), &[]);
        Process::start_on(command, socket)
            .await
            .context("consentgate")
    }

    fn command(&self, cores: Cores, listen: &str, settings: &[&str]) -> Command {
        let mut command = cores.command(&self.program);
        command
            .arg("serve")
            .args(["--listen", listen])
            .args(["--database", &self.database])
            .arg("--key-file")
            .arg(self.directory.join("consentgate.key"))
            .arg("--catalog")
            .arg(self.directory.join("catalog.toml"))
            .arg("--policy")
            .arg(self.directory.join("policy.toml"))
            .args(["--log", "warn", "--otlp-endpoint"])
            .arg(format!("http://{}", self.collector))
            .args(settings)
            .stdout(Stdio::null());
        command
    }

    /// Where the database is.
    pub fn database(&self) -> &str {
        &self.database
    }
}
