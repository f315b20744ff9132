//! What a check costs as the number of people grows: warm (facts of all of them in memory), cold by 1,000, and the memory
//! that a cached person takes, and that a stream takes which asks about all of them. Fills the database as it goes.

use bytes::Bytes;
use consentgate::grpc::proto;

use super::{Axis, Bench, Chart, Line, Part, Row, Target, cold};
use crate::audience::{self, framed};
use crate::fill;
use crate::hosts::{Cores, Process};
use crate::load::closed::{self, Shape, Until};
use crate::load::statement::{self, scattered};
use crate::load::stream;
use crate::load::wire::Wire;
use crate::stats::{Compared, in_turn, median};

const PER_CALL: u64 = 1_000;

/// People whose facts a processor's own caches can nearly hold: what more of them are compared with.
const FEW: u64 = 10_000;

/// Of fewer people, cold checks are over before they have begun.
const ENOUGH: u64 = 100_000;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let mut part = Part::default();
    let (mut warm, mut colds, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
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
        if people >= ENOUGH {
            colds.push((people, x, cold(bench, people).await?));
            part.notes.push(streamed(bench, people).await?);
        }
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
    part.rows.extend(cold_rows(&colds));
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
            line(
                "cold BatchCheckConsent, all cores",
                colds.iter().map(|(_, x, cold)| (*x, cold.ours)),
            ),
            line(
                "SELECT of 1,000 keys, all cores",
                colds.iter().map(|(_, x, cold)| (*x, cold.theirs)),
            ),
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

/// Cold batches among so many people, beside the reference's statement among as many.
async fn cold(bench: &Bench, people: u64) -> anyhow::Result<Compared> {
    in_turn(
        bench.rounds,
        || cold::batches(bench, people),
        || {
            let (reference, calls) = (&bench.reference, cold::BATCHES);
            statement::select_many(reference, calls, PER_CALL, people, bench.lasting())
        },
    )
    .await
}

fn cold_rows(colds: &[(u64, f64, Compared)]) -> Vec<Row> {
    let Some(((few, _, first), others)) = colds.split_first() else {
        return Vec::new();
    };
    let row = |what: String, reference: &str, target, ours: f64, theirs: f64, how: &str| Row {
        what,
        reference: reference.into(),
        target,
        compared: Compared {
            ratio: ours / theirs,
            spread: (ours / theirs, ours / theirs),
            ours,
            theirs,
        },
        unit: "µs".into(),
        how: how.into(),
    };
    let mut rows = Vec::new();
    for (people, x, cold) in others {
        #[expect(clippy::cast_precision_loss, reason = "at most ten million")]
        let target = x.ln() / (*few as f64).ln();
        let each = |rate: f64| 1e6 / rate;
        rows.push(row(
            format!("a person of a cold `BatchCheckConsent`, among {people} people"),
            &format!("the same among {few}"),
            Some(Target::AtMost(target)),
            each(cold.ours),
            each(first.ours),
            "middle figures of rounds that lie minutes apart; the target is the ratio of the logarithms",
        ));
        rows.push(row(
            format!("a key of the reference's `SELECT`, among {people} keys"),
            &format!("the same among {few}"),
            None,
            each(cold.theirs),
            each(first.theirs),
            "in turn with the row above, so that what the machine and PostgreSQL do is seen in both",
        ));
    }
    rows
}

/// What a stream about all people makes a server grow by that may keep few of them in memory.
async fn streamed(bench: &Bench, people: u64) -> anyhow::Result<String> {
    let gate = bench
        .gates
        .start(Cores::All, &["--cache-size", "16MiB"])
        .await?;
    let run = |calls: u64| {
        let chunk = move |number: u64| {
            let of = number * PER_CALL..(number + 1) * PER_CALL;
            of.map(|index| scattered(index, people)).collect()
        };
        stream::run(
            gate.address,
            bench.gates.authorization(),
            1,
            Until::Calls(calls),
            chunk,
        )
    };
    // The cache is full, and what answering takes at all is taken.
    run(ENOUGH / PER_CALL).await?;
    let before = gate.resident_bytes()?;
    let done = run(people / PER_CALL).await?;
    let after = gate.resident_bytes()?;
    gate.stop()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes of a process, and a thousand"
    )]
    let (mebi, each) = (
        |bytes: u64| bytes as f64 / f64::from(1 << 20),
        PER_CALL as f64,
    );
    Ok(format!(
        "One `StreamCheckConsent` about {people} people, by one client, with a cache of 16 MiB: {:.0} checks/s; the process \
         had {:.0} MiB in RAM before and {:.0} after.",
        done.per_second() * each,
        mebi(before),
        mebi(after)
    ))
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
