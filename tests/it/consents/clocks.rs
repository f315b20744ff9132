//! Clocks that cannot be relied on: ours set back, a caller's that runs ahead, and none at all. Whatever they say, an
//! opt-out that came last counts.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// An opt-out that says nothing of when it was.
fn untimed(server: &TestServer, person: &Recipient) -> WithdrawRequest {
    WithdrawRequest {
        event_time: None,
        ..server.opt_out(person, everything())
    }
}

pub async fn a_clock_that_was_set_back_puts_no_act_before_what_is_recorded(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    let agreed = server.now();
    server.gives(&ann, &["offers"]).await;
    server.withdraws(&bob, everything()).await;

    server.manual().set(before(agreed, HOUR));
    let withdrawn = server.try_withdraw(untimed(&server, &ann)).await.unwrap();
    assert_eq!(time(withdrawn.effective_at), agreed);
    server.gives(&bob, &["offers"]).await;
    for person in [&ann, &bob] {
        let recorded: Vec<_> = server.events(person).await;
        let recorded: Vec<_> = recorded.iter().map(|one| time(one.recorded_at)).collect();
        assert_eq!(recorded, [agreed, agreed]);
    }
    // Neither is the opt-out lost, nor does what came before it in the caller's own time undo one.
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
    assert_eq!(server.verdict(&bob, "offers").await, denied);

    // Once the clock is right again, a new act counts.
    server.manual().set(agreed.plus(HOUR));
    server.gives(&ann, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn an_instant_that_was_never_set_makes_an_opt_out_count_from_now(on: Backend) {
    let server = TestServer::start(on).await;
    // 1970, as a client sends what it never set; the last microsecond before 2009; before 1970; the year 1.
    let unset = [
        (0, 0),
        (1_230_767_999, 999_999_000),
        (-1, 0),
        (-62_135_596_800, 0),
    ];
    for (number, (seconds, nanos)) in (1..).zip(unset) {
        let ann = person(number);
        server.gives(&ann, &["offers"]).await;
        server.advance(MINUTE);
        let opt_out = WithdrawRequest {
            event_time: Some(prost_types::Timestamp { seconds, nanos }),
            ..server.opt_out(&ann, everything())
        };
        let withdrawn = server.try_withdraw(opt_out).await.unwrap();
        assert_eq!(time(withdrawn.effective_at), server.now(), "{seconds}");
        let denied = deny(&[Reason::Withdrawn]);
        assert_eq!(server.verdict(&ann, "offers").await, denied, "{seconds}");
    }
    // From 2009 on it is taken at its word: an old opt-out does not undo what the person agreed to since.
    let bob = person(9);
    server.gives(&bob, &["offers"]).await;
    let opt_out = WithdrawRequest {
        event_time: Some(prost_types::Timestamp {
            seconds: 1_230_768_000,
            nanos: 0,
        }),
        ..server.opt_out(&bob, everything())
    };
    let withdrawn = server.try_withdraw(opt_out).await.unwrap();
    assert!(time(withdrawn.effective_at) < before(server.now(), HOUR));
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&bob, "offers").await, allowed);
}

pub async fn a_stop_at_once_beats_a_grant_by_a_clock_that_runs_ahead(on: Backend) {
    let server = TestServer::start(on).await;
    let mut number = 0;
    for ahead in [Duration::from_secs(1), MINUTE, 5 * MINUTE] {
        for later in [Duration::ZERO, Duration::from_micros(1), MINUTE] {
            // By the server's clock, by one that is right, and by the one that runs ahead.
            for stop in ["untimed", "right", "ahead"] {
                number += 1;
                let ann = person(number);
                let mut grant = server.grant(&ann, &["offers"]);
                grant.event_time = Some(wire(server.now().plus(ahead)));
                server.try_record(grant).await.unwrap();
                let allowed = allow(Reason::ConsentGiven);
                assert_eq!(server.verdict(&ann, "offers").await, allowed);

                server.advance(later);
                let opt_out = match stop {
                    "untimed" => untimed(&server, &ann),
                    "right" => server.opt_out(&ann, everything()),
                    _ => WithdrawRequest {
                        event_time: Some(wire(server.now().plus(ahead))),
                        ..server.opt_out(&ann, everything())
                    },
                };
                server.try_withdraw(opt_out).await.unwrap();
                let case = format!("{ahead:?} ahead, {stop} {later:?} later");
                let denied = deny(&[Reason::Withdrawn]);
                assert_eq!(server.verdict(&ann, "offers").await, denied, "{case}");
                // Nor does it come back when the time is reached that the fast clock said.
                server.advance(2 * ahead);
                assert_eq!(server.verdict(&ann, "offers").await, denied, "{case}");
            }
        }
    }
}
