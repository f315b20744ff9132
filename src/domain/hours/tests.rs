//! Hours at known places and times, and calendars of known years. Random ones are in [`super::model`].

use std::collections::BTreeSet;

use jiff::civil::date;

use super::*;
use crate::domain::time::Timestamp;

fn zones(names: &[&str]) -> Vec<Zone> {
    names.iter().map(|n| Zone::named(n).unwrap()).collect()
}

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_micros(instant.as_microsecond())
}

/// Hours and minutes as a clock shows them: `0930` is half past nine.
const fn span(from: u16, to: u16) -> Span {
    Span {
        from: from / 100 * 60 + from % 100,
        to: to / 100 * 60 + to % 100,
    }
}

fn daily(from: u16, to: u16) -> SendingHours {
    SendingHours {
        weekdays: std::array::from_fn(|_| vec![span(from, to)]),
        holidays: Vec::new(),
    }
}

/// Only on the day of this number, Monday being 0.
fn weekly(day: usize, from: u16, to: u16) -> SendingHours {
    let mut hours = daily(0, 0);
    hours.weekdays = Default::default();
    hours.weekdays[day] = vec![span(from, to)];
    hours
}

fn calendar() -> Holidays {
    Holidays {
        fixed: BTreeSet::new(),
        easter: BTreeSet::new(),
        sunday_moves_to_monday: false,
        dates: BTreeSet::new(),
        spans: Vec::new(),
    }
}

/// Of a day since 1970-01-01.
fn number(day: jiff::civil::Date) -> i64 {
    (day - date(1970, 1, 1)).get_days().into()
}

fn open_until(until: &str) -> Opening {
    Opening::Open {
        until: Some(at(until)),
    }
}

fn closed_until(until: &str) -> Opening {
    Opening::Closed {
        until: Some(at(until)),
    }
}

#[track_caller]
fn assert_opening(hours: &SendingHours, zone: &str, cases: &[(&str, Opening)]) {
    for (instant, opening) in cases {
        let answer = hours.opening(&zones(&[zone]), at(instant));
        assert_eq!(answer.opening, *opening, "{zone} at {instant}");
        assert_eq!(answer.clocks, Clocks::All);
    }
}

#[test]
fn hours_are_read_on_the_clock_of_the_zone() {
    assert_opening(
        &daily(900, 1800),
        "Europe/Berlin",
        &[
            (
                "2026-01-14T07:59:59.999999Z",
                closed_until("2026-01-14T08:00:00Z"),
            ),
            ("2026-01-14T08:00:00Z", open_until("2026-01-14T17:00:00Z")),
            (
                "2026-01-14T16:59:59.999999Z",
                open_until("2026-01-14T17:00:00Z"),
            ),
            ("2026-01-14T17:00:00Z", closed_until("2026-01-15T08:00:00Z")),
            ("2026-07-14T07:00:00Z", open_until("2026-07-14T16:00:00Z")),
        ],
    );
    assert_opening(
        &daily(900, 1800),
        "Asia/Kathmandu",
        &[("2026-01-14T00:00:00Z", closed_until("2026-01-14T03:15:00Z"))],
    );
}

#[test]
fn each_weekday_has_hours_of_its_own() {
    let mut hours = daily(800, 2000);
    hours.weekdays[5] = vec![span(900, 1300)];
    hours.weekdays[6] = Vec::new();
    assert_opening(
        &hours,
        "Africa/Johannesburg",
        &[
            ("2026-01-16T12:00:00Z", open_until("2026-01-16T18:00:00Z")),
            ("2026-01-16T18:00:00Z", closed_until("2026-01-17T07:00:00Z")),
            ("2026-01-17T07:00:00Z", open_until("2026-01-17T11:00:00Z")),
            ("2026-01-17T11:00:00Z", closed_until("2026-01-19T06:00:00Z")),
        ],
    );
}

#[test]
fn a_span_that_ends_at_24_goes_on_with_the_next_day() {
    let mut hours = daily(2200, 2400);
    hours.weekdays[3] = vec![span(0, 200), span(200, 400)];
    assert_opening(
        &hours,
        "Asia/Tokyo",
        &[("2026-01-14T14:00:00Z", open_until("2026-01-14T19:00:00Z"))],
    );
}

#[test]
fn hours_without_an_end_or_without_a_beginning_say_so() {
    let zone = zones(&["Europe/Berlin"]);
    let never = SendingHours {
        weekdays: Default::default(),
        holidays: Vec::new(),
    };
    let now = at("2026-03-20T12:00:00Z");
    assert_eq!(
        daily(0, 2400).opening(&zone, now).opening,
        Opening::Open { until: None }
    );
    assert_eq!(
        never.opening(&zone, now).opening,
        Opening::Closed { until: None }
    );
    let two = zones(&["Europe/Berlin", "Asia/Tokyo"]);
    assert_eq!(never.opening(&two, now).clocks, Clocks::All);
}

#[test]
fn what_lies_more_than_35_days_ahead_is_not_looked_for() {
    let mut hours = daily(900, 1800);
    let days = |n: i64| {
        date(2026, 1, 1)
            .checked_add(jiff::Span::new().days(n))
            .unwrap()
    };
    hours.holidays.push(Holidays {
        dates: (0..60).map(days).collect(),
        ..calendar()
    });
    assert_opening(
        &hours,
        "Etc/UTC",
        &[
            ("2026-01-01T00:00:00Z", Opening::Closed { until: None }),
            ("2026-01-26T10:00:00Z", closed_until("2026-03-02T09:00:00Z")),
        ],
    );
}

#[test]
fn hours_that_begin_in_a_skipped_hour_begin_when_the_clock_reads_again() {
    // On 8 March 2026 New York's clocks go from 02:00 to 03:00.
    assert_opening(
        &daily(230, 500),
        "America/New_York",
        &[("2026-03-08T05:00:00Z", closed_until("2026-03-08T07:00:00Z"))],
    );
    assert_opening(
        &daily(200, 230),
        "America/New_York",
        &[("2026-03-08T05:00:00Z", closed_until("2026-03-09T06:00:00Z"))],
    );
    assert_opening(
        &daily(100, 230),
        "America/New_York",
        &[("2026-03-08T06:30:00Z", open_until("2026-03-08T07:00:00Z"))],
    );
}

#[test]
fn an_hour_that_the_clock_reads_twice_counts_twice() {
    // On 1 November 2026 New York's clocks go from 02:00 back to 01:00.
    assert_opening(
        &daily(100, 130),
        "America/New_York",
        &[
            ("2026-11-01T05:00:00Z", open_until("2026-11-01T05:30:00Z")),
            ("2026-11-01T05:30:00Z", closed_until("2026-11-01T06:00:00Z")),
            ("2026-11-01T06:00:00Z", open_until("2026-11-01T06:30:00Z")),
        ],
    );
    assert_opening(
        &daily(100, 200),
        "America/New_York",
        &[("2026-11-01T05:00:00Z", open_until("2026-11-01T07:00:00Z"))],
    );
}

#[test]
fn days_of_23_and_25_hours_end_when_the_clock_says_so() {
    assert_opening(
        &daily(0, 2100),
        "Europe/Berlin",
        &[
            ("2026-03-28T23:00:00Z", open_until("2026-03-29T19:00:00Z")),
            ("2026-10-24T22:00:00Z", open_until("2026-10-25T20:00:00Z")),
        ],
    );
}

#[test]
fn clocks_that_change_by_half_an_hour_or_around_ramadan_are_followed() {
    // Lord Howe, 5 April 2026: from 02:00 (UTC+11) back to 01:30 (UTC+10:30).
    assert_opening(
        &daily(145, 200),
        "Australia/Lord_Howe",
        &[
            ("2026-04-04T14:45:00Z", open_until("2026-04-04T15:00:00Z")),
            ("2026-04-04T15:00:00Z", closed_until("2026-04-04T15:15:00Z")),
            ("2026-04-04T15:15:00Z", open_until("2026-04-04T15:30:00Z")),
        ],
    );
    // Casablanca is at UTC+1, but at UTC from 15 February to 22 March 2026.
    assert_opening(
        &daily(900, 1000),
        "Africa/Casablanca",
        &[
            ("2026-02-14T00:00:00Z", closed_until("2026-02-14T08:00:00Z")),
            ("2026-02-15T04:00:00Z", closed_until("2026-02-15T09:00:00Z")),
        ],
    );
}

#[test]
fn a_day_that_a_place_left_out_has_no_hours() {
    // Samoa went from Thursday, 29 December 2011, to Saturday.
    assert_opening(
        &weekly(4, 900, 1000),
        "Pacific/Apia",
        &[("2011-12-29T12:00:00Z", closed_until("2012-01-05T19:00:00Z"))],
    );
}

#[test]
fn several_zones_are_open_when_all_of_them_are() {
    let both = zones(&["America/New_York", "America/Los_Angeles"]);
    let hours = daily(800, 2100);
    for (instant, opening) in [
        ("2026-01-14T13:00:00Z", closed_until("2026-01-14T16:00:00Z")),
        ("2026-01-14T16:00:00Z", open_until("2026-01-15T02:00:00Z")),
        ("2026-01-15T02:00:00Z", closed_until("2026-01-15T16:00:00Z")),
    ] {
        let answer = hours.opening(&both, at(instant));
        assert_eq!(answer.opening, opening, "{instant}");
        assert_eq!(answer.clocks, Clocks::All);
    }
}

#[test]
fn zones_without_a_common_hour_leave_the_widest_zones_hours() {
    let far = zones(&["Europe/Berlin", "Pacific/Auckland"]);
    let hours = daily(900, 1700);
    for (instant, opening) in [
        ("2026-01-14T07:00:00Z", closed_until("2026-01-14T08:00:00Z")),
        ("2026-01-14T08:00:00Z", open_until("2026-01-14T16:00:00Z")),
    ] {
        let answer = hours.opening(&far, at(instant));
        assert_eq!(answer.opening, opening, "{instant}");
        assert_eq!(answer.clocks, Clocks::Widest(far[0]));
    }
}

#[test]
fn a_run_of_holidays_does_not_make_hours_those_of_the_widest_zone() {
    // Berlin is still within its hours when Tokyo's have ended, and the next common ones are ten days off.
    let both = zones(&["Europe/Berlin", "Asia/Tokyo"]);
    let mut hours = daily(900, 1900);
    hours.holidays.push(Holidays {
        dates: (15..25).map(|day| date(2026, 1, day)).collect(),
        ..calendar()
    });
    let answer = hours.opening(&both, at("2026-01-14T10:00:00Z"));
    assert_eq!(answer.opening, closed_until("2026-01-25T08:00:00Z"));
    assert_eq!(answer.clocks, Clocks::All);
}

#[test]
fn clocks_that_drift_apart_and_together_are_judged_as_they_stand() {
    // Half an hour in common while New York is in winter and London in summer time no more.
    let both = zones(&["Europe/London", "America/New_York"]);
    let hours = daily(900, 1330);
    // 25 October to 1 November 2026: four hours apart; else five.
    let apart = hours.opening(&both, at("2026-10-24T12:00:00Z"));
    assert_eq!(apart.clocks, Clocks::Widest(both[0]));
    assert_eq!(apart.opening, open_until("2026-10-24T12:30:00Z"));
    let together = hours.opening(&both, at("2026-10-26T12:00:00Z"));
    assert_eq!(together.clocks, Clocks::All);
    assert_eq!(together.opening, closed_until("2026-10-26T13:00:00Z"));
}

#[test]
fn without_a_zone_or_a_calendar_nothing_is_ever_open() {
    let hours = daily(0, 2400);
    let closed = Opening::Closed { until: None };
    assert_eq!(
        hours.opening(&[], at("2026-01-14T12:00:00Z")).opening,
        closed
    );
    let zone = zones(&["Europe/Berlin"]);
    for micros in [i64::MIN, i64::MAX] {
        let answer = hours.opening(&zone, Timestamp::from_micros(micros));
        assert_eq!(answer.opening, closed);
    }
    let open = Opening::Open { until: None };
    let last = at("9999-12-30T00:00:00Z");
    assert_eq!(hours.opening(&zone, last).opening, open);
}

#[test]
fn easter_is_found_in_known_years() {
    // Tables of the U.S. Census Bureau and of the Book of Common Prayer.
    for (year, month, day) in [
        (1818, 3, 22),
        (1943, 4, 25),
        (1954, 4, 18),
        (1981, 4, 19),
        (2000, 4, 23),
        (2008, 3, 23),
        (2024, 3, 31),
        (2025, 4, 20),
        (2026, 4, 5),
        (2027, 3, 28),
        (2038, 4, 25),
        (2049, 4, 18),
        (2076, 4, 19),
        (2285, 3, 22),
    ] {
        assert_eq!(easter_sunday(year), (month, day), "{year}");
    }
}

#[test]
fn holidays_are_found_by_rule_and_by_date() {
    // South Africa: New Year's Day, Family Day, a Sunday's holiday on the Monday after it, a poll.
    let calendar = Holidays {
        fixed: BTreeSet::from([(1, 1), (8, 9), (12, 16), (12, 25), (12, 26)]),
        easter: BTreeSet::from([-2, 1]),
        sunday_moves_to_monday: true,
        dates: BTreeSet::from([date(2026, 11, 4)]),
        ..calendar()
    };
    for (day, is_holiday) in [
        (date(2026, 1, 1), true),
        (date(2026, 1, 2), false),
        (date(2026, 4, 3), true),
        (date(2026, 4, 5), false),
        (date(2026, 4, 6), true),
        (date(2026, 8, 9), true),
        (date(2026, 8, 10), true),
        (date(2026, 11, 4), true),
        (date(2025, 11, 4), false),
        (date(2026, 12, 16), true),
        (date(2026, 12, 17), false),
        (date(2022, 12, 27), false),
    ] {
        assert_eq!(calendar.has(number(day)), is_holiday, "{day}");
    }
    let stays = Holidays {
        sunday_moves_to_monday: false,
        ..calendar
    };
    assert!(!stays.has(number(date(2026, 8, 10))));
}

#[test]
fn a_holiday_has_the_hours_that_its_calendars_and_the_weekday_have_in_common() {
    let mut hours = daily(800, 1400);
    let day = BTreeSet::from([date(2026, 1, 14)]);
    hours.holidays.push(Holidays {
        dates: day.clone(),
        spans: vec![span(1000, 1600)],
        ..calendar()
    });
    assert_opening(
        &hours,
        "Etc/UTC",
        &[
            ("2026-01-14T08:00:00Z", closed_until("2026-01-14T10:00:00Z")),
            ("2026-01-14T10:00:00Z", open_until("2026-01-14T14:00:00Z")),
        ],
    );
    hours.holidays.push(Holidays {
        dates: day,
        spans: vec![span(600, 1100)],
        ..calendar()
    });
    assert_opening(
        &hours,
        "Etc/UTC",
        &[
            ("2026-01-14T10:00:00Z", open_until("2026-01-14T11:00:00Z")),
            ("2026-01-14T11:00:00Z", closed_until("2026-01-15T08:00:00Z")),
        ],
    );
}

#[test]
fn common_hours_keep_the_calendars_of_both() {
    let holiday = |day| Holidays {
        dates: BTreeSet::from([date(2026, 1, day)]),
        ..calendar()
    };
    let mut one = daily(800, 2000);
    one.holidays = vec![holiday(14), holiday(15)];
    let mut other = daily(900, 2100);
    other.holidays = vec![holiday(15), holiday(16)];
    let common = one.common(&other);
    assert_eq!(common.weekdays, daily(900, 2000).weekdays);
    assert_eq!(common.holidays, [holiday(14), holiday(15), holiday(16)]);
    assert_eq!(
        common
            .opening(&zones(&["Etc/UTC"]), at("2026-01-14T08:30:00Z"))
            .opening,
        closed_until("2026-01-17T09:00:00Z")
    );
}

#[test]
fn hours_that_only_touch_have_nothing_in_common() {
    let common = daily(900, 1200).common(&daily(1200, 1800));
    assert_eq!(common.weekdays, <[Vec<Span>; 7]>::default());
    let answer = common.opening(&zones(&["Etc/UTC"]), at("2026-01-14T10:00:00Z"));
    assert_eq!(answer.opening, Opening::Closed { until: None });
    // Nine in Berlin is eight in UTC, and ten there is nine in London, where the hour begins.
    let touching = zones(&["Europe/Berlin", "Europe/London"]);
    let answer = daily(900, 1000).opening(&touching, at("2026-01-14T08:30:00Z"));
    assert_eq!(answer.clocks, Clocks::Widest(touching[0]));
    assert_eq!(answer.opening, open_until("2026-01-14T09:00:00Z"));
}

/// Whether the weeks of these zones have an hour in common, in January 2026.
fn is_common(hours: &SendingHours, names: &[&str]) -> bool {
    let zones = zones(names);
    let answer = hours.opening(&zones, at("2026-01-14T12:00:00Z"));
    let widest = Clocks::Widest(zones[0]);
    assert!(answer.clocks == Clocks::All || answer.clocks == widest);
    answer.clocks == Clocks::All
}

#[test]
fn hours_in_common_are_looked_for_on_the_same_day_of_the_week() {
    // Tuesday's last hours in Auckland are Monday's of no other place, though they are read as early.
    let mut hours = weekly(0, 900, 1700);
    hours.weekdays[1] = vec![span(2100, 2400)];
    assert!(!is_common(&hours, &["Europe/Berlin", "Pacific/Auckland"]));
    // Monday evening in Berlin is Tuesday morning in Auckland.
    let mut hours = weekly(0, 2000, 2400);
    hours.weekdays[1] = vec![span(800, 1200)];
    assert!(is_common(&hours, &["Europe/Berlin", "Pacific/Auckland"]));
}

#[test]
fn the_hours_of_a_clock_that_is_ahead_come_earlier() {
    // Nine, ten and noon of UTC are one hour later at the first of the others, and three at the second.
    let mut hours = weekly(2, 900, 1100);
    hours.weekdays[2].push(span(1200, 1300));
    let behind = ["Etc/UTC", "Atlantic/Cape_Verde", "America/Sao_Paulo"];
    assert!(!is_common(&hours, &behind));
    let ahead = ["Etc/UTC", "Europe/Berlin", "Europe/Moscow"];
    assert!(is_common(&hours, &ahead));
}

#[test]
fn a_week_goes_over_into_the_next() {
    // Midnight of Monday in Berlin is Sunday in UTC.
    let early = weekly(0, 0, 600);
    assert!(is_common(&early, &["Europe/Berlin", "Etc/UTC"]));
    assert!(is_common(&early, &["Europe/Berlin", "Atlantic/Cape_Verde"]));
    assert!(is_common(
        &early,
        &["Europe/Berlin", "Africa/Lagos", "Europe/Moscow"]
    ));
    assert!(!is_common(
        &weekly(0, 0, 200),
        &["Europe/Berlin", "America/New_York"]
    ));
}
