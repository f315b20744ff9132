//! What a policy file does not have wrong, but its keeper should look at: reviews that are overdue,
//! days that nobody thought of.
//!
//! Nothing here changes what the policy says.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{DEFAULT, Policy, Source};
use crate::domain::time::Timestamp;

/// After how many months a rule is to be looked at again. House: laws of those compared changed about
/// once a year.
pub const REVIEW_MONTHS: i32 = 24;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Which rule: `DE since 2021-10-01`, `platform US since 2025-04-01`.
    pub rule: String,
    pub what: Concern,
}

/// Why a rule is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// It was looked at too long ago.
    NotReviewedSince(Date),
    /// It says that it was looked at on a day to come.
    ReviewedInFuture(Date),
    /// Between the end of this entry and the next of its code, another one answers.
    GapUntil(Date),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = &self.rule;
        match self.what {
            Concern::NotReviewedSince(day) => write!(
                f,
                "{rule}: not reviewed for {REVIEW_MONTHS} months, last on {day}"
            ),
            Concern::ReviewedInFuture(day) => {
                write!(
                    f,
                    "{rule}: says that it was reviewed on {day}, a day to come"
                )
            }
            Concern::GapUntil(day) => write!(
                f,
                "{rule}: ends before the next entry begins on {day}; until then another one answers"
            ),
        }
    }
}

/// What to look at on `today`. Entries that are over are left in peace.
pub fn warnings(policy: &Policy, today: Date) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (code, entries) in policy.jurisdictions() {
        for (index, entry) in entries.iter().enumerate() {
            let rule = || rule_name(code, entry.effective_from);
            if entry.effective_to.is_none_or(|end| day_of(end) > today) {
                warnings.extend(
                    concern(&entry.source, today).map(|what| Warning { rule: rule(), what }),
                );
            }
            let next = entries.get(index + 1).map(|next| next.effective_from);
            if let (Some(end), Some(next)) = (entry.effective_to, next)
                && end < next
                && *code != DEFAULT
            {
                let what = Concern::GapUntil(day_of(next));
                warnings.push(Warning { rule: rule(), what });
            }
        }
    }
    for rule in &policy.platform {
        if rule.effective_to.is_none_or(|end| day_of(end) > today) {
            warnings.extend(concern(&rule.source, today).map(|what| Warning {
                rule: format!("platform {}", rule_name(&rule.country, rule.effective_from)),
                what,
            }));
        }
    }
    warnings
}

fn concern(source: &Source, today: Date) -> Option<Concern> {
    let reviewed = source.reviewed_on;
    if reviewed > today {
        return Some(Concern::ReviewedInFuture(reviewed));
    }
    // Beyond the calendar nothing is overdue.
    let due = reviewed.checked_add(REVIEW_MONTHS.months()).ok()?;
    (due <= today).then_some(Concern::NotReviewedSince(reviewed))
}

fn rule_name(code: &JurisdictionCode, from: Timestamp) -> String {
    format!("{code} since {}", day_of(from))
}

/// The day of the file that an instant of the policy came from.
pub fn day_of(at: Timestamp) -> Date {
    jiff::Timestamp::from_microsecond(at.as_micros())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_zoned(TimeZone::UTC)
        .date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{load, tests::table};

    fn shown(text: &str, today: &str) -> Vec<String> {
        let policy = load(text).unwrap();
        warnings(&policy, today.parse().unwrap())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_rule_is_due_once_it_was_not_reviewed_for_24_months() {
        let text = [
            table(&[("reviewed_on", "2024-03-01")]),
            "[[platform]]\ncountry = \"US\"\nclasses = [\"MARKETING\"]\neffective_from = 2025-04-01\n\
             source = \"x\"\nconfidence = \"high\"\nreviewed_on = 2025-01-01\n"
                .to_owned(),
        ]
        .concat();
        assert_eq!(shown(&text, "2026-02-28"), Vec::<String>::new());
        let zz = "ZZ since 2020-01-01: not reviewed for 24 months, last on 2024-03-01";
        assert_eq!(shown(&text, "2026-03-01"), [zz]);
        assert_eq!(
            shown(&text, "2027-01-01"),
            [
                zz,
                "platform US since 2025-04-01: not reviewed for 24 months, last on 2025-01-01"
            ]
        );
        assert_eq!(
            shown(&text, "2024-02-29")[0],
            "ZZ since 2020-01-01: says that it was reviewed on 2024-03-01, a day to come"
        );
    }

    #[test]
    fn an_entry_that_is_over_is_left_in_peace_and_a_gap_after_it_is_told() {
        let german = |from, to| {
            table(&[
                ("code", "\"DE\""),
                ("effective_from", from),
                ("effective_to", to),
                ("reviewed_on", "2019-01-01"),
            ])
        };
        let text = [
            table(&[]),
            german("2020-01-01", "2021-01-01"),
            german("2021-02-01", "2022-01-01"),
        ]
        .concat();
        assert_eq!(
            shown(&text, "2026-02-28"),
            [
                "DE since 2020-01-01: ends before the next entry begins on 2021-02-01; until then another one answers"
            ]
        );
        let touching = text.replace("2021-02-01", "2021-01-01");
        assert_eq!(shown(&touching, "2026-02-28"), Vec::<String>::new());
    }
}
