//! What happens to the instances: time, crashes, starts, evictions, failovers. A pause is time that passes while an
//! instance takes no step, so it needs none of its own.

use crate::follower::forgotten;
use crate::setup::Setup;
use crate::state::{At, Check, Checking, NO_EPOCH, NO_ROW, PROCESSES, Process, Row, State};
use crate::step::{Paper, Step};

/// Instances that are registered and have caught up once, long ago; the rest is not started yet.
pub fn start(setup: &Setup) -> State {
    let mut state = State {
        ids: u8::try_from(setup.instances).expect("few instances"),
        crashes: setup.crashes,
        unknowns: setup.unknowns,
        slips: setup.slips,
        ..State::default()
    };
    state.processes = [DOWN; PROCESSES];
    for number in 0..setup.instances {
        let row = u8::try_from(number).expect("few instances");
        state.processes[number] = Process {
            up: true,
            row,
            ..Process::default()
        };
        state.databases[0].rows[number] = Row {
            there: true,
            ..Row::default()
        };
    }
    if setup.failover {
        state.databases[1] = state.databases[0];
    }
    if setup.ghost {
        for partition in setup.touched(0) {
            state.databases[0].log[partition][0] = 1;
        }
        state.withdrawals[0] = forgotten();
    }
    if setup.split {
        state.promoted = true;
        state.databases[0].rows[0].renewals = 1;
    }
    if setup.ghost || setup.split {
        for process in &mut state.processes[..setup.instances] {
            process.lease = setup.lease;
        }
    }
    state
}

const DOWN: Process = Process {
    up: false,
    row: NO_ROW,
    epoch: NO_EPOCH,
    lease: 0,
    applied: [0; 2],
    floor: [0; 2],
    cache: [crate::state::Entry {
        there: false,
        epoch: 0,
        as_of: 0,
    }; 2],
    durable: [0; 2],
    alarm: false,
    follower: crate::state::Follower {
        at: At::Idle,
        renewal: false,
        age: 0,
        epoch: 0,
        heads: [0; 2],
        partition: 0,
        to_drop: 0,
        late: false,
    },
    watch: crate::state::Watch {
        on: false,
        row: 0,
        epoch: 0,
        renewals: 0,
        age: 0,
    },
};

pub fn steps(state: &State, paper: &mut Paper) {
    let setup = paper.setup;
    let mut next = *state;
    for process in 0..setup.processes {
        advance(&mut next, setup, process);
    }
    paper.write(Step::Tick, next);
    if state.slips > 0 {
        slip(state, paper);
    }
    for process in 0..setup.processes {
        let this = &state.processes[process];
        if !this.up {
            if state.ids < setup.ids {
                let mut next = *state;
                next.processes[process] = Process { up: true, ..DOWN };
                paper.write(Step::Start { process }, next);
            }
            continue;
        }
        if state.crashes > 0 {
            crash(state, process, paper);
        }
        for person in 0..setup.persons.len() {
            if setup.evictions && this.cache[person].there {
                let mut next = *state;
                next.processes[process].cache[person] = Default::default();
                paper.write(Step::Evict { process, person }, next);
            }
        }
    }
    if setup.failover && !state.promoted {
        let mut next = *state;
        next.promoted = true;
        paper.write(Step::Promote, next);
        if setup.asynchronous {
            let mut next = *state;
            next.databases[1] = next.databases[0];
            paper.write(Step::Replicate, next);
        }
    }
}

/// One tick on the clock of one process, and of what it works on.
fn advance(next: &mut State, setup: &Setup, process: usize) {
    for withdrawal in next.working(process) {
        withdrawal.age = (withdrawal.age + 1).min(setup.wait);
    }
    let this = &mut next.processes[process];
    this.lease = this.lease.saturating_sub(1);
    let waits = matches!(this.follower.at, At::Sent | At::Applying);
    if this.follower.renewal && waits {
        this.follower.age = (this.follower.age + 1).min(setup.lease);
    }
    if this.watch.on {
        this.watch.age = (this.watch.age + 1).min(setup.wait);
    }
}

/// A tick that one clock counts twice, or not at all: the rates differ.
fn slip(state: &State, paper: &mut Paper) {
    let setup = paper.setup;
    for odd in 0..setup.processes {
        for fast in [false, true] {
            let mut next = *state;
            next.slips -= 1;
            for process in 0..setup.processes {
                if process != odd || fast {
                    advance(&mut next, setup, process);
                }
            }
            if fast {
                advance(&mut next, setup, odd);
            }
            paper.write(Step::TickWithSlip { process: odd, fast }, next);
        }
    }
}

/// Everything in memory is lost; the row stays. What the process was asked to do has no answer.
fn crash(state: &State, process: usize, paper: &mut Paper) {
    let mut next = *state;
    next.crashes -= 1;
    for withdrawal in next.working(process) {
        *withdrawal = forgotten();
    }
    for check in &mut next.checks {
        if check.at != Checking::Off && usize::from(check.process) == process {
            *check = Check::default();
        }
    }
    next.processes[process] = DOWN;
    paper.write(Step::Crash { process }, next);
}
