//! What is explored: how many of what, what may happen, and which step is weakened.

/// A step of the protocol that is left out or done wrong. Each has to be caught, or its line in `weakened.rs` says why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weakening {
    LeaseReadAfterCache,
    LeaseBeforeApplying,
    InsertUnchecked,
    InsertOutsideTheLock,
    InsertWithoutEpoch,
    InsertOverNewer,
    DropBeforeRaise,
    LoadWithoutLease,
    LoadWithoutLeaseAtTheEnd,
    LoadWithoutComparison,
    LoadWithoutEpoch,
    JoinInFlight,
    LeaseFromRead,
    RenewWithoutRow,
    LeaseKeptWithoutRow,
    DeleteTooEarly,
    DeleteUnconditionally,
    DeleteAcrossEpochs,
    NoWait,
    RepeatWithoutWait,
    LeaseFromReply,
    PublishBeforeApplying,
    PublishAcrossEpochs,
    NoOwnRenewal,
    RenewalBegunBeforeCommit,
    RenewalNotApplied,
    AnyEpochForTheRenewal,
    RowsSeenBeforeCommit,
    RowsSeenInAnotherEpoch,
    ClockNotedBeforeCommit,
    WaitForOnePartition,
    UnknownCommitIsSuccess,
    UnknownRenewalIsSuccess,
    NoEpoch,
    CacheKeptInNewEpoch,
    FloorLoweredInNewEpoch,
    FloorNotRead,
    StartWithOldCache,
    AlarmByApplied,
}

pub const EVERYBODY: u8 = 0b111;

#[derive(Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    /// Instances that are registered at the start, and how many may run in all.
    pub instances: usize,
    pub processes: usize,
    /// Instance ids, over all starts and registrations.
    pub ids: u8,
    /// The partition of each person.
    pub persons: &'static [usize],
    /// The persons whom each withdrawal restricts, as bits.
    pub withdrawals: &'static [u8],
    /// Checks under way at the same time, wherever.
    pub checks: usize,
    /// The lease, as its holder and as those who wait for its end count it, in ticks.
    pub lease: u8,
    pub wait: u8,
    pub crashes: u8,
    pub unknowns: u8,
    pub slips: u8,
    pub looks: bool,
    /// What was applied is also said between renewals.
    pub publishes: bool,
    pub evictions: bool,
    /// F4 raises the floor instead of dropping.
    pub bulk: bool,
    /// W5: rows are watched and deleted.
    pub deletes: bool,
    pub failover: bool,
    /// The standby lags behind what is acknowledged.
    pub asynchronous: bool,
    /// Callers give up before they are answered, and repeat.
    pub repeats: bool,
    /// All hold a lease, and the first withdrawal is committed on the first primary and not replicated when all begins; nobody repeats it.
    pub ghost: bool,
    /// All begins after a failover: all hold a lease from before, and the old primary shows one renewal of the first
    /// row that was not replicated.
    pub split: bool,
    /// Which processes check, withdraw and watch rows, as bits. All do everything unless a weakening is to be found sooner.
    pub checkers: u8,
    pub writers: u8,
    pub watchers: u8,
    pub weakenings: &'static [Weakening],
}

impl Setup {
    /// Two full instances, one person, one withdrawal, two checks at a time, and nothing goes wrong.
    pub const BASE: Setup = Setup {
        name: "two instances",
        instances: 2,
        processes: 2,
        ids: 2,
        persons: &[0],
        withdrawals: &[1],
        checks: 2,
        lease: 1,
        wait: 1,
        crashes: 0,
        unknowns: 0,
        slips: 0,
        looks: true,
        publishes: true,
        evictions: true,
        bulk: false,
        deletes: false,
        failover: false,
        asynchronous: false,
        repeats: false,
        ghost: false,
        split: false,
        checkers: EVERYBODY,
        writers: EVERYBODY,
        watchers: EVERYBODY,
        weakenings: &[],
    };

    pub fn weak(&self, weakening: Weakening) -> bool {
        self.weakenings.contains(&weakening)
    }

    /// Whether processes may change their names: all have the same part.
    pub fn symmetric(&self) -> bool {
        [self.checkers, self.writers, self.watchers] == [EVERYBODY; 3]
    }

    pub fn partitions(&self) -> usize {
        self.persons.iter().max().map_or(0, |last| last + 1)
    }

    /// The withdrawals that restrict `person`, as bits.
    pub fn of(&self, person: usize) -> u8 {
        let mut mask = 0;
        for (number, persons) in self.withdrawals.iter().enumerate() {
            if persons >> person & 1 == 1 {
                mask |= 1 << number;
            }
        }
        mask
    }

    /// The partitions that a withdrawal touches.
    pub fn touched(&self, withdrawal: usize) -> impl Iterator<Item = usize> + '_ {
        let persons = self.withdrawals[withdrawal];
        (0..self.partitions()).filter(move |partition| {
            let mut of_person = self.persons.iter().enumerate();
            of_person.any(|(person, p)| p == partition && persons >> person & 1 == 1)
        })
    }

    /// The epochs of the databases that answer.
    pub fn answering(&self, promoted: bool) -> &'static [u8] {
        if promoted { &[0, 1] } else { &[0] }
    }
}
