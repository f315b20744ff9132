//! How far a write has come, for whoever stops waiting for it (W6 of the coherence protocol).
//!
//! It goes with the task that carries the write out. Nothing depends on it but what a caller is told
//! whose deadline passes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    static PROGRESS: Progress;
}

/// Whether a write is committed by now.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicBool>);

impl Progress {
    /// Carries a write out, and learns how far it has come.
    pub fn of<T>(self, write: impl Future<Output = T>) -> impl Future<Output = T> {
        PROGRESS.scope(self, write)
    }

    /// It is committed, whatever becomes of the rest.
    pub fn is_committed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// What the current task tells of, or something that nobody asks.
    pub(super) fn current() -> Self {
        PROGRESS.try_with(Clone::clone).unwrap_or_default()
    }

    pub(super) fn committed() {
        Self::current().0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_tells_whoever_waits_for_it_and_nobody_else() {
        let (asked, other) = (Progress::default(), Progress::default());
        other.clone().of(async {}).await;
        asked
            .clone()
            .of(async {
                let inner = Progress::current();
                let task =
                    tokio::spawn(async move { inner.of(async { Progress::committed() }).await });
                task.await.unwrap();
            })
            .await;
        assert!(asked.is_committed() && !other.is_committed());
        // Without anybody who asks it changes nothing.
        Progress::committed();
    }
}
