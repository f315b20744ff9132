//! What goes wrong while callers call: three lines of trouble side by side, each a seeded sequence of faults that heal
//! themselves, so that faults of different kinds meet.
//!
//! Instances are stopped for longer than their lease, killed, sent away and replaced; wires to the database are cut,
//! slowed, held up, made deaf or refused, all connections of an instance or some; the database is restarted as after
//! a crash. When it has ended everything is whole again: every wire passes and every slot has an instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::dice::Dice;
use super::fleet::Fleet;
use super::history::{History, Slot};
use super::proxy::{Flow, Share};
use crate::postgres::Postgres;
use crate::wait::pass;

/// Which lines of trouble there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Instances,
    Wires,
    Database,
}

impl Line {
    pub const ALL: [Self; 3] = [Self::Instances, Self::Wires, Self::Database];
}

/// Trouble for a fleet and its database.
#[derive(Debug)]
pub struct Nemesis {
    pub fleet: Arc<Fleet>,
    pub server: Arc<Postgres>,
    pub history: Arc<History>,
    /// That of the instances: faults are shorter and longer than it.
    pub lease: Duration,
    pub seed: u64,
    pub lines: Vec<Line>,
    pub is_over: AtomicBool,
}

impl Nemesis {
    /// Makes trouble until told to end; then lets the last faults heal, and fills every slot.
    pub async fn run(&self) {
        let has = |line| self.lines.contains(&line);
        tokio::join!(
            async {
                if has(Line::Instances) {
                    self.instances(Dice::of_task(self.seed, 2_001)).await;
                }
            },
            async {
                if has(Line::Wires) {
                    self.wires(Dice::of_task(self.seed, 2_002)).await;
                }
            },
            async {
                if has(Line::Database) {
                    self.database(Dice::of_task(self.seed, 2_003)).await;
                }
            },
        );
        let taken = self.fleet.taken().await;
        for slot in self.fleet.slots().filter(|slot| !taken.contains(slot)) {
            self.fleet.start(slot, &[]).await;
        }
    }

    /// No further faults.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn did(&self, deed: String) {
        self.history.did(deed);
    }

    /// Shorter than the lease or longer, up to twice and a half.
    fn a_while(&self, dice: &mut Dice) -> Duration {
        dice.span(self.lease / 5, self.lease * 5 / 2)
    }

    async fn instances(&self, mut dice: Dice) {
        while !self.is_over() {
            pass(dice.span(Duration::ZERO, self.lease)).await;
            let taken = self.fleet.taken().await;
            let empty: Vec<Slot> = self
                .fleet
                .slots()
                .filter(|one| !taken.contains(one))
                .collect();
            // Somebody must be left to go on.
            let can_go = taken.len() > 1 || self.fleet.slots().count() == 1;
            match dice.below(10) {
                _ if taken.is_empty() => self.fleet.start(dice.pick(&empty), &[]).await,
                0..5 => self.stop(&mut dice, &taken).await,
                5..7 if can_go => self.kill(&mut dice, &taken).await,
                7 | 8 if can_go => self.leave(dice.pick(&taken), &mut dice).await,
                _ if empty.is_empty() => self.stop(&mut dice, &taken).await,
                _ => self.fleet.start(dice.pick(&empty), &[]).await,
            }
        }
    }

    /// Stops one or two and lets them go on.
    async fn stop(&self, dice: &mut Dice, taken: &[Slot]) {
        let mut stopped = vec![dice.pick(taken)];
        let other = dice.pick(taken);
        if dice.says(25) && other != stopped[0] {
            stopped.push(other);
        }
        let span = self.a_while(dice);
        self.did(format!("{stopped:?}: stopped for {span:?}"));
        for slot in &stopped {
            self.fleet.signal(*slot, "STOP").await;
        }
        pass(span).await;
        self.did(format!("{stopped:?}: go on"));
        for slot in &stopped {
            self.fleet.signal(*slot, "CONT").await;
        }
    }

    /// Kills one, and starts another in its place at once or later.
    async fn kill(&self, dice: &mut Dice, taken: &[Slot]) {
        let slot = dice.pick(taken);
        self.did(format!("{slot}: killed"));
        if let Some(gate) = self.fleet.take(slot).await {
            gate.kill().await;
        }
        if dice.says(50) {
            pass(dice.span(Duration::ZERO, self.lease * 2)).await;
        }
        self.fleet.start(slot, &[]).await;
    }

    /// Ends one as an operator does. Who comes later comes to an empty slot.
    async fn leave(&self, slot: Slot, dice: &mut Dice) {
        self.did(format!("{slot}: told to end"));
        if let Some(gate) = self.fleet.take(slot).await {
            gate.stop().await;
        }
        if dice.says(70) {
            self.fleet.start(slot, &[]).await;
        }
    }

    async fn wires(&self, mut dice: Dice) {
        let slots: Vec<Slot> = self.fleet.slots().collect();
        while !self.is_over() {
            pass(dice.span(Duration::ZERO, self.lease)).await;
            let slot = dice.pick(&slots);
            let proxy = self.fleet.proxy(slot);
            let share = if dice.says(50) {
                Share::All
            } else {
                Share::Half(dice.next())
            };
            let span = self.a_while(&mut dice);
            let slow = Flow::Delay(dice.span(Duration::from_millis(5), self.lease / 2));
            let (up, down) = dice.pick(&[(true, true), (true, false), (false, true)]);
            let one_way = |flow| {
                (
                    if up { flow } else { Flow::Pass },
                    if down { flow } else { Flow::Pass },
                )
            };
            match dice.below(8) {
                0 | 1 => {
                    let reset = dice.says(50);
                    self.did(format!("{slot}: wire cut ({share:?}, reset {reset})"));
                    proxy.cut(share, reset);
                    continue;
                }
                2 => {
                    self.did(format!("{slot}: wire cut and refused for {span:?}"));
                    proxy.refuse(true);
                    proxy.cut(Share::All, true);
                }
                kind => {
                    let flow = match kind {
                        3..6 => slow,
                        6 => Flow::Hold,
                        _ => Flow::Swallow,
                    };
                    let (up, down) = one_way(flow);
                    self.did(format!(
                        "{slot}: wire {up:?} {down:?} {share:?} for {span:?}"
                    ));
                    proxy.flow(up, down, share);
                }
            }
            pass(span).await;
            self.did(format!("{slot}: wire heals"));
            proxy.heal();
        }
    }

    async fn database(&self, mut dice: Dice) {
        while !self.is_over() {
            let rest = dice.span(self.lease * 4, self.lease * 14);
            // In small steps, so that the end need not wait for it.
            let steps = rest.as_millis() / 100;
            for _ in 0..steps {
                if self.is_over() {
                    return;
                }
                pass(Duration::from_millis(100)).await;
            }
            let server = Arc::clone(&self.server);
            let down = if dice.says(50) {
                Duration::ZERO
            } else {
                dice.span(Duration::ZERO, self.lease * 2)
            };
            self.did(format!("database crashes, and starts {down:?} later"));
            tokio::task::spawn_blocking(move || server.stop_immediate())
                .await
                .unwrap();
            pass(down).await;
            let server = Arc::clone(&self.server);
            tokio::task::spawn_blocking(move || server.start())
                .await
                .unwrap();
            self.did("database started".into());
        }
    }
}
