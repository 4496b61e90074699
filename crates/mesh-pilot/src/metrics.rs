//! The metrics of a control plane, under Istio's names.
//!
//! Counters and histograms are fed as things happen; gauges that describe the
//! present state are set from it when they are scraped.
//!
//! Invariant: every name here is one that Istio's own dashboards read, with
//! Istio's labels and buckets, and none is exposed that is not really measured.
//!
//! Source: istio `pilot/pkg/xds/monitoring.go`, `pilot/pkg/model/push_context.go`.

use std::time::Duration;

use mesh_model::{Change, Code, Diagnostic, Severity};
use mesh_proto::types;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[cfg(test)]
mod tests;
mod text;

pub(crate) use text::CONTENT_TYPE;

use crate::settle::{Class, Settled};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// All metrics. Cloning shares them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    proxies: Gauges,
    pushes: Counters,
    push_time: Histograms,
    send_time: Histogram,
    convergence_time: Histogram,
    queue_time: Histogram,
    debounce_time: Histogram,
    snapshot_time: Histogram,
    triggers: Counters,
    inbound: Counters,
    config_events: Counters,
    services: Gauge,
    virtual_services: Gauge,
    config_size: Histograms,
    rejects: Counter,
    rejected: [(&'static str, Gauges); 4],
    expired_nonces: Counters,
    internal_errors: Counter,
    rejected_configs: Gauges,
    no_instances: Gauges,
    not_ready: Gauges,
    diagnostics: Gauges,
    uptime: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// What is set from the present state when metrics are scraped.
#[derive(Debug, Default)]
pub(crate) struct Present<'a> {
    /// `ISTIO_VERSION` of each connected proxy.
    pub(crate) versions: Vec<&'a str>,
    /// Services of the mesh.
    pub(crate) services: usize,
    /// VirtualServices of the mesh.
    pub(crate) virtual_services: usize,
    /// The refusals that last.
    pub(crate) refusals: Vec<Refused<'a>>,
    /// Hosts whose endpoints the mesh should know and does not.
    pub(crate) without_instances: Vec<&'a str>,
    /// Endpoints that are not ready, by host.
    pub(crate) not_ready: Vec<(&'a str, usize)>,
    /// All that is wrong.
    pub(crate) diagnostics: &'a [Diagnostic],
    /// Since the start.
    pub(crate) uptime: Duration,
}

/// A response that a proxy refused, and has not yet accepted a later one.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) type_url: &'a str,
    pub(crate) node: &'a str,
    pub(crate) error: &'a str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut r = Registry::default();
        Self {
            proxies: family(&mut r, "pilot_xds", "Number of endpoints connected to this pilot using XDS"),
            pushes: family(&mut r, "pilot_xds_pushes", "Pilot build and send errors for lds, rds, cds and eds"),
            push_time: histograms(
                &mut r,
                "pilot_xds_push_time",
                "Total time in seconds Pilot takes to generate resources for a proxy",
                push_time,
            ),
            send_time: histogram(&mut r, "pilot_xds_send_time", "Seconds from a response sent to its answer", SECONDS),
            convergence_time: histogram(
                &mut r,
                "pilot_proxy_convergence_time",
                "Delay in seconds between config change and a proxy receiving all required configuration",
                SECONDS_LONG,
            ),
            queue_time: histogram(
                &mut r,
                "pilot_proxy_queue_time",
                "Time in seconds, a proxy is in the push queue before being dequeued",
                SECONDS_LONG,
            ),
            debounce_time: histogram(
                &mut r,
                "pilot_debounce_time",
                "Delay in seconds between the first config enters debouncing and the merged push request is pushed",
                SECONDS,
            ),
            snapshot_time: histogram(
                &mut r,
                "pilot_pushcontext_init_seconds",
                "Total time in seconds Pilot takes to init pushContext",
                &[0.01, 0.1, 0.5, 1.0, 3.0, 5.0],
            ),
            triggers: family(&mut r, "pilot_push_triggers", "Total number of times a push was triggered, by reason"),
            inbound: family(&mut r, "pilot_inbound_updates", "Total number of updates received by pilot"),
            config_events: family(&mut r, "pilot_k8s_cfg_events", "Events from k8s config"),
            services: gauge(&mut r, "pilot_services", "Total services known to pilot"),
            virtual_services: gauge(&mut r, "pilot_virt_services", "Total virtual services known to pilot"),
            config_size: histograms(
                &mut r,
                "pilot_xds_config_size_bytes",
                "Distribution of configuration sizes pushed to clients",
                config_size,
            ),
            rejects: counter(&mut r, "pilot_total_xds_rejects", "Total number of XDS responses rejected by proxy"),
            rejected: REJECTED
                .map(|(type_url, name)| (type_url, family(&mut r, name, "Responses that a proxy rejects, by node"))),
            expired_nonces: family(
                &mut r,
                "pilot_xds_expired_nonce",
                "Total number of XDS requests with an expired nonce",
            ),
            internal_errors: counter(&mut r, "pilot_total_xds_internal_errors", "Total number of internal XDS errors"),
            rejected_configs: family(
                &mut r,
                "pilot_total_rejected_configs",
                "Total number of configs that Pilot had to reject or ignore",
            ),
            no_instances: family(&mut r, "pilot_eds_no_instances", "Services without instances"),
            not_ready: family(&mut r, "pilot_endpoint_not_ready", "Endpoint found in unready state"),
            diagnostics: family(&mut r, "pilothouse_diagnostics", "What is wrong now, by severity and code"),
            uptime: float_gauge(&mut r, "istiod_uptime_seconds", "Current istiod server uptime in seconds"),
            registry: with_info(r),
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
        self.send_time.observe(after.as_secs_f64());
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
        refill(&self.proxies, present.versions.iter().map(|v| (labels(&[("version", v)]), 1)));
        self.services.set(present.services as i64);
        self.virtual_services.set(present.virtual_services as i64);
        for (type_url, gauges) in &self.rejected {
            let of_type = present.refusals.iter().filter(|r| r.type_url == *type_url);
            refill(gauges, of_type.map(|r| (labels(&[("node", r.node), ("err", &shortened(r.error))]), 1)));
        }
        refill(&self.no_instances, present.without_instances.iter().map(|h| (labels(&[("cluster", h)]), 1)));
        refill(&self.not_ready, present.not_ready.iter().map(|(h, n)| (labels(&[("cluster", h)]), *n as i64)));
        let set_aside =
            present.diagnostics.iter().filter(|d| d.severity == Severity::Error || d.code == Code::Conflict);
        let named = set_aside.filter_map(|d| d.object.as_ref()).map(|o| {
            let id = format!("{}/{}", o.namespace, o.name);
            (labels(&[("type", o.kind.as_str()), ("id", &id)]), 1)
        });
        refill(&self.rejected_configs, named);
        let by_code = present.diagnostics.iter();
        refill(
            &self.diagnostics,
            by_code.map(|d| (labels(&[("severity", &d.severity.to_string()), ("code", d.code.as_str())]), 1)),
        );
        self.uptime.set(present.uptime.as_secs_f64());
        text::render(&self.registry)
    }
}

/// `cds` for clusters: the value of Istio's `type` labels.
fn metric_type(type_url: &str) -> String {
    types::short(type_url).to_ascii_lowercase()
}

/// Label values are kept short: every one is a series.
fn shortened(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Empties the family, then adds up `values` by their labels.
fn refill(gauges: &Gauges, values: impl Iterator<Item = (Labels, i64)>) {
    gauges.clear();
    for (labels, value) in values.take(SERIES_MAX) {
        gauges.get_or_create(&labels).inc_by(value);
    }
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

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn float_gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge<f64, std::sync::atomic::AtomicU64> {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// `pilot_info` and `istio_build`: always 1, with the version as a label.
fn with_info(mut registry: Registry) -> Registry {
    let version = env!("CARGO_PKG_VERSION");
    let info: Gauges = family(&mut registry, "pilot_info", "Pilot version and build information");
    info.get_or_create(&labels(&[("version", version)])).set(1);
    let build: Gauges = family(&mut registry, "istio_build", "Istio component build info");
    build.get_or_create(&labels(&[("component", "pilot"), ("tag", version)])).set(1);
    registry
}

fn push_time() -> Histogram {
    Histogram::new(SECONDS.iter().copied())
}

fn config_size() -> Histogram {
    Histogram::new([1.0, 1e4, 1e6, 4e6, 1e7, 4e7])
}

const SECONDS: &[f64] = &[0.01, 0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
const SECONDS_LONG: &[f64] = &[0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
const REJECTED: [(&str, &str); 4] = [
    (types::CLUSTER, "pilot_xds_cds_reject"),
    (types::LISTENER, "pilot_xds_lds_reject"),
    (types::ROUTE, "pilot_xds_rds_reject"),
    (types::ENDPOINT, "pilot_xds_eds_reject"),
];
const ERROR_CHARS_MAX: usize = 80;
/// Values that fill one family; a mesh with more unready services than this is
/// read on the debug pages.
const SERIES_MAX: usize = 10_000;
