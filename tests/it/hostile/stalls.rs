//! Clients that begin and do not go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use consentgate::grpc::proto::BatchCheckConsentRequest;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use super::Attack;
use super::wire::{DATA, END_HEADERS, HEADERS, Wire, frame, head};
use crate::process::Place;
use crate::process::gate::{Gate, LIMIT};
use crate::process::people::{person, question};
use crate::wait::eventually;

#[tokio::test]
async fn calls_whose_request_does_not_come_are_ended_and_others_are_served() {
    let place = Place::sqlite();
    let gate = Gate::start(place.serve(&["--max-silence", "2s"])).await;
    let attack = Attack::on(&gate);
    let mut wires = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::open(&gate).await;
        for number in 0..200 {
            let stream = 2 * number + 1;
            let begun = frame(HEADERS, END_HEADERS, stream, &head("CheckConsent"));
            wire.send(&begun).await.unwrap();
            // Of some the beginning of a message: one of 100 bytes, of which three come.
            if number % 2 == 0 {
                wire.send(&frame(DATA, 0, stream, &[0, 0, 0, 0, 100, 1, 2, 3]))
                    .await
                    .unwrap();
            }
        }
        wires.push(wire);
    }
    gate.check(question(&person(1))).await;
    for wire in &mut wires {
        let mut ended = 0;
        // Each by a head that says how.
        while ended < 200 {
            let came = wire.next().await.expect("the connection stays");
            ended += usize::from(came.kind == HEADERS);
        }
    }
    let outcome = "1,000 requests that do not come: each ended by its status";
    attack.survived(&gate, 48 << 10, outcome).await;
    gate.stop().await;
}

#[tokio::test]
async fn requests_that_are_nearly_complete_do_not_fill_the_memory() {
    let place = Place::sqlite();
    let gate = Gate::start(place.serve(&["--max-request-memory", "16MiB"])).await;
    let attack = Attack::on(&gate);
    // 128 calls, each of which sends 240 KB of a message of 4 MiB: 30 MB, were they kept. No more of each than
    // the windows have, so that what is not read is not said either.
    let begun = [0, 0, 0x3F, 0xFF, 0xFF];
    let (refused, mut readers) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
    for _ in 0..8 {
        let mut wire = Wire::open(&gate).await;
        wire.settle().await;
        for number in 0..16u32 {
            let stream = 2 * number + 1;
            let head = frame(HEADERS, END_HEADERS, stream, &head("BatchCheckConsent"));
            wire.send(&head).await.unwrap();
            wire.send(&frame(DATA, 0, stream, &begun)).await.unwrap();
            for _ in 0..15 {
                wire.send(&frame(DATA, 0, stream, &[0; 16_000]))
                    .await
                    .unwrap();
            }
        }
        let refused = Arc::clone(&refused);
        readers.spawn(async move {
            while let Some(came) = wire.next().await {
                refused.fetch_add(u32::from(came.kind == HEADERS), Ordering::Relaxed);
            }
        });
    }
    eventually(LIMIT, "what is too much is refused", async || {
        (refused.load(Ordering::Relaxed) >= 50).then_some(())
    })
    .await;
    let outcome = format!(
        "128 messages of 4 MiB that stop at 240 KB: {} refused",
        refused.load(Ordering::Relaxed)
    );
    attack.survived(&gate, 64 << 10, &outcome).await;
    // What is small is taken also now, and what was held is given back when they are gone.
    gate.agree(&person(2), "a").await;
    let large = || BatchCheckConsentRequest {
        recipients: vec![person(3); 5_000],
        ..BatchCheckConsentRequest::default()
    };
    readers.shutdown().await;
    eventually(LIMIT, "there is room again", async || {
        let answer = gate.client().batch_check_consent(large()).await;
        // It is read, and has mistakes.
        (answer.unwrap_err().code() == Code::InvalidArgument).then_some(())
    })
    .await;
    gate.stop().await;
}

#[tokio::test]
async fn a_preface_or_a_head_that_comes_byte_by_byte_delays_nobody_and_ends() {
    let place = Place::sqlite();
    let gate = Gate::start(place.serve(&["--http2-keepalive-interval", "1s"])).await;
    let attack = Attack::on(&gate);
    let mut slow = Vec::new();
    for said in [0, 1, 12, 23] {
        let mut wire = Wire::silent(&gate).await;
        wire.send(&super::wire::PREFACE[..said]).await.unwrap();
        slow.push(wire);
    }
    // A head that does not end cannot answer a ping either, by which it is told from a quiet client.
    let mut wire = Wire::open(&gate).await;
    let begun = frame(HEADERS, 0, 1, &head("CheckConsent"));
    wire.send(&begun).await.unwrap();
    slow.push(wire);
    let asked = Instant::now();
    gate.check(question(&person(1))).await;
    for wire in &mut slow {
        wire.rest().await;
    }
    // 10 s for the preface; a second and 20 for the ping.
    assert!(
        asked.elapsed() < Duration::from_secs(40),
        "{:?}",
        asked.elapsed()
    );
    let outcome = format!(
        "prefaces and a head byte by byte: all ended after {:.0} s",
        asked.elapsed().as_secs_f64()
    );
    attack.survived(&gate, 8 << 10, &outcome).await;
    gate.stop().await;
}
