//! What the places of these cases ask for, written down a third time: from the sources that `policy/default.toml`
//! names, for the years in which the cases play (from June 2026 on).

use consentgate::grpc::proto::{ConsentType, ImpliedBasis};
use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

#[derive(Debug)]
pub struct Law {
    pub weakest: ConsentType,
    pub is_confirmed: bool,
    pub names_whatsapp: bool,
    pub valid_days: Option<i64>,
    pub implied_days: &'static [(ImpliedBasis, i64)],
    /// First and last hour of Monday to Friday, Saturday and Sunday.
    hours: [(i64, i64); 3],
    has_holidays: bool,
    /// How many messages in how many days.
    pub caps: &'static [(usize, i64)],
    /// Names, and how many days an answer may be old.
    pub registries: &'static [(&'static str, i64)],
    pub asks: usize,
    pub days_between_asks: i64,
    pub asking_is_commercial: bool,
    /// For how many days after its end a consent is to be provable.
    pub proof_days: i64,
    /// How many hours its clocks are ahead of UTC. None of these places changes its clocks.
    ahead: i64,
}

/// Where nobody knows better.
const STRICT: Law = Law {
    weakest: ConsentType::Expressed,
    is_confirmed: true,
    names_whatsapp: false,
    valid_days: Some(365),
    implied_days: &[],
    hours: [(9, 20), (9, 20), (9, 20)],
    has_holidays: false,
    caps: &[],
    registries: &[],
    asks: 2,
    days_between_asks: 366,
    asking_is_commercial: true,
    proof_days: 1_827,
    ahead: 0,
};

/// Guadalajara, which has no daylight saving time since 2022.
const MEXICO: Law = Law {
    ahead: -6,
    ..STRICT
};

const ARGENTINA: Law = Law {
    ahead: -3,
    ..STRICT
};

const SOUTH_AFRICA: Law = Law {
    is_confirmed: false,
    names_whatsapp: true,
    valid_days: None,
    hours: [(8, 20), (9, 13), (0, 0)],
    has_holidays: true,
    registries: &[("za-ncc", 30)],
    asks: 1,
    days_between_asks: 0,
    asking_is_commercial: false,
    proof_days: 1_096,
    ahead: 2,
    ..STRICT
};

const EMIRATES: Law = Law {
    is_confirmed: false,
    hours: [(9, 18), (9, 18), (9, 18)],
    caps: &[(1, 1), (2, 7)],
    registries: &[("ae-dncr", 1)],
    asking_is_commercial: false,
    proof_days: 731,
    ahead: 4,
    ..STRICT
};

/// Saskatchewan, which has no daylight saving time.
const CANADA: Law = Law {
    weakest: ConsentType::Implied,
    is_confirmed: false,
    valid_days: None,
    implied_days: &[(ImpliedBasis::Purchase, 730), (ImpliedBasis::Inquiry, 181)],
    hours: [(8, 21), (8, 21), (8, 21)],
    proof_days: 1_096,
    ahead: -6,
    ..STRICT
};

pub fn of(country: &str) -> &'static Law {
    match country {
        "MX" => &MEXICO,
        "AR" => &ARGENTINA,
        "ZA" => &SOUTH_AFRICA,
        "AE" => &EMIRATES,
        "CA" => &CANADA,
        other => panic!("no law of {other}"),
    }
}

/// For how long a confirmation is waited for, everywhere.
pub const CONFIRMED_WITHIN: i64 = 7 * DAY;

impl Law {
    /// Whether it is an hour for sending, by the clocks there.
    pub fn is_open(&self, at: i64) -> bool {
        let local = at + self.ahead * HOUR;
        let days = local.div_euclid(DAY);
        let hour = local.rem_euclid(DAY) / HOUR;
        let date = Date::constant(1970, 1, 1).saturating_add(days.days());
        let (from, to) = match date.weekday() {
            Weekday::Saturday => self.hours[1],
            Weekday::Sunday => self.hours[2],
            _ => self.hours[0],
        };
        from <= hour && hour < to && !(self.has_holidays && is_holiday(date))
    }
}

/// Public Holidays Act 36 of 1994.
fn is_holiday(date: Date) -> bool {
    const FIXED: [(i8, i8); 10] = [
        (1, 1),
        (3, 21),
        (4, 27),
        (5, 1),
        (6, 16),
        (8, 9),
        (9, 24),
        (12, 16),
        (12, 25),
        (12, 26),
    ];
    let fixed = |date: Date| FIXED.contains(&(date.month(), date.day()));
    let before = date.saturating_sub(1.day());
    let moved = date.weekday() == Weekday::Monday && fixed(before);
    let easter = easter(date.year());
    let good_friday = easter.saturating_sub(2.days());
    let family_day = easter.saturating_add(1.day());
    fixed(date) || moved || date == good_friday || date == family_day
}

/// Gauss, as corrected by Lichtenberg.
fn easter(year: i16) -> Date {
    let year_ = i32::from(year);
    let century = year_ / 100;
    let moon = 15 + (3 * century + 3) / 4 - (8 * century + 13) / 25;
    let sun = 2 - (3 * century + 3) / 4;
    let cycle = year_ % 19;
    let seed = (19 * cycle + moon) % 30;
    let calendar = (seed + cycle / 11) / 29;
    let boundary = 21 + seed - calendar;
    let first_sunday = 7 - (year_ + year_ / 4 + sun) % 7;
    let distance = 7 - (boundary - first_sunday) % 7;
    let march = boundary + distance;
    Date::constant(year, 3, 1).saturating_add((march - 1).days())
}

#[test]
fn easter_is_when_it_was_and_will_be() {
    for (year, month, day) in [
        (2024, 3, 31),
        (2025, 4, 20),
        (2026, 4, 5),
        (2027, 3, 28),
        (2028, 4, 16),
    ] {
        assert_eq!(easter(year), Date::constant(year, month, day));
    }
}
