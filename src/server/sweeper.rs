//! Forgetting what is too old to count: answers of old calls, old activity, and what erasures had to
//! leave until the policy's retention ended.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::consents::Consents;
use crate::ledger::activity::{self, ActivityStore};

/// How often it is looked for.
const PERIOD: Duration = Duration::from_hours(1);

pub(super) struct Sweeper {
    pub consents: Consents,
    pub activity: Arc<dyn ActivityStore>,
    pub clock: Arc<dyn Clock>,
    /// For how long answers are kept.
    pub answers_kept: Duration,
}

impl Sweeper {
    /// Forgets again and again until told to stop.
    pub(super) async fn sweep(self, stop: CancellationToken) {
        loop {
            // First, so that one that fell due while nobody served does not wait once more.
            match self.consents.carry_out_erasures().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "carried out erasures that were put off"),
                Err(error) => {
                    tracing::warn!(%error, "erasures that are due could not be carried out");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            match self.consents.forget_answers(self.answers_kept).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "forgot answers of old calls"),
                Err(error) => tracing::warn!(%error, "answers of old calls could not be forgotten"),
            }
            match activity::prune(self.activity.as_ref(), self.clock.now()).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "forgot old activity"),
                Err(error) => tracing::warn!(%error, "old activity could not be forgotten"),
            }
        }
    }
}
