//! Three servers on one PostgreSQL: who is erased through one is denied by all, also when the one that erased dies.

use consentgate::grpc::proto::ledger_service_client::LedgerServiceClient;
use consentgate::grpc::proto::*;
use tokio::task::JoinSet;

use super::Place;
use super::gate::{self, Gate};
use super::people::{grant, opt_out, person, question};

fn erasure(person: &Recipient, key: &str) -> EraseSubjectRequest {
    EraseSubjectRequest {
        business_id: "acme".into(),
        recipient: Some(person.clone()),
        basis: ErasureBasis::SubjectRequest.into(),
        idempotency_key: key.into(),
        ..EraseSubjectRequest::default()
    }
}

async fn three(place: &Place) -> Vec<Gate> {
    let mut gates = Vec::new();
    for hints in ["--hints=true", "--hints=false", "--hints=true"] {
        gates.push(Gate::start(place.serve(&["--lease=1s", hints])).await);
    }
    gates
}

async fn reasons(gate: &Gate, person: &Recipient) -> Vec<Reason> {
    gate.check(question(person)).await.reasons().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_check_on_every_instance_is_denied() {
    let place = Place::migrated().await;
    let gates = three(&place).await;
    for number in 1..=9 {
        let (somebody, through) = (person(number), &gates[number as usize % 3]);
        let stops = number % 2 == 0;
        through.agree(&somebody, &format!("grant {number}")).await;
        for gate in &gates {
            // Now it is in the memory of each.
            assert_eq!(gate.decision(&somebody).await, Decision::Allow);
        }
        if stops {
            let stop = opt_out(&somebody, &format!("stop {number}"));
            through.client().withdraw(stop).await.unwrap();
        }
        let request = erasure(&somebody, &format!("erase {number}"));
        let mut client = LedgerServiceClient::new(through.channel());
        let erased = client
            .erase_subject(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(erased.instances_confirmed, 3);
        let first = match stops {
            true => Reason::Withdrawn,
            false => Reason::NoConsent,
        };
        for gate in &gates {
            assert_eq!(reasons(gate, &somebody).await[0], first, "{number}");
        }
        // A repeat through another one gets the same answer.
        let mut client = LedgerServiceClient::new(gates[(number as usize + 1) % 3].channel());
        let again = client.erase_subject(request).await.unwrap().into_inner();
        assert_eq!(again.event_id, erased.event_id);
    }
    for gate in gates {
        gate.stop().await;
    }
    place.replay().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_whose_server_is_killed_is_whole_or_not_there_and_can_be_repeated() {
    let place = Place::migrated().await;
    let mut gates = three(&place).await;
    let people: Vec<Recipient> = (1..=40).map(person).collect();
    for (number, somebody) in people.iter().enumerate() {
        gates[0].agree(somebody, &format!("grant {number}")).await;
    }
    let mut calls = JoinSet::new();
    for (number, somebody) in people.iter().enumerate() {
        let mut client = LedgerServiceClient::new(gates[0].channel());
        let request = erasure(somebody, &format!("erase {number}"));
        calls.spawn(async move { (number, client.erase_subject(request).await.is_ok()) });
    }
    let mut acknowledged = Vec::new();
    let mut killed = Some(gates.remove(0));
    while let Some(done) = calls.join_next().await {
        let (number, ok) = done.unwrap();
        acknowledged.extend(ok.then_some(number));
        if acknowledged.len() == 5
            && let Some(gate) = killed.take()
        {
            gate.kill().await;
        }
    }
    for number in acknowledged {
        for gate in &gates {
            assert_eq!(reasons(gate, &people[number]).await, [Reason::NoConsent]);
        }
    }
    for (number, somebody) in people.iter().enumerate() {
        let mut client = LedgerServiceClient::new(gates[0].channel());
        let request = erasure(somebody, &format!("erase {number}"));
        client.erase_subject(request).await.unwrap();
        for gate in &gates {
            assert_eq!(reasons(gate, somebody).await, [Reason::NoConsent]);
        }
        // Once, whether the first call did it or this one.
        assert_eq!(gates[1].events(somebody).await.len(), 2);
    }
    for gate in gates {
        gate.stop().await;
    }
    place.replay().await;
}

#[tokio::test]
async fn an_operator_erases_from_the_command_line() {
    let place = Place::migrated().await;
    let gate = Gate::start(place.serve(&[])).await;
    let somebody = person(1);
    gate.client()
        .record_consent(grant(&somebody, "grant"))
        .await
        .unwrap();
    let server = format!("http://{}", gate.address());
    let erase = |number: &str| {
        let mut arguments = vec!["erase", number, "--business", "acme", "--server", &server];
        arguments.extend(["--basis", "SUBJECT_REQUEST", "--reason", "letter of May"]);
        arguments.extend(["--output", "json"]);
        place.command(&arguments)
    };
    let (ended, out) = gate::run(erase("+14152000001")).await;
    assert_eq!(ended.code(), 0, "{ended}");
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    let events = gate.events(&somebody).await;
    assert_eq!(answer["event_id"], events[1].event_id.as_str());
    assert_eq!(answer["instances_confirmed"], 1);
    assert_eq!(answer.get("scheduled_for"), None, "{out}");
    assert_eq!(gate.decision(&somebody).await, Decision::Deny);
    let (ended, _) = gate::run(erase("+14152000002")).await;
    assert_eq!(ended.code(), 2, "nobody has seen that one: {ended}");
    gate.stop().await;
}
