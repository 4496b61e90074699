//! The debug and operations pages: one table, from which the index, the list
//! and the routes are drawn.
//!
//! A page is a plain function from what is known at this moment ([`View`]) and
//! the query to an answer; the server gathers the one and sends the other.
//!
//! Invariant: no page changes anything, waits for anything, or reads anything
//! but its view.
//!
//! Source of paths and shapes: istio `pilot/pkg/xds/debug.go` of today, and for
//! `endpointz` of Istio 1.0.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use mesh_model::{Diagnostic, MeshSnapshot};
use mesh_translate::Proxy;
use mesh_xds::Snapshot;
use mesh_xds::server::TypeStatus;
use mesh_xds::transport::server::Peer;
use serde_json::Value;

mod config;
mod connections;
mod dump;
mod index;
mod mesh;
mod proxy;
mod registry;
mod server;
mod status;
#[cfg(test)]
mod tests;

use crate::fleet::Refusal;
use crate::metrics::Metrics;

/// One page.
pub(crate) struct Page {
    /// Its path, without query.
    pub(crate) path: &'static str,
    /// What it shows, in one line, with its parameters.
    pub(crate) summary: &'static str,
    /// Who may see it.
    pub(crate) audience: Audience,
    /// Whether it needs the state of the streams, which must be asked for.
    pub(crate) streams: bool,
    /// Makes its answer.
    pub(crate) answer: fn(&View, &Query) -> Reply,
}

/// Who may see a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody: it says nothing about the mesh that is not for monitoring.
    Everybody,
    /// Whoever is on this machine.
    Loopback,
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(Value),
    Text(String),
    Html(String),
    /// Prometheus' text format.
    Metrics(String),
    /// Pushes to every proxy, then says so.
    Push,
    /// A status other than 200, in plain words.
    Failure(StatusCode, String),
}

/// Everything that a page can show, at one moment.
pub(crate) struct View {
    pub(crate) mesh: Arc<MeshSnapshot>,
    pub(crate) synced: bool,
    pub(crate) diagnostics: Arc<[Diagnostic]>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) connected: Vec<Connected>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) uptime: Duration,
}

/// One connected proxy. The parts that only its stream knows are empty on pages
/// that do not ask for them.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) node: Arc<mesh_xds::Node>,
    pub(crate) stream: u64,
    pub(crate) peer: Option<Peer>,
    pub(crate) types: Vec<(TypeStatus, Option<SystemTime>)>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
}

/// A query string.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

const fn page(path: &'static str, summary: &'static str, answer: fn(&View, &Query) -> Reply) -> Page {
    Page { path, summary, audience: Audience::Loopback, streams: false, answer }
}

const fn of_streams(page: Page) -> Page {
    Page { streams: true, ..page }
}

const fn open(page: Page) -> Page {
    Page { audience: Audience::Everybody, ..page }
}

/// All pages, in the order in which the index shows them.
pub(crate) const PAGES: &[Page] = &[
    open(page("/metrics", "Metrics in Prometheus' text format, under Istio's names", server::metrics)),
    open(page("/ready", "200 once the mesh has been read, 503 before", server::ready)),
    open(page("/version", "What is running", server::version)),
    page("/debug", "This index; ?format=text without HTML", index::index),
    page("/debug/list", "The names of the debug pages", index::list),
    of_streams(page(
        "/debug/adsz",
        "Connected proxies and what they watch; ?proxyID=; ?push=true pushes to all of them",
        connections::adsz,
    )),
    of_streams(page("/debug/cdsz", "Clusters of each connected proxy; ?proxyID=", dump::cdsz)),
    of_streams(page(
        "/debug/config_dump",
        "Everything a proxy should have, as Envoy's own config_dump; ?proxyID= [include_eds] [types=cds,lds,...]",
        dump::config_dump,
    )),
    page("/debug/configz", "All rules, as they were written", config::configz),
    of_streams(page("/debug/connections", "Connected proxies; ?proxyID=", connections::connections)),
    page("/debug/diagnosticsz", "All that is wrong now; ?format=text for lines", status::diagnosticsz),
    of_streams(page("/debug/edsz", "Endpoints by cluster, as proxies get them; ?proxyID=", dump::edsz)),
    page("/debug/endpointShardz", "Endpoints by service and namespace", registry::endpoint_shardz),
    page("/debug/endpointz", "Endpoints by service and port; ?brief=1 for lines", registry::endpointz),
    page("/debug/instancesz", "The service ports that each connected proxy serves", registry::instancesz),
    page("/debug/mesh", "Mesh-wide settings", mesh::mesh),
    page("/debug/objectz", "Where each object stands: Kind/namespace/name to file and line", config::objectz),
    page("/debug/push_status", "What could not be pushed as it was meant", status::push_status),
    page("/debug/registryz", "All services", registry::registryz),
    of_streams(page(
        "/debug/resources",
        "Everything a proxy gets, with the rules behind it; ?proxyID= or ?workload=namespace/name",
        proxy::resources,
    )),
    page("/debug/resourcesz", "The kinds of object that are read", config::resourcesz),
    of_streams(page(
        "/debug/rule_status",
        "What has become of each rule: accepted, in conflict, effective on how many proxies; ?object=Kind/namespace/name",
        status::rule_status,
    )),
    of_streams(page(
        "/debug/sidecarz",
        "What a proxy sees of the mesh; ?proxyID= or ?workload=namespace/name",
        proxy::sidecarz,
    )),
    of_streams(page("/debug/syncz", "What each proxy was sent and has acknowledged; ?namespace=", connections::syncz)),
];

impl Query {
    /// Of several values of one name, the first counts.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut map = BTreeMap::new();
        for (name, value) in pairs {
            map.entry(name).or_insert(value);
        }
        Self(map)
    }

    /// The value of `name`, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Whether `name` is there and not said to be false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|v| !matches!(v.as_str(), "0" | "f" | "false" | "False" | "FALSE"))
    }
}

impl Reply {
    fn missing(what: impl Into<String>) -> Self {
        Reply::Failure(StatusCode::BAD_REQUEST, what.into())
    }

    fn not_found(what: impl Into<String>) -> Self {
        Reply::Failure(StatusCode::NOT_FOUND, what.into())
    }
}

impl Connected {
    /// Istio's connection id: the node id and the number of the stream.
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.proxy.node_id, self.stream)
    }

    /// Istio's proxy id: `name.namespace`, the third part of the node id.
    pub(crate) fn proxy_id(&self) -> &str {
        self.proxy.node_id.split('~').nth(2).unwrap_or(&self.proxy.node_id)
    }

    /// What the proxy watches of one type, if it does.
    pub(crate) fn watch(&self, type_url: &str) -> Option<&TypeStatus> {
        self.types.iter().map(|(status, _)| status).find(|status| &*status.type_url == type_url)
    }
}

impl View {
    /// The proxy that `?proxyID=` means: by its whole id first, else, as in
    /// Istio, the first whose connection id contains it.
    fn proxy(&self, query: &Query) -> Result<&Connected, Reply> {
        let Some(wanted) = query.get("proxyID") else {
            return Err(Reply::missing("You must provide a proxyID in the query string: ?proxyID=name.namespace"));
        };
        let whole = |c: &&Connected| c.proxy_id() == wanted || *c.proxy.node_id == *wanted || c.id() == wanted;
        let part = |c: &&Connected| c.id().contains(wanted);
        let found = self.connected.iter().find(whole).or_else(|| self.connected.iter().find(part));
        found.ok_or_else(|| {
            Reply::not_found(format!(
                "Proxy {wanted} is not connected to this pilot. /debug/connections lists those that are."
            ))
        })
    }

    /// The proxies that `?proxyID=` means, or all where it is not given.
    fn proxies(&self, query: &Query) -> Result<Vec<&Connected>, Reply> {
        match query.get("proxyID") {
            Some(_) => Ok(vec![self.proxy(query)?]),
            None => Ok(self.connected.iter().collect()),
        }
    }
}
