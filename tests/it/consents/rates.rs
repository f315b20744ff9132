//! What one caller may use in a second. What can restrict is never refused for it.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::acts::*;
use crate::harness::{ACME, Backend, TestServer};

const RATE: u32 = 5;

fn is_refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> bool {
    let Err(status) = answer else { return false };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(reason_of(&status), "RATE_LIMITED");
    let retry = status.get_details_retry_info().unwrap().retry_delay;
    assert!(retry.unwrap() > Duration::ZERO);
    true
}

pub async fn a_caller_that_asks_too_fast_is_refused_and_its_opt_outs_are_not(on: Backend) {
    let server = TestServer::with(on, |config| config.max_rate = Some(RATE)).await;
    let ann = person(1);
    let begun = Instant::now();
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..100 {
        match is_refused(server.try_check(question(&ann, "offers")).await) {
            true => refused += 1,
            false => answered += 1,
        }
    }
    // A second's worth at once, and what the time since then pays for.
    let paid = begun.elapsed().as_secs_f64() * f64::from(RATE);
    assert!(answered >= 5, "{answered}");
    assert!(
        f64::from(answered) <= f64::from(RATE) + paid + 1.0,
        "{answered} {paid}"
    );
    assert!(refused > 0);

    // A batch is as many as it asks about, and is owed for: nothing that can allow is taken meanwhile.
    let many: Vec<Recipient> = (0..1_000).map(person).collect();
    while is_refused(server.try_batch(batch(&many, "offers")).await) {}
    assert!(is_refused(server.try_check(question(&ann, "offers")).await));
    assert!(is_refused(server.try_batch(batch(&many, "offers")).await));
    assert!(is_refused(
        server.try_record(server.grant(&ann, &["offers"])).await
    ));
    assert!(is_refused(server.try_get(standing_of(&ann)).await));
    assert!(is_refused(server.try_events(history_of(&ann)).await));

    for number in 0..20 {
        let somebody = person(number);
        server.withdraws(&somebody, everything()).await;
        server.hears(&somebody, "STOP").await;
        let suppressed = AddSuppressionRequest {
            business_id: ACME.into(),
            recipient: Some(somebody),
            basis: SuppressionBasis::CourtOrder.into(),
            scope: Some(everything()),
            idempotency_key: fresh_key(),
            ..AddSuppressionRequest::default()
        };
        let suppressed = server.client().add_suppression(suppressed).await;
        assert!(!is_refused(suppressed));
    }
}
