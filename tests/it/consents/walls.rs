//! The wall between businesses, attacked from behind: whoever can write to the database plants rows of one business where
//! another one's are looked for. Nothing is decided or shown from them. Keys are derived per business, so this cannot
//! come about by itself.

use consentgate::grpc::proto::*;

use super::acts::*;
use super::damage::is_internal;
use crate::harness::{Backend, TestServer};
use crate::ledger::Raw;

const RIVAL: &str = "rival";

/// Ann, who agreed to the rival's offers and took everything back from acme, and the way into the database.
async fn between_two(on: Backend) -> (TestServer, Recipient, Raw) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let agreed = RecordConsentRequest {
        business_id: RIVAL.into(),
        actor: "form".into(),
        idempotency_key: "one-key".into(),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(agreed).await.unwrap();
    server.withdraws(&ann, everything()).await;
    let mut sql = server.sql().await;
    sql.lift_guards().await;
    (server, ann, sql)
}

pub async fn facts_of_another_business_are_no_decision(on: Backend) {
    let (mut server, ann, mut sql) = between_two(on).await;
    sql.run("CREATE TABLE seat AS SELECT * FROM subject WHERE business_id = 'acme'")
        .await;
    sql.run("DELETE FROM subject WHERE business_id = 'acme'")
        .await;
    let planted = "UPDATE subject SET partition = (SELECT partition FROM seat),
                     subject_key = (SELECT subject_key FROM seat)
                   WHERE business_id = 'rival'";
    assert_eq!(sql.run(planted).await, 1);
    // From the database, not from memory.
    server.restart().await;
    is_internal(server.try_check(question(&ann, "offers")).await);
    is_internal(
        server
            .try_batch(batch(std::slice::from_ref(&ann), "offers"))
            .await,
    );
    is_internal(server.try_get(standing_of(&ann)).await);
    is_internal(server.try_events(history_of(&ann)).await);
    is_internal(server.try_record(server.grant(&ann, &["offers"])).await);
    is_internal(
        server
            .try_withdraw(server.opt_out(&ann, everything()))
            .await,
    );
}

pub async fn events_of_another_business_are_neither_shown_nor_folded(on: Backend) {
    let (mut server, ann, mut sql) = between_two(on).await;
    // The rival's event with acme's subject in every place that says whose it is but the business.
    let id = match on {
        Backend::Sqlite => {
            "lower(substr(hex(subject_id), 1, 8) || '-' || substr(hex(subject_id), 9, 4) || '-'
                || substr(hex(subject_id), 13, 4) || '-' || substr(hex(subject_id), 17, 4) || '-'
                || substr(hex(subject_id), 21))"
        }
        Backend::Postgres => "subject_id::text",
    };
    let of = |what: &str, business: &str| {
        format!("(SELECT {what} FROM subject WHERE business_id = '{business}')")
    };
    let planted = format!(
        "UPDATE event SET body = replace(body, {}, {}), partition = {}, \"offset\" = 2, subject_id = {}
         WHERE business_id = 'rival'",
        of(id, RIVAL),
        of(id, "acme"),
        of("partition", "acme"),
        of("subject_id", "acme"),
    );
    assert_eq!(sql.run(&planted).await, 1);
    is_internal(server.try_events(history_of(&ann)).await);
    let explained = ExplainConsentRequest {
        business_id: "acme".into(),
        recipient: Some(ann.clone()),
        purpose: "offers".into(),
        ..ExplainConsentRequest::default()
    };
    is_internal(server.try_explain(explained).await);

    // Facts that have to be folded again are not folded from it.
    let stale = "UPDATE subject SET fold_version = 999, version = 2 WHERE business_id = 'acme'";
    assert_eq!(sql.run(stale).await, 1);
    server.restart().await;
    is_internal(server.try_check(question(&ann, "offers")).await);
}

pub async fn evidence_and_answers_of_another_business_are_not_given(on: Backend) {
    let (server, ann, mut sql) = between_two(on).await;
    let said = RecordConsentRequest {
        actor: "form".into(),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(said).await.unwrap();
    // What the rival sealed of the same person, in the place of acme's own.
    sql.run("CREATE TABLE sealed_by_rival AS SELECT sealed FROM event_payload WHERE subject_id = (SELECT subject_id FROM subject WHERE business_id = 'rival')")
        .await;
    let planted = "UPDATE event_payload SET sealed = (SELECT sealed FROM sealed_by_rival)
                   WHERE subject_id = (SELECT subject_id FROM subject WHERE business_id = 'acme')";
    assert!(sql.run(planted).await > 0);
    is_internal(server.try_events(history_of(&ann)).await);

    // And the rival's answer under the same key of the same call: acme's call is a new one.
    let planted = "UPDATE idempotency SET business_id = 'acme' WHERE business_id = 'rival'";
    assert_eq!(sql.run(planted).await, 1);
    let bob = person(2);
    let own = RecordConsentRequest {
        idempotency_key: "one-key".into(),
        ..server.grant(&bob, &["offers"])
    };
    server.try_record(own).await.unwrap();
    assert_eq!(server.events(&bob).await.len(), 1);
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&bob, "offers").await, allowed);
}
