//! VirtualService: hosts, gateways, and the order of its routes.
//!
//! Source: `ValidateVirtualService`, istio `pkg/config/validation`; the schema of
//! its CRD.

mod action;
mod headers;
mod matches;
mod retries;
mod route;

use std::sync::Arc;

use mesh_model::rules::virtual_service::Semantics;
use mesh_model::rules::{Spec, VirtualService};
use mesh_model::{Hostname, Name};

use super::{Scope, exports};
use crate::reader::{Fields, Value};

pub(super) use retries::read as read_retries;

/// Fields that are accepted and not yet applied.
const NOT_APPLIED: [&str; 2] = ["tls", "tcp"];

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let hosts = spec.optional("hosts").map(|value| (hosts(&value, scope), value));
    let gateways = spec.optional("gateways").and_then(|value| gateways(&value, scope)).unwrap_or_default();
    let export_to = exports::read(spec, scope, &scope.mesh.default_virtual_service_export_to);
    let is_delegate = hosts.as_ref().is_none_or(|(hosts, _)| hosts.is_empty());
    spec.not_applied(&NOT_APPLIED);
    let others = NOT_APPLIED.iter().any(|name| spec.has(name));
    let http = spec.optional("http").and_then(|value| value.items()).unwrap_or_default();
    if http.is_empty() && !others {
        spec.missing("http", "at least one route in http, tls or tcp");
    }
    let routes: Vec<_> = http.iter().filter_map(|item| route::read(item, scope)).collect();
    spec.finish();
    if spec.failed() {
        return None;
    }
    if is_delegate {
        spec.object_not_applied("without hosts it is a delegate, which only another VirtualService uses");
        return Some(Spec::NotApplied);
    }
    let (hosts, value) = hosts?;
    check_hosts(&hosts, &gateways, &value);
    if routes.is_empty() {
        // Without any route of its own it would answer 404 for its hosts.
        spec.object_not_applied("none of its routes can be applied");
        return Some(Spec::NotApplied);
    }
    let gateways = if gateways.is_empty() { vec![MESH.into()] } else { gateways };
    Some(Spec::VirtualService(Arc::new(VirtualService {
        meta: scope.meta.clone(),
        hosts,
        gateways,
        export_to,
        semantics: Semantics::Istio,
        http: routes,
    })))
}

/// The gateway that stands for all sidecars.
const MESH: &str = "mesh";

fn hosts(value: &Value<'_>, scope: &Scope<'_>) -> Vec<Hostname> {
    let items = value.items().unwrap_or_default();
    let (namespace, domain) = (scope.meta.namespace(), &scope.mesh.domain);
    items.iter().filter_map(|item| item.resolved_host(namespace, domain)).collect()
}

fn check_hosts(hosts: &[Hostname], gateways: &[Name], value: &Value<'_>) {
    let bound_to_mesh = gateways.is_empty() || gateways.iter().any(|g| &**g == MESH);
    if bound_to_mesh && hosts.iter().any(|host| host.as_str() == "*") {
        let message = "found *, expected a narrower host: * is not allowed for the gateway mesh";
        value.error::<()>(message.to_owned());
    }
    for (index, host) in hosts.iter().enumerate() {
        if hosts[..index].contains(host) {
            value.error::<()>(format!("host {host} stands twice, expected each host once"));
        }
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
