//! W1 to W6: how a restriction is acknowledged, and how the rows of the dead are removed.

use crate::follower::forgotten;
use crate::setup::{Setup, Weakening as Weak};
use crate::state::{Entry, State, Watch, Withdrawal, Withdrawing};
use crate::step::{Mark, Paper, Step};

pub fn steps(state: &State, paper: &mut Paper) {
    for withdrawal in 0..paper.setup.withdrawals.len() {
        match state.withdrawals[withdrawal].at {
            Withdrawing::New | Withdrawing::Unknown => {
                let ghost = paper.setup.ghost && withdrawal == 0;
                for process in 0..paper.setup.processes {
                    let this = &state.processes[process];
                    let writes = paper.setup.writers >> process & 1 == 1;
                    if this.up && !this.alarm && writes && !ghost {
                        begin(state, withdrawal, process, paper);
                    }
                }
            }
            Withdrawing::Noted => {
                let process = usize::from(state.withdrawals[withdrawal].process);
                commit(state, withdrawal, process, paper);
            }
            Withdrawing::Committed
            | Withdrawing::Riding
            | Withdrawing::Shown
            | Withdrawing::Waiting => give_up(state, withdrawal, paper),
            Withdrawing::Acknowledged => {}
        }
    }
    if paper.setup.deletes {
        for process in 0..paper.setup.processes {
            watch(state, process, paper);
            delete(state, process, paper);
        }
    }
}

/// W3 and W6 as soon as they can be. An acknowledgement changes nothing but which checks it binds, so every way on from
/// a later one is also a way on from the earlier one, and binds fewer checks: the later ones need not be explored.
pub fn eager(state: &State, paper: &mut Paper) {
    for withdrawal in 0..paper.setup.withdrawals.len() {
        if state.withdrawals[withdrawal].at == Withdrawing::Waiting && paper.successors.is_empty() {
            acknowledge(state, withdrawal, paper);
            if paper.successors.is_empty() {
                see_rows(state, withdrawal, paper);
            }
        }
    }
}

fn begin(state: &State, number: usize, process: usize, paper: &mut Paper) {
    let rows_first = paper.setup.weak(Weak::RowsSeenBeforeCommit);
    if !rows_first && !paper.setup.weak(Weak::ClockNotedBeforeCommit) {
        commit(state, number, process, paper);
        return;
    }
    let mut next = *state;
    let mut rows = 0;
    for (row, content) in state.database(state.primary()).rows.iter().enumerate() {
        if content.there && rows_first {
            rows |= 1 << row;
        }
    }
    next.withdrawals[number] = Withdrawal {
        at: Withdrawing::Noted,
        process: u8::try_from(process).expect("few processes"),
        rows,
        ..Withdrawal::default()
    };
    paper.write(
        Step::Note {
            process,
            withdrawal: number,
        },
        next,
    );
}

/// W1, also of a repeat: its event is there already, and it commits all the same.
fn commit(state: &State, number: usize, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let before = state.withdrawals[number];
    let noted_first = setup.weak(Weak::ClockNotedBeforeCommit);
    for &epoch in setup.answering(state.promoted) {
        let mut next = *state;
        let appended = append(&mut next, setup, number, epoch);
        let committed = Withdrawal {
            at: Withdrawing::Committed,
            process: u8::try_from(process).expect("few processes"),
            epoch,
            age: if noted_first { before.age } else { 0 },
            rows: before.rows,
        };
        if epoch == 0 && state.unknowns > 0 && appended {
            let mut next = next;
            next.unknowns -= 1;
            let succeeds = setup.weak(Weak::UnknownCommitIsSuccess);
            next.withdrawals[number] = if succeeds { committed } else { forgotten() };
            paper.write(
                Step::Commit {
                    process,
                    withdrawal: number,
                    epoch,
                    durable: false,
                },
                next,
            );
        }
        if epoch != state.primary() {
            continue;
        }
        next.replicate(setup);
        next.withdrawals[number] = committed;
        if setup.weak(Weak::NoOwnRenewal) {
            write_through(&mut next, setup, number, process);
        }
        if !appended && setup.weak(Weak::RepeatWithoutWait) {
            next.withdrawals[number] = Withdrawal {
                at: Withdrawing::Acknowledged,
                ..Withdrawal::default()
            };
        }
        if appended {
            let replaces = epoch == 1
                && setup.touched(number).any(|partition| {
                    let heads = (
                        state.databases[0].head(partition),
                        next.databases[1].head(partition),
                    );
                    heads.0 >= heads.1
                });
            if replaces {
                paper.mark(Mark::ReplacedOffset);
            }
            paper.write(
                Step::Commit {
                    process,
                    withdrawal: number,
                    epoch,
                    durable: true,
                },
                next,
            );
        } else {
            paper.write(
                Step::Repeat {
                    process,
                    withdrawal: number,
                    epoch,
                },
                next,
            );
        }
    }
}

/// Whether the event was not there yet.
fn append(next: &mut State, setup: &Setup, number: usize, epoch: u8) -> bool {
    let mut appended = false;
    for partition in setup.touched(number) {
        let database = next.database_mut(epoch);
        if database.offset(partition, number).is_none() {
            let at = usize::from(database.head(partition));
            database.log[partition][at] = u8::try_from(number + 1).expect("few withdrawals");
            appended = true;
        }
    }
    appended
}

/// Weakened W2: the own cache gets the new facts, the other rows are read at once.
fn write_through(next: &mut State, setup: &Setup, number: usize, process: usize) {
    let epoch = next.withdrawals[number].epoch;
    let own = next.processes[process].row;
    let others =
        unconfirmed(next, setup, number, epoch) & !(1_u8.checked_shl(own.into()).unwrap_or(0));
    next.withdrawals[number].rows = others;
    next.withdrawals[number].at = Withdrawing::Waiting;
    for (person, partition) in setup.persons.iter().enumerate() {
        if setup.withdrawals[number] >> person & 1 == 1 {
            let as_of = next.database(epoch).head(*partition);
            next.processes[process].cache[person] = Entry {
                there: true,
                epoch,
                as_of,
            };
        }
    }
}

/// W3: the rows of one snapshot that have not applied the whole act.
pub fn unconfirmed(state: &State, setup: &Setup, number: usize, epoch: u8) -> u8 {
    let of_commit = state.database(state.withdrawals[number].epoch);
    let mut rows = 0;
    for (row, content) in state.database(epoch).rows.iter().enumerate() {
        let mut touched = setup.touched(number);
        let lacks = |partition: usize| {
            of_commit
                .offset(partition, number)
                .is_some_and(|o| content.applied[partition] < o)
        };
        let waits = if setup.weak(Weak::WaitForOnePartition) {
            touched.next().is_some_and(lacks)
        } else {
            touched.any(lacks)
        };
        if content.there && waits {
            rows |= 1 << row;
        }
    }
    rows
}

/// W3: somebody confirmed, or is gone.
fn see_rows(state: &State, number: usize, paper: &mut Paper) {
    let waiting = state.withdrawals[number].rows;
    let follows = state.processes[usize::from(state.withdrawals[number].process)].epoch;
    let any = paper.setup.weak(Weak::RowsSeenInAnotherEpoch) || paper.setup.weak(Weak::NoEpoch);
    for &epoch in paper.setup.answering(state.promoted) {
        if epoch != follows && !any {
            continue;
        }
        let left = waiting & unconfirmed(state, paper.setup, number, epoch);
        if left == waiting {
            continue;
        }
        let mut next = *state;
        next.withdrawals[number].rows = left;
        if left == 0 {
            let rows = &state.database(epoch).rows;
            let gone = (0..rows.len()).any(|row| waiting >> row & 1 == 1 && !rows[row].there);
            paper.mark(if gone {
                Mark::AcknowledgedByRowGone
            } else {
                Mark::AcknowledgedByConfirmation
            });
        }
        paper.write(
            Step::SeeRows {
                withdrawal: number,
                epoch,
            },
            next,
        );
        return;
    }
}

/// W6.
fn acknowledge(state: &State, number: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let withdrawal = state.withdrawals[number];
    let waited = withdrawal.age >= setup.wait;
    if withdrawal.rows != 0 && !waited && !setup.weak(Weak::NoWait) {
        return;
    }
    if withdrawal.rows != 0 && waited {
        paper.mark(Mark::AcknowledgedByWaiting);
    }
    if withdrawal.rows == 0 && withdrawal.age == 0 {
        paper.mark(Mark::AcknowledgedAtOnce);
    }
    if withdrawal.epoch == 1 {
        paper.mark(Mark::AcknowledgedInNewEpoch);
    }
    let mut next = *state;
    next.withdrawals[number] = Withdrawal {
        at: Withdrawing::Acknowledged,
        ..Withdrawal::default()
    };
    paper.write(Step::Acknowledge { withdrawal: number }, next);
}

/// The caller's deadline passes, or the answer is lost.
fn give_up(state: &State, number: usize, paper: &mut Paper) {
    if paper.setup.repeats {
        let mut next = *state;
        next.withdrawals[number] = forgotten();
        paper.write(Step::GiveUp { withdrawal: number }, next);
    }
}

/// W5, first half: a row is seen. An answer of another epoch is discarded.
fn watch(state: &State, process: usize, paper: &mut Paper) {
    let this = &state.processes[process];
    if !this.up || this.watch.on || paper.setup.watchers >> process & 1 == 0 {
        return;
    }
    for &epoch in paper.setup.answering(state.promoted) {
        if epoch != this.epoch {
            continue;
        }
        for (row, content) in state.database(epoch).rows.iter().enumerate() {
            let number = u8::try_from(row).expect("few rows");
            if content.there && number != this.row {
                let mut next = *state;
                next.processes[process].watch = Watch {
                    on: true,
                    row: number,
                    epoch,
                    renewals: content.renewals,
                    age: 0,
                };
                paper.write(
                    Step::Watch {
                        process,
                        row,
                        epoch,
                    },
                    next,
                );
            }
        }
    }
}

/// W5, second half: it stood still.
fn delete(state: &State, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let this = &state.processes[process];
    let watch = this.watch;
    let still = watch.age >= setup.wait || setup.weak(Weak::DeleteTooEarly);
    if !this.up || !watch.on || !still {
        return;
    }
    let row = usize::from(watch.row);
    for &epoch in setup.answering(state.promoted) {
        let same =
            (epoch == watch.epoch && epoch == this.epoch) || setup.weak(Weak::DeleteAcrossEpochs);
        let content = state.database(epoch).rows[row];
        let unchanged =
            content.renewals == watch.renewals || setup.weak(Weak::DeleteUnconditionally);
        let durable = epoch == state.primary();
        if !same || !content.there || !unchanged || (!durable && state.unknowns == 0) {
            continue;
        }
        let mut next = *state;
        next.database_mut(epoch).rows[row] = Default::default();
        next.processes[process].watch = Watch::default();
        if durable {
            next.replicate(setup);
        } else {
            next.unknowns -= 1;
        }
        paper.mark(Mark::RowDeleted);
        paper.write(
            Step::Delete {
                process,
                row,
                epoch,
                durable,
            },
            next,
        );
    }
}
