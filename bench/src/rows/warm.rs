//! A warm `CheckConsent`: its throughput beside a bare service, beside Redis and beside a statement for each check, and
//! over the number of connections.

use bytes::Bytes;

use super::{Asked, Axis, Bench, Chart, Line, Part, Row, Target, asked};
use crate::audience::{self, framed};
use crate::hosts::{Cores, Process, bare, redis};
use crate::load::outside::{self, H2load, Way};
use crate::load::statement;
use crate::stats::in_turn;

const PERSON: u64 = 7;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let mut part = Part::default();
    let apart = bench.gates.start(Cores::First, &[]).await?;
    let asked = asked(bench, apart.address, PERSON).await?;
    let bare = bare::start(Cores::First, asked.sizes.1).await?;
    let call = framed(&bare::Blob::sized(asked.sizes.0));

    part.rows.push(Row {
        what: "warm `CheckConsent`".into(),
        reference: "a bare tonic service, same message sizes".into(),
        target: Some(Target::AtLeast(0.95)),
        compared: in_turn(
            bench.rounds,
            || gate(bench, &apart, &asked, 8, 32, Cores::Others),
            || plain(bench, &bare, &call, &asked, 8, 32),
        )
        .await?,
        unit: "calls/s".into(),
        how: "`h2load`, 8 connections × 32 streams; server on one core, client on the other".into(),
    });
    part.charts
        .push(by_connections(bench, (&apart, &bare), &asked, &call).await?);

    let redis = redis::start(Cores::First).await?;
    part.rows.push(Row {
        what: "the same".into(),
        reference: "Redis `GET` of 64 bytes, not pipelined, 50 connections".into(),
        target: Some(Target::AtLeast(1.1)),
        compared: in_turn(
            bench.rounds,
            || gate(bench, &apart, &asked, 8, 32, Cores::Others),
            || outside::redis_get(redis.address, Cores::Others, 50, 1, 200_000, 100_000),
        )
        .await?,
        unit: "calls/s".into(),
        how: "`h2load` and `redis-benchmark`; server on one core, client on the other".into(),
    });
    drop((apart, bare, redis));

    // With all cores for both: the reference is two processes, and a pool is a client of its own.
    let everywhere = bench.gates.start(Cores::All, &[]).await?;
    super::asked(bench, everywhere.address, PERSON).await?;
    part.rows.push(Row {
        what: "the same".into(),
        reference: "`SELECT` by primary key through a pool of 16, 64 callers".into(),
        target: Some(Target::AtLeast(1.5)),
        compared: in_turn(
            bench.rounds,
            || gate(bench, &everywhere, &asked, 8, 32, Cores::All),
            || statement::select_one(&bench.reference, 64, bench.people, bench.lasting()),
        )
        .await?,
        unit: "calls/s".into(),
        how: "`h2load` and sqlx; all on all cores".into(),
    });
    part.rows.push(Row {
        what: "the same".into(),
        reference: "the same `SELECT`, prepared, by `pgbench`, 16 clients".into(),
        target: None,
        compared: in_turn(
            bench.rounds,
            || gate(bench, &everywhere, &asked, 8, 32, Cores::All),
            || pgbench(bench),
        )
        .await?,
        unit: "calls/s".into(),
        how: "`h2load` and `pgbench`; all on all cores".into(),
    });
    Ok(part)
}

async fn gate(
    bench: &Bench,
    gate: &Process,
    asked: &Asked,
    connections: usize,
    streams: usize,
    cores: Cores,
) -> anyhow::Result<f64> {
    let load = H2load {
        way: Way::Plain(gate.address),
        path: audience::CHECK,
        body: &asked.frame,
        authorization: bench.gates.authorization(),
        connections,
        streams,
        seconds: bench.seconds,
        cores,
    };
    load.run(asked.answer_bytes).await
}

async fn plain(
    bench: &Bench,
    bare: &Process,
    call: &Bytes,
    asked: &Asked,
    connections: usize,
    streams: usize,
) -> anyhow::Result<f64> {
    let load = H2load {
        way: Way::Plain(bare.address),
        path: bare::PATH,
        body: call,
        authorization: None,
        connections,
        streams,
        seconds: bench.seconds,
        cores: Cores::Others,
    };
    load.run(asked.answer_bytes).await
}

async fn pgbench(bench: &Bench) -> anyhow::Result<f64> {
    let script = format!(
        "\\set n random(0, {})\nSELECT value FROM reference WHERE key = decode(md5(:n::text), 'hex');\n",
        bench.people - 1
    );
    let program = bench.postgres.pgbench();
    let port = bench.postgres.port();
    outside::pgbench(&program, port, "reference", &script, 16, bench.seconds).await
}

async fn by_connections(
    bench: &Bench,
    (apart, bare): (&Process, &Process),
    asked: &Asked,
    call: &Bytes,
) -> anyhow::Result<Chart> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for connections in [1_u32, 2, 4, 8, 16, 32, 64] {
        let of = usize::try_from(connections)?;
        ours.push((
            connections.into(),
            gate(bench, apart, asked, of, 32, Cores::Others).await?,
        ));
        theirs.push((
            connections.into(),
            plain(bench, bare, call, asked, of, 32).await?,
        ));
    }
    Ok(Chart {
        file: "throughput-by-connections".into(),
        title: "Warm CheckConsent by connections, 32 streams each, one core".into(),
        x: Axis {
            title: "connections".into(),
            logarithmic: true,
        },
        y: Axis {
            title: "calls/s".into(),
            logarithmic: false,
        },
        lines: vec![
            Line {
                name: "CheckConsent".into(),
                points: ours,
            },
            Line {
                name: "bare tonic service".into(),
                points: theirs,
            },
        ],
    })
}
