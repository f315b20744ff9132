//! When messages may be sent at the place where a person is: the hours of a policy entry, read on
//! the clocks of the time zones that the person may be in.
//!
//! Whose hours and which zones is not known here: see [`super::policy`] and [`super::place`]. Zones
//! come from the bundled tz database alone, so that two machines never differ.

use std::collections::BTreeSet;

use jiff::civil::Date;

/// Hours in which a message may be sent, on the clock of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendingHours {
    /// Monday first. Spans are sorted and apart; a day without one has no sending hours.
    pub weekdays: [Vec<Span>; 7],
    /// Calendars whose days have hours of their own. On a day of several the common hours hold.
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

/// Public holidays, by rule and by date, and the hours that hold on them.
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
    /// Empty: nothing is sent.
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
