//! Listeners that cannot stand beside each other on one Gateway.
//!
//! Source: istio `pilot/pkg/config/kube/gatewaycommon/listener_conflict.go`;
//! "Listener distinctness", Gateway API.

use std::collections::BTreeMap;

use crate::rules::gateway_api::{Gateway, Listener, ListenerSet};
use crate::{Name, ObjectRef};

/// Why a listener loses, by its object and name.
pub(super) type Conflicts = BTreeMap<(ObjectRef, Name), &'static str>;

/// The listeners that lose: the Gateway's go before those of its ListenerSets,
/// which must be sorted oldest first. A loser takes no place.
pub(super) fn find(gateway: &Gateway, sets: &[&ListenerSet]) -> Conflicts {
    let own = gateway.listeners.iter().map(|listener| (&gateway.meta.object, listener));
    let others = sets.iter().flat_map(|set| set.listeners.iter().map(|listener| (&set.meta.object, listener)));
    let mut conflicts = Conflicts::new();
    let mut accepted: Vec<&Listener> = Vec::new();
    for (object, listener) in own.chain(others) {
        match accepted.iter().find(|prior| !are_distinct(listener, prior)) {
            Some(prior) => {
                conflicts.insert((object.clone(), listener.name.clone()), reason(listener, prior));
            }
            None => accepted.push(listener),
        }
    }
    conflicts
}

/// The port that a listener really has.
pub(super) fn port(listener: &Listener) -> Option<u16> {
    match (listener.port, &*listener.protocol) {
        (0, "HTTP") => Some(80),
        (0, "HTTPS") => Some(443),
        (0, _) => None,
        (port, _) => Some(port),
    }
}

fn is_transport(listener: &Listener) -> bool {
    matches!(&*listener.protocol, "TCP" | "UDP")
}

fn has_hosts(listener: &Listener) -> bool {
    matches!(&*listener.protocol, "HTTP" | "HTTPS" | "TLS")
}

fn are_distinct(a: &Listener, b: &Listener) -> bool {
    if port(a) != port(b) {
        return true;
    }
    match (has_hosts(a), has_hosts(b)) {
        (true, true) => a.hostname != b.hostname,
        _ if is_transport(a) && (is_transport(b) || has_hosts(b)) => false,
        _ if has_hosts(a) && is_transport(b) => false,
        _ => a.protocol != b.protocol,
    }
}

fn reason(a: &Listener, b: &Listener) -> &'static str {
    match is_transport(a) && is_transport(b) || a.protocol != b.protocol {
        true => "ProtocolConflict",
        false => "HostnameConflict",
    }
}
