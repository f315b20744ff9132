//! What people send: opt-outs in their own words, confirmations, WhatsApp's own stop, and the window that every other
//! message opens.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{ACME, Backend, TestServer};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn asked(person: &Recipient, purpose: &str, class: MessageClass) -> CheckConsentRequest {
    CheckConsentRequest {
        message_class: class.into(),
        sender_id: "1001".into(),
        ..question(person, purpose)
    }
}

/// Whether a free-form message may be sent from the sender that people write to.
async fn service(server: &TestServer, person: &Recipient) -> Verdict {
    let question = asked(person, "support", MessageClass::Service);
    verdict_of(&server.try_check(question).await.unwrap())
}

pub async fn an_opt_out_in_the_persons_own_words_is_taken_at_once(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, (text, keyword, language)) in (1..).zip([
        ("STOP", "stop", "en"),
        ("  Stop!! 🙏", "stop", "en"),
        ("İPTAL", "iptal", "tr"),
        ("أوقف الرسائل", "", "ar"),
        ("não quero mais receber", "", "pt"),
    ]) {
        let person = person(number);
        server.gives(&person, &["offers", "orders"]).await;
        server.advance(MINUTE);
        let heard = server.hears(&person, text).await;
        assert_eq!(heard.action(), InboundAction::Withdrew, "{text}");
        assert_eq!(heard.language, language, "{text}");
        if !keyword.is_empty() {
            assert_eq!(heard.matched_keyword, keyword, "{text}");
        }
        assert_eq!(
            (heard.instances_confirmed, heard.waited.is_some()),
            (1, true)
        );
        assert_eq!(
            heard.service_window_until, None,
            "an opt-out opens no window"
        );
        // Unset, the setting is the widest: the whole business, everything.
        for purpose in ["offers", "orders"] {
            let denied = server.check(&person, purpose).await;
            assert_eq!(verdict_of(&denied), deny(&[Reason::Withdrawn]), "{text}");
            assert_eq!(denied.consent_event_id, heard.event_id);
        }
        let events = server.events(&person).await;
        let event = events.last().unwrap();
        assert_eq!(event.withdrawal_method(), WithdrawalMethod::Keyword);
        assert_eq!(event.evidence.as_ref().unwrap().statement, text);
    }
}

pub async fn the_button_that_whatsapp_offers_ends_marketing_by_payload_or_text(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, (payload, text)) in (1..).zip([
        ("Parar promoções", "Parar promoções"),
        ("custom-payload-17", "Detener promociones"),
        ("Stop promotions", ""),
    ]) {
        let person = person(number);
        server.gives(&person, &["offers", "orders"]).await;
        server.advance(MINUTE);
        let pressed = ReportInboundRequest {
            kind: InboundKind::Button.into(),
            payload: payload.into(),
            ..server.message(&person, text)
        };
        let heard = server.try_inbound(pressed).await.unwrap();
        assert_eq!(heard.action(), InboundAction::Withdrew, "{payload}/{text}");
        let (decision, reasons) = server.verdict(&person, "offers").await;
        assert_eq!((decision, reasons[0]), (Decision::Deny, Reason::Withdrawn));
        let orders = server.verdict(&person, "orders").await;
        assert_eq!(orders, allow(Reason::ConsentGiven), "{payload}/{text}");
        let events = server.events(&person).await;
        let method = events.last().unwrap().withdrawal_method();
        assert_eq!(method, WithdrawalMethod::Button);
    }
}

pub async fn what_may_be_an_opt_out_pauses_marketing_until_it_is_settled(on: Backend) {
    let server = TestServer::start(on).await;
    let (looked_at, settled) = (person(1), person(2));
    for person in [&looked_at, &settled] {
        server.gives(person, &["offers", "orders"]).await;
        server.advance(MINUTE);
        let heard = server.hears(person, "could you please stop this").await;
        assert_eq!(heard.action(), InboundAction::PossibleRevocation);
        assert_eq!(heard.service_window_until, None);
        let paused = server.check(person, "offers").await;
        assert_eq!(paused.reasons().next(), Some(Reason::PossibleRevocation));
        assert_eq!(paused.decision(), Decision::Deny);
        let orders = server.verdict(person, "orders").await;
        assert_eq!(orders, allow(Reason::ConsentGiven));
        let standing = server.try_get(standing_of(person)).await.unwrap();
        let basis = standing.suppressions[0].basis();
        assert_eq!(basis, SuppressionBasis::PossibleRevocation);
        server.advance(6 * MINUTE);
        if person == &looked_at {
            // Somebody read it: it was about something else.
            let lift = LiftSuppressionRequest {
                business_id: ACME.into(),
                recipient: Some(person.clone()),
                suppression_event_id: heard.event_id,
                event_time: Some(wire(server.now())),
                idempotency_key: fresh_key(),
                ..LiftSuppressionRequest::default()
            };
            server.try_lift(lift).await.unwrap();
        } else {
            server.advance(HOUR);
            server.gives(person, &["offers"]).await;
        }
        assert_eq!(
            server.verdict(person, "offers").await,
            allow(Reason::ConsentGiven)
        );
    }
}

pub async fn a_near_miss_and_an_ordinary_message_change_nothing(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    for text in [
        "quero parar de comer salada",
        "hello, when do you open tomorrow?",
        "yes",
        "no",
        "start",
        "",
    ] {
        let heard = server.hears(&person, text).await;
        assert_eq!(heard.action(), InboundAction::None, "{text}");
        assert_eq!(
            (heard.event_id.as_str(), heard.instances_confirmed),
            ("", 0)
        );
    }
    let help = server.hears(&person, "HELP").await;
    assert_eq!(help.action(), InboundAction::Help);
    assert_eq!(server.events(&person).await.len(), 1);
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );
}

pub async fn a_yes_confirms_only_while_something_waits_for_it(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let idle = server.hears(&person, "Yes").await;
    assert_eq!(idle.action(), InboundAction::None);
    server.gives(&person, &["club"]).await;
    let before = server.message(&person, "yes");
    server.advance(MINUTE);
    // Sent before the request, it arrives after it.
    let late = server.try_inbound(before).await.unwrap();
    assert_eq!(late.action(), InboundAction::None);
    let heard = server.hears(&person, "sí").await;
    assert_eq!(heard.action(), InboundAction::Confirmed);
    let allowed = server.check(&person, "club").await;
    assert_eq!(verdict_of(&allowed), allow(Reason::ConsentGiven));
    let events = server.events(&person).await;
    assert_eq!(events[1].kind(), EventKind::Confirmation);
    assert_eq!(events[1].event_id, heard.event_id);
    assert_eq!(
        server.hears(&person, "yes").await.action(),
        InboundAction::None
    );
}

pub async fn a_no_refuses_what_waits_and_nothing_else(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers", "club"]).await;
    server.advance(MINUTE);
    let heard = server.hears(&person, "No").await;
    assert_eq!(heard.action(), InboundAction::Withdrew);
    let (decision, reasons) = server.verdict(&person, "club").await;
    assert_eq!((decision, reasons[0]), (Decision::Deny, Reason::Refused));
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );
}

pub async fn a_message_opens_the_service_window_for_exactly_a_day(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let closed = service(&server, &person).await;
    assert_eq!(closed.0, Decision::Deny);
    assert!(closed.1.contains(&Reason::ServiceWindowClosed));

    let earlier = server.message(&person, "the one before");
    server.advance(HOUR);
    let heard = server.hears(&person, "where is my parcel?").await;
    let end = server.now().plus(24 * HOUR);
    assert_eq!(time(heard.service_window_until), end);
    // One that comes late shortens nothing.
    let late = server.try_inbound(earlier).await.unwrap();
    assert_eq!(time(late.service_window_until), end);
    assert_eq!(
        service(&server, &person).await,
        allow(Reason::ServiceWindowOpen)
    );
    // It belongs to the one number.
    let elsewhere = CheckConsentRequest {
        sender_id: "1002".into(),
        ..asked(&person, "support", MessageClass::Service)
    };
    let elsewhere = server.try_check(elsewhere).await.unwrap();
    assert_eq!(elsewhere.decision(), Decision::Deny);

    server.advance(24 * HOUR - SECOND);
    assert_eq!(
        service(&server, &person).await,
        allow(Reason::ServiceWindowOpen)
    );
    server.advance(SECOND);
    assert_eq!(service(&server, &person).await.0, Decision::Deny);
    // A call opens it again, an opt-out does not.
    let call = ReportInboundRequest {
        kind: InboundKind::Call.into(),
        ..server.message(&person, "")
    };
    server.try_inbound(call).await.unwrap();
    assert_eq!(
        service(&server, &person).await,
        allow(Reason::ServiceWindowOpen)
    );
    server.advance(HOUR);
    server.hears(&person, "stop").await;
    let (decision, reasons) = service(&server, &person).await;
    assert_eq!((decision, reasons[0]), (Decision::Deny, Reason::Withdrawn));
    // The window that a later message opens is the person's own.
    server.advance(MINUTE);
    server
        .hears(&person, "one more question about my parcel")
        .await;
    assert_eq!(
        service(&server, &person).await,
        allow(Reason::ServiceWindowOpen)
    );
    let (marketing, _) = server.verdict(&person, "offers").await;
    assert_eq!(marketing, Decision::Deny);
}

pub async fn a_report_that_comes_twice_is_one_and_an_edited_message_is_another(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let stop = server.message(&person, "stop");
    let first = server.try_inbound(stop.clone()).await.unwrap();
    server.advance(HOUR);
    server.gives(&person, &["offers"]).await;
    let again = server.try_inbound(stop.clone()).await.unwrap();
    assert_eq!(
        (again.action(), &again.event_id),
        (InboundAction::Withdrew, &first.event_id)
    );
    assert_eq!(again.matched_keyword, first.matched_keyword);
    assert_eq!(server.events(&person).await.len(), 2);
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );

    // Without an id of its own a report is known by what, to whom and when.
    server.advance(HOUR);
    let nameless = ReportInboundRequest {
        message_id: String::new(),
        ..server.message(&person, "stop")
    };
    let one = server.try_inbound(nameless.clone()).await.unwrap();
    let two = server.try_inbound(nameless).await.unwrap();
    assert_eq!(one.event_id, two.event_id);

    // "stop by tomorrow" was corrected to "stop".
    server.advance(HOUR);
    server.gives(&person, &["offers"]).await;
    server.advance(HOUR);
    let message = server.message(&person, "see you tomorrow");
    let edited = ReportInboundRequest {
        text: "stop".into(),
        ..message.clone()
    };
    assert_eq!(
        server.try_inbound(message).await.unwrap().action(),
        InboundAction::None
    );
    assert_eq!(
        server.try_inbound(edited).await.unwrap().action(),
        InboundAction::Withdrew
    );
    assert_eq!(server.verdict(&person, "offers").await.0, Decision::Deny);
}

pub async fn whatsapps_own_stop_holds_until_its_own_resume(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers", "orders"]).await;
    server.advance(MINUTE);
    let preference = |kind: InboundKind, sender: &str| ReportInboundRequest {
        kind: kind.into(),
        sender_id: sender.into(),
        ..server.message(&person, "")
    };
    let stopped = server
        .try_inbound(preference(InboundKind::PreferenceStop, "1001"))
        .await
        .unwrap();
    assert_eq!(stopped.action(), InboundAction::Withdrew);
    // Unless the business says otherwise it holds for all its numbers.
    for sender in ["1001", "1002"] {
        let denied = server.verdict_from(sender, &person, "offers").await;
        assert_eq!(denied, deny(&[Reason::PlatformStopped]));
    }
    assert_eq!(
        server.verdict(&person, "orders").await,
        allow(Reason::ConsentGiven)
    );
    server.advance(MINUTE);
    let another = server
        .try_inbound(preference(InboundKind::PreferenceResume, "1002"))
        .await
        .unwrap();
    assert_eq!(
        another.action(),
        InboundAction::None,
        "nothing was stopped there"
    );
    let resumed = server
        .try_inbound(preference(InboundKind::PreferenceResume, "1001"))
        .await
        .unwrap();
    assert_eq!(resumed.action(), InboundAction::Resumed);
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );

    // It never lifts what the person typed.
    server.advance(MINUTE);
    server.hears(&person, "stop").await;
    server
        .try_inbound(preference(InboundKind::PreferenceStop, "1001"))
        .await
        .unwrap();
    server.advance(MINUTE);
    server
        .try_inbound(preference(InboundKind::PreferenceResume, "1001"))
        .await
        .unwrap();
    assert_eq!(
        server.verdict(&person, "offers").await,
        deny(&[Reason::Withdrawn])
    );
}

pub async fn a_sign_up_in_whatsapp_grants_what_its_notice_names(on: Backend) {
    let server = TestServer::start(on).await;
    let (known, unknown) = (person(1), person(2));
    let sign_up = |person: &Recipient, signup: &str| ReportInboundRequest {
        kind: InboundKind::PlatformSignup.into(),
        signup_id: signup.into(),
        ..server.message(person, "")
    };
    let granted = server
        .try_inbound(sign_up(&known, "signup-1"))
        .await
        .unwrap();
    assert_eq!(granted.action(), InboundAction::Granted);
    let from = server.verdict_from("1001", &known, "offers").await;
    assert_eq!(from, allow(Reason::ConsentGiven));
    // The club wants a confirmation whatever it is signed up by, and another number was not named.
    let (club, _) = server.verdict_from("1001", &known, "club").await;
    assert_eq!(club, Decision::Deny);
    let (elsewhere, _) = server.verdict_from("1002", &known, "offers").await;
    assert_eq!(elsewhere, Decision::Deny);
    let events = server.events(&known).await;
    assert_eq!(
        events[0].indication_method(),
        IndicationMethod::PlatformSignup
    );
    assert_eq!(events[0].notice.as_ref().unwrap().notice_id, "in-app");
    assert_eq!(events[0].evidence.as_ref().unwrap().signup_id, "signup-1");

    let nothing = server
        .try_inbound(sign_up(&unknown, "signup-9"))
        .await
        .unwrap();
    assert_eq!(nothing.action(), InboundAction::None);
    assert_eq!(
        server.verdict(&unknown, "offers").await,
        deny(&[Reason::NoConsent])
    );
}

pub async fn an_opt_out_may_be_confirmed_once_by_the_number_that_heard_it(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    server.advance(MINUTE);
    let confirmation = |sender: &str, request: &str| CheckConsentRequest {
        message_class: MessageClass::OptOutConfirmation.into(),
        sender_id: sender.into(),
        request_id: request.into(),
        ..question(&person, "offers")
    };
    let before = server.try_check(confirmation("1001", "one")).await.unwrap();
    assert_eq!(
        before.decision(),
        Decision::Deny,
        "there is nothing to confirm"
    );
    let heard = server.hears(&person, "stop").await;
    let allowed = server.try_check(confirmation("1001", "one")).await.unwrap();
    assert_eq!(
        verdict_of(&allowed),
        allow(Reason::OptOutConfirmationPermitted)
    );
    assert_eq!(allowed.consent_event_id, heard.event_id);
    let again = server.try_check(confirmation("1001", "one")).await.unwrap();
    assert_eq!(verdict_of(&again), verdict_of(&allowed), "the same request");
    for (sender, request) in [("1001", "two"), ("1002", "one"), ("1002", "three")] {
        let denied = server
            .try_check(confirmation(sender, request))
            .await
            .unwrap();
        assert_eq!(denied.decision(), Decision::Deny, "{sender} {request}");
    }
    server.advance(5 * MINUTE + SECOND);
    let late = server.try_check(confirmation("1001", "one")).await.unwrap();
    assert_eq!(late.decision(), Decision::Deny);
    // What came by another way than a message is confirmed by that way.
    server.withdraws(&person, everything()).await;
    let elsewhere = server
        .try_check(confirmation("1001", "four"))
        .await
        .unwrap();
    assert_eq!(elsewhere.decision(), Decision::Deny);
}

pub async fn an_opt_out_is_heard_whatever_number_it_comes_from_or_to(on: Backend) {
    let server = TestServer::start(on).await;
    // No plan has the number without its ninth digit, and it is the same person.
    let (written, arriving) = (phone("+5541988887777"), wa_id("554188887777"));
    server.gives(&written, &["offers"]).await;
    server.advance(MINUTE);
    let heard = server.hears(&arriving, "SAIR").await;
    assert_eq!(heard.action(), InboundAction::Withdrew);
    assert_eq!(
        server.verdict(&written, "offers").await,
        deny(&[Reason::Withdrawn])
    );
    // A number of the business that the catalogue does not have.
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    server.advance(MINUTE);
    let to_nobody = ReportInboundRequest {
        sender_id: "9999".into(),
        ..server.message(&person, "stop")
    };
    let heard = server.try_inbound(to_nobody).await.unwrap();
    assert_eq!(heard.action(), InboundAction::Withdrew);
    assert_eq!(
        server.verdict(&person, "offers").await,
        deny(&[Reason::Withdrawn])
    );
    // Somebody never seen.
    let stranger = wa_id("9991234567");
    assert_eq!(
        server.hears(&stranger, "stop").await.action(),
        InboundAction::Withdrew
    );
    assert_eq!(
        server.state_of(&stranger, "offers").await,
        ConsentState::Withdrawn
    );
}

pub async fn what_is_wrong_with_a_report_is_named(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let cases: [(Change<ReportInboundRequest>, &str); 6] = [
        (|r| r.business_id.clear(), "business_id"),
        (|r| r.sender_id.clear(), "sender_id"),
        (|r| r.recipient = None, "recipient"),
        (|r| r.received_at = None, "received_at"),
        (|r| r.kind = 0, "kind"),
        (|r| r.kind = InboundKind::IdentityChanged.into(), "previous"),
    ];
    for (change, field) in cases {
        let mut report = server.message(&person, "stop");
        change(&mut report);
        let status = server.try_inbound(report).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}");
        assert_eq!(fields_of(&status), [field], "{status}");
    }
    assert_eq!(server.events(&person).await, []);
    // A second address that cannot be read must not keep the opt-out from being heard.
    let report = ReportInboundRequest {
        also_known_as: Some(phone("not a number")),
        ..server.message(&person, "stop")
    };
    let heard = server.try_inbound(report).await.unwrap();
    assert_eq!(heard.action(), InboundAction::Withdrew);
}
