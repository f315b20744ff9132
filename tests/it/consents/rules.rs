//! The rules of a decision: classes, terms, held senders, and what changes when the catalogue does.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{ACME, Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

pub async fn each_class_asks_for_consent_in_its_own_way(on: Backend) {
    use MessageClass as C;
    use Reason as R;
    let server = TestServer::start(on).await;
    let (agreed, nobody, gone) = (person(1), person(2), person(3));
    let all = ["offers", "orders", "receipts", "alarms", "codes", "support"];
    server.gives(&agreed, &all).await;
    server.withdraws(&gone, everything()).await;
    let closed = R::ServiceWindowClosed;
    let given = || allow(R::ConsentGiven);
    let free = || allow(R::ConsentNotRequired);
    let never = || deny(&[R::NoConsent]);
    let ended = || deny(&[R::Withdrawn]);
    let both = || deny(&[R::Withdrawn, R::NoConsent]);
    // The purpose, the class asked, and what each of the three gets.
    let table = [
        ("offers", None, [given(), never(), both()]),
        ("orders", None, [given(), never(), both()]),
        ("receipts", None, [given(), free(), ended()]),
        ("alarms", None, [given(), free(), ended()]),
        ("codes", None, [given(), free(), free()]),
        // The stricter of the two counts.
        ("receipts", Some(C::Marketing), [given(), never(), both()]),
        ("codes", Some(C::Marketing), [given(), never(), both()]),
        ("codes", Some(C::Utility), [given(), free(), ended()]),
        ("offers", Some(C::Service), [given(), never(), both()]),
        // No window was ever opened.
        (
            "support",
            None,
            [
                deny(&[closed]),
                deny(&[R::NoConsent, closed]),
                deny(&[R::Withdrawn, R::NoConsent, closed]),
            ],
        ),
        // Asking is regulated by itself: nobody began, and no window is open.
        (
            "offers",
            Some(C::ConsentRequest),
            [
                deny(&[R::AskLimit]),
                deny(&[R::AskLimit]),
                deny(&[R::Withdrawn, R::AskLimit]),
            ],
        ),
        // No opt-out came as a message, so there is nothing to confirm.
        (
            "offers",
            Some(C::OptOutConfirmation),
            [never(), never(), ended()],
        ),
    ];
    for (purpose, class, expected) in table {
        for (person, expected) in [&agreed, &nobody, &gone].into_iter().zip(expected) {
            let request = CheckConsentRequest {
                message_class: class.unwrap_or_default().into(),
                sender_id: "1001".into(),
                request_id: "7".into(),
                ..question(person, purpose)
            };
            let answer = server.try_check(request).await.unwrap();
            assert_eq!(verdict_of(&answer), expected, "{purpose} as {class:?}");
        }
    }
}

pub async fn a_template_counts_if_its_class_is_stricter(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["orders", "offers"]).await;
    server.withdraws(&ann, all_marketing()).await;
    let (allowed, denied) = (allow(Reason::ConsentGiven), deny(&[Reason::Withdrawn]));
    for (purpose, template, expected) in [
        ("orders", "", &allowed),
        ("orders", "unheard-of", &allowed),
        ("orders", "shipped", &allowed),
        ("orders", "sale", &denied),
        // A milder one changes nothing.
        ("offers", "shipped", &denied),
    ] {
        let request = CheckConsentRequest {
            template: template.into(),
            ..question(&ann, purpose)
        };
        let verdict = verdict_of(&server.try_check(request).await.unwrap());
        assert_eq!(verdict, *expected, "{purpose} {template}");
    }
}

pub async fn a_consent_ends_when_its_term_does(on: Backend) {
    let server = TestServer::start(on).await;
    // By the purpose, and by the jurisdiction.
    let indian = phone("+919876543210");
    let ann = person(1);
    let by_purpose = server.gives(&ann, &["summer"]).await;
    let by_law = server.gives(&indian, &["offers"]).await;
    let shorter = server.gives(&indian, &["summer"]).await;
    let forever = server.gives(&ann, &["offers"]).await;
    let given = server.now();
    let ends = |answer: &RecordConsentResponse| answer.records[0].expires_at;
    assert_eq!(ends(&by_purpose), Some(wire(given.plus(30 * DAY))));
    assert_eq!(ends(&by_law), Some(wire(given.plus(365 * DAY))));
    assert_eq!(ends(&shorter), ends(&by_purpose));
    assert_eq!(ends(&forever), None);

    let allowed = allow(Reason::ConsentGiven);
    let expired = deny(&[Reason::Expired]);
    server.advance(30 * DAY - Duration::from_micros(1));
    assert_eq!(server.verdict(&ann, "summer").await, allowed);
    server.advance(Duration::from_micros(1));
    assert_eq!(server.verdict(&ann, "summer").await, expired);
    assert_eq!(server.verdict(&indian, "summer").await, expired);
    assert_eq!(server.verdict(&indian, "offers").await, allowed);
    server.advance(335 * DAY);
    assert_eq!(server.verdict(&indian, "offers").await, expired);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn an_answer_holds_for_five_seconds_and_never_beyond_the_consent(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["summer", "offers"]).await;
    let holds = async |purpose: &str| {
        let answer = server.check(&ann, purpose).await;
        let span = answer.valid_for.unwrap();
        let span = Duration::try_from(span).unwrap();
        assert_eq!(time(answer.valid_until), server.now().plus(span));
        assert_eq!(answer.not_before, None);
        span
    };
    assert_eq!(holds("summer").await, Duration::from_secs(5));
    server.advance(30 * DAY - Duration::from_secs(2));
    assert_eq!(holds("summer").await, Duration::from_secs(2));
    assert_eq!(holds("offers").await, Duration::from_secs(5));
    server.advance(Duration::from_secs(2));
    assert_eq!(holds("summer").await, Duration::from_secs(5));
}

pub async fn the_term_of_an_answer_is_a_setting(on: Backend) {
    let server = TestServer::with(on, |config| config.valid_for = Duration::from_millis(1_500));
    let answer = server.await.check(&person(1), "offers").await;
    let span = Duration::try_from(answer.valid_for.unwrap()).unwrap();
    assert_eq!(span, Duration::from_millis(1_500));
}

pub async fn a_held_sender_sends_nothing_from_now_on(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers", "codes"]).await;
    let allowed = allow(Reason::ConsentGiven);
    let held = deny(&[Reason::SenderHeld]);
    assert_eq!(server.verdict_from("1001", &ann, "offers").await, allowed);
    assert_eq!(server.verdict_from("1009", &ann, "offers").await, held);
    for (hold, expected) in [(true, &held), (false, &allowed)] {
        let update = UpdateSenderRequest {
            business_id: ACME.into(),
            sender: Some(Sender {
                sender_id: "1001".into(),
                aliases: vec!["alias-of-1001".into()],
                held: hold,
                ..Sender::default()
            }),
        };
        server.catalog().update_sender(update).await.unwrap();
        for purpose in ["offers", "codes"] {
            for sender in ["1001", "alias-of-1001"] {
                let verdict = server.verdict_from(sender, &ann, purpose).await;
                assert_eq!(verdict, *expected, "{sender}");
            }
        }
        assert_eq!(server.verdict_from("1002", &ann, "offers").await, allowed);
        // Whoever does not say from where is not asked about one.
        assert_eq!(server.verdict(&ann, "offers").await, allowed);
    }
    // Every other reason is told, too.
    let gone = person(2);
    server.withdraws(&gone, everything()).await;
    let all = deny(&[Reason::SenderHeld, Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict_from("1009", &gone, "offers").await, all);
}

pub async fn new_processing_ends_the_consents_to_the_old_one(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    let get = GetNoticeRequest {
        business_id: ACME.into(),
        notice_id: "signup".into(),
        version: 1,
        language: "en".into(),
    };
    let shown = server.catalog().get_notice(get).await.unwrap();
    let shown = shown.into_inner().notice.unwrap();
    for (version, processing_version) in [(2, 1), (3, 2)] {
        let next = Notice {
            version,
            processing_version,
            ..shown.clone()
        };
        let create = CreateNoticeRequest {
            business_id: ACME.into(),
            notice: Some(next),
        };
        server.catalog().create_notice(create).await.unwrap();
        let expected = match processing_version {
            1 => allowed.clone(),
            _ => deny(&[Reason::NoticeOutdated]),
        };
        let verdict = server.verdict(&ann, "offers").await;
        assert_eq!(verdict, expected, "{processing_version}");
    }
    server.advance(MINUTE);
    let renewed = RecordConsentRequest {
        notice: Some(NoticeRef {
            version: 3,
            ..signup_notice()
        }),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(renewed).await.unwrap();
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn a_decision_names_the_version_of_its_rules(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    let version = async |server: &TestServer, business: &str| {
        let request = CheckConsentRequest {
            business_id: business.into(),
            ..question(&ann, "offers")
        };
        server.try_check(request).await.unwrap().policy_version
    };
    let (first, of_rival) = (
        version(&server, ACME).await,
        version(&server, "rival").await,
    );
    assert!(first.len() == 64 && first.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_ne!(first, of_rival);
    // Facts are no rules.
    server.gives(&ann, &["offers"]).await;
    assert_eq!(version(&server, ACME).await, first);

    let update = UpdateSenderRequest {
        business_id: ACME.into(),
        sender: Some(Sender {
            sender_id: "1002".into(),
            held: true,
            ..Sender::default()
        }),
    };
    server.catalog().update_sender(update).await.unwrap();
    let second = version(&server, ACME).await;
    assert_ne!(second, first);
    assert_eq!(version(&server, "rival").await, of_rival);
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(event.policy_version, first);

    // The catalogue file is applied again. It does not speak of the hold, so it changes nothing.
    server.restart().await;
    assert_eq!(version(&server, ACME).await, second);
    assert_eq!(version(&server, "rival").await, of_rival);
}

pub async fn another_policy_is_another_version_and_decides_from_the_start(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let first = server.check(&ann, "offers").await;
    assert_eq!(verdict_of(&first), allow(Reason::ConsentGiven));
    let policy = server.policy();
    let strict = policy.replace("confirmation = \"optional\"", "confirmation = \"required\"");
    assert_ne!(strict, policy);
    server.restart_with_policy(&strict).await;
    let second = server.check(&ann, "offers").await;
    let pending = deny(&[Reason::ConfirmationPending]);
    assert_eq!(verdict_of(&second), pending);
    assert_ne!(second.policy_version, first.policy_version);
    server.restart_with_policy(&policy).await;
    let third = server.check(&ann, "offers").await;
    assert_eq!(third.policy_version, first.policy_version);
}
