//! The choice of a route, with or without a record of what did not match.

use std::sync::Arc;

use http::Method;

use super::domains::without_port;
use super::{
    Action, ClusterChoice, Matched, NoRoute, PathMatch, Rejected, RequestView, Route, RouteMatch, RouteTable,
    RouteTrace, WeightedClusters,
};
use crate::grpc;

/// Listens to why a route does not match. The silent one costs nothing.
trait Listen {
    fn hear(&mut self, why: impl FnOnce() -> String);
}

struct Silent;

impl Listen for Silent {
    fn hear(&mut self, _why: impl FnOnce() -> String) {}
}

#[derive(Default)]
struct Recorder(Option<String>);

impl Listen for Recorder {
    fn hear(&mut self, why: impl FnOnce() -> String) {
        self.0.get_or_insert_with(why);
    }
}

/// The route that `request` meets in `table`. `random` (any number) decides
/// between weighted clusters and on runtime fractions.
///
/// # Errors
/// [`NoRoute`]
pub fn match_route(table: &Arc<RouteTable>, request: &RequestView<'_>, random: u64) -> Result<Matched, NoRoute> {
    let host = virtual_host(table, request)?;
    let routes = &table.virtual_hosts[host].routes;
    let route = routes.iter().position(|r| r.matches.check(request, random, &mut Silent));
    let route = route.ok_or(NoRoute::NoRoute { virtual_host: host })?;
    Ok(matched(table, host, route, request, random))
}

/// As [`match_route`], and says why routes that come before did not match.
pub fn trace_route(table: &Arc<RouteTable>, request: &RequestView<'_>, random: u64) -> RouteTrace {
    let mut rejected = Vec::new();
    let host = match virtual_host(table, request) {
        Ok(host) => host,
        Err(none) => return RouteTrace { result: Err(none), rejected },
    };
    for (index, route) in table.virtual_hosts[host].routes.iter().enumerate() {
        let mut recorder = Recorder::default();
        if route.matches.check(request, random, &mut recorder) {
            return RouteTrace { result: Ok(matched(table, host, index, request, random)), rejected };
        }
        let why = recorder.0.unwrap_or_default();
        rejected.push(Rejected { route: index, name: route.label(), why });
    }
    RouteTrace { result: Err(NoRoute::NoRoute { virtual_host: host }), rejected }
}

fn virtual_host(table: &RouteTable, request: &RequestView<'_>) -> Result<usize, NoRoute> {
    let host = request.authority;
    let host = if table.ignore_port_in_host_matching { without_port(host) } else { host };
    table.domains.find(host).map(|i| i as usize).ok_or(NoRoute::NoVirtualHost)
}

fn matched(table: &Arc<RouteTable>, host: usize, route: usize, request: &RequestView<'_>, random: u64) -> Matched {
    let weighted = match &table.virtual_hosts[host].routes[route].action {
        Action::Forward(forward) => match &forward.cluster {
            ClusterChoice::Weighted(weighted) => weighted.draw(request, random),
            _ => 0,
        },
        _ => 0,
    };
    Matched { table: table.clone(), virtual_host: host as u32, route: route as u32, weighted: weighted as u32 }
}

impl WeightedClusters {
    fn draw(&self, request: &RequestView<'_>, random: u64) -> usize {
        let by_header = self.random_header.as_ref().and_then(|name| request.headers.get(name));
        let by_header = by_header.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let mut point = by_header.unwrap_or(random) % self.total;
        for (index, cluster) in self.clusters.iter().enumerate() {
            match point.checked_sub(u64::from(cluster.weight)) {
                Some(rest) => point = rest,
                None => return index,
            }
        }
        0
    }
}

impl RouteMatch {
    fn check(&self, request: &RequestView<'_>, random: u64, listen: &mut impl Listen) -> bool {
        if !self.path.matches(request, self.case_sensitive) {
            listen.hear(|| format!("path {} {}", request.path_only(), self.path.why_not(self.case_sensitive)));
            return false;
        }
        if let Some(header) = self.headers.iter().find(|h| !h.matches(request)) {
            listen.hear(|| match header.name.of_request(request) {
                Some(value) => format!("wanted {header}, found \"{value}\""),
                None => format!("wanted {header}, found none"),
            });
            return false;
        }
        if let Some(query) = self.query.iter().find(|q| !q.matches(request.path)) {
            listen.hear(|| format!("query parameter {} does not match", query.name));
            return false;
        }
        if let Some(cookie) = self.cookies.iter().find(|c| !c.matches(request.headers)) {
            listen.hear(|| format!("cookie {} does not match", cookie.name));
            return false;
        }
        if let Some(wanted) = self.metadata.iter().find(|m| !m.matches_absent()) {
            listen.hear(|| format!("wanted {wanted}, found none"));
            return false;
        }
        if self.grpc && !grpc::is_grpc(request.headers) {
            listen.hear(|| "content-type is not application/grpc".to_owned());
            return false;
        }
        // Other bits than the ones that choose between weighted clusters, so that the two are independent.
        if let Some(ppm) = self.runtime_fraction
            && (random >> 32) % 1_000_000 >= u64::from(ppm)
        {
            listen.hear(|| format!("it takes {}% of requests, and not this one", f64::from(ppm) / 10_000.0));
            return false;
        }
        true
    }
}

impl PathMatch {
    fn matches(&self, request: &RequestView<'_>, case_sensitive: bool) -> bool {
        let path = request.path_only();
        let equal = |a: &str, b: &str| if case_sensitive { a == b } else { a.eq_ignore_ascii_case(b) };
        let begins = |p: &str| path.get(..p.len()).is_some_and(|start| equal(start, p));
        match self {
            Self::Prefix(prefix) => begins(prefix),
            Self::Exact(exact) => equal(path, exact),
            Self::Regex(regex) => regex.is_match(path),
            Self::SeparatedPrefix(prefix) => {
                begins(prefix) && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
            }
            Self::Connect => request.method == Method::CONNECT,
        }
    }

    fn why_not(&self, case_sensitive: bool) -> String {
        let case = if case_sensitive { "" } else { " in any case" };
        match self {
            Self::Prefix(p) => format!("does not begin with {p}{case}"),
            Self::Exact(p) => format!("is not {p}{case}"),
            Self::Regex(r) => format!("does not match {}", bare(r.as_str())),
            Self::SeparatedPrefix(p) => format!("is not {p} or below{case}"),
            Self::Connect => "is not a CONNECT request".to_owned(),
        }
    }

    /// What it says, in words: `prefix /a`.
    pub fn describe(&self) -> String {
        match self {
            Self::Prefix(p) => format!("prefix {p}"),
            Self::Exact(p) => format!("path {p}"),
            Self::Regex(r) => format!("regex {}", bare(r.as_str())),
            Self::SeparatedPrefix(p) => format!("path-separated prefix {p}"),
            Self::Connect => "CONNECT".to_owned(),
        }
    }

    /// How much of `path` (without query) it matched, for prefix rewrites.
    pub(super) fn matched_len(&self, path: &str) -> usize {
        match self {
            Self::Prefix(p) | Self::SeparatedPrefix(p) => p.len().min(path.len()),
            Self::Exact(_) | Self::Regex(_) | Self::Connect => path.len(),
        }
    }
}

impl Route {
    /// Its name, or what it matches if it has none.
    pub fn label(&self) -> String {
        if self.name.is_empty() { self.matches.path.describe() } else { self.name.to_string() }
    }
}

fn bare(regex: &str) -> &str {
    regex.strip_prefix(r"\A(?:").and_then(|t| t.strip_suffix(r")\z")).unwrap_or(regex)
}
