//! Waiting for something that another process or task brings about.
//!
//! The only place in the tests that may sleep. A fixed pause is either too short on a busy machine or wasted on
//! an idle one; a condition with a deadline is neither.

use std::time::Duration;

use tokio::time::Instant;

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Calls `condition` until it returns a value, and fails the test with `what` if it has not within `limit`.
///
/// Something that merely becomes true is written `flag().then_some(())`.
#[track_caller]
pub fn eventually<T>(
    limit: Duration,
    what: &str,
    condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let mut condition = condition;
        let give_up = Instant::now() + limit;
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            assert!(
                Instant::now() < give_up,
                "not within {limit:?}: {what} (waited for at {caller})"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Lets time go by where time is what the test is about: how long a fault lasts, how soon a caller asks again.
/// Nothing may be taken to have happened because of it; for that there is [`eventually`].
pub async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

#[tokio::test]
async fn a_condition_is_asked_again_until_it_holds() {
    let mut asked = 0;
    let answer = eventually(Duration::from_secs(10), "the third question", async || {
        asked += 1;
        (asked == 3).then_some("yes")
    })
    .await;
    assert_eq!((answer, asked), ("yes", 3));
}

#[tokio::test]
#[should_panic(expected = "not within 30ms: pigs fly")]
async fn a_condition_that_never_holds_fails_the_test() {
    eventually(Duration::from_millis(30), "pigs fly", async || None::<()>).await;
}
