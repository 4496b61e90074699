//! Gateways and ListenerSets: one Gateway of Istio's for each listener, the
//! parents that routes may be attached to, and statuses.
//!
//! Source: `GatewayCollection` and `ListenerSetCollection`, istio
//! `pilot/pkg/config/kube/gateway/gateway_collection.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::addresses::{Resolved, Wanted};
use super::classes::Class;
use super::conditions::{Fault, fails, holds, unless};
use super::conflicts::{self, Conflicts};
use super::listeners::{self, Built};
use super::parents::{Parent, ParentKey, Parents};
use super::{Objects, Outcome};
use crate::rules::gateway::Server;
use crate::rules::gateway_api::gateway::Namespaces;
use crate::rules::gateway_api::{GROUP, Gateway, Listener, ListenerSet, Reference};
use crate::rules::{Spec, gateway as istio};
use crate::status::{Condition, ObjectStatus};
use crate::{Kind, Meta, Name, ObjectRef};

/// Converts all Gateways and ListenerSets of classes that are served here.
pub(super) fn convert(objects: &Objects<'_>, outcome: &mut Outcome) -> Parents {
    let mut parents = Parents::default();
    for gateway in &objects.gateways {
        match objects.class(&gateway.class) {
            Some(Class::Served { controller }) => {
                One { objects, gateway, controller }.convert(&mut parents, outcome);
            }
            Some(Class::Remote) => {
                outcome.statuses.insert(gateway.meta.object.clone(), Arc::new(remote(gateway)));
            }
            Some(Class::Ambient) => ambient(objects, gateway, outcome),
            None => {}
        }
    }
    parents
}

/// Enters how many routes are attached to each listener.
pub(super) fn count_routes(attached: &BTreeMap<(ObjectRef, Name), usize>, outcome: &mut Outcome) {
    for (object, status) in &mut outcome.statuses {
        for listener in &mut Arc::make_mut(status).listeners {
            let key = (object.clone(), listener.name.clone());
            listener.attached_routes = attached.get(&key).copied().unwrap_or(0);
        }
    }
}

/// A Gateway that stands elsewhere is as it says.
fn remote(gateway: &Gateway) -> ObjectStatus {
    let message = "this Gateway is remote, it is not served here".to_owned();
    ObjectStatus {
        conditions: vec![
            holds("Accepted", "Accepted", ACCEPTED.to_owned()),
            holds("Programmed", "Programmed", message),
        ],
        addresses: gateway.addresses.clone(),
        ..ObjectStatus::default()
    }
}

const ACCEPTED: &str = "Resource accepted";

/// Gateways of the ambient mode are not served, and their ListenerSets neither.
fn ambient(objects: &Objects<'_>, gateway: &Gateway, outcome: &mut Outcome) {
    let fault = Fault::new("Pending", format!("accepted, not yet applied: Gateways of the class {}", gateway.class));
    let status = ObjectStatus { conditions: vec![fails("Programmed", &fault)], ..ObjectStatus::default() };
    outcome.statuses.insert(gateway.meta.object.clone(), Arc::new(status));
    for set in objects.listener_sets.iter().filter(|set| belongs(set, gateway)) {
        let message = format!("Gateways of the class {} take no ListenerSets", gateway.class);
        outcome.statuses.insert(set.meta.object.clone(), Arc::new(refused(message)));
    }
}

fn refused(message: String) -> ObjectStatus {
    let fault = Fault::new("NotAllowed", message);
    ObjectStatus { conditions: vec![fails("Accepted", &fault), fails("Programmed", &fault)], ..ObjectStatus::default() }
}

fn belongs(set: &ListenerSet, gateway: &Gateway) -> bool {
    let parent: &Reference = &set.parent;
    parent.target.is(GROUP, "Gateway")
        && parent.name == *gateway.meta.name()
        && parent.namespace.as_ref().unwrap_or(set.meta.namespace()) == gateway.meta.namespace()
}

/// One Gateway of a class that is served here.
struct One<'a> {
    objects: &'a Objects<'a>,
    gateway: &'a Gateway,
    controller: &'static str,
}

impl One<'_> {
    fn convert(&self, parents: &mut Parents, outcome: &mut Outcome) {
        let wanted = self.objects.wanted(self.gateway);
        let all = self.objects.listener_sets.iter().copied().filter(|set| belongs(set, self.gateway));
        let (sets, not_allowed): (Vec<&ListenerSet>, Vec<&ListenerSet>) = all.partition(|set| self.allows(set));
        for set in not_allowed {
            let message = "the Gateway's allowedListeners do not allow it".to_owned();
            outcome.statuses.insert(set.meta.object.clone(), Arc::new(refused(message)));
        }
        let conflicts = conflicts::find(self.gateway, &sets);
        if wanted.hosts.is_empty() {
            self.hard_failure(&wanted, &sets, outcome);
            return;
        }
        let own = self.listeners(&self.gateway.meta, &self.gateway.listeners, &conflicts);
        self.derive(&self.gateway.meta, &wanted, &self.gateway.listeners, &own, parents, outcome);
        let mut servers: Vec<&Server> = own.iter().filter_map(|b| b.server.as_ref()).collect();
        let of_sets: Vec<(&ListenerSet, Vec<Built>)> =
            sets.iter().map(|set| (*set, self.listeners(&set.meta, &set.listeners, &conflicts))).collect();
        let mut attached = 0;
        for (set, built) in &of_sets {
            self.derive(&set.meta, &wanted, &set.listeners, built, parents, outcome);
            let valid = built.iter().filter(|b| b.programmed);
            servers.extend(valid.clone().filter_map(|b| b.server.as_ref()));
            attached += usize::from(valid.count() > 0);
            self.report_set(set, &wanted, built, outcome);
        }
        let resolved = self.objects.resolve(self.gateway, &wanted, &servers, outcome);
        let status = self.status(&wanted, &own, &resolved, attached);
        outcome.statuses.insert(self.gateway.meta.object.clone(), Arc::new(status));
    }

    /// Whether the Gateway takes listeners from the set's namespace.
    fn allows(&self, set: &ListenerSet) -> bool {
        match &self.gateway.allowed_listeners {
            Namespaces::All => true,
            Namespaces::None => false,
            Namespaces::Same => set.meta.namespace() == self.gateway.meta.namespace(),
            Namespaces::Selector(selector) => {
                let namespace = self.objects.inputs.namespaces.get(set.meta.namespace());
                namespace.is_some_and(|n| listeners::selects(selector, n))
            }
        }
    }

    fn listeners(&self, meta: &Meta, listeners: &[Listener], conflicts: &Conflicts) -> Vec<Built> {
        let build = |listener: &Listener| match conflicts.get(&(meta.object.clone(), listener.name.clone())) {
            Some(reason) => listeners::conflicting(listener, reason),
            None => listeners::build(self.objects, self.gateway, meta, listener),
        };
        listeners.iter().map(build).collect()
    }

    /// Makes Istio's Gateway for each listener that can be served, and the parent
    /// that routes refer to. A Gateway's own listeners may be referred to even if
    /// they are not in force, so that routes say why they have no effect.
    fn derive(
        &self,
        meta: &Arc<Meta>,
        wanted: &Wanted,
        listeners: &[Listener],
        built: &[Built],
        parents: &mut Parents,
        outcome: &mut Outcome,
    ) {
        let of_set = meta.object.kind != Kind::KubernetesGateway;
        for (listener, built) in listeners.iter().zip(built) {
            let Some(server) = built.server.as_ref().filter(|_| built.programmed || !of_set) else { continue };
            let mut derived = Meta::clone(meta);
            derived.derived_from = Some(meta.object.clone());
            derived.object.name = format!("{}~istio-autogenerated-k8s-gateway~{}", meta.name(), listener.name).into();
            parents.add(
                ParentKey::of(&meta.object),
                Parent {
                    internal_name: format!("{}/{}", meta.namespace(), derived.object.name).into(),
                    kinds: listeners::supported_kinds(listener).0,
                    hosts: server.hosts.clone(),
                    hostname: listener.hostname.clone(),
                    section: listener.name.clone(),
                    port: server.port,
                    protocol: listener.protocol.clone(),
                    object: Some(meta.object.clone()),
                    controller: self.controller,
                },
            );
            if built.programmed {
                let meta = Arc::new(derived);
                let gateway = istio::Gateway {
                    meta: meta.clone(),
                    workloads: wanted.workloads.clone(),
                    servers: vec![server.clone()],
                };
                outcome.rules.push(self.objects.derived(meta, Spec::Gateway(Arc::new(gateway))));
            }
        }
    }

    /// None of the addresses can be used: nothing is served.
    fn hard_failure(&self, wanted: &Wanted, sets: &[&ListenerSet], outcome: &mut Outcome) {
        let resolved = Resolved::default();
        let status = self.status(wanted, &[], &resolved, 0);
        outcome.statuses.insert(self.gateway.meta.object.clone(), Arc::new(status));
        for set in sets {
            let status = ObjectStatus {
                conditions: vec![
                    unless(self.parent_fault(wanted).as_ref(), "Accepted", "Accepted", ACCEPTED),
                    resolved.programmed(wanted),
                ],
                ..ObjectStatus::default()
            };
            outcome.statuses.insert(set.meta.object.clone(), Arc::new(status));
        }
    }

    fn parent_fault(&self, wanted: &Wanted) -> Option<Fault> {
        let fault = wanted.fault.as_ref()?;
        Some(Fault::new(fault.reason, format!("the Gateway is not accepted: {}", fault.message)))
    }

    fn report_set(&self, set: &ListenerSet, wanted: &Wanted, built: &[Built], outcome: &mut Outcome) {
        let servers: Vec<&Server> = built.iter().filter_map(|b| b.server.as_ref()).collect();
        let resolved = self.objects.resolve(self.gateway, wanted, &servers, outcome);
        let invalid = !built.iter().any(|b| b.programmed && b.server.is_some());
        let invalid = invalid.then(|| Fault::new("ListenersNotValid", "none of its listeners is valid"));
        let accepted = self.parent_fault(wanted).or_else(|| invalid.clone());
        let programmed = match &invalid {
            Some(fault) => fails("Programmed", fault),
            None => resolved.programmed(wanted),
        };
        let status = ObjectStatus {
            conditions: vec![unless(accepted.as_ref(), "Accepted", "Accepted", ACCEPTED), programmed],
            listeners: built.iter().map(|b| b.status.clone()).collect(),
            ..ObjectStatus::default()
        };
        outcome.statuses.insert(set.meta.object.clone(), Arc::new(status));
    }

    fn status(&self, wanted: &Wanted, own: &[Built], resolved: &Resolved, sets: usize) -> ObjectStatus {
        let mut conditions = vec![
            self.accepted(wanted, own),
            resolved.programmed(wanted),
            unless(self.certificate_fault().as_ref(), "ResolvedRefs", "ResolvedRefs", "All references resolved"),
        ];
        let frontends = self.gateway.frontend_ports.iter().map(|(_, tls)| tls).chain([&self.gateway.frontend]);
        if frontends.into_iter().any(|tls| tls.insecure_fallback) {
            let message = "clients without a valid certificate are served (AllowInsecureFallback)".to_owned();
            conditions.push(holds("InsecureFrontendValidationMode", "ConfigurationChanged", message));
        }
        ObjectStatus {
            conditions,
            listeners: own.iter().map(|b| b.status.clone()).collect(),
            addresses: resolved.addresses.clone(),
            attached_listener_sets: sets,
            ..ObjectStatus::default()
        }
    }

    fn accepted(&self, wanted: &Wanted, own: &[Built]) -> Condition {
        if let Some(fault) = wanted.fault.clone().or_else(|| self.parameters_fault()) {
            return fails("Accepted", &fault);
        }
        let (total, valid) = (self.gateway.listeners.len(), own.iter().filter(|b| b.programmed).count());
        match valid {
            _ if total == valid => holds("Accepted", "Accepted", ACCEPTED.to_owned()),
            0 => fails("Accepted", &Fault::new("ListenersNotValid", "none of its listeners is valid")),
            _ => holds("Accepted", "ListenersNotValid", "some of its listeners are not valid".to_owned()),
        }
    }

    /// `spec.infrastructure.parametersRef` must name a ConfigMap that exists.
    fn parameters_fault(&self) -> Option<Fault> {
        let reference = self.gateway.parameters.as_ref()?;
        let (namespace, name) = (self.gateway.meta.namespace(), &reference.name);
        if !reference.target.is("", "ConfigMap") {
            let message = format!("parametersRef {name} is a {}, expected a ConfigMap", reference.target.kind);
            return Some(Fault::new("InvalidParameters", message));
        }
        let found = self.objects.inputs.secrets.get(Kind::ConfigMap, namespace, name).is_some();
        let message = || format!("parametersRef: ConfigMap {namespace}/{name} not found");
        (!found).then(|| Fault::new("InvalidParameters", message()))
    }

    /// The certificate that the Gateway shows to backends.
    fn certificate_fault(&self) -> Option<Fault> {
        let reference = self.gateway.client_certificate.as_ref()?;
        let meta = &self.gateway.meta;
        let namespace = reference.namespace.as_ref().unwrap_or(meta.namespace());
        let invalid = |message| Some(Fault::new("InvalidClientCertificateRef", message));
        if !reference.target.is("", "Secret") {
            return invalid(format!("clientCertificateRef is a {}, expected a Secret", reference.target.kind));
        }
        let secret = self.objects.inputs.secrets.get(Kind::Secret, namespace, &reference.name);
        match secret.map(|secret| secret.pair.is_some()) {
            None => invalid(format!("Secret {namespace}/{} not found", reference.name)),
            Some(false) => invalid(format!("Secret {namespace}/{} holds no certificate with its key", reference.name)),
            Some(true) if self.objects.is_granted(Kind::KubernetesGateway, meta.namespace(), reference) => None,
            Some(true) => {
                let message = format!(
                    "clientCertificateRef {namespace}/{} is in another namespace, and no ReferenceGrant there allows it",
                    reference.name
                );
                Some(Fault::new("RefNotPermitted", message))
            }
        }
    }
}
