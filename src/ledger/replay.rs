//! Replay: folding all events again must give exactly the facts that are stored.
//!
//! Reads the whole ledger, partition by partition, and reports every difference. What does not read is
//! one, and the rest is compared all the same. It changes nothing. Memory: the facts of one partition
//! at a time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use super::{Error, Ledger, Offset, Partition, Position, Recorded, StoredSubject};
use crate::domain::facts::{FOLD_VERSION, Facts};
use crate::domain::id::SubjectId;

const PAGE: u32 = 1_000;

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub partitions: u64,
    pub events: u64,
    pub subjects: u64,
    /// Subjects whose facts another version of the fold made; compared with nothing.
    pub other_fold_version: u64,
    /// Events that do not read. Each is a difference too.
    pub corrupt: u64,
    pub differences: Vec<Difference>,
}

/// One thing that is not as the events say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub partition: Partition,
    pub subject: Option<SubjectId>,
    pub what: String,
}

/// Replays every partition.
pub async fn check(ledger: &dyn Ledger) -> Result<Report, Error> {
    let mut report = Report::default();
    for head in ledger.heads().await? {
        if head.partition == super::SYSTEM {
            check_system(ledger, head.offset, &mut report).await?;
        } else {
            check_partition(ledger, head, &mut report).await?;
        }
        report.partitions += 1;
    }
    Ok(report)
}

async fn check_system(ledger: &dyn Ledger, head: Offset, report: &mut Report) -> Result<(), Error> {
    let system = Position {
        partition: super::SYSTEM,
        offset: head,
    };
    let read = |after, limit| ledger.system_after(after, limit);
    let last = each(
        system.partition,
        read,
        |record| record.offset,
        |_| {},
        report,
    )
    .await?;
    ends_at_head(ledger, system, last, report).await
}

async fn check_partition(
    ledger: &dyn Ledger,
    head: Position,
    report: &mut Report,
) -> Result<(), Error> {
    let partition = head.partition;
    let mut folded: BTreeMap<SubjectId, (Facts, i64)> = BTreeMap::new();
    let read = |offset, limit| ledger.changes_after(Position { partition, offset }, limit);
    let fold = |recorded: Recorded| {
        let (facts, count) = folded.entry(recorded.event.subject_id).or_default();
        facts.apply(&recorded.event);
        *count += 1;
    };
    let offset = |recorded: &Recorded| recorded.position.offset;
    let after = each(partition, read, offset, fold, report).await?;
    ends_at_head(ledger, head, after, report).await?;
    if !compare_subjects(ledger, partition, &mut folded, Which::All, report).await? {
        return Ok(());
    }
    // While keys are rotated a row may have moved from before us to behind us. None moves twice.
    if !folded.is_empty() {
        compare_subjects(ledger, partition, &mut folded, Which::Missing, report).await?;
    }
    for subject in folded.into_keys() {
        difference(
            partition,
            Some(subject),
            "has events and no row in `subject`",
            report,
        );
    }
    Ok(())
}

/// Which rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those of subjects that were folded and not met yet.
    Missing,
}

/// Compares the rows of a partition with what was folded, which is taken out. False: one does not read, and
/// the others were not compared.
async fn compare_subjects(
    ledger: &dyn Ledger,
    partition: Partition,
    folded: &mut BTreeMap<SubjectId, (Facts, i64)>,
    which: Which,
    report: &mut Report,
) -> Result<bool, Error> {
    let mut key = None;
    loop {
        let page = match ledger.subjects_after(partition, key, PAGE).await {
            Err(error) if is_of_one_row(&error) => {
                let what = format!("subjects were not compared: {error}");
                difference(partition, None, &what, report);
                return Ok(false);
            }
            page => page?,
        };
        for stored in &page {
            key = Some(stored.key);
            if which == Which::Missing && !folded.contains_key(&stored.subject_id) {
                continue;
            }
            report.subjects += 1;
            let mut folded = folded.remove(&stored.subject_id);
            if folded
                .as_ref()
                .is_none_or(|(_, count)| *count < stored.version.0)
            {
                folded = match fold_again(ledger, stored).await {
                    Err(error) if is_of_one_row(&error) => {
                        let what = "was not compared: one of its events does not read";
                        difference(partition, Some(stored.subject_id), what, report);
                        continue;
                    }
                    folded => folded?,
                };
            }
            compare(partition, stored, folded, report);
        }
        if page.is_empty() {
            return Ok(true);
        }
    }
}

/// Hands on every row of a partition that reads, and reports those that do not and what is missing
/// between them. Gives the last offset.
async fn each<'l, T>(
    partition: Partition,
    read: impl Fn(Offset, u32) -> Reading<'l, T>,
    offset_of: impl Fn(&T) -> Offset,
    mut hand_on: impl FnMut(T),
    report: &mut Report,
) -> Result<Offset, Error> {
    let mut after = Offset(0);
    let mut limit = PAGE;
    // The row at fault, while it is searched for: reading after an offset tells of it until that
    // offset is its own.
    let mut fault: Option<Error> = None;
    let mut before = after;
    loop {
        match read(after, limit).await {
            Err(error) if is_of_one_row(&error) && limit > 1 => limit = 1,
            Err(error) if is_of_one_row(&error) => {
                if let Some(found) = fault.take_if(|found| found.to_string() != error.to_string()) {
                    before = unreadable(partition, before, after, &found, report);
                }
                fault = Some(error);
                after = Offset(after.0 + 1);
            }
            page => {
                let page = page?;
                if let Some(found) = fault.take() {
                    before = unreadable(partition, before, after, &found, report);
                    limit = PAGE;
                }
                let is_last = page.is_empty();
                for row in page {
                    report.events += 1;
                    after = offset_of(&row);
                    dense(partition, before, after, report);
                    before = after;
                    hand_on(row);
                }
                if is_last {
                    return Ok(after);
                }
            }
        }
    }
}

type Reading<'l, T> = Pin<Box<dyn Future<Output = Result<Vec<T>, Error>> + Send + 'l>>;

fn unreadable(
    partition: Partition,
    before: Offset,
    at: Offset,
    fault: &Error,
    report: &mut Report,
) -> Offset {
    dense(partition, before, at, report);
    report.corrupt += 1;
    let what = format!("offset {} does not read: {fault}", at.0);
    difference(partition, None, &what, report);
    at
}

/// Whether the others may well read: not if the database cannot tell which row is at fault.
fn is_of_one_row(error: &Error) -> bool {
    matches!(error, Error::Corrupt { table, .. } if *table != "?")
}

/// The events up to a subject's version: it may have moved on since the partition was read.
async fn fold_again(
    ledger: &dyn Ledger,
    stored: &StoredSubject,
) -> Result<Option<(Facts, i64)>, Error> {
    let limit = u32::try_from(stored.version.0).unwrap_or(u32::MAX);
    let history = ledger.history(stored.subject_id, Offset(0), limit).await?;
    let count = i64::try_from(history.len()).unwrap_or(i64::MAX);
    let facts = Facts::fold(history.iter().map(|recorded| &recorded.event));
    Ok((count > 0).then_some((facts, count)))
}

fn compare(
    partition: Partition,
    stored: &StoredSubject,
    folded: Option<(Facts, i64)>,
    report: &mut Report,
) {
    let subject = Some(stored.subject_id);
    let Some((facts, count)) = folded else {
        difference(
            partition,
            subject,
            "has a row in `subject` and no event",
            report,
        );
        return;
    };
    if stored.version.0 != count {
        let what = format!("is at version {} and has {count} events", stored.version.0);
        difference(partition, subject, &what, report);
    }
    if stored.fold_version != FOLD_VERSION {
        report.other_fold_version += 1;
    } else if stored.facts != facts.encode() {
        difference(
            partition,
            subject,
            "its facts are not the fold of its events",
            report,
        );
    }
}

fn dense(partition: Partition, before: Offset, offset: Offset, report: &mut Report) {
    if offset.0 != before.0 + 1 {
        let what = format!("offset {} is followed by {}", before.0, offset.0);
        difference(partition, None, &what, report);
    }
}

async fn ends_at_head(
    ledger: &dyn Ledger,
    head: Position,
    last: Offset,
    report: &mut Report,
) -> Result<(), Error> {
    let partition = head.partition;
    let mut head = head.offset;
    if last > head {
        // Events may have been appended since the heads were read.
        let now = ledger.heads().await?;
        let now = now.into_iter().find(|now| now.partition == partition);
        head = now.map_or(head, |now| now.offset.min(last));
    }
    if last != head {
        let what = format!("ends at offset {}, its head says {}", last.0, head.0);
        difference(partition, None, &what, report);
    }
    Ok(())
}

fn difference(partition: Partition, subject: Option<SubjectId>, what: &str, report: &mut Report) {
    report.differences.push(Difference {
        partition,
        subject,
        what: what.to_owned(),
    });
}
