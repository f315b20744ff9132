//! More callers than there is room for, and callers that say nothing: the others are served, the operator is told,
//! and room that was made is used.

use std::fs;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Place;
use super::gate::{Gate, LIMIT};
use super::people::person;
use crate::wait::eventually;

const STARVING: &str = "no connection can be accepted, new callers wait";
const REFUSED: &str = "new connections are refused: as many are open as `max_connections` allows";

async fn callers(gate: &Gate, count: usize) -> Vec<TcpStream> {
    let mut callers = Vec::new();
    for _ in 0..count {
        callers.push(TcpStream::connect(gate.address()).await.unwrap());
    }
    callers
}

async fn until_somebody_new_is_served(gate: &Gate) {
    eventually(LIMIT, "somebody new is served", async || {
        (!gate.refuses_connections().await).then_some(())
    })
    .await;
}

/// Processor time that a process has had so far. `None` where there is no `/proc`.
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: fields 14 and 15 are user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
    // Linux tells user space of 100 ticks a second on every machine that this runs on.
    Some(Duration::from_millis(ticks * 10))
}

#[tokio::test]
async fn without_file_descriptors_it_says_so_rests_and_goes_on_when_others_leave() {
    let place = Place::sqlite();
    let few = r#"ulimit -n 48; exec "$0" "$@""#;
    let gate = Gate::start(place.behind(few, &place.serve(&[]))).await;
    gate.agree(&person(1), "a").await;
    // What reads opens the database's file, for which no descriptor is left later.
    assert_eq!(gate.events(&person(1)).await.len(), 1);
    let crowd = callers(&gate, 60).await;
    eventually(LIMIT, "it says what is wrong", async || {
        gate.log().contains(STARVING).then_some(())
    })
    .await;

    // It does not spin meanwhile, does not fill the log, and whoever is connected is served.
    let (since, before) = (Instant::now(), processor_time(gate.pid()));
    eventually(LIMIT, "two seconds pass", async || {
        assert_eq!(gate.events(&person(1)).await.len(), 1);
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    let after = processor_time(gate.pid());
    if let (Some(before), Some(after)) = (before, after) {
        let (took, within) = (after - before, since.elapsed());
        assert!(took < within / 2, "{took:?} of {within:?}");
    }
    // One line in ten seconds.
    let lines = u64::try_from(gate.log().matches(STARVING).count()).unwrap();
    assert!(
        lines <= 1 + since.elapsed().as_secs() / 10,
        "{}",
        gate.log()
    );

    drop(crowd);
    until_somebody_new_is_served(&gate).await;
    gate.stop().await;
}

#[tokio::test]
async fn more_connections_than_the_limit_are_closed_at_once_and_taken_when_others_leave() {
    let place = Place::sqlite();
    // One of the three is the gate's own client.
    let gate = Gate::start(place.serve(&["--max-connections", "3"])).await;
    let crowd = callers(&gate, 2).await;
    let begun = Instant::now();
    for mut refused in callers(&gate, 2).await {
        // Closed, or reset.
        assert!(matches!(refused.read(&mut [0]).await, Ok(0) | Err(_)));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    eventually(LIMIT, "it says what is wrong", async || {
        gate.log().contains(REFUSED).then_some(())
    })
    .await;
    assert_eq!(gate.log().matches(REFUSED).count(), 1, "{}", gate.log());
    gate.agree(&person(1), "a").await;

    drop(crowd);
    until_somebody_new_is_served(&gate).await;
    gate.stop().await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_does_not_delay_the_end() {
    let place = Place::sqlite();
    let gate = Gate::start(place.serve(&["--shutdown-grace", "50s"])).await;
    let silent = callers(&gate, 3).await;
    // Whoever comes after them was accepted after them.
    until_somebody_new_is_served(&gate).await;
    let told = Instant::now();
    let log = gate.stop().await;
    // Less than it may take to say something.
    assert!(told.elapsed() < Duration::from_secs(8), "{log}");
    assert!(!log.contains("cut off"), "{log}");
    drop(silent);
}
