//! How long an opt-out waits until it holds on every instance: three instances, beside one commit on the same database;
//! with one of them paused, beside the lease.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::{Axis, Bench, Chart, Line, Part, Row, Target};
use crate::audience::{self, framed};
use crate::hosts::{Cores, Process};
use crate::load::statement;
use crate::load::wire::Wire;
use crate::stats::Compared;

const INSTANCES: usize = 3;
/// Withdrawals of one round.
const EACH: u64 = 200;
/// The default of the setting `lease`.
const LEASE: Duration = Duration::from_secs(3);

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let mut gates = Vec::new();
    for _ in 0..INSTANCES {
        gates.push(bench.gates.start(Cores::All, &[]).await?);
    }
    let pool = statement::pool(&bench.reference).await?;
    let mut people = 0..bench.people;
    let mut next = || people.next().unwrap_or(0);
    let mut rounds = Vec::new();
    let (mut all_ours, mut all_theirs) = (
        Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
    );
    let mut wire = Wire::connect(gates[0].address).await?;
    for round in 0..=bench.rounds {
        let (mut ours, mut theirs) = (
            Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        );
        for _ in 0..EACH {
            ours.saturating_record(nanos(withdrawal(bench, &mut wire, next()).await?));
            let begun = Instant::now();
            statement::written(&pool).await?;
            theirs.saturating_record(nanos(begun.elapsed()));
        }
        if round > 0 {
            all_ours.add(&ours)?;
            all_theirs.add(&theirs)?;
            rounds.push((ours, theirs));
        }
    }
    let mut part = Part::default();
    for (quantile, name, most) in [(0.5, "p50", 2.5), (0.99, "p99", 8.0)] {
        let of: Vec<(f64, f64)> = rounds
            .iter()
            .map(|(ours, theirs)| (millis(ours, quantile), millis(theirs, quantile)))
            .collect();
        part.rows.push(Row {
            what: format!("`Withdraw` acknowledged by {INSTANCES} instances, {name}"),
            reference: "one `INSERT` and `UPSERT` transaction on the same database".into(),
            target: Some(Target::AtMost(most)),
            compared: Compared::of(&of).ok_or_else(|| anyhow::anyhow!("no round was measured"))?,
            unit: "ms".into(),
            how: format!("one after the other, {EACH} of each a round, in turn; all on all cores"),
        });
    }
    part.rows
        .push(paused(bench, &gates, &mut wire, &mut next).await?);
    part.charts.push(distribution(&all_ours, &all_theirs));
    Ok(part)
}

async fn withdrawal(bench: &Bench, wire: &mut Wire, person: u64) -> anyhow::Result<Duration> {
    let frame = framed(&audience::withdraw(person, "wait"));
    let call = bench.gates.call(audience::WITHDRAW)?;
    let begun = Instant::now();
    wire.call(&call, frame).await?;
    Ok(begun.elapsed())
}

/// The first withdrawal after an instance was paused waits for its lease; the next ones do not.
async fn paused(
    bench: &Bench,
    gates: &[Process],
    wire: &mut Wire,
    next: &mut impl FnMut() -> u64,
) -> anyhow::Result<Row> {
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds {
        gates[1].pause(true)?;
        let first = withdrawal(bench, wire, next()).await;
        let second = withdrawal(bench, wire, next()).await;
        gates[1].pause(false)?;
        let (first, second) = (first?, second?);
        anyhow::ensure!(
            second < LEASE / 2,
            "the second one waited as well: {second:?}"
        );
        rounds.push((first.as_secs_f64(), LEASE.as_secs_f64()));
        // Until the paused one is back, a withdrawal does not wait for it.
        tokio::time::sleep(LEASE / 2).await;
    }
    Ok(Row {
        what: "the first `Withdraw` after an instance was paused".into(),
        reference: "the lease".into(),
        target: Some(Target::AtMost(1.1)),
        compared: Compared::of(&rounds).ok_or_else(|| anyhow::anyhow!("no round was measured"))?,
        unit: "s".into(),
        how: "SIGSTOP to one of three; the second one is looked at, too, and did not wait".into(),
    })
}

fn distribution(ours: &Histogram<u64>, theirs: &Histogram<u64>) -> Chart {
    let shares = [1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5];
    let line = |name: &str, histogram: &Histogram<u64>| Line {
        name: name.into(),
        points: shares
            .iter()
            .map(|share| (*share, millis(histogram, share / 100.0)))
            .collect(),
    };
    Chart {
        file: "withdrawal-wait".into(),
        title: "How long a Withdraw waits with three instances".into(),
        x: Axis {
            title: "% of calls that were answered by then".into(),
            logarithmic: false,
        },
        y: Axis {
            title: "ms".into(),
            logarithmic: true,
        },
        lines: vec![
            line("Withdraw, three instances", ours),
            line("one transaction", theirs),
        ],
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}
