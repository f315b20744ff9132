//! Observing calls: one series per method and status code, and one span per call when traces are
//! collected.
//!
//! For a tower layer, which has the path, the headers, the status code and the clock. Only methods
//! that were named at start are told apart: the path of a call is the caller's to choose and could
//! be anything, a number included.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::metrics::{BoundCounter, BoundHistogram};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::Metrics;
use super::names::{ERROR_TYPE, OTHER, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, RPC_TARGET};

/// The gRPC status codes by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const UNKNOWN: usize = 2;

/// The header of the W3C trace context that names a caller's span.
const TRACEPARENT: &str = "traceparent";

/// The codes that say that the server is at fault, as the semantic conventions for gRPC list them.
const SERVER_ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// Which calls get a span. Decided before one is made: a span that nobody collects costs as much as a
/// check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// Every call. Where no traces are collected a span is free, unless the log shows it.
    All,
    /// Those whose caller's trace is sampled, and of calls without a trace this share.
    Share(f64),
}

impl Sampling {
    /// `drawn` is different for each call.
    fn takes(self, headers: &HeaderMap, drawn: u64) -> bool {
        let Self::Share(share) = self else {
            return true;
        };
        if headers.contains_key(TRACEPARENT) {
            let parent = parent_context(headers);
            let parent = parent.span().span_context().clone();
            if parent.is_valid() {
                return parent.is_sampled();
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (mixed(drawn) >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }
}

/// Spreads numbers that follow one another over all 64 bits (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", 2014).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Observes calls. Cheap to clone.
#[derive(Clone)]
pub struct Rpcs(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    sampling: Sampling,
    /// The first is for calls to methods that do not exist.
    methods: Vec<Observed>,
    by_name: HashMap<String, Method, foldhash::fast::RandomState>,
}

struct Observed {
    name: String,
    series: [OnceLock<(BoundCounter<u64>, BoundHistogram<f64>)>; CODES.len()],
}

impl Observed {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            series: Default::default(),
        }
    }
}

/// One of the methods that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(usize);

impl Method {
    /// Its place among [`Rpcs::names`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl Rpcs {
    /// `methods` are service and method without a leading slash:
    /// `consentgate.v1.ConsentService/CheckConsent`.
    pub fn new<'a>(
        metrics: &Metrics,
        sampling: Sampling,
        methods: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let methods: Vec<Observed> = [OTHER]
            .into_iter()
            .chain(methods)
            .map(Observed::new)
            .collect();
        let numbered = methods.iter().enumerate().skip(1);
        let by_name = numbered
            .map(|(number, method)| (method.name.clone(), Method(number)))
            .collect();
        Self(Arc::new(Inner {
            metrics: metrics.clone(),
            sampling,
            methods,
            by_name,
        }))
    }

    /// The method that a request with this path calls.
    pub fn method(&self, path: &str) -> Method {
        let name = path.strip_prefix('/').unwrap_or(path);
        self.0.by_name.get(name).copied().unwrap_or(Method(0))
    }

    /// The method of this name, and its name: service and method without a leading slash.
    pub fn names(&self) -> impl Iterator<Item = (Method, &str)> {
        let named = self.0.methods.iter().enumerate();
        named.map(|(number, method)| (Method(number), method.name.as_str()))
    }

    /// A span for a call, child of the caller's if its headers name one. Disabled, and then free,
    /// unless traces are collected and this call is sampled, or the log filter asks for it. `started`
    /// is when the call began, on a clock that tells calls apart.
    pub fn span(&self, method: Method, headers: &HeaderMap, started: Duration) -> Span {
        let drawn = u64::try_from(started.as_nanos()).unwrap_or(0);
        if !self.0.sampling.takes(headers, drawn) {
            return Span::none();
        }
        let name = self.0.methods[method.0].name.as_str();
        let span = tracing::debug_span!(
            target: RPC_TARGET,
            "rpc",
            otel.name = name,
            otel.kind = "server",
            otel.status_code = Empty,
            { RPC_SYSTEM } = "grpc",
            { RPC_METHOD } = name,
            { RPC_STATUS } = Empty,
            { ERROR_TYPE } = Empty,
        );
        if !span.is_disabled() {
            // It fails only where spans go to the log alone, which has no use for a parent
            // elsewhere.
            let _ = span.set_parent(parent_context(headers));
        }
        span
    }

    /// Records the end of a call: `code` is the number of the gRPC status code.
    pub fn finish(&self, method: Method, span: &Span, code: i32, took: Duration) {
        let number = usize::try_from(code)
            .ok()
            .filter(|number| *number < CODES.len())
            .unwrap_or(UNKNOWN);
        let (observed, code) = (&self.0.methods[method.0], CODES[number]);
        let failed = SERVER_ERRORS.contains(&code);

        if !span.is_disabled() {
            span.record(RPC_STATUS, code);
            if failed {
                span.record(ERROR_TYPE, code);
                span.record("otel.status_code", "ERROR");
            }
        }

        if self.0.metrics.is_enabled() {
            let (calls, duration) = observed.series[number].get_or_init(|| {
                let mut attributes = vec![
                    KeyValue::new(RPC_SYSTEM, "grpc"),
                    KeyValue::new(RPC_METHOD, observed.name.clone()),
                    KeyValue::new(RPC_STATUS, code),
                ];
                attributes.extend(failed.then(|| KeyValue::new(ERROR_TYPE, code)));
                self.0.metrics.bind_rpc(&attributes)
            });
            calls.add(1);
            duration.record(took.as_secs_f64());
        }
    }
}

impl fmt::Debug for Rpcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpcs")
            .field("methods", &self.0.methods.len())
            .finish_non_exhaustive()
    }
}

/// The W3C trace context that a caller sent in `traceparent` and `tracestate`, to be the parent of
/// our span. A context without a span when there is none or it is malformed: a call is never
/// refused for it.
pub fn parent_context(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Status, TracerProvider};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    use super::*;
    use crate::config::Config;
    use crate::telemetry::recorded::Recorded;
    use crate::telemetry::subscriber;

    const CHECK: &str = "consentgate.v1.ConsentService/CheckConsent";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let recorded = Recorded::new();
        let rpcs = Rpcs::new(&recorded.metrics, Sampling::All, [CHECK]);
        let check = rpcs.method("/consentgate.v1.ConsentService/CheckConsent");

        for code in [0, 0, 3, 14] {
            rpcs.finish(check, &Span::none(), code, Duration::from_micros(120));
        }

        let of = |name: &str, code: &str| {
            format!(
                "{name}{{rpc.method={CHECK},rpc.response.status_code={code},rpc.system.name=grpc}}"
            )
        };
        recorded.has(&format!("{} 2", of("consentgate.rpc.calls", "OK")));
        recorded.has(&format!("{} 2", of("rpc.server.call.duration", "OK")));
        recorded.has(&format!(
            "{} 1",
            of("rpc.server.call.duration", "INVALID_ARGUMENT")
        ));
        recorded.has(&format!(
            "rpc.server.call.duration{{error.type=UNAVAILABLE,rpc.method={CHECK},rpc.response.status_code=UNAVAILABLE,rpc.system.name=grpc}} 1"
        ));
    }

    #[test]
    fn a_path_of_the_callers_choice_is_never_a_series() {
        let recorded = Recorded::new();
        let rpcs = Rpcs::new(&recorded.metrics, Sampling::All, [CHECK]);
        for path in [
            "/+5511987654321",
            "",
            "/",
            "/consentgate.v1.ConsentService/CheckConsent/",
            "/_OTHER",
        ] {
            rpcs.finish(rpcs.method(path), &Span::none(), 99, Duration::ZERO);
        }

        let mut series = recorded.series();
        series.retain(|one| one.contains("rpc."));
        assert_eq!(series.len(), 2, "{series:#?}");
        assert!(
            series[0].contains("rpc.method=_OTHER,rpc.response.status_code=UNKNOWN"),
            "{series:#?}"
        );
        assert!(series[0].ends_with(" 5"), "{series:#?}");
    }

    #[test]
    fn the_context_of_the_caller_is_read() {
        let context = parent_context(&headers(&[
            ("traceparent", PARENT),
            ("tracestate", "vendor=1"),
        ]));
        let span = context.span().span_context().clone();

        assert_eq!(
            span.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(span.span_id().to_string(), "00f067aa0ba902b7");
        assert!(span.is_sampled() && span.is_remote());
        assert_eq!(span.trace_state().get("vendor"), Some("1"));
    }

    #[test]
    fn a_malformed_context_is_no_context() {
        for parent in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "nonsense",
        ] {
            assert!(
                !parent_context(&headers(&[("traceparent", parent)])).has_active_span(),
                "{parent:?}"
            );
        }
        assert!(!parent_context(&HeaderMap::new()).has_active_span());
        let mut bytes = HeaderMap::new();
        bytes.insert(
            "traceparent",
            http::HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        assert!(!parent_context(&bytes).has_active_span());
    }

    #[test]
    fn a_span_continues_the_callers_trace_and_tells_how_the_call_ended() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let subscriber = subscriber(
            &Config::default(),
            std::io::sink,
            false,
            Some(provider.tracer("test")),
        )
        .unwrap();
        let rpcs = Rpcs::new(&Metrics::disabled(), Sampling::All, [CHECK]);

        tracing::subscriber::with_default(subscriber, || {
            let method = rpcs.method(CHECK);
            let span = rpcs.span(method, &headers(&[("traceparent", PARENT)]), Duration::ZERO);
            rpcs.finish(method, &span, 13, Duration::ZERO);
        });

        let spans = exporter.get_finished_spans().unwrap();
        let [span] = &spans[..] else {
            panic!("one span, not {spans:?}")
        };
        assert_eq!(span.name, CHECK);
        assert_eq!(
            span.span_context.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(span.status, Status::error(""));
        assert!(
            span.attributes
                .contains(&KeyValue::new(RPC_STATUS, "INTERNAL")),
            "{:?}",
            span.attributes
        );
        assert!(
            span.attributes
                .contains(&KeyValue::new(ERROR_TYPE, "INTERNAL")),
            "{:?}",
            span.attributes
        );
    }

    #[test]
    fn of_calls_without_a_trace_the_share_is_sampled_and_else_the_caller_decides() {
        let none = HeaderMap::new();
        let count = |share: f64| {
            let drawn = (0..10_000).map(|n| n * 1_000);
            drawn
                .filter(|drawn| Sampling::Share(share).takes(&none, *drawn))
                .count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        assert!((400..600).contains(&count(0.05)), "{}", count(0.05));
        let unsampled = PARENT.replace("-01", "-00");
        for drawn in 0..100 {
            let takes = |share: f64, parent: &str| {
                Sampling::Share(share).takes(&headers(&[("traceparent", parent)]), drawn)
            };
            assert!(takes(0.0, PARENT));
            assert!(!takes(1.0, &unsampled));
            assert!(takes(1.0, "nonsense") && !takes(0.0, "nonsense"));
        }
    }

    #[test]
    fn without_a_collector_a_call_has_no_span() {
        let subscriber = subscriber(&Config::default(), std::io::sink, false, None).unwrap();
        let rpcs = Rpcs::new(&Metrics::disabled(), Sampling::All, [CHECK]);
        tracing::subscriber::with_default(subscriber, || {
            assert!(
                rpcs.span(rpcs.method(CHECK), &HeaderMap::new(), Duration::ZERO)
                    .is_disabled()
            );
        });
    }
}
