//! Open loops: calls arrive at times that were fixed beforehand, whether or not earlier ones are answered, and a call's
//! latency counts from the time at which it should have begun. So a server that stalls is seen by all who would have
//! come meanwhile (no coordinated omission).
//!
//! The runtime's timer has a grain of a millisecond; here one thread looks at the clock all the time instead.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::wire::{self, Call, Wire};
use crate::hosts::Cores;

/// Which load, and on whom.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub call: Call,
    pub frame: Bytes,
    pub connections: usize,
    /// Calls a second, on average.
    pub rate: f64,
    pub lasts: Duration,
    /// What the arrival times are drawn with.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// In nanoseconds, of calls that were answered.
    pub histogram: Histogram<u64>,
    /// Calls that were refused with `RESOURCE_EXHAUSTED`.
    pub refused: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// From the first arrival to the last answer.
    pub took: Duration,
}

impl Latencies {
    /// Microseconds.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a latency is far below 2^52 nanoseconds"
    )]
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1_000.0
    }

    /// Answered calls a second.
    #[expect(clippy::cast_precision_loss, reason = "calls of a benchmark are few")]
    pub fn goodput(&self) -> f64 {
        self.histogram.len() as f64 / self.took.as_secs_f64()
    }

    /// Refused calls a second.
    #[expect(clippy::cast_precision_loss, reason = "calls of a benchmark are few")]
    pub fn refused_per_second(&self) -> f64 {
        self.refused as f64 / self.took.as_secs_f64()
    }
}

const RESOURCE_EXHAUSTED: i32 = 8;

/// Runs a load on a thread of its own, which is always awake.
pub async fn run(load: Load, cores: Cores) -> anyhow::Result<Latencies> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        cores.pin_this_thread();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(4)
            .build();
        let measured = match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, drive(load)),
            Err(error) => Err(error.into()),
        };
        // Nobody waits any more only if the benchmark ended.
        let _ = done.send(measured);
    });
    result.await.context("the load's thread ended")?
}

struct Seen {
    histogram: RefCell<Histogram<u64>>,
    refused: Cell<u64>,
    failed: Cell<u64>,
    open: Cell<u64>,
}

async fn drive(load: Load) -> anyhow::Result<Latencies> {
    let mut wires = Vec::new();
    for _ in 0..load.connections {
        wires.push(Wire::connect(load.address).await?);
    }
    let arrivals = arrivals(load.rate, load.lasts, load.seed);
    let seen = Rc::new(Seen {
        histogram: RefCell::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?),
        refused: Cell::new(0),
        failed: Cell::new(0),
        open: Cell::new(0),
    });
    let started = Instant::now();
    for (number, arrival) in arrivals.iter().enumerate() {
        let due = started + *arrival;
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        let mut wire = wires[number % wires.len()].clone();
        let (call, frame, seen) = (load.call.clone(), load.frame.clone(), Rc::clone(&seen));
        seen.open.set(seen.open.get() + 1);
        tokio::task::spawn_local(async move {
            let answered = match wire.send(&call, frame).await {
                Ok(response) => wire::answer(response).await,
                Err(error) => Err(error),
            };
            let took = due.elapsed();
            seen.open.set(seen.open.get() - 1);
            match answered {
                Ok(_) => {
                    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                    seen.histogram.borrow_mut().saturating_record(nanos);
                }
                Err(error) => {
                    let code = error
                        .downcast_ref::<wire::Failed>()
                        .map(|failed| failed.code);
                    let count = match code {
                        Some(RESOURCE_EXHAUSTED) => &seen.refused,
                        _ => &seen.failed,
                    };
                    count.set(count.get() + 1);
                }
            }
        });
    }
    while seen.open.get() > 0 {
        tokio::task::yield_now().await;
    }
    Ok(Latencies {
        histogram: seen.histogram.borrow().clone(),
        refused: seen.refused.get(),
        failed: seen.failed.get(),
        took: started.elapsed(),
    })
}

/// Arrival times of a Poisson process: independent callers.
fn arrivals(rate: f64, lasts: Duration, seed: u64) -> Vec<Duration> {
    let mut random = SplitMix(seed);
    let mut at = 0.0;
    let mut arrivals = Vec::new();
    while at < lasts.as_secs_f64() {
        arrivals.push(Duration::from_secs_f64(at));
        at += -random.unit().ln() / rate;
    }
    arrivals
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014).
struct SplitMix(u64);

impl SplitMix {
    /// Above 0, at most 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_arrive_as_the_rate_says_and_never_back_in_time() {
        let arrivals = arrivals(10_000.0, Duration::from_secs(4), 1);
        assert!(
            (39_000..41_000).contains(&arrivals.len()),
            "{}",
            arrivals.len()
        );
        assert!(arrivals.is_sorted());
        assert!(arrivals.last().unwrap() < &Duration::from_secs(4));
    }
}
