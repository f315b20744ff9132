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
    let (mut goodput, mut late) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let full = at(bench, &gate, capacity).await?;
        let twice = at(bench, &gate, 2.0 * capacity).await?;
        goodput.push((twice.goodput(), full.goodput()));
        late.push((twice.quantile(0.99), full.quantile(0.99)));
    }
    let row = |what: &str, reference: &str, target, rounds: &[(f64, f64)], unit: &str| {
        let compared =
            Compared::of(rounds).ok_or_else(|| anyhow::anyhow!("no round was measured"))?;
        anyhow::Ok(Row {
            what: what.into(),
            reference: reference.into(),
            target,
            compared,
            unit: unit.into(),
            how: format!(
                "open loop, `BatchCheckConsent` of {PER_CALL} warm people; server on one core; the capacity is \
                 what 16 callers get who wait for their answers"
            ),
        })
    };
    let rows = vec![
        row(
            "goodput at twice the capacity",
            "goodput at the capacity",
            Some(Target::AtLeast(0.9)),
            &goodput,
            "calls/s",
        )?,
        row(
            "latency of what is answered at twice the capacity, p99",
            "the same at the capacity",
            None,
            &late,
            "µs",
        )?,
    ];
    let notes = curve.iter().map(|(share, seen)| {
        format!(
            "At {:.0} % of the capacity: {:.0} calls/s answered, {:.0} calls/s refused, {} failed; of those answered p50 \
             {:.1} ms, p99 {:.1} ms.",
            share * 100.0,
            seen.goodput(),
            seen.refused_per_second(),
            seen.failed,
            seen.quantile(0.5) / 1e3,
            seen.quantile(0.99) / 1e3
        )
    });
    Ok(Part {
        rows,
        notes: notes.collect(),
        charts: charts(&curve),
    })
}

fn charts(curve: &[(f64, Latencies)]) -> Vec<Chart> {
    let points = |of: &dyn Fn(&Latencies) -> f64| -> Vec<(f64, f64)> {
        curve
            .iter()
            .map(|(share, seen)| (share * 100.0, of(seen)))
            .collect()
    };
    vec![
        chart(
            "overload",
            "Answered and refused calls by offered load",
            "calls/s",
            false,
            vec![
                line("answered", points(&Latencies::goodput)),
                line("refused", points(&Latencies::refused_per_second)),
            ],
        ),
        chart(
            "overload-latency",
            "Latency of what is answered, by offered load",
            "ms",
            true,
            vec![
                line("p50", points(&|seen| seen.quantile(0.5) / 1e3)),
                line("p99", points(&|seen| seen.quantile(0.99) / 1e3)),
            ],
        ),
    ]
}

fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line {
        name: name.into(),
        points,
    }
}

fn chart(file: &str, title: &str, unit: &str, logarithmic: bool, lines: Vec<Line>) -> Chart {
    Chart {
        file: file.into(),
        title: title.into(),
        x: Axis {
            title: "offered load, % of the capacity".into(),
            logarithmic: false,
        },
        y: Axis {
            title: unit.into(),
            logarithmic,
        },
        lines,
    }
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
