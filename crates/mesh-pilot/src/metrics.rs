//! The metrics of a control plane, under Istio's names.
//!
//! Counters and histograms are fed as things happen; gauges that describe the
//! present state are set from it when they are scraped.
//!
//! Invariant: what has a name of Istio's has Istio's meaning, labels and
//! buckets, so that its dashboards can be used; what Istio does not measure is
//! called `pilothouse_...`; and nothing is exposed that is not really measured.
//!
//! Source: istio `pilot/pkg/xds/monitoring.go`, `pilot/pkg/model/push_context.go`.

use std::time::Duration;

use mesh_model::Change;
use mesh_proto::types;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

mod present;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use present::{Present, Refused};
pub(crate) use text::CONTENT_TYPE;

use present::PresentGauges;

use crate::settle::{Class, Settled};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// All metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Locked while they are filled and read, so that two scrapes do not mix.
    present: Mutex<PresentGauges>,
    pushes: Counters,
    push_time: Histograms,
    ack_time: Histogram,
    convergence_time: Histogram,
    queue_time: Histogram,
    debounce_time: Histogram,
    snapshot_time: Histogram,
    triggers: Counters,
    inbound: Counters,
    config_events: Counters,
    config_size: Histograms,
    rejects: Counter,
    expired_nonces: Counters,
    internal_errors: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        with_info(&mut registry);
        let r = &mut registry;
        Self {
            present: Mutex::new(PresentGauges::new(r)),
            pushes: family(r, "pilot_xds_pushes", "Responses sent to proxies"),
            push_time: histograms(r, "pilot_xds_push_time", "Seconds to make a proxy's resources", push_time),
            ack_time: histogram(r, "pilothouse_xds_ack_time", "Seconds from a response to its answer", SECONDS),
            convergence_time: histogram(
                r,
                "pilot_proxy_convergence_time",
                "Seconds from a change to the first response that a proxy is sent for it",
                SECONDS_LONG,
            ),
            queue_time: histogram(r, "pilot_proxy_queue_time", "Seconds that a proxy waits for its turn", SECONDS_LONG),
            debounce_time: histogram(r, "pilot_debounce_time", "Seconds that a change waits to settle", SECONDS),
            snapshot_time: histogram(
                r,
                "pilot_pushcontext_init_seconds",
                "Seconds to build a snapshot of the mesh",
                &[0.01, 0.1, 0.5, 1.0, 3.0, 5.0],
            ),
            triggers: family(r, "pilot_push_triggers", "Times that something was pushed, by reason"),
            inbound: family(r, "pilot_inbound_updates", "Changes that platforms reported"),
            config_events: family(r, "pilot_k8s_cfg_events", "Changes of rules, by kind"),
            config_size: histograms(r, "pilot_xds_config_size_bytes", "Sizes of responses", config_size),
            rejects: counter(r, "pilot_total_xds_rejects", "Responses that proxies refused"),
            expired_nonces: family(r, "pilot_xds_expired_nonce", "Answers that came too late"),
            internal_errors: counter(r, "pilot_total_xds_internal_errors", "Translations that failed"),
            registry,
        }
    }

    /// Changes have arrived from a platform.
    pub(crate) fn changed(&self, changes: &[Change]) {
        for change in changes {
            let kind = match change {
                Change::Endpoints { .. } => "eds",
                Change::Service(_) => "svc",
                Change::ServiceRemoved(_) => "svcdelete",
                _ => "config",
            };
            self.inbound.get_or_create(&labels(&[("type", kind)])).inc();
            let (kind, event) = match change {
                Change::Rule(rule) => (rule.meta.object.kind, "update"),
                Change::RuleRemoved(object) => (object.kind, "delete"),
                _ => continue,
            };
            self.config_events.get_or_create(&labels(&[("type", kind.as_str()), ("event", event)])).inc();
        }
    }

    /// The mesh has settled and a snapshot of it was built in `took`.
    pub(crate) fn settled(&self, settled: &Settled, took: Duration) {
        self.debounce_time.observe(settled.waited.as_secs_f64());
        self.snapshot_time.observe(took.as_secs_f64());
        let kind = match settled.class {
            Class::Endpoints => "endpoint",
            Class::Config => "config",
        };
        self.triggers.get_or_create(&labels(&[("type", kind)])).inc();
    }

    /// Somebody asked for a push on a debug page.
    pub(crate) fn push_asked_for(&self) {
        self.triggers.get_or_create(&labels(&[("type", "debug")])).inc();
    }

    /// A proxy has asked for its first resources.
    pub(crate) fn proxy_asked(&self) {
        self.triggers.get_or_create(&labels(&[("type", "proxyrequest")])).inc();
    }

    /// Resources of a proxy were made in `took`, after it `waited` for its turn.
    pub(crate) fn translated(&self, waited: Duration, took: Duration) {
        self.queue_time.observe(waited.as_secs_f64());
        self.push_time.get_or_create(&labels(&[("type", "all")])).observe(took.as_secs_f64());
    }

    /// A response has been sent.
    pub(crate) fn sent(&self, type_url: &str, bytes: usize) {
        self.pushes.get_or_create(&labels(&[("type", &metric_type(type_url))])).inc();
        self.config_size.get_or_create(&labels(&[("type", type_url)])).observe(bytes as f64);
    }

    /// A proxy has everything that a change meant for it.
    pub(crate) fn converged(&self, after: Duration) {
        self.convergence_time.observe(after.as_secs_f64());
    }

    /// A response was acknowledged.
    pub(crate) fn acked(&self, after: Duration) {
        self.ack_time.observe(after.as_secs_f64());
    }

    /// A response was refused.
    pub(crate) fn refused(&self) {
        self.rejects.inc();
    }

    /// An answer came too late.
    pub(crate) fn stale(&self, type_url: &str) {
        self.expired_nonces.get_or_create(&labels(&[("type", &metric_type(type_url))])).inc();
    }

    /// Translation failed in a way that it never should.
    pub(crate) fn internal_error(&self) {
        self.internal_errors.inc();
    }

    /// Everything, in Prometheus' text format, with the present state filled in.
    pub(crate) fn scrape(&self, present: &Present<'_>) -> String {
        let gauges = self.present.lock();
        gauges.fill(present);
        text::render(&self.registry)
    }
}

/// `cds` for clusters: the value of Istio's `type` labels.
fn metric_type(type_url: &str) -> String {
    types::short(type_url).to_ascii_lowercase()
}

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn family<M>(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, M>
where
    Family<Labels, M>: prometheus_client::registry::Metric + Clone + Default,
{
    let family = Family::<Labels, M>::default();
    registry.register(name, help, family.clone());
    family
}

fn histograms(registry: &mut Registry, name: &str, help: &str, make: fn() -> Histogram) -> Histograms {
    let family = Histograms::new_with_constructor(make);
    registry.register(name, help, family.clone());
    family
}

fn histogram(registry: &mut Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let histogram = Histogram::new(buckets.iter().copied());
    registry.register(name, help, histogram.clone());
    histogram
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// `pilot_info` and `istio_build`: always 1, with the version as a label.
fn with_info(registry: &mut Registry) {
    let version = env!("CARGO_PKG_VERSION");
    let info: Gauges = family(registry, "pilot_info", "Pilot version and build information");
    info.get_or_create(&labels(&[("version", version)])).set(1);
    let build: Gauges = family(registry, "istio_build", "Istio component build info");
    build.get_or_create(&labels(&[("component", "pilot"), ("tag", version)])).set(1);
}

fn push_time() -> Histogram {
    Histogram::new(SECONDS.iter().copied())
}

fn config_size() -> Histogram {
    Histogram::new([1.0, 1e4, 1e6, 4e6, 1e7, 4e7])
}

const SECONDS: &[f64] = &[0.01, 0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
const SECONDS_LONG: &[f64] = &[0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
