//! The latency of a warm `CheckConsent` beside the bare service's: one call at a time, at half and at 85 % of what each can
//! do, and over the whole range.

use std::time::Duration;

use bytes::Bytes;

use super::{Axis, Bench, Chart, Line, Part, Row, Target, asked};
use crate::audience::{self, framed};
use crate::hosts::{Cores, bare};
use crate::load::closed::{self, Shape, Until};
use crate::load::open::{self, Latencies, Load};
use crate::load::wire::Call;
use crate::stats::Compared;

const PERSON: u64 = 7;
/// Calls a second that leave the server idle most of the time, so that no call meets another.
const ALONE: f64 = 500.0;
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

/// One of the two that are compared.
#[derive(Debug, Clone)]
struct Server {
    address: std::net::SocketAddr,
    call: Call,
    frame: Bytes,
}

impl Server {
    async fn at(
        &self,
        rate: f64,
        connections: usize,
        lasts: Duration,
        seed: u64,
    ) -> anyhow::Result<Latencies> {
        let load = Load {
            address: self.address,
            call: self.call.clone(),
            frame: self.frame.clone(),
            connections,
            rate,
            lasts,
            seed,
        };
        let seen = open::run(load, Cores::Others).await?;
        // Refused ones have no latency: who is refused is told at once. How many there were is shown.
        anyhow::ensure!(seen.failed == 0, "{} calls failed", seen.failed);
        if seen.refused > 0 {
            eprintln!("  at {rate:.0} calls/s {} were refused", seen.refused);
        }
        Ok(seen)
    }

    /// Calls a second with as many callers as it likes.
    async fn capacity(&self, lasts: Duration) -> anyhow::Result<f64> {
        let shape = Shape {
            connections: 8,
            callers: 32,
        };
        let frame = self.frame.clone();
        let (address, call) = (self.address, self.call.clone());
        let done = closed::apart(Cores::Others, move || {
            closed::run(address, call, shape, Until::Passed(lasts), move |_| {
                frame.clone()
            })
        });
        Ok(done.await?.per_second())
    }
}

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let gate = bench.gates.start(Cores::First, &[]).await?;
    let asked = asked(bench, gate.address, PERSON).await?;
    let bare = bare::start(Cores::First, asked.sizes.1).await?;
    let ours = Server {
        address: gate.address,
        call: bench.gates.call(audience::CHECK)?,
        frame: asked.frame.clone(),
    };
    let theirs = Server {
        address: bare.address,
        call: Call::to(bare::PATH, None)?,
        frame: framed(&bare::Blob::sized(asked.sizes.0)),
    };
    let mut part = Part::default();
    let lasts = bench.lasting();
    let rows = compared(bench, (&ours, ALONE), (&theirs, ALONE), 1).await?;
    for ((quantile, name), compared) in QUANTILES.into_iter().zip(rows) {
        part.rows.push(Row {
            what: format!("latency of a warm `CheckConsent`, one at a time, {name}"),
            reference: "the bare service".into(),
            target: (quantile < 0.995).then_some(Target::AtMost(1.1)),
            compared,
            unit: "µs".into(),
            how: format!("open loop, {ALONE} calls/s on one connection"),
        });
    }
    let capacity = (ours.capacity(lasts).await?, theirs.capacity(lasts).await?);
    for share in [0.5, 0.85] {
        let rows = compared(
            bench,
            (&ours, share * capacity.0),
            (&theirs, share * capacity.1),
            8,
        )
        .await?;
        for ((_, name), compared) in QUANTILES.into_iter().zip(rows) {
            part.rows.push(Row {
                what: format!("the same at {:.0} % of capacity, {name}", share * 100.0),
                reference: "the bare service at the same share of its own".into(),
                target: None,
                compared,
                unit: "µs".into(),
                how: format!(
                    "open loop, 8 connections; {:.0} and {:.0} calls/s are the capacities seen by this client",
                    capacity.0, capacity.1
                ),
            });
        }
    }
    part.charts
        .push(by_load(&ours, &theirs, capacity, lasts).await?);
    Ok(part)
}

/// Each quantile, compared round by round.
async fn compared(
    bench: &Bench,
    (ours, our_rate): (&Server, f64),
    (theirs, their_rate): (&Server, f64),
    connections: usize,
) -> anyhow::Result<Vec<Compared>> {
    let mut rounds = Vec::new();
    for round in 0..=bench.rounds {
        let (lasts, seed) = (bench.lasting(), u64::try_from(round)?);
        let a = ours.at(our_rate, connections, lasts, seed).await?;
        let b = theirs.at(their_rate, connections, lasts, seed).await?;
        if round > 0 {
            rounds.push((a, b));
        }
    }
    QUANTILES
        .into_iter()
        .map(|(quantile, _)| {
            let of: Vec<(f64, f64)> = rounds
                .iter()
                .map(|(a, b)| (a.quantile(quantile), b.quantile(quantile)))
                .collect();
            Compared::of(&of).ok_or_else(|| anyhow::anyhow!("no round was measured"))
        })
        .collect()
}

async fn by_load(
    ours: &Server,
    theirs: &Server,
    capacity: (f64, f64),
    lasts: Duration,
) -> anyhow::Result<Chart> {
    let mut lines: Vec<Line> = Vec::new();
    for (server, name, capacity) in [
        (ours, "CheckConsent", capacity.0),
        (theirs, "bare", capacity.1),
    ] {
        let mut by_quantile = vec![Vec::new(); QUANTILES.len()];
        for share in [0.1, 0.25, 0.5, 0.7, 0.85, 0.95] {
            let seen = server.at(share * capacity, 8, lasts, 11).await?;
            for ((quantile, _), points) in QUANTILES.into_iter().zip(&mut by_quantile) {
                points.push((share * 100.0, seen.quantile(quantile)));
            }
        }
        let named = QUANTILES.into_iter().zip(by_quantile);
        lines.extend(named.map(|((_, quantile), points)| Line {
            name: format!("{name} {quantile}"),
            points,
        }));
    }
    Ok(Chart {
        file: "latency-by-load".into(),
        title: "Latency of a warm CheckConsent by load, open loop".into(),
        x: Axis {
            title: "load, % of its own capacity".into(),
            logarithmic: false,
        },
        y: Axis {
            title: "µs from the fixed arrival time".into(),
            logarithmic: true,
        },
        lines,
    })
}
