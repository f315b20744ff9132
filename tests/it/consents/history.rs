//! A person's history: every act with what proves it, page by page.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use super::evidence::full_evidence;
use crate::harness::{ACME, Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);

pub async fn an_act_is_listed_as_it_was_recorded(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = phone("+5511987654321");
    let acted = before(server.now(), MINUTE);
    let declarations = Declarations {
        default_unticked: Some(true),
        ..Declarations::default()
    };
    let labels = [
        ("store".into(), "Köln".into()),
        ("lang".into(), "de".into()),
    ];
    let grant = RecordConsentRequest {
        sender_id: "1001".into(),
        event_time: Some(wire(acted)),
        evidence: Some(full_evidence()),
        declarations: Some(declarations),
        labels: labels.clone().into(),
        actor: "form on the landing page".into(),
        import_batch_id: "spring".into(),
        ..server.grant(&ann, &["orders", "offers"])
    };
    let given = server.try_record(grant).await.unwrap();
    let policy_version = server.check(&ann, "offers").await.policy_version;
    // Read back from the ledger, with keys read back from their file.
    server.restart().await;
    server.advance(MINUTE);

    let [event] = server.events(&ann).await.try_into().unwrap();
    let recorded_at = before(server.now(), MINUTE);
    assert!(event.partition >= 1 && event.offset == 1, "{event:?}");
    let expected = ConsentEvent {
        event_id: given.records[0].event_id.clone(),
        kind: EventKind::Consent.into(),
        event_state: ConsentState::Given.into(),
        event_time: Some(wire(acted)),
        recorded_at: Some(wire(recorded_at)),
        effective_at: Some(wire(acted)),
        purposes: keys(&["offers", "orders"]),
        sender_id: "1001".into(),
        indication_method: IndicationMethod::UntickedCheckbox.into(),
        consent_type: ConsentType::ExplicitlyExpressed.into(),
        notice: Some(signup_notice()),
        declarations: Some(declarations),
        jurisdiction: "BR".into(),
        evidence: Some(full_evidence()),
        labels: labels.into(),
        actor: "form on the landing page".into(),
        import_batch_id: "spring".into(),
        spelling: "with the ninth digit".into(),
        partition: event.partition,
        offset: event.offset,
        policy_version,
        ..ConsentEvent::default()
    };
    assert_eq!(event, expected);
}

pub async fn an_opt_out_is_listed_as_it_was_recorded(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let scope = at_sender(of_purposes(&["offers", "never-heard-of"]), "1001");
    let opt_out = WithdrawRequest {
        event_time: Some(wire(before(server.now(), MINUTE))),
        evidence: Some(full_evidence()),
        actor: "call centre".into(),
        ..server.opt_out(&ann, scope)
    };
    let withdrawn = server.try_withdraw(opt_out.clone()).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    let expected = ConsentEvent {
        event_id: withdrawn.event_id,
        kind: EventKind::Withdrawal.into(),
        event_state: ConsentState::Withdrawn.into(),
        event_time: opt_out.event_time,
        recorded_at: Some(wire(server.now())),
        effective_at: opt_out.event_time,
        purposes: keys(&["never-heard-of", "offers"]),
        scope: Some(at_sender(
            of_purposes(&["never-heard-of", "offers"]),
            "1001",
        )),
        sender_id: "1001".into(),
        withdrawal_method: WithdrawalMethod::Keyword.into(),
        evidence: Some(full_evidence()),
        actor: "call centre".into(),
        partition: event.partition,
        offset: event.offset,
        ..ConsentEvent::default()
    };
    // The rules in force are those of the moment; a restriction rests on none.
    let event = ConsentEvent {
        policy_version: String::new(),
        ..event
    };
    assert_eq!(event, expected);
}

pub async fn implied_consent_is_listed_with_its_basis(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = phone("+14165550123");
    let basis_time = Some(wire(before(server.now(), MINUTE)));
    let implied = RecordConsentRequest {
        consent_type: ConsentType::Implied.into(),
        implied_basis: ImpliedBasis::Inquiry.into(),
        basis_time,
        notice: None,
        ..server.grant(&ann, &["deals"])
    };
    server.try_record(implied).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(
        (event.consent_type(), event.implied_basis()),
        (ConsentType::Implied, ImpliedBasis::Inquiry)
    );
    assert_eq!((event.basis_time, event.notice), (basis_time, None));
}

pub async fn a_refusal_is_listed_with_how_and_to_what(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let no = RecordConsentRequest {
        event_state: ConsentState::Refused.into(),
        consent_type: 0,
        indication_method: IndicationMethod::Button.into(),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(no).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(
        (event.kind(), event.event_state()),
        (EventKind::Consent, ConsentState::Refused)
    );
    assert_eq!(event.indication_method(), IndicationMethod::Button);
    assert_eq!(event.notice, Some(signup_notice()));
    assert_eq!(event.purposes, ["offers"]);
}

pub async fn pages_follow_each_other_without_gap_or_overlap(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    for number in 0..7 {
        let grant = RecordConsentRequest {
            actor: format!("{number}"),
            ..server.grant(&ann, &["offers"])
        };
        server.try_record(grant).await.unwrap();
        server.gives(&bob, &["offers"]).await;
    }
    for (page_size, pages) in [
        (1, 7),
        (2, 4),
        (3, 3),
        (7, 1),
        (8, 1),
        (0, 1),
        (i32::MAX, 1),
    ] {
        let mut listed: Vec<String> = Vec::new();
        let mut page_token = String::new();
        for page in 1..=pages {
            let request = ListConsentEventsRequest {
                page_size,
                page_token: page_token.clone(),
                ..history_of(&ann)
            };
            let answer = server.try_events(request).await.unwrap();
            listed.extend(answer.events.into_iter().map(|event| event.actor));
            page_token = answer.next_page_token;
            assert_eq!(page_token.is_empty(), page == pages, "{page} of {pages}");
        }
        assert_eq!(listed, ["0", "1", "2", "3", "4", "5", "6"], "{page_size}");
    }
    let negative = ListConsentEventsRequest {
        page_size: -1,
        ..history_of(&ann)
    };
    refused(
        server.try_events(negative).await,
        "FIELD_INVALID",
        &["page_size"],
    );
}

pub async fn a_page_goes_on_where_it_ended_while_others_write(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    server.gives(&ann, &["news"]).await;
    let first = ListConsentEventsRequest {
        page_size: 1,
        ..history_of(&ann)
    };
    let first = server.try_events(first).await.unwrap();
    server.withdraws(&ann, everything()).await;
    server.restart().await;
    let rest = ListConsentEventsRequest {
        page_token: first.next_page_token,
        ..history_of(&ann)
    };
    let rest = server.try_events(rest).await.unwrap();
    let kinds: Vec<_> = rest.events.iter().map(ConsentEvent::kind).collect();
    assert_eq!(kinds, [EventKind::Consent, EventKind::Withdrawal]);
}

pub async fn a_token_of_another_list_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    for person in [&ann, &bob] {
        server.gives(person, &["offers"]).await;
        server.gives(person, &["news"]).await;
    }
    let at_rival = RecordConsentRequest {
        business_id: "rival".into(),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(at_rival).await.unwrap();
    let first = ListConsentEventsRequest {
        page_size: 1,
        ..history_of(&ann)
    };
    let token = server.try_events(first).await.unwrap().next_page_token;
    let catalog = ListPurposesRequest {
        business_id: ACME.into(),
        page_size: 1,
        ..ListPurposesRequest::default()
    };
    let of_catalog = server.catalog().list_purposes(catalog).await.unwrap();
    let of_catalog = of_catalog.into_inner().next_page_token;
    let of_a_check = server.check(&ann, "offers").await.consistency_token;

    let with = |token: &str, request: ListConsentEventsRequest| ListConsentEventsRequest {
        page_token: token.into(),
        ..request
    };
    let rivals = ListConsentEventsRequest {
        business_id: "rival".into(),
        ..history_of(&ann)
    };
    let cut = &token[..token.len() - 1];
    for request in [
        with(&token, history_of(&bob)),
        with(&token, history_of(&person(3))),
        with(&token, rivals),
        with(&of_catalog, history_of(&ann)),
        with(&of_a_check, history_of(&ann)),
        with("anything", history_of(&ann)),
        with(cut, history_of(&ann)),
    ] {
        let answer = server.try_events(request).await;
        refused(answer, "TOKEN_INVALID", &["page_token"]);
    }
    // The same person in another writing is the same list.
    let digits = wa_id("14152000001");
    assert_eq!(person(1), phone("+14152000001"));
    let answer = server.try_events(with(&token, history_of(&digits))).await;
    assert_eq!(answer.unwrap().events.len(), 1);
}
