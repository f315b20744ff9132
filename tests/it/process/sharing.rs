//! Several instances on one PostgreSQL: what one of them acknowledged holds on all.

use std::time::Duration;

use consentgate::cache::lease::Term;
use consentgate::grpc::proto::catalog_service_client::CatalogServiceClient;
use consentgate::grpc::proto::consistency::Requirement;
use consentgate::grpc::proto::{
    Consistency, Decision, Sender, UpdateSenderRequest, WithdrawResponse,
};
use tokio::time::Instant;
use tonic_health::pb::health_check_response::ServingStatus;

use super::Place;
use super::gate::{Gate, LIMIT};
use super::people::{grant, opt_out, person, question};
use crate::wait::eventually;

const TERM: Term = Term(Duration::from_secs(1));

async fn two(place: &Place, more: &[&str]) -> [Gate; 2] {
    let lease = match more.iter().any(|one| one.starts_with("--lease")) {
        true => &[][..],
        false => &["--lease=1s"],
    };
    let arguments = [lease, more].concat();
    [
        Gate::start(place.serve(&arguments)).await,
        Gate::start(place.serve(&arguments)).await,
    ]
}

async fn leave(gate: &Gate, number: u32, key: &str) -> WithdrawResponse {
    let answer = gate.client().withdraw(opt_out(&person(number), key)).await;
    answer
        .unwrap_or_else(|status| panic!("{status}\n{}", gate.log()))
        .into_inner()
}

#[tokio::test]
async fn an_opt_out_on_one_instance_holds_on_the_other_at_once() {
    for hints in ["--hints=true", "--hints=false"] {
        let place = Place::migrated().await;
        let gates = two(&place, &[hints]).await;
        for number in 1..=20 {
            let (here, there) = match number % 2 {
                0 => (&gates[0], &gates[1]),
                _ => (&gates[1], &gates[0]),
            };
            here.agree(&person(number), &format!("in {number}")).await;
            eventually(LIMIT, "the grant is seen", async || {
                (there.decision(&person(number)).await == Decision::Allow).then_some(())
            })
            .await;
            let left = leave(here, number, &format!("out {number}")).await;
            assert_eq!(there.decision(&person(number)).await, Decision::Deny);
            assert_eq!(here.decision(&person(number)).await, Decision::Deny);
            assert_eq!(left.instances_confirmed, 2, "{}", here.log());
            // The first answer may never have arrived.
            let again = leave(here, number, &format!("out {number}")).await;
            assert_eq!(
                (again.event_id, again.instances_confirmed),
                (left.event_id, 2)
            );
        }
        for gate in gates {
            gate.stop().await;
        }
    }
}

#[tokio::test]
async fn a_token_of_one_instance_is_honoured_by_the_other() {
    let place = Place::migrated().await;
    let [first, second] = two(&place, &["--hints=false"]).await;
    for number in 1..=20 {
        assert_eq!(second.decision(&person(number)).await, Decision::Deny);
        let recorded = first
            .client()
            .record_consent(grant(&person(number), &format!("in {number}")))
            .await;
        let token = recorded.unwrap().into_inner().consistency_token;
        let mut asked = question(&person(number));
        asked.consistency = Some(Consistency {
            requirement: Some(Requirement::AtLeastAsFresh(token)),
        });
        assert_eq!(
            second.check(asked).await.decision(),
            Decision::Allow,
            "{number}"
        );
    }
}

#[tokio::test]
async fn an_instance_that_was_killed_is_waited_for_until_its_lease_has_ended_and_then_forgotten() {
    let place = Place::migrated().await;
    let [first, second] = two(&place, &[]).await;
    first.agree(&person(1), "in").await;
    first.agree(&person(2), "in 2").await;
    let asked = Instant::now();
    second.kill().await;

    let left = leave(&first, 1, "out").await;
    assert_eq!(left.instances_confirmed, 1);
    // What it said last was said a renewal before it was killed, or two if it was late.
    let least = TERM.waiting() - 2 * TERM.renewal();
    assert!(asked.elapsed() > least, "{:?}", asked.elapsed());
    assert_eq!(first.decision(&person(1)).await, Decision::Deny);
    eventually(LIMIT, "its row is taken away", async || {
        first
            .log()
            .contains("an instance ended without a word")
            .then_some(())
    })
    .await;
    let left = leave(&first, 2, "out 2").await;
    assert_eq!(left.instances_confirmed, 1);
    first.stop().await;
}

#[tokio::test]
async fn an_instance_that_leaves_well_is_not_waited_for() {
    let place = Place::migrated().await;
    let [first, second] = two(&place, &["--lease=20s"]).await;
    first.agree(&person(1), "in").await;
    second.stop().await;
    let asked = Instant::now();
    let left = leave(&first, 1, "out").await;
    assert_eq!(left.instances_confirmed, 1);
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    assert!(!first.log().contains("said nothing"), "{}", first.log());
}

#[tokio::test]
async fn an_instance_that_stood_still_answers_nothing_from_before() {
    let place = Place::migrated().await;
    let [first, second] = two(&place, &[]).await;
    first.agree(&person(1), "in").await;
    eventually(LIMIT, "the grant is seen", async || {
        (second.decision(&person(1)).await == Decision::Allow).then_some(())
    })
    .await;

    second.signal("STOP");
    let left = leave(&first, 1, "out").await;
    assert_eq!(left.instances_confirmed, 1);
    second.signal("CONT");
    // It may refuse to answer; it must not allow.
    let after = second.client().check_consent(question(&person(1))).await;
    if let Ok(answer) = after {
        assert_eq!(answer.into_inner().decision(), Decision::Deny);
    }
    eventually(LIMIT, "it answers again", async || {
        let answer = second.client().check_consent(question(&person(1))).await;
        answer
            .ok()
            .map(|answer| assert_eq!(answer.into_inner().decision(), Decision::Deny))
    })
    .await;
    second.until(ServingStatus::Serving, LIMIT).await;
}

#[tokio::test]
async fn who_cannot_wait_for_all_instances_is_told_that_it_is_committed() {
    let place = Place::migrated().await;
    let [first, second] = two(&place, &["--lease=30s"]).await;
    first.agree(&person(1), "in").await;
    second.signal("STOP");
    let mut hasty = tonic::Request::new(opt_out(&person(1), "out"));
    hasty.set_timeout(Duration::from_secs(5));
    let late = first.client().withdraw(hasty).await.unwrap_err();
    assert_eq!(late.code(), tonic::Code::DeadlineExceeded);
    assert!(late.message().contains("is committed"), "{late}");
    second.signal("CONT");
    let left = leave(&first, 1, "out").await;
    assert_eq!(left.instances_confirmed, 2);
    assert_eq!(second.decision(&person(1)).await, Decision::Deny);
}

#[tokio::test]
async fn a_held_sender_is_held_on_every_instance_once_that_is_acknowledged() {
    let place = Place::migrated().await;
    let [first, second] = two(&place, &[]).await;
    first.agree(&person(1), "in").await;
    let mut asked = question(&person(1));
    asked.sender_id = "1001".into();
    eventually(LIMIT, "the grant is seen", async || {
        (second.check(asked.clone()).await.decision() == Decision::Allow).then_some(())
    })
    .await;
    let mut catalog = CatalogServiceClient::new(first.channel());
    let hold = |held: bool| UpdateSenderRequest {
        business_id: "acme".into(),
        sender: Some(Sender {
            sender_id: "1001".into(),
            held,
            ..Sender::default()
        }),
    };
    for _ in 0..5 {
        catalog.update_sender(hold(true)).await.unwrap();
        assert_eq!(second.check(asked.clone()).await.decision(), Decision::Deny);
        catalog.update_sender(hold(false)).await.unwrap();
        assert_eq!(
            second.check(asked.clone()).await.decision(),
            Decision::Allow
        );
    }
}
