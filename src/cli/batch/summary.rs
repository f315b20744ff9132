//! What came of a list: people by decision and decisive reason, and what was not decided.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::json::Object;
use crate::cli::table;
use crate::cli::words::word;
use crate::grpc::proto::{BatchCheckResult, Decision, Reason};

/// Counts of one run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// By decision and the reason that decided.
    reasons: BTreeMap<(i32, i32), u64>,
    /// Lines that name nobody.
    pub(super) refused: u64,
    /// People whom the server could not judge.
    pub(super) failed: u64,
    /// People who stood further up already. They are counted with the others, too.
    pub(super) repeated: u64,
    /// Whether the list was asked to its end.
    pub(super) complete: bool,
}

impl Summary {
    pub(super) fn count(&mut self, result: &BatchCheckResult) {
        let reason = result.reasons.first().copied().unwrap_or(0);
        *self.reasons.entry((result.decision, reason)).or_default() += 1;
    }

    /// How many people were asked about.
    pub(super) fn people(&self) -> u64 {
        self.failed + self.reasons.values().sum::<u64>()
    }

    pub(super) fn has_failures(&self) -> bool {
        self.refused > 0 || self.failed > 0 || !self.complete
    }

    fn by_decision(&self) -> BTreeMap<i32, u64> {
        let mut decisions = BTreeMap::from(
            [Decision::Allow, Decision::Deny, Decision::Defer].map(|d| (d.into(), 0)),
        );
        for ((decision, _), count) in &self.reasons {
            *decisions.entry(*decision).or_default() += count;
        }
        decisions
    }

    /// By decision, the most frequent reason first.
    fn by_reason(&self) -> Vec<(String, String, u64)> {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|((decision, reason), count)| {
            (*decision, std::cmp::Reverse(**count), *reason)
        });
        reasons
            .into_iter()
            .map(|((decision, reason), count)| {
                (word::<Decision>(*decision), word::<Reason>(*reason), *count)
            })
            .collect()
    }

    pub(super) fn text(&self) -> String {
        let decisions = self.by_decision().into_iter();
        let decisions: Vec<_> = decisions
            .map(|(decision, count)| format!("{count} {}", word::<Decision>(decision)))
            .collect();
        let mut text = format!(
            "{}: {}",
            counted(self.people(), "person", "people"),
            decisions.join(", ")
        );
        if self.failed > 0 {
            let _ = write!(text, ", {} not judged", self.failed);
        }
        if self.repeated > 0 {
            let duplicates = counted(self.repeated, "duplicate", "duplicates");
            let _ = write!(text, "; {duplicates} among them");
        }
        if self.refused > 0 {
            let lines = counted(self.refused, "line", "lines");
            let _ = write!(text, "; {lines} refused");
        }
        if !self.complete {
            text.push_str("; not all were asked");
        }
        if self.reasons.is_empty() {
            return text;
        }
        let rows = self.by_reason().into_iter();
        let rows = rows.map(|(decision, reason, count)| [decision, reason, count.to_string()]);
        format!(
            "{}\n\n{text}",
            table::table(["decision", "reason", "people"], rows)
        )
    }

    pub(super) fn json(&self) -> Object {
        let decisions = self.by_decision().into_iter();
        let decisions = decisions.fold(Object::new(), |object, (decision, count)| {
            object.with(&word::<Decision>(decision), count)
        });
        let reasons = self
            .by_reason()
            .into_iter()
            .map(|(decision, reason, count)| {
                Object::new()
                    .with("decision", decision)
                    .with("reason", reason)
                    .with("people", count)
            });
        Object::new()
            .with("people", self.people())
            .with("decisions", decisions)
            .list("reasons", reasons)
            .with("not_judged", self.failed)
            .with("duplicates", self.repeated)
            .with("lines_refused", self.refused)
            .with("complete", self.complete)
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let mut summary = Summary {
            complete: true,
            ..Summary::default()
        };
        let results = [
            (Decision::Deny, Reason::NoConsent, 1),
            (Decision::Allow, Reason::ConsentGiven, 3),
            (Decision::Deny, Reason::Withdrawn, 2),
        ];
        for (decision, reason, times) in results {
            for _ in 0..times {
                summary.count(&BatchCheckResult {
                    decision: decision.into(),
                    reasons: vec![reason.into(), Reason::QuietHours.into()],
                    ..BatchCheckResult::default()
                });
            }
        }
        summary
    }

    #[test]
    fn a_summary_counts_by_decision_and_decisive_reason() {
        assert_eq!(
            summary().text(),
            "DECISION  REASON         PEOPLE\n\
             ALLOW     CONSENT_GIVEN  3\n\
             DENY      WITHDRAWN      2\n\
             DENY      NO_CONSENT     1\n\n\
             6 people: 3 ALLOW, 3 DENY, 0 DEFER"
        );
        assert!(!summary().has_failures());
    }

    #[test]
    fn what_was_not_decided_is_said() {
        let summary = Summary {
            refused: 1,
            failed: 2,
            repeated: 4,
            complete: false,
            ..summary()
        };
        assert!(summary.text().ends_with(
            "8 people: 3 ALLOW, 3 DENY, 0 DEFER, 2 not judged; 4 duplicates among them; 1 line refused; not all were asked"
        ), "{}", summary.text());
        assert!(summary.has_failures());
    }

    #[test]
    fn a_summary_reads_as_json() {
        assert_eq!(
            serde_json::to_string(&summary().json()).unwrap(),
            r#"{"people":6,"decisions":{"ALLOW":3,"DENY":3,"DEFER":0},"reasons":[{"decision":"ALLOW","reason":"CONSENT_GIVEN","people":3},{"decision":"DENY","reason":"WITHDRAWN","people":2},{"decision":"DENY","reason":"NO_CONSENT","people":1}],"not_judged":0,"duplicates":0,"lines_refused":0,"complete":true}"#
        );
    }

    #[test]
    fn an_empty_list_is_done() {
        let empty = Summary {
            complete: true,
            ..Summary::default()
        };
        assert_eq!(empty.text(), "0 people: 0 ALLOW, 0 DENY, 0 DEFER");
        assert!(!empty.has_failures());
    }
}
