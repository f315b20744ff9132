//! Hours against a naive model, at random: it reads every clock every minute and looks the day up in
//! a list of holidays. Known times and calendars are in [`super::tests`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, DateTime, Weekday, date};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed};

use super::{Answer, Clocks, Holidays, Opening, SendingHours, Span, Zone};
use crate::domain::time::Timestamp;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
/// In minutes.
const WEEK: i64 = 7 * 24 * 60;
const HORIZON: i64 = 35 * DAY;

/// Clocks of half and quarter hours, of both hemispheres, without and with odd changes: half an hour
/// (Lord Howe), around Ramadan (Casablanca), by midnight (Beirut), none (Tehran, Phoenix).
const ZONES: [&str; 18] = [
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Phoenix",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Australia/Eucla",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Tehran",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "America/Nuuk",
    "America/Santiago",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
];

/// 96 cases each from one seed, as the model is slow, unless proptest's own variables say otherwise.
fn config() -> Config {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_122),
        chosen @ RngSeed::Fixed(_) => chosen,
    };
    let cases = if default.cases == 256 {
        96
    } else {
        default.cases
    };
    Config {
        cases,
        rng_seed,
        failure_persistence: None,
        ..default
    }
}

fn clock(zone: Zone, second: i64) -> DateTime {
    let at = jiff::Timestamp::from_second(second).unwrap();
    zone.rules().to_datetime(at)
}

fn contains(spans: &[Span], minute: u16) -> bool {
    spans.iter().any(|s| (s.from..s.to).contains(&minute))
}

/// Easter by the table of Knuth's first volume (1.3.2, exercise 14), another way than the code's.
fn easter(year: i16) -> Date {
    let y = i32::from(year);
    let golden = y % 19 + 1;
    let century = y / 100 + 1;
    let gregorian = 3 * century / 4 - 12;
    let moon = (8 * century + 5) / 25 - 5;
    let sunday = 5 * y / 4 - gregorian - 10;
    let mut epact = (11 * golden + 20 + moon - gregorian).rem_euclid(30);
    if (epact == 25 && golden > 11) || epact == 24 {
        epact += 1;
    }
    let mut full_moon = 44 - epact;
    if full_moon < 21 {
        full_moon += 30;
    }
    let day = full_moon + 7 - (sunday + full_moon) % 7;
    date(year, 3, 1)
        .checked_add(jiff::Span::new().days(day - 1))
        .unwrap()
}

/// Every holiday of some years, one by one.
fn holidays(calendar: &Holidays, years: std::ops::RangeInclusive<i16>) -> BTreeSet<Date> {
    let mut days = calendar.dates.clone();
    for year in years {
        for (month, day) in &calendar.fixed {
            let Ok(day) = Date::new(year, *month, *day) else {
                continue;
            };
            days.insert(day);
            if calendar.sunday_moves_to_monday && day.weekday() == Weekday::Sunday {
                days.insert(day.tomorrow().unwrap());
            }
        }
        for offset in &calendar.easter {
            let offset = jiff::Span::new().days(i64::from(*offset));
            days.insert(easter(year).checked_add(offset).unwrap());
        }
    }
    days
}

struct Model<'a> {
    hours: &'a SendingHours,
    zones: &'a [Zone],
    holidays: Vec<BTreeSet<Date>>,
    /// The minutes of a week without holidays, Monday first, and whether they are inside a span.
    week: Vec<bool>,
    /// Whether zones of these distances from UTC, in minutes, have a minute of a week in common.
    in_common: BTreeMap<Vec<i64>, bool>,
}

impl<'a> Model<'a> {
    fn new(hours: &'a SendingHours, zones: &'a [Zone]) -> Self {
        let of = |calendar| holidays(calendar, 2022..=2033);
        let week = hours
            .weekdays
            .iter()
            .flat_map(|spans| (0..1_440).map(|minute| contains(spans, minute)))
            .collect();
        Self {
            hours,
            zones,
            holidays: hours.holidays.iter().map(of).collect(),
            week,
            in_common: BTreeMap::new(),
        }
    }

    fn is_open_in(&self, zone: Zone, second: i64) -> bool {
        let local = clock(zone, second);
        let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute()));
        let minute = minute.unwrap();
        let weekday = usize::try_from(local.date().weekday().to_monday_zero_offset()).unwrap();
        let calendars = self.hours.holidays.iter().zip(&self.holidays);
        contains(&self.hours.weekdays[weekday], minute)
            && calendars
                .filter(|(_, days)| days.contains(&local.date()))
                .all(|(calendar, _)| contains(&calendar.spans, minute))
    }

    fn clocks(&mut self, second: i64) -> Clocks {
        let of = |zone: &Zone| {
            let read = clock(*zone, second)
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap();
            (read.timestamp().as_second() - second).div_euclid(MINUTE)
        };
        let offsets: Vec<i64> = self.zones.iter().map(of).collect();
        let week = &self.week;
        let at = |minute: i64| week[usize::try_from(minute.rem_euclid(WEEK)).unwrap()];
        let in_common = *self.in_common.entry(offsets).or_insert_with_key(|offsets| {
            let in_all = |minute: &i64| offsets.iter().all(|offset| at(minute + offset));
            !week.contains(&true) || (0..WEEK).any(|minute| in_all(&minute))
        });
        if in_common {
            Clocks::All
        } else {
            Clocks::Widest(self.zones[0])
        }
    }

    fn is_open(&mut self, second: i64) -> (bool, Clocks) {
        let clocks = self.clocks(second);
        let open = match clocks {
            Clocks::All => self.zones.iter().all(|z| self.is_open_in(*z, second)),
            Clocks::Widest(zone) => self.is_open_in(zone, second),
        };
        (open, clocks)
    }

    fn opening(&mut self, at: Timestamp) -> Answer {
        let start = at.as_micros().div_euclid(1_000_000);
        let (open, clocks) = self.is_open(start);
        let mut second = start - start.rem_euclid(MINUTE) + MINUTE;
        let mut change = None;
        while change.is_none() && second < start + HORIZON {
            let (later, clocks) = self.is_open(second);
            change = (later != open).then_some((second, clocks));
            second += MINUTE;
        }
        let until = change.map(|(second, _)| Timestamp::from_micros(second * 1_000_000));
        if open {
            Answer {
                opening: Opening::Open { until },
                clocks,
            }
        } else {
            Answer {
                opening: Opening::Closed { until },
                clocks: change.map_or(clocks, |(_, then)| then),
            }
        }
    }
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let minute = prop_oneof![
        3 => (0_u16..=48).prop_map(|half| half * 30),
        1 => 0_u16..=1_440,
    ];
    let cut = prop::collection::btree_set(minute, 0..=4).prop_map(|cuts| {
        let cuts: Vec<u16> = cuts.into_iter().collect();
        let span = |pair: &[u16]| Span {
            from: pair[0],
            to: pair[1],
        };
        cuts.chunks_exact(2).map(span).collect()
    });
    let whole = vec![Span { from: 0, to: 1_440 }];
    // A quarter of an hour now and then, so that zones have none in common.
    let short = (0_u16..=95).prop_map(|n| {
        let from = n * 15;
        vec![Span {
            from,
            to: from + 15,
        }]
    });
    prop_oneof![4 => cut, 1 => Just(whole), 1 => Just(Vec::new()), 1 => short]
}

fn weekdays() -> impl Strategy<Value = [Vec<Span>; 7]> {
    let same = spans().prop_map(|spans| std::array::from_fn(|_| spans.clone()));
    let each = prop::collection::vec(spans(), 7)
        .prop_map(|days| <[Vec<Span>; 7]>::try_from(days).unwrap());
    let one_day = (spans(), 0_usize..7).prop_map(|(spans, day)| {
        let mut days: [Vec<Span>; 7] = Default::default();
        days[day] = spans;
        days
    });
    prop_oneof![4 => same, 4 => each, 1 => one_day]
}

fn calendar() -> impl Strategy<Value = Holidays> {
    let fixed = prop::collection::btree_set((1_i8..=12, 1_i8..=31), 0..80);
    let easter = prop::collection::btree_set(-400_i16..=400, 0..12);
    let days = (0_i64..2_500).prop_map(|days| {
        date(2024, 1, 1)
            .checked_add(jiff::Span::new().days(days))
            .unwrap()
    });
    let dates = prop::collection::btree_set(days, 0..300);
    (fixed, easter, dates, any::<bool>(), spans()).prop_map(
        |(fixed, easter, dates, sunday_moves_to_monday, spans)| Holidays {
            fixed,
            easter,
            sunday_moves_to_monday,
            dates,
            spans,
        },
    )
}

fn hours() -> impl Strategy<Value = SendingHours> {
    let holidays = prop_oneof![
        1 => Just(Vec::new()),
        1 => prop::collection::vec(calendar(), 1..=2),
    ];
    (weekdays(), holidays).prop_map(|(weekdays, holidays)| SendingHours { weekdays, holidays })
}

fn zone() -> impl Strategy<Value = Zone> {
    select(ZONES.as_slice()).prop_map(|name| Zone::named(name).unwrap())
}

/// Of the years 2024 to 2030, half of them close to a change of the zone's clocks.
fn instant(zone: Zone) -> impl Strategy<Value = Timestamp> {
    let (from, to) = (1_704_067_200_i64, 1_924_905_600_i64);
    let any = (from..to).boxed();
    let first = jiff::Timestamp::from_second(from).unwrap();
    let changes: Vec<i64> = zone
        .rules()
        .following(first)
        .map(|change| change.timestamp().as_second())
        .take_while(|second| *second < to)
        .collect();
    let second = if changes.is_empty() {
        any
    } else {
        let near = (select(changes), -2 * DAY..DAY / 6).prop_map(|(change, by)| change + by);
        prop_oneof![any, near].boxed()
    };
    (second, 0_i64..1_000_000)
        .prop_map(|(second, micros)| Timestamp::from_micros(second * 1_000_000 + micros))
}

prop_compose! {
    fn case()(zones in prop_oneof![
        2 => prop::collection::vec(zone(), 1),
        1 => prop::collection::vec(zone(), 2..=3),
    ])(at in instant(zones[0]), zones in Just(zones), hours in hours())
        -> (SendingHours, Vec<Zone>, Timestamp) {
        (hours, zones, at)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn hours_are_open_when_the_clocks_read_so_minute_by_minute((hours, zones, at) in case()) {
        let expected = Model::new(&hours, &zones).opening(at);
        prop_assert_eq!(hours.opening(&zones, at), expected);
    }

    /// So that a sender who comes back at the instant that was named is not sent away again.
    #[test]
    fn at_the_instant_that_an_answer_names_the_hours_change((hours, zones, at) in case()) {
        let opposite = |answer: Answer| match answer.opening {
            Opening::Open { until } => until.map(|until| (false, until)),
            Opening::Closed { until } => until.map(|until| (true, until)),
        };
        if let Some((open, until)) = opposite(hours.opening(&zones, at)) {
            prop_assert!(until > at);
            let then = hours.opening(&zones, until);
            prop_assert_eq!(matches!(then.opening, Opening::Open { .. }), open);
        }
    }

    #[test]
    fn common_hours_are_open_exactly_when_both_are(
        (one, zones, at) in case(), other in hours(), minutes in prop::collection::vec(0_i64..50_000, 50),
    ) {
        let zone = &zones[..1];
        let open = |hours: &SendingHours, at| matches!(hours.opening(zone, at).opening, Opening::Open { .. });
        let common = one.common(&other);
        for minute in minutes {
            let at = Timestamp::from_micros(at.as_micros() + minute * 60_000_000);
            prop_assert_eq!(open(&common, at), open(&one, at) && open(&other, at), "{}", at);
        }
        prop_assert_eq!(&common.common(&one), &common);
    }
}
