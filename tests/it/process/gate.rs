//! The binary as an operator runs it: started, signalled, killed, and listened to.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use consentgate::grpc::proto::consent_service_client::ConsentServiceClient;
use consentgate::grpc::proto::{CheckConsentRequest, CheckConsentResponse};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::watchdog;
use crate::wait::eventually;

pub type Client = ConsentServiceClient<Channel>;

/// Longest time that a start or an end may take on a busy machine. Reached only by one that hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A running `consentgate serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Gate {
    process: Process,
    /// Where it says that it serves.
    place: String,
    channel: Channel,
}

/// A process that has ended: how, and all that it wrote to standard error.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    pub log: String,
}

impl Gate {
    /// Starts what serves, and returns when it says that it does.
    pub async fn start(command: Command) -> Self {
        match Self::try_start(command).await {
            Ok(gate) => gate,
            Err(ended) => panic!("it ended before it served: {ended}"),
        }
    }

    /// As [`Gate::start`], for what is not reached by TCP and in the clear: `dial` is told where it serves.
    pub async fn start_by(command: Command, dial: impl FnOnce(&str) -> Endpoint) -> Self {
        match Self::try_start_by(command, dial).await {
            Ok(gate) => gate,
            Err(ended) => panic!("it ended before it served: {ended}"),
        }
    }

    /// Starts what should serve; the error is that it ended instead.
    pub async fn try_start(command: Command) -> Result<Self, Ended> {
        Self::try_start_by(command, |place| endpoint(reachable(place))).await
    }

    async fn try_start_by(
        command: Command,
        dial: impl FnOnce(&str) -> Endpoint,
    ) -> Result<Self, Ended> {
        let mut process = Process::start(command);
        let begun = eventually(LIMIT, "the process serves or ends", async || {
            if let Some(place) = process.log.place() {
                return Some(Some(place));
            }
            process.status().map(|_| None)
        });
        let Some(place) = begun.await else {
            return Err(process.ended().await);
        };
        let channel = dial(&place).connect().await.unwrap();
        Ok(Self {
            process,
            place,
            channel,
        })
    }

    /// Runs what should not serve, and says how it ended.
    pub async fn refused(command: Command) -> Ended {
        match Self::try_start(command).await {
            Ok(gate) => panic!("it serves:\n{}", gate.log()),
            Err(ended) => ended,
        }
    }

    pub fn address(&self) -> SocketAddr {
        reachable(&self.place)
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        self.process.log.text()
    }

    /// Its standard input, if that is a pipe.
    pub fn stdin(&mut self) -> ChildStdin {
        self.process.child.stdin.take().expect("a piped input")
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn client(&self) -> Client {
        ConsentServiceClient::new(self.channel())
    }

    pub async fn check(&self, asked: CheckConsentRequest) -> CheckConsentResponse {
        let answer = self.client().check_consent(asked).await;
        answer
            .unwrap_or_else(|status| panic!("{status}\n{}", self.log()))
            .into_inner()
    }

    /// What the health service says of the server as a whole.
    pub async fn health(&self) -> ServingStatus {
        let asked = HealthCheckRequest::default();
        let answer = HealthClient::new(self.channel()).check(asked).await;
        answer.unwrap().into_inner().status()
    }

    /// Waits until the health service says so.
    pub async fn until(&self, status: ServingStatus, limit: Duration) {
        let said = format!("health is {status:?}");
        eventually(limit, &said, async || {
            (self.health().await == status).then_some(())
        })
        .await;
    }

    /// Whether somebody who comes now is refused.
    pub async fn refuses_connections(&self) -> bool {
        endpoint(self.address()).connect().await.is_err()
    }

    /// Sends a signal, as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it still runs, be it stopped by a signal.
    pub fn is_running(&mut self) -> bool {
        self.process.status().is_none()
    }

    /// Waits until it has ended by itself or by a signal.
    pub async fn ended(mut self) -> Ended {
        self.process.ended().await
    }

    /// Ends it as an operator does, and finds that it ended well.
    pub async fn stop(self) -> String {
        self.signal("TERM");
        let ended = self.ended().await;
        assert_eq!(ended.code(), 0, "{ended}");
        ended.log
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) -> String {
        self.process.child.kill().unwrap();
        let ended = self.process.ended().await;
        assert_eq!(ended.signal(), Some(9), "{ended}");
        ended.log
    }
}

/// A command under way that serves nobody. Dropping it kills it.
#[derive(Debug)]
pub struct Task(Process);

impl Task {
    pub fn start(command: Command) -> Self {
        Self(Process::start(command))
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.status().is_some()
    }

    /// Ends it as a power cut would, if it has not ended by itself.
    pub async fn kill(mut self) -> Ended {
        self.0.child.kill().ok();
        self.0.ended().await
    }
}

/// Runs a command to its end, with what it wrote to standard output.
pub async fn run(mut command: Command) -> (Ended, String) {
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = done.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ended = Ended {
        status: output.status,
        log: text(output.stderr),
    };
    (ended, text(output.stdout))
}

/// Sends a signal to a process of any kind.
pub fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(pid.to_string());
    assert!(kill.status().unwrap().success(), "kill -{name} {pid}");
}

/// The address of a gate, as this machine reaches it.
fn reachable(place: &str) -> SocketAddr {
    let mut address: SocketAddr = place.parse().unwrap();
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

impl Ended {
    /// Its exit code.
    pub fn code(&self) -> i32 {
        let code = self.status.code();
        code.unwrap_or_else(|| panic!("it was killed: {self}"))
    }

    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    pub fn dumped_core(&self) -> bool {
        self.status.core_dumped()
    }

    /// Finds that it refused to start, and that what it said names all of these.
    #[track_caller]
    pub fn refused_with(&self, words: &[&str]) {
        assert_eq!(self.code(), 2, "{self}");
        for word in words {
            assert!(self.log.contains(word), "no `{word}` in {self}");
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.status, self.log)
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    log: Log,
    listener: Option<JoinHandle<()>>,
}

impl Process {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut output = BufReader::new(child.stderr.take().expect("it is piped"));
        watchdog::add(child.id());
        let log = Log::default();
        let heard = log.clone();
        // On a thread of its own: whoever writes to a full pipe waits.
        let listener = std::thread::spawn(move || {
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                heard.add(&line);
                line.clear();
            }
        });
        Self {
            child,
            log,
            listener: Some(listener),
        }
    }

    fn status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        if status.is_some() {
            watchdog::gone(self.child.id());
        }
        status
    }

    async fn ended(&mut self) -> Ended {
        let status = eventually(LIMIT, "the process ends", async || self.status()).await;
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        let log = self.log.text();
        Ended { status, log }
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "a test's output is where its failure is explained"
    )]
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        watchdog::gone(self.child.id());
        if std::thread::panicking() {
            let log = self.log.text();
            let is_small_talk = |line: &&str| line.contains("TRACE") || line.contains("DEBUG");
            let mut lines: Vec<&str> = log.lines().filter(|line| !is_small_talk(line)).collect();
            lines.drain(..lines.len().saturating_sub(50));
            eprintln!(
                "process {} said last:\n{}",
                self.child.id(),
                lines.join("\n")
            );
        }
    }
}

/// What a process wrote so far.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn add(&self, line: &[u8]) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(line);
    }

    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where it serves, once it says so, as JSON or as text.
    fn place(&self) -> Option<String> {
        const BEFORE: [&str; 2] = [
            r#""message":"serving","address":""#,
            "consentgate::server: serving address=",
        ];
        let text = self.text();
        let rest = BEFORE.iter().find_map(|before| text.split_once(before))?.1;
        let end = rest.find(['"', '\n', ' '])?;
        Some(rest[..end].to_owned())
    }
}
