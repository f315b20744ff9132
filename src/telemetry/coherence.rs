//! What is measured of the lease, and of restrictions that wait until they hold everywhere.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};

use super::{Metrics, names};

/// How the wait of a restriction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnded {
    /// Every instance said that it had applied it.
    Confirmed,
    /// The last one that had not was gone.
    Gone,
    /// The lease of one that said nothing had run out.
    Expired,
    /// It was not acknowledged.
    Failed,
}

impl WaitEnded {
    const COUNT: usize = 4;

    fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Gone => "gone",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

/// The instruments.
pub(super) struct Coherence {
    renewal: BoundHistogram<f64>,
    failures: BoundCounter<u64>,
    refused: BoundCounter<u64>,
    wait: Histogram<f64>,
    waits: [OnceLock<BoundHistogram<f64>>; WaitEnded::COUNT],
    confirmations: BoundCounter<u64>,
    removed: BoundCounter<u64>,
}

impl Coherence {
    pub(super) fn new(
        counter: &impl Fn(&'static str, &'static str, &'static str) -> Counter<u64>,
        latency: &impl Fn(&'static str, &'static str) -> Histogram<f64>,
    ) -> Self {
        Self {
            renewal: latency(names::LEASE_RENEWAL, "Duration of renewals of the lease").bind(&[]),
            failures: counter(
                names::LEASE_FAILURES,
                "{failure}",
                "Renewals and looks at the ledger that failed",
            )
            .bind(&[]),
            refused: counter(
                names::LEASE_REFUSED,
                "{call}",
                "Calls refused because there was no valid lease",
            )
            .bind(&[]),
            wait: latency(
                names::CONFIRMATION_WAIT,
                "How long a restriction waited until it held on every instance",
            ),
            waits: Default::default(),
            confirmations: counter(
                names::CONFIRMATIONS,
                "{confirmation}",
                "Instances that said that they had applied a restriction",
            )
            .bind(&[]),
            removed: counter(
                names::INSTANCES_REMOVED,
                "{instance}",
                "Rows of instances that had ended without a word, taken away",
            )
            .bind(&[]),
        }
    }
}

impl Metrics {
    /// Reports what is left of the lease whenever metrics are exported; `None`: there is nothing to
    /// tell.
    pub fn observe_lease(&self, left: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        // The provider keeps the callback; the handle to the gauge is for nothing else.
        let _ = self
            .meter()
            .f64_observable_gauge(names::LEASE_REMAINING)
            .with_unit("s")
            .with_description("What is left of the lease")
            .with_callback(move |gauge| {
                if let Some(left) = left() {
                    gauge.observe(left.as_secs_f64(), &[]);
                }
            })
            .build();
    }

    /// Reports how many instances are registered whenever metrics are exported.
    pub fn observe_instances(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self
            .meter()
            .u64_observable_gauge(names::INSTANCES)
            .with_unit("{instance}")
            .with_description("Instances that are registered")
            .with_callback(move |gauge| gauge.observe(count(), &[]))
            .build();
    }

    /// Reports the number of the key in use, and whether keys are being rotated, whenever metrics are exported.
    pub fn observe_keys(&self, seen: impl Fn() -> (u16, bool) + Clone + Send + Sync + 'static) {
        let number = seen.clone();
        let _ = self
            .meter()
            .u64_observable_gauge(names::KEY_NUMBER)
            .with_description("Number of the key under which what is new is kept")
            .with_callback(move |gauge| gauge.observe(u64::from(number().0), &[]))
            .build();
        let _ = self
            .meter()
            .u64_observable_gauge(names::KEYS_ROTATING)
            .with_description("1 while keys are rotated")
            .with_callback(move |gauge| gauge.observe(u64::from(seen().1), &[]))
            .build();
    }

    /// Records a renewal that succeeded.
    pub fn renewed(&self, took: Duration) {
        self.coherence().renewal.record(took.as_secs_f64());
    }

    /// Counts a renewal or a look that failed.
    pub fn following_failed(&self) {
        self.coherence().failures.add(1);
    }

    /// Counts a call that was refused because there was no valid lease.
    pub fn refused_without_lease(&self) {
        self.coherence().refused.add(1);
    }

    /// Records how a restriction's wait ended, and how many instances confirmed it.
    pub fn waited(&self, ended: WaitEnded, took: Duration, confirmed: u32) {
        if !self.is_enabled() {
            return;
        }
        let series = self.coherence().waits[ended as usize].get_or_init(|| {
            let ended = KeyValue::new(names::CONFIRMATION_ENDED, ended.name());
            self.coherence().wait.bind(&[ended])
        });
        series.record(took.as_secs_f64());
        self.coherence().confirmations.add(u64::from(confirmed));
    }

    /// Counts a row of an instance that had ended without a word.
    pub fn instance_removed(&self) {
        self.coherence().removed.add(1);
    }
}
