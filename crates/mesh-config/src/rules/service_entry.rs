//! ServiceEntry: hosts outside the platform, their ports and endpoints.
//!
//! Source: `ValidateServiceEntry`, istio `pkg/config/validation`; the schema and
//! CEL rules of its CRD.

mod endpoints;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_model::rules::{ServiceEntry, Spec};
use mesh_model::{Hostname, Port, Protocol, Resolution, TargetPort};

use super::{Scope, exports, selector};
use crate::reader::{Fields, Value};

/// `resolution`, with the one kind that is not applied.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let hosts = spec.required("hosts", "at least one host name").and_then(|v| hosts(&v));
    let mode = spec.optional("resolution").map_or(Some(Mode::None), |v| mode(&v));
    let addresses = spec.optional("addresses").map_or(Some(Vec::new()), |v| addresses(&v, mode));
    let ports = spec.optional("ports").map_or(Some(Vec::new()), |v| ports(&v));
    let external = spec
        .optional("location")
        .map_or(Some(true), |v| v.one_of(&[("MESH_EXTERNAL", true), ("MESH_INTERNAL", false)]));
    if spec.has("workloadSelector") && spec.has("endpoints") {
        spec.error::<()>("found workloadSelector and endpoints together, expected only one of them".to_owned());
    }
    let workload_selector = selector::read(spec, "labels");
    let given = spec.optional("endpoints");
    let endpoints = match (&given, mode, &ports) {
        (Some(value), Some(mode), Some(ports)) => endpoints::read(value, mode, ports),
        (Some(_), ..) => None,
        (None, ..) => Some(Vec::new()),
    };
    let export_to = exports::read(spec, scope, &scope.mesh.default_service_export_to);
    spec.not_applied(&["subjectAltNames"]);
    spec.finish();
    let (hosts, mode) = (hosts?, mode?);
    check_resolvable(spec, &hosts, mode, given.is_some() || workload_selector.is_some());
    let resolution = match mode {
        Mode::None => Resolution::Passthrough,
        Mode::Static => Resolution::ClientSideLb,
        Mode::Dns => Resolution::DnsLb,
        Mode::DnsRoundRobin => Resolution::DnsRoundRobin,
        Mode::DynamicDns => {
            spec.object_not_applied("resolution DYNAMIC_DNS");
            return Some(Spec::NotApplied);
        }
    };
    Some(Spec::ServiceEntry(Arc::new(ServiceEntry {
        meta: scope.meta.clone(),
        hosts,
        addresses: addresses?,
        ports: ports?,
        mesh_external: external?,
        resolution,
        endpoints: endpoints?,
        workload_selector,
        export_to,
    })))
}

fn mode(value: &Value<'_>) -> Option<Mode> {
    value.one_of(&[
        ("NONE", Mode::None),
        ("STATIC", Mode::Static),
        ("DNS", Mode::Dns),
        ("DNS_ROUND_ROBIN", Mode::DnsRoundRobin),
        ("DYNAMIC_DNS", Mode::DynamicDns),
    ])
}

/// Entries have at most this many hosts, addresses and ports each.
const ITEMS_MAX: usize = 256;

fn items<'a>(value: &Value<'a>) -> Option<Vec<Value<'a>>> {
    let items = value.items()?;
    if items.len() > ITEMS_MAX { value.invalid(&format!("at most {ITEMS_MAX}")) } else { Some(items) }
}

fn hosts(value: &Value<'_>) -> Option<Vec<Hostname>> {
    let items = items(value)?;
    if items.is_empty() {
        return value.invalid("at least one host name");
    }
    let mut hosts = Vec::new();
    for item in items {
        let Some(text) = item.host() else { continue };
        if &*text == "*" {
            item.invalid::<()>("a narrower host name: it cannot be * alone");
        }
        // Unlike elsewhere, a name without a dot is meant as it stands.
        let host = Hostname::new(&text);
        if hosts.contains(&host) {
            item.error::<()>(format!("host {host} stands twice, expected each host once"));
        }
        hosts.push(host);
    }
    Some(hosts)
}

fn addresses(value: &Value<'_>, mode: Option<Mode>) -> Option<Vec<IpNet>> {
    let mut addresses = Vec::new();
    for item in items(value)? {
        let text = item.address_text().unwrap_or_else(|| "".into());
        let is_range = text.contains('/');
        let address = match is_range {
            true => text.parse::<IpNet>().ok(),
            false => text.parse::<IpAddr>().ok().map(IpNet::from),
        };
        let Some(address) = address else {
            item.invalid::<()>("an IP address or a range such as 10.0.0.0/8");
            continue;
        };
        if is_range && matches!(mode, Some(Mode::Dns | Mode::DnsRoundRobin | Mode::DynamicDns)) {
            item.invalid::<()>("a single address: ranges are allowed only with resolution NONE or STATIC");
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn ports(value: &Value<'_>) -> Option<Vec<Port>> {
    let mut ports: Vec<Port> = Vec::new();
    for item in items(value)? {
        let Some(port) = port(&item) else { continue };
        for other in &ports {
            if other.number == port.number {
                item.error::<()>(format!("port {} stands twice, expected each number once", port.number));
            }
            if other.name == port.name {
                item.error::<()>(format!("port name {} stands twice, expected each name once", port.name));
            }
        }
        ports.push(port);
    }
    Some(ports)
}

fn port(value: &Value<'_>) -> Option<Port> {
    let fields = value.fields()?;
    let number = fields.required("number", "a port number").and_then(|v| v.port());
    let name = fields.required("name", "a port name").and_then(|v| v.filled_text("a port name"));
    let protocol = fields.optional("protocol").map_or(Some(Protocol::Auto), |v| {
        let text = v.text()?;
        let protocol = if text.is_empty() { Some(Protocol::Auto) } else { Protocol::parse(&text) };
        protocol.or_else(|| v.invalid("one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS, UDP"))
    });
    let target = fields.optional("targetPort").map_or(Some(None), |v| v.port().map(Some));
    fields.finish();
    let number = number?;
    Some(Port { name: name?, number, protocol: protocol?, target: TargetPort::Number(target?.unwrap_or(number)) })
}

/// DNS needs names that can be asked for.
fn check_resolvable(spec: &Fields<'_>, hosts: &[Hostname], mode: Mode, has_endpoints: bool) {
    let asks_dns = matches!(mode, Mode::Dns | Mode::DnsRoundRobin);
    if let Some(host) = hosts.iter().find(|host| asks_dns && !has_endpoints && host.is_wildcard()) {
        spec.error::<()>(format!(
            "found host {host} with DNS resolution and without endpoints, expected a full name that DNS can be asked for"
        ));
    }
}
