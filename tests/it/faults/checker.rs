//! Judges a history. It knows the promise and nothing of how it is kept:
//!
//! - once a withdrawal was acknowledged, no check that starts later is told ALLOW, on any instance, until the person's
//!   next grant has been sent;
//! - what was acknowledged is in the ledger at the end, once, and an act that was repeated is one event.
//!
//! A check whose answer came after the next grant was sent may have seen that grant, so it is not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::history::{Act, At, Check, Slot, Subject, Told, Write};

/// What was broken.
#[derive(Clone, Debug)]
pub enum Violation {
    /// ALLOW, although a withdrawal was acknowledged before.
    Allowed { check: Check, since: At, by: Slot },
    /// An acknowledged event that the ledger does not have.
    Lost { write: Write },
    /// Two attempts at one act were told of different events.
    Doubled { first: Write, second: Write },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { check, since, by } => write!(
                f,
                "person {} was ALLOWED by {} ({:?}{}, {} to {}), though {by} acknowledged a withdrawal at {since}",
                check.subject,
                check.slot,
                check.asked,
                if check.in_a_batch { ", batch" } else { "" },
                check.started,
                check.ended,
            ),
            Self::Lost { write } => write!(f, "an acknowledged event is lost: {write:?}"),
            Self::Doubled { first, second } => {
                write!(f, "one act made two events: {first:?} and {second:?}")
            }
        }
    }
}

/// What a history was worth: a run in which nobody was told anything has no violation either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    pub checks: usize,
    /// Checks with a decision.
    pub decided: usize,
    pub allowed: usize,
    /// Decided checks that began after an acknowledged withdrawal and had to be no ALLOW.
    pub telling: usize,
    /// Those of them that another instance answered than the one that acknowledged.
    pub elsewhere: usize,
    pub grants: usize,
    pub withdrawals: usize,
    /// Attempts at a write of which nobody knows what became.
    pub unknown: usize,
}

impl Worth {
    /// Whether there is no less of anything.
    pub fn is_at_least(&self, other: &Self) -> bool {
        let all = |worth: &Self| {
            [
                worth.checks,
                worth.decided,
                worth.allowed,
                worth.telling,
                worth.elsewhere,
                worth.grants,
                worth.withdrawals,
                worth.unknown,
            ]
        };
        all(self)
            .iter()
            .zip(all(other))
            .all(|(mine, theirs)| *mine >= theirs)
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            checks,
            decided,
            allowed,
            telling,
            elsewhere,
            grants,
            withdrawals,
            unknown,
        } = self;
        write!(
            f,
            "{checks} checks, {decided} decided, {allowed} allowed, {telling} after an acknowledged withdrawal \
             ({elsewhere} on another instance); acknowledged: {grants} grants, {withdrawals} withdrawals; \
             {unknown} attempts with unknown outcome"
        )
    }
}

/// A history's worth and all that is wrong in it.
#[derive(Debug)]
pub struct Judgement {
    pub worth: Worth,
    pub violations: Vec<Violation>,
}

/// A time in which a person may not be ALLOWED: from an acknowledgement until the next grant is sent.
#[derive(Clone, Copy, Debug)]
struct Closed {
    from: At,
    until: At,
    by: Slot,
}

/// Judges the calls themselves.
pub fn judge(checks: &[Check], writes: &[Write]) -> Judgement {
    let acts = acts(writes);
    let mut violations = doubled(&acts);
    let closed: BTreeMap<Subject, Vec<Closed>> = acts
        .iter()
        .map(|(subject, acts)| (*subject, closed(acts)))
        .collect();
    let mut worth = Worth {
        checks: checks.len(),
        unknown: writes.iter().filter(|write| write.event.is_none()).count(),
        ..Worth::default()
    };
    for act in acts.values().flat_map(BTreeMap::values) {
        let Some(first) = act.acknowledged() else {
            continue;
        };
        match first.act {
            Act::Grant => worth.grants += 1,
            Act::Withdrawal => worth.withdrawals += 1,
        }
    }
    for check in checks {
        let is_allowed = match check.told {
            Told::Allow => true,
            Told::Deny | Told::Defer => false,
            Told::Error | Told::Nothing => continue,
        };
        worth.decided += 1;
        worth.allowed += usize::from(is_allowed);
        let Some(closed) = closed
            .get(&check.subject)
            .and_then(|all| covering(all, check))
        else {
            continue;
        };
        worth.telling += 1;
        worth.elsewhere += usize::from(closed.by != check.slot);
        if is_allowed {
            violations.push(Violation::Allowed {
                check: *check,
                since: closed.from,
                by: closed.by,
            });
        }
    }
    Judgement { worth, violations }
}

/// Judges what the ledger has at the end: every acknowledged event must be among those of its person.
pub fn lost(writes: &[Write], kept: &BTreeMap<Subject, BTreeSet<String>>) -> Vec<Violation> {
    let is_kept = |write: &&Write| {
        let event = write.event.as_ref();
        event.is_none_or(|event| {
            kept.get(&write.subject)
                .is_some_and(|of| of.contains(event))
        })
    };
    let lost = writes.iter().filter(|write| !is_kept(write));
    lost.cloned()
        .map(|write| Violation::Lost { write })
        .collect()
}

/// How many of each kind.
pub fn summary(violations: &[Violation]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in violations {
        let kind = match violation {
            Violation::Allowed { .. } => "ALLOW after an acknowledged withdrawal",
            Violation::Lost { write } => match write.act {
                Act::Grant => "acknowledged grant lost",
                Act::Withdrawal => "acknowledged withdrawal lost",
            },
            Violation::Doubled { .. } => "one act with two events",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} × {kind}"))
        .collect();
    kinds.join(", ")
}

/// All attempts at one act, in the order in which they were sent.
#[derive(Debug, Default)]
struct Attempts<'a>(Vec<&'a Write>);

impl<'a> Attempts<'a> {
    /// The attempt whose acknowledgement came first.
    fn acknowledged(&self) -> Option<&'a Write> {
        let known = self.0.iter().filter(|write| write.event.is_some());
        known.min_by_key(|write| write.ended).copied()
    }

    fn sent(&self) -> At {
        self.0[0].started
    }
}

fn acts(writes: &[Write]) -> BTreeMap<Subject, BTreeMap<u32, Attempts<'_>>> {
    let mut acts: BTreeMap<Subject, BTreeMap<u32, Attempts<'_>>> = BTreeMap::new();
    for write in writes {
        let of = acts.entry(write.subject).or_default();
        of.entry(write.number).or_default().0.push(write);
    }
    for attempts in acts.values_mut().flat_map(BTreeMap::values_mut) {
        attempts.0.sort_by_key(|write| write.started);
    }
    acts
}

/// Sorted by their beginning. Of two the later one never ends before the earlier.
fn closed(acts: &BTreeMap<u32, Attempts<'_>>) -> Vec<Closed> {
    let mut closed = Vec::new();
    let mut next_grant = At(u64::MAX);
    for attempts in acts.values().rev() {
        match attempts.0[0].act {
            Act::Grant => next_grant = attempts.sent(),
            Act::Withdrawal => closed.extend(attempts.acknowledged().map(|write| Closed {
                from: write.ended,
                until: next_grant,
                by: write.slot,
            })),
        }
    }
    closed.reverse();
    closed
}

fn covering(closed: &[Closed], check: &Check) -> Option<Closed> {
    let before = closed.partition_point(|one| one.from <= check.started);
    let last = closed[..before].last()?;
    (check.ended <= last.until).then_some(*last)
}

fn doubled(acts: &BTreeMap<Subject, BTreeMap<u32, Attempts<'_>>>) -> Vec<Violation> {
    let mut found = Vec::new();
    for attempts in acts.values().flat_map(BTreeMap::values) {
        let mut known = attempts.0.iter().filter(|write| write.event.is_some());
        let Some(first) = known.next() else { continue };
        found.extend(
            known
                .filter(|other| other.event != first.event)
                .map(|second| Violation::Doubled {
                    first: (*first).clone(),
                    second: (*second).clone(),
                }),
        );
    }
    found
}

mod tests {
    use super::super::history::Asked;
    use super::*;

    const ANN: Subject = 1;
    const BOB: Subject = 2;

    fn asks(subject: Subject, slot: Slot, (started, ended): (u64, u64), told: Told) -> Check {
        Check {
            subject,
            slot,
            asked: Asked::Strict,
            in_a_batch: false,
            started: At(started),
            ended: At(ended),
            told,
        }
    }

    fn writes(act: Act, number: u32, (started, ended): (u64, u64), event: &str) -> Write {
        Write {
            subject: ANN,
            slot: 0,
            act,
            number,
            started: At(started),
            ended: At(ended),
            event: (!event.is_empty()).then(|| event.to_owned()),
            remark: String::new(),
        }
    }

    /// A grant at 10 to 20, acknowledged; a withdrawal at 30 to 40, acknowledged if `event` says so.
    fn left(event: &str) -> Vec<Write> {
        vec![
            writes(Act::Grant, 0, (10, 20), "g"),
            writes(Act::Withdrawal, 1, (30, 40), event),
        ]
    }

    fn violations(checks: &[Check], writes: &[Write]) -> usize {
        judge(checks, writes).violations.len()
    }

    #[test]
    fn an_allow_that_began_after_the_acknowledgement_is_found_on_any_instance() {
        for slot in [0, 7] {
            let late = [asks(ANN, slot, (41, 50), Told::Allow)];
            let judgement = judge(&late, &left("w"));
            assert_eq!(judgement.violations.len(), 1);
            assert_eq!(judgement.worth.telling, 1);
            assert_eq!(judgement.worth.elsewhere, usize::from(slot == 7));
            assert!(
                judgement.violations[0]
                    .to_string()
                    .contains("person 1 was ALLOWED")
            );
        }
    }

    #[test]
    fn an_allow_long_after_the_acknowledgement_is_found() {
        let late = [asks(ANN, 1, (4_000_000, 4_000_001), Told::Allow)];
        assert_eq!(violations(&late, &left("w")), 1);
    }

    #[test]
    fn a_check_that_began_before_the_acknowledgement_may_be_allowed() {
        let early = [
            asks(ANN, 1, (5, 45), Told::Allow),
            asks(ANN, 1, (25, 29), Told::Allow),
            asks(ANN, 1, (35, 60), Told::Allow),
            asks(ANN, 1, (39, 39), Told::Allow),
        ];
        assert_eq!(violations(&early, &left("w")), 0);
    }

    #[test]
    fn a_withdrawal_that_was_not_acknowledged_promises_nothing() {
        let late = [asks(ANN, 1, (41, 50), Told::Allow)];
        assert_eq!(violations(&late, &left("")), 0);
    }

    #[test]
    fn a_repeat_that_is_acknowledged_promises_from_then_on() {
        let mut writes_ = left("");
        writes_.push(writes(Act::Withdrawal, 1, (45, 60), "w"));
        assert_eq!(
            violations(&[asks(ANN, 1, (50, 58), Told::Allow)], &writes_),
            0
        );
        assert_eq!(
            violations(&[asks(ANN, 1, (61, 62), Told::Allow)], &writes_),
            1
        );
    }

    #[test]
    fn another_persons_withdrawal_does_not_count() {
        let late = [asks(BOB, 1, (41, 50), Told::Allow)];
        assert_eq!(violations(&late, &left("w")), 0);
    }

    #[test]
    fn what_is_no_allow_breaks_nothing() {
        let late = [Told::Deny, Told::Defer, Told::Error, Told::Nothing]
            .map(|told| asks(ANN, 1, (41, 50), told));
        let judgement = judge(&late, &left("w"));
        assert!(judgement.violations.is_empty());
        assert_eq!((judgement.worth.decided, judgement.worth.telling), (2, 2));
    }

    #[test]
    fn once_the_next_grant_is_sent_allow_is_permitted_until_the_next_acknowledged_withdrawal() {
        let mut writes_ = left("w");
        // Acknowledged or not: it may have been committed.
        writes_.push(writes(Act::Grant, 2, (100, 120), ""));
        writes_.push(writes(Act::Withdrawal, 3, (200, 210), "v"));
        let told = |times| violations(&[asks(ANN, 1, times, Told::Allow)], &writes_);
        assert_eq!(told((41, 99)), 1, "answered before the grant was sent");
        assert_eq!(told((41, 101)), 0, "answered after the grant was sent");
        assert_eq!(told((130, 140)), 0);
        assert_eq!(told((205, 215)), 0, "asked before the acknowledgement");
        assert_eq!(told((211, 220)), 1);
    }

    #[test]
    fn a_grant_from_before_the_withdrawal_excuses_nothing_however_late_it_is_repeated() {
        let mut writes_ = left("w");
        writes_.push(writes(Act::Grant, 0, (50, 60), "g"));
        assert_eq!(
            violations(&[asks(ANN, 1, (70, 80), Told::Allow)], &writes_),
            1
        );
    }

    #[test]
    fn of_two_withdrawals_the_first_holds_already() {
        let mut writes_ = left("w");
        writes_.push(writes(Act::Withdrawal, 2, (60, 70), ""));
        writes_.push(writes(Act::Withdrawal, 3, (80, 90), "u"));
        for times in [(41, 42), (65, 66), (75, 76), (91, 92)] {
            assert_eq!(
                violations(&[asks(ANN, 1, times, Told::Allow)], &writes_),
                1,
                "{times:?}"
            );
        }
    }

    #[test]
    fn the_order_in_which_calls_were_written_down_does_not_matter() {
        let mut writes_ = left("w");
        writes_.push(writes(Act::Grant, 2, (100, 120), "h"));
        writes_.push(writes(Act::Withdrawal, 3, (200, 210), "v"));
        writes_.reverse();
        assert_eq!(
            violations(&[asks(ANN, 1, (41, 99), Told::Allow)], &writes_),
            1
        );
        assert_eq!(
            violations(&[asks(ANN, 1, (130, 140), Told::Allow)], &writes_),
            0
        );
    }

    #[test]
    fn an_acknowledged_event_that_the_ledger_does_not_have_is_found() {
        let of = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect();
        let whole = BTreeMap::from([(ANN, of(&["g", "w", "unasked"]))]);
        assert!(lost(&left("w"), &whole).is_empty());
        assert_eq!(
            lost(&left("w"), &BTreeMap::from([(ANN, of(&["g"]))])).len(),
            1
        );
        assert_eq!(
            lost(&left("w"), &BTreeMap::from([(BOB, of(&["g", "w"]))])).len(),
            2
        );
        assert!(lost(&left(""), &BTreeMap::from([(ANN, of(&["g"]))])).is_empty());
    }

    #[test]
    fn an_act_that_made_two_events_is_found() {
        let mut writes_ = left("w");
        writes_.push(writes(Act::Withdrawal, 1, (50, 60), "w"));
        assert_eq!(violations(&[], &writes_), 0);
        writes_.push(writes(Act::Withdrawal, 1, (70, 80), "x"));
        assert_eq!(violations(&[], &writes_), 1);
    }

    #[test]
    fn the_worth_counts_acts_once_however_often_they_were_tried() {
        let mut writes_ = left("");
        writes_.push(writes(Act::Withdrawal, 1, (45, 60), "w"));
        writes_.push(writes(Act::Withdrawal, 1, (65, 70), "w"));
        let checks = [
            asks(ANN, 1, (21, 22), Told::Allow),
            asks(ANN, 1, (61, 62), Told::Deny),
        ];
        let worth = judge(&checks, &writes_).worth;
        assert_eq!((worth.grants, worth.withdrawals, worth.unknown), (1, 1, 1));
        assert_eq!((worth.allowed, worth.telling), (1, 1));
    }
}
