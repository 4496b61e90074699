//! Delegates that nobody uses or finds, and rules that are bound to nothing.

use std::collections::HashSet;

use super::codes::{DELEGATE_WITHOUT_ROUTE, UNBOUND_ROUTE, UNUSED_DELEGATE};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{GATEWAY, KUBERNETES_GATEWAY, VIRTUAL_SERVICE};
use super::virtual_service_gateways::full_name;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut used: HashSet<(String, String)> = HashSet::new();
    for rule in mesh.all(VIRTUAL_SERVICE) {
        for delegate in rule.spec().get("http").items().iter().map(|http| http.get("delegate")).filter(|at| at.exists())
        {
            let written = delegate.get("namespace").text();
            let namespace = if written.is_empty() { &*rule.namespace } else { written };
            let name = delegate.get("name").text();
            used.insert((namespace.to_owned(), name.to_owned()));
            let problem = match mesh.find(VIRTUAL_SERVICE, namespace, name) {
                None => "does not exist",
                Some(other) if !other.spec().get("hosts").is_empty() => "has hosts, so it is no delegate",
                Some(_) => continue,
            };
            let message =
                format!("The delegate {namespace}/{name} {problem}: the route that leads to it has no effect");
            findings.push_at(&DELEGATE_WITHOUT_ROUTE, rule, &delegate, message);
        }
    }
    for rule in mesh.all(VIRTUAL_SERVICE) {
        let spec = rule.spec();
        if spec.get("hosts").is_empty() {
            if !used.contains(&(rule.namespace.to_string(), rule.name.to_string())) {
                let message =
                    "No rule delegates to this one, and without hosts it applies to nothing itself".to_owned();
                findings.push(&UNUSED_DELEGATE, rule, message);
            }
            continue;
        }
        let exists = |name: &&str| {
            let (namespace, name) = full_name(&rule.namespace, name);
            mesh.find(GATEWAY, namespace, name).or_else(|| mesh.find(KUBERNETES_GATEWAY, namespace, name)).is_some()
        };
        let gateways = spec.get("gateways").texts();
        // `name.namespace` is an older form that another analysis speaks of.
        let known = |name: &&str| *name == "mesh" || name.contains(['.', '~']) || exists(name);
        if !gateways.is_empty() && !gateways.iter().any(known) {
            let message = format!("The rule applies to nothing: none of its gateways exists ({})", gateways.join(", "));
            findings.push_at(&UNBOUND_ROUTE, rule, &spec.get("gateways"), message);
        }
    }
}
