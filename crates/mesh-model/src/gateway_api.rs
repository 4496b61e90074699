//! The Kubernetes Gateway API and Ingress in the terms of Istio's rules: what
//! they say becomes Gateways, VirtualServices and DestinationRules, and what has
//! become of them their status.
//!
//! ```text
//! Gateway, ListenerSet ── gateways ──► Gateways (one per listener) ─┐
//!                                           │ parents               ├──► Outcome { rules, statuses, diagnostics }
//! HTTPRoute, GRPCRoute, TLSRoute, TCPRoute ─┴─ routes ──► VirtualServices
//! BackendTLSPolicy, XBackendTrafficPolicy ──── policies ─► DestinationRules
//! Ingress ──────────────────────────────────── ingress ──► Gateways, VirtualServices
//! ```
//!
//! Invariant: a pure function of its inputs; equal inputs give equal outcomes,
//! in order. A derived rule names the object that its author wrote
//! ([`crate::Meta::origin`]), and Gateways carry names that no user's object can
//! have, since they contain `~`. Objects of classes that nobody here serves are
//! left alone: no rule, no status.
//!
//! Deliberately absent: deploying proxies for a Gateway, waypoints, and
//! InferencePools.
//!
//! Source: istio `pilot/pkg/config/kube/gateway`, `.../gatewaycommon` and
//! `.../ingress`; <https://gateway-api.sigs.k8s.io/>.

mod addresses;
mod backends;
mod classes;
mod conditions;
mod conflicts;
mod connections;
mod gateways;
mod grants;
mod http;
mod ingress;
mod listeners;
mod parents;
mod policies;
mod routes;

mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::rules::gateway_api::{
    BackendTlsPolicy, BackendTrafficPolicy, Gateway, GatewayApi, GatewayClass, Ingress, IngressClass, ListenerSet,
    ReferenceGrant, Route,
};
use crate::rules::{MeshConfig, ServiceEntry, Spec};
use crate::secret::SecretIndex;
use crate::status::Statuses;
use crate::world::{EndpointIndex, ServiceIndex, WorkloadIndex};
use crate::{Diagnostic, Hostname, Meta, Name, Namespace, ObjectRef, Rule, Service, ServiceKey};

/// All that the conversion looks at.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Mesh-wide settings.
    pub mesh: &'a MeshConfig,
    /// Namespaces by name.
    pub namespaces: &'a BTreeMap<Name, Arc<Namespace>>,
    /// Rules of every kind.
    pub rules: &'a BTreeMap<ObjectRef, Arc<Rule>>,
    /// Services, of platforms and of ServiceEntries.
    pub services: &'a ServiceIndex,
    /// Their endpoints.
    pub endpoints: &'a EndpointIndex,
    /// Workloads.
    pub workloads: &'a WorkloadIndex,
    /// Secrets and ConfigMaps.
    pub secrets: &'a SecretIndex,
}

/// What the conversion yields.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Derived rules.
    pub rules: Vec<Arc<Rule>>,
    /// What has become of each object.
    pub statuses: Statuses,
    /// What is wrong between objects.
    pub diagnostics: Vec<Diagnostic>,
    /// Services whose endpoints were looked at.
    pub watched: BTreeSet<ServiceKey>,
    /// Whether workloads were looked at.
    pub watches_workloads: bool,
}

/// Whether the conversion looks at this rule.
pub fn concerns(rule: &Rule) -> bool {
    matches!(rule.spec, Spec::GatewayApi(_))
}

/// Converts all objects of the Gateway API and Ingress.
pub fn convert(inputs: &Inputs<'_>) -> Outcome {
    let objects = Objects::new(inputs);
    let mut outcome = Outcome::default();
    classes::report(&objects, &mut outcome);
    let parents = gateways::convert(&objects, &mut outcome);
    let attached = routes::convert(&objects, &parents, &mut outcome);
    gateways::count_routes(&attached, &mut outcome);
    policies::convert(&objects, &mut outcome);
    ingress::convert(&objects, &mut outcome);
    conditions::diagnose(&objects, &mut outcome);
    outcome
}

/// The inputs, by kind. Lists are sorted oldest first, then by namespace and
/// name.
struct Objects<'a> {
    inputs: &'a Inputs<'a>,
    classes: BTreeMap<&'a str, &'a GatewayClass>,
    gateways: Vec<&'a Gateway>,
    listener_sets: Vec<&'a ListenerSet>,
    routes: Vec<&'a Route>,
    grants: Vec<&'a ReferenceGrant>,
    tls_policies: Vec<&'a BackendTlsPolicy>,
    traffic_policies: Vec<&'a BackendTrafficPolicy>,
    ingresses: Vec<&'a Ingress>,
    ingress_classes: BTreeMap<&'a str, &'a IngressClass>,
    entries: BTreeMap<(&'a str, &'a str), &'a ServiceEntry>,
    documents: BTreeMap<&'a ObjectRef, &'a Arc<serde_json::Value>>,
}

impl<'a> Objects<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Self {
        let mut objects = Self {
            inputs,
            classes: BTreeMap::new(),
            gateways: Vec::new(),
            listener_sets: Vec::new(),
            routes: Vec::new(),
            grants: Vec::new(),
            tls_policies: Vec::new(),
            traffic_policies: Vec::new(),
            ingresses: Vec::new(),
            ingress_classes: BTreeMap::new(),
            entries: BTreeMap::new(),
            documents: BTreeMap::new(),
        };
        let mut rules: Vec<&Rule> = inputs.rules.values().map(|rule| &**rule).collect();
        rules.sort_by_key(|rule| age(&rule.meta));
        for rule in rules {
            objects.take(rule);
        }
        objects
    }

    fn take(&mut self, rule: &'a Rule) {
        let object = match &rule.spec {
            Spec::GatewayApi(object) => object,
            Spec::ServiceEntry(entry) => {
                self.entries.insert((entry.meta.namespace(), entry.meta.name()), entry);
                return;
            }
            _ => return,
        };
        self.documents.insert(rule.object(), &rule.document);
        match &**object {
            GatewayApi::GatewayClass(o) => drop(self.classes.insert(o.meta.name(), o)),
            GatewayApi::Gateway(o) => self.gateways.push(o),
            GatewayApi::ListenerSet(o) => self.listener_sets.push(o),
            GatewayApi::Route(o) => self.routes.push(o),
            GatewayApi::ReferenceGrant(o) => self.grants.push(o),
            GatewayApi::BackendTlsPolicy(o) => self.tls_policies.push(o),
            GatewayApi::BackendTrafficPolicy(o) => self.traffic_policies.push(o),
            GatewayApi::Ingress(o) => self.ingresses.push(o),
            GatewayApi::IngressClass(o) => drop(self.ingress_classes.insert(o.meta.name(), o)),
        }
    }

    fn gateway(&self, namespace: &str, name: &str) -> Option<&'a Gateway> {
        let same = |g: &&&Gateway| **g.meta.namespace() == *namespace && **g.meta.name() == *name;
        self.gateways.iter().find(same).copied()
    }

    /// The host of a platform's service by its name and namespace.
    fn service_host(&self, namespace: &str, name: &str) -> Hostname {
        Hostname::new(&format!("{name}.{namespace}.svc.{}", self.inputs.mesh.domain))
    }

    /// A platform's service by its name and namespace.
    fn service(&self, namespace: &str, name: &str) -> Option<&'a Arc<Service>> {
        self.lookup(self.service_host(namespace, name), namespace)
    }

    /// The service of this host that `namespace` declares.
    fn lookup(&self, hostname: Hostname, namespace: &str) -> Option<&'a Arc<Service>> {
        self.inputs.services.get(&ServiceKey { hostname, namespace: namespace.into() })
    }

    /// A rule derived from the object of `meta`.
    fn derived(&self, meta: Arc<Meta>, spec: Spec) -> Arc<Rule> {
        let document = self.documents.get(meta.origin()).map(|d| Arc::clone(d)).unwrap_or_default();
        Arc::new(Rule { meta, spec, document })
    }
}

/// Oldest first, then by namespace and name; the kind last.
fn age(meta: &Meta) -> (i64, Name, Name, crate::Kind) {
    (meta.created, meta.namespace().clone(), meta.name().clone(), meta.object.kind)
}
