//! Routes: their VirtualServices and their status.
//!
//! Source: `HTTPRouteCollection` and its neighbours, `computeRoute`,
//! `mergeHTTPRoutes`, istio `pilot/pkg/config/kube/gateway/route_collections.go`;
//! `createRouteStatus`, `.../conditions.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conditions::{Fault, unless};
use super::connections::{self, intersection};
use super::http::{self, Converted, merge_key};
use super::parents::{self, Attachment, ParentKind, Parents};
use super::{Objects, Outcome};
use crate::rules::gateway_api::Route;
use crate::rules::gateway_api::route::ParentRef;
use crate::rules::virtual_service::{ConnectionRoute, HttpRoute, Semantics};
use crate::rules::{Spec, VirtualService};
use crate::status::{ObjectStatus, ParentStatus};
use crate::{Hostname, Kind, Meta, Name, ObjectRef, Visibility};

/// Converts all routes. Yields how many are attached to each listener.
pub(super) fn convert(
    objects: &Objects<'_>,
    parents: &Parents,
    outcome: &mut Outcome,
) -> BTreeMap<(ObjectRef, Name), usize> {
    let mut merged = Merged::default();
    let mut attached = BTreeMap::new();
    for route in &objects.routes {
        let attachments = parents::attachments(objects, parents, route, outcome);
        count(&attachments, &mut attached);
        let one = One { objects, route, attachments };
        let faults = match route.meta.object.kind {
            Kind::HttpRoute | Kind::GrpcRoute => one.http(&mut merged),
            kind => one.connections(kind == Kind::TlsRoute, outcome),
        };
        if !one.attachments.is_empty() {
            let parents = one.status(&faults);
            let status = ObjectStatus { parents, ..ObjectStatus::default() };
            outcome.statuses.insert(route.meta.object.clone(), Arc::new(status));
        }
    }
    merged.finish(objects, outcome);
    attached
}

/// A route counts once for each listener.
fn count(attachments: &[Attachment<'_>], attached: &mut BTreeMap<(ObjectRef, Name), usize>) {
    let listener = |a: &Attachment<'_>| Some((a.parent.object.clone()?, a.parent.section.clone()));
    let allowed: BTreeSet<_> = attachments.iter().filter(|a| a.denied.is_none()).filter_map(listener).collect();
    for listener in allowed {
        *attached.entry(listener).or_insert(0) += 1;
    }
}

/// What is wrong with a route's rules, for sidecars and for gateways.
struct Faults {
    mesh: Option<Fault>,
    gateway: Option<Fault>,
}

struct One<'a> {
    objects: &'a Objects<'a>,
    route: &'a Route,
    attachments: Vec<Attachment<'a>>,
}

impl<'a> One<'a> {
    /// Attachments that are allowed, sorted by what VirtualServices call them.
    fn allowed(&self) -> Vec<&Attachment<'a>> {
        let mut allowed: Vec<_> = self.attachments.iter().filter(|a| a.denied.is_none()).collect();
        allowed.sort_by(|a, b| a.parent.internal_name.cmp(&b.parent.internal_name));
        allowed
    }

    fn has(&self, mesh: bool) -> bool {
        self.attachments.iter().any(|a| a.is_mesh() == mesh)
    }

    /// Rules for sidecars and for gateways: only the latter need grants.
    fn both<R>(&self, convert: impl Fn(bool) -> Converted<R>) -> (Converted<R>, Converted<R>) {
        let one = |mesh: bool| if self.has(mesh) { convert(mesh) } else { Converted::default() };
        (one(true), one(false))
    }

    fn http(&self, merged: &mut Merged) -> Faults {
        let (mesh, gateway) = self.both(|of_mesh| http::convert(self.objects, self.route, of_mesh));
        for attachment in self.allowed() {
            let (routes, port) = match (attachment.is_mesh(), attachment.reference.port) {
                (true, Some(port)) => (http::on_port(mesh.routes.clone(), port), Some(port)),
                (true, None) => (mesh.routes.clone(), None),
                (false, _) => (gateway.routes.clone(), None),
            };
            if routes.is_empty() {
                continue;
            }
            let gateway = &attachment.parent.internal_name;
            let key = merge_key(gateway, self.route.meta.namespace(), port);
            for host in self.hosts(attachment).iter().filter(|host| attachment.is_isolated(host)) {
                merged.add((key.clone(), host.clone()), gateway, &self.route.meta, routes.clone());
            }
        }
        Faults { mesh: mesh.fault, gateway: gateway.fault }
    }

    fn connections(&self, tls: bool, outcome: &mut Outcome) -> Faults {
        let names = self.hostnames();
        let names = tls.then_some(&names[..]);
        let (mesh, gateway) = self.both(|of_mesh| connections::convert(self.objects, self.route, of_mesh, names));
        for attachment in self.allowed() {
            let mut routes = if attachment.is_mesh() { &mesh.routes } else { &gateway.routes }.clone();
            let mut hosts = self.hosts(attachment);
            if attachment.is_mesh() {
                if tls && self.route.hostnames.is_empty() {
                    // Without names of its own, the Service's name counts.
                    routes.iter_mut().flat_map(|r| &mut r.matches).for_each(|m| m.sni_hosts.clone_from(&hosts));
                }
                if let Some(port) = attachment.reference.port {
                    routes = connections::on_port(routes, port);
                }
            } else if let (true, Some(listener)) = (tls, &attachment.parent.hostname) {
                let listener = [listener.clone()];
                hosts = intersection(&hosts, &listener);
                for m in routes.iter_mut().flat_map(|route| &mut route.matches) {
                    m.sni_hosts = intersection(&m.sni_hosts, &listener);
                }
                routes.retain(|route| route.matches.iter().any(|m| !m.sni_hosts.is_empty()));
            } else if !tls {
                hosts = vec![Hostname::new("*")];
            }
            for host in hosts {
                let routes = if tls { connections::fitting(&routes, &host) } else { routes.clone() };
                self.emit(&attachment.parent.internal_name, host, tls, routes, outcome);
            }
        }
        Faults { mesh: mesh.fault, gateway: gateway.fault }
    }

    fn emit(&self, gateway: &Name, host: Hostname, tls: bool, routes: Vec<ConnectionRoute>, outcome: &mut Outcome) {
        if routes.is_empty() {
            return;
        }
        let mut service = virtual_service(&self.route.meta, gateway, host);
        if tls {
            service.tls = routes;
        } else {
            service.tcp = routes;
        }
        let meta = self.route.meta.clone();
        outcome.rules.push(self.objects.derived(meta, Spec::VirtualService(Arc::new(service))));
    }

    fn hostnames(&self) -> Vec<Hostname> {
        match &self.route.hostnames[..] {
            [] => vec![Hostname::new("*")],
            hostnames => hostnames.to_vec(),
        }
    }

    /// Hosts that the route is about at this parent.
    fn hosts(&self, attachment: &Attachment<'_>) -> Vec<Hostname> {
        let key = &attachment.key;
        match key.kind {
            ParentKind::Gateway | ParentKind::ListenerSet => self.hostnames(),
            ParentKind::Service => vec![self.objects.service_host(&key.namespace, &key.name)],
            ParentKind::ServiceEntry => {
                let entry = self.objects.entries.get(&(&*key.namespace, &*key.name));
                entry.map(|entry| entry.hosts.clone()).unwrap_or_default()
            }
        }
    }

    /// One status for each reference: what holds for the listener where most is
    /// well.
    fn status(&self, faults: &Faults) -> Vec<ParentStatus> {
        let mut by_reference: BTreeMap<&ParentRef, Vec<&Attachment<'_>>> = BTreeMap::new();
        for attachment in &self.attachments {
            by_reference.entry(attachment.reference).or_default().push(attachment);
        }
        let mut statuses = Vec::new();
        for (reference, attachments) in by_reference {
            let bound = attachments.iter().filter(|a| a.denied.is_none()).count();
            let Some(best) = attachments.iter().min_by_key(|a| severity(a.denied.as_ref())) else { continue };
            let denied = best.denied.clone().map(|fault| {
                let others = attachments.iter().filter_map(|a| a.denied.as_ref());
                let others = others.filter(|o| o.reason == fault.reason && o.message != fault.message);
                others.fold(fault.clone(), |all, other| all.and(Some(other.clone())))
            });
            let message = match bound {
                0 | 1 => "Route was valid".to_owned(),
                several => format!("Route was valid, bound to {several} parents"),
            };
            let fault = if best.is_mesh() { &faults.mesh } else { &faults.gateway };
            statuses.push(ParentStatus {
                parent: reference.clone(),
                controller: best.parent.controller.into(),
                conditions: vec![
                    unless(denied.as_ref(), "Accepted", "Accepted", &message),
                    unless(fault.as_ref(), "ResolvedRefs", "ResolvedRefs", "All references resolved"),
                ],
            });
        }
        statuses
    }
}

/// Less is better: which of several listeners speaks for a reference.
fn severity(denied: Option<&Fault>) -> u8 {
    match denied.map(|fault| fault.reason) {
        None => 0,
        Some("NotAllowedByListeners") => 1,
        Some("NoMatchingListenerHostname") => 2,
        Some(_) => 4,
    }
}

/// A VirtualService without routes.
pub(super) fn virtual_service(meta: &Arc<Meta>, gateway: &Name, host: Hostname) -> VirtualService {
    VirtualService {
        meta: meta.clone(),
        hosts: vec![host],
        gateways: vec![gateway.clone()],
        export_to: Visibility::Public,
        semantics: Semantics::GatewayApi,
        http: Vec::new(),
        tls: Vec::new(),
        tcp: Vec::new(),
    }
}

/// Gateway (or namespace and port of the mesh) and host.
type Key = (Name, Hostname);

/// Routes of several objects for one host: the most specific goes first,
/// whichever object it stands in.
#[derive(Default)]
struct Merged {
    by_key: BTreeMap<Key, VirtualService>,
}

impl Merged {
    /// Adds routes; those of older objects must be added first.
    fn add(&mut self, key: Key, gateway: &Name, meta: &Arc<Meta>, routes: Vec<HttpRoute>) {
        let host = key.1.clone();
        let service = self.by_key.entry(key).or_insert_with(|| virtual_service(meta, gateway, host));
        service.http.extend(routes);
    }

    fn finish(self, objects: &Objects<'_>, outcome: &mut Outcome) {
        for mut service in self.by_key.into_values() {
            http::sort(&mut service.http);
            let meta = service.meta.clone();
            outcome.rules.push(objects.derived(meta, Spec::VirtualService(Arc::new(service))));
        }
    }
}
