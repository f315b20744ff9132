//! A PostgreSQL for the tests: started in a temporary directory, gone when the test process is gone.
//!
//! Tests share one server a process, each in its own database ([`database`]); a test that stops or kills its
//! server gets one of its own ([`Postgres::own`]). Nothing is downloaded and no installed cluster is touched;
//! `make test` installs the server programs. Access is by trust, on 127.0.0.1 only: nothing here is worth keeping.

pub mod programs;
mod secured;
mod standby;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::wait::eventually;

/// Creates an empty database on the server that all tests share, and starts that server if this is the first.
pub async fn database() -> TestDatabase {
    static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
    match SHARED.get_or_init(|| Postgres::launch(Durability::Fast)) {
        Ok(server) => server.database().await,
        Err(reason) => panic!("{reason}"),
    }
}

/// An empty database that one test has to itself. **Keep it until the test ends**: once the value is dropped and
/// nobody is connected, a later test clears the database away, so that a long run does not fill the disk.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    discarded: Discarded,
}

impl TestDatabase {
    /// Where a client finds it, as `postgres://user@host:port/name`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for a login that is a member of the service's role and nothing more. There is such a role only after
    /// a migration.
    pub async fn service_url(&self) -> String {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        // Logins are of the whole server, and other tests make theirs at the same time.
        sqlx::query(
            "do $$ begin create role gate login in role consentgate_service; \
             exception when duplicate_object or unique_violation then null; end $$",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.ok();
        self.url.replacen("://postgres@", "://gate@", 1)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.discarded.add(std::mem::take(&mut self.name));
    }
}

/// Names of databases that no test needs any more.
#[derive(Clone, Debug, Default)]
struct Discarded(std::sync::Arc<Mutex<Vec<String>>>);

impl Discarded {
    fn add(&self, name: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
    }

    /// All names once there are enough of them, since each drop costs a checkpoint; none before.
    fn take_many(&self) -> Vec<String> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < 16 {
            Vec::new()
        } else {
            std::mem::take(&mut names)
        }
    }
}

/// What a test server does with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A commit is on disk before it is answered: for tests that crash the server.
    Durable,
    /// Nothing is flushed, which is several times faster: for everything else.
    Fast,
}

impl Durability {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Durable => &["fsync=on", "synchronous_commit=on", "full_page_writes=on"],
            Self::Fast => &[
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
            ],
        }
    }
}

/// One running (or stopped) PostgreSQL server. Dropping it stops the server and removes its directory.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    account: Account,
    directory: PathBuf,
    durability: Durability,
    /// Settings of this server alone.
    settings: &'static [&'static str],
    port: u16,
    databases: AtomicU32,
    discarded: Discarded,
    // The watchdog ends when its input does, which the kernel sees to however this process dies.
    watchdog: Child,
    lifeline: Option<ChildStdin>,
}

impl Postgres {
    /// A server for one test, which may stop, crash and start it.
    pub fn own(durability: Durability) -> Self {
        Self::launch(durability).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The URL of a database on this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database on this server.
    pub async fn database(&self) -> TestDatabase {
        let mut connection = PgConnection::connect(&self.url("postgres"))
            .await
            .unwrap_or_else(|e| panic!("the test server does not answer: {e}\n{}", self.log()));
        self.drop_discarded(&mut connection).await;

        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut create = format!("create database {name}");
        // Several times faster where nothing is flushed; PostgreSQL 15 made it a choice.
        if self.durability == Durability::Fast && connection.server_version_num() >= Some(150_000) {
            create.push_str(" strategy file_copy");
        }
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|e| panic!("cannot create database {name}: {e}"));
        connection.close().await.ok();
        TestDatabase {
            url: self.url(&name),
            name,
            discarded: self.discarded.clone(),
        }
    }

    /// Stops the server as a crash would: no checkpoint, connections cut, recovery at the next start.
    pub fn stop_immediate(&self) {
        let stopped = self.pg_ctl(&["-m", "immediate", "stop"]);
        stopped.unwrap_or_else(|reason| panic!("cannot stop the test server: {reason}"));
    }

    /// Starts a stopped server again, on the same port, and returns when it accepts connections.
    pub fn start(&self) {
        self.try_start()
            .unwrap_or_else(|reason| panic!("cannot start the test server: {reason}"));
    }

    /// The process id of the server's first process, for signals.
    pub fn pid(&self) -> u32 {
        let file = self.data().join("postmaster.pid");
        let text = fs::read_to_string(&file).expect("a running server has written its process id");
        let first = text.lines().next().unwrap_or_default();
        first
            .trim()
            .parse()
            .expect("the first line is the process id")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn launch(durability: Durability) -> Result<Self, String> {
        let mut server = Self::prepare(durability, &[])?;
        server.initdb()?;
        server.start_on_a_free_port()?;
        Ok(server)
    }

    /// A directory that is going to hold a server, and whatever removes both in the end.
    fn prepare(durability: Durability, settings: &'static [&'static str]) -> Result<Self, String> {
        let programs = programs::directory()?;
        let directory = tempfile::Builder::new()
            .prefix("consentgate-postgres-")
            .tempdir()
            .map_err(|e| format!("cannot create a temporary directory: {e}"))?
            .keep();
        let account = Account::for_server(&directory)?;
        let (watchdog, lifeline) = watch(&account, &programs, &directory)?;
        Ok(Self {
            programs,
            account,
            directory,
            durability,
            settings,
            port: 0,
            databases: AtomicU32::new(1),
            discarded: Discarded::default(),
            watchdog,
            lifeline: Some(lifeline),
        })
    }

    fn initdb(&self) -> Result<(), String> {
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(self.data());
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--locale=C",
            "--encoding=UTF8",
            "--no-sync",
        ]);
        succeed(initdb)
    }

    fn start_on_a_free_port(&mut self) -> Result<(), String> {
        let mut reason = String::new();
        for port in free_ports().take(5) {
            self.port = port;
            match self.try_start() {
                Ok(()) => return Ok(()),
                // Somebody else took the port in the meantime; anything else would fail again.
                Err(failure) if failure.contains("could not bind") => reason = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(format!("no free port for PostgreSQL: {reason}"))
    }

    fn try_start(&self) -> Result<(), String> {
        let mut options = format!("-p {}", self.port);
        // Of two settings of one name the later counts.
        let settings = self.durability.settings().iter().chain(SETTINGS);
        for setting in settings.chain(self.settings) {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let log = self.directory.join("log");
        let log = log
            .to_str()
            .ok_or("the temporary directory's name is not UTF-8")?;
        self.pg_ctl(&["-w", "-l", log, "-o", &options, "start"])
            .map_err(|reason| format!("{reason}\n{}", self.log()))
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), String> {
        let mut pg_ctl = self.program("pg_ctl");
        pg_ctl.arg("-D").arg(self.data()).args(arguments);
        succeed(pg_ctl)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        // Messages in English, since one of them is looked for.
        command.current_dir(&self.directory).env("LC_ALL", "C");
        self.account.apply(&mut command);
        command
    }

    /// Clears away what earlier tests have left. A database with a connection would make `drop database` wait for
    /// seconds, so it is left for the next time.
    async fn drop_discarded(&self, connection: &mut PgConnection) {
        const IN_USE: &str = "select exists (select from pg_stat_activity where datname = $1)";
        for name in self.discarded.take_many() {
            let in_use = sqlx::query_scalar(IN_USE)
                .bind(&name)
                .fetch_one(&mut *connection)
                .await;
            if in_use.unwrap_or(true) {
                self.discarded.add(name);
                continue;
            }
            let drop = AssertSqlSafe(format!("drop database {name}"));
            if sqlx::query(drop).execute(&mut *connection).await.is_err() {
                self.discarded.add(name);
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        self.watchdog.wait().ok();
    }
}

/// Settings of every test server: TCP on loopback only, small, and little left behind on disk.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=''",
    "max_connections=300",
    "shared_buffers=64MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "min_wal_size=32MB",
    "max_wal_size=256MB",
    "jit=off",
];

/// The account that the server runs under. PostgreSQL refuses root.
#[derive(Clone, Copy, Debug)]
enum Account {
    Ours,
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// Chooses the account, and gives it the directory that the server is going to live in.
    fn for_server(directory: &Path) -> Result<Self, String> {
        let created =
            fs::metadata(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        if created.uid() != 0 {
            return Ok(Self::Ours);
        }
        for name in ["postgres", "nobody"] {
            if let (Some(uid), Some(gid)) = (ask_id("-u", name), ask_id("-g", name)) {
                chown(directory, Some(uid), Some(gid))
                    .map_err(|e| format!("cannot give {} to {name}: {e}", directory.display()))?;
                return Ok(Self::Other { uid, gid });
            }
        }
        Err(
            "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody"
                .into(),
        )
    }

    fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }
}

fn ask_id(flag: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Starts the process that outlives this one by a moment: it waits for the end of its input, which comes when the
/// test process lets go of the pipe or dies in whatever way, then stops the server and removes the directory.
fn watch(
    account: &Account,
    programs: &Path,
    directory: &Path,
) -> Result<(Child, ChildStdin), String> {
    // A server that is just starting when the test process dies may write while its directory is removed, hence
    // the repetition; PostgreSQL also stops by itself when its directory is gone.
    const SCRIPT: &str = r#"
        trap '' HUP INT TERM
        while read -r _; do :; done
        for _ in 1 2 3 4 5; do
            if [ -e "$2/data/postmaster.pid" ]; then "$1/pg_ctl" -D "$2/data" -m immediate stop; fi
            if rm -rf "$2"; then exit 0; fi
            sleep 1
        done
    "#;
    let mut watchdog = Command::new("sh");
    watchdog
        .args(["-c", SCRIPT, "watchdog"])
        .arg(programs)
        .arg(directory);
    // In a process group of its own, so that Ctrl-C and a killed group do not reach it.
    watchdog
        .process_group(0)
        .current_dir("/")
        .env("LC_ALL", "C");
    watchdog
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    account.apply(&mut watchdog);
    let mut watchdog = watchdog
        .spawn()
        .map_err(|e| format!("cannot start sh: {e}"))?;
    let lifeline = watchdog.stdin.take().ok_or("the watchdog has no input")?;
    Ok((watchdog, lifeline))
}

fn succeed(mut command: Command) -> Result<(), String> {
    // Not `output()`: the server that pg_ctl leaves behind would keep the pipes open.
    let transcript = tempfile::tempfile().map_err(|e| format!("no temporary file: {e}"))?;
    let clone = || {
        transcript
            .try_clone()
            .map_err(|e| format!("no temporary file: {e}"))
    };
    command
        .stdin(Stdio::null())
        .stdout(clone()?)
        .stderr(clone()?);
    let status = command
        .status()
        .map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    let mut transcript = transcript;
    std::io::Seek::rewind(&mut transcript).ok();
    transcript.read_to_string(&mut said).ok();
    Err(format!("{command:?}: {status}\n{said}"))
}

/// Ports that nobody listens on right now. They lie below the range that systems take outgoing connections from,
/// so that a stopped server finds its port free when it starts again.
fn free_ports() -> impl Iterator<Item = u16> {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 17_000;
    // Every process and every server begins elsewhere; 97 is prime to COUNT.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    std::iter::repeat_with(move || start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .take(1000)
        .filter_map(|offset| u16::try_from(FIRST + offset).ok())
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

async fn one(url: &str, sql: &'static str) -> Result<i32, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let value = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(value)
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (mine, yours) = (database().await, database().await);
    assert_ne!(mine.url(), yours.url());

    let mut connection = PgConnection::connect(mine.url()).await.unwrap();
    sqlx::query("create table here (n int4)")
        .execute(&mut connection)
        .await
        .unwrap();
    let elsewhere = one(yours.url(), "select count(*)::int4 from here").await;
    assert!(
        elsewhere.is_err(),
        "a table in one database shows in another"
    );
}

#[tokio::test]
async fn a_durable_server_keeps_its_commits_through_a_crash_and_its_port() {
    let server = Postgres::own(Durability::Durable);
    let database = server.database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query("create table kept as select 7 as n")
        .execute(&mut connection)
        .await
        .unwrap();

    let before = server.pid();
    server.stop_immediate();
    assert!(
        sqlx::query("select 1")
            .execute(&mut connection)
            .await
            .is_err()
    );
    assert!(PgConnection::connect(database.url()).await.is_err());

    server.start();
    assert_ne!(server.pid(), before);
    assert_eq!(one(database.url(), "select n from kept").await.unwrap(), 7);
    assert!(
        server.log().contains("automatic recovery"),
        "{}",
        server.log()
    );
    assert_eq!(
        one(
            database.url(),
            "select (current_setting('fsync') = 'on')::int4"
        )
        .await
        .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_dropped_server_is_stopped_and_its_directory_removed() {
    let server = Postgres::own(Durability::Fast);
    let (url, directory) = (server.url("postgres"), server.directory.clone());
    assert_eq!(one(&url, "select 1").await.unwrap(), 1);
    drop(server);
    assert!(!directory.exists());
    assert!(one(&url, "select 1").await.is_err());
}

/// Runs this test once more in a process of its own, which then is killed as no handler can notice.
#[tokio::test]
async fn a_server_does_not_outlive_a_killed_test_process() {
    const ROLE: &str = "CONSENTGATE_TEST_HOLDS_A_SERVER";
    const NAME: &str = "postgres::a_server_does_not_outlive_a_killed_test_process";
    #[expect(
        clippy::disallowed_methods,
        reason = "how the process started below knows its role"
    )]
    if std::env::var(ROLE).is_ok() {
        let server = Postgres::own(Durability::Fast);
        writeln!(
            std::io::stdout(),
            "\nserver {} {}",
            server.url("postgres"),
            server.directory.display()
        )
        .unwrap();
        // Ends with the process that started this one, should that be the one to be killed.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
        return;
    }

    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(holder.stdout.take().unwrap());
    let line = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("server ").map(str::to_owned))
        .expect("the other process starts a server");
    let (url, directory) = line.split_once(' ').unwrap();
    assert_eq!(one(url, "select 1").await.unwrap(), 1);

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually(
        Duration::from_secs(30),
        "the server and its directory are gone",
        async || {
            let gone = !Path::new(directory).exists() && one(url, "select 1").await.is_err();
            gone.then_some(())
        },
    )
    .await;
}
