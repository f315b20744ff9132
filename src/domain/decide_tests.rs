//! Tables of cases for the decision, one step after the other.

use super::*;
use crate::domain::event::tests::{at, event, purpose, terms, withdrawal};
use crate::domain::event::{
    Act, Confirmation as Confirms, ConfirmedRequest, Event, Implied, Restriction, Scope,
    Suppression, Terms,
};
use crate::domain::id::NoticeId;
use crate::domain::policy::tests::{lenient, policy};
use crate::domain::rules::tests::{catalog, rules, rules_with};
use crate::domain::vocabulary::{
    ImpliedBasis, IndicationMethod, RestrictionKind, TimeSource, WithdrawalMethod,
};

const DAY: i64 = 86_400;

fn sender(id: &str) -> SenderId {
    SenderId::parse(id).unwrap()
}

fn given(id: u128, seconds: i64, key: &str) -> Event {
    event(id, at(seconds), Act::ConsentGiven(terms(key)))
}

fn with(id: u128, seconds: i64, change: impl FnOnce(&mut Terms)) -> Event {
    let mut terms = terms("offers");
    change(&mut terms);
    event(id, at(seconds), Act::ConsentGiven(terms))
}

fn stop(id: u128, seconds: i64, scope: Scope) -> Event {
    event(id, at(seconds), withdrawal(scope))
}

struct Ask<'a> {
    key: &'a str,
    class: Option<MessageClass>,
    sender: Option<&'a str>,
    spelling: Spelling,
    inbound: Option<i64>,
    at: i64,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            key: "offers",
            class: None,
            sender: None,
            spelling: Spelling::Verbatim,
            inbound: None,
            at: DAY,
        }
    }
}

fn ask(events: &[Event], rules: &Rules, ask: &Ask<'_>) -> Verdict {
    let asked = &rules.catalog.purposes[ask.key];
    let sender = ask.sender.map(sender);
    let question = Question {
        purpose: asked,
        class: ask.class.unwrap_or(asked.message_class),
        sender: sender.as_ref(),
        spelling: ask.spelling,
    };
    let activity = Activity {
        last_inbound: ask.inbound.map(at),
    };
    decide(
        &Facts::fold(events),
        &activity,
        rules,
        &question,
        at(ask.at),
    )
}

fn reason(events: &[Event], rules: &Rules, question: &Ask<'_>) -> Reason {
    let verdict = ask(events, rules, question);
    assert_eq!(verdict.decision, verdict.reasons[0].decision());
    verdict.reasons[0]
}

fn marketing(events: &[Event]) -> Reason {
    reason(events, &rules(), &Ask::default())
}

#[test]
fn nothing_known_is_no_consent() {
    let verdict = ask(&[], &rules(), &Ask::default());
    assert_eq!(
        (verdict.decision, verdict.reasons),
        (Decision::Deny, vec![Reason::NoConsent])
    );
    assert_eq!(verdict.rests_on, None);
}

#[test]
fn a_grant_allows_its_purpose_and_names_the_event_that_carries_it() {
    let grant = given(1, 100, "offers");
    let verdict = ask(std::slice::from_ref(&grant), &rules(), &Ask::default());
    assert_eq!(
        (verdict.decision, verdict.reasons),
        (Decision::Allow, vec![Reason::ConsentGiven])
    );
    assert_eq!(verdict.rests_on, Some(grant.event_id));
    assert_eq!(
        reason(
            &[grant],
            &rules(),
            &Ask {
                key: "orders",
                ..Ask::default()
            }
        ),
        Reason::NoConsent
    );
}

#[test]
fn a_withdrawal_ends_it_and_a_later_act_gives_it_again() {
    let (first, stop, again) = (
        given(1, 100, "offers"),
        stop(2, 200, Scope::Everything),
        given(3, 300, "offers"),
    );
    assert_eq!(marketing(&[first.clone(), stop.clone()]), Reason::Withdrawn);
    assert_eq!(marketing(&[first, stop, again]), Reason::ConsentGiven);
}

#[test]
fn at_the_same_instant_the_restriction_wins() {
    assert_eq!(
        marketing(&[given(1, 200, "offers"), stop(2, 200, Scope::AllMarketing)]),
        Reason::Withdrawn
    );
}

#[test]
fn a_restriction_known_to_the_second_counts_to_its_end() {
    let mut grant = given(1, 200, "offers");
    grant.event_time = Timestamp::from_micros(200_700_000);
    assert_eq!(
        marketing(&[grant, stop(2, 200, Scope::Everything)]),
        Reason::Withdrawn
    );
}

#[test]
fn an_import_or_an_implied_grant_never_outweighs_a_withdrawal() {
    let import = with(2, 300, |t| t.indication_method = IndicationMethod::Import);
    let implied = with(3, 300, |t| {
        t.consent_type = ConsentType::Implied;
        t.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(DAY),
        });
    });
    for grant in [import, implied] {
        assert_eq!(
            marketing(std::slice::from_ref(&grant)),
            Reason::ConsentGiven
        );
        assert_eq!(
            marketing(&[stop(1, 200, Scope::Everything), grant]),
            Reason::Withdrawn
        );
    }
}

#[test]
fn clocks_of_two_sources_are_taken_to_differ_by_the_tolerance() {
    let mut stop = stop(1, 1_000, Scope::Everything);
    stop.time_source = TimeSource::Platform;
    let within = given(2, 1_000 + 300, "offers");
    let beyond = given(2, 1_000 + 302, "offers");
    assert_eq!(marketing(&[stop.clone(), within]), Reason::Withdrawn);
    assert_eq!(marketing(&[stop, beyond]), Reason::ConsentGiven);
}

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

fn suppression(basis: SuppressionBasis, seconds: i64, until: Option<i64>) -> Event {
    let act = Act::Suppressed(Suppression {
        basis,
        scope: Scope::AllMarketing,
        sender_id: None,
        until: until.map(at),
        withdrawal_method: None,
    });
    event(8, at(seconds), act)
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
        (verdict.reasons[0], verdict.holds_until),
        (Reason::Suppressed, Some(at(DAY)))
    );
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

fn confirming() -> Rules {
    let mut requirements = lenient();
    requirements.confirmation = Confirmation::Required;
    rules_with(catalog(), policy(&[("ZZ", requirements)]))
}

fn confirmation(id: u128, request: &Event, seconds: i64) -> Event {
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
        verdict.reasons,
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
fn asking_is_limited_and_never_allowed_after_a_withdrawal() {
    let request = || Ask {
        class: Some(MessageClass::ConsentRequest),
        ..Ask::default()
    };
    assert_eq!(reason(&[], &rules(), &request()), Reason::AskLimit);
    assert_eq!(
        reason(&[stop(1, 1, Scope::AllMarketing)], &rules(), &request()),
        Reason::Withdrawn
    );
    let in_window = Ask {
        inbound: Some(DAY - 5),
        ..request()
    };
    assert_eq!(
        reason(&[], &rules(), &in_window),
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
fn an_opt_out_confirmation_needs_a_permit_and_none_is_granted_yet() {
    let confirm = || Ask {
        class: Some(MessageClass::OptOutConfirmation),
        ..Ask::default()
    };
    assert_eq!(
        reason(&[given(1, 1, "offers")], &rules(), &confirm()),
        Reason::NoConsent
    );
    assert_eq!(
        reason(&[stop(1, 1, Scope::Everything)], &rules(), &confirm()),
        Reason::Withdrawn
    );
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
        verdict.reasons,
        [
            Reason::SenderHeld,
            Reason::Suppressed,
            Reason::Withdrawn,
            Reason::Expired
        ]
    );
}
