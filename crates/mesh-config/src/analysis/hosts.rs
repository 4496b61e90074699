//! Which services exist, and which of them a rule can name.
//!
//! Source: istio `pkg/config/analysis/analyzers/util`.

use std::collections::HashMap;

use mesh_model::Labels;

use super::mesh::Mesh;
use super::object::{SERVICE, SERVICE_ENTRY};
use super::{Object, selector};

/// The domain of the platform's services, which Istio's analysis takes for granted.
const DOMAIN: &str = "svc.cluster.local";

/// A short name is meant in `namespace`.
pub(super) fn full(namespace: &str, host: &str) -> String {
    if host.starts_with('*') || host.contains('.') { host.to_owned() } else { format!("{host}.{namespace}.{DOMAIN}") }
}

/// Namespace and name that a host stands for in rules of `namespace`.
pub(super) fn resource<'a>(namespace: &'a str, host: &'a str) -> (&'a str, &'a str) {
    match host.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.')).and_then(|rest| rest.rsplit_once('.')) {
        Some((name, of)) if !name.is_empty() && !of.is_empty() => (of, name),
        _ => (namespace, host),
    }
}

/// Whether two hosts have a name in common; each may begin with `*`.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(a), None) => b.ends_with(a),
        (None, Some(b)) => a.ends_with(b),
        (None, None) => a == b,
    }
}

/// The namespaces that something is exported to: `*`, or names.
pub(super) fn scopes(export_to: &[&str], namespace: &str) -> Vec<String> {
    if export_to.is_empty() || export_to.contains(&"*") {
        return vec!["*".to_owned()];
    }
    let mut scopes: Vec<String> =
        export_to.iter().map(|scope| if *scope == "." { namespace } else { scope }.to_owned()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// What an analysis asks of a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Port numbers.
    pub(super) ports: Vec<i64>,
    /// `workloadSelector` of a ServiceEntry.
    pub(super) selector: Labels,
}

/// All services by who may see them and what they are called.
#[derive(Debug, Default)]
pub(super) struct Services {
    exact: HashMap<(String, String), Known>,
    wildcards: Vec<(String, String, Known)>,
}

impl Services {
    pub(super) fn of(mesh: &Mesh) -> Self {
        let mut services = Self::default();
        for entry in mesh.all(SERVICE_ENTRY) {
            services.add_entry(entry);
        }
        for service in mesh.all(SERVICE) {
            services.add_service(service);
        }
        services
    }

    fn add_entry(&mut self, entry: &Object) {
        let spec = entry.spec();
        let known = Known {
            ports: spec.get("ports").items().iter().filter_map(|port| port.get("number").int()).collect(),
            selector: selector::labels(&spec.path(&["workloadSelector", "labels"])),
        };
        let scopes = scopes(&spec.get("exportTo").texts(), &entry.namespace);
        for host in spec.get("hosts").texts() {
            for scope in &scopes {
                let host = full(&entry.namespace, host);
                if host.starts_with('*') {
                    self.wildcards.push((scope.clone(), host.clone(), known.clone()));
                }
                self.exact.insert((scope.clone(), host), known.clone());
            }
        }
    }

    fn add_service(&mut self, service: &Object) {
        let ports = service.spec().get("ports").items();
        let known = Known {
            ports: ports.iter().filter_map(|port| port.get("port").int()).collect(),
            selector: Labels::default(),
        };
        let export = service.annotations.get("networking.istio.io/exportTo").unwrap_or_default();
        let export: Vec<&str> = export.split(',').map(str::trim).filter(|scope| !scope.is_empty()).collect();
        for scope in scopes(&export, &service.namespace) {
            self.exact.insert((scope, full(&service.namespace, &service.name)), known.clone());
        }
    }

    /// The service that `host` stands for in a rule of `namespace` with
    /// `export_to`.
    pub(super) fn find(&self, namespace: &str, export_to: &[&str], host: &str) -> Option<&Known> {
        let name = full(namespace, host);
        let exact = |scope: &str| self.exact.get(&(scope.to_owned(), name.clone()));
        let in_scope = || match export_to {
            [] => exact(namespace),
            scopes => scopes.iter().find_map(|scope| exact(if *scope == "." { namespace } else { scope })),
        };
        let wildcard = || {
            let plain = host.strip_prefix('*').unwrap_or(host);
            let seen = |scope: &str| scope == "*" || scope == namespace;
            let covers = |of: &str| plain.ends_with(of.trim_start_matches('*'));
            self.wildcards.iter().find(|(scope, of, _)| seen(scope) && covers(of)).map(|(_, _, known)| known)
        };
        exact("*").or_else(in_scope).or_else(wildcard)
    }
}
