//! Rules of HTTPRoutes and GRPCRoutes as routes of a VirtualService, and the
//! order in which they are tried.
//!
//! Source: `convertHTTPRoute`, `convertGRPCRoute` and `sortHTTPRoutes`, istio
//! `pilot/pkg/config/kube/gateway/conversion.go`; "HTTPRouteRule.matches",
//! Gateway API.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::Objects;
use super::backends::weighted;
use super::conditions::Fault;
use crate::Name;
use crate::rules::gateway_api::Route;
use crate::rules::gateway_api::route::{Filter, RouteRule};
use crate::rules::virtual_service::{
    Headers, HttpAction, HttpMatch, HttpRoute, Mirror, Redirect, Rewrite, RouteOrigin, StringMatch, WeightedDestination,
};

/// Routes, and what is wrong with some of them. Without routes, the fault sets
/// the whole object aside.
#[derive(Debug)]
pub(super) struct Converted<R> {
    pub(super) routes: Vec<R>,
    pub(super) fault: Option<Fault>,
}

impl<R> Default for Converted<R> {
    fn default() -> Self {
        Self { routes: Vec::new(), fault: None }
    }
}

/// All rules of a route, one VirtualService route for each match.
pub(super) fn convert(objects: &Objects<'_>, route: &Route, of_mesh: bool) -> Converted<HttpRoute> {
    let mut converted = Converted::default();
    for (index, rule) in route.rules.iter().enumerate() {
        match (One { objects, route, of_mesh }).convert(rule, index) {
            Ok((base, fault)) => {
                converted.fault = fault.or(converted.fault);
                match &rule.matches[..] {
                    [] => converted.routes.push(base),
                    matches => {
                        let one = |m: &HttpMatch| HttpRoute { matches: vec![m.clone()], ..base.clone() };
                        converted.routes.extend(matches.iter().map(one));
                    }
                }
            }
            Err(fault) => return Converted { routes: Vec::new(), fault: Some(fault) },
        }
    }
    converted
}

/// What the filters of a rule or backend ask for.
#[derive(Default)]
struct Filters {
    headers: Headers,
    redirect: Option<Redirect>,
    rewrite: Option<Rewrite>,
    mirrors: Vec<Mirror>,
    cors: Option<crate::rules::virtual_service::Cors>,
    fault: Option<Fault>,
}

struct One<'a> {
    objects: &'a Objects<'a>,
    route: &'a Route,
    of_mesh: bool,
}

impl One<'_> {
    /// The rule as a route without matches.
    fn convert(&self, rule: &RouteRule, index: usize) -> Result<(HttpRoute, Option<Fault>), Fault> {
        let filters = self.filters(&rule.filters)?;
        let mut fault = filters.fault;
        let weight: u64 = rule.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        let action = match filters.redirect {
            Some(redirect) => HttpAction::Redirect(redirect),
            None if weight == 0 => HttpAction::DirectResponse { status: NO_BACKEND, body: Vec::new() },
            None => {
                let (destinations, found) = self.destinations(rule)?;
                fault = found.map(|found| found.and(fault.clone())).or(fault);
                HttpAction::Route { destinations, rewrite: filters.rewrite }
            }
        };
        let meta = &self.route.meta;
        let generated = || format!("{}.{}.{index}", meta.namespace(), meta.name()).into();
        let mut route = HttpRoute {
            name: rule.name.clone().unwrap_or_else(generated),
            matches: Vec::new(),
            action,
            timeout: rule.timeout.filter(|t| *t > Duration::ZERO),
            retries: rule.retries.clone(),
            headers: filters.headers,
            fault: None,
            mirrors: filters.mirrors,
            cors: filters.cors,
            origin: Some(RouteOrigin { meta: Arc::clone(meta), index }),
        };
        if let Some(limit) = rule.backend_timeout.filter(|t| *t > Duration::ZERO) {
            match &mut route.retries {
                Some(retries) => retries.per_try_timeout = Some(limit),
                None => route.timeout = Some(limit),
            }
        }
        Ok((route, fault))
    }

    fn destinations(&self, rule: &RouteRule) -> Result<(Vec<WeightedDestination>, Option<Fault>), Fault> {
        let (mut destinations, mut fault) = (Vec::new(), None);
        for (backend, weight) in weighted(&rule.backends) {
            let (destination, found) = self.objects.destination(self.route, backend, self.of_mesh)?;
            fault = found.or(fault);
            let filters = self.filters(&backend.filters)?;
            if filters.redirect.is_some() || filters.rewrite.is_some() || filters.cors.is_some() {
                return Err(Fault::new(INVALID_FILTER, "a backend's filters may only change headers"));
            }
            destinations.push(WeightedDestination { destination, weight, headers: filters.headers });
        }
        Ok((destinations, fault))
    }

    fn filters(&self, filters: &[Filter]) -> Result<Filters, Fault> {
        let mut found = Filters::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(operations) => found.headers.request = operations.clone(),
                Filter::ResponseHeaders(operations) => found.headers.response = operations.clone(),
                Filter::Redirect(redirect) => found.redirect = Some(redirect.clone()),
                Filter::Rewrite(rewrite) => found.rewrite = Some(rewrite.clone()),
                Filter::Cors(cors) => found.cors = Some(cors.clone()),
                Filter::Mirror { backend, share } => {
                    match self.objects.destination(self.route, backend, self.of_mesh) {
                        Ok((destination, None)) => found.mirrors.push(Mirror { destination, share: *share }),
                        Ok((_, fault)) => found.fault = fault,
                        Err(fault) => found.fault = Some(fault),
                    }
                }
                Filter::Unsupported(name) => {
                    return Err(Fault::new(INVALID_FILTER, format!("filters of the type {name} are not supported")));
                }
                Filter::InvalidHeader(name) => {
                    let message = format!("the value of the header {name} has characters that no header may have");
                    return Err(Fault::new(INVALID_FILTER, message));
                }
            }
        }
        let nothing = |r: &Rewrite| r.uri.is_none() && r.uri_regex.is_none() && r.authority.is_none();
        found.rewrite = found.rewrite.filter(|rewrite| !nothing(rewrite));
        Ok(found)
    }
}

const INVALID_FILTER: &str = "InvalidFilter";
/// What requests are answered with for which there is no backend.
const NO_BACKEND: u16 = 500;

/// Puts routes into the order in which they are tried: exact paths, prefixes,
/// expressions; the longer path; a method; more headers; more parameters. Of
/// equals, the one that stands first.
pub(super) fn sort(routes: &mut [HttpRoute]) {
    routes.sort_by_cached_key(|route| {
        route.matches.first().map_or_else(|| (true, Default::default()), |m| (false, rank(m)))
    });
}

type Rank = (Reverse<u8>, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>);

fn rank(m: &HttpMatch) -> Rank {
    let (kind, length) = match &m.uri {
        Some(StringMatch::Exact(path)) => (3, path.len()),
        Some(StringMatch::Prefix(path)) => (2, path.len()),
        Some(StringMatch::Regex(path)) => (1, path.len()),
        Some(StringMatch::Present) | None => (0, 0),
    };
    (Reverse(kind), Reverse(length), m.method.is_none(), Reverse(m.headers.len()), Reverse(m.query_params.len()))
}

/// The same routes for one port alone.
pub(super) fn on_port(mut routes: Vec<HttpRoute>, port: u16) -> Vec<HttpRoute> {
    for route in &mut routes {
        if route.matches.is_empty() {
            route.matches.push(HttpMatch::default());
        }
        route.matches.iter_mut().for_each(|m| m.port = Some(port));
    }
    routes
}

/// Name of the host under which routes of several objects are put together:
/// those for the same gateway, or of the same namespace and port of the mesh.
pub(super) fn merge_key(gateway: &str, namespace: &Name, port: Option<u16>) -> Name {
    match (gateway == super::parents::MESH, port) {
        (false, _) => gateway.into(),
        (true, None) => format!("{gateway}/{namespace}").into(),
        (true, Some(port)) => format!("{gateway}/{namespace}/{port}").into(),
    }
}
