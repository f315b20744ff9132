//! Closed loops: so many callers, each of whom asks again when it is answered. For throughput alone; a latency that is
//! measured so hides what waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::wire::{Call, Wire};

/// Connections, and callers on each.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub connections: usize,
    pub callers: usize,
}

/// Until when callers go on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Calls(u64),
    Passed(Duration),
    /// Whichever comes first.
    Either(u64, Duration),
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    pub calls: u64,
    pub took: Duration,
}

impl Done {
    pub fn per_second(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "calls of a benchmark are few")]
        let calls = self.calls as f64;
        calls / self.took.as_secs_f64()
    }
}

/// Calls with the frame that `frame` makes of each call's number. The first that fails ends it.
pub async fn run(
    address: SocketAddr,
    call: Call,
    shape: Shape,
    until: Until,
    frame: impl Fn(u64) -> Bytes + Send + Sync + 'static,
) -> anyhow::Result<Done> {
    let (next, frame) = (Arc::new(AtomicU64::new(0)), Arc::new(frame));
    let mut callers = JoinSet::new();
    let mut wires = Vec::new();
    for _ in 0..shape.connections {
        wires.push(Wire::connect(address).await?);
    }
    let started = Instant::now();
    for wire in &wires {
        for _ in 0..shape.callers {
            let (mut wire, call) = (wire.clone(), call.clone());
            let (next, frame) = (Arc::clone(&next), Arc::clone(&frame));
            callers.spawn(async move {
                let mut calls = 0;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let ended = match until {
                        Until::Calls(limit) => number >= limit,
                        Until::Passed(limit) => started.elapsed() >= limit,
                        Until::Either(calls, limit) => {
                            number >= calls || started.elapsed() >= limit
                        }
                    };
                    if ended {
                        return anyhow::Ok(calls);
                    }
                    wire.call(&call, frame(number)).await?;
                    calls += 1;
                }
            });
        }
    }
    let mut calls = 0;
    while let Some(ended) = callers.join_next().await {
        calls += ended??;
    }
    Ok(Done {
        calls,
        took: started.elapsed(),
    })
}

/// Runs a load on cores of its own: a runtime whose threads stay there.
pub async fn apart<F>(
    cores: crate::hosts::Cores,
    load: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<Done>
where
    F: Future<Output = anyhow::Result<Done>>,
{
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        cores.pin_this_thread();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let measured = match runtime {
            Ok(runtime) => runtime.block_on(load()),
            Err(error) => Err(error.into()),
        };
        // Nobody waits any more only if the benchmark ended.
        let _ = done.send(measured);
    });
    result
        .await
        .map_err(|_| anyhow::anyhow!("the load's thread ended"))?
}
