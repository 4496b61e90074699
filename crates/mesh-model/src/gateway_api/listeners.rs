//! One listener: the server that it becomes, what is wrong with it, and which
//! routes it takes.
//!
//! Source: `buildListener`, istio `pilot/pkg/config/kube/gateway/conversion.go`.

use super::conditions::{Fault, fails, holds, unless};
use super::{Objects, conflicts, tls};
use crate::rules::gateway::{Server, ServerHost};
use crate::rules::gateway_api::gateway::Namespaces;
use crate::rules::gateway_api::{GROUP, Gateway, GroupKind, LabelSelector, Listener};
use crate::status::{Condition, ListenerStatus};
use crate::{Hostname, Meta, Name, Namespace, Protocol};

/// A listener, built.
pub(super) struct Built {
    /// What it becomes; `None` if it asks for TLS without saying how, or for
    /// something that cannot be served.
    pub(super) server: Option<Server>,
    /// What is told about it.
    pub(super) status: ListenerStatus,
    /// Whether it is in force.
    pub(super) programmed: bool,
}

/// A listener that loses against another one.
pub(super) fn conflicting(listener: &Listener, reason: &'static str) -> Built {
    let fault = Fault::new(reason, "another listener of the same Gateway has the same port and host");
    let conditions = vec![
        fails("Accepted", &fault),
        holds("Conflicted", reason, fault.message.clone()),
        fails("Programmed", &fault),
    ];
    Built { server: None, status: status(listener, conditions), programmed: false }
}

/// Builds a listener of the object of `meta`, which belongs to `gateway`.
pub(super) fn build(objects: &Objects<'_>, gateway: &Gateway, meta: &Meta, listener: &Listener) -> Built {
    let in_set = meta.object != gateway.meta.object;
    let (mut accepted, mut programmed, mut resolved) = (None, None, None);
    let tls = tls::build(objects, gateway, meta, listener);
    if let Some((_, Some(fault))) = &tls {
        resolved = Some(fault.clone());
        programmed = Some(Fault::new("Invalid", "its TLS settings are not valid"));
        if matches!(fault.reason, tls::INVALID_AUTHORITY | tls::INVALID_AUTHORITY_KIND | tls::NOT_PERMITTED) {
            accepted = Some(Fault::new("NoValidCACertificate", fault.message.clone()));
        }
    }
    let port = conflicts::port(listener);
    if port.is_none() {
        let message = format!("protocol {} needs a port", listener.protocol);
        accepted = Some(Fault::new("UnsupportedProtocol", message));
    }
    let protocol = protocol(listener);
    if let Err(fault) = &protocol {
        accepted = Some(fault.clone());
    }
    let mut usable = accepted.is_none() && resolved.is_none();
    let needs_tls = matches!(&*listener.protocol, "HTTPS" | "TLS");
    let bare = needs_tls && tls.is_none();
    if bare && in_set {
        usable = false;
        let message = format!("protocol {} needs tls", listener.protocol);
        accepted = Some(Fault::new("UnsupportedProtocol", message));
        programmed = Some(Fault::new("Invalid", "its TLS settings are not valid"));
    }
    let conditions = vec![
        unless(accepted.as_ref(), "Accepted", "Accepted", NO_ERRORS),
        Condition { holds: false, ..holds("Conflicted", "NoConflicts", NO_ERRORS.to_owned()) },
        unless(programmed.as_ref(), "Programmed", "Programmed", NO_ERRORS),
        unless(resolved.as_ref(), "ResolvedRefs", "ResolvedRefs", NO_ERRORS),
    ];
    let server = (!bare).then(|| Server {
        name: "".into(),
        port: port.unwrap_or(0),
        // A Gateway is made per listener, so the name need not tell them apart.
        port_name: "default".into(),
        // Without a protocol that is known it is never in force.
        protocol: protocol.unwrap_or(Protocol::Tcp),
        bind: None,
        hosts: hosts(objects, meta.namespace(), listener),
        tls: tls.map(|(tls, _)| tls),
    });
    Built { server, status: status(listener, conditions), programmed: usable }
}

const NO_ERRORS: &str = "No errors found";

fn status(listener: &Listener, mut conditions: Vec<Condition>) -> ListenerStatus {
    let (supported_kinds, valid) = supported_kinds(listener);
    if !valid {
        let fault = Fault::new("InvalidRouteKinds", "allowedRoutes names kinds that the protocol does not take");
        conditions.retain(|c| &*c.kind != "ResolvedRefs");
        conditions.push(fails("ResolvedRefs", &fault));
    }
    ListenerStatus { name: listener.name.clone(), supported_kinds, attached_routes: 0, conditions }
}

fn protocol(listener: &Listener) -> Result<Protocol, Fault> {
    match &*listener.protocol {
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        "TLS" => Ok(Protocol::Tls),
        "TCP" => Ok(Protocol::Tcp),
        other => {
            let upper = other.to_ascii_uppercase();
            let hint = match matches!(&*upper, "HTTP" | "HTTPS" | "TLS" | "TCP") && upper != other {
                true => format!(", did you mean {upper}?"),
                false => ", expected HTTP, HTTPS, TLS or TCP".to_owned(),
            };
            Err(Fault::new("UnsupportedProtocol", format!("found protocol {other}{hint}")))
        }
    }
}

/// Kinds of route that a listener takes, and whether it takes all that it names.
pub(super) fn supported_kinds(listener: &Listener) -> (Vec<GroupKind>, bool) {
    let kinds: &[&str] = match &*listener.protocol {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        "TCP" => &["TCPRoute"],
        "TLS" if listener.tls.as_ref().is_some_and(|tls| tls.passthrough == Some(false)) => &["TLSRoute", "TCPRoute"],
        "TLS" => &["TLSRoute"],
        _ => &[],
    };
    let mut supported: Vec<GroupKind> =
        kinds.iter().map(|kind| GroupKind { group: GROUP.into(), kind: (*kind).into() }).collect();
    if listener.kinds.is_empty() {
        return (supported, true);
    }
    supported.retain(|kind| listener.kinds.contains(kind));
    let all = supported.len() == listener.kinds.len();
    (supported, all)
}

/// The listener's host in each namespace that routes may come from; in none, a
/// namespace that cannot be.
fn hosts(objects: &Objects<'_>, namespace: &Name, listener: &Listener) -> Vec<ServerHost> {
    let host = listener.hostname.clone().unwrap_or_else(|| Hostname::new("*"));
    let of = |namespace: Option<Name>| ServerHost { namespace, host: host.clone() };
    match &listener.namespaces {
        Namespaces::Same => vec![of(Some(namespace.clone()))],
        Namespaces::All => vec![of(None)],
        Namespaces::None => vec![of(Some(NOWHERE.into()))],
        Namespaces::Selector(selector) => {
            let namespaces = objects.inputs.namespaces.values().filter(|n| selects(selector, n));
            let found: Vec<ServerHost> = namespaces.map(|n| of(Some(n.meta.name().clone()))).collect();
            if found.is_empty() { vec![of(Some(NOWHERE.into()))] } else { found }
        }
    }
}

/// No namespace is called so.
const NOWHERE: &str = "~";

/// Whether a selector takes a namespace; each carries its own name as a label.
pub(super) fn selects(selector: &LabelSelector, namespace: &Namespace) -> bool {
    selector.matches(|key| match key {
        "kubernetes.io/metadata.name" => Some(&**namespace.meta.name()),
        key => namespace.meta.labels.get(key),
    })
}
