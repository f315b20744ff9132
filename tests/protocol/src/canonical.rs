//! One state for all that differ only in names: which process is which, which id it took, what a counter counted from.
//!
//! Every renaming is sound, since no step asks for a name; that two equal states may still get two forms costs only time.

use crate::setup::{Setup, Weakening as Weak};
use crate::state::{NO_ROW, PROCESSES, ROWS, State, Watch, Withdrawing};

/// Forgets what nothing can read any more.
pub fn normalise(state: &mut State, setup: &Setup) {
    if setup.deletes {
        for row in 0..ROWS {
            relate_renewals(state, setup, row);
        }
    } else {
        for database in &mut state.databases {
            for row in &mut database.rows {
                row.renewals = 0;
            }
        }
    }
    for withdrawal in &mut state.withdrawals {
        if matches!(withdrawal.at, Withdrawing::New | Withdrawing::Unknown) {
            withdrawal.process = 0;
        }
    }
}

/// Keeps of the renewal counters of a row what a comparison can still meet: their differences, up to 3.
fn relate_renewals(state: &mut State, setup: &Setup, row: usize) {
    const FAR: u8 = 3;
    let watched = |watch: &Watch| watch.on && usize::from(watch.row) == row;
    let [old, new] = [0, 1].map(|epoch: usize| {
        let row = &state.databases[epoch].rows[row];
        (row.there && (epoch == 0 || setup.failover)).then_some(row.renewals)
    });
    let base = match (old, new) {
        (None, None) => None,
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    };
    let ahead = |value: Option<u8>| value.zip(base).map_or(0, |(value, base)| value - base);
    let (old, new) = (ahead(old), ahead(new));
    for process in &mut state.processes {
        let watch = &mut process.watch;
        if !watched(watch) || setup.weak(Weak::DeleteUnconditionally) {
            continue;
        }
        // Behind both it never matches again; behind the new primary alone, only on the old one, far below.
        let lost = base.is_none_or(|base| {
            watch.renewals < base
                || (new >= FAR && watch.renewals - base > old && watch.renewals - base < new)
        });
        if lost {
            *watch = Watch::default();
        } else {
            watch.renewals = (watch.renewals - base.unwrap_or(0)).min(FAR);
        }
    }
    state.databases[0].rows[row].renewals = old;
    state.databases[1].rows[row].renewals = new.min(FAR);
}

/// The same state with processes, ids and checks in one order.
pub fn canonical(state: &State, setup: &Setup) -> State {
    let mut order: [usize; PROCESSES] = std::array::from_fn(|number| number);
    let count = setup.processes;
    let key = |process: usize| {
        let mut this = state.processes[process];
        this.row = u8::from(this.row == NO_ROW);
        this.watch.row = 0;
        let busy = state
            .withdrawals
            .iter()
            .enumerate()
            .fold(0_u8, |mask, (number, w)| {
                let active = !matches!(
                    w.at,
                    Withdrawing::New | Withdrawing::Unknown | Withdrawing::Acknowledged
                );
                mask | u8::from(active && usize::from(w.process) == process) << number
            });
        (this, busy)
    };
    if setup.symmetric() {
        order[..count].sort_unstable_by_key(|process| key(*process));
    }
    let mut place = [0_u8; PROCESSES];
    for (to, from) in order.iter().enumerate() {
        place[*from] = u8::try_from(to).expect("few processes");
    }
    let rows = row_places(state, &order);
    rename(state, &order, &place, &rows)
}

/// New numbers for the rows: first those with a process, in its order; then the others, by what they hold.
fn row_places(state: &State, order: &[usize; PROCESSES]) -> [u8; ROWS] {
    let mut places = [NO_ROW; ROWS];
    let mut next = 0;
    for process in order {
        let row = state.processes[*process].row;
        if row != NO_ROW {
            places[usize::from(row)] = next;
            next += 1;
        }
    }
    let mut rest: Vec<usize> = (0..ROWS).filter(|row| places[*row] == NO_ROW).collect();
    rest.sort_by_key(|row| {
        let waited_for = state
            .withdrawals
            .map(|withdrawal| withdrawal.rows >> row & 1);
        let watched = order.map(|p| {
            let watch = state.processes[p].watch;
            watch.on && usize::from(watch.row) == *row
        });
        let unused = *row >= usize::from(state.ids);
        (
            unused,
            state.databases[0].rows[*row],
            state.databases[1].rows[*row],
            waited_for,
            watched,
        )
    });
    for row in rest {
        places[row] = next;
        next += 1;
    }
    places
}

fn rename(
    state: &State,
    order: &[usize; PROCESSES],
    place: &[u8; PROCESSES],
    rows: &[u8; ROWS],
) -> State {
    let mut next = *state;
    for (to, from) in order.iter().enumerate() {
        let mut process = state.processes[*from];
        if process.row != NO_ROW {
            process.row = rows[usize::from(process.row)];
        }
        if process.watch.on {
            process.watch.row = rows[usize::from(process.watch.row)];
        }
        next.processes[to] = process;
    }
    for (from, to) in rows.iter().enumerate() {
        for epoch in 0..2 {
            next.databases[epoch].rows[usize::from(*to)] = state.databases[epoch].rows[from];
        }
    }
    for withdrawal in &mut next.withdrawals {
        let old = withdrawal.rows;
        withdrawal.rows = 0;
        for (from, to) in rows.iter().enumerate() {
            withdrawal.rows |= (old >> from & 1) << to;
        }
        let active = !matches!(
            withdrawal.at,
            Withdrawing::New | Withdrawing::Unknown | Withdrawing::Acknowledged
        );
        if active {
            withdrawal.process = place[usize::from(withdrawal.process)];
        }
    }
    for check in &mut next.checks {
        if check.at != crate::state::Checking::Off {
            check.process = place[usize::from(check.process)];
        }
    }
    next.checks.sort_unstable_by(|one, other| other.cmp(one));
    next
}
