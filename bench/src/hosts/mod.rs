//! The processes that are measured: the gate and what it is compared with. Each is real, listens on loopback, is started
//! by the benchmark and ends with it. What is asked of them is in `load`.

pub mod bare;
pub mod collector;
pub mod gate;
pub mod postgres;
pub mod redis;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

/// How long a process may take until it listens.
const START: Duration = Duration::from_secs(60);

/// Which cores a process may run on: server and client apart, or both everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// The first alone: what a server gets while its client has the others.
    First,
    /// All but the first.
    Others,
    All,
}

impl Cores {
    /// The command that runs a program on these cores.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let list = match self {
            Self::All => return Command::new(program),
            Self::First => "0".to_owned(),
            Self::Others => format!("1-{}", count().saturating_sub(1).max(1)),
        };
        if count() < 2 {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.arg("-c").arg(list).arg(program);
        command
    }

    /// Puts the calling thread, and threads that it starts from now on, on these cores.
    pub fn pin_this_thread(self) {
        let mut set = rustix::thread::CpuSet::new();
        let of = match self {
            Self::First => 0..1,
            Self::Others => 1.min(count() - 1)..count(),
            Self::All => 0..count(),
        };
        of.for_each(|core| set.set(core));
        // Where it is refused the figures are noisier, and the ratio's spread tells.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// Cores of this machine.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A running process; ends with its value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Port 0 on a Unix domain socket.
    pub address: SocketAddr,
}

impl Process {
    /// Starts a program and waits until it accepts connections.
    pub async fn start(command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let listens = async || TcpStream::connect(address).await.is_ok();
        Self::started(command, address, listens).await
    }

    /// The same on a Unix domain socket.
    pub async fn start_on(command: Command, socket: &Path) -> anyhow::Result<Self> {
        let listens = async || UnixStream::connect(socket).await.is_ok();
        Self::started(command, SocketAddr::from(([127, 0, 0, 1], 0)), listens).await
    }

    async fn started(
        mut command: Command,
        address: SocketAddr,
        listens: impl AsyncFn() -> bool,
    ) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut process = Self { child, address };
        let deadline = Instant::now() + START;
        while !listens().await {
            if let Some(ended) = process.child.try_wait()? {
                bail!("{name} ended at its start: {ended}");
            }
            if Instant::now() > deadline {
                bail!("{name} does not listen");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(process)
    }

    /// Memory that it has in RAM, in bytes, as the kernel counts it.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("no VmRSS")?
            .trim()
            .parse()?;
        Ok(kib * 1024)
    }

    /// Stops it where it stands, as a machine that hangs would, or lets it go on.
    pub fn pause(&self, paused: bool) -> anyhow::Result<()> {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Ends it in order and waits.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(self.pid()?, Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let id = i32::try_from(self.child.id())?;
        Pid::from_raw(id).context("a process has an id")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended, or about to: either way nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that nobody listens on.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
