//! Restrictions, suppressions and held senders: what they cover and what overcomes them.

use super::*;

#[test]
fn scopes_of_a_withdrawal_cover_what_they_say() {
    use MessageClass as C;
    let rules = rules();
    let grants: Vec<Event> = ["offers", "orders", "codes", "support"]
        .iter()
        .map(|key| given(1, 100, key))
        .collect();
    let denied = |scope: Scope| -> Vec<&str> {
        let mut events = grants.clone();
        events.push(stop(9, 200, scope));
        [
            ("offers", C::Marketing),
            ("orders", C::Utility),
            ("codes", C::Authentication),
        ]
        .into_iter()
        .filter(|(key, _)| {
            reason(
                &events,
                &rules,
                &Ask {
                    key,
                    ..Ask::default()
                },
            ) == Reason::Withdrawn
        })
        .map(|(key, _)| key)
        .collect()
    };
    assert_eq!(denied(Scope::AllMarketing), ["offers"]);
    assert_eq!(denied(Scope::Everything), ["offers", "orders", "codes"]);
    assert_eq!(denied(Scope::Purposes(vec![purpose("orders")])), ["orders"]);
}

#[test]
fn one_time_codes_that_the_recipient_asks_for_survive_an_opt_out_of_everything() {
    let mut catalog = catalog();
    let codes = catalog.purposes.get_mut("codes").unwrap();
    codes.requested_by_recipient = true;
    codes.consent_required = false;
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let codes = Ask {
        key: "codes",
        ..Ask::default()
    };
    assert_eq!(
        reason(&[stop(1, 1, Scope::Everything)], &rules, &codes),
        Reason::ConsentNotRequired
    );
    let named = stop(1, 1, Scope::Purposes(vec![purpose("codes")]));
    assert_eq!(reason(&[named], &rules, &codes), Reason::Withdrawn);
}

#[test]
fn a_narrower_grant_reopens_its_own_purpose_only() {
    let events = [
        given(1, 100, "offers"),
        given(2, 100, "orders"),
        stop(3, 200, Scope::Everything),
        given(4, 300, "orders"),
    ];
    assert_eq!(marketing(&events), Reason::Withdrawn);
    assert_eq!(
        reason(
            &events,
            &rules(),
            &Ask {
                key: "orders",
                ..Ask::default()
            }
        ),
        Reason::ConsentGiven
    );
}

#[test]
fn a_grant_narrowed_to_a_sender_counts_for_that_sender_alone() {
    let grant = with(1, 100, |t| t.sender_id = Some(sender("1001")));
    let asked = |by| {
        reason(
            std::slice::from_ref(&grant),
            &rules(),
            &Ask {
                sender: by,
                ..Ask::default()
            },
        )
    };
    assert_eq!(asked(Some("1001")), Reason::ConsentGiven);
    assert_eq!(asked(Some("1002")), Reason::NoConsent);
    assert_eq!(asked(None), Reason::NoConsent);
}

#[test]
fn an_opt_out_from_one_sender_holds_for_it_and_for_a_question_without_a_sender() {
    let mut narrow = stop(2, 200, Scope::AllMarketing);
    if let Act::Restricted(restriction) = &mut narrow.act {
        restriction.sender_id = Some(sender("1001"));
    }
    let events = [given(1, 100, "offers"), narrow];
    let asked = |by| {
        reason(
            &events,
            &rules(),
            &Ask {
                sender: by,
                ..Ask::default()
            },
        )
    };
    assert_eq!(asked(Some("1001")), Reason::Withdrawn);
    assert_eq!(asked(None), Reason::Withdrawn);
    assert_eq!(asked(Some("1002")), Reason::ConsentGiven);
}

#[test]
fn a_grant_holds_for_its_spelling_and_twin_and_an_opt_out_for_all() {
    let mut grant = given(1, 100, "offers");
    grant.spelling = Spelling::Argentina549;
    let asked = |events: &[Event], spelling| {
        reason(
            events,
            &rules(),
            &Ask {
                spelling,
                ..Ask::default()
            },
        )
    };
    let events = [grant.clone()];
    assert_eq!(asked(&events, Spelling::Argentina549), Reason::ConsentGiven);
    assert_eq!(asked(&events, Spelling::Argentina54), Reason::NoConsent);
    let mut stop = stop(2, 200, Scope::Everything);
    stop.spelling = Spelling::Argentina54;
    assert_eq!(
        asked(&[grant, stop], Spelling::Argentina549),
        Reason::Withdrawn
    );
}

#[test]
fn each_kind_of_restriction_has_its_reason() {
    for (kind, expected) in [
        (RestrictionKind::Refused, Reason::Refused),
        (RestrictionKind::Withdrawn, Reason::Withdrawn),
        (RestrictionKind::Revoked, Reason::Revoked),
        (RestrictionKind::Invalidated, Reason::Invalidated),
    ] {
        let restriction = Restriction {
            received_by: None,
            kind,
            scope: Scope::Everything,
            sender_id: None,
            withdrawal_method: Some(WithdrawalMethod::Authority),
            indication_method: None,
            notice: None,
            import_batch_id: None,
        };
        let events = [
            given(1, 100, "offers"),
            event(2, at(200), Act::Restricted(restriction)),
        ];
        assert_eq!(marketing(&events), expected);
    }
}

#[test]
fn a_suppression_beats_every_grant_until_it_ends() {
    let again = given(2, 300, "offers");
    let stopped = suppression(SuppressionBasis::PlatformStop, 200, None);
    assert_eq!(
        marketing(&[stopped, again.clone()]),
        Reason::PlatformStopped
    );
    let complaint = suppression(SuppressionBasis::Complaint, 200, None);
    assert_eq!(marketing(&[complaint, again.clone()]), Reason::Suppressed);
    let ended = suppression(SuppressionBasis::NationalRegistry, 200, Some(DAY));
    assert_eq!(
        marketing(&[ended.clone(), again.clone()]),
        Reason::ConsentGiven
    );
    let verdict = ask(
        &[ended, again],
        &rules(),
        &Ask {
            at: DAY - 1,
            ..Ask::default()
        },
    );
    assert_eq!(
        (verdict.reasons()[0], verdict.holds_until),
        (Reason::Suppressed, Some(at(DAY)))
    );
}

#[test]
fn only_a_stop_of_whatsapp_reaches_the_other_senders_and_only_where_an_opt_out_does() {
    use crate::domain::catalog::OptOutScope as S;
    let of_one = |basis| {
        let mut event = suppression(basis, 200, None);
        if let Act::Suppressed(suppression) = &mut event.act {
            suppression.sender_id = Some(sender("1001"));
        }
        event
    };
    let other = Ask {
        sender: Some("1002"),
        ..Ask::default()
    };
    let (stop, complaint) = (SuppressionBasis::PlatformStop, SuppressionBasis::Complaint);
    for (basis, scope, expected) in [
        (stop, S::BusinessEverything, Reason::PlatformStopped),
        (stop, S::BusinessMarketing, Reason::PlatformStopped),
        (stop, S::SenderEverything, Reason::ConsentGiven),
        (stop, S::SenderMarketing, Reason::ConsentGiven),
        (complaint, S::BusinessEverything, Reason::ConsentGiven),
    ] {
        let mut catalog = catalog();
        catalog.business.opt_out_scope = scope;
        let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
        let events = [given(1, 100, "offers"), of_one(basis)];
        let found = reason(&events, &rules, &other);
        assert_eq!(found, expected, "{basis} {scope:?}");
    }
}

#[test]
fn a_reassigned_number_voids_earlier_grants_and_not_its_new_holders() {
    let reassigned = suppression(SuppressionBasis::ReassignedNumber, 200, None);
    assert_eq!(
        marketing(&[given(1, 100, "offers"), reassigned.clone()]),
        Reason::Suppressed
    );
    assert_eq!(
        marketing(&[reassigned, given(2, 300, "offers")]),
        Reason::ConsentGiven
    );
}

#[test]
fn a_held_sender_sends_nothing() {
    let mut catalog = catalog();
    catalog.senders.get_mut("1001").unwrap().held = true;
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let events = [given(1, 100, "offers")];
    let held = Ask {
        sender: Some("1001"),
        ..Ask::default()
    };
    assert_eq!(reason(&events, &rules, &held), Reason::SenderHeld);
    let other = Ask {
        sender: Some("1002"),
        ..Ask::default()
    };
    assert_eq!(reason(&events, &rules, &other), Reason::ConsentGiven);
}
