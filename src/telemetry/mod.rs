//! What the service tells about itself: logs to standard error, traces and metrics to an
//! OpenTelemetry collector.
//!
//! **No phone number may get into a field**, of a log line, a span or a metric: not as a value, not
//! inside an error, not as the path of a call. Types that hold one print nothing of it; metrics
//! take names from fixed lists; a test sends numbers through every path and searches all output.
//! Whoever adds a field adds it under this rule.
//!
//! This module alone knows OpenTelemetry, which breaks its interface twice a year. It sets the
//! process's log subscriber and no other global.

mod coherence;
mod metrics;
pub mod names;
#[cfg(test)]
pub(crate) mod recorded;
mod rpc;
mod seldom;

use std::io::{self, IsTerminal};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt};

use crate::config::{Config, Endpoint, LogFormat};

pub use coherence::WaitEnded;
pub use metrics::{CacheFill, LedgerOperation, Metrics, Outcome, Reread, Shed};
pub use rpc::{Method, Rpcs, Sampling, parent_context};
pub use seldom::Seldom;

/// Libraries that write what they are given into lines of their own, numbers included. No filter
/// gets these lines to see the light.
const SILENT: [&str; 1] = ["rlibphonenumber"];

/// Why telemetry could not be set up or did not get everything out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`log` is `{filter}`, expected a level or levels by module, such as `info,consentgate::ledger=debug`"
    )]
    Filter { filter: String, source: ParseError },
    #[error("the log was set up before")]
    Subscriber(#[from] TryInitError),
    #[error("cannot export to `{endpoint}`")]
    Exporter {
        endpoint: String,
        source: ExporterBuildError,
    },
    /// The exporters' connection lives on the runtime that they are made in.
    #[error("traces and metrics can be exported only from within a tokio runtime")]
    NoRuntime,
    #[error("not everything was exported before the end")]
    Flush(#[from] OTelSdkError),
    #[error("the task that exports the rest ended early")]
    FlushTask(#[from] tokio::task::JoinError),
}

/// Telemetry of this process, from [`init`] to its end. Keep it until everything else has ended.
///
/// Dropped without [`Telemetry::shutdown`], on failure, it still exports what is left, and blocks
/// for it.
#[derive(Debug)]
#[must_use = "dropping it ends the export of traces and metrics"]
pub struct Telemetry {
    metrics: Metrics,
    export: Option<Export>,
}

#[derive(Debug)]
struct Export {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    timeout: Duration,
}

/// Sets up logs, and traces and metrics if there is a collector. Once per process, within a tokio
/// runtime.
pub fn init(config: &Config) -> Result<Telemetry, Error> {
    let export = config
        .otlp_endpoint
        .as_ref()
        .map(|endpoint| Export::to(endpoint, config))
        .transpose()?;
    let tracer = export
        .as_ref()
        .map(|export| export.traces.tracer("consentgate"));
    subscriber(config, io::stderr, io::stderr().is_terminal(), tracer)?.try_init()?;
    let metrics = export
        .as_ref()
        .map_or_else(Metrics::disabled, |export| Metrics::new(&export.metrics));
    Ok(Telemetry { metrics, export })
}

impl Telemetry {
    /// No logs, no traces, no metrics: for servers that a test starts.
    pub fn disabled() -> Self {
        Self {
            metrics: Metrics::disabled(),
            export: None,
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Exports what is left, within `otlp_timeout` for traces and again for metrics.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        match self.export.take() {
            // On a thread of its own: exporting waits for the runtime, which on one thread would
            // wait for us.
            Some(export) => tokio::task::spawn_blocking(move || export.finish()).await?,
            None => Ok(()),
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.export.take().map(Export::finish) {
            tracing::warn!(%error, "telemetry was lost");
        }
    }
}

impl Export {
    fn to(endpoint: &Endpoint, config: &Config) -> Result<Self, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        let (url, timeout) = (endpoint.as_str(), config.otlp_timeout);
        let failed = |source| Error::Exporter {
            endpoint: url.to_owned(),
            source,
        };
        let spans = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(url)
            .with_timeout(timeout)
            .build();
        let points = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(url)
            .with_timeout(timeout)
            .build();
        let points = PeriodicReader::builder(points.map_err(failed)?)
            .with_interval(config.metrics_interval)
            .build();

        // The share is drawn before a span is made ([`Sampling`]): those that are made are wanted.
        let sampler = Sampler::parent_based(Sampler::AlwaysOn);
        let resource = resource(config);
        Ok(Self {
            traces: SdkTracerProvider::builder()
                .with_batch_exporter(spans.map_err(failed)?)
                .with_sampler(sampler)
                .with_resource(resource.clone())
                .build(),
            metrics: SdkMeterProvider::builder()
                .with_reader(points)
                .with_resource(resource)
                .build(),
            timeout,
        })
    }

    fn finish(self) -> Result<(), Error> {
        let traces = self.traces.shutdown_with_timeout(self.timeout);
        let metrics = self.metrics.shutdown_with_timeout(self.timeout);
        Ok(traces.and(metrics)?)
    }
}

/// Who is speaking. `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(config: &Config) -> Resource {
    let instance = config
        .service_instance_id
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    Resource::builder()
        .with_service_name("consentgate")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance))
        .build()
}

/// What takes log lines and spans. Lines go to `writer`, as `config` says; spans and the lines
/// within them to `tracer`. Public so that a test can read what would be logged.
pub fn subscriber<W>(
    config: &Config,
    writer: W,
    is_terminal: bool,
    tracer: Option<SdkTracer>,
) -> Result<impl Subscriber + Send + Sync, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&config.log)
        .map_err(|source| Error::Filter {
            filter: config.log.clone(),
            source,
        })?;
    let silent = SILENT.map(|library| (library, LevelFilter::OFF));
    let silent = Targets::from_iter(silent).with_default(LevelFilter::TRACE);
    let is_pretty = match config.log_format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(writer).with_ansi(is_terminal);
    let lines = if is_pretty {
        lines.boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    };
    // Our own spans, whatever the log shows; those of the libraries below name their own secrets.
    let ours = Targets::new().with_target("consentgate", LevelFilter::DEBUG);
    let spans = tracer.map(|tracer| {
        let spans = tracing_opentelemetry::layer().with_tracer(tracer);
        spans
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    });
    Ok(Registry::default()
        .with(lines.with_filter(filter.and(silent)))
        .with(spans))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::Flags;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn config<const N: usize>(values: [(&str, &str); N]) -> Config {
        let nothing: [(&str, &str); 0] = [];
        Config::load(&Flags::of(values), nothing, None)
            .unwrap()
            .config
    }

    fn logged(config: &Config, is_terminal: bool, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(config, move || writer.clone(), is_terminal, None).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn machines_get_json_and_people_get_text() {
        let log = || tracing::info!(answer = 42, "decided");

        let json: serde_json::Value =
            serde_json::from_str(&logged(&Config::default(), false, log)).unwrap();
        assert_eq!(
            (&json["message"], &json["answer"], &json["level"]),
            (&"decided".into(), &42.into(), &"INFO".into())
        );

        for (format, is_terminal) in [("auto", true), ("pretty", false)] {
            let text = logged(&config([("log_format", format)]), is_terminal, log);
            assert!(text.contains("decided") && !text.starts_with('{'), "{text}");
            assert_eq!(
                text.contains('\u{1b}'),
                is_terminal,
                "colours are for terminals: {text:?}"
            );
        }
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let log = || {
            tracing::debug!("details");
            tracing::warn!("trouble");
        };
        let text = logged(&config([("log", "warn")]), false, log);
        assert!(
            text.contains("trouble") && !text.contains("details"),
            "{text}"
        );
        assert!(
            logged(
                &config([("log", "error,consentgate::telemetry=debug")]),
                false,
                log
            )
            .contains("details")
        );
    }

    #[test]
    fn a_library_that_logs_numbers_is_silent_whatever_the_filter_says() {
        let log = || {
            tracing::trace!(target: "rlibphonenumber::parser", "did not match '15123456789'");
            tracing::trace!(target: "h2::codec", "poll");
        };
        for filter in ["trace", "trace,rlibphonenumber::parser=trace"] {
            let text = logged(&config([("log", filter)]), false, log);
            assert!(
                text.contains("poll") && !text.contains("15123456789"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let error = subscriber(
            &config([("log", "consentgate=loud")]),
            io::sink,
            false,
            None,
        )
        .err()
        .unwrap();
        assert!(
            error.to_string().starts_with("`log` is `consentgate=loud`"),
            "{error}"
        );
    }

    #[test]
    fn the_service_is_named_in_what_it_exports() {
        let resource = resource(&config([("service_instance_id", "gate-7")]));
        let of = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
        assert_eq!(of("service.name").as_deref(), Some("consentgate"));
        assert_eq!(
            of("service.version").as_deref(),
            Some(env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(of("service.instance.id").as_deref(), Some("gate-7"));
    }

    #[test]
    fn exporting_outside_a_runtime_is_an_error_and_not_a_panic() {
        let config = config([("otlp_endpoint", "http://127.0.0.1:1")]);
        assert!(matches!(init(&config), Err(Error::NoRuntime)));
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_delays_the_end_and_does_not_prevent_it() {
        let config = config([
            ("otlp_endpoint", "http://127.0.0.1:1"),
            ("otlp_timeout", "200ms"),
        ]);
        let export = Export::to(config.otlp_endpoint.as_ref().unwrap(), &config).unwrap();
        let metrics = Metrics::new(&export.metrics);
        metrics.cache_hit();

        let telemetry = Telemetry {
            metrics,
            export: Some(export),
        };
        let end = tokio::time::timeout(Duration::from_secs(20), telemetry.shutdown()).await;

        assert!(matches!(end.expect("it ends"), Err(Error::Flush(_))));
    }
}
