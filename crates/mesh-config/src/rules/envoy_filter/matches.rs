//! Which things a patch is about. A field that is not known here would make a
//! match take more than was meant: the object cannot be used with one.

use mesh_model::Name;
use mesh_model::rules::envoy_filter::{ActionMatch, ChainMatch, ClusterMatch, HostMatch, ListenerMatch, RouteMatch};

use crate::reader::{Fields, Value};

pub(super) fn listener(value: &Value<'_>) -> Option<ListenerMatch> {
    let fields = value.fields()?;
    let found = ListenerMatch {
        port: number(&fields, "portNumber"),
        name: text(&fields, "name"),
        listener_filter: text(&fields, "listenerFilter"),
        chain: match fields.optional("filterChain") {
            Some(chain) => Some(filter_chain(&chain)?),
            None => None,
        },
    };
    // Istio has never looked at it.
    fields.ignore(&["portName"]);
    closed(&fields);
    Some(found)
}

fn filter_chain(value: &Value<'_>) -> Option<ChainMatch> {
    let fields = value.fields()?;
    let protocols = text(&fields, "applicationProtocols");
    let mut found = ChainMatch {
        name: text(&fields, "name"),
        sni: text(&fields, "sni"),
        transport_protocol: text(&fields, "transportProtocol"),
        application_protocols: protocols.split(',').map(str::trim).filter(|p| !p.is_empty()).map(Name::from).collect(),
        destination_port: number(&fields, "destinationPort"),
        transport_socket: text(&fields, "transportSocket"),
        filter: None,
        sub_filter: None,
    };
    if let Some(filter) = fields.optional("filter") {
        let filter = filter.fields()?;
        found.filter = Some(text(&filter, "name"));
        found.sub_filter = sub_filter(&filter);
        closed(&filter);
    }
    closed(&fields);
    Some(found)
}

fn sub_filter(filter: &Fields<'_>) -> Option<Name> {
    let sub = filter.optional("subFilter")?.fields()?;
    let name = text(&sub, "name");
    closed(&sub);
    Some(name)
}

pub(super) fn routes(value: &Value<'_>) -> Option<RouteMatch> {
    let fields = value.fields()?;
    let found = RouteMatch {
        port: number(&fields, "portNumber"),
        port_name: text(&fields, "portName"),
        gateway: text(&fields, "gateway"),
        name: text(&fields, "name"),
        host: match fields.optional("vhost") {
            Some(host) => Some(virtual_host(&host)?),
            None => None,
        },
    };
    closed(&fields);
    Some(found)
}

fn virtual_host(value: &Value<'_>) -> Option<HostMatch> {
    let fields = value.fields()?;
    let route = fields.optional("route").and_then(|v| v.fields()).map(|route| {
        let action = route.optional("action").and_then(|v| v.one_of(&ACTIONS)).unwrap_or_default();
        let name = text(&route, "name");
        closed(&route);
        (name, action)
    });
    let found = HostMatch { name: text(&fields, "name"), domain: text(&fields, "domainName"), route };
    closed(&fields);
    Some(found)
}

pub(super) fn cluster(value: &Value<'_>) -> Option<ClusterMatch> {
    let fields = value.fields()?;
    let found = ClusterMatch {
        port: number(&fields, "portNumber"),
        service: text(&fields, "service"),
        subset: text(&fields, "subset"),
        name: text(&fields, "name"),
    };
    closed(&fields);
    Some(found)
}

/// Only checked: no proxy here is a waypoint.
pub(super) fn waypoint(value: &Value<'_>) {
    let Some(fields) = value.fields() else { return };
    if let Some(port) = fields.optional("portNumber") {
        port.port();
    }
    if let Some(filter) = fields.optional("filter").and_then(|v| v.fields()) {
        text(&filter, "name");
        sub_filter(&filter);
        closed(&filter);
    }
    if let Some(route) = fields.optional("route").and_then(|v| v.fields()) {
        text(&route, "name");
        closed(&route);
    }
    closed(&fields);
}

fn text(fields: &Fields<'_>, name: &'static str) -> Name {
    fields.optional(name).and_then(|v| v.text()).unwrap_or_default()
}

/// 0 asks for nothing, as in Istio.
fn number(fields: &Fields<'_>, name: &'static str) -> Option<u32> {
    fields.optional(name).and_then(|v| v.unsigned()).filter(|n| *n > 0)
}

fn closed(fields: &Fields<'_>) {
    if let Some(name) = fields.unknown().first() {
        fields.error::<()>(format!("found {name}, which is no condition: without it the patch would hold for more"));
    }
}

const ACTIONS: [(&str, ActionMatch); 4] = [
    ("ANY", ActionMatch::Any),
    ("ROUTE", ActionMatch::Route),
    ("REDIRECT", ActionMatch::Redirect),
    ("DIRECT_RESPONSE", ActionMatch::DirectResponse),
];
