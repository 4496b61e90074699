//! VirtualService: hosts, gateways, and the order of its routes.
//!
//! Source: `ValidateVirtualService`, istio `pkg/config/validation`; the schema of
//! its CRD.

mod action;
mod claims;
mod connection;
mod cors;
mod fault;
mod headers;
mod matches;
mod mirror;
mod retries;
mod route;
mod share;

use std::collections::BTreeSet;
use std::sync::Arc;

use connection::Layer;
use mesh_model::rules::virtual_service::{HttpAction, HttpRoute, Semantics};
use mesh_model::rules::{Spec, VirtualService};
use mesh_model::{Hostname, Name};

use super::{Scope, exports};
use crate::reader::{Fields, Value, asks_for_nothing};
use crate::yaml;

pub(super) use headers::{check_value as check_header_value, name as header_name};
pub(super) use retries::read as read_retries;

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let hosts_value = spec.optional("hosts");
    let hosts = hosts_value.as_ref().map(|value| hosts(value, scope)).unwrap_or_default();
    let gateways = spec.optional("gateways").and_then(|value| gateways(&value, scope)).unwrap_or_default();
    let export_to = exports::read(spec, scope, &scope.mesh.default_virtual_service_export_to);
    let list = |name| spec.optional(name).and_then(|value| value.items()).unwrap_or_default();
    // A server name may be short where the host is.
    let names: Vec<Hostname> = hosts.iter().cloned().chain(hosts_value.iter().flat_map(as_written)).collect();
    let (http, tls, tcp) = (list("http"), list("tls"), list("tcp"));
    if http.is_empty() && tls.is_empty() && tcp.is_empty() {
        spec.missing("http", "at least one route in http, tls or tcp");
    }
    let http: Vec<_> = http.iter().filter_map(|item| route::read(item, scope)).collect();
    let tls: Vec<_> = tls.iter().filter_map(|item| connection::read(item, Layer::Tls, &names, scope)).collect();
    let tcp: Vec<_> = tcp.iter().filter_map(|item| connection::read(item, Layer::Tcp, &names, scope)).collect();
    for name in ["tls", "tcp"].into_iter().filter(|name| spec.has(name)) {
        spec.not_applied_but(&[name], CONNECTIONS_PASS);
    }
    match &hosts_value {
        Some(value) if !asks_for_nothing(value.node()) => check_hosts(&hosts, &gateways, value),
        _ => check_delegate(spec, &http),
    }
    spec.finish();
    if spec.failed() {
        return None;
    }
    if http.is_empty() && tls.is_empty() && tcp.is_empty() {
        // Without any route of its own it would answer 404 for its hosts.
        spec.object_not_applied("none of its routes can be applied");
        return Some(Spec::NotApplied);
    }
    let gateways = if gateways.is_empty() { vec![MESH.into()] } else { gateways };
    Some(Spec::VirtualService(Arc::new(VirtualService {
        meta: scope.meta.clone(),
        semantics: Semantics::Istio,
        hosts,
        gateways,
        export_to,
        http,
        tls,
        tcp,
    })))
}

/// Without hosts it is a delegate: another rule says for whom its routes are.
///
/// Source: `ValidateVirtualService`, istio `pkg/config/validation/validation.go`.
fn check_delegate(spec: &Fields<'_>, http: &[HttpRoute]) {
    for name in ["gateways", "tls", "tcp"].into_iter().filter(|name| spec.has(name)) {
        spec.error::<()>(format!("found {name} without hosts, expected it absent: a rule without hosts is a delegate"));
    }
    if http.iter().any(|route| matches!(route.action, HttpAction::Delegate { .. })) {
        spec.error::<()>("found delegate without hosts, expected a rule that does not delegate further".to_owned());
    }
}

/// What becomes of connections that a rule's routes are about.
const CONNECTIONS_PASS: &str = "connections go to the service that the client called, as if these routes did not exist";

/// The gateway that stands for all sidecars.
const MESH: &str = "mesh";

fn hosts(value: &Value<'_>, scope: &Scope<'_>) -> Vec<Hostname> {
    let items = value.items().unwrap_or_default();
    if items.len() > HOSTS_MAX {
        value.error::<()>(format!("found {} hosts, expected at most {HOSTS_MAX}", items.len()));
        return Vec::new();
    }
    let (namespace, domain) = (scope.meta.namespace(), &scope.mesh.domain);
    items.iter().filter_map(|item| item.resolved_host(namespace, domain)).collect()
}

fn as_written(value: &Value<'_>) -> Vec<Hostname> {
    let yaml::Value::List(items) = &value.node().value else { return Vec::new() };
    items.iter().take(HOSTS_MAX).filter_map(|item| item.text()).map(|text| Hostname::new(text)).collect()
}

/// Hosts of one rule. Each becomes a virtual host on several ports of every
/// proxy that sees the rule.
const HOSTS_MAX: usize = 2048;

fn check_hosts(hosts: &[Hostname], gateways: &[Name], value: &Value<'_>) {
    let bound_to_mesh = gateways.is_empty() || gateways.iter().any(|g| &**g == MESH);
    if bound_to_mesh && hosts.iter().any(|host| host.as_str() == "*") {
        let message = "found *, expected a narrower host: * is not allowed for the gateway mesh";
        value.error::<()>(message.to_owned());
    }
    let mut seen = BTreeSet::new();
    for host in hosts.iter().filter(|host| !seen.insert(*host)) {
        value.error::<()>(format!("host {host} stands twice, expected each host once"));
    }
}

/// Gateways as `namespace/name`, or `mesh`.
///
/// Source: `resolveGatewayName`, istio `pilot/pkg/model/gateway.go`.
fn gateways(value: &Value<'_>, scope: &Scope<'_>) -> Option<Vec<Name>> {
    let own = scope.meta.namespace();
    let mut gateways = Vec::new();
    for item in value.items()? {
        let text = item.text()?;
        let resolved = match text.split_once('/') {
            _ if &*text == MESH => MESH.to_owned(),
            Some((".", name)) => format!("{own}/{name}"),
            Some(_) => text.to_string(),
            // An older form: `name.namespace.svc.cluster.local`.
            None => match text.split('.').collect::<Vec<_>>().as_slice() {
                [name] => format!("{own}/{name}"),
                [name, namespace, ..] => format!("{namespace}/{name}"),
                [] => String::new(),
            },
        };
        let right = resolved == MESH
            || resolved.split_once('/').is_some_and(|(namespace, name)| {
                exports::is_namespace(namespace) && !name.is_empty() && !name.contains('/')
            });
        if !right {
            item.invalid::<()>("mesh, a gateway's name, or namespace/name");
        }
        gateways.push(resolved.into());
    }
    Some(gateways)
}
