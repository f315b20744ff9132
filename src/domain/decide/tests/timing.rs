//! Steps 11 and 12: how often, what WhatsApp holds back, and until when a message waits.

use super::*;
use crate::domain::hours::{SendingHours, Span, Zone};
use crate::domain::policy::FrequencyCap;

fn cap(messages: u32, per_seconds: u64) -> FrequencyCap {
    FrequencyCap {
        messages,
        per_seconds,
    }
}

fn capped(caps: &[FrequencyCap]) -> Rules {
    everywhere(Requirements {
        frequency_caps: caps.to_vec(),
        ..lenient()
    })
}

fn advert(seconds: i64) -> Sent {
    sent(seconds, "offers", MessageClass::Marketing)
}

fn after(sends: &[Sent], rules: &Rules, seconds: i64) -> Answer {
    let question = Ask {
        sends: sends.to_vec(),
        at: seconds,
        ..Ask::default()
    };
    Answer::of(&ask(&[given(1, 100, "offers")], rules, &question))
}

fn capped_until(seconds: i64) -> Answer {
    Answer::Waits(Reason::FrequencyCap, seconds)
}

#[test]
fn a_cap_is_a_window_that_slides_with_every_message() {
    let rules = capped(&[cap(2, 1_000)]);
    let sends = [advert(5_500), advert(5_000)];
    for (seconds, expected) in [
        (5_500, capped_until(6_000)),
        (5_999, capped_until(6_000)),
        (6_000, Answer::Allowed),
        (6_001, Answer::Allowed),
    ] {
        assert_eq!(after(&sends, &rules, seconds), expected, "at {seconds}");
    }
    // With a third one at 6,000 the next place is that of the second.
    let sends = [advert(6_000), advert(5_500), advert(5_000)];
    assert_eq!(after(&sends, &rules, 6_000), capped_until(6_500));
    assert_eq!(after(&sends, &rules, 6_499), capped_until(6_500));
    assert_eq!(after(&sends, &rules, 6_500), Answer::Allowed);
    assert_eq!(after(&[advert(5_000)], &rules, 5_000), Answer::Allowed);
}

#[test]
fn of_several_caps_each_must_be_free() {
    let rules = capped(&[cap(1, 100), cap(2, 1_000)]);
    let sends = [advert(5_500), advert(5_000)];
    assert_eq!(after(&sends, &rules, 5_550), capped_until(6_000));
    let first = [advert(5_000)];
    assert_eq!(after(&first, &rules, 5_050), capped_until(5_100));
    assert_eq!(after(&first, &rules, 5_100), Answer::Allowed);
}

#[test]
fn the_cap_of_a_place_counts_advertising_and_asking_for_any_purpose() {
    use MessageClass as C;
    let rules = capped(&[cap(1, 1_000)]);
    for (key, class, counts) in [
        ("offers", C::Marketing, true),
        ("orders", C::Marketing, true),
        ("orders", C::ConsentRequest, true),
        ("offers", C::Utility, false),
        ("offers", C::Authentication, false),
        ("offers", C::Service, false),
        ("offers", C::OptOutConfirmation, false),
    ] {
        let found = after(&[sent(5_000, key, class)], &rules, 5_500);
        let expected = if counts {
            capped_until(6_000)
        } else {
            Answer::Allowed
        };
        assert_eq!(found, expected, "{class} for {key}");
    }
}

#[test]
fn the_cap_of_a_purpose_counts_its_own_messages_of_any_class() {
    use MessageClass as C;
    let mut catalog = catalog();
    catalog.purposes.get_mut("offers").unwrap().frequency_cap = Some(cap(1, 1_000));
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    for (key, class, counts) in [
        ("offers", C::Marketing, true),
        ("offers", C::Service, true),
        ("orders", C::Marketing, false),
    ] {
        let found = after(&[sent(5_000, key, class)], &rules, 5_999);
        let expected = if counts {
            capped_until(6_000)
        } else {
            Answer::Allowed
        };
        assert_eq!(found, expected, "{class} for {key}");
    }
}

#[test]
fn a_cap_of_nothing_is_never_free() {
    let never = Answer::Denied(vec![Reason::FrequencyCap]);
    assert_eq!(after(&[], &capped(&[cap(0, 10)]), 5_000), never);
}

#[test]
fn a_message_waits_for_a_month_and_no_longer() {
    const MONTH: i64 = 31 * DAY;
    let rules = capped(&[cap(1, MONTH.cast_unsigned())]);
    let asked = |seconds| {
        let question = Ask {
            sends: vec![advert(DAY)],
            at: seconds,
            ..Ask::default()
        };
        ask(&[given(1, 100, "offers")], &rules, &question)
    };
    assert_eq!(Answer::of(&asked(DAY)), capped_until(DAY + MONTH));
    let rules = capped(&[cap(1, (MONTH + 1).cast_unsigned())]);
    let never = Answer::Denied(vec![Reason::FrequencyCap]);
    assert_eq!(after(&[advert(DAY)], &rules, DAY), never);
    let sends = vec![advert(DAY)];
    let question = Ask {
        sends,
        at: DAY,
        ..Ask::default()
    };
    let verdict = ask(&[given(1, 100, "offers")], &rules, &question);
    assert_eq!(verdict.holds_until, Some(at(DAY + 1)), "then it is a month");
    assert_eq!(
        after(&[advert(DAY)], &rules, DAY + 1),
        capped_until(DAY + MONTH + 1)
    );
}

#[test]
fn whatsapp_holds_marketing_back_for_a_day_and_nothing_else() {
    let limited = failed(9, 5_000, FailureKind::Limited);
    let events = |key| [given(1, 100, key), limited.clone()];
    let (before, free) = (5_000 + DAY - 1, 5_000 + DAY);
    let held = Answer::Waits(Reason::PlatformLimited, free);
    let rules = rules();
    assert_eq!(
        marketing_at(&events("offers"), &rules, 5_000, &NOWHERE),
        held
    );
    assert_eq!(
        marketing_at(&events("offers"), &rules, before, &NOWHERE),
        held
    );
    assert_eq!(
        marketing_at(&events("offers"), &rules, free, &NOWHERE),
        Answer::Allowed
    );
    let utility = Ask {
        key: "orders",
        at: before,
        ..Ask::default()
    };
    let found = reason(&events("orders"), &rules, &utility);
    assert_eq!(found, Reason::ConsentGiven);
}

fn mornings() -> SendingHours {
    let morning = vec![Span { from: 480, to: 720 }];
    SendingHours {
        weekdays: std::array::from_fn(|_| morning.clone()),
        holidays: Vec::new(),
    }
}

fn utc() -> Place {
    Place {
        jurisdictions: Vec::new(),
        zones: vec![Zone::named("UTC").unwrap()],
    }
}

#[test]
fn what_waits_for_a_cap_and_for_the_hour_waits_for_both() {
    let rules = everywhere(Requirements {
        frequency_caps: vec![cap(1, 3_600)],
        sending_hours: Some(mornings()),
        ..lenient()
    });
    let asked = |sends: &[Sent], seconds| {
        let question = Ask {
            sends: sends.to_vec(),
            place: utc(),
            at: seconds,
            ..Ask::default()
        };
        ask(&[given(1, 100, "offers")], &rules, &question)
    };
    let (opens, noon) = (DAY + 8 * 3_600, DAY + 12 * 3_600);
    // Sent half an hour before noon: free again when it is too late for today.
    let late = [advert(noon - 1_800)];
    assert_eq!(
        Answer::of(&asked(&late, noon - 900)),
        capped_until(opens + DAY)
    );
    // Sent just before the hours began: free again within them.
    let early = [advert(opens - 1_800)];
    let verdict = asked(&early, opens - 900);
    assert_eq!(
        Answer::of(&verdict),
        Answer::Waits(Reason::QuietHours, opens + 1_800)
    );
    let both = [Reason::QuietHours, Reason::FrequencyCap];
    assert_eq!(verdict.reasons(), both);
}

#[test]
fn what_is_never_free_is_looked_at_again_in_four_days_and_not_whenever_a_cap_ends() {
    let rules = everywhere(Requirements {
        frequency_caps: vec![cap(1, 3_600)],
        sending_hours: Some(SendingHours {
            weekdays: Default::default(),
            holidays: Vec::new(),
        }),
        ..lenient()
    });
    let question = Ask {
        sends: vec![advert(DAY - 60)],
        place: utc(),
        ..Ask::default()
    };
    let verdict = ask(&[given(1, 100, "offers")], &rules, &question);
    let both = vec![Reason::QuietHours, Reason::FrequencyCap];
    assert_eq!(Answer::of(&verdict), Answer::Denied(both));
    assert_eq!(verdict.holds_until, Some(at(5 * DAY)));
}

#[test]
fn a_consent_that_ends_before_its_message_may_go_is_expired_now() {
    let opens = DAY + 8 * 3_600;
    let asked = |validity: i64| {
        let mut catalog = catalog();
        let offers = catalog.purposes.get_mut("offers").unwrap();
        offers.validity_seconds = Some(validity.cast_unsigned());
        let required = Requirements {
            sending_hours: Some(mornings()),
            ..lenient()
        };
        let rules = rules_with(catalog, policy(&[("ZZ", required)]));
        marketing_at(&[given(1, 100, "offers")], &rules, DAY, &utc())
    };
    let expired = || Answer::Denied(vec![Reason::Expired, Reason::QuietHours]);
    assert_eq!(asked(opens - 100 - 1), expired());
    assert_eq!(asked(opens - 100), expired());
    assert_eq!(
        asked(opens - 100 + 1),
        Answer::Waits(Reason::QuietHours, opens)
    );
}
