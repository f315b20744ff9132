//! When messages may be sent at the place where a person is: the hours of a policy entry, read on
//! the clocks of the time zones that the person may be in.
//!
//! Whose hours and which zones is not known here: see [`super::policy`] and [`super::place`]. Zones
//! come from the bundled tz database alone, so that two machines never differ. [`SendingHours::opening`]
//! is the question that is asked of hours.

mod opening;
mod zone;

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::Offset;

pub use self::opening::{Answer, Clocks, Opening};
pub use self::zone::{Zone, tzdb_sha256, tzdb_version};

const MONDAY: usize = 0;
const SUNDAY: usize = 6;

/// Hours in which a message may be sent, on the clock of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendingHours {
    /// Monday first. Spans are sorted and apart; a day without one has no sending hours.
    pub weekdays: [Vec<Span>; 7],
    /// Calendars whose days have fewer hours: those that the weekday and every calendar of which it
    /// is a holiday have in common.
    pub holidays: Vec<Holidays>,
}

/// A part of a day, in minutes from its midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// 0 to 1,439.
    pub from: u16,
    /// The first minute that is outside, up to 1,440: the end of the day.
    pub to: u16,
}

/// Public holidays, by rule and by date, and the hours that are left on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holidays {
    /// (month, day) of every year.
    pub fixed: BTreeSet<(i8, i8)>,
    /// Days from Easter Sunday (Gregorian): −2 is Good Friday, 1 is Easter Monday.
    pub easter: BTreeSet<i16>,
    /// A fixed holiday on a Sunday makes the Monday after it one, too.
    pub sunday_moves_to_monday: bool,
    /// Single days.
    pub dates: BTreeSet<Date>,
    /// Sorted and apart. Empty: nothing is sent.
    pub spans: Vec<Span>,
}

impl SendingHours {
    /// The hours that both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let mut weekdays: [Vec<Span>; 7] = Default::default();
        for (day, common) in weekdays.iter_mut().enumerate() {
            *common = common_spans(&self.weekdays[day], &other.weekdays[day]);
        }
        let mut holidays = self.holidays.clone();
        for calendar in &other.holidays {
            if !holidays.contains(calendar) {
                holidays.push(calendar.clone());
            }
        }
        Self { weekdays, holidays }
    }
}

impl SendingHours {
    /// The spans of a day on the local calendar, by its number since 1970-01-01.
    fn spans_on(&self, day: i64) -> Cow<'_, [Span]> {
        let weekday = &self.weekdays[weekday(day)];
        let mut spans = Cow::Borrowed(weekday.as_slice());
        for calendar in &self.holidays {
            if !spans.is_empty() && calendar.has(day) {
                spans = Cow::Owned(common_spans(&spans, &calendar.spans));
            }
        }
        spans
    }
}

/// Monday is 0. 1970-01-01 was a Thursday.
fn weekday(day: i64) -> usize {
    usize::try_from((day + 3).rem_euclid(7)).unwrap_or_default()
}

/// The date of a day since 1970-01-01; `None` outside the years −9999 to 9999.
fn date(day: i64) -> Option<Date> {
    let midnight = jiff::Timestamp::from_second(day.checked_mul(86_400)?).ok()?;
    Some(Offset::UTC.to_datetime(midnight).date())
}

impl Holidays {
    /// Whether the calendar calls this day since 1970-01-01 a holiday.
    fn has(&self, day: i64) -> bool {
        let named = date(day).is_some_and(|date| self.dates.contains(&date));
        named || self.is_fixed(day) || self.hangs_on_easter(day)
    }

    fn is_fixed(&self, day: i64) -> bool {
        let named = |day: i64| {
            date(day).is_some_and(|date| self.fixed.contains(&(date.month(), date.day())))
        };
        named(day) || (self.sunday_moves_to_monday && weekday(day) == MONDAY && named(day - 1))
    }

    /// Goes from the day back to where Easter would be, so that an offset into another year counts.
    fn hangs_on_easter(&self, day: i64) -> bool {
        self.easter.iter().any(|days| {
            let sunday = day - i64::from(*days);
            let is_easter = |date: Date| easter_sunday(date.year()) == (date.month(), date.day());
            weekday(sunday) == SUNDAY && date(sunday).is_some_and(is_easter)
        })
    }
}

/// Month and day of Easter Sunday in the Gregorian calendar: the "anonymous" algorithm (Nature, 20
/// April 1876; Meeus, Astronomical Algorithms, chapter 8), for all its years.
fn easter_sunday(year: i16) -> (i8, i8) {
    let year = i32::from(year);
    let golden = year.rem_euclid(19);
    let (century, of_century) = (year.div_euclid(100), year.rem_euclid(100));
    let moon_shift = (century + 8).div_euclid(25);
    let moon_drift = (century - moon_shift + 1).div_euclid(3);
    let epact = (19 * golden + century - century.div_euclid(4) - moon_drift + 15).rem_euclid(30);
    let to_sunday =
        (32 + 2 * century.rem_euclid(4) + 2 * (of_century / 4) - epact - of_century % 4)
            .rem_euclid(7);
    let late = (golden + 11 * epact + 22 * to_sunday).div_euclid(451);
    let since_march = epact + to_sunday - 7 * late + 114;
    let month = i8::try_from(since_march.div_euclid(31)).unwrap_or_default();
    let day = i8::try_from(since_march.rem_euclid(31) + 1).unwrap_or_default();
    (month, day)
}

fn common_spans(a: &[Span], b: &[Span]) -> Vec<Span> {
    a.iter()
        .flat_map(|a| {
            b.iter().map(|b| Span {
                from: a.from.max(b.from),
                to: a.to.min(b.to),
            })
        })
        .filter(|span| span.from < span.to)
        .collect()
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
