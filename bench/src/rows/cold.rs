//! Cold checks: nothing is cached, every person is asked about once, as in a campaign. By 1,000 in a call, and one by one
//! by many callers.

use bytes::Bytes;

use super::{Bench, Part, Row, Target};
use crate::audience::{self, framed};
use crate::hosts::Cores;
use crate::load::closed::{self, Shape, Until};
use crate::load::statement::{self, scattered};
use crate::load::stream;
use crate::stats::in_turn;

const PER_CALL: u64 = 1_000;
/// Calls at a time, on either side.
pub const BATCHES: usize = 8;
const CALLERS: usize = 128;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let mut part = Part::default();
    part.rows.push(Row {
        what: "cold `BatchCheckConsent`, 1,000 people a call".into(),
        reference: "`SELECT … WHERE key = ANY($1)` of 1,000 keys through sqlx".into(),
        target: Some(Target::AtLeast(0.8)),
        compared: in_turn(
            bench.rounds,
            || batches(bench, bench.people),
            || statement::select_many(&bench.reference, BATCHES, PER_CALL, bench.people, bench.lasting()),
        )
        .await?,
        unit: "checks/s".into(),
        how: format!("{BATCHES} calls at a time, people scattered; all on all cores; a gate that has just started"),
    });
    part.rows.push(Row {
        what: "cold `StreamCheckConsent`, chunks of 1,000".into(),
        reference: "the same `SELECT … WHERE key = ANY($1)`".into(),
        target: None,
        compared: in_turn(
            bench.rounds,
            || streams(bench, bench.people),
            || {
                statement::select_many(
                    &bench.reference,
                    BATCHES,
                    PER_CALL,
                    bench.people,
                    bench.lasting(),
                )
            },
        )
        .await?,
        unit: "checks/s".into(),
        how: format!("{BATCHES} streams, a client generated from the contract; else as above"),
    });
    part.rows.push(Row {
        what: "cold `CheckConsent`".into(),
        reference: "`SELECT` by primary key for each".into(),
        target: Some(Target::AtLeast(1.5)),
        compared: in_turn(
            bench.rounds,
            || singles(bench),
            || statement::select_one(&bench.reference, CALLERS, bench.people, bench.lasting()),
        )
        .await?,
        unit: "checks/s".into(),
        how: format!(
            "{CALLERS} callers, people scattered; all on all cores; a gate that has just started"
        ),
    });
    Ok(part)
}

/// Checks a second, of everybody among the first `people`, or as many as the time allows.
pub async fn batches(bench: &Bench, people: u64) -> anyhow::Result<f64> {
    let gate = bench.gates.start(Cores::All, &[]).await?;
    let shape = Shape {
        connections: 4,
        callers: BATCHES / 4,
    };
    let calls = people / PER_CALL;
    let frame = move |number: u64| -> Bytes {
        let of = (number % calls) * PER_CALL;
        framed(&audience::batch(
            (of..of + PER_CALL).map(|index| scattered(index, people)),
        ))
    };
    let call = bench.gates.call(audience::BATCH)?;
    let limit = limited(bench, calls);
    let done = closed::run(gate.address, call, shape, limit, frame).await?;
    gate.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    Ok(done.per_second() * PER_CALL as f64)
}

/// As [`batches`], by streams.
async fn streams(bench: &Bench, people: u64) -> anyhow::Result<f64> {
    let gate = bench.gates.start(Cores::All, &[]).await?;
    let calls = people / PER_CALL;
    let chunk = move |number: u64| {
        let of = (number % calls) * PER_CALL;
        (of..of + PER_CALL)
            .map(|index| scattered(index, people))
            .collect()
    };
    let authorization = bench.gates.authorization();
    let limit = limited(bench, calls);
    let done = stream::run(gate.address, authorization, BATCHES, limit, chunk).await?;
    gate.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    Ok(done.per_second() * PER_CALL as f64)
}

async fn singles(bench: &Bench) -> anyhow::Result<f64> {
    let people = bench.people;
    let gate = bench.gates.start(Cores::All, &[]).await?;
    let shape = Shape {
        connections: 8,
        callers: CALLERS / 8,
    };
    let frame = move |number: u64| -> Bytes { framed(&audience::check(scattered(number, people))) };
    let call = bench.gates.call(audience::CHECK)?;
    let done = closed::run(gate.address, call, shape, limited(bench, people), frame).await?;
    gate.stop()?;
    Ok(done.per_second())
}

/// Nobody is asked about twice, and no longer than a measurement lasts.
fn limited(bench: &Bench, calls: u64) -> Until {
    Until::Either(calls, bench.lasting())
}
