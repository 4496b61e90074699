//! Webhooks that lead to a control plane in another cluster.

use std::net::IpAddr;

use super::Shared;
use super::codes::{EXTERNAL_ADDRESS, EXTERNAL_CONTROL_PLANE};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{MUTATING_WEBHOOK, VALIDATING_WEBHOOK};

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for object in mesh.all(VALIDATING_WEBHOOK) {
        if &*object.name == "istiod-default-validator" || object.name.starts_with("istio-validator") {
            check(object, findings);
        }
    }
    for object in mesh.all(MUTATING_WEBHOOK) {
        if object.name.starts_with("istio-sidecar-injector") {
            check(object, findings);
        }
    }
}

fn check(object: &Shared, findings: &mut Findings) {
    for webhook in object.at(&["webhooks"]).items() {
        let name = webhook.get("name").text();
        let client = webhook.get("clientConfig");
        let url = client.get("url");
        if !url.exists() {
            if !client.get("service").exists() {
                let message = format!("Webhook {name} has neither a URL nor a service, so it reaches no control plane");
                findings.push_at(&EXTERNAL_CONTROL_PLANE, object, &webhook, message);
            }
            continue;
        }
        match host(url.text()) {
            None => {
                let message = format!("Webhook {name} leads to {:?}, which is no URL", url.text());
                findings.push_at(&EXTERNAL_CONTROL_PLANE, object, &url, message);
            }
            Some(host) if host.parse::<IpAddr>().is_ok() => {
                let message =
                    format!("Webhook {name} leads to the IP address {host}; a host name would survive a move");
                findings.push_at(&EXTERNAL_ADDRESS, object, &url, message);
            }
            Some(_) => {}
        }
    }
}

/// The host of a URL, which may be empty; `None` if it is no URL.
///
/// Source: Go's `net/url`, which Istio reads it with.
fn host(url: &str) -> Option<&str> {
    if url.bytes().any(|b| b < 0x20 || b == 0x7f) || url.starts_with(':') {
        return None;
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Some("") };
    let scheme_is_right = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':').unwrap_or_default()))?,
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let host_is_right = !host.contains([' ', '<', '>', '"', '`', '{', '}', '|', '\\', '^']);
    (scheme_is_right && host_is_right && port.bytes().all(|b| b.is_ascii_digit())).then_some(host)
}
