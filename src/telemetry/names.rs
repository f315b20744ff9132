//! The names under which the service is observed, in one place.
//!
//! What OpenTelemetry's semantic conventions name has their name (RPC conventions as of 1.40); what
//! is ours begins with `consentgate.`. Renaming one breaks dashboards: treat them as part of the
//! interface.

/// Histogram, seconds: the time one call took.
pub const RPC_DURATION: &str = "rpc.server.call.duration";
/// Counter: calls answered. The same number as the histogram's count, for those who drop
/// histograms.
pub const RPC_CALLS: &str = "consentgate.rpc.calls";

pub const RPC_SYSTEM: &str = "rpc.system.name";
/// Attribute: service and method, `consentgate.v1.ConsentService/CheckConsent`; [`OTHER`] if we
/// have no such method.
pub const RPC_METHOD: &str = "rpc.method";
/// Attribute: the name of the gRPC status code, `DEADLINE_EXCEEDED`.
pub const RPC_STATUS: &str = "rpc.response.status_code";
/// Attribute: the status code again, only when the fault is the server's.
pub const ERROR_TYPE: &str = "error.type";
/// The method of calls to methods that do not exist: their names are the caller's to choose.
pub const OTHER: &str = "_OTHER";

/// Counter: calls refused because there was more to do than can be done in time, by [`SHED_CLASS`].
pub const SHED: &str = "consentgate.calls.shed";
/// Attribute: `batch`, `check`, `record` and `read` waited too long for their turn; `recipients`, a
/// batch that was too many; `cold` and `write` waited too long for the database; `caller`, one used more
/// than `max_rate`.
pub const SHED_CLASS: &str = "consentgate.shed.class";

/// Counter: people who were asked about and of whom no consent is known, by [`CALLER`]. Many at a time are
/// somebody who tries out numbers.
pub const UNKNOWN_PEOPLE: &str = "consentgate.checks.unknown";
/// Attribute: the name of the calling program, by its credential; `anybody` where nobody has to say.
pub const CALLER: &str = "consentgate.caller";

/// Counter: files that changed while the service runs and were read again, by [`FILE`] and [`FILE_USED`].
pub const REREADS: &str = "consentgate.files.reread";
/// Attribute: the setting that names it, `tls_certificate`.
pub const FILE: &str = "consentgate.file";
/// Attribute: whether what it says now is used; if not, what was read before still holds.
pub const FILE_USED: &str = "consentgate.file.used";

/// Counter: facts looked up in the cache, by [`CACHE_RESULT`] `hit` or `miss`.
pub const CACHE_LOOKUPS: &str = "consentgate.cache.lookups";
pub const CACHE_RESULT: &str = "consentgate.cache.result";
/// Counter: facts read from the ledger for the cache.
pub const CACHE_LOADS: &str = "consentgate.cache.loads";
/// Counter: loaded facts that were not kept, because something newer had happened meanwhile.
pub const CACHE_INSERTS_REJECTED: &str = "consentgate.cache.inserts_rejected";
/// Counter: facts dropped to make room.
pub const CACHE_EVICTIONS: &str = "consentgate.cache.evictions";
/// Gauge: subjects in the cache.
pub const CACHE_ENTRIES: &str = "consentgate.cache.entries";
/// Gauge, bytes: what the cache counts against its bound.
pub const CACHE_WEIGHT: &str = "consentgate.cache.weight";

/// Counter: facts loaded for checks and discarded, because something newer was applied meanwhile or
/// they came from another history of the ledger.
pub const CACHE_LOADS_DISCARDED: &str = "consentgate.cache.loads_discarded";

/// Gauge, seconds: what is left of the lease. Near 0: nothing is answered. None where the process is
/// alone.
pub const LEASE_REMAINING: &str = "consentgate.lease.remaining";
/// Histogram, seconds: the time one renewal of the lease took.
pub const LEASE_RENEWAL: &str = "consentgate.lease.renewal.duration";
/// Counter: renewals and looks at the ledger that failed.
pub const LEASE_FAILURES: &str = "consentgate.lease.failures";
/// Counter: calls refused because there was no valid lease.
pub const LEASE_REFUSED: &str = "consentgate.lease.refused";
/// Histogram, seconds: how long a restriction waited after its commit until it held on every
/// instance, by [`CONFIRMATION_ENDED`].
pub const CONFIRMATION_WAIT: &str = "consentgate.confirmation.wait";
/// Attribute: `confirmed` by all instances, `gone` (the last one had left), `expired` (the lease of
/// one that says nothing ran out), `failed` (not acknowledged).
pub const CONFIRMATION_ENDED: &str = "consentgate.confirmation.ended";
/// Counter: instances that told a waiting restriction that they had applied it.
pub const CONFIRMATIONS: &str = "consentgate.confirmations";
/// Counter: rows of instances that had ended without a word, taken away.
pub const INSTANCES_REMOVED: &str = "consentgate.instances.removed";
/// Gauge: instances that are registered, as this one saw last.
pub const INSTANCES: &str = "consentgate.instances";
/// Gauge: number of the key under which what is new is kept, as this instance knows it.
pub const KEY_NUMBER: &str = "consentgate.keys.number";
/// Gauge: 1 while keys are rotated, also when nobody works at it; else 0.
pub const KEYS_ROTATING: &str = "consentgate.keys.rotating";

/// Histogram, seconds: the time one operation of the ledger took, by [`LEDGER_OPERATION`] and
/// [`LEDGER_OUTCOME`].
pub const LEDGER_DURATION: &str = "consentgate.ledger.operation.duration";
pub const LEDGER_OPERATION: &str = "consentgate.ledger.operation";
pub const LEDGER_OUTCOME: &str = "consentgate.ledger.outcome";

/// Counter: answers given, by [`DECISION`] and [`REASON`].
pub const DECISIONS: &str = "consentgate.decisions";
pub const DECISION: &str = "consentgate.decision";
pub const REASON: &str = "consentgate.reason";

/// Counter: failed deliveries that were reported, each once, by [`DELIVERY_PROVIDER`],
/// [`DELIVERY_CLASS`] and [`DELIVERY_KEPT`].
pub const DELIVERY_FAILURES: &str = "consentgate.delivery.failures";
/// Counter: alarms over failed deliveries, by [`DELIVERY_PROVIDER`] and [`DELIVERY_CLASS`]: a burst
/// that begins, and at most once an hour a sender that WhatsApp restricts. Call somebody.
pub const DELIVERY_ALARMS: &str = "consentgate.delivery.alarms";
pub const DELIVERY_PROVIDER: &str = "consentgate.delivery.provider";
pub const DELIVERY_CLASS: &str = "consentgate.delivery.class";
/// Attribute: whether it was recorded of its recipient.
pub const DELIVERY_KEPT: &str = "consentgate.delivery.kept";

/// The target of the span around each call. A call that is not observed must cost nothing, so the
/// span has level DEBUG: the usual log filter leaves it out, the trace exporter takes it in.
pub const RPC_TARGET: &str = "consentgate::rpc";

/// Bounds of the latency histograms in seconds: a check in memory takes microseconds, a write
/// milliseconds.
pub const LATENCY_BOUNDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
