//! Whether hours are open at an instant on the clocks of several zones at once, and until when.
//!
//! The time ahead is cut where a clock changes. Between two cuts a zone's clock is UTC and a number
//! of seconds, so that its hours are plain numbers; across them nothing is assumed. Hours are open
//! when the clock reads a minute inside a span: a minute that a clock skips is never read, one that
//! it reads twice counts twice.

use super::{SendingHours, Span, Zone};
use crate::domain::time::Timestamp;

/// How far ahead is looked, in seconds: 35 days.
const HORIZON: i64 = 35 * DAY;

const DAY: i64 = 24 * 3_600;
const WEEK: i64 = 7 * DAY;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// What [`SendingHours::opening`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub opening: Opening,
    pub clocks: Clocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// `until` is the first instant at which the hours are closed; `None`: none in 35 days.
    Open { until: Option<Timestamp> },
    /// `until` is the first instant at which the hours are open; `None`: none in 35 days.
    Closed { until: Option<Timestamp> },
}

/// Whose clocks were read: at the instant asked about if the hours are open or never will be, else
/// at the one at which they open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// Those of all zones: the hours are open where all of them are.
    All,
    /// Those of the widest zone alone, as the zones' weeks have no hour in common.
    Widest(Zone),
}

impl SendingHours {
    /// Whether the hours are open at `at` for somebody who may be in any of `zones`, the widest
    /// first, and until when. Without a zone no clock is known, and the hours are never open.
    ///
    /// Whether the zones have an hour in common is judged by the weekdays, as the clocks stand at
    /// that time, without holidays: a run of holidays does not make it one zone's hours.
    pub fn opening(&self, zones: &[Zone], at: Timestamp) -> Answer {
        // A fraction of a second matters to no boundary: all of them are whole seconds.
        let start = at.as_micros().div_euclid(MICROS_PER_SECOND);
        let end = start.saturating_add(HORIZON);
        let mut second = start;
        let mut asked: Option<(bool, Clocks)> = None;
        while let Some(stretch) = Stretch::at(self, zones, second, end) {
            let open = stretch.is_open(second);
            let (was_open, clocks) = *asked.get_or_insert((open, stretch.clocks));
            let change = match (was_open, open) {
                (true, true) => stretch.first_closed(second),
                (false, false) => stretch.first_open(second),
                (true, false) | (false, true) => Some(second),
            };
            if let Some(change) = change {
                let clocks = if was_open { clocks } else { stretch.clocks };
                return answer(was_open, Some(change), clocks);
            }
            second = stretch.end;
        }
        let (was_open, clocks) = asked.unwrap_or((false, Clocks::All));
        answer(was_open, None, clocks)
    }
}

fn answer(open: bool, until: Option<i64>, clocks: Clocks) -> Answer {
    let until = until.map(|second| Timestamp::from_micros(second * MICROS_PER_SECOND));
    let opening = if open {
        Opening::Open { until }
    } else {
        Opening::Closed { until }
    };
    Answer { opening, clocks }
}

/// A time during which no clock of the zones changes.
struct Stretch<'a> {
    hours: &'a SendingHours,
    clocks: Clocks,
    /// How far the clocks that count are ahead of UTC, in seconds; once each, never empty.
    offsets: Offsets,
    /// The first second after it.
    end: i64,
}

enum Offsets {
    /// By far the most frequent, and needs no memory.
    One(i64),
    Many(Vec<i64>),
}

impl<'a> Stretch<'a> {
    /// The stretch from `second` on, at most to `end`; `None` at the end, where no zone is given, and
    /// in years that have no calendar.
    fn at(hours: &'a SendingHours, zones: &[Zone], second: i64, end: i64) -> Option<Self> {
        let (widest, others) = zones.split_first().filter(|_| second < end)?;
        let (offset, change) = widest.offset(second)?;
        let mut end = change.map_or(end, |change| end.min(change));
        let mut offsets = Offsets::One(offset);
        for zone in others {
            let (offset, change) = zone.offset(second)?;
            end = change.map_or(end, |change| end.min(change));
            offsets.add(offset);
        }
        let mut stretch = Self {
            hours,
            clocks: Clocks::All,
            offsets,
            end,
        };
        if !stretch.is_open(second) && !stretch.has_hours_in_common() {
            stretch.clocks = Clocks::Widest(*widest);
            stretch.offsets = Offsets::One(offset);
        }
        Some(stretch)
    }

    /// Whether a week of these clocks has a second at which all of them are inside their hours. Hours
    /// that nobody has are no reason to leave a clock out.
    fn has_hours_in_common(&self) -> bool {
        let offsets = self.offsets.as_slice();
        if offsets.len() < 2 || self.hours.weekdays.iter().all(Vec::is_empty) {
            return true;
        }
        let mut common = vec![(0, WEEK)];
        for offset in offsets {
            let week = self.hours.week_in_utc(*offset);
            common = common
                .iter()
                .flat_map(|a| week.iter().map(|b| (a.0.max(b.0), a.1.min(b.1))))
                .filter(|(from, to)| from < to)
                .collect();
        }
        !common.is_empty()
    }

    fn is_open(&self, second: i64) -> bool {
        let open = |offset: &i64| self.hours.span_end(second + offset).is_some();
        self.offsets.as_slice().iter().all(open)
    }

    /// The first second from `second` on, where it is open, at which it is not; `None`: not in this
    /// stretch.
    fn first_closed(&self, second: i64) -> Option<i64> {
        let closing = |offset: &i64| {
            let closing = self.hours.closing(second + offset, self.end + offset)?;
            Some(closing - offset)
        };
        let first = self.offsets.as_slice().iter().filter_map(closing).min();
        first.filter(|first| *first < self.end)
    }

    /// The first second from `second` on at which all clocks are inside their hours; `None`: not in
    /// this stretch.
    fn first_open(&self, second: i64) -> Option<i64> {
        let mut candidate = second;
        loop {
            let before = candidate;
            for offset in self.offsets.as_slice() {
                let local = candidate + offset;
                candidate = self.hours.next_open(local, self.end + offset)? - offset;
            }
            if candidate == before {
                return Some(candidate);
            }
        }
    }
}

impl Offsets {
    fn as_slice(&self) -> &[i64] {
        match self {
            Self::One(offset) => std::slice::from_ref(offset),
            Self::Many(offsets) => offsets,
        }
    }

    fn add(&mut self, offset: i64) {
        match self {
            Self::One(only) if *only == offset => {}
            Self::One(only) => *self = Self::Many(vec![*only, offset]),
            Self::Many(offsets) if offsets.contains(&offset) => {}
            Self::Many(offsets) => offsets.push(offset),
        }
    }
}

/// On one clock. Its seconds are those since 1970-01-01T00:00 as the clock reads, every day 86,400.
impl SendingHours {
    /// The first second from `local` on, and before `end`, that is inside a span.
    fn next_open(&self, local: i64, end: i64) -> Option<i64> {
        let mut midnight = local - local.rem_euclid(DAY);
        while midnight < end {
            for span in self.spans_on(midnight / DAY).iter() {
                let (from, to) = seconds(*span);
                if local < midnight + to {
                    let open = local.max(midnight + from);
                    return (open < end).then_some(open);
                }
            }
            midnight += DAY;
        }
        None
    }

    /// The first second after `local` that is outside of all spans, or any at or after `end`; `None`
    /// if `local` itself is outside.
    fn closing(&self, local: i64, end: i64) -> Option<i64> {
        let mut closing = self.span_end(local)?;
        while closing < end {
            // A span that begins where the last one ended goes on with it, as at midnight.
            let Some(later) = self.span_end(closing) else {
                break;
            };
            closing = later;
        }
        Some(closing)
    }

    /// The end of the span that `local` is in.
    fn span_end(&self, local: i64) -> Option<i64> {
        let of_day = local.rem_euclid(DAY);
        let day = local.div_euclid(DAY);
        let spans = self.spans_on(day);
        let ends = spans.iter().map(|span| seconds(*span));
        let mut around = ends.filter(|(from, to)| *from <= of_day && of_day < *to);
        around.next().map(|(_, to)| day * DAY + to)
    }

    /// The spans of the weekdays in seconds of a week of UTC, for a clock that is `offset` ahead.
    fn week_in_utc(&self, offset: i64) -> Vec<(i64, i64)> {
        let mut week = Vec::new();
        for (day, spans) in (0..).zip(&self.weekdays) {
            for span in spans {
                let (from, to) = seconds(*span);
                let start = (day * DAY + from - offset).rem_euclid(WEEK);
                let end = start + (to - from);
                week.push((start, end.min(WEEK)));
                if end > WEEK {
                    week.push((0, end - WEEK));
                }
            }
        }
        week
    }
}

fn seconds(span: Span) -> (i64, i64) {
    (i64::from(span.from) * 60, i64::from(span.to) * 60)
}
