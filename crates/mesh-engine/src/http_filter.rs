//! HTTP filters: one table from message name to parser, one enum of what this
//! proxy has.
//!
//! A filter decides on values: what it wants done with a request, and what it
//! does to response headers. The router is not among them: it is where a chain
//! ends.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::route::v3 as route;
use mesh_proto::google::protobuf::Any;
use rand::RngCore;

use crate::error::{At, ConfigError};
use crate::hcm::LocalReply;
use crate::parse;
use crate::route::{Matched, RequestView};

mod cors;
mod fault;
mod grpc_stats;
#[cfg(test)]
mod tests;

pub use cors::CorsPolicy;
pub use fault::Fault;
pub use grpc_stats::GrpcStats;

/// A filter before the router.
#[derive(Debug, Clone)]
pub struct HttpFilter {
    /// Its name, by which routes override it.
    pub name: Box<str>,
    /// What it does.
    pub kind: FilterKind,
    /// Off unless a route has a configuration for it.
    pub disabled: bool,
}

/// Filters this proxy has.
#[derive(Debug, Clone)]
pub enum FilterKind {
    /// `envoy.filters.http.cors`; its policy comes from the route.
    Cors,
    /// `envoy.filters.http.fault`
    Fault(Fault),
    /// `envoy.filters.http.grpc_stats`
    GrpcStats(GrpcStats),
    /// `envoy.filters.http.dynamic_forward_proxy`: the forwarding itself resolves.
    DynamicForwardProxy,
}

/// Every filter: message name of its configuration, and who reads it.
type Parser = fn(&At<'_>, &Any) -> Result<FilterKind, ConfigError>;
const TABLE: &[(&str, Parser)] = &[
    ("envoy.extensions.filters.http.cors.v3.Cors", |_, _| Ok(FilterKind::Cors)),
    ("envoy.extensions.filters.http.fault.v3.HTTPFault", |at, any| {
        Ok(FilterKind::Fault(Fault::parse(at, &parse::unpack(at, any)?)?))
    }),
    ("envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", |at, any| {
        Ok(FilterKind::GrpcStats(GrpcStats::parse(at, &parse::unpack(at, any)?)?))
    }),
    ("envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig", |at, any| {
        crate::dynamic::filter(at, &parse::unpack(at, any)?).map(|_| FilterKind::DynamicForwardProxy)
    }),
];

/// Reads one filter's configuration; `None` if the type is not in the table.
pub(crate) fn parse_kind(at: &At<'_>, any: &Any) -> Result<Option<FilterKind>, ConfigError> {
    let name = mesh_proto::any::message_name(&any.type_url);
    match TABLE.iter().find(|(known, _)| *known == name) {
        Some((_, parser)) => parser(at, any).map(Some),
        None => Ok(None),
    }
}

/// What routes say about filters (`typed_per_filter_config`).
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides(Vec<(Box<str>, Override)>);

#[derive(Debug, Clone)]
enum Override {
    /// The filter is off here.
    Disabled,
    /// The filter is on here, with its own configuration.
    Enabled,
    Cors(CorsPolicy),
    Fault(Fault),
}

impl Overrides {
    /// Reads the map. A type that no filter here has is refused, unless it is marked optional.
    pub(crate) fn parse(at: &At<'_>, map: &HashMap<String, Any>) -> Result<Self, ConfigError> {
        let at = at.field("typed_per_filter_config");
        let mut names: Vec<&String> = map.keys().collect();
        names.sort();
        let mut overrides = Vec::new();
        for name in names {
            if let Some(parsed) = parse_override(&at.field(name), name, &map[name])? {
                overrides.push((name.as_str().into(), parsed));
            }
        }
        Ok(Self(overrides))
    }

    fn find(&self, filter: &str) -> Option<&Override> {
        self.0.iter().find(|(name, _)| **name == *filter).map(|(_, found)| found)
    }
}

fn parse_override(at: &At<'_>, name: &str, any: &Any) -> Result<Option<Override>, ConfigError> {
    if !mesh_proto::any::is::<route::FilterConfig>(any) {
        return parse_typed(at, name, any, false);
    }
    let wrapper: route::FilterConfig = parse::unpack(at, any)?;
    match (&wrapper.config, wrapper.disabled) {
        (_, true) => Ok(Some(Override::Disabled)),
        (Some(inner), false) => parse_typed(&at.field("config"), name, inner, wrapper.is_optional),
        (None, false) => Ok(Some(Override::Enabled)),
    }
}

fn parse_typed(at: &At<'_>, name: &str, any: &Any, optional: bool) -> Result<Option<Override>, ConfigError> {
    match mesh_proto::any::message_name(&any.type_url) {
        "envoy.extensions.filters.http.cors.v3.CorsPolicy" => {
            Ok(Some(Override::Cors(CorsPolicy::parse(at, &parse::unpack(at, any)?)?)))
        }
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            Ok(Some(Override::Fault(Fault::parse(at, &parse::unpack(at, any)?)?)))
        }
        _ if optional => Ok(None),
        _ => Err(parse::unknown_extension(at, name, &any.type_url)),
    }
}

/// What the filters want done with a request.
#[derive(Debug, Clone, Default)]
pub struct RequestDecision {
    /// Wait this long first (flag DI).
    pub delay: Option<Duration>,
    /// Then answer so instead of forwarding.
    pub reply: Option<LocalReply>,
}

pub(crate) fn on_request(
    filters: &[HttpFilter],
    matched: &Matched,
    parts: &Parts,
    rng: &mut impl RngCore,
) -> RequestDecision {
    let mut decision = RequestDecision::default();
    if filters.iter().all(|f| matches!(f.kind, FilterKind::GrpcStats(_) | FilterKind::DynamicForwardProxy)) {
        return decision;
    }
    let request = RequestView::of(parts);
    for filter in filters {
        let found = filter_override(filter, matched);
        if filter.is_off(found) {
            continue;
        }
        match (&filter.kind, found) {
            (FilterKind::Cors, Some(Override::Cors(policy))) => decision.reply = policy.preflight(&request),
            (FilterKind::Fault(_), Some(Override::Fault(fault))) | (FilterKind::Fault(fault), _) => {
                fault.inject(&request, matched, rng, &mut decision);
            }
            (FilterKind::Cors | FilterKind::GrpcStats(_) | FilterKind::DynamicForwardProxy, _) => {}
        }
        if decision.reply.is_some() {
            break;
        }
    }
    decision
}

pub(crate) fn on_response(filters: &[HttpFilter], matched: &Matched, request: &HeaderMap, response: &mut HeaderMap) {
    for filter in filters.iter().filter(|f| matches!(f.kind, FilterKind::Cors)) {
        let found = filter_override(filter, matched);
        if let (false, Some(Override::Cors(policy))) = (filter.is_off(found), found) {
            policy.on_response(request, response);
        }
    }
}

/// Whether [`on_response`] looks at the request.
pub(crate) fn response_depends_on_request(filters: &[HttpFilter], matched: &Matched) -> bool {
    let cors = |f: &&HttpFilter| matches!(f.kind, FilterKind::Cors);
    filters.iter().filter(cors).any(|f| matches!(filter_override(f, matched), Some(Override::Cors(_))))
}

/// The most specific word about `filter`.
fn filter_override<'a>(filter: &HttpFilter, matched: &'a Matched) -> Option<&'a Override> {
    let find = |overrides: &'a Overrides| overrides.find(&filter.name);
    matched
        .weighted()
        .and_then(|w| find(&w.overrides))
        .or_else(|| find(&matched.route().overrides))
        .or_else(|| find(&matched.virtual_host().overrides))
        .or_else(|| find(&matched.table().overrides))
}

impl HttpFilter {
    fn is_off(&self, found: Option<&Override>) -> bool {
        match found {
            Some(Override::Disabled) => true,
            Some(_) => false,
            None => self.disabled,
        }
    }
}

/// A runtime fraction that can only be all or nothing here.
fn switch(at: &At<'_>, field: &str, value: Option<&core::RuntimeFractionalPercent>) -> Result<bool, ConfigError> {
    let Some(fraction) = value.and_then(|v| v.default_value.as_ref()) else { return Ok(true) };
    match parse::parts_per_million(&at.field(field), fraction)? {
        0 => Ok(false),
        1_000_000 => Ok(true),
        other => Err(at.field(field).unsupported_value(format_args!("{}%", f64::from(other) / 10_000.0), "0% or 100%")),
    }
}
