//! The hours and holidays of a jurisdiction: from `sending_hours` and `holidays` to [`SendingHours`].
//!
//! All seven weekdays must be named, so that a day without hours is a choice that can be seen. What
//! time it is where somebody lives is not known here: see `crate::domain::hours`.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::document::Table;
use crate::domain::hours::{Holidays, SendingHours, Span};

/// As the file names them, Monday first.
pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What stands for a day on which nothing is sent.
const NONE: &str = "none";

/// As far from Easter Sunday as a movable feast lies, with room to spare: Corpus Christi is 60 days
/// after it, Ash Wednesday 46 before.
const EASTER_DAYS: std::ops::RangeInclusive<i32> = -80..=80;

/// Reads both columns. `None` also where there are mistakes, which are reported.
pub(super) fn sending_hours(table: &mut Table<'_, '_>) -> Option<SendingHours> {
    const HOURS: &str = "sending_hours";
    const HOLIDAYS: &str = "holidays";
    let weekdays = table.table(HOURS).and_then(weekdays);
    let holidays = table.table(HOLIDAYS).map(holidays);
    if holidays.is_some() && !table.has_read(HOURS) {
        table.mistake(
            HOLIDAYS,
            format!("says when nothing is sent, which needs `{HOURS}` for the other days"),
        );
    }
    Some(SendingHours {
        weekdays: weekdays?,
        holidays: holidays.into_iter().collect(),
    })
}

/// `mon-fri = "08:00-20:00"` for several days, `sun = "none"` for one.
fn weekdays(mut table: Table<'_, '_>) -> Option<[Vec<Span>; 7]> {
    let mut weekdays: [Option<Vec<Span>>; 7] = Default::default();
    for name in table.unread() {
        let hours = table.parsed(&name, spans);
        let days = match days(&name) {
            Ok(days) => days,
            Err(message) => {
                table.mistake(&name, message);
                continue;
            }
        };
        for day in days {
            if weekdays[day].is_some() {
                table.mistake(&name, format!("`{}` is named twice", WEEKDAYS[day]));
            }
            // One that does not read is named all the same.
            weekdays[day] = Some(hours.clone().unwrap_or_default());
        }
    }
    for (day, hours) in WEEKDAYS.iter().zip(&weekdays) {
        if hours.is_none() {
            table.mistake(
                "",
                format!("`{day}` is not named: write `{day} = \"{NONE}\"` if nothing is sent then"),
            );
        }
    }
    let all_named = weekdays.iter().all(Option::is_some);
    let weekdays = weekdays.map(Option::unwrap_or_default);
    if all_named && table.is_good() && weekdays.iter().all(Vec::is_empty) {
        table.mistake("", "has no hour at all in which anything may be sent");
    }
    table.finish();
    all_named.then_some(weekdays)
}

/// The days that a name stands for: `sat`, or `mon-fri` from the first to the last.
fn days(name: &str) -> Result<std::ops::RangeInclusive<usize>, String> {
    let day = |text: &str| {
        WEEKDAYS.iter().position(|day| *day == text).ok_or_else(|| {
            let known = WEEKDAYS.join(", ");
            format!("unknown day `{text}`, expected one of {known}, or two as in `mon-fri`")
        })
    };
    let (first, last) = name.split_once('-').unwrap_or((name, name));
    let (first, last) = (day(first)?, day(last)?);
    if name.contains('-') && first >= last {
        return Err(format!(
            "must run forward within one week from {} to {}",
            WEEKDAYS[0], WEEKDAYS[6]
        ));
    }
    Ok(first..=last)
}

/// `08:00-20:00`, several of them with commas between, or `none`.
fn spans(text: &str) -> Result<Vec<Span>, String> {
    if text == NONE {
        return Ok(Vec::new());
    }
    let mut spans: Vec<Span> = Vec::new();
    for part in text.split(',') {
        let span = span(part.trim_matches(' '))?;
        if let Some(before) = spans.last()
            && span.from <= before.to
        {
            return Err(format!(
                "`{part}` must begin after the hours before it have ended"
            ));
        }
        spans.push(span);
    }
    Ok(spans)
}

fn span(text: &str) -> Result<Span, String> {
    let shape = || format!("expected hours as in `08:00-20:00`, or `{NONE}`, found `{text}`");
    let (from, to) = text.split_once('-').ok_or_else(shape)?;
    let (from, to) = (
        minute(from).ok_or_else(shape)?,
        minute(to).ok_or_else(shape)?,
    );
    if from >= to {
        return Err(format!(
            "`{text}` must end after it begins; hours over midnight belong to two days"
        ));
    }
    Ok(Span { from, to })
}

/// `HH:MM` as minutes of the day; `24:00` is the end of it.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits =
        |part: &str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return None;
    }
    let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= 24 * 60).then_some(minute)
}

/// Days on which nothing is sent, whatever their weekday.
fn holidays(mut table: Table<'_, '_>) -> Holidays {
    let fixed = table.list("fixed", month_and_day).unwrap_or_default();
    let easter = table.integers("easter").unwrap_or_default();
    let moves = table.flag("sunday_moves_to_monday").unwrap_or_default();
    let dates = table.dates("dates").unwrap_or_default();
    if fixed.is_empty() && easter.is_empty() && dates.is_empty() && table.is_good() {
        table.mistake("", "names no day: give `fixed`, `easter` or `dates`");
    }
    if moves && fixed.is_empty() && table.is_good() {
        table.mistake("sunday_moves_to_monday", "moves only days of `fixed`");
    }
    let easter_days = easter.iter().enumerate().filter_map(|(index, day)| {
        if !EASTER_DAYS.contains(day) {
            let (first, last) = (EASTER_DAYS.start(), EASTER_DAYS.end());
            table.mistake(
                &format!("easter[{index}]"),
                format!("must be days from Easter Sunday, from {first} to {last}"),
            );
        }
        i16::try_from(*day).ok()
    });
    let holidays = Holidays {
        fixed: distinct(&table, "fixed", fixed.iter().copied()),
        easter: distinct(&table, "easter", easter_days),
        sunday_moves_to_monday: moves,
        dates: distinct(&table, "dates", dates.iter().copied()),
        spans: Vec::new(),
    };
    table.finish();
    holidays
}

fn distinct<T: Ord>(
    table: &Table<'_, '_>,
    key: &str,
    days: impl Iterator<Item = T>,
) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for (index, day) in days.enumerate() {
        if !set.insert(day) {
            table.mistake(&format!("{key}[{index}]"), "stands there twice");
        }
    }
    set
}

/// `MM-DD` of any year, a leap year's too.
fn month_and_day(text: &str) -> Result<(i8, i8), String> {
    const LEAP_YEAR: i16 = 2004;
    text.split_once('-')
        .filter(|(month, day)| month.len() == 2 && day.len() == 2)
        .and_then(|(month, day)| Some((month.parse().ok()?, day.parse().ok()?)))
        .filter(|(month, day)| Date::new(LEAP_YEAR, *month, *day).is_ok())
        .ok_or_else(|| format!("expected month and day as in `12-25`, found `{text}`"))
}
