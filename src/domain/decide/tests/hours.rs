//! Step 11: sending hours, to the second, on the clocks of one zone and of two, and on none.

use super::*;
use crate::domain::hours::{SendingHours, Span, Zone};

/// Monday, 1970-01-05.
const MONDAY: i64 = 4 * DAY;
const HOUR: i64 = 3_600;

fn in_zones(names: &[&str]) -> Place {
    Place {
        jurisdictions: Vec::new(),
        zones: names
            .iter()
            .map(|name| Zone::named(name).unwrap())
            .collect(),
    }
}

/// The same hours on each of these days, Monday first.
fn sending(days: std::ops::Range<usize>, from: u16, to: u16) -> SendingHours {
    let mut weekdays: [Vec<Span>; 7] = Default::default();
    for day in days {
        weekdays[day] = vec![Span {
            from: from * 60,
            to: to * 60,
        }];
    }
    SendingHours {
        weekdays,
        holidays: Vec::new(),
    }
}

fn from_nine_to_six() -> Requirements {
    Requirements {
        sending_hours: Some(sending(0..5, 9, 18)),
        ..lenient()
    }
}

fn quiet_until(seconds: i64) -> Answer {
    Answer::Waits(Reason::QuietHours, seconds)
}

#[test]
fn hours_open_and_close_to_the_second() {
    let rules = everywhere(from_nine_to_six());
    let consent = [given(1, 100, "offers")];
    let (opens, closes) = (MONDAY + 9 * HOUR, MONDAY + 18 * HOUR);
    for (seconds, expected) in [
        (opens - 1, quiet_until(opens)),
        (opens, Answer::Allowed),
        (opens + 1, Answer::Allowed),
        (closes - 1, Answer::Allowed),
        (closes, quiet_until(opens + DAY)),
        // From Friday evening to Monday morning.
        (closes + 4 * DAY, quiet_until(opens + 7 * DAY)),
    ] {
        let found = marketing_at(&consent, &rules, seconds, &in_zones(&["UTC"]));
        assert_eq!(found, expected, "at {seconds}");
    }
}

#[test]
fn an_answer_within_the_hours_holds_to_their_end() {
    let question = Ask {
        place: in_zones(&["UTC"]),
        at: MONDAY + 12 * HOUR,
        ..Ask::default()
    };
    let rules = everywhere(from_nine_to_six());
    let verdict = ask(&[given(1, 100, "offers")], &rules, &question);
    assert_eq!(verdict.holds_until, Some(at(MONDAY + 18 * HOUR)));
    assert_eq!(verdict.clocks, Some(Clocks::All));
}

#[test]
fn of_two_zones_the_hours_that_both_have_count() {
    let rules = everywhere(from_nine_to_six());
    let consent = [given(1, 100, "offers")];
    // Nine in New York is 14:00 in UTC, six in Berlin 17:00.
    let place = in_zones(&["Europe/Berlin", "America/New_York"]);
    let (opens, closes) = (MONDAY + 14 * HOUR, MONDAY + 17 * HOUR);
    for (seconds, expected) in [
        (MONDAY + 10 * HOUR, quiet_until(opens)),
        (opens - 1, quiet_until(opens)),
        (opens, Answer::Allowed),
        (closes - 1, Answer::Allowed),
        (closes, quiet_until(opens + DAY)),
        (MONDAY + 20 * HOUR, quiet_until(opens + DAY)),
    ] {
        let found = marketing_at(&consent, &rules, seconds, &place);
        assert_eq!(found, expected, "at {seconds}");
    }
}

#[test]
fn zones_without_an_hour_in_common_go_by_the_widest_and_the_answer_says_so() {
    let rules = everywhere(Requirements {
        sending_hours: Some(sending(0..7, 9, 10)),
        ..lenient()
    });
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let asked = |seconds| {
        let question = Ask {
            place: in_zones(&["Europe/Berlin", "America/New_York"]),
            at: seconds,
            ..Ask::default()
        };
        ask(&[given(1, 100, "offers")], &rules, &question)
    };
    let opens = MONDAY + 8 * HOUR;
    assert_eq!(Answer::of(&asked(opens - 1)), quiet_until(opens));
    assert_eq!(Answer::of(&asked(opens)), Answer::Allowed);
    assert_eq!(asked(opens).clocks, Some(Clocks::Widest(berlin)));
    // Nine in New York is none of Berlin's hours.
    let in_new_york = MONDAY + 14 * HOUR;
    assert_eq!(Answer::of(&asked(in_new_york)), quiet_until(opens + DAY));
}

#[test]
fn where_no_clock_is_known_or_no_hour_is_free_nothing_is_sent() {
    let consent = [given(1, 100, "offers")];
    let never = Answer::Denied(vec![Reason::QuietHours]);
    let rules = everywhere(from_nine_to_six());
    let noon = MONDAY + 12 * HOUR;
    assert_eq!(marketing_at(&consent, &rules, noon, &NOWHERE), never);
    let none = everywhere(Requirements {
        sending_hours: Some(sending(0..0, 0, 0)),
        ..lenient()
    });
    assert_eq!(
        marketing_at(&consent, &none, noon, &in_zones(&["UTC"])),
        never
    );
}

#[test]
fn only_advertising_and_asking_keep_hours() {
    use MessageClass as C;
    let mut required = from_nine_to_six();
    required.asking.max_total = 1;
    let rules = everywhere(required);
    let stopped = |event: &mut Event| {
        if let Act::Restricted(restriction) = &mut event.act {
            restriction.received_by = Some(sender("1001"));
        }
    };
    let midnight = MONDAY;
    let mut opt_out = stop(9, midnight - 60, Scope::Purposes(vec![purpose("orders")]));
    stopped(&mut opt_out);
    for (key, class, expected) in [
        ("offers", C::Marketing, Decision::Defer),
        ("codes", C::ConsentRequest, Decision::Defer),
        ("codes", C::Authentication, Decision::Allow),
        ("support", C::Service, Decision::Allow),
        ("orders", C::OptOutConfirmation, Decision::Allow),
    ] {
        let question = Ask {
            key,
            class: Some(class),
            sender: Some("1001"),
            // The window is of the person who wrote, and asking in it is timed all the same.
            inbound: (class == C::Service).then_some(midnight - 10),
            place: in_zones(&["UTC"]),
            at: midnight,
            ..Ask::default()
        };
        let mut events = vec![given(1, 100, key), opt_out.clone()];
        if class == C::ConsentRequest {
            events.clear();
        }
        assert_eq!(
            ask(&events, &rules, &question).decision,
            expected,
            "{class}"
        );
    }
}

#[test]
fn what_a_record_says_of_where_somebody_lives_beats_the_number() {
    let (everywhere, france) = (lenient(), from_nine_to_six());
    let policy = policy(&[("ZZ", everywhere), ("FR", france), ("DE", lenient())]);
    let rules = rules_with(catalog(), policy);
    let french = Place {
        jurisdictions: vec![code("FR")],
        ..in_zones(&["Europe/Paris"])
    };
    let midnight = MONDAY;
    let by_number = [given(1, 100, "offers")];
    let opens = MONDAY + 8 * HOUR;
    assert_eq!(
        marketing_at(&by_number, &rules, midnight, &french),
        quiet_until(opens)
    );
    let by_record = [with(1, 100, |t| t.jurisdiction = Some(code("DE")))];
    assert_eq!(
        marketing_at(&by_record, &rules, midnight, &french),
        Answer::Allowed
    );
}

#[test]
fn of_two_jurisdictions_the_hours_that_both_allow_count() {
    let late = Requirements {
        sending_hours: Some(sending(0..5, 12, 20)),
        ..lenient()
    };
    let rules = rules_with(
        catalog(),
        policy(&[("ZZ", lenient()), ("FR", from_nine_to_six()), ("DE", late)]),
    );
    let place = Place {
        jurisdictions: vec![code("DE"), code("FR")],
        ..in_zones(&["UTC"])
    };
    let consent = [given(1, 100, "offers")];
    let (opens, closes) = (MONDAY + 12 * HOUR, MONDAY + 18 * HOUR);
    for (seconds, expected) in [
        (opens - 1, quiet_until(opens)),
        (opens, Answer::Allowed),
        (closes - 1, Answer::Allowed),
        (closes, quiet_until(opens + DAY)),
    ] {
        let found = marketing_at(&consent, &rules, seconds, &place);
        assert_eq!(found, expected, "at {seconds}");
    }
}

/// The hour of Monday in UTC at which it is nine on the clocks that count: before it a message waits,
/// and from it on it goes.
fn opens_for(number: &Place, stated: Option<&str>, default: Option<&str>) -> i64 {
    let mut catalog = catalog();
    catalog.business.default_jurisdiction = default.map(code);
    let everyday = Requirements {
        sending_hours: Some(sending(0..7, 9, 18)),
        ..lenient()
    };
    let rules = rules_with(catalog, policy(&[("ZZ", everyday)]));
    let consent = [with(1, 100, |terms| terms.jurisdiction = stated.map(code))];
    let opens: Vec<i64> = (0..24)
        .map(|hour| MONDAY + hour * HOUR)
        .filter(|opens| {
            let before = marketing_at(&consent, &rules, opens - 1, number);
            let then = marketing_at(&consent, &rules, *opens, number);
            before == quiet_until(*opens) && then == Answer::Allowed
        })
        .collect();
    let [opens] = opens[..] else {
        panic!("{stated:?}: {opens:?}")
    };
    (opens - MONDAY) / HOUR
}

#[test]
fn the_clocks_are_the_number_s_where_it_fits_what_the_record_states_and_else_of_what_it_states() {
    let number = Place {
        jurisdictions: vec![code("US-NY")],
        ..in_zones(&["America/New_York"])
    };
    let country = Place {
        jurisdictions: vec![code("FR")],
        ..in_zones(&["Europe/Paris"])
    };
    for (place, stated, default, opens) in [
        (&number, None, None, 14),
        (&number, Some("US-NY"), None, 14),
        // A country is where each of its parts is: all of its clocks would be later.
        (&number, Some("US"), None, 14),
        // Another state of the country is another place, and so is another country.
        (&number, Some("US-WA"), None, 17),
        (&number, Some("JP"), None, 0),
        (&country, Some("FR"), None, 8),
        (&country, Some("US-NY"), None, 14),
        // The business's own place counts only where nothing else is known.
        (&number, None, Some("JP"), 14),
        (&number, Some("US-NY"), Some("JP"), 14),
        (&number, Some("US-WA"), Some("JP"), 17),
        (&NOWHERE, Some("FR"), Some("JP"), 8),
        (&NOWHERE, None, Some("JP"), 0),
    ] {
        assert_eq!(
            opens_for(place, stated, default),
            opens,
            "{stated:?} {default:?} with the number's {:?}",
            place.jurisdictions
        );
    }
}
