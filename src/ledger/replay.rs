//! Replay: folding all events again must give exactly the facts that are stored.
//!
//! Reads the whole ledger, partition by partition, and reports every difference. It changes
//! nothing. Memory: the facts of one partition at a time.

use std::collections::BTreeMap;

use super::{Error, Ledger, Offset, Partition, Position, StoredSubject};
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
    let mut after = Offset(0);
    loop {
        let page = ledger.system_after(after, PAGE).await?;
        for record in &page {
            report.events += 1;
            dense(super::SYSTEM, after, record.offset, report);
            after = record.offset;
        }
        if page.is_empty() {
            break;
        }
    }
    let system = Position {
        partition: super::SYSTEM,
        offset: head,
    };
    ends_at_head(ledger, system, after, report).await
}

async fn check_partition(
    ledger: &dyn Ledger,
    head: Position,
    report: &mut Report,
) -> Result<(), Error> {
    let partition = head.partition;
    let mut folded: BTreeMap<SubjectId, (Facts, i64)> = BTreeMap::new();
    let mut after = Offset(0);
    loop {
        let page = ledger
            .changes_after(
                Position {
                    partition,
                    offset: after,
                },
                PAGE,
            )
            .await?;
        for recorded in &page {
            report.events += 1;
            dense(partition, after, recorded.position.offset, report);
            after = recorded.position.offset;
            let (facts, count) = folded.entry(recorded.event.subject_id).or_default();
            facts.apply(&recorded.event);
            *count += 1;
        }
        if page.is_empty() {
            break;
        }
    }
    ends_at_head(ledger, head, after, report).await?;
    let mut key = None;
    loop {
        let page = ledger.subjects_after(partition, key, PAGE).await?;
        for stored in &page {
            key = Some(stored.key);
            report.subjects += 1;
            let mut folded = folded.remove(&stored.subject_id);
            if folded
                .as_ref()
                .is_none_or(|(_, count)| *count < stored.version.0)
            {
                folded = fold_again(ledger, stored).await?;
            }
            compare(partition, stored, folded, report);
        }
        if page.is_empty() {
            break;
        }
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
