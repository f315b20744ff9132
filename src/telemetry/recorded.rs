//! Metrics that a test can read back, without a collector and without waiting.

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

use super::Metrics;

/// Metrics whose series can be read back.
pub(crate) struct Recorded {
    pub(crate) metrics: Metrics,
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Recorded {
    pub(crate) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        Self {
            metrics: Metrics::new(&provider),
            provider,
            exporter,
        }
    }

    /// Every series as `name{attribute=value,…} number`, sorted; of a histogram, the number of
    /// measurements.
    pub(crate) fn series(&self) -> Vec<String> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let mut series = Vec::new();
        for resource in self.exporter.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(ScopeMetrics::metrics) {
                let points: Vec<(Vec<&KeyValue>, u64)> = match metric.data() {
                    AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
                        .data_points()
                        .map(|p| (p.attributes().collect(), p.value()))
                        .collect(),
                    AggregatedMetrics::U64(MetricData::Gauge(gauge)) => gauge
                        .data_points()
                        .map(|p| (p.attributes().collect(), p.value()))
                        .collect(),
                    AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
                        .data_points()
                        .map(|p| (p.attributes().collect(), p.count()))
                        .collect(),
                    other => panic!("an instrument of another kind: {other:?}"),
                };
                for (attributes, number) in points {
                    let mut attributes: Vec<String> = attributes
                        .iter()
                        .map(|kv| format!("{}={}", kv.key, kv.value))
                        .collect();
                    attributes.sort();
                    series.push(format!(
                        "{}{{{}}} {number}",
                        metric.name(),
                        attributes.join(",")
                    ));
                }
            }
        }
        series.sort();
        series
    }

    pub(crate) fn has(&self, series: &str) {
        let all = self.series();
        assert!(
            all.iter().any(|one| one == series),
            "{series} is not among {all:#?}"
        );
    }
}
