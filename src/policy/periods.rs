//! ISO 8601 periods as lengths of time.
//!
//! Months and years differ in length, so what a period permits lasts the shortest run of that many
//! months, and what it obliges to the longest: neither is ever laxer than the calendar.

use std::time::Duration;

use jiff::fmt::temporal::SpanParser;

const NOT_POSITIVE: &str = "must be longer than nothing";

/// The length of a period that permits something.
pub(super) fn at_most(period: &str) -> Result<Duration, &'static str> {
    lengths(period)?.into_iter().min().ok_or(NOT_POSITIVE)
}

/// The length of a period that obliges to something.
pub(super) fn at_least(period: &str) -> Result<Duration, &'static str> {
    lengths(period)?.into_iter().max().ok_or(NOT_POSITIVE)
}

/// How long a period is when it starts in each month of four years, one of them a leap year.
fn lengths(period: &str) -> Result<Vec<Duration>, &'static str> {
    const SHAPE: &str = "expected an ISO 8601 period, as in `P24M`, `P30D` or `PT72H`";
    let span = SpanParser::new().parse_span(period).map_err(|_| SHAPE)?;
    if !span.is_positive() {
        return Err(NOT_POSITIVE);
    }
    let mut lengths = Vec::new();
    for year in 2001..=2004 {
        for month in 1..=12 {
            let start = jiff::civil::date(year, month, 1).at(0, 0, 0, 0);
            let end = start
                .checked_add(span)
                .map_err(|_| "is longer than the calendar")?;
            lengths.extend(Duration::try_from(start.duration_until(end)));
        }
    }
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_never_longer_and_a_duty_never_shorter_than_its_months() {
        let days = |length: Duration| length.as_secs() / 86_400;
        for (period, shortest, longest) in [
            ("P1M", 28, 31),
            ("P2M", 59, 62),
            ("P6M", 181, 184),
            ("P1Y", 365, 366),
            ("P5Y", 1826, 1827),
        ] {
            assert_eq!(at_most(period).map(days), Ok(shortest), "{period}");
            assert_eq!(at_least(period).map(days), Ok(longest), "{period}");
        }
        assert_eq!(at_most("PT72H"), at_least("P3D"));
    }
}
