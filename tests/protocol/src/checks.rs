//! C1 to C4: how an instance answers, and what makes an answer a violation of the promise.
//!
//! A check that no acknowledged restriction binds cannot break the promise; only what it loads matters to others. So it is
//! reduced to its load (with no lease asked for, which is weaker than C4), and shows that an ALLOW is reachable.
//! An answer from facts without an acknowledged restriction counts as a violation whatever else the facts say: an
//! ALLOW from facts with the first restriction and without the second stands for a grant between them.

use crate::setup::Weakening as Weak;
use crate::state::{Check, Checking, Entry, Process, State};
use crate::step::{Mark, Paper, Step};

pub fn steps(state: &State, paper: &mut Paper) {
    // Free places are alike: only the first is used.
    let free = (0..paper.setup.checks).find(|slot| state.checks[*slot].at == Checking::Off);
    if let Some(slot) = free {
        for process in 0..paper.setup.processes {
            if !state.processes[process].up || paper.setup.checkers >> process & 1 == 0 {
                continue;
            }
            for person in 0..paper.setup.persons.len() {
                start(state, slot, process, person, paper);
            }
        }
    }
    for slot in 0..paper.setup.checks {
        match state.checks[slot].at {
            Checking::Off => {}
            Checking::Leased => {
                hit(state, slot, paper);
                load(state, slot, paper);
                join(state, slot, paper);
            }
            Checking::Loaded => {
                read_lease_again(state, slot, paper);
                insert(state, slot, paper);
            }
            Checking::LeasedAgain => compare(state, slot, paper),
            Checking::Answered | Checking::Compared => insert(state, slot, paper),
            Checking::CacheRead => read_lease_late(state, slot, paper),
        }
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("a small number")
}

/// C1, for a check of each person.
fn start(state: &State, slot: usize, process: usize, person: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let this = &state.processes[process];
    let must = state.acknowledged() & setup.of(person);
    let begun = Check {
        process: byte(process),
        person: byte(person),
        must,
        ..Check::default()
    };
    let mut next = *state;
    if must == 0 {
        if this.lease > 0
            && usable(
                setup.weak(Weak::FloorNotRead),
                this,
                person,
                setup.persons[person],
            )
            .is_some()
        {
            paper.mark(Mark::AllowedFromMemory);
        }
        next.checks[slot] = begun;
        load(&next, slot, paper);
        return;
    }
    if setup.weak(Weak::LeaseReadAfterCache) {
        if let Some(entry) = usable(false, this, person, setup.persons[person]) {
            next.checks[slot] = Check {
                at: Checking::CacheRead,
                epoch: entry.epoch,
                as_of: entry.as_of,
                ..begun
            };
            paper.write(Step::Hit { process, person }, next);
        }
        return;
    }
    next.checks[slot] = Check {
        at: Checking::Leased,
        ..begun
    };
    if this.lease > 0 {
        paper.write(Step::StartCheck { process, person }, next);
    } else if setup.weak(Weak::LoadWithoutLease) {
        load(&next, slot, paper);
    }
}

/// The facts in the cache, unless they are below the floor.
fn usable(floor_not_read: bool, this: &Process, person: usize, partition: usize) -> Option<Entry> {
    let entry = this.cache[person];
    (entry.there && (entry.as_of >= this.floor[partition] || floor_not_read)).then_some(entry)
}

/// C2.
fn hit(state: &State, slot: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let check = state.checks[slot];
    let (process, person) = (usize::from(check.process), usize::from(check.person));
    let this = &state.processes[process];
    if let Some(entry) = usable(
        setup.weak(Weak::FloorNotRead),
        this,
        person,
        setup.persons[person],
    ) {
        let step = Step::Hit { process, person };
        let mut next = *state;
        next.checks[slot] = Check::default();
        decide(
            state,
            &check,
            entry.epoch,
            entry.as_of,
            step,
            Mark::RestrictedFromMemory,
            paper,
        );
        paper.write(step, next);
    }
}

/// Weakened C1: the lease after the cache.
fn read_lease_late(state: &State, slot: usize, paper: &mut Paper) {
    let check = state.checks[slot];
    let process = usize::from(check.process);
    let mut next = *state;
    next.checks[slot] = Check::default();
    let step = Step::ReadLeaseAgain { process };
    if state.processes[process].lease > 0 {
        decide(
            state,
            &check,
            check.epoch,
            check.as_of,
            step,
            Mark::RestrictedFromMemory,
            paper,
        );
    }
    paper.write(step, next);
}

/// C3: the statement's snapshot. Which server a connection leads to is anybody's guess.
fn load(state: &State, slot: usize, paper: &mut Paper) {
    let check = state.checks[slot];
    let (process, person) = (usize::from(check.process), usize::from(check.person));
    for &epoch in paper.setup.answering(state.promoted) {
        let mut next = *state;
        let as_of = state.database(epoch).head(paper.setup.persons[person]);
        next.checks[slot] = Check {
            at: Checking::Loaded,
            epoch,
            as_of,
            ..check
        };
        paper.write(
            Step::Load {
                process,
                person,
                epoch,
            },
            next,
        );
    }
}

/// Weakened C3: another check's load, which was sent before this check began.
fn join(state: &State, slot: usize, paper: &mut Paper) {
    if !paper.setup.weak(Weak::JoinInFlight) {
        return;
    }
    let check = state.checks[slot];
    for other in &state.checks {
        let same = other.process == check.process && other.person == check.person;
        if other.at == Checking::Loaded && same {
            let mut next = *state;
            next.checks[slot] = Check {
                at: Checking::Loaded,
                epoch: other.epoch,
                as_of: other.as_of,
                ..check
            };
            let (process, person) = (usize::from(check.process), usize::from(check.person));
            paper.write(Step::Join { process, person }, next);
        }
    }
}

/// C3's end, first the lease.
fn read_lease_again(state: &State, slot: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let check = state.checks[slot];
    let process = usize::from(check.process);
    let this = &state.processes[process];
    if check.must == 0 {
        if this.lease > 0 && passes(state, &check, paper) {
            paper.mark(Mark::AllowedFromLoad);
            if setup.weak(Weak::InsertWithoutEpoch) {
                compare(state, slot, paper);
            }
        }
        return;
    }
    let free = setup.weak(Weak::LoadWithoutLease) || setup.weak(Weak::LoadWithoutLeaseAtTheEnd);
    if this.lease > 0 || free {
        let mut next = *state;
        next.checks[slot].at = Checking::LeasedAgain;
        paper.write(Step::ReadLeaseAgain { process }, next);
    }
}

/// Whether a load may be answered from: the follower's epoch, and nothing applied that it lacks.
fn passes(state: &State, check: &Check, paper: &Paper) -> bool {
    let setup = paper.setup;
    let this = &state.processes[usize::from(check.process)];
    let partition = setup.persons[usize::from(check.person)];
    let epoch = check.epoch == this.epoch
        || setup.weak(Weak::NoEpoch)
        || setup.weak(Weak::LoadWithoutEpoch);
    epoch && (check.as_of >= this.applied[partition] || setup.weak(Weak::LoadWithoutComparison))
}

/// C3's end, then `applied`.
fn compare(state: &State, slot: usize, paper: &mut Paper) {
    let check = state.checks[slot];
    let (process, person) = (usize::from(check.process), usize::from(check.person));
    let mut next = *state;
    if passes(state, &check, paper) {
        let step = Step::Compare { process, person };
        decide(
            state,
            &check,
            check.epoch,
            check.as_of,
            step,
            Mark::RestrictedFromLoad,
            paper,
        );
        next.checks[slot] = Check {
            at: Checking::Answered,
            must: 0,
            ..check
        };
        paper.write(step, next);
    } else {
        paper.mark(Mark::LoadDiscarded);
        next.checks[slot] = Check {
            at: Checking::Leased,
            epoch: 0,
            as_of: 0,
            ..check
        };
        paper.write(Step::Reload { process }, next);
    }
}

/// C3: into the cache, under the key lock.
fn insert(state: &State, slot: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let check = state.checks[slot];
    let (process, person) = (usize::from(check.process), usize::from(check.person));
    let this = &state.processes[process];
    let old = this.cache[person];
    let new = Entry {
        there: true,
        epoch: check.epoch,
        as_of: check.as_of,
    };
    let compared = check.at == Checking::Compared;
    let epoch = check.epoch == this.epoch
        || setup.weak(Weak::NoEpoch)
        || (setup.weak(Weak::InsertWithoutEpoch) && check.at == Checking::Answered);
    let fresh = check.as_of >= this.applied[setup.persons[person]];
    let newest = !old.there
        || (old.epoch, old.as_of) <= (new.epoch, new.as_of)
        || setup.weak(Weak::InsertOverNewer);
    let mut next = *state;
    if setup.weak(Weak::InsertOutsideTheLock) && !compared {
        if epoch && fresh && newest {
            next.checks[slot] = Check {
                at: Checking::Compared,
                must: 0,
                ..check
            };
            paper.write(Step::Compare { process, person }, next);
        }
    } else if compared || setup.weak(Weak::InsertUnchecked) || (epoch && fresh && newest) {
        next.checks[slot] = Check::default();
        next.processes[process].cache[person] = new;
        paper.write(Step::Insert { process, person }, next);
        return;
    } else {
        paper.mark(Mark::InsertRefused);
    }
    let mut next = *state;
    next.checks[slot] = Check::default();
    paper.write(Step::Discard { process, person }, next);
}

/// The answer. The one place where the promise is tested.
fn decide(
    state: &State,
    check: &Check,
    epoch: u8,
    as_of: u8,
    step: Step,
    kept: Mark,
    paper: &mut Paper,
) {
    let partition = paper.setup.persons[usize::from(check.person)];
    let facts = state.facts(epoch, partition, as_of);
    if check.must & !facts != 0 {
        paper.violation = Some(step);
    } else {
        paper.mark(kept);
    }
}
