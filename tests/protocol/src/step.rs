//! The steps' names as a trace prints them, and the paper on which the successors of a state are written.

use std::fmt;

use crate::setup::Setup;
use crate::state::{State, Withdrawing};

/// What happens next. Numbers are those of `State`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Register {
        process: usize,
    },
    Look {
        process: usize,
        epoch: u8,
    },
    Send {
        process: usize,
    },
    Renew {
        process: usize,
        epoch: u8,
        durable: bool,
    },
    Publish {
        process: usize,
        epoch: u8,
    },
    FindNoRow {
        process: usize,
        epoch: u8,
    },
    Lose {
        process: usize,
    },
    EndLease {
        process: usize,
    },
    Alarm {
        process: usize,
    },
    NewEpoch {
        process: usize,
    },
    Raise {
        process: usize,
        partition: usize,
    },
    RaiseFloor {
        process: usize,
        partition: usize,
    },
    DropFirst {
        process: usize,
        partition: usize,
    },
    Drop {
        process: usize,
        person: usize,
    },
    Lease {
        process: usize,
    },
    StartCheck {
        process: usize,
        person: usize,
    },
    Hit {
        process: usize,
        person: usize,
    },
    Load {
        process: usize,
        person: usize,
        epoch: u8,
    },
    Join {
        process: usize,
        person: usize,
    },
    ReadLeaseAgain {
        process: usize,
    },
    Compare {
        process: usize,
        person: usize,
    },
    Reload {
        process: usize,
    },
    Insert {
        process: usize,
        person: usize,
    },
    Discard {
        process: usize,
        person: usize,
    },
    Note {
        process: usize,
        withdrawal: usize,
    },
    Commit {
        process: usize,
        withdrawal: usize,
        epoch: u8,
        durable: bool,
    },
    Repeat {
        process: usize,
        withdrawal: usize,
        epoch: u8,
    },
    SeeRows {
        withdrawal: usize,
        epoch: u8,
    },
    Acknowledge {
        withdrawal: usize,
    },
    GiveUp {
        withdrawal: usize,
    },
    Watch {
        process: usize,
        row: usize,
        epoch: u8,
    },
    Delete {
        process: usize,
        row: usize,
        epoch: u8,
        durable: bool,
    },
    Evict {
        process: usize,
        person: usize,
    },
    Tick,
    TickWithSlip {
        process: usize,
        fast: bool,
    },
    Crash {
        process: usize,
    },
    Start {
        process: usize,
    },
    Replicate,
    Promote,
}

impl fmt::Display for Step {
    #[expect(clippy::too_many_lines, reason = "one line for each step")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Step as S;
        let known = |durable: bool| {
            if durable {
                ""
            } else {
                ", not replicated: outcome unknown"
            }
        };
        match *self {
            S::Register { process: i } => write!(f, "F0 i{i} registers under a new id"),
            S::Look { process: i, epoch } => write!(f, "F1 i{i} looks, epoch {epoch}"),
            S::Send { process: i } => write!(f, "F2 i{i} takes t0 and sends a renewal"),
            S::Renew {
                process: i,
                epoch,
                durable,
            } => {
                write!(
                    f,
                    "F2 i{i}'s renewal commits, epoch {epoch}{}",
                    known(durable)
                )
            }
            S::Publish { process: i, epoch } => {
                write!(f, "F2 i{i} says what it has applied, epoch {epoch}")
            }
            S::FindNoRow { process: i, epoch } => {
                write!(f, "F2 i{i}'s renewal finds no row, epoch {epoch}")
            }
            S::Lose { process: i } => write!(f, "F2 the reply to i{i}'s renewal is lost"),
            S::EndLease { process: i } => write!(f, "F3 i{i} hears that its row is gone"),
            S::Alarm { process: i } => write!(f, "F3 i{i} sees the ledger gone back: alarm"),
            S::NewEpoch { process: i } => write!(f, "F4 i{i} enters the new epoch at its heads"),
            S::Raise {
                process: i,
                partition,
            } => {
                write!(f, "F4 i{i} raises applied[{partition}]")
            }
            S::RaiseFloor {
                process: i,
                partition,
            } => {
                write!(f, "F4 i{i} raises floor[{partition}]")
            }
            S::DropFirst {
                process: i,
                partition,
            } => {
                write!(
                    f,
                    "F4 i{i} begins to drop before it raises applied[{partition}]"
                )
            }
            S::Drop { process: i, person } => write!(f, "F4 i{i} drops older facts of p{person}"),
            S::Lease { process: i } => write!(f, "F5 i{i} is done, and leased until t0 + L"),
            S::StartCheck { process: i, person } => {
                write!(f, "C1 i{i} starts a check of p{person}, leased")
            }
            S::Hit { process: i, person } => write!(f, "C2 i{i} answers for p{person} from memory"),
            S::Load {
                process: i,
                person,
                epoch,
            } => {
                write!(f, "C3 i{i} loads p{person}, epoch {epoch}")
            }
            S::Join { process: i, person } => {
                write!(f, "C3 i{i} joins a load of p{person} in flight")
            }
            S::ReadLeaseAgain { process: i } => write!(f, "C3 i{i} reads the lease again"),
            S::Compare { process: i, person } => {
                write!(f, "C3 i{i} compares with applied and answers for p{person}")
            }
            S::Reload { process: i } => write!(f, "C3 i{i} discards a load and loads again"),
            S::Insert { process: i, person } => {
                write!(f, "C3 i{i} inserts what it loaded of p{person}")
            }
            S::Discard { process: i, person } => {
                write!(f, "C3 i{i} does not insert what it loaded of p{person}")
            }
            S::Note {
                process: i,
                withdrawal,
            } => {
                write!(f, "W1 i{i} begins withdrawal {withdrawal}")
            }
            S::Commit {
                process: i,
                withdrawal,
                epoch,
                durable,
            } => {
                write!(
                    f,
                    "W1 i{i} commits withdrawal {withdrawal}, epoch {epoch}{}",
                    known(durable)
                )
            }
            S::Repeat {
                process: i,
                withdrawal,
                epoch,
            } => {
                write!(
                    f,
                    "W1 i{i} commits a repeat of withdrawal {withdrawal}, epoch {epoch}"
                )
            }
            S::SeeRows { withdrawal, epoch } => {
                write!(
                    f,
                    "W3 withdrawal {withdrawal} sees rows raised or gone, epoch {epoch}"
                )
            }
            S::Acknowledge { withdrawal } => {
                write!(f, "W6 withdrawal {withdrawal} is acknowledged")
            }
            S::GiveUp { withdrawal } => write!(f, "W6 withdrawal {withdrawal}'s caller gives up"),
            S::Watch {
                process: i,
                row,
                epoch,
            } => {
                write!(f, "W5 i{i} watches row {row}, epoch {epoch}")
            }
            S::Delete {
                process: i,
                row,
                epoch,
                durable,
            } => {
                write!(
                    f,
                    "W5 i{i} deletes row {row}, epoch {epoch}{}",
                    known(durable)
                )
            }
            S::Evict { process: i, person } => write!(f, "   i{i} evicts p{person}"),
            S::Tick => write!(f, "   a tick passes"),
            S::TickWithSlip { process: i, fast } => {
                write!(
                    f,
                    "   a tick passes, {} for i{i}",
                    if fast { "two" } else { "none" }
                )
            }
            S::Crash { process: i } => write!(f, "   i{i} crashes"),
            S::Start { process: i } => write!(f, "   i{i} starts"),
            S::Replicate => write!(f, "   the standby catches up"),
            S::Promote => write!(
                f,
                "   the standby is promoted; the old primary still answers"
            ),
        }
    }
}

/// What has to be reachable, so that the protocol is not safe by standing still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    AllowedFromMemory,
    AllowedFromLoad,
    RestrictedFromMemory,
    RestrictedFromLoad,
    LoadDiscarded,
    InsertRefused,
    AcknowledgedAtOnce,
    AcknowledgedByConfirmation,
    AcknowledgedByRowGone,
    AcknowledgedByWaiting,
    AcknowledgedInNewEpoch,
    RowDeleted,
    SlowOneFoundNoRow,
    RegisteredAnew,
    LeasedInNewEpoch,
    ShownUnreplicated,
    ReplacedOffset,
    Alarm,
    LossNotSeen,
}

impl Mark {
    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The successors of one state.
pub struct Paper<'a> {
    pub setup: &'a Setup,
    pub successors: Vec<(Step, State)>,
    pub marks: u32,
    /// The step by which a check was answered from facts without an acknowledged restriction.
    pub violation: Option<Step>,
}

impl<'a> Paper<'a> {
    pub fn new(setup: &'a Setup) -> Self {
        Paper {
            setup,
            successors: Vec::with_capacity(64),
            marks: 0,
            violation: None,
        }
    }

    pub fn write(&mut self, step: Step, state: State) {
        self.successors.push((step, state));
    }

    pub fn mark(&mut self, mark: Mark) {
        self.marks |= mark.bit();
    }
}

impl State {
    /// What a durable commit leaves behind: a synchronous standby has it.
    pub fn replicate(&mut self, setup: &Setup) {
        if setup.failover && !self.promoted && !setup.asynchronous {
            self.databases[1] = self.databases[0];
        }
    }

    /// The withdrawals that `process` is working on.
    pub fn working(
        &mut self,
        process: usize,
    ) -> impl Iterator<Item = &mut crate::state::Withdrawal> {
        self.withdrawals.iter_mut().filter(move |withdrawal| {
            usize::from(withdrawal.process) == process
                && !matches!(
                    withdrawal.at,
                    Withdrawing::New | Withdrawing::Unknown | Withdrawing::Acknowledged
                )
        })
    }
}
