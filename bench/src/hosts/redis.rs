//! Redis, as teams use it for this today: in memory, one thread, nothing on disk.

use super::{Cores, Process, free_address};

/// Starts an empty one.
pub async fn start(cores: Cores) -> anyhow::Result<Process> {
    let address = free_address()?;
    let mut command = cores.command("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--loglevel", "warning", "--port"]);
    command.arg(address.port().to_string());
    Process::start(command, address).await
}
