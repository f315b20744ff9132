//! Suppressions: what bars sending whatever is granted, and what lifts it again.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tonic::{Code, Status};

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);

pub fn suppression(
    server: &TestServer,
    person: &Recipient,
    basis: SuppressionBasis,
    scope: WithdrawalScope,
) -> AddSuppressionRequest {
    AddSuppressionRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        scope: Some(scope),
        basis: basis.into(),
        since: Some(wire(server.now())),
        idempotency_key: fresh_key(),
        ..Default::default()
    }
}

fn lift(server: &TestServer, person: &Recipient, suppression: &str) -> LiftSuppressionRequest {
    LiftSuppressionRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        suppression_event_id: suppression.into(),
        event_time: Some(wire(server.now())),
        idempotency_key: fresh_key(),
        ..Default::default()
    }
}

pub async fn suppress(
    server: &TestServer,
    request: AddSuppressionRequest,
) -> Result<AddSuppressionResponse, Status> {
    Ok(server.client().add_suppression(request).await?.into_inner())
}

async fn lifts(
    server: &TestServer,
    request: LiftSuppressionRequest,
) -> Result<LiftSuppressionResponse, Status> {
    Ok(server
        .client()
        .lift_suppression(request)
        .await?
        .into_inner())
}

pub async fn a_suppression_beats_every_grant_until_it_is_lifted(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers", "orders"]).await;
    server.advance(MINUTE);
    let registry = SuppressionBasis::NationalRegistry;
    let request = suppression(&server, &person, registry, all_marketing());
    let added = suppress(&server, request.clone()).await.unwrap();
    assert_eq!(added.instances_confirmed, 1);
    // The same call again has the same answer and adds nothing.
    assert_eq!(
        suppress(&server, request).await.unwrap().event_id,
        added.event_id
    );

    server.advance(MINUTE);
    server.gives(&person, &["offers"]).await;
    let barred = server.check(&person, "offers").await;
    assert_eq!(verdict_of(&barred), deny(&[Reason::Suppressed]));
    assert_eq!(barred.consent_event_id, added.event_id);
    assert_eq!(
        server.verdict(&person, "orders").await,
        allow(Reason::ConsentGiven)
    );
    let standing = server.try_get(standing_of(&person)).await.unwrap();
    assert_eq!(standing.suppressions[0].basis(), registry);
    assert!(!standing.suppressions[0].made_by_subject);

    let lifted = lifts(&server, lift(&server, &person, &added.event_id))
        .await
        .unwrap();
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );
    let events = server.events(&person).await;
    let last = events.last().unwrap();
    assert_eq!(
        (last.kind(), &last.event_id),
        (EventKind::SuppressionLifted, &lifted.event_id)
    );
    assert_eq!(last.refers_to_event_id, added.event_id);
}

pub async fn a_suppression_ends_by_itself_at_its_time(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    let basis = SuppressionBasis::CourtOrder;
    let until = server.now().plus(MINUTE);
    let request = AddSuppressionRequest {
        until: Some(wire(until)),
        ..suppression(&server, &person, basis, everything())
    };
    suppress(&server, request).await.unwrap();
    assert_eq!(
        server.verdict(&person, "offers").await,
        deny(&[Reason::Suppressed])
    );
    server.advance(MINUTE);
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );
}

pub async fn what_the_person_made_only_a_proven_later_act_of_the_person_lifts(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    let basis = SuppressionBasis::Complaint;
    let request = suppression(&server, &person, basis, everything());
    let added = suppress(&server, request).await.unwrap();
    let invalid = "FIELD_INVALID";
    let at_once = lift(&server, &person, &added.event_id);
    let fields = ["indication_method", "evidence", "event_time"];
    refused(lifts(&server, at_once).await, invalid, &fields);
    server.advance(MINUTE);
    let import = LiftSuppressionRequest {
        indication_method: IndicationMethod::Import.into(),
        ..lift(&server, &person, &added.event_id)
    };
    refused(
        lifts(&server, import).await,
        invalid,
        &["indication_method", "evidence"],
    );
    let proven = LiftSuppressionRequest {
        indication_method: IndicationMethod::VerbalRecorded.into(),
        evidence: Some(Evidence {
            call_id: "c-1".into(),
            ..Default::default()
        }),
        ..lift(&server, &person, &added.event_id)
    };
    lifts(&server, proven).await.unwrap();
    assert_eq!(
        server.verdict(&person, "offers").await,
        allow(Reason::ConsentGiven)
    );
}

pub async fn lifting_is_no_grant_and_reaches_no_typed_opt_out(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    server.advance(MINUTE);
    server.withdraws(&person, everything()).await;
    let basis = SuppressionBasis::NationalRegistry;
    let request = suppression(&server, &person, basis, everything());
    let added = suppress(&server, request).await.unwrap();
    let reasons = [Reason::Suppressed, Reason::Withdrawn];
    assert_eq!(server.verdict(&person, "offers").await, deny(&reasons));
    server.advance(MINUTE);
    lifts(&server, lift(&server, &person, &added.event_id))
        .await
        .unwrap();
    assert_eq!(
        server.verdict(&person, "offers").await,
        deny(&[Reason::Withdrawn])
    );
}

pub async fn a_platform_stop_and_what_does_not_exist_cannot_be_lifted(on: Backend) {
    let server = TestServer::start(on).await;
    let (one, other) = (person(1), person(2));
    let stopped = WithdrawRequest {
        withdrawal_method: WithdrawalMethod::PlatformPreference.into(),
        ..server.opt_out(&one, all_marketing())
    };
    let stopped = server.try_withdraw(stopped).await.unwrap();
    server.advance(MINUTE);
    let proven = |person: &Recipient, id: &str| LiftSuppressionRequest {
        indication_method: IndicationMethod::Button.into(),
        evidence: Some(Evidence {
            form_id: "f".into(),
            ..Default::default()
        }),
        ..lift(&server, person, id)
    };
    let by_hand = lifts(&server, proven(&one, &stopped.event_id)).await;
    refused(by_hand, "FIELD_INVALID", &["suppression_event_id"]);
    // Another person's suppression, an event that is none, and an id that nobody has.
    let given = server.gives(&one, &["orders"]).await.records[0]
        .event_id
        .clone();
    let nobodys = "01a201f7-0000-7000-8000-000000000000".to_owned();
    for (person, id) in [
        (&other, &stopped.event_id),
        (&one, &given),
        (&one, &nobodys),
    ] {
        let missing = lifts(&server, proven(person, id)).await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound, "{missing}");
    }
}

#[expect(clippy::too_many_lines, reason = "one table of refusals")]
pub async fn a_suppression_that_says_too_little_or_too_much_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let basis = SuppressionBasis::Objection;
    let sound = suppression(&server, &person, basis, everything());
    let invalid = "FIELD_INVALID";
    let two_scopes = WithdrawalScope {
        all_marketing: true,
        ..everything()
    };
    let past = wire(before(server.now(), MINUTE));
    for (request, fields) in [
        (
            AddSuppressionRequest {
                scope: None,
                ..sound.clone()
            },
            vec!["scope"],
        ),
        (
            AddSuppressionRequest {
                scope: Some(two_scopes),
                ..sound.clone()
            },
            vec!["scope"],
        ),
        (
            AddSuppressionRequest {
                basis: 0,
                ..sound.clone()
            },
            vec!["basis"],
        ),
        (
            AddSuppressionRequest {
                basis: SuppressionBasis::PossibleRevocation.into(),
                ..sound.clone()
            },
            vec!["basis"],
        ),
        (
            AddSuppressionRequest {
                basis: 4_711,
                ..sound.clone()
            },
            vec!["basis"],
        ),
        (
            AddSuppressionRequest {
                until: Some(past),
                ..sound.clone()
            },
            vec!["until"],
        ),
        (
            AddSuppressionRequest {
                since: None,
                until: Some(past),
                ..sound.clone()
            },
            vec!["until"],
        ),
        (
            AddSuppressionRequest {
                idempotency_key: String::new(),
                ..sound.clone()
            },
            vec!["idempotency_key"],
        ),
    ] {
        refused(suppress(&server, request).await, invalid, &fields);
    }
    let unknown = AddSuppressionRequest {
        scope: Some(of_purposes(&["nothing-of-ours"])),
        ..sound.clone()
    };
    let unknown = suppress(&server, unknown).await;
    refused(unknown, "PURPOSE_UNKNOWN", &["scope.purposes[0]"]);
    assert!(
        server.events(&person).await.is_empty(),
        "nothing was stored"
    );

    suppress(&server, sound.clone()).await.unwrap();
    let other = AddSuppressionRequest {
        scope: Some(all_marketing()),
        ..sound
    };
    let reused = suppress(&server, other).await.unwrap_err();
    assert_eq!(reused.code(), Code::AlreadyExists, "{reused}");
}
