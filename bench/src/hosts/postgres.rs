//! A PostgreSQL of the benchmark's own, in a temporary directory: durable, its memory set as an operator would on a
//! machine of this size, everything else at its default.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use super::free_address;

/// What differs from PostgreSQL's defaults. Also printed in the report.
pub const SETTINGS: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=2GB",
    "max_wal_size=8GB",
    "max_connections=200",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=''",
];

/// A running server. Stopped, and its directory removed, with its value.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    owner: Option<(u32, u32)>,
    port: u16,
}

impl Postgres {
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("consentgate-bench-")
            .tempdir()?;
        let owner = owner_of(directory.path())?;
        let server = Self {
            programs: programs()?,
            directory,
            owner,
            port: free_address()?.port(),
        };
        let data = server.data();
        let mut initdb = server.program("initdb");
        initdb.arg("-D").arg(&data);
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--locale=C",
            "--encoding=UTF8",
        ]);
        succeed(initdb)?;
        let mut options = format!("-p {}", server.port);
        for setting in SETTINGS {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let mut start = server.program("pg_ctl");
        start.arg("-D").arg(&data).args(["-w", "-l"]);
        start.arg(server.directory.path().join("log"));
        start.args(["-o", &options, "start"]);
        succeed(start)?;
        Ok(server)
    }

    /// Creates an empty database.
    pub async fn database(&self, name: &str) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::query(AssertSqlSafe(format!("create database {name}")))
            .execute(&mut connection)
            .await?;
        Ok(self.url(name))
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// PostgreSQL's own client for loads.
    pub fn pgbench(&self) -> PathBuf {
        self.programs.join("pgbench")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .current_dir(self.directory.path())
            .env("LC_ALL", "C");
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        stop.arg("-D")
            .arg(self.data())
            .args(["-m", "immediate", "stop"]);
        if let Err(error) = succeed(stop) {
            eprintln!("PostgreSQL goes on: {error}");
        }
    }
}

/// PostgreSQL refuses root: then the account that the packages made.
fn owner_of(directory: &Path) -> anyhow::Result<Option<(u32, u32)>> {
    if std::fs::metadata(directory)?.uid() != 0 {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let line = accounts
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .context("root may not run PostgreSQL, and there is no account `postgres`")?;
    let mut fields = line.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (number(), number()) else {
        bail!("the account `postgres` has no number");
    };
    std::os::unix::fs::chown(directory, Some(uid), Some(gid))?;
    Ok(Some((uid, gid)))
}

/// Where `scripts/ensure-bench.sh` found or put the server's programs.
fn programs() -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/ensure-postgres.sh");
    let output = Command::new(script).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PostgreSQL: "));
    Ok(line.context("PostgreSQL is not installed")?.into())
}

fn succeed(mut command: Command) -> anyhow::Result<()> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
