//! Gauges that describe the present state: filled when they are scraped, so that
//! nothing has to keep them up to date, and nothing that is gone stays in them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mesh_model::{Code, Diagnostic, Severity};
use mesh_proto::types;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Gauges, Labels, family, labels};

/// The present state.
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

#[derive(Debug)]
pub(super) struct PresentGauges {
    proxies: Gauges,
    services: Gauge,
    virtual_services: Gauge,
    refusals: [(&'static str, Gauges); 4],
    rejected_configs: Gauges,
    no_instances: Gauges,
    not_ready: Gauges,
    diagnostics: Gauges,
    uptime: Gauge<f64, AtomicU64>,
}

impl PresentGauges {
    pub(super) fn new(r: &mut Registry) -> Self {
        let (services, virtual_services, uptime) = (Gauge::default(), Gauge::default(), Gauge::default());
        r.register("pilot_services", "Services that are known", services.clone());
        r.register("pilot_virt_services", "VirtualServices that are known", virtual_services.clone());
        r.register("istiod_uptime_seconds", "Seconds since the start", uptime.clone());
        let refusals = REFUSALS.map(|(type_url, name)| {
            (type_url, family(r, name, "Responses that a proxy refuses at present, by node and its words"))
        });
        Self {
            proxies: family(r, "pilot_xds", "Proxies that are connected, by version"),
            services,
            virtual_services,
            refusals,
            rejected_configs: family(r, "pilot_total_rejected_configs", "Objects that are not in force"),
            no_instances: family(r, "pilot_eds_no_instances", "Services without an endpoint"),
            not_ready: family(r, "pilot_endpoint_not_ready", "Endpoints that are not ready"),
            diagnostics: family(r, "pilothouse_diagnostics", "What is wrong at present, by severity and code"),
            uptime,
        }
    }

    pub(super) fn fill(&self, present: &Present<'_>) {
        self.services.set(present.services as i64);
        self.virtual_services.set(present.virtual_services as i64);
        self.uptime.set(present.uptime.as_secs_f64());
        refill(&self.proxies, present.versions.iter().map(|v| (labels(&[("version", v)]), 1)));
        for (type_url, gauges) in &self.refusals {
            let of_type = present.refusals.iter().filter(|r| r.type_url == *type_url);
            refill(gauges, of_type.map(|r| (labels(&[("node", r.node), ("err", &shortened(r.error))]), 1)));
        }
        refill(&self.no_instances, present.without_instances.iter().map(|h| (labels(&[("cluster", h)]), 1)));
        refill(&self.not_ready, present.not_ready.iter().map(|(h, n)| (labels(&[("cluster", h)]), *n as i64)));
        self.fill_diagnostics(present.diagnostics);
    }

    fn fill_diagnostics(&self, diagnostics: &[Diagnostic]) {
        let set_aside = diagnostics.iter().filter(|d| d.severity == Severity::Error || d.code == Code::Conflict);
        let named = set_aside.filter_map(|d| d.object.as_ref()).map(|o| {
            let id = format!("{}/{}", o.namespace, o.name);
            (labels(&[("type", o.kind.as_str()), ("id", &id)]), 1)
        });
        refill(&self.rejected_configs, named);
        let by_code = diagnostics.iter().map(|d| {
            let severity = d.severity.to_string();
            (labels(&[("severity", &severity), ("code", d.code.as_str())]), 1)
        });
        refill(&self.diagnostics, by_code);
    }
}

/// Empties the family, then adds up `values` by their labels.
fn refill(gauges: &Gauges, values: impl Iterator<Item = (Labels, i64)>) {
    gauges.clear();
    for (labels, value) in values.take(VALUES_MAX) {
        gauges.get_or_create(&labels).inc_by(value);
    }
}

/// Label values are kept short: every one is a series.
fn shortened(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}

const REFUSALS: [(&str, &str); 4] = [
    (types::CLUSTER, "pilot_xds_cds_reject"),
    (types::LISTENER, "pilot_xds_lds_reject"),
    (types::ROUTE, "pilot_xds_rds_reject"),
    (types::ENDPOINT, "pilot_xds_eds_reject"),
];
const ERROR_CHARS_MAX: usize = 80;
/// Values that fill one family; a mesh with more unready services than this is
/// read on the debug pages.
const VALUES_MAX: usize = 10_000;
