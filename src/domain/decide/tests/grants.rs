//! Grants: confirmation, expiry, notices, evidence, windows, and messages that need none.

use super::*;

fn confirming() -> Rules {
    let mut requirements = lenient();
    requirements.confirmation = Confirmation::Required;
    rules_with(catalog(), policy(&[("ZZ", requirements)]))
}

pub(super) fn confirmation(id: u128, request: &Event, seconds: i64) -> Event {
    let act = Act::ConsentConfirmed(Confirms {
        indication_method: IndicationMethod::Keyword,
        requests: vec![ConfirmedRequest {
            request: request.event_id,
            requested_at: request.effective_at(),
            requested_source: request.time_source,
            requested_digest: request.content_digest(),
            terms: terms("offers"),
        }],
    });
    event(id, at(seconds), act)
}

#[test]
fn where_confirmation_is_required_a_grant_waits_for_it_and_not_for_ever() {
    let rules = confirming();
    let request = given(1, 100, "offers");
    let soon = Ask {
        at: 150,
        ..Ask::default()
    };
    let late = Ask {
        at: 100 + 100,
        ..Ask::default()
    };
    assert_eq!(
        reason(std::slice::from_ref(&request), &rules, &soon),
        Reason::ConfirmationPending
    );
    assert_eq!(
        reason(std::slice::from_ref(&request), &rules, &late),
        Reason::ConfirmationRequired
    );
    let confirmed = confirmation(2, &request, 160);
    assert_eq!(
        reason(&[request, confirmed], &rules, &late),
        Reason::ConsentGiven
    );
}

#[test]
fn a_confirmation_of_an_older_request_does_not_beat_a_newer_withdrawal() {
    let request = given(1, 100, "offers");
    let events = [
        confirmation(3, &request, 300),
        request,
        stop(2, 200, Scope::Everything),
    ];
    assert_eq!(
        reason(&events, &confirming(), &Ask::default()),
        Reason::Withdrawn
    );
}

#[test]
fn an_unconfirmed_request_does_not_reopen_but_may_be_asked_to_confirm() {
    let events = [stop(1, 100, Scope::Everything), given(2, 200, "offers")];
    let soon = Ask {
        at: 250,
        ..Ask::default()
    };
    let verdict = ask(&events, &confirming(), &soon);
    assert_eq!(
        verdict.reasons(),
        [Reason::Withdrawn, Reason::ConfirmationPending]
    );
    let request = Ask {
        class: Some(MessageClass::ConsentRequest),
        ..soon
    };
    assert_eq!(
        reason(&events, &confirming(), &request),
        Reason::ConsentRequestPermitted
    );
}

#[test]
fn consent_expires_at_the_first_of_its_terms() {
    let mut requirements = lenient();
    requirements.validity = Some(Duration::from_secs(1_000));
    let mut catalog = catalog();
    catalog.purposes.get_mut("offers").unwrap().validity_seconds = Some(500);
    let rules = rules_with(catalog, policy(&[("ZZ", requirements)]));
    let events = [given(1, 100, "offers")];
    let before = ask(
        &events,
        &rules,
        &Ask {
            at: 599,
            ..Ask::default()
        },
    );
    assert_eq!(
        (before.decision, before.holds_until),
        (Decision::Allow, Some(at(600)))
    );
    assert_eq!(
        reason(
            &events,
            &rules,
            &Ask {
                at: 600,
                ..Ask::default()
            }
        ),
        Reason::Expired
    );
}

#[test]
fn implied_consent_ends_with_the_term_of_its_basis() {
    let implied = with(1, 100, |t| {
        t.consent_type = ConsentType::Implied;
        t.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(50),
        });
    });
    let asked = |seconds| {
        reason(
            std::slice::from_ref(&implied),
            &rules(),
            &Ask {
                at: seconds,
                ..Ask::default()
            },
        )
    };
    assert_eq!(asked(1_049), Reason::ConsentGiven);
    assert_eq!(asked(1_050), Reason::Expired);
    let unknown = with(1, 100, |t| {
        t.consent_type = ConsentType::Implied;
        t.implied = Some(Implied {
            basis: ImpliedBasis::Donation,
            basis_time: at(50),
        });
    });
    assert_eq!(
        reason(
            &[unknown],
            &rules(),
            &Ask {
                at: 200,
                ..Ask::default()
            }
        ),
        Reason::EvidenceIncomplete
    );
}

#[test]
fn a_change_of_the_processing_ends_older_consent_and_a_removed_notice_too() {
    use crate::domain::catalog::Notice;
    use crate::domain::event::NoticeShown;
    use crate::domain::id::{Language, NoticeRef};
    let name = |version| NoticeRef {
        notice_id: NoticeId::parse("signup").unwrap(),
        version,
        language: Language::parse("en").unwrap(),
    };
    let notice = |version, processing_version| Notice {
        name: name(version),
        text: String::new(),
        purposes: vec![purpose("offers")],
        sha256: String::new(),
        privacy_notice_url: String::new(),
        opt_out_instructions: String::new(),
        processing_version,
        signup_ids: Vec::new(),
        create_time: Timestamp::EPOCH,
    };
    let grant = with(1, 100, |t| {
        t.notice = Some(NoticeShown {
            notice: name(1),
            sha256: String::new(),
            processing_version: 1,
        });
    });
    let with_notices = |notices: &[Notice]| {
        let mut catalog = catalog();
        for notice in notices {
            catalog.notices.insert(notice.name.clone(), notice.clone());
        }
        let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
        reason(std::slice::from_ref(&grant), &rules, &Ask::default())
    };
    assert_eq!(with_notices(&[notice(1, 1)]), Reason::ConsentGiven);
    assert_eq!(
        with_notices(&[notice(1, 1), notice(2, 1)]),
        Reason::ConsentGiven,
        "wording only"
    );
    assert_eq!(
        with_notices(&[notice(1, 1), notice(2, 2)]),
        Reason::NoticeOutdated
    );
    assert_eq!(with_notices(&[]), Reason::NoticeOutdated);
}

#[test]
fn too_weak_a_type_or_a_missing_rule_is_incomplete_evidence() {
    let mut strict = lenient();
    strict.consent_type = ConsentType::ExplicitlyExpressed;
    let rules_strict = rules_with(catalog(), policy(&[("ZZ", strict)]));
    let weak = with(1, 100, |t| t.consent_type = ConsentType::Expressed);
    assert_eq!(
        reason(&[weak], &rules_strict, &Ask::default()),
        Reason::EvidenceIncomplete
    );
    let without_rules = rules_with(catalog(), policy(&[]));
    assert_eq!(
        reason(&[given(1, 100, "offers")], &without_rules, &Ask::default()),
        Reason::EvidenceIncomplete
    );
}

#[test]
fn service_messages_need_the_window_that_the_person_opened() {
    let support = |inbound| Ask {
        key: "support",
        sender: Some("1001"),
        inbound,
        ..Ask::default()
    };
    let open = Some(DAY - 10);
    assert_eq!(
        reason(&[], &rules(), &support(open)),
        Reason::ServiceWindowOpen
    );
    assert_eq!(reason(&[], &rules(), &support(None)), Reason::NoConsent);
    assert_eq!(
        reason(&[given(1, 100, "support")], &rules(), &support(None)),
        Reason::ServiceWindowClosed
    );
    let ended = Ask {
        at: 2 * DAY - 10,
        ..support(open)
    };
    assert_eq!(
        reason(&[given(1, 100, "support")], &rules(), &ended),
        Reason::ServiceWindowClosed
    );
    let verdict = ask(&[], &rules(), &support(open));
    assert_eq!(verdict.holds_until, Some(at(2 * DAY - 10)));
}

#[test]
fn after_an_opt_out_of_everything_a_later_message_of_the_person_reopens_service() {
    let events = [stop(1, DAY - 20, Scope::Everything)];
    let support = |inbound| Ask {
        key: "support",
        sender: Some("1001"),
        inbound: Some(inbound),
        ..Ask::default()
    };
    assert_eq!(
        reason(&events, &rules(), &support(DAY - 10)),
        Reason::ServiceWindowOpen
    );
    assert_eq!(
        reason(&events, &rules(), &support(DAY - 30)),
        Reason::Withdrawn
    );
}

#[test]
fn a_purpose_that_needs_no_consent_allows_without_a_grant_but_not_after_a_withdrawal() {
    let mut catalog = catalog();
    catalog.purposes.get_mut("orders").unwrap().consent_required = false;
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let orders = Ask {
        key: "orders",
        ..Ask::default()
    };
    assert_eq!(reason(&[], &rules, &orders), Reason::ConsentNotRequired);
    assert_eq!(
        reason(&[given(1, 100, "orders")], &rules, &orders),
        Reason::ConsentGiven
    );
    assert_eq!(
        reason(&[stop(1, 1, Scope::Everything)], &rules, &orders),
        Reason::Withdrawn
    );
    let as_marketing = Ask {
        class: Some(MessageClass::Marketing),
        ..orders
    };
    assert_eq!(reason(&[], &rules, &as_marketing), Reason::NoConsent);
}

#[test]
fn a_message_that_needs_no_consent_is_let_through_again_only_by_one_that_holds_in_every_way() {
    let mut catalog = catalog();
    let orders = catalog.purposes.get_mut("orders").unwrap();
    orders.consent_required = false;
    orders.validity_seconds = Some(500);
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let events = [stop(1, 100, Scope::Everything), given(2, 200, "orders")];
    for (seconds, expected) in [(699, Reason::ConsentGiven), (700, Reason::Withdrawn)] {
        let orders = Ask {
            key: "orders",
            at: seconds,
            ..Ask::default()
        };
        assert_eq!(reason(&events, &rules, &orders), expected, "at {seconds}");
    }
}

#[test]
fn an_answer_rests_on_the_act_of_the_person_rather_than_on_a_later_import() {
    let act = given(1, 100, "offers");
    let import = with(2, 200, |t| t.indication_method = IndicationMethod::Import);
    let verdict = ask(&[act.clone(), import], &rules(), &Ask::default());
    assert_eq!(verdict.rests_on, Some(act.event_id));
}

#[test]
fn only_implied_consent_has_the_term_of_what_implied_it() {
    let mut requirements = lenient();
    requirements.validity = Some(Duration::from_secs(500));
    let rules = everywhere(requirements);
    let expressed = with(1, 100, |t| {
        t.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(100),
        });
    });
    for (seconds, expected) in [(599, Reason::ConsentGiven), (600, Reason::Expired)] {
        let asked = Ask {
            at: seconds,
            ..Ask::default()
        };
        let found = reason(std::slice::from_ref(&expressed), &rules, &asked);
        assert_eq!(found, expected, "at {seconds}");
    }
}

#[test]
fn a_message_of_the_very_instant_of_an_opt_out_reopens_nothing() {
    let moment = Timestamp::from_micros(at(DAY - 20).as_micros() + 500_000);
    let stop = Event {
        event_time: moment,
        ..stop(1, DAY - 20, Scope::Everything)
    };
    let after = |micros| answering(&stop, moment.plus(Duration::from_micros(micros)));
    assert_eq!(after(0), Some(Reason::Withdrawn));
    assert_eq!(after(1), Some(Reason::ServiceWindowOpen));
}

#[test]
fn every_failing_step_is_reported_in_its_order() {
    let mut catalog = catalog();
    catalog.senders.get_mut("1001").unwrap().held = true;
    catalog.purposes.get_mut("offers").unwrap().validity_seconds = Some(10);
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let events = [
        given(1, 100, "offers"),
        stop(2, 200, Scope::Everything),
        suppression(SuppressionBasis::Objection, 300, None),
    ];
    let verdict = ask(
        &events,
        &rules,
        &Ask {
            sender: Some("1001"),
            ..Ask::default()
        },
    );
    assert_eq!(
        verdict.reasons(),
        [
            Reason::SenderHeld,
            Reason::Suppressed,
            Reason::Withdrawn,
            Reason::Expired
        ]
    );
}
