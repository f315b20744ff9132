//! Telling health, and whoever reads the log, whether this instance may answer.
//!
//! It only looks at the lease; keeping it is the follower's work.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cache::FactsCache;
use crate::clock::Clock;
use crate::grpc::Health;

/// How often the lease is looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// What is watched, and who is told.
pub(super) struct Watch {
    pub cache: Arc<FactsCache>,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
    /// How long the lease may be lost before health says NOT_SERVING.
    pub unready_after: Duration,
}

impl Watch {
    /// Watches until told to stop.
    pub(super) async fn watch(self, stop: CancellationToken) {
        // Since when there is no lease, and whether health was told.
        let mut lost: Option<(Duration, bool)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            let now = self.clock.steady();
            lost = match (self.cache.lease().is_valid(now), lost) {
                (true, None) => None,
                (true, Some((since, _))) => {
                    self.health.well();
                    tracing::info!(
                        after = ?now.saturating_sub(since),
                        "the lease is regained: checks are answered again"
                    );
                    None
                }
                (false, None) => {
                    tracing::error!(
                        "the lease is lost: no check is answered until the ledger is followed again"
                    );
                    Some((now, false))
                }
                (false, Some(known)) => Some(known),
            };
            if let Some((since, told)) = &mut lost
                && !*told
                && now.saturating_sub(*since) >= self.unready_after
            {
                *told = true;
                self.health.unwell();
            }
        }
    }
}
