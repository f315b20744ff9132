//! Three servers on one PostgreSQL: a token that was made or revoked is so on all of them.

use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request};

use crate::process::Place;
use crate::process::gate::{self, Gate};
use crate::process::people::{history, opt_out, person, question};

/// Runs `token` beside the servers; says what it printed.
async fn token(place: &Place, arguments: &[&str]) -> String {
    // Its own lease is as long as the others'.
    let arguments = [&["token"], arguments, &["--lease=1s"]].concat();
    let command = place.maintain(&arguments);
    let (ended, out) = gate::run(command).await;
    assert_eq!(ended.code(), 0, "{ended}");
    out.trim().to_owned()
}

async fn three(place: &Place) -> Vec<Gate> {
    let mut gates = Vec::new();
    for hints in ["--hints=true", "--hints=false", "--hints=true"] {
        gates.push(Gate::start(place.serve(&["--lease=1s", hints])).await);
    }
    gates
}

async fn asked(gate: &Gate, token: &str) -> Code {
    let mut request = Request::new(question(&person(1)));
    request.set_timeout(gate::LIMIT);
    if !token.is_empty() {
        let value = AsciiMetadataValue::try_from(format!("Bearer {token}")).unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = gate.client();
    let answer = client.check_consent(request);
    answer
        .await
        .map_or_else(|status| status.code(), |_| Code::Ok)
}

const CHECK: [&str; 5] = ["sender", "--business", "acme", "--permission", "check"];

fn prefix(token: &str) -> &str {
    &token[3..11]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_holds_on_every_instance_from_its_making_to_its_revocation() {
    let place = Place::migrated().await;
    let gates = three(&place).await;
    for gate in &gates {
        assert_eq!(asked(gate, "").await, Code::Ok);
    }
    let create = [&["create"], &CHECK[..]].concat();
    for round in 0..5 {
        let made = token(&place, &create).await;
        for gate in &gates {
            let codes = (asked(gate, &made).await, asked(gate, "").await);
            assert_eq!(codes, (Code::Ok, Code::Unauthenticated), "round {round}");
        }
        token(&place, &["revoke", prefix(&made)]).await;
        // The next call, on each.
        for gate in &gates {
            assert_eq!(
                asked(gate, &made).await,
                Code::Unauthenticated,
                "round {round}"
            );
        }
        // Again is as well, and is confirmed as well.
        token(&place, &["revoke", prefix(&made)]).await;
    }
    for gate in gates {
        gate.stop().await;
    }
    place.replay().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_stopped_takes_no_token_that_was_revoked_meanwhile() {
    let place = Place::migrated().await;
    let gates = three(&place).await;
    let create = [&["create"], &CHECK[..], &["--permission", "read-history"]].concat();
    for _ in 0..3 {
        let made = token(&place, &create).await;
        assert_eq!(asked(&gates[1], &made).await, Code::Ok);
        gates[1].signal("STOP");
        token(&place, &["revoke", prefix(&made)]).await;
        assert_eq!(asked(&gates[0], &made).await, Code::Unauthenticated);
        // Put while it stands still, so that they are there before anything else when it wakes. A check is
        // not answered without a lease anyway; what reads the ledger would be.
        let early = tokio::spawn({
            let (mut client, made) = (gates[1].client(), made.clone());
            async move {
                let mut codes = Vec::new();
                for _ in 0..20 {
                    let mut request = Request::new(history(&person(1)));
                    let value = AsciiMetadataValue::try_from(format!("Bearer {made}")).unwrap();
                    request.metadata_mut().insert("authorization", value);
                    let answer = client.list_consent_events(request).await;
                    codes.push(answer.map_or_else(|status| status.code(), |_| Code::Ok));
                }
                codes
            }
        });
        crate::wait::pass(Duration::from_millis(50)).await;
        gates[1].signal("CONT");
        let codes = early.await.unwrap();
        let none = |code: &Code| matches!(code, Code::Unauthenticated | Code::Unavailable);
        assert!(codes.iter().all(none), "{codes:?}\n{}", gates[1].log());
        crate::wait::eventually(gate::LIMIT, "it has its lease again", async || {
            (asked(&gates[1], &made).await == Code::Unauthenticated).then_some(())
        })
        .await;
    }
    for gate in gates {
        gate.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opt_out_is_heard_for_a_purpose_that_nobody_has_and_only_from_who_may_bring_one() {
    let place = Place::migrated().await;
    let gate = place.gate().await;
    let may = token(
        &place,
        &[
            "create",
            "webhook",
            "--business",
            "acme",
            "--permission",
            "withdraw",
        ],
    )
    .await;
    let may_not = token(&place, &[&["create"], &CHECK[..]].concat()).await;
    for (token, code) in [(&may, Code::Ok), (&may_not, Code::PermissionDenied)] {
        let mut asked = opt_out(&person(1), token);
        asked.idempotency_key = token[3..11].into();
        asked.scope = Some(consentgate::grpc::proto::WithdrawalScope {
            purposes: vec!["nobody-has-this".into()],
            ..Default::default()
        });
        let mut request = Request::new(asked);
        let value = AsciiMetadataValue::try_from(format!("Bearer {token}")).unwrap();
        request.metadata_mut().insert("authorization", value);
        let answer = gate.client().withdraw(request).await;
        let found = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(found, code);
    }
    gate.stop().await;
}
