//! Erasures: the person's data are gone, what restricts stays, and nothing is sent until the person acts again.

use std::time::Duration;

use consentgate::grpc::proto::ledger_service_client::LedgerServiceClient;
use consentgate::grpc::proto::*;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::acts::*;
use super::identity::{bsuid, links};
use crate::harness::{ACME, Backend, TestServer};
use crate::wait::eventually;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn erasure(person: &Recipient) -> EraseSubjectRequest {
    EraseSubjectRequest {
        business_id: ACME.into(),
        recipient: Some(person.clone()),
        basis: ErasureBasis::SubjectRequest.into(),
        reason: "letter of May".into(),
        actor: "jane@acme.example".into(),
        idempotency_key: fresh_key(),
    }
}

async fn try_erase(
    server: &TestServer,
    request: EraseSubjectRequest,
) -> Result<EraseSubjectResponse, Status> {
    let mut client = LedgerServiceClient::new(server.channel());
    Ok(client.erase_subject(request).await?.into_inner())
}

async fn erase(server: &TestServer, person: &Recipient) -> EraseSubjectResponse {
    try_erase(server, erasure(person)).await.unwrap()
}

/// A grant with everything that can be personal in it.
fn telling(server: &TestServer, person: &Recipient) -> RecordConsentRequest {
    RecordConsentRequest {
        evidence: Some(Evidence {
            statement: "she said so".into(),
            ip_address: "192.0.2.1".into(),
            ..Evidence::default()
        }),
        labels: [("store".to_owned(), "Berlin".to_owned())].into(),
        actor: "the till".into(),
        ..server.grant(person, &["offers", "receipts", "codes", "support"])
    }
}

/// How many sealed values there are of anybody.
async fn sealed(server: &TestServer) -> i64 {
    let mut sql = server.sql().await;
    let payloads = sql.number("SELECT count(*) FROM event_payload").await;
    payloads + sql.number("SELECT count(*) FROM subject_address").await
}

fn asked(person: &Recipient, purpose: &str, class: MessageClass) -> CheckConsentRequest {
    CheckConsentRequest {
        message_class: class.into(),
        sender_id: "1001".into(),
        request_id: "r1".into(),
        ..question(person, purpose)
    }
}

/// One question of each class, those that need no consent among them.
fn every_question(person: &Recipient) -> [CheckConsentRequest; 7] {
    use MessageClass as C;
    [
        asked(person, "offers", C::Marketing),
        asked(person, "orders", C::Utility),
        asked(person, "receipts", C::Utility),
        asked(person, "codes", C::Authentication),
        asked(person, "support", C::Service),
        asked(person, "offers", C::ConsentRequest),
        asked(person, "offers", C::OptOutConfirmation),
    ]
}

pub async fn an_erased_person_is_sent_nothing_and_nothing_personal_is_left(on: Backend) {
    let server = TestServer::start(on).await;
    let (person, other) = (person(1), person(2));
    for somebody in [&person, &other] {
        server.try_record(telling(&server, somebody)).await.unwrap();
        server.hears(somebody, "what does it cost?").await;
    }
    let [of_one, of_both] = [sealed(&server).await / 2, sealed(&server).await];
    assert_eq!((of_one, of_both), (2, 4), "a payload and an address each");
    for question in every_question(&person).into_iter().take(5) {
        let purpose = question.purpose.clone();
        let allowed = server.try_check(question).await.unwrap();
        let expected = match purpose.as_str() {
            "orders" => Decision::Deny,
            _ => Decision::Allow,
        };
        assert_eq!(allowed.decision(), expected, "{purpose}");
    }
    server.advance(MINUTE);

    let erased = erase(&server, &person).await;
    assert_eq!(erased.scheduled_for, None);
    assert_eq!(erased.instances_confirmed, 1);
    for question in every_question(&person) {
        let class = question.message_class();
        let answer = server.try_check(question).await.unwrap();
        assert_eq!(answer.decision(), Decision::Deny, "{class:?}");
        assert_eq!(
            answer.reasons().next(),
            Some(Reason::NoConsent),
            "{class:?}"
        );
        assert_eq!(answer.consent_event_id, "", "{class:?}");
    }
    assert_eq!(sealed(&server).await, of_both - of_one);
    assert_eq!(server.states(&person).await, []);
    assert_eq!(
        server.verdict(&other, "offers").await,
        allow(Reason::ConsentGiven)
    );

    // The acts stay, and say nothing of the person.
    let events = server.events(&person).await;
    let [given, gone] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (given.kind(), gone.kind()),
        (EventKind::Consent, EventKind::Erasure)
    );
    assert_eq!(gone.event_id, erased.event_id);
    for event in [given, gone] {
        assert_eq!((&event.evidence, event.labels.len()), (&None, 0));
        assert_eq!(event.actor, "");
    }
    let why = gone.erasure.as_ref().unwrap();
    assert_eq!(why.basis(), ErasureBasis::SubjectRequest);
    assert_eq!(
        (why.reason.as_str(), &why.retained_until),
        ("letter of May", &None)
    );
    let explained = ExplainConsentRequest {
        business_id: ACME.into(),
        recipient: Some(person.clone()),
        purpose: "offers".into(),
        ..ExplainConsentRequest::default()
    };
    let explained = server.try_explain(explained).await.unwrap();
    let told = format!("{explained:?}");
    assert!(told.contains("data were erased"), "{told}");
}

pub async fn what_restricts_outlives_an_erasure_and_a_new_act_of_the_person_ends_it(on: Backend) {
    let server = TestServer::start(on).await;
    let (stopped, other) = (person(1), person(2));
    for somebody in [&stopped, &other] {
        server.gives(somebody, &["offers", "receipts"]).await;
    }
    server.advance(MINUTE);
    server.withdraws(&stopped, all_marketing()).await;
    server.advance(MINUTE);
    for somebody in [&stopped, &other] {
        erase(&server, somebody).await;
    }
    let reasons = |reasons: &[Reason]| deny(reasons);
    assert_eq!(
        server.verdict(&stopped, "offers").await,
        reasons(&[Reason::Withdrawn, Reason::NoConsent])
    );
    assert_eq!(
        server.verdict(&other, "offers").await,
        reasons(&[Reason::NoConsent])
    );
    // Consents from before that are reported late, imports from after, and a late confirmation.
    server.advance(HOUR);
    for somebody in [&stopped, &other] {
        let mut old = server.grant(somebody, &["offers", "receipts"]);
        old.event_time = Some(wire(before(server.now(), HOUR * 2)));
        let recorded = server.try_record(old).await.unwrap();
        assert!(
            recorded
                .records
                .iter()
                .all(|one| one.effect() == Effect::Superseded)
        );
        let mut import = server.grant(somebody, &["offers", "receipts"]);
        import.indication_method = IndicationMethod::Import.into();
        import.import_batch_id = "batch".into();
        server.try_record(import).await.unwrap();
        for purpose in ["offers", "receipts"] {
            let (decision, _) = server.verdict(somebody, purpose).await;
            assert_eq!(decision, Decision::Deny, "{purpose}");
        }
    }
    // Nothing of all that is worth keeping somebody's number for.
    assert_eq!(sealed(&server).await, 0);

    server.advance(HOUR);
    for somebody in [&stopped, &other] {
        let given = server.gives(somebody, &["offers"]).await;
        assert_eq!(given.records[0].state(), ConsentState::Given);
        assert_eq!(given.records[0].effect(), Effect::Applied);
        assert_eq!(
            server.verdict(somebody, "offers").await,
            allow(Reason::ConsentGiven)
        );
        // That was one act for one purpose.
        let (decision, _) = server.verdict(somebody, "receipts").await;
        assert_eq!(decision, Decision::Deny);
    }
    assert_eq!(sealed(&server).await, 2, "two addresses");
}

pub async fn a_window_from_before_an_erasure_is_closed_and_a_later_message_opens_one(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.hears(&person, "hello").await;
    server.advance(MINUTE);
    let support = || asked(&person, "support", MessageClass::Service);
    let allowed = server.try_check(support()).await.unwrap();
    assert_eq!(verdict_of(&allowed), allow(Reason::ServiceWindowOpen));
    // Whoever only wrote was seen.
    erase(&server, &person).await;
    let mut sql = server.sql().await;
    assert_eq!(sql.number("SELECT count(*) FROM service_window").await, 0);
    // Memory may know of the window for as long as it was open; it counts for nothing.
    let denied = server.try_check(support()).await.unwrap();
    assert_eq!(denied.decision(), Decision::Deny);
    assert_eq!(denied.reasons().next(), Some(Reason::NoConsent));

    // Nor once the person consents anew, though SERVICE would need nothing else now.
    server.advance(MINUTE * 6);
    server.gives(&person, &["support"]).await;
    let denied = server.try_check(support()).await.unwrap();
    assert_eq!(verdict_of(&denied), deny(&[Reason::ServiceWindowClosed]));

    server.advance(MINUTE);
    server.hears(&person, "hello again").await;
    let allowed = server.try_check(support()).await.unwrap();
    assert_eq!(verdict_of(&allowed), allow(Reason::ServiceWindowOpen));
    let (decision, _) = server.verdict(&person, "receipts").await;
    assert_eq!(
        decision,
        Decision::Deny,
        "an answer to a question is no consent"
    );
}

pub async fn an_erasure_is_of_all_addresses_that_are_linked(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, at_phone) in (1..).zip([true, false]) {
        let (phone, user) = (person(number), bsuid(number));
        links(&server, &phone, &user).await;
        server.try_record(telling(&server, &phone)).await.unwrap();
        server.advance(MINUTE);
        for address in [&phone, &user] {
            let verdict = server.verdict(address, "offers").await;
            assert_eq!(verdict, allow(Reason::ConsentGiven));
        }
        let erased = erase(&server, if at_phone { &phone } else { &user }).await;
        for address in [&phone, &user] {
            let verdict = server.verdict(address, "offers").await;
            assert_eq!(verdict, deny(&[Reason::NoConsent]));
            let events = server.events(address).await;
            let last = events.last().unwrap();
            assert_eq!(
                (last.kind(), &last.event_id),
                (EventKind::Erasure, &erased.event_id)
            );
        }
        assert_eq!(sealed(&server).await, 0);
        // That they were named together is known, so an opt-out still reaches both.
        server.advance(HOUR);
        server.withdraws(&user, everything()).await;
        let (_, reasons) = server.verdict(&phone, "offers").await;
        assert_eq!(reasons[0], Reason::Withdrawn);
        assert_eq!(
            sealed(&server).await,
            0,
            "an opt-out without evidence has none"
        );
    }
}

pub async fn an_address_that_is_linked_with_an_erased_one_takes_the_erasure_over(on: Backend) {
    let server = TestServer::start(on).await;
    let (phone, user) = (person(1), bsuid(1));
    server.gives(&phone, &["offers"]).await;
    server.gives(&user, &["offers"]).await;
    server.advance(HOUR);
    erase(&server, &phone).await;
    assert_eq!(
        server.verdict(&user, "offers").await,
        allow(Reason::ConsentGiven)
    );
    server.advance(HOUR);
    links(&server, &user, &phone).await;
    for address in [&phone, &user] {
        assert_eq!(
            server.verdict(address, "offers").await,
            deny(&[Reason::NoConsent])
        );
    }
}

pub async fn an_erasure_repeated_answers_as_the_first_did_and_another_one_does_no_harm(
    on: Backend,
) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.try_record(telling(&server, &person)).await.unwrap();
    server.advance(MINUTE);
    let request = erasure(&person);
    let first = try_erase(&server, request.clone()).await.unwrap();
    let again = try_erase(&server, request.clone()).await.unwrap();
    assert_eq!(
        (&again.event_id, again.scheduled_for),
        (&first.event_id, None)
    );
    assert_eq!(server.events(&person).await.len(), 2);
    let other_content = EraseSubjectRequest {
        basis: ErasureBasis::AuthorityOrder.into(),
        ..request
    };
    let status = try_erase(&server, other_content).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");

    let twice = erase(&server, &person).await;
    assert_ne!(twice.event_id, first.event_id);
    assert_eq!(
        server.verdict(&person, "offers").await,
        deny(&[Reason::NoConsent])
    );
    assert_eq!(sealed(&server).await, 0);

    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let (mut client, request) = (LedgerServiceClient::new(server.channel()), erasure(&person));
        calls.spawn(async move { client.erase_subject(request).await.map(drop) });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(server.events(&person).await.len(), 11);
}

pub async fn a_person_never_seen_is_not_found_whoever_else_has_seen_them(on: Backend) {
    let server = TestServer::start(on).await;
    let (nobody, of_rival) = (person(1), person(2));
    let mut elsewhere = server.grant(&of_rival, &["offers"]);
    elsewhere.business_id = "rival".into();
    server.try_record(elsewhere).await.unwrap();
    let mut told = Vec::new();
    for somebody in [&nobody, &of_rival] {
        let status = try_erase(&server, erasure(somebody)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        told.push((status.message().to_owned(), status.details().to_vec()));
        assert_eq!(server.events(somebody).await, []);
    }
    assert_eq!(told[0], told[1]);
    let mut at_rival = question(&of_rival, "offers");
    at_rival.business_id = "rival".into();
    let allowed = server.try_check(at_rival).await.unwrap();
    assert_eq!(verdict_of(&allowed), allow(Reason::ConsentGiven));
}

pub async fn what_is_wrong_with_an_erasure_is_named(on: Backend) {
    let server = TestServer::start(on).await;
    server.gives(&person(1), &["offers"]).await;
    let cases: [(Change<EraseSubjectRequest>, &str); 8] = [
        (|r| r.business_id.clear(), "business_id"),
        (|r| r.recipient = None, "recipient"),
        (|r| r.basis = 0, "basis"),
        (|r| r.basis = 99, "basis"),
        (|r| r.reason = "n".repeat(257), "reason"),
        (
            |r| r.reason = "asked from +49 151 12345678".into(),
            "reason",
        ),
        (|r| r.actor = "a".repeat(257), "actor"),
        (|r| r.idempotency_key.clear(), "idempotency_key"),
    ];
    for (change, field) in cases {
        let mut request = erasure(&person(1));
        change(&mut request);
        refused(try_erase(&server, request).await, "FIELD_INVALID", &[field]);
    }
    let (decision, _) = server.verdict(&person(1), "offers").await;
    assert_eq!(decision, Decision::Allow);
}

async fn payloads_left(server: &TestServer, expected: i64) {
    let left = async || {
        let mut sql = server.sql().await;
        let count = sql.number("SELECT count(*) FROM event_payload").await;
        (count == expected).then_some(())
    };
    eventually(MINUTE, "what is due is removed", left).await;
}

pub async fn proof_that_the_policy_has_kept_goes_when_its_time_has_come(on: Backend) {
    let mut server = TestServer::start(on).await;
    let american = "code = \"US\"\n";
    let kept = server
        .policy()
        .replace(american, &format!("{american}proof_retention = \"P1Y\"\n"));
    server.restart_with_policy(&kept).await;
    let (withdrawn, plain, unproven) = (person(1), person(2), person(3));
    for person in [&withdrawn, &plain] {
        server.try_record(telling(&server, person)).await.unwrap();
    }
    server.gives(&unproven, &["offers"]).await;
    server.advance(DAY);
    let ended = server.now();
    server.withdraws(&withdrawn, everything()).await;
    server.advance(DAY * 10);
    let year = DAY * 366;

    let erased = erase(&server, &plain).await;
    let due = server.now().plus(year);
    assert_eq!(time(erased.scheduled_for), due);
    let sooner = erase(&server, &withdrawn).await;
    // From the end of the consent on, and that was ten days ago.
    assert_eq!(
        time(sooner.scheduled_for).since(ended.plus(year)),
        Duration::ZERO
    );
    assert_eq!(erase(&server, &unproven).await.scheduled_for, None);
    let mut sql = server.sql().await;
    let addresses = "SELECT count(*) FROM subject_address";
    let payloads = "SELECT count(*) FROM event_payload";
    assert_eq!(sql.number(addresses).await, 0, "a number proves nothing");
    // The proofs, and of each erasure who asked for it.
    assert_eq!(sql.number(payloads).await, 4);
    for person in [&withdrawn, &plain, &unproven] {
        let (decision, _) = server.verdict(person, "offers").await;
        assert_eq!(decision, Decision::Deny);
    }
    // Again, it is no longer away than before.
    server.advance(DAY);
    let again = erase(&server, &plain).await;
    assert!(time(again.scheduled_for) <= due);

    // Nobody serves when the time comes.
    server.stop().await;
    server.advance(Duration::from_hours(24 * 357));
    server.resume();
    payloads_left(&server, 3).await;
    let events = server.events(&withdrawn).await;
    assert!(events.iter().all(|event| event.evidence.is_none()));
    let events = server.events(&plain).await;
    assert!(events[0].evidence.is_some(), "not due yet");
    server.stop().await;
    server.advance(DAY * 12);
    server.resume();
    payloads_left(&server, 0).await;
    assert_eq!(
        server.verdict(&plain, "offers").await,
        deny(&[Reason::NoConsent])
    );
}
