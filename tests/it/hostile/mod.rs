//! Clients that mean harm, over the real socket: what each is told, that others are served meanwhile, and that the
//! process does not grow. `make hostile` prints what came of each, as rows of a table.

mod floods;
mod frames;
mod lists;
mod stalls;
mod strings;
mod wire;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use consentgate::grpc::proto::consent_service_client::ConsentServiceClient;
use tokio::runtime::Builder;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::process::gate::Gate;
use crate::process::people::{person, question};
use crate::wait::pass;

/// Resident memory of a gate, in KiB. Zero where there is no `/proc`.
fn memory(gate: &Gate) -> u64 {
    kib_of(gate, "VmRSS:")
}

fn kib_of(gate: &Gate, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.map_or(0, |number| number.parse().unwrap())
}

/// The most resident memory that a gate ever had, in KiB. Zero where there is no `/proc`.
fn most_memory(gate: &Gate) -> u64 {
    kib_of(gate, "VmHWM:")
}

/// An attack on a gate, beside which somebody else asks all the while.
struct Attack {
    /// KiB.
    before: u64,
    over: Arc<AtomicBool>,
    bystander: JoinHandle<Vec<Duration>>,
}

impl Attack {
    fn on(gate: &Gate) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (uri, until) = (format!("http://{}", gate.address()), Arc::clone(&over));
        Self {
            before: memory(gate),
            over,
            // Not in the attacker's thread, whose own work would count as the gate's.
            bystander: std::thread::spawn(move || ask_until(uri, &until)),
        }
    }

    /// Finds that the others were served and that the gate has not grown by more than this; says so with what
    /// came of the attack.
    #[expect(clippy::print_stdout, reason = "what `make hostile` is run for")]
    async fn survived(self, gate: &Gate, most_kib: u64, outcome: &str) {
        gate.check(question(&person(1))).await;
        let grown = memory(gate).saturating_sub(self.before);
        self.over.store(true, Ordering::Relaxed);
        let mut asked = self.bystander.join().expect("the others were served");
        asked.sort_unstable();
        println!(
            "| {outcome} | {grown} KiB more | {} checks: p50 {:.1} ms, slowest {:.0} ms |",
            asked.len(),
            asked[asked.len() / 2].as_secs_f64() * 1e3,
            asked[asked.len() - 1].as_secs_f64() * 1e3,
        );
        assert!(grown < most_kib, "{grown} KiB more");
    }
}

/// Asks one question after the other until it is said to be over: how long each took.
fn ask_until(uri: String, over: &AtomicBool) -> Vec<Duration> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(uri).unwrap().connect_lazy();
        let mut client = ConsentServiceClient::new(channel);
        let mut took = Vec::new();
        while !over.load(Ordering::Relaxed) || took.is_empty() {
            let asked = Instant::now();
            client.check_consent(question(&person(1))).await.unwrap();
            took.push(asked.elapsed());
            pass(Duration::from_millis(5)).await;
        }
        took
    })
}
