//! What the service counts and times: all instruments, made once, behind one handle that is cheap
//! to clone.
//!
//! A series is bound to its attributes the first time it is used and then costs an atomic addition
//! or, for a histogram, a short lock. Without a collector every call returns at once. Attribute
//! values come from fixed lists, never from a request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry::metrics::{
    BoundCounter, BoundHistogram, Counter, Histogram, Meter, MeterProvider,
};
use tokio::time::Instant;

use super::coherence::Coherence;
use super::names;

/// A handle to all instruments.
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

struct Instruments {
    enabled: bool,
    meter: Meter,
    rpc_calls: Counter<u64>,
    rpc_duration: Histogram<f64>,
    cache_hits: BoundCounter<u64>,
    cache_misses: BoundCounter<u64>,
    cache_loads: BoundCounter<u64>,
    cache_inserts_rejected: BoundCounter<u64>,
    cache_evictions: BoundCounter<u64>,
    loads_discarded: BoundCounter<u64>,
    coherence: Coherence,
    ledger: Histogram<f64>,
    ledger_series: [[OnceLock<BoundHistogram<f64>>; Outcome::COUNT]; LedgerOperation::COUNT],
    decisions: Counter<u64>,
    /// Swapped whole when a kind is seen for the first time: checks take no lock.
    decision_series: ArcSwap<Decisions>,
    delivery_failures: Counter<u64>,
    delivery_alarms: Counter<u64>,
    shed: Counter<u64>,
    shed_series: [OnceLock<BoundCounter<u64>>; Shed::COUNT],
    unknown_people: Counter<u64>,
    rereads: Counter<u64>,
}

/// By decision and reason. Bounded by what the domain can answer.
type Decisions =
    HashMap<(&'static str, &'static str), Arc<BoundCounter<u64>>, foldhash::fast::RandomState>;

/// What is done to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerOperation {
    Facts,
    Append,
    History,
    Changes,
    Heads,
    /// Reading what happened lately.
    Activity,
    /// Noting what happened just now.
    Note,
}

impl LedgerOperation {
    const COUNT: usize = 8;

    fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Append => "append",
            Self::History => "history",
            Self::Changes => "changes",
            Self::Heads => "heads",
            Self::Activity => "activity",
            Self::Note => "note",
        }
    }
}

/// How an operation of the ledger ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// Somebody else was first; nothing was written.
    Conflict,
    Error,
}

impl Outcome {
    const COUNT: usize = 3;

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Error => "error",
        }
    }
}

/// What was refused because there was more to do than can be done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// A batch waited too long for its turn.
    Batch,
    /// A check of one recipient did.
    Check,
    /// A record did.
    Record,
    /// A question about a person's history did.
    Read,
    /// Batches in progress had too many recipients.
    Recipients,
    /// A check of somebody who is not in memory waited too long for the database.
    Cold,
    /// A record waited too long for the database.
    Write,
    /// A caller used more than it may.
    Caller,
}

impl Shed {
    const COUNT: usize = 8;

    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Check => "check",
            Self::Record => "record",
            Self::Read => "read",
            Self::Recipients => "recipients",
            Self::Cold => "cold",
            Self::Write => "write",
            Self::Caller => "caller",
        }
    }
}

/// A file that is read again while the service runs, by the setting that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// And its key.
    TlsCertificate,
    /// And the revocation lists.
    TlsClientCa,
    TlsCallers,
    JwtKeys,
}

impl Reread {
    pub fn name(self) -> &'static str {
        match self {
            Self::TlsCertificate => "tls_certificate",
            Self::TlsClientCa => "tls_client_ca",
            Self::TlsCallers => "tls_callers",
            Self::JwtKeys => "jwt_jwks_file",
        }
    }
}

/// How full the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFill {
    pub entries: u64,
    pub weight_bytes: u64,
}

fn rereads(
    counter: &dyn Fn(&'static str, &'static str, &'static str) -> Counter<u64>,
) -> Counter<u64> {
    let description = "Files that changed and were read again";
    counter(names::REREADS, "{file}", description)
}

impl Metrics {
    /// Instruments of this provider. Call it once per provider.
    pub fn new(provider: &impl MeterProvider) -> Self {
        Self::with(provider, true)
    }

    /// Instruments that record nothing.
    pub fn disabled() -> Self {
        Self::with(&NoopMeterProvider::new(), false)
    }

    fn with(provider: &impl MeterProvider, enabled: bool) -> Self {
        let meter = provider.meter("consentgate");
        let counter = |name, unit, description| {
            meter
                .u64_counter(name)
                .with_unit(unit)
                .with_description(description)
                .build()
        };
        let latency = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(names::LATENCY_BOUNDS.to_vec())
                .build()
        };
        let lookups = counter(
            names::CACHE_LOOKUPS,
            "{lookup}",
            "Facts looked up in the cache",
        );
        let lookup = |result| lookups.bind(&[KeyValue::new(names::CACHE_RESULT, result)]);
        Self(Arc::new(Instruments {
            enabled,
            rpc_calls: counter(names::RPC_CALLS, "{call}", "Calls answered"),
            rpc_duration: latency(names::RPC_DURATION, "Duration of calls"),
            cache_hits: lookup("hit"),
            cache_misses: lookup("miss"),
            cache_loads: counter(
                names::CACHE_LOADS,
                "{load}",
                "Facts read from the ledger for the cache",
            )
            .bind(&[]),
            cache_inserts_rejected: counter(
                names::CACHE_INSERTS_REJECTED,
                "{insert}",
                "Loaded facts that were not kept, because something newer had happened",
            )
            .bind(&[]),
            cache_evictions: counter(
                names::CACHE_EVICTIONS,
                "{entry}",
                "Facts dropped to make room",
            )
            .bind(&[]),
            loads_discarded: counter(
                names::CACHE_LOADS_DISCARDED,
                "{load}",
                "Loaded facts that were too old to be used",
            )
            .bind(&[]),
            coherence: Coherence::new(&counter, &latency),
            ledger: latency(
                names::LEDGER_DURATION,
                "Duration of operations of the ledger",
            ),
            ledger_series: Default::default(),
            decisions: counter(names::DECISIONS, "{decision}", "Answers given"),
            decision_series: ArcSwap::default(),
            delivery_failures: counter(
                names::DELIVERY_FAILURES,
                "{report}",
                "Failed deliveries that were reported",
            ),
            delivery_alarms: counter(
                names::DELIVERY_ALARMS,
                "{alarm}",
                "Alarms over failed deliveries",
            ),
            shed: counter(
                names::SHED,
                "{call}",
                "Calls refused to keep the others quick",
            ),
            shed_series: Default::default(),
            unknown_people: counter(names::UNKNOWN_PEOPLE, "{person}", "Strangers asked about"),
            rereads: rereads(&counter),
            meter,
        }))
    }

    pub fn cache_hit(&self) {
        self.0.cache_hits.add(1);
    }

    pub fn cache_miss(&self) {
        self.0.cache_misses.add(1);
    }

    pub fn cache_load(&self) {
        self.0.cache_loads.add(1);
    }

    pub fn cache_insert_rejected(&self) {
        self.0.cache_inserts_rejected.add(1);
    }

    pub fn cache_evictions(&self, count: u64) {
        if count > 0 {
            self.0.cache_evictions.add(count);
        }
    }

    /// Reports how full the cache is whenever metrics are exported. Call it once per cache; `fill`
    /// must be quick, and is kept as long as metrics are exported, so it should hold the cache
    /// weakly.
    pub fn observe_cache(&self, fill: impl Fn() -> CacheFill + Send + Sync + 'static) {
        let fill = Arc::new(fill);
        let entries = Arc::clone(&fill);
        // The provider keeps the callbacks; the handles to the gauges are for nothing else.
        let _ = self
            .0
            .meter
            .u64_observable_gauge(names::CACHE_ENTRIES)
            .with_unit("{entry}")
            .with_description("Subjects in the cache")
            .with_callback(move |gauge| gauge.observe(entries().entries, &[]))
            .build();
        let _ = self
            .0
            .meter
            .u64_observable_gauge(names::CACHE_WEIGHT)
            .with_unit("By")
            .with_description("What the cache counts against its bound")
            .with_callback(move |gauge| gauge.observe(fill().weight_bytes, &[]))
            .build();
    }

    /// Records one operation of the ledger.
    pub fn ledger(&self, operation: LedgerOperation, outcome: Outcome, took: Duration) {
        if !self.0.enabled {
            return;
        }
        let series = self.0.ledger_series[operation as usize][outcome as usize].get_or_init(|| {
            self.0.ledger.bind(&[
                KeyValue::new(names::LEDGER_OPERATION, operation.name()),
                KeyValue::new(names::LEDGER_OUTCOME, outcome.name()),
            ])
        });
        series.record(took.as_secs_f64());
    }

    /// Does `work`, an operation of the ledger, and records how long it took and how it ended.
    pub async fn time_ledger<T>(
        &self,
        operation: LedgerOperation,
        work: impl Future<Output = T>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> T {
        let start = Instant::now();
        let result = work.await;
        self.ledger(operation, outcome(&result), start.elapsed());
        result
    }

    /// Counts `count` answers of one kind. Both names come from the enums of the domain, hence
    /// `'static`.
    pub fn decisions(&self, decision: &'static str, reason: &'static str, count: u64) {
        if !self.0.enabled {
            return;
        }
        let kind = (decision, reason);
        if let Some(series) = self.0.decision_series.load().get(&kind) {
            series.add(count);
            return;
        }
        let attributes = [
            KeyValue::new(names::DECISION, decision),
            KeyValue::new(names::REASON, reason),
        ];
        let series = Arc::new(self.0.decisions.bind(&attributes));
        series.add(count);
        self.0.decision_series.rcu(|known| {
            let mut known = Decisions::clone(known);
            known.insert(kind, Arc::clone(&series));
            known
        });
    }

    /// Counts a failed delivery. Both names come from the tables of the domain, hence `'static`.
    pub fn delivery_failed(&self, provider: &'static str, class: &'static str, kept: bool) {
        let attributes = [
            KeyValue::new(names::DELIVERY_PROVIDER, provider),
            KeyValue::new(names::DELIVERY_CLASS, class),
            KeyValue::new(names::DELIVERY_KEPT, kept),
        ];
        self.0.delivery_failures.add(1, &attributes);
    }

    /// Counts an alarm over failed deliveries.
    pub fn delivery_alarm(&self, provider: &'static str, class: &'static str) {
        let attributes = [
            KeyValue::new(names::DELIVERY_PROVIDER, provider),
            KeyValue::new(names::DELIVERY_CLASS, class),
        ];
        self.0.delivery_alarms.add(1, &attributes);
    }

    /// Counts a call that was refused to keep the others quick.
    pub fn shed(&self, what: Shed) {
        if !self.0.enabled {
            return;
        }
        let series = self.0.shed_series[what as usize].get_or_init(|| {
            let class = KeyValue::new(names::SHED_CLASS, what.name());
            self.0.shed.bind(&[class])
        });
        series.add(1);
    }

    /// Counts people whom a caller asked about and of whom no consent is known.
    pub fn unknown_people(&self, caller: &str, count: u64) {
        if !self.0.enabled {
            return;
        }
        let caller = KeyValue::new(names::CALLER, caller.to_owned());
        self.0.unknown_people.add(count, &[caller]);
    }

    /// Counts a file that changed, and whether what it says now is used.
    pub fn reread(&self, file: Reread, used: bool) {
        let attributes = [
            KeyValue::new(names::FILE, file.name()),
            KeyValue::new(names::FILE_USED, used),
        ];
        self.0.rereads.add(1, &attributes);
    }

    pub fn load_discarded(&self) {
        self.0.loads_discarded.add(1);
    }

    pub(super) fn coherence(&self) -> &Coherence {
        &self.0.coherence
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.0.enabled
    }

    pub(super) fn bind_rpc(
        &self,
        attributes: &[KeyValue],
    ) -> (BoundCounter<u64>, BoundHistogram<f64>) {
        (
            self.0.rpc_calls.bind(attributes),
            self.0.rpc_duration.bind(attributes),
        )
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("enabled", &self.0.enabled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recorded::Recorded;

    #[test]
    fn the_cache_is_counted() {
        let recorded = Recorded::new();
        let metrics = recorded.metrics.clone();
        metrics.cache_hit();
        metrics.cache_hit();
        metrics.cache_miss();
        metrics.cache_load();
        metrics.cache_insert_rejected();
        metrics.cache_evictions(1);
        metrics.observe_cache(|| CacheFill {
            entries: 7,
            weight_bytes: 900,
        });

        assert_eq!(
            recorded.series(),
            [
                "consentgate.cache.entries{} 7",
                "consentgate.cache.evictions{} 1",
                "consentgate.cache.inserts_rejected{} 1",
                "consentgate.cache.loads{} 1",
                "consentgate.cache.lookups{consentgate.cache.result=hit} 2",
                "consentgate.cache.lookups{consentgate.cache.result=miss} 1",
                "consentgate.cache.weight{} 900",
            ]
        );
    }

    #[test]
    fn decisions_are_counted_by_kind_and_reason() {
        let recorded = Recorded::new();
        recorded.metrics.decisions("ALLOW", "OPTED_IN", 1);
        recorded.metrics.decisions("DENY", "OPTED_OUT", 1);
        recorded.metrics.decisions("DENY", "OPTED_OUT", 9_999);

        recorded
            .has("consentgate.decisions{consentgate.decision=ALLOW,consentgate.reason=OPTED_IN} 1");
        recorded.has(
            "consentgate.decisions{consentgate.decision=DENY,consentgate.reason=OPTED_OUT} 10000",
        );
    }

    #[test]
    fn refused_calls_are_counted_by_class() {
        let recorded = Recorded::new();
        recorded.metrics.shed(Shed::Batch);
        recorded.metrics.shed(Shed::Cold);
        recorded.metrics.shed(Shed::Cold);

        for (class, count) in [("batch", 1), ("cold", 2)] {
            recorded.has(&format!(
                "consentgate.calls.shed{{consentgate.shed.class={class}}} {count}"
            ));
        }
    }

    #[test]
    fn failed_deliveries_and_alarms_are_counted_by_provider_and_class() {
        let recorded = Recorded::new();
        recorded.metrics.delivery_failed("twilio", "OPT_OUT", true);
        recorded.metrics.delivery_failed("twilio", "OPT_OUT", false);
        recorded.metrics.delivery_failed("twilio", "OPT_OUT", false);
        recorded.metrics.delivery_alarm("twilio", "OPT_OUT");

        let of = "consentgate.delivery.class=OPT_OUT";
        let by = "consentgate.delivery.provider=twilio";
        recorded.has(&format!("consentgate.delivery.alarms{{{of},{by}}} 1"));
        for (kept, count) in [("true", 1), ("false", 2)] {
            recorded.has(&format!(
                "consentgate.delivery.failures{{{of},consentgate.delivery.kept={kept},{by}}} {count}"
            ));
        }
    }

    #[tokio::test]
    async fn the_ledger_is_timed_by_operation_and_outcome() {
        let recorded = Recorded::new();
        let work = async { Err::<(), _>("lost") };
        let outcome = |result: &Result<_, _>| {
            if result.is_ok() {
                Outcome::Ok
            } else {
                Outcome::Conflict
            }
        };

        let result = recorded
            .metrics
            .time_ledger(LedgerOperation::Append, work, outcome)
            .await;
        recorded.metrics.ledger(
            LedgerOperation::Facts,
            Outcome::Ok,
            Duration::from_micros(80),
        );

        assert_eq!(result, Err("lost"));
        let name = "consentgate.ledger.operation.duration";
        recorded.has(&format!(
            "{name}{{consentgate.ledger.operation=append,consentgate.ledger.outcome=conflict}} 1"
        ));
        recorded.has(&format!(
            "{name}{{consentgate.ledger.operation=facts,consentgate.ledger.outcome=ok}} 1"
        ));
    }

    #[test]
    fn disabled_metrics_take_everything_and_bind_nothing() {
        let metrics = Metrics::disabled();
        metrics.cache_hit();
        metrics.observe_cache(|| CacheFill {
            entries: 0,
            weight_bytes: 0,
        });
        metrics.decisions("ALLOW", "OPTED_IN", 1);
        metrics.ledger(LedgerOperation::Heads, Outcome::Error, Duration::ZERO);

        assert!(metrics.0.decision_series.load().is_empty());
        assert!(
            metrics
                .0
                .ledger_series
                .iter()
                .flatten()
                .all(|series| series.get().is_none())
        );
    }
}
