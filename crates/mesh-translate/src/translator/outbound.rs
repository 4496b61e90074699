//! The part of a translation that says how others are called, and EDS.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::rules::envoy_filter::Context;
use mesh_model::{Diagnostic, EndpointSet, MeshSnapshot, Resolution, ServiceKey};
use mesh_proto::resource::{Resource, ResourceSet};

use crate::memo::{ById, Memo};
use crate::proxy::Generator;
use crate::resources::successor;
use crate::scope::Outbound;
use crate::{cluster, endpoint, grpc, listener, route};

/// Everything but endpoints, encoded.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) clusters: Vec<Resource>,
    pub(super) listeners: Vec<Resource>,
    pub(super) routes: Vec<Resource>,
    /// What filters fetch by ECDS.
    pub(super) extensions: Arc<ResourceSet>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Services whose endpoints come by EDS.
    services: BTreeMap<ServiceKey, Arc<cluster::Output>>,
}

/// EDS of a scope, as of some state of the endpoints.
#[derive(Debug, Clone)]
struct Assigned {
    endpoints: u64,
    set: Arc<ResourceSet>,
}

/// Parts by scope, and beneath them what scopes share.
#[derive(Debug)]
pub(super) struct Outbounds {
    parts: Memo<Outbound, Arc<Part>>,
    clusters: Memo<cluster::Input, Arc<cluster::Output>>,
    tables: Memo<Outbound, Arc<ResourceSet>>,
    assigned: Memo<Outbound, Assigned>,
    assignments: Memo<AssignmentKey, Arc<[Resource]>>,
}

/// The clusters of a service, and its endpoints if it has any.
type AssignmentKey = (ById<cluster::Output>, Option<ById<EndpointSet>>);

impl Default for Outbounds {
    fn default() -> Self {
        Self {
            parts: Memo::new(SCOPES_MAX),
            clusters: Memo::new(SERVICES_MIN),
            tables: Memo::new(SCOPES_MAX),
            assigned: Memo::new(SCOPES_MAX),
            assignments: Memo::new(SERVICES_MIN),
        }
    }
}

impl Part {
    fn new() -> Self {
        Self {
            clusters: Vec::new(),
            listeners: Vec::new(),
            routes: Vec::new(),
            extensions: Arc::new(ResourceSet::new([])),
            diagnostics: Vec::new(),
            services: BTreeMap::new(),
        }
    }

    /// Applies what EnvoyFilters say of the side where calls leave.
    fn patch(&mut self, scope: &Outbound) {
        let Some(patches) = &scope.patches else { return };
        self.diagnostics.extend(patches.diagnostics().iter().cloned());
        if scope.generator == Generator::Grpc {
            self.diagnostics.extend(patches.unused_by_grpc());
            return;
        }
        let context = Context::SidecarOutbound;
        self.clusters = patches.clusters(context, std::mem::take(&mut self.clusters), &mut self.diagnostics);
        self.listeners = patches.listeners(context, std::mem::take(&mut self.listeners), &mut self.diagnostics);
        self.extensions = Arc::new(ResourceSet::new(patches.extensions()));
    }
}

impl Outbounds {
    /// Begins a new generation of what depends on a scope. What services
    /// depend on is bounded by their number instead: it is not asked for again
    /// while the scopes above it stay.
    pub(super) fn turn(&mut self, services: usize) {
        self.parts.turn();
        self.tables.turn();
        self.assigned.turn();
        let capacity = SERVICES_MIN + services * VARIANTS;
        self.clusters.set_capacity(capacity);
        self.assignments.set_capacity(capacity);
    }

    /// All but endpoints.
    pub(super) fn part(&mut self, scope: &Outbound) -> Arc<Part> {
        if let Some(part) = self.parts.get(scope) {
            return part;
        }
        let part = Arc::new(self.translate(scope));
        self.parts.insert(scope.clone(), part.clone());
        part
    }

    fn translate(&mut self, scope: &Outbound) -> Part {
        let mut part = Part::new();
        for visible in &scope.visible.services {
            let key = visible.service.key();
            let named = matches!(visible.service.resolution, Resolution::DnsLb | Resolution::DnsRoundRobin);
            let input = cluster::Input {
                service: visible.service.clone(),
                ports: visible.ports.clone(),
                rules: visible.rules.clone(),
                set_aside: visible.set_aside.clone(),
                mesh: scope.mesh.mesh.clone(),
                generator: scope.generator,
                captured: scope.captured,
                families: scope.families,
                place: scope.place.clone().filter(|_| visible.place_matters(&scope.mesh)),
                pinned: scope.pinned.get(&key).filter(|_| named).cloned(),
            };
            let output = self.clusters.get_or_insert_with(input, |input| Arc::new(cluster::outbound(input)));
            part.clusters.extend(output.clusters.iter().cloned());
            part.diagnostics.extend(output.diagnostics.iter().cloned());
            if !output.assignments.is_empty() {
                part.services.insert(key, output);
            }
        }
        let assigned = route::assign(scope);
        let routes = match scope.generator {
            Generator::Envoy => {
                part.clusters.extend(cluster::standard(&scope.mesh, scope.families, scope.captured));
                let outbound = listener::outbound(scope);
                part.listeners = outbound.listeners;
                part.diagnostics.extend(outbound.diagnostics);
                part.diagnostics.extend(scope.mesh.telemetry.diagnostics(&scope.mesh));
                outbound.routes
            }
            Generator::Grpc => {
                let (listeners, routes) = grpc::listeners(scope, &assigned);
                part.listeners = listeners;
                routes
            }
        };
        for name in routes {
            let mut table = route::outbound(scope, &assigned, &name, &mut part.diagnostics);
            if let Some(patches) = scope.patches.as_ref().filter(|_| scope.generator == Generator::Envoy) {
                patches.routes(Context::SidecarOutbound, &mut table);
            }
            part.routes.push(Resource::new(table.name.as_str(), &table));
        }
        part.diagnostics.extend(assigned.diagnostics);
        part.patch(scope);
        part
    }

    /// Route tables of a scope, which no inbound part adds to.
    pub(super) fn tables(
        &mut self,
        scope: &Outbound,
        part: &Part,
        parent: Option<&Arc<ResourceSet>>,
    ) -> Arc<ResourceSet> {
        if let Some(set) = self.tables.get(scope) {
            return set;
        }
        let set = successor(parent, part.routes.iter().cloned());
        self.tables.insert(scope.clone(), set.clone());
        set
    }

    /// EDS of a scope. If `snapshot` follows the state that was translated
    /// before, only the services that changed are looked at.
    pub(super) fn assignments(
        &mut self,
        scope: &Outbound,
        part: &Part,
        snapshot: &MeshSnapshot,
        parent: Option<&Arc<ResourceSet>>,
    ) -> Arc<ResourceSet> {
        let endpoints = &snapshot.endpoints;
        let before = self.assigned.get(scope);
        let set = match before {
            Some(before) if before.endpoints == endpoints.id() => before.set,
            Some(before) if endpoints.parent() == Some(before.endpoints) => {
                let changed = endpoints.changed().iter().filter_map(|key| Some((key, part.services.get(key)?)));
                let changed: Vec<Arc<[Resource]>> =
                    changed.map(|(key, output)| self.of_service(output, endpoints.get(key))).collect();
                let named = changed.iter().flat_map(|r| r.iter()).map(|r| (r.name.clone(), Some(r.clone())));
                before.set.with(named).map_or(before.set, Arc::new)
            }
            before => {
                let all: Vec<Arc<[Resource]>> =
                    part.services.iter().map(|(key, output)| self.of_service(output, endpoints.get(key))).collect();
                let parent = before.as_ref().map(|b| &b.set).or(parent);
                successor(parent, all.iter().flat_map(|r| r.iter()).cloned())
            }
        };
        self.assigned.insert(scope.clone(), Assigned { endpoints: endpoints.id(), set: set.clone() });
        set
    }

    fn of_service(&mut self, output: &Arc<cluster::Output>, set: Option<&Arc<EndpointSet>>) -> Arc<[Resource]> {
        let key = (ById::of(output), set.map(ById::of));
        self.assignments.get_or_insert_with(key, |(output, set)| {
            endpoint::assignments(&output.assignments, set.as_ref().map(|s| &**s)).into()
        })
    }
}

/// Scopes that are remembered (twice as many, in two generations).
const SCOPES_MAX: usize = 1024;
/// Services whose clusters and assignments are remembered at least.
const SERVICES_MIN: usize = 1024;
/// Beyond that, so many per service: kinds of caller for whom it differs.
const VARIANTS: usize = 2;
