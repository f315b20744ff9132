//! What a check costs as the number of people grows: warm (facts of all of them in memory), cold by 1,000, and the memory
//! that a cached person takes. Fills the database as it goes.

use bytes::Bytes;
use consentgate::grpc::proto;

use super::{Axis, Bench, Chart, Line, Part, Row, Target, cold};
use crate::audience::{self, framed};
use crate::fill;
use crate::hosts::{Cores, Process};
use crate::load::closed::{self, Shape, Until};
use crate::load::statement::scattered;
use crate::load::wire::Wire;
use crate::stats::{Compared, median};

const PER_CALL: u64 = 1_000;

/// People whose facts a processor's own caches can nearly hold: what more of them are compared with.
const FEW: u64 = 10_000;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let mut part = Part::default();
    let (mut warm, mut cold, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let mut filled = 0;
    let mut people = FEW;
    while people <= bench.people {
        fill::people(&bench.gates, filled, people).await?;
        filled = people;
        let warmed = warmed(bench, people).await?;
        #[expect(clippy::cast_precision_loss, reason = "at most ten million")]
        let x = people as f64;
        warm.push((x, warmed.many, warmed.turns));
        bytes.push((x, warmed.each));
        cold.push((x, cold::batches(bench, people).await?));
        people *= 10;
    }
    for (people, _, turns) in warm.iter().filter(|(people, _, _)| *people >= 1e6) {
        part.rows.push(Row {
            what: format!("warm `CheckConsent` among {people} people"),
            reference: "the same among 10,000".into(),
            target: Some(Target::AtLeast(0.95)),
            compared: Compared::of(turns)
                .ok_or_else(|| anyhow::anyhow!("no round was measured"))?,
            unit: "calls/s".into(),
            how: "another person each call, in turn with the same service asked about 10,000 of \
                  them; server on one core, client on the other"
                .into(),
        });
    }
    for (people, each) in bytes.iter().filter(|(people, _)| *people >= 1e6) {
        part.rows.push(Row {
            what: format!("memory of a cached person with one purpose, {people} of them"),
            reference: "moka with a 16-byte key and a 64-byte value: 369 B".into(),
            target: Some(Target::AtMost(450.0 / 369.0)),
            compared: Compared {
                ratio: each / 369.0,
                spread: (each / 369.0, each / 369.0),
                ours: *each,
                theirs: 369.0,
            },
            unit: "B".into(),
            how: "what the process has in RAM after, less before".into(),
        });
    }
    part.charts.push(chart(
        "growth",
        "Checks a second by people in the database",
        "checks/s",
        vec![
            line(
                "warm CheckConsent, one core",
                warm.iter().map(|(x, y, _)| (*x, *y)),
            ),
            line("cold BatchCheckConsent", cold.into_iter()),
        ],
    ));
    part.charts.push(chart(
        "memory",
        "Memory of a cached person",
        "bytes",
        vec![line("consentgate", bytes.into_iter())],
    ));
    Ok(part)
}

/// What was measured with the facts of so many people in memory.
struct Warmed {
    /// Calls a second among all of them.
    many: f64,
    /// Calls a second among all of them and among the first few of them, in turn.
    turns: Vec<(f64, f64)>,
    /// Bytes that each of them takes.
    each: f64,
}

async fn warmed(bench: &Bench, people: u64) -> anyhow::Result<Warmed> {
    let gate = bench
        .gates
        .start(Cores::First, &["--cache-size", "16GiB"])
        .await?;
    // What the process takes once it has answered anything at all is not the cache's.
    all(bench, &gate, 0..PER_CALL).await?;
    let before = gate.resident_bytes()?;
    all(bench, &gate, PER_CALL..people).await?;
    let after = gate.resident_bytes()?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of a process")]
    let each = after.saturating_sub(before) as f64 / (people - PER_CALL) as f64;
    let mut turns = Vec::new();
    for _ in 0..bench.rounds {
        let many = rate(bench, &gate, people).await?;
        turns.push((many, rate(bench, &gate, FEW).await?));
    }
    gate.stop()?;
    let rates: Vec<f64> = turns.iter().map(|(many, _)| *many).collect();
    let many = median(&rates).ok_or_else(|| anyhow::anyhow!("no round was measured"))?;
    Ok(Warmed { many, turns, each })
}

async fn all(
    bench: &Bench,
    gate: &Process,
    mut people: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let call = bench.gates.call(audience::BATCH)?;
    let mut wire = Wire::connect(gate.address).await?;
    while !people.is_empty() {
        let end = (people.start + PER_CALL).min(people.end);
        let frame = framed(&audience::batch(people.start..end));
        let answer: proto::BatchCheckConsentResponse = wire.ask(&call, frame).await?;
        let denied = answer
            .results
            .iter()
            .find(|one| one.decision() != proto::Decision::Allow);
        anyhow::ensure!(denied.is_none(), "not everybody is allowed: {denied:?}");
        people.start = end;
    }
    Ok(())
}

async fn rate(bench: &Bench, gate: &Process, people: u64) -> anyhow::Result<f64> {
    let shape = Shape {
        connections: 8,
        callers: 32,
    };
    let (address, call) = (gate.address, bench.gates.call(audience::CHECK)?);
    let lasts = bench.lasting();
    let frame = move |number: u64| -> Bytes { framed(&audience::check(scattered(number, people))) };
    let done = closed::apart(Cores::Others, move || {
        closed::run(address, call, shape, Until::Passed(lasts), frame)
    });
    Ok(done.await?.per_second())
}

fn line(name: &str, points: impl Iterator<Item = (f64, f64)>) -> Line {
    Line {
        name: name.into(),
        points: points.collect(),
    }
}

fn chart(file: &str, title: &str, unit: &str, lines: Vec<Line>) -> Chart {
    Chart {
        file: file.into(),
        title: title.into(),
        x: Axis {
            title: "people".into(),
            logarithmic: true,
        },
        y: Axis {
            title: unit.into(),
            logarithmic: false,
        },
        lines,
    }
}
