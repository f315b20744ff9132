//! Writes by 32 callers: a grant of somebody new, an opt-out of somebody known, beside an `INSERT` and an `UPSERT` in one
//! transaction; and grants a thousand at a time, beside the same by two statements a thousand.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Bench, Part, Row, Target};
use crate::audience::{self, framed};
use crate::fill;
use crate::hosts::{Cores, Process};
use crate::load::closed::{self, Shape, Until};
use crate::load::outside;
use crate::load::statement;
use crate::stats::{Compared, in_turn};

const CALLERS: usize = 32;

/// People who are in no database before they are recorded here.
static STRANGERS: AtomicU64 = AtomicU64::new(100_000_000);

/// People who have not opted out yet. From the last one down, since others measure from the first one up.
static LOYAL: AtomicU64 = AtomicU64::new(0);

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let gate = bench.gates.start(Cores::All, &[]).await?;
    let theirs = || statement::insert_and_upsert(&bench.reference, CALLERS, bench.lasting());
    let record = in_turn(bench.rounds, || recorded(bench, &gate), theirs).await?;
    let withdraw = in_turn(bench.rounds, || withdrawn(bench, &gate), theirs).await?;
    let pgbench = in_turn(bench.rounds, || recorded(bench, &gate), || pgbench(bench)).await?;
    let many = in_turn(
        bench.rounds,
        || recorded_many(bench),
        || {
            statement::insert_and_upsert_many(
                &bench.reference,
                fill::WRITERS,
                fill::AT_ONCE,
                bench.lasting(),
            )
        },
    );
    let many = many.await?;
    let row = |what: &str, reference: &str, target, compared: Compared| Row {
        what: what.into(),
        reference: reference.into(),
        target,
        compared,
        unit: "writes/s".into(),
        how: format!("{CALLERS} callers, one instance; all on all cores"),
    };
    let transaction = "`INSERT` and `UPSERT` in one transaction through a pool of 16";
    Ok(Part {
        rows: vec![
            row(
                "`RecordConsent`",
                transaction,
                Some(Target::AtLeast(0.65)),
                record,
            ),
            row(
                "`Withdraw`",
                transaction,
                Some(Target::AtLeast(0.65)),
                withdraw,
            ),
            row(
                "`RecordConsent`",
                "the same transaction by `pgbench`, 32 clients",
                None,
                pgbench,
            ),
            Row {
                what: "records of consent, 1,000 an append".into(),
                reference: "1,000 rows by one `INSERT`, 1,000 by one `UPSERT`, in one transaction"
                    .into(),
                target: None,
                compared: many,
                unit: "records/s".into(),
                how: format!(
                    "the service's own code in one process, {} callers; all on all cores",
                    fill::WRITERS
                ),
            },
        ],
        ..Part::default()
    })
}

fn shape() -> Shape {
    Shape {
        connections: 4,
        callers: CALLERS / 4,
    }
}

async fn recorded(bench: &Bench, gate: &Process) -> anyhow::Result<f64> {
    let frame = |_| -> Bytes {
        let person = STRANGERS.fetch_add(1, Ordering::Relaxed);
        framed(&audience::record(person, "record"))
    };
    let call = bench.gates.call(audience::RECORD)?;
    let until = Until::Passed(bench.lasting());
    Ok(closed::run(gate.address, call, shape(), until, frame)
        .await?
        .per_second())
}

async fn recorded_many(bench: &Bench) -> anyhow::Result<f64> {
    // More than can be recorded in the time, and nobody of before.
    let from = STRANGERS.fetch_add(10_000_000, Ordering::Relaxed);
    let done = fill::recorded(&bench.gates, from, from + 10_000_000, bench.lasting());
    Ok(done.await?.per_second())
}

async fn withdrawn(bench: &Bench, gate: &Process) -> anyhow::Result<f64> {
    let people = bench.people;
    let frame = move |_| -> Bytes {
        let person = people - 1 - LOYAL.fetch_add(1, Ordering::Relaxed) % people;
        framed(&audience::withdraw(person, "withdraw"))
    };
    let call = bench.gates.call(audience::WITHDRAW)?;
    let until = Until::Passed(bench.lasting());
    Ok(closed::run(gate.address, call, shape(), until, frame)
        .await?
        .per_second())
}

async fn pgbench(bench: &Bench) -> anyhow::Result<f64> {
    let script = "\\set n random(0, 1000000000)
BEGIN;
INSERT INTO written (person, body) VALUES (:n, decode(repeat('78', 300), 'hex'));
INSERT INTO state (key, value) VALUES (decode(md5(:n::text), 'hex'), decode(repeat('78', 64), 'hex'))
  ON CONFLICT (key) DO UPDATE SET value = excluded.value;
COMMIT;
";
    let program = bench.postgres.pgbench();
    let port = bench.postgres.port();
    outside::pgbench(&program, port, "reference", script, CALLERS, bench.seconds).await
}
