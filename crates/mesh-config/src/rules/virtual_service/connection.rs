//! Routes for connections: `tls` and `tcp`.

use ipnet::IpNet;
use mesh_model::rules::virtual_service::{ConnectionMatch, ConnectionRoute};
use mesh_model::{Code, Hostname};

use super::{Scope, action, gateways, matches::SET_ASIDE};
use crate::reader::{Fields, NOT_APPLIED, Value};

/// What a list of routes is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Every match names TLS servers, which are among the rule's hosts.
    Tls,
    /// What was said inside the connection is not looked at.
    Tcp,
}

/// Reads one route of `tls` or `tcp`, in a rule for `hosts`. `None` if it is
/// wrong or set aside, which has been reported then.
///
/// Source: `validateTLSRoute` and `validateTCPRoute`, istio
/// `pkg/config/validation/validation.go`.
pub(super) fn read(value: &Value<'_>, layer: Layer, hosts: &[Hostname], scope: &Scope<'_>) -> Option<ConnectionRoute> {
    let fields = value.fields()?;
    let list = fields.optional("match");
    let items = list.as_ref().and_then(|v| v.items()).unwrap_or_default();
    if items.is_empty() && layer == Layer::Tls {
        fields.missing("match", "at least one match with sniHosts");
    }
    let matches: Vec<ConnectionMatch> = items.iter().filter_map(|item| one(item, layer, hosts, scope)).collect();
    let destinations =
        fields.required("route", "at least one destination").and_then(|v| action::destinations(&v, scope));
    fields.ignore(&["name"]);
    fields.finish();
    if matches.is_empty() && !items.is_empty() {
        if !fields.failed() {
            let message = "none of its match conditions can be applied".to_owned();
            value.warn(Code::NotApplied, message, "the route is set aside, the others apply");
        }
        return None;
    }
    Some(ConnectionRoute { matches, destinations: destinations? })
}

fn one(value: &Value<'_>, layer: Layer, hosts: &[Hostname], scope: &Scope<'_>) -> Option<ConnectionMatch> {
    let fields = value.fields()?;
    let sni_hosts = match layer {
        Layer::Tls => sni_hosts(&fields, hosts),
        Layer::Tcp => Vec::new(),
    };
    let mut whole = true;
    if layer == Layer::Tcp
        && let Some(subnet) = fields.optional("sourceSubnet")
    {
        subnet.warn(Code::NotApplied, format!("{NOT_APPLIED}: sourceSubnet"), SET_ASIDE);
        whole = false;
    }
    let matched = ConnectionMatch {
        sni_hosts,
        destination_subnets: fields.optional("destinationSubnets").map(|v| subnets(&v)).unwrap_or_default(),
        port: fields.optional("port").and_then(|v| v.port()),
        source_labels: fields.optional("sourceLabels").and_then(|v| v.labels()).unwrap_or_default(),
        source_namespace: fields.optional("sourceNamespace").and_then(|v| v.text()).filter(|n| !n.is_empty()),
        gateways: fields.optional("gateways").and_then(|v| gateways(&v, scope)).unwrap_or_default(),
    };
    whole &= fields.unknown().is_empty();
    fields.finish_with(SET_ASIDE);
    whole.then_some(matched)
}

fn sni_hosts(fields: &Fields<'_>, hosts: &[Hostname]) -> Vec<Hostname> {
    let Some(value) = fields.required("sniHosts", "at least one server name") else { return Vec::new() };
    let items = value.items().unwrap_or_default();
    if items.is_empty() {
        value.invalid::<()>("at least one server name");
    }
    let mut names: Vec<Hostname> = Vec::new();
    for item in &items {
        let Some(name) = item.host().map(|name| Hostname::new(&name)) else { continue };
        if !hosts.iter().any(|host| host.covers(&name)) {
            item.error::<()>(format!("found {name}, expected a name that one of spec.hosts covers"));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Networks, or single addresses.
fn subnets(value: &Value<'_>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for item in value.items().unwrap_or_default() {
        let text = item.address_text();
        let net = text.and_then(|text| {
            let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or_else(address)
        });
        match net {
            Some(net) => nets.push(net.trunc()),
            None => {
                item.invalid::<()>("a network such as 10.1.0.0/16, or an IP address");
            }
        }
    }
    nets
}
