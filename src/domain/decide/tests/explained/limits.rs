//! The later rules explained: registries, windows, asks, hours, caps and the platform.

use super::*;

fn looked_up(id: u128, seconds: i64, result: RegistryResult) -> Event {
    let check = RegistryCheck {
        registry: RegistryName::parse("us-dnc").unwrap(),
        list_version: None,
        result,
    };
    let mut event = event(id, at(seconds), Act::RegistryChecked(check));
    event.event_time = Timestamp::from_micros(seconds * 1_000_000);
    event
}

#[test]
fn a_registry_is_named_with_when_it_was_last_consulted() {
    let rules = under(|r| {
        r.registries = vec![RegistryRule {
            registry: RegistryName::parse("us-dnc").unwrap(),
            kind: RegistryKind::DoNotContact,
            max_age: Duration::from_hours(1),
            unless_consent: None,
        }];
    });
    let grant = given(1, 100, "offers");
    let never = explained(std::slice::from_ref(&grant), &rules, Ask::default());
    only(
        &never,
        Rule::Registry,
        "`us-dnc` must have been found, within the last hour, not to list the number, and never was.",
        "Look the number up in `us-dnc` and record the answer with RecordRegistryCheck.",
    );
    let old = [grant.clone(), looked_up(2, 200, RegistryResult::NotListed)];
    assert_eq!(
        step(&explained(&old, &rules, Ask::default()), Rule::Registry).detail,
        "`us-dnc` must have been found, within the last hour, not to list the number, and was last \
         found not to on 1970-01-01 00:03:20 UTC."
    );
    let listed = [grant, looked_up(2, DAY - 10, RegistryResult::Listed)];
    let told = explained(&listed, &rules, Ask::default());
    let rules: Vec<_> = failed(&told).iter().map(|step| step.rule).collect();
    assert_eq!(rules, [Rule::Suppression, Rule::Registry]);
    let listing = step(&told, Rule::Suppression);
    assert_eq!(
        (listing.detail.as_str(), listing.remedy.as_str()),
        (
            "`us-dnc` listed the number on 1970-01-01 23:59:50 UTC.",
            "A later look-up that finds the number no longer listed in `us-dnc`, recorded with \
             RecordRegistryCheck."
        )
    );
    assert_eq!(listing.sources, [ZZ]);
}

#[test]
fn a_service_window_is_told_with_its_ends() {
    let asked = |inbound| Ask {
        key: "support",
        sender: Some("1001"),
        inbound,
        at: 3 * DAY,
        ..Ask::default()
    };
    let open = explained(&[], &rules(), asked(Some(3 * DAY - 60)));
    let window = step(&open, Rule::ServiceWindow);
    assert_eq!(
        (window.reason, window.detail.as_str()),
        (
            Some(Reason::ServiceWindowOpen),
            "The person wrote to or called this sender on 1970-01-03 23:59:00 UTC; the window is \
             open until 1970-01-04 23:59:00 UTC."
        )
    );
    let closed = explained(&[], &rules(), asked(Some(DAY)));
    let window = step(&closed, Rule::ServiceWindow);
    assert!(
        window
            .detail
            .ends_with("the window closed on 1970-01-03 00:00:00 UTC.")
    );
    assert!(window.sources[0].starts_with("WhatsApp"));
    let never = explained(&[], &rules(), asked(None));
    assert!(
        step(&never, Rule::ServiceWindow)
            .detail
            .starts_with("No message or call")
    );
}

#[test]
fn how_often_one_may_ask_is_counted() {
    let asks = |most, commercial| {
        under(|r| {
            r.asking.max_total = most;
            r.asking.cooldown = Duration::from_hours(48);
            r.asking.is_commercial = commercial;
        })
    };
    let asked = |id, seconds| {
        event(
            id,
            at(seconds),
            Act::ConsentRequested(Asked {
                purposes: vec![purpose("offers")],
                sender_id: None,
                notice: None,
            }),
        )
    };
    let request = |rules: &Rules, events: &[Event]| {
        let ask = Ask {
            class: Some(MessageClass::ConsentRequest),
            ..Ask::default()
        };
        let told = explained(events, rules, ask);
        let step = step(&told, Rule::Asking).clone();
        (step.reason.unwrap(), step.detail, step.event)
    };
    let last = asked(2, 200);
    assert_eq!(
        request(&asks(1, false), &[asked(1, 100)]).1,
        "There one may ask 1 time in all; this person was asked 1 time."
    );
    assert_eq!(
        request(&asks(0, false), &[]).1,
        "Nobody may be asked there who did not begin; this person was asked 0 times."
    );
    let (_, detail, event) = request(&asks(3, false), &[asked(1, 100), last.clone()]);
    assert_eq!(
        (detail.as_str(), event),
        (
            "The person was asked less than 2 days ago; again not before 1970-01-03 00:03:20 UTC.",
            Some(last.event_id)
        )
    );
    assert!(
        request(&asks(3, true), &[])
            .1
            .starts_with("Asking is itself a commercial")
    );
    assert_eq!(
        request(&asks(3, false), &[]),
        (
            Reason::ConsentRequestPermitted,
            "The person was asked 0 times, and may be asked 3 times in all.".to_owned(),
            None
        )
    );
}

#[test]
fn the_confirmation_of_an_opt_out_needs_one_that_was_just_written() {
    let written = |seconds| {
        let mut stop = stop(2, seconds, Scope::Everything);
        let Act::Restricted(restriction) = &mut stop.act else {
            unreachable!("made by `stop`")
        };
        restriction.received_by = Some(sender("1001"));
        stop
    };
    let ask = || Ask {
        class: Some(MessageClass::OptOutConfirmation),
        sender: Some("1001"),
        ..Ask::default()
    };
    let told = explained(&[written(DAY - 60)], &rules(), ask());
    let allowed = step(&told, Rule::OptOutConfirmation);
    assert_eq!(allowed.reason, Some(Reason::OptOutConfirmationPermitted));
    assert!(allowed.sources[0].contains("64.1200(a)(12)"));
    let told = explained(&[], &rules(), ask());
    only(
        &told,
        Rule::OptOutConfirmation,
        "No opt-out reached this sender as a message within the last 5 minutes.",
        "Nothing that the business can do: only an opt-out that the person writes to this sender \
         is confirmed, once, within 5 minutes.",
    );
    // Barred already, so that nothing to confirm is no finding of its own.
    let told = explained(&[written(100)], &rules(), ask());
    assert_eq!(failed(&told)[0].rule, Rule::Restriction);
    assert_eq!(
        step(&told, Rule::OptOutConfirmation).outcome,
        Outcome::NotApplicable
    );
}

#[test]
fn without_an_entry_of_the_policy_nothing_is_allowed_and_it_says_so() {
    let rules = rules_with(catalog(), policy(&[]));
    let free = Ask {
        key: "support",
        sender: Some("1001"),
        inbound: Some(DAY - 60),
        ..Ask::default()
    };
    only(
        &explained(&[], &rules, free),
        Rule::Policy,
        "Where the person is cannot be told from the address. The policy has no entry that holds \
         there on 1970-01-02 00:00:00 UTC.",
        "The policy file gets an entry that holds then.",
    );
    let told = explained(&[given(1, 100, "offers")], &rules, Ask::default());
    let rules: Vec<_> = failed(&told).iter().map(|step| step.rule).collect();
    assert_eq!(rules, [Rule::Evidence, Rule::Policy]);
}

fn in_berlin() -> Place {
    Place {
        jurisdictions: vec![code("DE")],
        zones: vec![Zone::named("Europe/Berlin").unwrap()],
    }
}

/// Hours from eight to eight on every day.
fn day_hours() -> SendingHours {
    let span = Span {
        from: 8 * 60,
        to: 20 * 60,
    };
    SendingHours {
        weekdays: std::array::from_fn(|_| vec![span]),
        holidays: Vec::new(),
    }
}

#[test]
fn what_the_platform_does_not_deliver_is_whatsapps_own_rule() {
    let mut policy = policy(&[("ZZ", lenient())]);
    policy.platform = vec![PlatformRule {
        country: code("DE"),
        classes: vec![MessageClass::Marketing],
        effective_from: at(50),
        effective_to: None,
        source: entry(lenient()).source,
    }];
    let rules = rules_with(catalog(), policy);
    let about = Told {
        place: in_berlin(),
        ..Told::default()
    };
    let (_, told) = told(&[given(1, 100, "offers")], &rules, &about);
    only(
        &told,
        Rule::Platform,
        "WhatsApp has not delivered MARKETING messages to numbers of DE since 1970-01-01 00:00:50 \
         UTC.",
        "WhatsApp delivers them again, and the policy file says so. A message of another class is \
         judged by its own rules.",
    );
    assert_eq!(
        step(&told, Rule::Platform).sources,
        ["WhatsApp (MARKETING to numbers of DE, since 1970-01-01): a test"]
    );
}

#[test]
fn a_message_outside_the_hours_says_what_time_it_is_there_and_when_to_ask_again() {
    let rules = under(|r| r.sending_hours = Some(day_hours()));
    let about = |seconds| Told {
        ask: Ask {
            at: seconds,
            ..Ask::default()
        },
        place: in_berlin(),
        ..Told::default()
    };
    let grant = [given(1, 100, "offers")];
    let (verdict, deferred) = told(&grant, &rules, &about(DAY));
    assert_eq!(verdict.decision, Decision::Defer);
    only(
        &deferred,
        Rule::SendingHours,
        "Where the person is, it is Friday 1970-01-02 01:00 in Europe/Berlin. Hours: Monday to Sunday \
         08:00-20:00. They open on 1970-01-02 07:00:00 UTC.",
        "Ask again on 1970-01-02 07:00:00 UTC.",
    );
    assert_eq!(step(&deferred, Rule::SendingHours).sources, [ZZ]);
    assert_eq!(deferred.zones, in_berlin().zones);
    let (_, open) = told(&grant, &rules, &about(DAY + 12 * 3_600));
    assert!(
        step(&open, Rule::SendingHours)
            .detail
            .ends_with("They are open until 1970-01-02 19:00:00 UTC.")
    );
    // Nobody knows what time it is there.
    let (verdict, nowhere) = told(
        &grant,
        &rules,
        &Told {
            place: NOWHERE.clone(),
            ..about(DAY)
        },
    );
    assert_eq!(verdict.decision, Decision::Deny);
    let step = step(&nowhere, Rule::SendingHours);
    assert!(
        step.detail.contains("the local time is not known"),
        "{}",
        step.detail
    );
    assert!(
        step.remedy
            .starts_with("A consent that says where the person lives")
    );
}

#[test]
fn a_consent_that_ends_before_the_hours_open_is_told_as_of_then() {
    let rules = under(|r| {
        r.sending_hours = Some(day_hours());
        r.validity = Some(Duration::from_secs(86_400));
    });
    let about = Told {
        ask: Ask {
            at: DAY,
            ..Ask::default()
        },
        place: in_berlin(),
        ..Told::default()
    };
    let (verdict, told) = told(&[given(1, 3_600, "offers")], &rules, &about);
    assert_eq!(verdict.reasons(), [Reason::Expired, Reason::QuietHours]);
    let said: Vec<_> = failed(&told)
        .into_iter()
        .map(|step| (step.rule, step.detail.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (
                Rule::Expiry,
                "It would have to wait, and as of 1970-01-02 01:00:00 UTC: The person \
                 consented to `offers` on 1970-01-01 01:00:00 UTC (EXPLICITLY_EXPRESSED), from \
                 every sender. It ended on 1970-01-02 01:00:00 UTC."
            ),
            (
                Rule::SendingHours,
                "Where the person is, it is Friday 1970-01-02 01:00 in Europe/Berlin. Hours: Monday \
                 to Sunday 08:00-20:00. They open on 1970-01-02 07:00:00 UTC."
            ),
        ]
    );
}

#[test]
fn caps_are_counted_and_name_who_set_them() {
    let mut catalog = catalog();
    catalog.purposes.get_mut("offers").unwrap().frequency_cap = Some(FrequencyCap {
        messages: 1,
        per_seconds: 86_400,
    });
    let mut capped = lenient();
    capped.frequency_caps = vec![FrequencyCap {
        messages: 3,
        per_seconds: 604_800,
    }];
    let rules = rules_with(catalog, policy(&[("ZZ", capped)]));
    let sent = |seconds| Sent {
        purpose: purpose("offers"),
        class: MessageClass::Marketing,
        at: at(seconds),
    };
    let about = |sends| Told {
        sends,
        ..Told::default()
    };
    let grant = [given(1, 100, "offers")];
    let (_, reached) = told(&grant, &rules, &about(vec![sent(3_600)]));
    only(
        &reached,
        Rule::FrequencyCap,
        "Within the last day the person was sent 1 message of `offers`; 1 may be. That is as many \
         as may be sent.",
        "Ask again on 1970-01-02 01:00:00 UTC.",
    );
    let cap = step(&reached, Rule::FrequencyCap);
    assert_eq!(cap.sources, ["catalogue: purpose `offers`"]);
    let update = Sent {
        purpose: purpose("orders"),
        class: MessageClass::Utility,
        at: at(DAY - 60),
    };
    let (_, unknown) = told(&grant, &rules, &about(vec![update; MOST_SENDS]));
    let said = failed(&unknown);
    assert_eq!(said.len(), 2, "both caps");
    assert!(said[0].detail.starts_with(
        "Within the last day the person was sent 0 messages of `offers`; 1 may be. So many messages"
    ));
    let (_, free) = told(&grant, &rules, &about(Vec::new()));
    let cap = step(&free, Rule::FrequencyCap);
    assert_eq!(
        cap.detail,
        "Within the last day the person was sent 0 messages of `offers`; 1 may be. Within the \
         last 7 days the person was sent 0 messages of marketing; 3 may be."
    );
    assert_eq!(cap.sources, ["catalogue: purpose `offers`", ZZ]);
}

#[test]
fn failed_deliveries_pass_and_are_no_opt_out() {
    let failure = |id, seconds, kind| {
        event(
            id,
            at(seconds),
            Act::DeliveryFailed(Failure {
                kind,
                sender_id: sender("1001"),
                code: "131026".into(),
                provider: String::new(),
            }),
        )
    };
    let mut events = vec![given(1, 100, "offers")];
    let failures = (2..5).zip([2_000, 3_000, 4_000]);
    events.extend(failures.map(|(id, at)| failure(id, at, FailureKind::Undeliverable)));
    let told = explained(&events, &rules(), Ask::default());
    only(
        &told,
        Rule::Reachability,
        "The last deliveries failed one after the other, so the address counts as not reachable \
         until 1970-01-31 01:06:40 UTC. That is no opt-out.",
        "Wait until 1970-01-31 01:06:40 UTC, or the person writes or calls.",
    );
    assert_eq!(
        step(&told, Rule::Reachability).event,
        Some(events[3].event_id)
    );
    let limited = [
        given(1, 100, "offers"),
        failure(2, DAY - 60, FailureKind::Limited),
    ];
    let told = explained(&limited, &rules(), Ask::default());
    let limit = step(&told, Rule::PlatformLimit);
    assert_eq!(limit.remedy, "Ask again on 1970-01-02 23:59:00 UTC.");
    assert_eq!(limit.event, Some(limited[1].event_id));
}
