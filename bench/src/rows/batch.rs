//! Warm batches: `BatchCheckConsent` of 1,000 people whose facts are in memory, beside Redis with pipelining.

use std::sync::Arc;

use bytes::Bytes;
use consentgate::grpc::proto;

use super::{Bench, Part, Row, Target};
use crate::audience::{self, framed};
use crate::hosts::{Cores, redis};
use crate::load::closed::{self, Shape, Until};
use crate::load::outside;
use crate::load::wire::Wire;
use crate::stats::in_turn;

const PER_CALL: u64 = 1_000;
const PEOPLE: u64 = 50_000;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let gate = bench.gates.start(Cores::First, &[]).await?;
    let frames: Arc<Vec<Bytes>> = Arc::new(
        (0..PEOPLE.min(bench.people) / PER_CALL)
            .map(|batch| framed(&audience::batch(batch * PER_CALL..(batch + 1) * PER_CALL)))
            .collect(),
    );
    let call = bench.gates.call(audience::BATCH)?;
    let mut wire = Wire::connect(gate.address).await?;
    for frame in frames.iter() {
        let answer: proto::BatchCheckConsentResponse = wire.ask(&call, frame.clone()).await?;
        let allowed = answer
            .results
            .iter()
            .filter(|one| one.decision() == proto::Decision::Allow);
        anyhow::ensure!(
            allowed.count() as u64 == PER_CALL,
            "not everybody is allowed"
        );
    }
    let ours = || {
        let (frames, call, address) = (Arc::clone(&frames), call.clone(), gate.address);
        let shape = Shape {
            connections: 2,
            callers: 4,
        };
        let until = Until::Passed(bench.lasting());
        async move {
            let frame = move |number: u64| {
                let at = number % frames.len() as u64;
                frames[usize::try_from(at).unwrap_or(0)].clone()
            };
            let done = closed::apart(Cores::Others, move || {
                closed::run(address, call, shape, until, frame)
            });
            #[expect(clippy::cast_precision_loss, reason = "a thousand")]
            Ok(done.await?.per_second() * PER_CALL as f64)
        }
    };
    let redis = redis::start(Cores::First).await?;
    let theirs = || outside::redis_get(redis.address, Cores::Others, 50, 32, 2_000_000, PEOPLE);
    let row = Row {
        what: "warm `BatchCheckConsent`, 1,000 people a call".into(),
        reference: "Redis `GET` of 64 bytes, pipelined × 32, 50 connections".into(),
        target: Some(Target::AtLeast(1.0)),
        compared: in_turn(bench.rounds, ours, theirs).await?,
        unit: "checks/s".into(),
        how: "2 connections × 4 calls; server on one core, client on the other".into(),
    };
    Ok(Part {
        rows: vec![row],
        ..Part::default()
    })
}
