//! Hours and holidays.

use super::*;
use crate::domain::hours::{SendingHours, Span};

const OFFICE: &str = r#"{ mon-fri = "08:00-20:00", sat = "09:00-13:00", sun = "none" }"#;

fn hours_of(columns: &[(&str, &str)]) -> SendingHours {
    let policy = load(&table(columns)).unwrap_or_else(|error| panic!("{error}"));
    let hours = policy.jurisdictions()[&code("ZZ")][0]
        .requirements
        .sending_hours
        .clone();
    hours.expect("the table has the column")
}

/// What is wrong with these hours; the line is always the same.
fn wrong(hours: &str) -> Vec<String> {
    let found = mistakes(&table(&[("sending_hours", hours)]));
    let start = "line 12: jurisdiction[0].sending_hours";
    found
        .iter()
        .map(|one| one.strip_prefix(start).unwrap_or(one).to_owned())
        .collect()
}

const fn span(from: u16, to: u16) -> Span {
    Span {
        from: from * 60,
        to: to * 60,
    }
}

#[test]
fn each_weekday_has_its_hours() {
    let hours = hours_of(&[("sending_hours", OFFICE)]);
    for day in 0..5 {
        assert_eq!(hours.weekdays[day], [span(8, 20)], "{day}");
    }
    assert_eq!(hours.weekdays[5], [span(9, 13)]);
    assert!(hours.weekdays[6].is_empty());
    assert!(hours.holidays.is_empty());
}

#[test]
fn a_day_may_have_several_hours_and_end_at_midnight() {
    let hours = hours_of(&[(
        "sending_hours",
        r#"{ mon-sun = "00:00-08:30, 10:00-11:15, 20:00-24:00" }"#,
    )]);
    let spans = [
        Span { from: 0, to: 510 },
        Span { from: 600, to: 675 },
        span(20, 24),
    ];
    assert!(hours.weekdays.iter().all(|day| *day == spans), "{hours:?}");
}

#[test]
fn hours_may_stand_in_a_table_of_their_own() {
    let text = format!(
        "{}[jurisdiction.sending_hours]\nmon-sat = \"09:00-21:00\"\nsun = \"12:00-21:00\"\n",
        table(&[])
    );
    let policy = load(&text).unwrap();
    let hours = &policy.jurisdictions()[&code("ZZ")][0]
        .requirements
        .sending_hours;
    assert_eq!(hours.as_ref().unwrap().weekdays[6], [span(12, 21)]);
    let wrong = text.replace("sun = \"12:00", "sun = \"21:00");
    assert_eq!(
        mistakes(&wrong),
        [
            "line 14: jurisdiction[0].sending_hours.sun: `21:00-21:00` must end after it begins; hours over midnight belong to two days"
        ]
    );
}

#[test]
fn a_weekday_that_is_not_named_is_refused_so_that_none_is_a_choice() {
    assert_eq!(
        wrong(r#"{ mon-fri = "08:00-20:00", sat = "none" }"#),
        [": `sun` is not named: write `sun = \"none\"` if nothing is sent then"]
    );
    assert_eq!(wrong("{ }").len(), 7);
    assert_eq!(
        wrong(r#"{ mon-sun = "none" }"#),
        [": has no hour at all in which anything may be sent"]
    );
}

#[test]
fn days_that_are_unknown_named_twice_or_run_backward_are_refused() {
    let days = "expected one of mon, tue, wed, thu, fri, sat, sun, or two as in `mon-fri`";
    assert_eq!(
        wrong(r#"{ mon-sun = "08:00-20:00", Sunday = "none" }"#),
        [format!(".Sunday: unknown day `Sunday`, {days}")]
    );
    assert_eq!(
        wrong(r#"{ mon-sun = "08:00-20:00", sun = "none" }"#),
        [".sun: `sun` is named twice"]
    );
    for name in ["sat-mon", "sat-sat"] {
        let found = wrong(&format!(
            r#"{{ mon-sun = "08:00-20:00", {name} = "none" }}"#
        ));
        assert_eq!(
            found,
            [format!(
                ".{name}: must run forward within one week from mon to sun"
            )]
        );
    }
}

#[test]
fn hours_that_are_none_are_refused() {
    for text in [
        "8-20",
        "08:00",
        "08:00-20:60",
        "08:00-25:00",
        "08:00-24:01",
        "8:00-20:00",
        "+8:00-20:00",
        "08:00–20:00",
        "",
        "None",
        "08:00-20:00,",
    ] {
        let found = wrong(&format!(r#"{{ mon-sun = "{text}" }}"#));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].starts_with(".mon-sun: expected hours as in `08:00-20:00`, or `none`, found"),
            "{text}: {found:?}"
        );
    }
    assert_eq!(
        wrong(r#"{ mon-sun = "20:00-08:00" }"#),
        [
            ".mon-sun: `20:00-08:00` must end after it begins; hours over midnight belong to two days"
        ]
    );
    for text in [
        "08:00-12:00, 11:00-20:00",
        "08:00-12:00, 12:00-20:00",
        "10:00-12:00, 08:00-09:00",
    ] {
        let found = wrong(&format!(r#"{{ mon-sun = "{text}" }}"#));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].ends_with("must begin after the hours before it have ended"),
            "{found:?}"
        );
    }
    assert_eq!(
        wrong(r#""mon-sun 08:00-20:00""#),
        [": expected a table, as in `{ name = … }`, found string"]
    );
}

#[test]
fn holidays_are_read_and_have_no_hours() {
    let hours = hours_of(&[
        ("sending_hours", OFFICE),
        (
            "holidays",
            r#"{ fixed = ["01-01", "02-29"], easter = [-2, 1], sunday_moves_to_monday = true, dates = [2026-11-04] }"#,
        ),
    ]);
    let [holidays] = &hours.holidays[..] else {
        panic!("one calendar: {hours:?}")
    };
    assert_eq!(holidays.fixed, [(1, 1), (2, 29)].into());
    assert_eq!(holidays.easter, [-2, 1].into());
    assert!(holidays.sunday_moves_to_monday);
    assert_eq!(holidays.dates, [jiff::civil::date(2026, 11, 4)].into());
    assert!(holidays.spans.is_empty());
}

#[test]
fn holidays_that_are_none_are_refused() {
    let wrong = |holidays: &str| {
        let found = mistakes(&table(&[("sending_hours", OFFICE), ("holidays", holidays)]));
        let start = "line 13: jurisdiction[0].holidays";
        found
            .iter()
            .map(|one| one.strip_prefix(start).unwrap_or(one).to_owned())
            .collect::<Vec<_>>()
    };
    for (holidays, why) in [
        ("{ }", ": names no day: give `fixed`, `easter` or `dates`"),
        (
            r#"{ fixed = ["13-01"] }"#,
            ".fixed[0]: expected month and day as in `12-25`, found `13-01`",
        ),
        (
            r#"{ fixed = ["2-29"] }"#,
            ".fixed[0]: expected month and day as in `12-25`, found `2-29`",
        ),
        (
            r#"{ fixed = ["02-30"] }"#,
            ".fixed[0]: expected month and day as in `12-25`, found `02-30`",
        ),
        (
            r#"{ fixed = ["12-25", "12-25"] }"#,
            ".fixed[1]: stands there twice",
        ),
        (
            "{ easter = [-2, 81] }",
            ".easter[1]: must be days from Easter Sunday, from -80 to 80",
        ),
        (
            r#"{ dates = ["2026-11-04"] }"#,
            ".dates[0]: expected a date without quotes, as in 2026-01-31, found string",
        ),
        (
            "{ easter = [1], sunday_moves_to_monday = true }",
            ".sunday_moves_to_monday: moves only days of `fixed`",
        ),
        (
            r#"{ easter = [1], calendar = "ZA" }"#,
            ": unknown key `calendar`",
        ),
    ] {
        assert_eq!(wrong(holidays), [why], "{holidays}");
    }
    assert_eq!(
        mistakes(&table(&[("holidays", "{ easter = [1] }")])),
        [
            "line 12: jurisdiction[0].holidays: says when nothing is sent, which needs `sending_hours` for the other days"
        ]
    );
}
