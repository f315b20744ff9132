//! The explorer: every state that can be reached, breadth first, so that the first violation has the shortest way.
//!
//! Of a visited state only a fingerprint of 64 bits and that of its predecessor are kept (16 bytes); the way to a violation
//! is walked again along them. Among ten million states two share a fingerprint, and one is missed, once in 400,000
//! explorations. `stateright` was weighed: it keeps the same two
//! fingerprints and walks the same way back, but its breadth-first checker knows no symmetry (its depth-first one does, and
//! gives no shortest trace), and what it would save are the sixty lines of `explore` and `Seen`, for a dozen packages.

use std::fmt::Write as _;

use crate::canonical::{canonical, normalise};
use crate::setup::Setup;
use crate::state::State;
use crate::step::{Mark, Paper, Step};
use crate::{checks, follower, withdrawals, world};

/// What was found.
pub struct Explored {
    pub states: usize,
    pub depth: usize,
    pub marks: u32,
    /// The steps from the start to a check that broke the promise, or what was looked for.
    pub violation: Option<Vec<Step>>,
}

impl Explored {
    pub fn reached(&self, mark: Mark) -> bool {
        self.marks & mark.bit() != 0
    }

    pub fn trace(&self) -> String {
        let mut text = String::new();
        for (number, step) in self.violation.iter().flatten().enumerate() {
            writeln!(text, "{:3}  {step}", number + 1).expect("a string takes everything");
        }
        text
    }
}

/// What ends an exploration besides its end.
#[derive(Clone, Copy)]
pub enum Until {
    Violation,
    Reached(Mark),
}

/// Explores a setup completely, or until what is looked for.
pub fn explore(setup: &Setup, until: Until) -> Explored {
    let start = world::start(setup);
    let mut seen = Seen::new();
    let mut level = vec![canonical(&start, setup)];
    let root = fingerprint(&level[0]);
    seen.insert(root, root);
    let mut found = Explored {
        states: 1,
        depth: 0,
        marks: 0,
        violation: None,
    };
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for state in &level {
            let paper = successors(state, setup);
            found.marks |= paper.marks;
            let from = fingerprint(state);
            let ends = match until {
                Until::Violation => paper.violation.is_some(),
                Until::Reached(mark) => paper.marks & mark.bit() != 0,
            };
            if ends {
                let mut way = walk(&start, setup, &seen.way(from));
                way.0.extend(successors(&way.1, setup).violation);
                found.violation = Some(way.0);
                return found;
            }
            for (_, next) in paper.successors {
                let next = canonical(&next, setup);
                if seen.insert(fingerprint(&next), from) {
                    next_level.push(next);
                }
            }
        }
        found.states = seen.count;
        found.depth += 1;
        level = next_level;
    }
    found
}

fn successors<'a>(state: &State, setup: &'a Setup) -> Paper<'a> {
    let mut paper = Paper::new(setup);
    withdrawals::eager(state, &mut paper);
    if paper.successors.is_empty() {
        world::steps(state, &mut paper);
        follower::steps(state, &mut paper);
        checks::steps(state, &mut paper);
        withdrawals::steps(state, &mut paper);
    }
    for (_, next) in &mut paper.successors {
        normalise(next, setup);
    }
    paper
}

/// Walks along fingerprints of canonical states, with the names that the start gave.
fn walk(start: &State, setup: &Setup, way: &[u64]) -> (Vec<Step>, State) {
    let mut state = *start;
    let mut steps = Vec::new();
    for wanted in way {
        let paper = successors(&state, setup);
        let found = paper
            .successors
            .into_iter()
            .find(|(_, next)| fingerprint(&canonical(next, setup)) == *wanted);
        let (step, next) = found.expect("renamed states have renamed successors");
        steps.push(step);
        state = next;
    }
    (steps, state)
}

/// Visited states: an open table of (fingerprint, the predecessor's).
struct Seen {
    slots: Vec<(u64, u64)>,
    count: usize,
}

impl Seen {
    fn new() -> Self {
        Seen {
            slots: vec![(0, 0); 1 << 16],
            count: 0,
        }
    }

    /// Whether it is new.
    fn insert(&mut self, state: u64, from: u64) -> bool {
        if self.count * 10 > self.slots.len() * 7 {
            let doubled = vec![(0, 0); self.slots.len() * 2];
            for (state, from) in std::mem::replace(&mut self.slots, doubled) {
                if state != 0 {
                    let at = self.place(state);
                    self.slots[at] = (state, from);
                }
            }
        }
        let at = self.place(state);
        if self.slots[at].0 == state {
            return false;
        }
        self.slots[at] = (state, from);
        self.count += 1;
        true
    }

    fn place(&self, state: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = usize::try_from(state).expect("64 bits") & mask;
        while self.slots[at].0 != 0 && self.slots[at].0 != state {
            at = (at + 1) & mask;
        }
        at
    }

    /// From the first step's state to `state`.
    fn way(&self, mut state: u64) -> Vec<u64> {
        let mut way = Vec::new();
        loop {
            let from = self.slots[self.place(state)].1;
            if from == state {
                way.reverse();
                return way;
            }
            way.push(state);
            state = from;
        }
    }
}

/// Never 0, which marks a free slot.
fn fingerprint(state: &State) -> u64 {
    let mut hash = Mix {
        sum: 0x9e37_79b9_7f4a_7c15,
        word: 0,
        filled: 0,
    };
    for database in &state.databases {
        for event in database.log.iter().flatten() {
            hash.add(*event, 2);
        }
        for row in &database.rows {
            hash.add(u8::from(row.there), 1);
            hash.add(row.renewals, 3);
            hash.add(row.applied[0], 2);
            hash.add(row.applied[1], 2);
        }
    }
    for this in &state.processes {
        hash.process(this);
    }
    for check in &state.checks {
        hash.add(check.at as u8, 3);
        hash.add(check.process, 2);
        hash.add(check.person, 1);
        hash.add(check.must, 3);
        hash.add(check.epoch, 1);
        hash.add(check.as_of, 2);
    }
    for withdrawal in &state.withdrawals {
        hash.add(withdrawal.at as u8, 3);
        hash.add(withdrawal.process, 2);
        hash.add(withdrawal.epoch, 1);
        hash.add(withdrawal.age, 3);
        hash.add(withdrawal.rows, 4);
    }
    hash.add(u8::from(state.promoted), 1);
    hash.add(state.ids, 3);
    hash.add(state.crashes, 2);
    hash.add(state.unknowns, 2);
    hash.add(state.slips, 2);
    hash.finish()
}

struct Mix {
    sum: u64,
    word: u64,
    filled: u32,
}

impl Mix {
    fn add(&mut self, value: u8, bits: u32) {
        debug_assert!(
            u32::from(value) < 1 << bits,
            "a field is wider than its place"
        );
        if self.filled + bits > 64 {
            self.flush();
        }
        self.word |= u64::from(value) << self.filled;
        self.filled += bits;
    }

    fn process(&mut self, this: &crate::state::Process) {
        self.add(u8::from(this.up), 1);
        self.add(this.row, 4);
        self.add(this.epoch, 2);
        self.add(this.lease, 3);
        for partition in 0..this.applied.len() {
            self.add(this.applied[partition], 2);
            self.add(this.floor[partition], 2);
            self.add(this.durable[partition], 2);
            self.add(this.follower.heads[partition], 2);
        }
        for entry in &this.cache {
            self.add(u8::from(entry.there), 1);
            self.add(entry.epoch, 1);
            self.add(entry.as_of, 2);
        }
        self.add(u8::from(this.alarm), 1);
        let follower = &this.follower;
        self.add(follower.at as u8, 2);
        self.add(u8::from(follower.renewal), 1);
        self.add(follower.age, 3);
        self.add(follower.epoch, 1);
        self.add(follower.partition, 2);
        self.add(follower.to_drop, 2);
        self.add(u8::from(follower.late), 1);
        let watch = &this.watch;
        self.add(u8::from(watch.on), 1);
        self.add(watch.row, 2);
        self.add(watch.epoch, 1);
        self.add(watch.renewals, 2);
        self.add(watch.age, 3);
    }

    fn flush(&mut self) {
        let mixed = (self.sum ^ self.word).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.sum = (mixed ^ (mixed >> 29)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.word = 0;
        self.filled = 0;
    }

    fn finish(mut self) -> u64 {
        self.flush();
        self.flush();
        self.sum.max(1)
    }
}
