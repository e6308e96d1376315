//! The metrics that Prometheus scrapes.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

use crate::admission::{Answer, Operation};

/// All metrics of the program.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reviews: Family<[LabelPair; 3], Counter>,
    durations: Histogram,
    bodies: Histogram,
    refused: Family<[LabelPair; 1], Counter>,
    in_flight: Gauge,
    connections_refused: Family<[LabelPair; 2], Counter>,
    connections_evicted: Family<[LabelPair; 1], Counter>,
    /// Reviews refused because too many were in flight.
    pub(crate) shed: Counter,
    /// Reviews that made a handler panic.
    pub(crate) panics: Counter,
    /// Certificates that replaced another one. The first one is not counted.
    pub(crate) renewals: Counter,
    expiry: Gauge,
    authority_expiry: Gauge,
    rotations: Family<[LabelPair; 1], Counter>,
    /// Corrections of a caBundle that another program had changed.
    pub(crate) heals: Counter,
    ready: Gauge,
    labelled: Gauge,
    uninjected: Gauge,
    unprovided: Gauge,
    provider_errors: Family<[LabelPair; 1], Counter>,
}

type LabelPair = (&'static str, &'static str);

/// The media type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("couchdiscover_webhook"),
            reviews: Family::default(),
            // 10 us to 5 s: a review takes about 20 us, and an API server waits for 5 s.
            durations: Histogram::new(exponential_buckets(10e-6, 2.0, 20)),
            // 1 KiB to 8 MiB.
            bodies: Histogram::new(exponential_buckets(1024.0, 2.0, 14)),
            refused: Family::default(),
            in_flight: Gauge::default(),
            connections_refused: Family::default(),
            connections_evicted: Family::default(),
            shed: Counter::default(),
            panics: Counter::default(),
            renewals: Counter::default(),
            expiry: Gauge::default(),
            authority_expiry: Gauge::default(),
            rotations: Family::default(),
            heals: Counter::default(),
            ready: Gauge::default(),
            labelled: Gauge::default(),
            uninjected: Gauge::default(),
            unprovided: Gauge::default(),
            provider_errors: Family::default(),
        };
        metrics.register();
        metrics
    }

    /// Counts a review that was answered.
    pub(crate) fn answered(&self, operation: Operation, answer: &Answer, duration: Duration) {
        let labels = [
            ("operation", operation.as_str()),
            ("outcome", answer.outcome.as_str()),
            ("reason", answer.reason.as_str()),
        ];
        self.reviews.get_or_create(&labels).inc();
        self.durations.observe(duration.as_secs_f64());
    }

    /// Counts a body that was read.
    pub(crate) fn body(&self, length: usize) {
        self.bodies.observe(length as f64);
    }

    /// Counts a request without a readable review.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("why", reason)]).inc();
    }

    /// Counts a connection that was closed at once, because the limit `why` was exceeded.
    pub(crate) fn connection_refused(&self, port: &'static str, why: &'static str) {
        self.connections_refused.get_or_create(&[("port", port), ("why", why)]).inc();
    }

    /// Counts a connection that was closed in favour of a new one.
    pub(crate) fn connection_evicted(&self, port: &'static str) {
        self.connections_evicted.get_or_create(&[("port", port)]).inc();
    }

    /// Sets the end of validity of the certificate in use.
    pub(crate) fn expires(&self, at: OffsetDateTime) {
        self.expiry.set(at.unix_timestamp());
    }

    /// Sets the end of validity of the authority that signs.
    pub(crate) fn authority_expires(&self, at: OffsetDateTime) {
        self.authority_expiry.set(at.unix_timestamp());
    }

    /// Counts a change of the certificate authority.
    pub(crate) fn rotated(&self, step: &'static str) {
        self.rotations.get_or_create(&[("step", step)]).inc();
    }

    /// Sets the readiness.
    pub(crate) fn is_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Sets the numbers of labelled StatefulSets: all, those without the agent, and those missing an object.
    pub(crate) fn labelled(&self, all: usize, uninjected: usize, unprovided: usize) {
        for (gauge, number) in
            [(&self.labelled, all), (&self.uninjected, uninjected), (&self.unprovided, unprovided)]
        {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// Counts a failed write of an object of this kind, or an interrupted watch.
    pub(crate) fn provider_failed(&self, object: &'static str) {
        self.provider_errors.get_or_create(&[("object", object)]).inc();
    }

    /// Renders all metrics as OpenMetrics text.
    pub(crate) fn encode(&self, in_flight: usize) -> String {
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        let mut text = String::with_capacity(4096);
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn register(&mut self) {
        let Self { registry, reviews, durations, bodies, refused, in_flight, shed, panics, .. } = self;
        registry.register("reviews", "Reviews answered", reviews.clone());
        let help = "Time from a review's header to its answer";
        registry.register("review_duration_seconds", help, durations.clone());
        registry.register("review_body_bytes", "Length of reviews", bodies.clone());
        registry.register("requests_refused", "Requests without a readable review", refused.clone());
        registry.register("reviews_in_flight", "Reviews being received or answered", in_flight.clone());
        let help = "Reviews refused because too many were in flight";
        registry.register("reviews_shed", help, shed.clone());
        registry.register(
            "panics",
            "Reviews that made the webhook panic: please report them",
            panics.clone(),
        );
        self.register_connections();
        self.register_certificates();
        self.register_provider();
    }

    fn register_connections(&mut self) {
        let Self { registry, connections_refused, connections_evicted, .. } = self;
        let help = "Connections closed at once because the port was full of requests being answered";
        registry.register("connections_refused", help, connections_refused.clone());
        let help = "Connections closed in favour of new ones because the port was full";
        registry.register("connections_evicted", help, connections_evicted.clone());
        // From 0, so that an increase is seen from the first event on.
        for port in ["admission", "probes"] {
            connections_evicted.get_or_create(&[("port", port)]).inc_by(0);
            for why in ["total", "per-address"] {
                connections_refused.get_or_create(&[("port", port), ("why", why)]).inc_by(0);
            }
        }
    }

    fn register_provider(&mut self) {
        let Self { registry, labelled, uninjected, unprovided, provider_errors, .. } = self;
        registry.register(
            "labelled_statefulsets",
            "StatefulSets with the label that requests the agent",
            labelled.clone(),
        );
        let help = "Labelled StatefulSets without the agent: restart their pods once";
        registry.register("uninjected_statefulsets", help, uninjected.clone());
        let help = "Labelled StatefulSets missing a Secret or a RoleBinding that the webhook provides";
        registry.register("unprovided_statefulsets", help, unprovided.clone());
        let help = "Failed writes of objects for labelled StatefulSets, and interrupted watches";
        registry.register("provider_errors", help, provider_errors.clone());
    }

    fn register_certificates(&mut self) {
        let Self { registry, renewals, expiry, authority_expiry, rotations, heals, ready, .. } = self;
        let help = "Certificates that replaced another one while serving";
        registry.register("certificate_renewals", help, renewals.clone());
        let help = "End of validity of the certificate in use, in seconds since 1970";
        registry.register("certificate_expiry_timestamp_seconds", help, expiry.clone());
        let help = "End of validity of the certificate authority that signs, in seconds since 1970";
        registry.register("authority_expiry_timestamp_seconds", help, authority_expiry.clone());
        registry.register("authority_rotations", "Changes of the certificate authority", rotations.clone());
        let help = "Corrections of a caBundle that another program had changed";
        registry.register("ca_bundle_heals", help, heals.clone());
        let help = "1 if callers accept the certificate in use, else 0";
        registry.register("ready", help, ready.clone());
        // A constant series: joined with others, it shows which replica runs which version.
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the webhook", version);
    }
}
