//! The protocol with one step left out or done wrong, each in a setup in which that breaks the promise: the explorer must
//! find it. A protocol that nothing breaks, or a model too small to break it, would pass `promise.rs` all the same.
//!
//! At the end are the steps without which the promise still holds, each with the reason: they are kept because they are
//! stricter, or a second net, and only together with another weakening does the model miss them.

#![allow(
    clippy::print_stdout,
    reason = "how large an exploration was, and the way to what it found"
)]

use coherence::explore::{Until, explore};
use coherence::setup::{Setup, Weakening, Weakening as Weak};

/// The shortest way to break the promise; its steps are printed (`--nocapture`).
fn is_caught(setup: &Setup, weakenings: &'static [Weakening]) {
    let setup = Setup {
        weakenings,
        ..*setup
    };
    let explored = explore(&setup, Until::Violation);
    let steps = explored.violation.as_ref().map(Vec::len);
    println!(
        "{weakenings:?}: {steps:?} steps, {} states\n{}",
        explored.states,
        explored.trace()
    );
    assert!(
        steps.is_some(),
        "{weakenings:?} breaks nothing in {} states",
        explored.states
    );
}

fn breaks_nothing(setup: &Setup, weakenings: &'static [Weakening]) {
    let setup = Setup {
        weakenings,
        ..*setup
    };
    let explored = explore(&setup, Until::Violation);
    println!("{weakenings:?}: nothing in {} states", explored.states);
    assert!(
        explored.violation.is_none(),
        "{weakenings:?} is needed:\n{}",
        explored.trace()
    );
}

const PLAIN: Setup = Setup {
    checks: 1,
    ..Setup::BASE
};
const DELETION: Setup = Setup {
    ids: 3,
    deletes: true,
    evictions: false,
    ..PLAIN
};
/// One instance checks, the other withdraws: enough for the ways below, and sooner through.
const FAILOVER: Setup = Setup {
    unknowns: 1,
    failover: true,
    looks: false,
    evictions: false,
    checkers: 1,
    writers: 2,
    ..PLAIN
};
/// Likewise, where the old primary shows a commit that was never replicated.
const UNREPLICATED: Setup = Setup {
    unknowns: 0,
    ghost: true,
    withdrawals: &[1, 1],
    looks: true,
    ..FAILOVER
};
/// Likewise, after the failover, with a renewal that was never replicated.
const SPLIT: Setup = Setup {
    unknowns: 0,
    split: true,
    deletes: true,
    watchers: 2,
    ..FAILOVER
};

/// A test for each line.
macro_rules! tests {
    ($verdict:ident; $($name:ident: $setup:expr, $($weakening:ident)+;)+) => {
        $(
            #[test]
            fn $name() {
                $verdict(&$setup, &[$(Weak::$weakening),+]);
            }
        )+
    };
}

tests! { is_caught;
    lease_read_after_the_cache: PLAIN, LeaseReadAfterCache;
    facts_inserted_unchecked: PLAIN, InsertUnchecked;
    facts_compared_before_and_not_under_the_key_lock: PLAIN, InsertOutsideTheLock;
    epoch_compared_for_the_answer_and_not_under_the_key_lock: UNREPLICATED, InsertWithoutEpoch;
    load_answered_without_a_lease: FAILOVER, LoadWithoutLease;
    load_answered_without_its_epoch: UNREPLICATED, LoadWithoutEpoch;
    load_answered_without_any_comparison: FAILOVER, LoadWithoutEpoch LoadWithoutComparison;
    load_joined_in_flight_without_comparison: Setup::BASE, JoinInFlight LoadWithoutComparison;
    floor_not_read: Setup { bulk: true, ..PLAIN }, FloorNotRead;

    lease_given_before_applying: PLAIN, LeaseBeforeApplying;
    facts_dropped_before_applied_is_raised: PLAIN, DropBeforeRaise;
    lease_from_a_read: FAILOVER, LeaseFromRead;
    renewal_that_needs_no_row: DELETION, RenewWithoutRow;
    lease_counted_from_the_reply: PLAIN, LeaseFromReply;
    applied_published_before_applying: PLAIN, PublishBeforeApplying;
    applied_published_in_another_epoch: UNREPLICATED, PublishAcrossEpochs;
    unknown_outcome_of_a_renewal_taken_for_success: FAILOVER, UnknownRenewalIsSuccess;
    no_epoch: UNREPLICATED, NoEpoch;
    cache_kept_in_a_new_epoch: UNREPLICATED, CacheKeptInNewEpoch;
    floor_lowered_before_the_cache_is_empty: Setup { bulk: true, looks: false, ..UNREPLICATED },
        FloorLoweredInNewEpoch;

    no_wait: PLAIN, NoWait;
    repeat_without_the_wait: Setup { repeats: true, ..PLAIN }, RepeatWithoutWait;
    no_own_renewal: PLAIN, NoOwnRenewal;
    own_renewal_begun_before_the_commit: PLAIN, RenewalBegunBeforeCommit;
    own_renewal_not_applied: PLAIN, RenewalNotApplied;
    rows_seen_before_the_commit: Setup { instances: 1, evictions: false, ..PLAIN },
        RowsSeenBeforeCommit;
    rows_seen_in_another_epoch: Setup { unknowns: 1, ..SPLIT }, RowsSeenInAnotherEpoch;
    clock_noted_before_the_commit: PLAIN, ClockNotedBeforeCommit;
    unknown_commit_taken_for_success_and_renewal_of_any_epoch: FAILOVER,
        UnknownCommitIsSuccess AnyEpochForTheRenewal;
    row_deleted_before_it_stood_still: DELETION, DeleteTooEarly;
    row_deleted_although_it_moved: DELETION, DeleteUnconditionally;
    row_deleted_by_a_number_of_another_epoch: SPLIT, DeleteAcrossEpochs;
}

/// A margin of one tick for the holder's clock and one for the waiting one: with one of them only, two slips are too many.
#[test]
fn too_narrow_a_margin_for_the_clocks() {
    is_caught(
        &Setup {
            wait: 2,
            slips: 2,
            ..PLAIN
        },
        &[],
    );
    is_caught(
        &Setup {
            wait: 1,
            slips: 1,
            ..PLAIN
        },
        &[],
    );
}

/// F3 compares with the heads of the last durable renewal: what was seen on the old primary may never have been replicated.
#[test]
fn an_alarm_by_what_a_look_applied_is_false() {
    let weakenings = &[Weak::AlarmByApplied];
    let setup = Setup {
        weakenings,
        checks: 0,
        ..UNREPLICATED
    };
    let explored = explore(&setup, Until::Reached(coherence::step::Mark::Alarm));
    assert!(
        explored.violation.is_some(),
        "no alarm in {} states",
        explored.states
    );
}

tests! { breaks_nothing;
    // A check's own load begins after the check, so it lacks nothing that was acknowledged before, except in another epoch. It
    // is the insertion that needs the comparison, and whoever joins a load in flight; hence also the next.
    load_of_the_right_epoch_needs_no_comparison: UNREPLICATED, LoadWithoutComparison;
    load_joined_in_flight_is_compared: Setup::BASE, JoinInFlight;
    // C1 has read a lease after the check began, which is all that the proof asks for.
    lease_need_not_be_read_again: FAILOVER, LoadWithoutLeaseAtTheEnd;
    // The cache is as good as `applied` says, with either entry.
    older_facts_over_newer_ones_are_no_older_than_applied: PLAIN, InsertOverNewer;
    // Whoever deleted the row has waited for the end of the lease.
    lease_has_ended_when_the_row_is_gone: DELETION, LeaseKeptWithoutRow;
    // What was acknowledged to W1 is on the standby, and so in every epoch; and what was not is found out by W2.
    own_renewal_of_another_epoch_shows_the_same_commit: FAILOVER, AnyEpochForTheRenewal;
    unknown_commit_is_made_known_by_the_own_renewal: FAILOVER, UnknownCommitIsSuccess;
    // A row is written whole, from one snapshot, and an act is one transaction.
    one_touched_partition_speaks_for_all:
        Setup { persons: &[0, 1], withdrawals: &[3], looks: false, evictions: false, ..PLAIN },
        WaitForOnePartition;
}
