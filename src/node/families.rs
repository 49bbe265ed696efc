//! Metric families, built from plain atomics at each scrape: the hot paths know nothing of Prometheus.

use prometheus::proto::Bucket;
use prometheus::proto::Counter;
use prometheus::proto::Gauge;
use prometheus::proto::Histogram;
use prometheus::proto::LabelPair;
use prometheus::proto::Metric;
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType;

/// One label: name and value. Never a key, a value or any client's bytes.
pub type Label<'a> = (&'a str, &'a str);

/// A growing list of families.
#[derive(Debug, Default)]
pub struct Families(Vec<MetricFamily>);

impl Families {
    /// A number that can go both ways.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.add(name, help, MetricType::GAUGE, None, value as f64);
    }

    /// A time that is known in ms.
    pub fn gauge_seconds(&mut self, name: &str, help: &str, ms: u64) {
        self.add(name, help, MetricType::GAUGE, None, ms as f64 / 1000.0);
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add(name, help, MetricType::COUNTER, None, value as f64);
    }

    /// A gauge with a label.
    pub fn labeled(&mut self, name: &str, help: &str, label: Label<'_>, value: u64) {
        self.add(name, help, MetricType::GAUGE, Some(label), value as f64);
    }

    /// A counter with a label.
    pub fn labeled_counter(&mut self, name: &str, help: &str, label: Label<'_>, value: u64) {
        self.add(name, help, MetricType::COUNTER, Some(label), value as f64);
    }

    /// A counter of time, given in nanoseconds and shown in seconds.
    pub fn seconds(&mut self, name: &str, help: &str, label: Label<'_>, nanos: u64) {
        self.add(name, help, MetricType::COUNTER, Some(label), nanos as f64 / 1e9);
    }

    /// How long things took: upper bounds in microseconds with the number of things up to each, and the sum of all times.
    pub fn histogram_micros(&mut self, name: &str, help: &str, buckets: &[(u64, u64)], micros: u64) {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(buckets.last().map_or(0, |(_, count)| *count));
        histogram.set_sample_sum(micros as f64 / 1e6);
        let bucket = |(bound, count): &(u64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(*count);
            bucket
        };
        histogram.set_bucket(buckets.iter().map(bucket).collect());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    /// The families, in the order of their first metric.
    #[must_use]
    pub fn into_vec(self) -> Vec<MetricFamily> {
        self.0
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, label: Option<Label<'_>>, value: f64) {
        let mut metric = Metric::default();
        if let Some((label, value)) = label {
            let mut pair = LabelPair::default();
            pair.set_name(label.to_owned());
            pair.set_value(value.to_owned());
            metric.set_label(vec![pair]);
        }
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(name, help, kind, metric);
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metric: Metric) {
        if let Some(family) = self.0.iter_mut().find(|family| family.name() == name) {
            family.mut_metric().push(metric);
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(vec![metric]);
        self.0.push(family);
    }
}
