//! Route tables: which virtual host and route a request meets, and what the
//! route asks for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use mesh_proto::envoy::config::route::v3 as xds;
use mesh_proto::origin::Origin;
use regex::Regex;

use crate::error::{At, ConfigError, Kind};
use crate::headers::HeaderMutations;
use crate::http_filter::Overrides;
use crate::matcher::{CookieMatcher, HeaderMatcher, MetadataMatcher, QueryMatcher};
use crate::retry::RetryPolicy;

mod action;
pub(crate) mod domains;
mod hash;
mod matching;
mod mirror;
pub(crate) mod parse;
mod rewrite;
#[cfg(test)]
mod tests;

pub use domains::without_port as host_without_port;
pub use hash::{CookieGrant, HashPolicy, HashSource, Hashed, source_hash};
pub use matching::{match_route, trace_route};
pub use mirror::Mirror;
pub use rewrite::set_authority;

/// A parsed `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteTable {
    /// Its name.
    pub name: Arc<str>,
    /// In the order of the resource.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Mutations of every route's requests and responses.
    pub headers: Mutations,
    /// The most specific level's mutations come last, and so win.
    pub most_specific_header_mutations_wins: bool,
    /// A port in the request's host is ignored when a virtual host is looked up.
    pub ignore_port_in_host_matching: bool,
    /// Headers taken out of requests that are not internal.
    pub internal_only_headers: Vec<http::HeaderName>,
    /// Routes to clusters that are not known refuse the table (default for tables inside a listener). The caller
    /// checks [`Self::cluster_names`].
    pub validate_clusters: Option<bool>,
    pub(crate) overrides: Overrides,
    domains: domains::Domains,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
    /// XXH3 of the encoded resource.
    pub hash: u64,
}

/// Mutations of requests and responses at one level.
#[derive(Debug, Clone, Default)]
pub struct Mutations {
    /// Of requests.
    pub request: HeaderMutations,
    /// Of responses.
    pub response: HeaderMutations,
}

/// A virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// Its domains as written.
    pub domains: Vec<Box<str>>,
    /// Its routes in order; the first match wins.
    pub routes: Vec<Route>,
    /// Mutations of its requests and responses.
    pub headers: Mutations,
    /// For routes without their own.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// `x-envoy-attempt-count` goes into requests upstream.
    pub include_request_attempt_count: bool,
    /// `x-envoy-attempt-count` goes into responses.
    pub include_attempt_count_in_response: bool,
    pub(crate) overrides: Overrides,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
}

/// A route.
#[derive(Debug)]
pub struct Route {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// What it matches.
    pub matches: RouteMatch,
    /// What is done.
    pub action: Action,
    /// Mutations of its requests and responses.
    pub headers: Mutations,
    pub(crate) overrides: Overrides,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
}

/// What a route matches. All parts must.
#[derive(Debug)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Case of the path matters. Regular expressions look at it in any case.
    pub case_sensitive: bool,
    /// Headers.
    pub headers: Vec<HeaderMatcher>,
    /// Query parameters.
    pub query: Vec<QueryMatcher>,
    /// Cookies.
    pub cookies: Vec<CookieMatcher>,
    /// What filters left about the request.
    pub metadata: Vec<MetadataMatcher>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Only this share of requests, in parts per million.
    pub runtime_fraction: Option<u32>,
}

/// What a route says about the path, without the query.
#[derive(Debug)]
pub enum PathMatch {
    /// How it begins.
    Prefix(Box<str>),
    /// All of it.
    Exact(Box<str>),
    /// An expression matches all of it.
    Regex(Regex),
    /// It is this, or this and a `/` and more.
    SeparatedPrefix(Box<str>),
    /// The method is CONNECT.
    Connect,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Action {
    /// It goes to a cluster.
    Forward(Box<Forward>),
    /// It is redirected.
    Redirect(Box<Redirect>),
    /// It is answered here.
    Direct(Box<DirectResponse>),
    /// Only other kinds of client act on it; a request gets 404 here.
    NonForwarding,
}

/// A request goes to a cluster.
#[derive(Debug)]
pub struct Forward {
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// Status for a cluster that is not known (default 503).
    pub cluster_not_found: StatusCode,
    /// Of the path.
    pub path_rewrite: Option<PathRewrite>,
    /// Of the host.
    pub host_rewrite: Option<HostRewrite>,
    /// The host before the rewrite goes into `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// For the whole response, from the end of the request; `None`: forever. Envoy's default is 15 s.
    pub timeout: Option<Duration>,
    /// Instead of the connection manager's stream idle timeout.
    pub idle_timeout: Option<Option<Duration>>,
    /// Bounds and offsets of the request's own `grpc-timeout`.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// Deprecated `max_grpc_timeout`: use `grpc-timeout`, at most this (zero: unlimited).
    pub max_grpc_timeout: Option<Duration>,
    /// Deprecated `grpc_timeout_offset`: taken off a `grpc-timeout`.
    pub grpc_timeout_offset: Option<Duration>,
    /// The route's own, else the virtual host's.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// Which circuit breaker.
    pub priority: Priority,
    /// For consistent-hash load balancing.
    pub hash_policy: Vec<HashPolicy>,
    /// Who gets copies.
    pub mirrors: Vec<Mirror>,
    /// Upgrades allowed here, in lower case, or refused here.
    pub upgrades: Vec<(Box<str>, bool)>,
}

/// Which cluster a request goes to.
#[derive(Debug)]
pub enum ClusterChoice {
    /// This one.
    Named(Arc<str>),
    /// The one that this request header names.
    Header(http::HeaderName),
    /// One of these, by weight.
    Weighted(WeightedClusters),
}

/// Clusters with weights.
#[derive(Debug)]
pub struct WeightedClusters {
    /// Never empty.
    pub clusters: Vec<WeightedCluster>,
    /// Sum of their weights; at least 1.
    pub total: u64,
    /// Take the random value from this header instead.
    pub random_header: Option<http::HeaderName>,
}

/// One of several clusters.
#[derive(Debug)]
pub struct WeightedCluster {
    /// Its name, or the header that gives it.
    pub cluster: ClusterName,
    /// Its weight.
    pub weight: u32,
    /// Mutations of requests and responses that go there.
    pub headers: Mutations,
    pub(crate) overrides: Overrides,
    /// Instead of the route's host rewrite.
    pub host_rewrite: Option<HeaderValue>,
}

/// A cluster by name, or by a request header.
#[derive(Debug)]
pub enum ClusterName {
    /// This one.
    Named(Arc<str>),
    /// The one that this request header names.
    Header(http::HeaderName),
}

/// How the path changes. The query stays.
#[derive(Debug)]
pub enum PathRewrite {
    /// The matched prefix (or path) is replaced.
    Prefix(Box<str>),
    /// What the expression matches is replaced.
    Regex(Regex, Box<str>),
}

/// How the host changes.
#[derive(Debug)]
pub enum HostRewrite {
    /// To this.
    Literal(HeaderValue),
    /// To the upstream host's name (done when the host is picked).
    Auto,
    /// To what this request header says.
    Header(http::HeaderName),
    /// To what the expression makes of the path.
    PathRegex(Regex, Box<str>),
}

/// `RouteAction.MaxStreamDuration`
#[derive(Debug, Clone, Copy, Default)]
pub struct MaxStreamDuration {
    /// Instead of the connection manager's; zero: unlimited.
    pub max: Option<Duration>,
    /// Use `grpc-timeout`, at most this; zero: unlimited.
    pub grpc_timeout_header_max: Option<Duration>,
    /// Taken off a `grpc-timeout`.
    pub grpc_timeout_header_offset: Option<Duration>,
}

/// `RoutingPriority`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Priority {
    /// Default.
    #[default]
    Default,
    /// High.
    High,
}

/// A redirect.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// New scheme.
    pub scheme: Option<Box<str>>,
    /// New host.
    pub host: Option<Box<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New path.
    pub path: Option<RedirectPath>,
    /// The query is dropped.
    pub strip_query: bool,
}

/// The path a redirect leads to.
#[derive(Debug)]
pub enum RedirectPath {
    /// This, with its own query if it has one.
    Full(Box<str>),
    /// The path with the matched prefix replaced.
    Prefix(Box<str>),
    /// The path with what matches replaced.
    Regex(Regex, Box<str>),
}

/// An answer made here.
#[derive(Debug)]
pub struct DirectResponse {
    /// Status, 200 to 599.
    pub status: StatusCode,
    /// Body.
    pub body: bytes::Bytes,
}

/// A request head, as matchers see it.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Method.
    pub method: &'a Method,
    /// Host, with its port if it has one.
    pub authority: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// The view of a request's head. HTTP/1's host is in `Host`, HTTP/2's in
    /// the URI.
    pub fn of(parts: &'a Parts) -> Self {
        let authority = match parts.uri.authority() {
            Some(authority) => authority.as_str(),
            None => parts.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default(),
        };
        // A plain CONNECT has no path, and must not match a prefix of `/`.
        let none = if parts.method == Method::CONNECT { "" } else { "/" };
        let path = parts.uri.path_and_query().map_or(none, |p| p.as_str());
        let forwarded = parts.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
        let scheme = match forwarded {
            Some(b"https") => "https",
            Some(_) => "http",
            None => parts.uri.scheme_str().unwrap_or("http"),
        };
        Self { method: &parts.method, authority, path, scheme, headers: &parts.headers }
    }

    /// The path without the query.
    pub fn path_only(&self) -> &'a str {
        self.path.split_once('?').map_or(self.path, |(path, _)| path)
    }
}

/// The route a request met. Holds its table, so that a newer table changes
/// nothing for it.
#[derive(Debug, Clone)]
pub struct Matched {
    table: Arc<RouteTable>,
    virtual_host: u32,
    route: u32,
    weighted: u32,
}

/// No route was met. Either way the answer is 404 with flag NR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No virtual host has the host.
    #[error("no virtual host has this host among its domains")]
    NoVirtualHost,
    /// None of the virtual host's routes matches. It is the one at this index.
    #[error("no route of the virtual host matches")]
    NoRoute {
        /// Index in `RouteTable::virtual_hosts`.
        virtual_host: usize,
    },
}

/// Timeouts of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// For the whole response, over all tries, from the end of the request; `None`: forever.
    pub route: Option<Duration>,
    /// For one try.
    pub per_try: Option<Duration>,
    /// For one try without a byte of response.
    pub per_try_idle: Option<Duration>,
    /// Instead of the connection manager's stream idle timeout (`Some(None)`: none).
    pub idle: Option<Option<Duration>>,
    /// From the beginning of the stream; `Some(None)`: unlimited, whatever the connection manager says.
    pub max_stream: Option<Option<Duration>>,
}

impl RouteTable {
    /// Reads a route table.
    ///
    /// # Errors
    /// The first thing that cannot be honoured.
    pub fn parse(proto: &xds::RouteConfiguration) -> Result<Self, ConfigError> {
        parse::table(&At::root(Kind::Route, &proto.name), proto)
    }

    /// Every cluster that a route names outright, each once, sorted.
    pub fn cluster_names(&self) -> Vec<Arc<str>> {
        let mut names = BTreeSet::new();
        let routes = self.virtual_hosts.iter().flat_map(|v| &v.routes);
        for forward in routes.filter_map(|r| if let Action::Forward(f) = &r.action { Some(f) } else { None }) {
            match &forward.cluster {
                ClusterChoice::Named(name) => drop(names.insert(name.clone())),
                ClusterChoice::Header(_) => {}
                ClusterChoice::Weighted(weighted) => {
                    names.extend(weighted.clusters.iter().filter_map(|c| match &c.cluster {
                        ClusterName::Named(name) => Some(name.clone()),
                        ClusterName::Header(_) => None,
                    }));
                }
            }
        }
        names.into_iter().collect()
    }
}

/// What [`trace_route`] saw.
#[derive(Debug)]
pub struct RouteTrace {
    /// What [`match_route`] gives.
    pub result: Result<Matched, NoRoute>,
    /// Routes of the virtual host that were tried before, and why each did not match.
    pub rejected: Vec<Rejected>,
}

/// A route that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Index in `VirtualHost::routes`.
    pub route: usize,
    /// Its name, or what it matches if it has none.
    pub name: String,
    /// `path /a does not begin with /b`
    pub why: String,
}

impl Matched {
    /// The table.
    pub fn table(&self) -> &Arc<RouteTable> {
        &self.table
    }

    /// The virtual host.
    pub fn virtual_host(&self) -> &VirtualHost {
        &self.table.virtual_hosts[self.virtual_host as usize]
    }

    /// The route.
    pub fn route(&self) -> &Route {
        &self.virtual_host().routes[self.route as usize]
    }

    /// What is done.
    pub fn action(&self) -> &Action {
        &self.route().action
    }

    /// The forward action, if it is one.
    pub fn forward(&self) -> Option<&Forward> {
        match self.action() {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The weighted cluster that was drawn, if the route has several.
    pub fn weighted(&self) -> Option<&WeightedCluster> {
        match &self.forward()?.cluster {
            ClusterChoice::Weighted(weighted) => weighted.clusters.get(self.weighted as usize),
            _ => None,
        }
    }

    /// As if the weighted cluster at `index` had been drawn.
    pub(crate) fn with_weighted(self, index: usize) -> Self {
        Self { weighted: index as u32, ..self }
    }

    /// The cluster the request goes to; `None` if the header that should name
    /// it is missing or the action is another.
    pub fn cluster<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a str> {
        let by_header = |name: &http::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        match &self.forward()?.cluster {
            ClusterChoice::Named(name) => Some(name),
            ClusterChoice::Header(name) => by_header(name),
            ClusterChoice::Weighted(_) => match &self.weighted()?.cluster {
                ClusterName::Named(name) => Some(name),
                ClusterName::Header(name) => by_header(name),
            },
        }
    }
}
