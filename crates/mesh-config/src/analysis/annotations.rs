//! Istio's annotations on Kubernetes' objects: known, well placed and valid.

use super::Shared;
use super::annotation::{self, AUTOMATIC};
use super::codes::{DEPRECATED_ANNOTATION, INVALID_ANNOTATION, MISPLACED_ANNOTATION, UNKNOWN_ANNOTATION};
use super::finding::Findings;
use super::injected::INJECT;
use super::mesh::Mesh;
use super::object::{DEPLOYMENT, NAMESPACE, POD, SERVICE};
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for kind in [NAMESPACE, SERVICE, POD, DEPLOYMENT] {
        mesh.all(kind).iter().for_each(|object| check(object, findings));
    }
}

fn check(object: &Shared, findings: &mut Findings) {
    for (name, at) in object.at(&["metadata", "annotations"]).entries() {
        if !annotation::is_istios(name) || AUTOMATIC.contains(&name) {
            continue;
        }
        let Some(known) = annotation::find(name) else {
            findings.push_at(&UNKNOWN_ANNOTATION, object, &at, format!("Unknown annotation: {name}"));
            continue;
        };
        if known.is_deprecated() && !(name == INJECT && object.labels.get(INJECT).is_some()) {
            let instead = if name == INJECT { format!("; write the label {INJECT} instead") } else { String::new() };
            findings.push_at(&DEPRECATED_ANNOTATION, object, &at, format!("Annotation {name} is deprecated{instead}"));
        }
        if known.kinds.is_empty() {
            continue;
        }
        if !known.kinds.contains(&&*object.kind) {
            let message = format!("Misplaced annotation: {name} means something on {} only", known.kinds.join(", "));
            findings.push_at(&MISPLACED_ANNOTATION, object, &at, message);
        } else if let Some(expected) = problem(name, &at) {
            let message = format!("Invalid annotation {name}: found {:?}, expected {expected}", at.text());
            findings.push_at(&INVALID_ANNOTATION, object, &at, message);
        }
    }
}

/// What is expected instead of an annotation's value; `None` if it is right.
fn problem(name: &str, at: &At<'_>) -> Option<&'static str> {
    let text = at.text();
    let (right, expected) = match name {
        "sidecar.istio.io/interceptionMode" => {
            (matches!(text, "REDIRECT" | "TPROXY" | "NONE"), "REDIRECT, TPROXY or NONE")
        }
        "status.sidecar.istio.io/port" => (is_port(text), "a port"),
        "readiness.status.sidecar.istio.io/initialDelaySeconds"
        | "readiness.status.sidecar.istio.io/periodSeconds"
        | "readiness.status.sidecar.istio.io/failureThreshold" => (text.parse::<u32>().is_ok(), "a whole number"),
        "traffic.sidecar.istio.io/includeOutboundIPRanges" => {
            (text == "*" || are_ranges(text), "* or ranges such as 10.0.0.0/8,10.1.0.0/16")
        }
        "traffic.sidecar.istio.io/excludeOutboundIPRanges" => {
            (are_ranges(text), "ranges such as 10.0.0.0/8,10.1.0.0/16")
        }
        "traffic.sidecar.istio.io/includeInboundPorts" => (text == "*" || are_ports(text), "* or ports such as 80,443"),
        "traffic.sidecar.istio.io/excludeInboundPorts" | "traffic.sidecar.istio.io/excludeOutboundPorts" => {
            (are_ports(text), "ports such as 80,443")
        }
        "traffic.sidecar.istio.io/excludeInterfaces"
        | "traffic.sidecar.istio.io/kubevirtInterfaces"
        | "istio.io/reroute-virtual-interfaces" => (are_interfaces(text), "names of interfaces such as eth0,tun0"),
        "prometheus.istio.io/merge-metrics" => (is_bool(text), "true or false"),
        "proxy.istio.io/config" => (is_map(text), "YAML with fields of ProxyConfig"),
        "sidecar.istio.io/proxyCPU"
        | "sidecar.istio.io/proxyCPULimit"
        | "sidecar.istio.io/proxyMemory"
        | "sidecar.istio.io/proxyMemoryLimit" => (is_quantity(text), "a quantity such as 100m or 128Mi"),
        _ => (true, ""),
    };
    (!right).then_some(expected)
}

fn is_port(text: &str) -> bool {
    let text = text.trim();
    !text.starts_with('+') && text.parse::<u16>().is_ok()
}

fn are_ports(text: &str) -> bool {
    text.trim().is_empty() || text.split(',').all(is_port)
}

fn are_ranges(text: &str) -> bool {
    text.is_empty() || text.split(',').all(|range| range.parse::<ipnet::IpNet>().is_ok())
}

/// Interfaces of Linux: at most 15 bytes, without blanks and slashes.
fn are_interfaces(text: &str) -> bool {
    let right = |name: &str| {
        let name = name.trim();
        (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@*+".contains(&b))
    };
    text.is_empty() || text.split(',').all(right)
}

fn is_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False")
}

fn is_map(text: &str) -> bool {
    let mut documents = crate::yaml::parse(text.as_bytes()).into_iter();
    documents
        .next()
        .is_none_or(|document| document.root.is_ok_and(|root| matches!(root.value, crate::yaml::Value::Map(_))))
}

/// A quantity of Kubernetes: a number with a suffix.
fn is_quantity(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let is_exponent = |rest: &str| rest.parse::<i32>().is_ok();
    number.parse::<f64>().is_ok()
        && (matches!(
            suffix,
            "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
        ) || suffix.strip_prefix(['e', 'E']).is_some_and(is_exponent))
}
