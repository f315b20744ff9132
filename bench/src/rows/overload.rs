//! More than can be done: batches of 100 warm people arrive at up to three times the rate that the gate can answer. What
//! is answered must not fall, and what is answered must be in time to be of use.

use super::{Axis, Bench, Chart, Line, Part, Row, Target};
use crate::audience::{self, framed};
use crate::hosts::{Cores, Process};
use crate::load::closed::{self, Shape, Until};
use crate::load::open::{self, Latencies, Load};
use crate::stats::Compared;

const PER_CALL: u64 = 100;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let gate = bench.gates.start(Cores::First, &[]).await?;
    let capacity = capacity(bench, &gate).await?;
    let mut curve = Vec::new();
    for share in [0.5, 0.8, 1.0, 1.5, 2.0, 3.0] {
        curve.push((share, at(bench, &gate, share * capacity).await?));
    }
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds {
        let peak = at(bench, &gate, capacity).await?.goodput();
        let twice = at(bench, &gate, 2.0 * capacity).await?.goodput();
        rounds.push((twice, peak));
    }
    let points = |of: &dyn Fn(&Latencies) -> f64| -> Vec<(f64, f64)> {
        curve
            .iter()
            .map(|(share, seen)| (share * 100.0, of(seen)))
            .collect()
    };
    let row = Row {
        what: "goodput at twice the capacity".into(),
        reference: "goodput at the capacity".into(),
        target: Some(Target::AtLeast(0.9)),
        compared: Compared::of(&rounds).ok_or_else(|| anyhow::anyhow!("no round was measured"))?,
        unit: "calls/s".into(),
        how: format!(
            "open loop, `BatchCheckConsent` of {PER_CALL} warm people; server on one core"
        ),
    };
    let notes = curve.iter().map(|(share, seen)| {
        format!(
            "At {:.0} % of the capacity: {:.0} calls/s answered, {} refused, {} failed, p50 {:.1} ms, p99 {:.1} ms.",
            share * 100.0,
            seen.goodput(),
            seen.refused,
            seen.failed,
            seen.quantile(0.5) / 1e3,
            seen.quantile(0.99) / 1e3
        )
    });
    Ok(Part {
        rows: vec![row],
        notes: notes.collect(),
        charts: vec![Chart {
            file: "overload".into(),
            title: "Answered calls by offered load".into(),
            x: Axis {
                title: "offered load, % of the capacity".into(),
                logarithmic: false,
            },
            y: Axis {
                title: "calls/s".into(),
                logarithmic: false,
            },
            lines: vec![Line {
                name: "answered".into(),
                points: points(&Latencies::goodput),
            }],
        }],
    })
}

fn frame() -> bytes::Bytes {
    framed(&audience::batch(0..PER_CALL))
}

async fn capacity(bench: &Bench, gate: &Process) -> anyhow::Result<f64> {
    let shape = Shape {
        connections: 8,
        callers: 2,
    };
    let (address, call) = (gate.address, bench.gates.call(audience::BATCH)?);
    let lasts = bench.lasting();
    let frame = frame();
    let done = closed::apart(Cores::Others, move || {
        closed::run(address, call, shape, Until::Passed(lasts), move |_| {
            frame.clone()
        })
    });
    Ok(done.await?.per_second())
}

async fn at(bench: &Bench, gate: &Process, rate: f64) -> anyhow::Result<Latencies> {
    let load = Load {
        address: gate.address,
        call: bench.gates.call(audience::BATCH)?,
        frame: frame(),
        connections: 16,
        rate,
        lasts: bench.lasting(),
        seed: 5,
    };
    open::run(load, Cores::Others).await
}
