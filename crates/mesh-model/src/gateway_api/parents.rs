//! What routes are attached to, and whether they may be.
//!
//! Source: `extractParentReferenceInfo` and `referenceAllowed`, istio
//! `pilot/pkg/config/kube/gateway/conversion.go`.

use std::collections::BTreeMap;

use super::classes::ISTIO_CONTROLLER;
use super::conditions::Fault;
use super::{Objects, Outcome};
use crate::rules::gateway::ServerHost;
use crate::rules::gateway_api::route::ParentRef;
use crate::rules::gateway_api::{GROUP, GROUP_EXPERIMENTS, GroupKind, Route};
use crate::{Code, Diagnostic, Hostname, Kind, Labels, Name, ObjectRef, Severity};

/// The gateway that stands for all sidecars.
pub(super) const MESH: &str = "mesh";

/// Something that can be a parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ParentKey {
    pub(super) kind: ParentKind,
    pub(super) namespace: Name,
    pub(super) name: Name,
}

/// Kinds that can be parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ParentKind {
    Gateway,
    ListenerSet,
    Service,
    ServiceEntry,
}

impl ParentKey {
    pub(super) fn of(object: &ObjectRef) -> Self {
        let kind = if object.kind == Kind::KubernetesGateway { ParentKind::Gateway } else { ParentKind::ListenerSet };
        Self { kind, namespace: object.namespace.clone(), name: object.name.clone() }
    }
}

/// A listener, or the mesh, as a parent.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    /// What VirtualServices call it.
    pub(super) internal_name: Name,
    /// Kinds of route that it takes.
    pub(super) kinds: Vec<GroupKind>,
    /// Its host, in each namespace that routes may come from; empty: any.
    pub(super) hosts: Vec<ServerHost>,
    /// Its host as written.
    pub(super) hostname: Option<Hostname>,
    /// Its name.
    pub(super) section: Name,
    /// Its port.
    pub(super) port: u16,
    /// Its protocol.
    pub(super) protocol: Name,
    /// Its object; `None` for the mesh.
    pub(super) object: Option<ObjectRef>,
    /// Who speaks for it.
    pub(super) controller: &'static str,
}

/// All listeners, by their object.
#[derive(Debug, Default)]
pub(super) struct Parents {
    by_key: BTreeMap<ParentKey, Vec<Parent>>,
}

impl Parents {
    pub(super) fn add(&mut self, key: ParentKey, parent: Parent) {
        self.by_key.entry(key).or_default().push(parent);
    }
}

/// One of a route's references, and one listener that it could mean.
pub(super) struct Attachment<'a> {
    pub(super) reference: &'a ParentRef,
    pub(super) key: ParentKey,
    pub(super) parent: Parent,
    /// Why it is not attached there.
    pub(super) denied: Option<Fault>,
    /// Hosts of other listeners of the same port and protocol.
    others: Vec<Option<Hostname>>,
}

impl Attachment<'_> {
    pub(super) fn is_mesh(&self) -> bool {
        self.parent.object.is_none()
    }

    /// Whether requests for `host` come to this listener, and not to another one
    /// whose host is more specific.
    ///
    /// Source: `hostnameAllowedByIsolation`, istio
    /// `pilot/pkg/config/kube/gateway/conversion.go`.
    pub(super) fn is_isolated(&self, host: &Hostname) -> bool {
        let own = self.parent.hostname.as_ref();
        if own.is_some_and(|own| !own.is_wildcard()) {
            return true;
        }
        if own.is_some_and(|own| !overlap(own, host)) {
            return false;
        }
        let length = own.map_or(0, |own| own.as_str().len());
        let others = self.others.iter().flatten();
        !others.into_iter().any(|other| other.as_str().len() >= length && other.covers(host))
    }
}

/// Whether some name is one of both.
pub(super) fn overlap(a: &Hostname, b: &Hostname) -> bool {
    a.covers(b) || b.covers(a)
}

/// All that a route's references could mean, sorted by reference. References to
/// what is not known, or served by somebody else, are left alone.
pub(super) fn attachments<'a>(
    objects: &Objects<'_>,
    parents: &Parents,
    route: &'a Route,
    outcome: &mut Outcome,
) -> Vec<Attachment<'a>> {
    let mut found = Vec::new();
    for reference in &route.parents {
        let Some(key) = key(route, reference) else { continue };
        let listeners = match key.kind {
            ParentKind::Service | ParentKind::ServiceEntry => {
                if objects.has_foreign_waypoint(&key) {
                    continue;
                }
                vec![mesh()]
            }
            ParentKind::Gateway | ParentKind::ListenerSet => parents.by_key.get(&key).cloned().unwrap_or_default(),
        };
        if listeners.is_empty() {
            outcome.diagnostics.extend(nowhere(objects, route, reference, &key));
        }
        for parent in &listeners {
            let same = |other: &&Parent| other.port == parent.port && other.protocol == parent.protocol;
            let others = listeners.iter().filter(same).map(|other| other.hostname.clone());
            found.push(Attachment {
                reference,
                denied: denied(objects, route, reference, &key, parent),
                others: others.filter(|hostname| *hostname != parent.hostname).collect(),
                key: key.clone(),
                parent: parent.clone(),
            });
        }
    }
    found.sort_by_cached_key(|a| sort_key(a.reference, route.meta.namespace()));
    found
}

fn sort_key(reference: &ParentRef, namespace: &Name) -> (GroupKind, Name, Option<Name>, Option<u16>, Name) {
    let place = reference.namespace.clone().unwrap_or_else(|| namespace.clone());
    (reference.target(), reference.name.clone(), reference.section.clone(), reference.port, place)
}

fn key(route: &Route, reference: &ParentRef) -> Option<ParentKey> {
    let target = reference.target();
    let kind = match (&*target.group, &*target.kind) {
        (GROUP, "Gateway") => ParentKind::Gateway,
        (GROUP, "ListenerSet") | (GROUP_EXPERIMENTS, "XListenerSet") => ParentKind::ListenerSet,
        ("", "Service") => ParentKind::Service,
        ("networking.istio.io", "ServiceEntry") => ParentKind::ServiceEntry,
        _ => return None,
    };
    let namespace = reference.namespace.clone().unwrap_or_else(|| route.meta.namespace().clone());
    Some(ParentKey { kind, namespace, name: reference.name.clone() })
}

fn mesh() -> Parent {
    let kind = |kind: &str| GroupKind { group: GROUP.into(), kind: kind.into() };
    Parent {
        internal_name: MESH.into(),
        kinds: ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"].into_iter().map(kind).collect(),
        hosts: Vec::new(),
        hostname: None,
        section: "".into(),
        port: 0,
        protocol: "".into(),
        object: None,
        controller: ISTIO_CONTROLLER,
    }
}

/// A reference to a Gateway that nobody declares has no effect at all, and no
/// status says so.
fn nowhere(objects: &Objects<'_>, route: &Route, reference: &ParentRef, key: &ParentKey) -> Option<Diagnostic> {
    let known = objects.gateways.iter().map(|g| &g.meta).chain(objects.listener_sets.iter().map(|s| &s.meta));
    let mut known = known.filter(|meta| meta.namespace() == &key.namespace && meta.name() == &key.name);
    if known.any(|meta| ParentKey::of(&meta.object) == *key) {
        return None;
    }
    Some(Diagnostic {
        severity: Severity::Warning,
        code: Code::MissingReference,
        object: Some(route.meta.object.clone()),
        location: route.meta.location.clone(),
        field: "spec.parentRefs".to_owned(),
        message: format!("found no {} {}/{}", reference.target().kind, key.namespace, key.name),
        consequence: "the route is not attached to it".to_owned(),
    })
}

fn denied(
    objects: &Objects<'_>,
    route: &Route,
    reference: &ParentRef,
    key: &ParentKey,
    parent: &Parent,
) -> Option<Fault> {
    let fault = match key.kind {
        ParentKind::Service => objects.service(&key.namespace, &key.name).is_none().then(|| missing("Service", key)),
        ParentKind::ServiceEntry => {
            let found = objects.entries.contains_key(&(&*key.namespace, &*key.name));
            (!found).then(|| missing("ServiceEntry", key))
        }
        ParentKind::Gateway | ParentKind::ListenerSet => {
            section_fault(reference, parent).or_else(|| host_fault(route, parent))
        }
    };
    fault.or_else(|| {
        let kind = route.meta.object.kind.as_str();
        let taken = parent.kinds.iter().any(|k| k.is(GROUP, kind));
        (!taken).then(|| Fault::new("NotAllowedByListeners", format!("the parent takes no {kind}")))
    })
}

fn missing(kind: &str, key: &ParentKey) -> Fault {
    Fault::new("NoMatchingParent", format!("found no {kind} {}/{}", key.namespace, key.name))
}

fn section_fault(reference: &ParentRef, parent: &Parent) -> Option<Fault> {
    if let Some(port) = reference.port.filter(|port| *port != parent.port) {
        return Some(Fault::new("NoMatchingParent", format!("port {port} not found")));
    }
    let section = reference.section.as_ref().filter(|section| **section != parent.section)?;
    Some(Fault::new("NoMatchingParent", format!("sectionName {section} not found")))
}

/// One of the route's hosts must be one of the listener's, and the listener must
/// take it from the route's namespace.
fn host_fault(route: &Route, parent: &Parent) -> Option<Fault> {
    let any = [Hostname::new("*")];
    let hostnames = if route.hostnames.is_empty() { &any[..] } else { &route.hostnames };
    let mut matched = parent.hosts.iter().filter(|h| hostnames.iter().any(|name| overlap(&h.host, name))).peekable();
    let listed = parent.hostname.as_ref().map_or("*", Hostname::as_str);
    if matched.peek().is_none() && !parent.hosts.is_empty() {
        let message = format!("none of its hostnames is one of the parent's, {listed}");
        return Some(Fault::new("NoMatchingListenerHostname", message));
    }
    let own = route.meta.namespace();
    let allowed = parent.hosts.is_empty() || matched.any(|h| h.namespace.as_ref().is_none_or(|n| n == own));
    let message = || format!("the parent with hostname {listed} takes no routes from namespace {own}");
    (!allowed).then(|| Fault::new("NotAllowedByListeners", message()))
}

/// Which waypoint a Service, or its namespace, asks for.
const USE_WAYPOINT: &str = "istio.io/use-waypoint";
const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";

impl Objects<'_> {
    /// Whether another controller's waypoint stands before a Service: its routes
    /// are then not the mesh's concern.
    fn has_foreign_waypoint(&self, key: &ParentKey) -> bool {
        let own = match key.kind {
            ParentKind::Service => self.service(&key.namespace, &key.name).map(|s| &s.meta.labels),
            _ => self.entries.get(&(&*key.namespace, &*key.name)).map(|e| &e.meta.labels),
        };
        let Some(own) = own else { return false };
        let of_namespace = self.inputs.namespaces.get(&key.namespace).map(|n| &n.meta.labels);
        let asks = |labels: &&Labels| labels.get(USE_WAYPOINT).is_some();
        let Some(labels) = Some(own).filter(asks).or(of_namespace.filter(asks)) else { return false };
        let name = labels.get(USE_WAYPOINT).unwrap_or_default();
        let namespace = labels.get(USE_WAYPOINT_NAMESPACE).unwrap_or(&key.namespace);
        let class = self.gateway(namespace, name).and_then(|gateway| self.classes.get(&*gateway.class));
        class.is_some_and(|class| !super::classes::is_ours(&class.controller))
    }
}
