//! F0 to F5: how an instance keeps up with the ledger and earns its lease.

use crate::setup::{Setup, Weakening as Weak};
use crate::state::{At, Follower, NO_EPOCH, NO_ROW, PARTITIONS, Row, State, Withdrawing};
use crate::step::{Mark, Paper, Step};
use crate::withdrawals::unconfirmed;

pub fn steps(state: &State, paper: &mut Paper) {
    for process in 0..paper.setup.processes {
        let this = &state.processes[process];
        if !this.up || this.alarm {
            continue;
        }
        match this.follower.at {
            At::Idle if this.row == NO_ROW => register(state, process, paper),
            At::Idle => {
                send(state, process, paper);
                look(state, process, paper);
                publish(state, process, paper);
            }
            At::Sent => {
                for &epoch in paper.setup.answering(state.promoted) {
                    renew(state, process, epoch, paper);
                }
            }
            At::Applying => apply(state, process, paper),
            At::RowGone => end_lease(state, process, paper),
        }
    }
}

/// F0.
fn register(state: &State, process: usize, paper: &mut Paper) {
    if state.ids == paper.setup.ids {
        return;
    }
    let mut next = *state;
    let primary = next.primary();
    next.database_mut(primary).rows[usize::from(state.ids)] = Row {
        there: true,
        ..Row::default()
    };
    next.replicate(paper.setup);
    next.processes[process].row = state.ids;
    next.ids += 1;
    if state.processes[process].epoch != NO_EPOCH {
        paper.mark(Mark::RegisteredAnew);
    }
    paper.write(Step::Register { process }, next);
}

/// F1. Read-only; an answer of another epoch is discarded.
fn look(state: &State, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let this = &state.processes[process];
    let leases = setup.weak(Weak::LeaseFromRead);
    for &epoch in setup.answering(state.promoted) {
        let same = epoch == this.epoch || setup.weak(Weak::NoEpoch);
        let heads = state.database(epoch).heads();
        let news = (0..PARTITIONS).any(|p| heads[p] > this.applied[p]);
        if (setup.looks && same && news) || (leases && same) {
            if epoch == 0 && state.databases[0].log != state.databases[1].log && setup.failover {
                paper.mark(Mark::ShownUnreplicated);
            }
            let mut next = *state;
            next.processes[process].follower = Follower {
                at: At::Applying,
                renewal: leases,
                epoch,
                heads,
                ..Follower::default()
            };
            paper.write(Step::Look { process, epoch }, next);
        }
    }
}

/// F2, first half: t0, then the statement. What waits in W2 rides on it.
fn send(state: &State, process: usize, paper: &mut Paper) {
    let mut next = *state;
    next.processes[process].follower = Follower {
        at: At::Sent,
        renewal: true,
        ..Follower::default()
    };
    for withdrawal in next.working(process) {
        if withdrawal.at == Withdrawing::Committed {
            withdrawal.at = Withdrawing::Riding;
        }
    }
    paper.write(Step::Send { process }, next);
}

/// F2 without the lease: what was applied is said, to whatever answers, and nobody waits until it is durable. So it is
/// in this database alone; what a crash would take away again, a renewal says once more.
fn publish(state: &State, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let this = &state.processes[process];
    if !setup.publishes {
        return;
    }
    let across = setup.weak(Weak::NoEpoch) || setup.weak(Weak::PublishAcrossEpochs);
    for &epoch in setup.answering(state.promoted) {
        let row = state.database(epoch).rows[usize::from(this.row)];
        let same = this.epoch == epoch || across;
        if same && row.there && row.applied != this.applied {
            let mut next = *state;
            next.database_mut(epoch).rows[usize::from(this.row)].applied = this.applied;
            paper.write(Step::Publish { process, epoch }, next);
        }
    }
}

/// F2, second half: the statement is executed, and its snapshot taken.
fn renew(state: &State, process: usize, epoch: u8, paper: &mut Paper) {
    let setup = paper.setup;
    let this = &state.processes[process];
    let row = usize::from(this.row);
    let primary = epoch == state.primary();
    let there = state.database(epoch).rows[row].there;
    let mut next = *state;
    if there {
        let heads = next.database(epoch).heads();
        let renewed = &mut next.database_mut(epoch).rows[row];
        renewed.renewals += 1;
        renewed.applied = published(setup, state, process, epoch, heads);
    }
    if state.unknowns > 0 && there && epoch == 0 {
        let mut next = next;
        next.unknowns -= 1;
        if setup.weak(Weak::UnknownRenewalIsSuccess) {
            shown(&mut next, process, epoch, paper);
        } else {
            lose(&mut next, process);
        }
        paper.write(
            Step::Renew {
                process,
                epoch,
                durable: false,
            },
            next,
        );
    }
    if !primary {
        return;
    }
    if !there && !setup.weak(Weak::RenewWithoutRow) {
        next.processes[process].follower = Follower {
            at: At::RowGone,
            ..Follower::default()
        };
        paper.mark(Mark::SlowOneFoundNoRow);
        paper.write(Step::FindNoRow { process, epoch }, next);
        return;
    }
    next.replicate(setup);
    shown(&mut next, process, epoch, paper);
    paper.write(
        Step::Renew {
            process,
            epoch,
            durable: true,
        },
        next,
    );
}

/// What the row says was applied: what the follower has finished, and nothing in another epoch than its own.
fn published(
    setup: &Setup,
    state: &State,
    process: usize,
    epoch: u8,
    heads: [u8; PARTITIONS],
) -> [u8; PARTITIONS] {
    let this = &state.processes[process];
    if setup.weak(Weak::PublishBeforeApplying) {
        heads
    } else if this.epoch == epoch
        || setup.weak(Weak::NoEpoch)
        || setup.weak(Weak::PublishAcrossEpochs)
    {
        this.applied
    } else {
        [0; PARTITIONS]
    }
}

/// The renewal's snapshot is on its way back: heads, changes, and the rows for W3.
fn shown(next: &mut State, process: usize, epoch: u8, paper: &mut Paper) {
    let setup = paper.setup;
    let heads = next.database(epoch).heads();
    let own = next.processes[process].row;
    for number in 0..setup.withdrawals.len() {
        let withdrawal = next.withdrawals[number];
        if withdrawal.at != Withdrawing::Riding || usize::from(withdrawal.process) != process {
            continue;
        }
        let any = setup.weak(Weak::AnyEpochForTheRenewal) || setup.weak(Weak::NoEpoch);
        if withdrawal.epoch != epoch && !any {
            next.withdrawals[number] = forgotten();
            continue;
        }
        let mut rows = unconfirmed(next, setup, number, epoch) & !(1 << own);
        if setup.weak(Weak::RowsSeenBeforeCommit) {
            rows &= withdrawal.rows;
        }
        let withdrawal = &mut next.withdrawals[number];
        withdrawal.rows = rows;
        withdrawal.at = if setup.weak(Weak::RenewalNotApplied) {
            Withdrawing::Waiting
        } else {
            Withdrawing::Shown
        };
    }
    let this = &mut next.processes[process];
    let age = this.follower.age;
    this.follower = Follower {
        at: At::Applying,
        renewal: true,
        age,
        epoch,
        heads,
        ..Follower::default()
    };
    if setup.weak(Weak::LeaseBeforeApplying) {
        this.lease = this.lease.max(setup.lease.saturating_sub(age));
    }
}

/// A withdrawal whose caller knows nothing.
pub fn forgotten() -> crate::state::Withdrawal {
    crate::state::Withdrawal {
        at: Withdrawing::Unknown,
        ..Default::default()
    }
}

/// The follower gives the renewal up: no lease from it, and W2 asks for another.
fn lose(next: &mut State, process: usize) {
    next.processes[process].follower = Follower::default();
    for withdrawal in next.working(process) {
        if matches!(withdrawal.at, Withdrawing::Riding | Withdrawing::Shown) {
            withdrawal.at = Withdrawing::Committed;
            withdrawal.rows = 0;
        }
    }
}

/// F3: no row. The cached facts stay; the next step is F0.
fn end_lease(state: &State, process: usize, paper: &mut Paper) {
    let mut next = *state;
    lose(&mut next, process);
    let this = &mut next.processes[process];
    this.row = NO_ROW;
    if !paper.setup.weak(Weak::LeaseKeptWithoutRow) {
        this.lease = 0;
    }
    paper.write(Step::EndLease { process }, next);
}

/// F3 and F4, one step at a time, and F5 when nothing is left to apply.
fn apply(state: &State, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let this = &state.processes[process];
    let batch = this.follower;
    let untouched = batch.partition == 0 && batch.to_drop == 0 && !batch.late;
    if untouched && batch.renewal && setup.unknowns > 0 {
        let mut next = *state;
        lose(&mut next, process);
        paper.write(Step::Lose { process }, next);
    }
    if batch.epoch != this.epoch && !setup.weak(Weak::NoEpoch) {
        enter_epoch(state, process, paper);
    } else if batch.to_drop != 0 {
        drop_one(state, process, paper);
    } else if batch.late {
        finish_late(state, process, paper);
    } else if let Some(partition) =
        (usize::from(batch.partition)..PARTITIONS).find(|p| batch.heads[*p] > this.applied[*p])
    {
        raise(state, process, partition, paper);
    } else {
        lease(state, process, paper);
    }
}

/// F3's comparison first, then the heads as they are, then everything is dropped.
fn enter_epoch(state: &State, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let mut next = *state;
    let this = &mut next.processes[process];
    let batch = this.follower;
    let known = if setup.weak(Weak::AlarmByApplied) {
        this.applied
    } else {
        this.durable
    };
    if this.epoch != NO_EPOCH && (0..PARTITIONS).any(|p| batch.heads[p] < known[p]) {
        this.alarm = true;
        this.lease = 0;
        this.follower = Follower::default();
        for withdrawal in next.working(process) {
            *withdrawal = forgotten();
        }
        paper.mark(Mark::Alarm);
        paper.write(Step::Alarm { process }, next);
        return;
    }
    let lost = (0..PARTITIONS).any(|p| {
        let known = ..usize::from(this.durable[p]);
        state.databases[0].log[p][known] != state.databases[1].log[p][known]
    });
    if this.epoch == 0 && batch.epoch == 1 && lost {
        paper.mark(Mark::LossNotSeen);
    }
    this.epoch = batch.epoch;
    this.applied = batch.heads;
    if setup.weak(Weak::FloorLoweredInNewEpoch) {
        this.floor = [0; PARTITIONS];
    }
    this.follower.partition = u8::try_from(PARTITIONS).expect("few partitions");
    let everybody = (1 << setup.persons.len()) - 1;
    let keeps = setup.weak(Weak::CacheKeptInNewEpoch);
    this.follower.to_drop = if keeps { 0 } else { everybody };
    paper.write(Step::NewEpoch { process }, next);
}

/// F4: first `applied`, then the persons who changed, or the floor.
fn raise(state: &State, process: usize, partition: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let mut next = *state;
    let this = &mut next.processes[process];
    let batch = &mut this.follower;
    let log = &state.database(batch.epoch).log[partition];
    let news = usize::from(this.applied[partition])..usize::from(batch.heads[partition]);
    let mut changed = 0;
    for event in &log[news] {
        changed |= setup.withdrawals[usize::from(event - 1)];
    }
    for (person, of) in setup.persons.iter().enumerate() {
        if *of != partition {
            changed &= !(1 << person);
        }
    }
    if setup.weak(Weak::DropBeforeRaise) {
        batch.partition = u8::try_from(partition).expect("few partitions");
        batch.to_drop = changed;
        batch.late = true;
        paper.write(Step::DropFirst { process, partition }, next);
        return;
    }
    batch.partition = u8::try_from(partition + 1).expect("few partitions");
    if setup.bulk {
        batch.late = true;
    } else {
        batch.to_drop = changed;
    }
    this.applied[partition] = batch.heads[partition];
    paper.write(Step::Raise { process, partition }, next);
}

/// F4 under the key lock: one person's facts, if they are older.
fn drop_one(state: &State, process: usize, paper: &mut Paper) {
    let mut next = *state;
    let this = &mut next.processes[process];
    let batch = &mut this.follower;
    let person = usize::try_from(batch.to_drop.trailing_zeros()).expect("few persons");
    batch.to_drop &= batch.to_drop - 1;
    let head = batch.heads[paper.setup.persons[person]];
    let entry = &mut this.cache[person];
    if entry.as_of < head || entry.epoch != batch.epoch {
        *entry = Default::default();
    }
    paper.write(Step::Drop { process, person }, next);
}

/// The floor of the partition just raised; or, weakened, `applied` after the drops.
fn finish_late(state: &State, process: usize, paper: &mut Paper) {
    let mut next = *state;
    let this = &mut next.processes[process];
    let batch = &mut this.follower;
    batch.late = false;
    if paper.setup.weak(Weak::DropBeforeRaise) {
        let partition = usize::from(batch.partition);
        batch.partition += 1;
        this.applied[partition] = batch.heads[partition];
        paper.write(Step::Raise { process, partition }, next);
    } else {
        let partition = usize::from(batch.partition) - 1;
        this.floor[partition] = this.floor[partition].max(batch.heads[partition]);
        paper.write(Step::RaiseFloor { process, partition }, next);
    }
}

/// F5. A look ends here too, without a lease.
fn lease(state: &State, process: usize, paper: &mut Paper) {
    let setup = paper.setup;
    let mut next = *state;
    let this = &mut next.processes[process];
    let batch = this.follower;
    this.follower = Follower::default();
    if batch.renewal {
        let age = if setup.weak(Weak::LeaseFromReply) {
            0
        } else {
            batch.age
        };
        this.lease = this.lease.max(setup.lease.saturating_sub(age));
        if setup.failover {
            this.durable = batch.heads;
        }
        if batch.epoch == 1 && this.lease > 0 {
            paper.mark(Mark::LeasedInNewEpoch);
        }
        let own = this.row;
        for number in 0..setup.withdrawals.len() {
            if usize::from(next.withdrawals[number].process) != process {
                continue;
            }
            let at = next.withdrawals[number].at;
            if at == Withdrawing::Shown {
                next.withdrawals[number].at = Withdrawing::Waiting;
            } else if at == Withdrawing::Committed && setup.weak(Weak::RenewalBegunBeforeCommit) {
                let rows = unconfirmed(&next, setup, number, batch.epoch) & !(1 << own);
                next.withdrawals[number].rows = rows;
                next.withdrawals[number].at = Withdrawing::Waiting;
            }
        }
    }
    paper.write(Step::Lease { process }, next);
}
