//! Calls in floods: opened and reset, opened and ended, never read; and connections that do nothing.

use std::time::Duration;

use super::Attack;
use super::wire::{
    END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, Wire, frame, head,
};
use crate::process::Place;
use crate::process::gate::LIMIT;
use crate::process::people::{person, question};
use crate::wait::eventually;

/// `make hostile` has more of everything.
fn times() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a test runs, which `make hostile` says"
    )]
    let more = std::env::var_os("CONSENTGATE_HOSTILE").is_some();
    if more { 10 } else { 1 }
}

#[tokio::test]
async fn a_flood_of_calls_that_are_reset_at_once_is_cut_off() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    let mut cut = 0;
    for _ in 0..10 * times() {
        let (mut wire, mut sent) = (Wire::open(&gate).await, Vec::new());
        for number in 0..10_000u32 {
            let stream = 2 * number + 1;
            sent.extend(frame(HEADERS, END_HEADERS, stream, &head("CheckConsent")));
            sent.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        let pushed = wire.push(&sent, 1, Duration::from_secs(30)).await;
        gate.check(question(&person(1))).await;
        cut += usize::from(pushed == 0 || wire.closed_by_now().await);
    }
    assert!(cut > 0, "none of the floods was cut off");
    let outcome = format!(
        "{cut} of {} connections that reset 10,000 calls each were cut off",
        10 * times()
    );
    attack.survived(&gate, 48 << 10, &outcome).await;
    gate.stop().await;
}

#[tokio::test]
async fn a_hundred_thousand_tiny_calls_leave_nothing_behind() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    let mut wire = Wire::open(&gate).await;
    let flood = async {
        // As many at a time as a connection may have in progress.
        for first in (0..100_000 * times()).step_by(500) {
            let mut sent = Vec::new();
            for number in first..first + 500 {
                let flags = END_HEADERS | END_STREAM;
                sent.extend(frame(HEADERS, flags, 2 * number + 1, &head("CheckConsent")));
            }
            wire.send(&sent).await.unwrap();
            let mut answered = 0;
            while answered < 500 {
                let came = wire.next().await.expect("the connection stays");
                answered += u32::from(came.kind == HEADERS);
            }
        }
    };
    let others = async {
        // Others are served while the flood comes.
        for _ in 0..20 {
            gate.check(question(&person(1))).await;
        }
    };
    tokio::join!(flood, others);
    let outcome = format!(
        "{} tiny calls on one connection: each refused by its status",
        100_000 * times()
    );
    attack.survived(&gate, 48 << 10, &outcome).await;
    gate.stop().await;
}

#[tokio::test]
async fn who_has_more_calls_in_progress_than_the_limit_again_and_again_is_sent_away() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    let (mut wire, mut sent) = (Wire::open(&gate).await, Vec::new());
    for number in 0..10_000u32 {
        sent.extend(frame(
            HEADERS,
            END_HEADERS,
            2 * number + 1,
            &head("CheckConsent"),
        ));
    }
    // It may be closed before all is sent.
    wire.send(&sent).await.ok();
    let mut refused = 0;
    while let Some(came) = wire.next().await {
        refused += u32::from(came.kind == RST_STREAM);
    }
    assert!(
        (1..=1_100).contains(&refused),
        "{refused} were refused one by one"
    );
    let outcome = format!(
        "10,000 calls at once on one connection: {refused} refused one by one, then sent away"
    );
    attack.survived(&gate, 48 << 10, &outcome).await;
    gate.stop().await;
}

#[tokio::test]
async fn who_asks_and_never_reads_the_answers_is_read_no_further() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    let mut wire = Wire::open(&gate).await;
    for flood in [
        frame(PING, 0, 0, &[1; 8]).repeat(4_000),
        frame(SETTINGS, 0, 0, &[]).repeat(4_000),
    ] {
        let taken = wire.push(&flood, 4_000, Duration::from_secs(5)).await;
        assert!(taken < 4_000, "all of it was taken");
        gate.check(question(&person(1))).await;
    }
    let outcome = "8,000 pings and settings whose answers are not read: read no further";
    attack.survived(&gate, 32 << 10, outcome).await;
    gate.stop().await;
}

#[tokio::test]
async fn thousands_of_idle_connections_cost_little_and_delay_nobody() {
    let place = Place::sqlite();
    // As many as both processes may open, and no more than ten thousand.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limit.current.unwrap_or(u64::MAX).saturating_sub(400) / 2;
    let most = u32::try_from(most.min(if times() > 1 { 10_000 } else { 3_000 })).unwrap();
    let all = (most + 50).to_string();
    let arguments = [
        "--max-connections",
        &all,
        "--max-connections-per-address",
        "off",
    ];
    let gate = crate::process::gate::Gate::start(place.serve(&arguments)).await;
    let attack = Attack::on(&gate);
    let mut idle = Vec::new();
    for _ in 0..most {
        idle.push(Wire::open(&gate).await);
    }
    for wire in &mut idle {
        // Its settings: it is served.
        assert!(wire.next().await.is_some());
    }
    // Each may cost 24 KiB.
    let outcome = format!("{most} idle connections: kept, none refused");
    attack
        .survived(&gate, u64::from(most) * 24 + (8 << 10), &outcome)
        .await;
    assert!(!gate.refuses_connections().await);
    gate.stop().await;
}

/// On Linux every address of 127.0.0.0/8 is this machine's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_takes_all_it_can_get_leaves_places_to_others() {
    use std::net::SocketAddr;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpSocket, TcpStream};

    let place = Place::sqlite();
    let limits = [
        "--max-connections",
        "30",
        "--max-connections-per-address",
        "10",
    ];
    let gate = crate::process::gate::Gate::start(place.serve(&limits)).await;
    let from = async |address: &str| -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
        let mut stream = socket.connect(gate.address()).await?;
        // The server speaks first to whoever it serves, once it was greeted.
        tokio::io::AsyncWriteExt::write_all(&mut stream, super::wire::PREFACE).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    // More than there are places for all, from one address: it gets its share.
    let mut greedy = Vec::new();
    for _ in 0..60 {
        greedy.extend(from("127.0.0.2").await);
    }
    assert_eq!(greedy.len(), 10);
    let mut others = Vec::new();
    for address in ["127.0.0.3", "127.0.0.4"] {
        for _ in 0..5 {
            others.push(from(address).await.unwrap());
        }
    }
    gate.check(question(&person(1))).await;
    assert!(!gate.refuses_connections().await);
    let log = gate.log();
    let line = "it has as many as `max_connections_per_address` allows";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(!log.contains("127.0.0.2"), "{log}");

    // A place that is left is taken again.
    greedy.truncate(9);
    eventually(LIMIT, "it gets one more", async || {
        from("127.0.0.2").await.ok()
    })
    .await;
    gate.stop().await;
}
