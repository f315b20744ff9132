//! Clients that others wrote: `h2load` for gRPC, `redis-benchmark`, `pgbench`. Their figures are read from what they
//! print; a line that is not there is an error, never a zero.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::process::Command;

use crate::hosts::Cores;

/// Calls for each second that a measurement should last, roughly. A fixed number rather than a fixed time, since for a fixed
/// time `h2load` also counts bytes of calls that it does not count.
const A_SECOND: u64 = 30_000;

/// Where a service listens, and how it is spoken to.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    Plain(SocketAddr),
    /// Whatever its certificate says: `h2load` does not look.
    Tls(SocketAddr),
    /// A Unix domain socket.
    Socket(&'a Path),
}

/// How `h2load` asks.
#[derive(Debug, Clone)]
pub struct H2load<'a> {
    pub way: Way<'a>,
    pub path: &'a str,
    pub body: &'a Bytes,
    pub authorization: Option<&'a str>,
    pub connections: usize,
    pub streams: usize,
    pub seconds: u32,
    pub cores: Cores,
}

impl H2load<'_> {
    /// Calls a second. An answer of another length than `answer_bytes` (frame and message) would be a failed call, which
    /// `h2load` does not look for, so the mean length is compared.
    pub async fn run(&self, answer_bytes: usize) -> anyhow::Result<f64> {
        let body = tempfile::NamedTempFile::new()?;
        std::fs::write(body.path(), self.body)?;
        let mut command = Command::from(self.cores.command("h2load"));
        command
            .args(["-c", &self.connections.to_string()])
            .args(["-m", &self.streams.to_string()])
            .args(["-n", &(u64::from(self.seconds) * A_SECOND).to_string()])
            .args(["-t", "1", "-d"])
            .arg(body.path())
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        if let Some(authorization) = self.authorization {
            command
                .arg("-H")
                .arg(format!("authorization: {authorization}"));
        }
        let path = self.path;
        match self.way {
            Way::Plain(address) => command.arg(format!("http://{address}{path}")),
            Way::Tls(address) => command.arg(format!("https://{address}{path}")),
            Way::Socket(socket) => command
                .arg(format!("--base-uri=unix:{}", socket.display()))
                .arg(format!("http://localhost{path}")),
        };
        let text = printed(command).await?;
        let requests = word_before(&text, "requests:", "total")?;
        let succeeded = word_before(&text, "requests:", "succeeded")?;
        ensure!(
            requests > 0.0 && (requests - succeeded).abs() < requests * 0.01,
            "calls failed:\n{text}"
        );
        let line = text.lines().find(|line| line.starts_with("traffic:"));
        let data = line.and_then(|line| line.split('(').next_back()?.split(')').next());
        let data: f64 = data.context("no bytes in what h2load printed")?.parse()?;
        let mean = data / succeeded;
        #[expect(clippy::cast_precision_loss, reason = "a message is small")]
        let wanted = answer_bytes as f64;
        ensure!(
            (mean - wanted).abs() < 0.02 * wanted + 1.0,
            "answers of {mean:.1} bytes where {wanted} were expected: calls fail\n{text}"
        );
        let line = text.lines().find(|line| line.starts_with("finished in"));
        let rate = line.and_then(|line| line.split(", ").nth(1)?.strip_suffix(" req/s"));
        Ok(rate
            .with_context(|| format!("no rate in:\n{text}"))?
            .parse()?)
    }
}

/// `redis-benchmark` with GETs of 64 bytes among `keys` keys that it has set: requests a second.
pub async fn redis_get(
    address: SocketAddr,
    cores: Cores,
    connections: usize,
    pipeline: usize,
    requests: u64,
    keys: u64,
) -> anyhow::Result<f64> {
    let run = async |test: &str, requests: u64, pipeline: usize| {
        let mut command = Command::from(cores.command("redis-benchmark"));
        command
            .args([
                "-h",
                &address.ip().to_string(),
                "-p",
                &address.port().to_string(),
            ])
            .args(["-t", test, "-d", "64", "-r", &keys.to_string()])
            .args(["-n", &requests.to_string(), "-c", &connections.to_string()])
            .args(["-P", &pipeline.to_string(), "--csv"]);
        printed(command).await
    };
    run("set", keys * 3, 32).await?;
    let text = run("get", requests, pipeline).await?;
    let line = text.lines().find(|line| line.starts_with("\"GET\""));
    let rate = line.and_then(|line| line.split(',').nth(1));
    Ok(rate
        .with_context(|| format!("no rate in:\n{text}"))?
        .trim_matches('"')
        .parse()?)
}

/// `pgbench` with a script of its own: transactions a second.
pub async fn pgbench(
    program: &Path,
    port: u16,
    database: &str,
    script: &str,
    clients: usize,
    seconds: u32,
) -> anyhow::Result<f64> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), script)?;
    let mut command = Command::new(program);
    command
        .args(["-h", "127.0.0.1", "-U", "postgres", "-n", "-M", "prepared"])
        .args([
            "-p",
            &port.to_string(),
            "-c",
            &clients.to_string(),
            "-j",
            "1",
        ])
        .args(["-T", &seconds.to_string(), "-f"])
        .arg(file.path())
        .arg(database);
    let text = printed(command).await?;
    let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = line.and_then(|line| line.split(' ').next());
    Ok(rate
        .with_context(|| format!("no rate in:\n{text}"))?
        .parse()?)
}

async fn printed(mut command: Command) -> anyhow::Result<String> {
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?} failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// The number in front of a word on the line that begins so.
fn word_before(text: &str, line: &str, word: &str) -> anyhow::Result<f64> {
    let line = text.lines().find(|one| one.starts_with(line));
    let part = line.and_then(|line| {
        let at = line.find(word)?;
        line[..at].split_whitespace().next_back()
    });
    Ok(part
        .with_context(|| format!("no `{word}` in:\n{text}"))?
        .parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_line_that_has_them() {
        let text = "x\nrequests: 41 total, 40 started, 39 done, 38 succeeded, 3 failed\n";
        assert_eq!(word_before(text, "requests:", "total").unwrap(), 41.0);
        assert_eq!(word_before(text, "requests:", "succeeded").unwrap(), 38.0);
        assert!(word_before(text, "status codes:", "2xx").is_err());
    }
}
