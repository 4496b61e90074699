//! Gateways of one workload that serve one host on one port.
//!
//! Source: istio `analyzers/gateway/conflictinggateway.go`.

use std::collections::{BTreeMap, HashMap};

use mesh_model::Labels;

use super::codes::{GATEWAY_CONFLICT, NOT_FOUND};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{GATEWAY, POD};
use super::{Shared, selector};

/// A Gateway's hosts on one port, each with its address.
struct Served<'a> {
    name: String,
    selector: Labels,
    hosts: HashMap<&'a str, &'a str>,
}

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut by_port: HashMap<i64, Vec<Served<'_>>> = HashMap::new();
    for gateway in mesh.all(GATEWAY) {
        let selector = selector::labels(&gateway.spec().get("selector"));
        let mut ports: BTreeMap<i64, HashMap<&str, &str>> = BTreeMap::new();
        for server in gateway.spec().get("servers").items() {
            let bind = server.get("bind").text();
            // Of two servers on one port, the later one's hosts count.
            let hosts = server.get("hosts").texts().into_iter().map(|host| (host, bind)).collect();
            ports.insert(server.path(&["port", "number"]).int().unwrap_or(0), hosts);
        }
        for (port, hosts) in ports {
            let served = Served { name: gateway.full_name(), selector: selector.clone(), hosts };
            by_port.entry(port).or_default().push(served);
        }
    }
    for gateway in mesh.all(GATEWAY) {
        check(gateway, mesh, &by_port, findings);
    }
}

fn check(gateway: &Shared, mesh: &Mesh, by_port: &HashMap<i64, Vec<Served<'_>>>, findings: &mut Findings) {
    let at = gateway.spec().get("selector");
    let own = selector::labels(&at);
    let servers = gateway.spec().get("servers").items();
    // A Gateway without servers meets nobody, itself included.
    if servers.is_empty()
        && !own.is_empty()
        && !by_port.values().flatten().any(|other| meet(&own, &other.selector, mesh))
    {
        let message = format!("Referenced selector not found: {:?}", selector::text(&own));
        return findings.push_at(&NOT_FOUND, gateway, &selector::first(&at), message);
    }
    let name = gateway.full_name();
    for server in &servers {
        let (hosts, bind) = (server.get("hosts").texts(), server.get("bind").text());
        let port = server.path(&["port", "number"]).int().unwrap_or(0);
        let clashes = |other: &&Served<'_>| {
            other.name != name
                && hosts.iter().any(|host| other.hosts.get(host) == Some(&bind))
                && meet(&own, &other.selector, mesh)
        };
        let mut others: Vec<&str> =
            by_port.get(&port).into_iter().flatten().filter(clashes).map(|other| &*other.name).collect();
        if !others.is_empty() {
            others.sort_unstable();
            let message = format!(
                "Conflict with gateways {} (selector {}, port {port}, hosts {})",
                others.join(", "),
                selector::text(&own),
                hosts.join(", ")
            );
            findings.push_at(&GATEWAY_CONFLICT, gateway, server, message);
        }
    }
}

/// Whether two selectors are one, or one is a part of the other and a Pod has
/// both.
fn meet(a: &Labels, b: &Labels, mesh: &Mesh) -> bool {
    if a == b {
        return true;
    }
    let (a_text, b_text) = (selector::text(a), selector::text(b));
    (a_text.contains(&b_text) || b_text.contains(&a_text))
        && mesh.all(POD).iter().any(|pod| a.selects(&pod.labels) && b.selects(&pod.labels))
}
