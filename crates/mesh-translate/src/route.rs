//! Route configurations: which host and request goes to which cluster.
//!
//! [`assign()`] decides once per scope which VirtualService speaks for which
//! host; [`outbound`] writes the routes of one listener.

mod action;
mod assign;
mod domains;
mod filters;
mod hash;
mod header;
mod inbound;
mod matches;
mod retry;
mod semantics;
pub(crate) mod virtual_service;

use std::collections::BTreeSet;
use std::fmt;

use mesh_model::rules::VirtualService;
use mesh_model::rules::mesh_config::OutboundTrafficPolicy;
use mesh_model::{Diagnostic, Hostname, Port, Resolution};
use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::{DirectResponseAction, Route, RouteConfiguration, VirtualHost};

pub(crate) use assign::{Assigned, assign};
pub(crate) use inbound::{inbound, inbound_passthrough};

use crate::proxy::Generator;
use crate::scope;
use crate::scope::VisibleService;
use crate::xds;
pub(crate) use domains::Domains as Names;
use virtual_service::Context;

/// The name of a route configuration. `Display` writes it as a proxy asks for
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RouteName {
    /// All HTTP services of a port: `8000`.
    Port(u16),
    /// One service whose port leaves open what it speaks: `host:8000`.
    Sniffed { host: Hostname, port: u16 },
    /// One service, for a gRPC client: `outbound|8000||host`.
    Client { host: Hostname, port: u16 },
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteName::Port(port) => write!(f, "{port}"),
            RouteName::Sniffed { host, port } => write!(f, "{host}:{port}"),
            RouteName::Client { host, port } => write!(f, "outbound|{port}||{host}"),
        }
    }
}

/// The routes called `name`.
pub(crate) fn outbound(
    scope: &scope::Outbound,
    assigned: &Assigned<'_>,
    name: &RouteName,
    diagnostics: &mut Vec<Diagnostic>,
) -> RouteConfiguration {
    let virtual_hosts = match name {
        RouteName::Port(port) => of_port(scope, assigned, *port, diagnostics),
        RouteName::Sniffed { host, port } => {
            let mut hosts = Vec::from_iter(of_service(scope, assigned, host, *port, diagnostics));
            if let Some(only) = hosts.first_mut() {
                only.domains = vec!["*".to_owned()];
            }
            hosts
        }
        RouteName::Client { host, port } => {
            let mut hosts = Vec::from_iter(of_service(scope, assigned, host, *port, diagnostics));
            if let Some(only) = hosts.first_mut() {
                only.domains = domains::with_ports(&only.domains, *port);
            }
            hosts
        }
    };
    RouteConfiguration {
        name: name.to_string(),
        virtual_hosts,
        validate_clusters: xds::truth(false),
        // A client names the port that it calls or leaves it out.
        ignore_port_in_host_matching: scope.generator == Generator::Envoy,
        max_direct_response_body_size_bytes: xds::number(action::BODY_BYTES_MAX),
        ..Default::default()
    }
}

/// One virtual host per service on the port and per further host that a
/// VirtualService names, then one for all others.
fn of_port(
    scope: &scope::Outbound,
    assigned: &Assigned<'_>,
    port: u16,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<VirtualHost> {
    let mut hosts = Vec::new();
    let mut domains = Names::new(scope, &assigned.names);
    for extra in assigned.extra.iter().filter(|e| e.ports.contains(&port)) {
        let routes = Context::of_sidecar(scope, extra.rule, port).routes(diagnostics);
        let names = domains.of_host(&extra.host);
        if !routes.is_empty() && !names.is_empty() {
            hosts.push(virtual_host(&extra.host, port, names, routes, Some(extra.rule), None));
        }
    }
    for visible in scope.visible.services.iter().filter(|s| speaks_http(s, port).is_some()) {
        let names = domains.of_service(visible);
        if !names.is_empty() {
            hosts.push(host(scope, assigned, visible, port, names, diagnostics));
        }
    }
    hosts.push(catch_all(scope));
    hosts
}

fn of_service(
    scope: &scope::Outbound,
    assigned: &Assigned<'_>,
    host_name: &Hostname,
    port: u16,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<VirtualHost> {
    let visible = scope.visible.service(host_name)?;
    let names = Names::new(scope, &assigned.names).of_service(visible);
    Some(host(scope, assigned, visible, port, names, diagnostics))
}

/// A service's virtual host: the routes of its VirtualService or, if that has
/// none for this caller and port, one route to the service itself.
fn host(
    scope: &scope::Outbound,
    assigned: &Assigned<'_>,
    visible: &VisibleService,
    port: u16,
    domains: Vec<String>,
    diagnostics: &mut Vec<Diagnostic>,
) -> VirtualHost {
    let service = &visible.service;
    let rule = assigned.by_service.get(&service.hostname).copied();
    let routes = rule.map(|rule| Context::of_sidecar(scope, rule, port).routes(diagnostics)).unwrap_or_default();
    if routes.is_empty() {
        let routes = vec![default_route(scope, visible, port)];
        return virtual_host(&service.hostname, port, domains, routes, None, Some(visible));
    }
    virtual_host(&service.hostname, port, domains, routes, rule, Some(visible))
}

fn virtual_host(
    host: &Hostname,
    port: u16,
    domains: Vec<String>,
    routes: Vec<Route>,
    rule: Option<&VirtualService>,
    service: Option<&VisibleService>,
) -> VirtualHost {
    let origins = rule.map(|r| xds::origin(&r.meta)).into_iter();
    VirtualHost {
        name: format!("{host}:{port}"),
        domains,
        routes,
        include_request_attempt_count: true,
        metadata: xds::metadata(Vec::new(), origins.chain(service.map(|s| xds::origin(&s.service.meta)))),
        ..Default::default()
    }
}

fn default_route(scope: &scope::Outbound, visible: &VisibleService, port: u16) -> Route {
    let cluster = xds::outbound_cluster(port, "", visible.service.hostname.as_str());
    let mut action = action::to_cluster(&cluster);
    action::set_timeout(&mut action, None, scope.generator);
    action.retry_policy = retry::policy(scope.mesh.default_http_retry_policy.as_ref());
    hash::apply(&mut action, scope, false);
    Route {
        name: "default".to_owned(),
        r#match: Some(matches::everything()),
        action: Some(Action::Route(action)),
        metadata: xds::metadata(Vec::new(), [xds::origin(&visible.service.meta)]),
        ..Default::default()
    }
}

/// Requests for hosts that nobody here declares are passed on or refused.
/// Without capture nobody knows where they were going: they are refused.
fn catch_all(scope: &scope::Outbound) -> VirtualHost {
    let pass = scope.captured && scope.policy == OutboundTrafficPolicy::AllowAny;
    let (name, action) = if pass {
        let mut action = action::to_cluster(xds::PASSTHROUGH);
        action::set_timeout(&mut action, None, scope.generator);
        ("allow_any", Action::Route(action))
    } else {
        ("block_all", Action::DirectResponse(DirectResponseAction { status: 502, ..Default::default() }))
    };
    let route = Route {
        name: name.to_owned(),
        r#match: Some(matches::everything()),
        action: Some(action),
        ..Default::default()
    };
    VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// The port of this number, if requests to it are routed as HTTP.
pub(crate) fn speaks_http(visible: &VisibleService, port: u16) -> Option<&Port> {
    if matches!(visible.service.resolution, Resolution::Alias(_)) || !visible.allows(port) {
        return None;
    }
    visible.service.port(port).filter(|p| p.protocol.is_http() || p.protocol == mesh_model::Protocol::Auto)
}

/// Numbers of a service's ports that are routed as HTTP.
pub(crate) fn http_ports(visible: &VisibleService) -> BTreeSet<u16> {
    visible.service.ports.iter().filter(|p| speaks_http(visible, p.number).is_some()).map(|p| p.number).collect()
}
