//! The one verb of this crate, with its memory.
//!
//! ```text
//! proxy ─► scope ─► outbound part (shared by all callers alike) ─┐
//!              └──► inbound part (shared by all pods alike) ─────┴─► ProxyResources
//! ```
//!
//! Each arrow is remembered by its input, so that a call costs what changed:
//! nothing, the EDS of some services, or the translation of one scope.
//!
//! Invariant: every table is bounded, and what no connected proxy needs any
//! more is forgotten two snapshots later.

mod outbound;
mod scoping;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mesh_model::rules::MeshConfig;
use mesh_model::rules::envoy_filter::Context;
use mesh_model::world::{RuleIndex, ServiceIndex, WorkloadIndex};
use mesh_model::{Diagnostic, MeshSnapshot, ObjectRef};
use mesh_proto::resource::{Resource, ResourceSet};
use mesh_proto::types;

use crate::features::Features;
use crate::memo::{ById, Memo};
use crate::proxy::{Generator, Proxy};
use crate::resources::{ProxyResources, successor};
use crate::scope::{Inbound, ProxyScope};
use crate::{cluster, listener};
use outbound::Outbounds;
use scoping::Scoping;

/// EnvoyFilters that a proxy is not patched with.
pub type Withdrawn = Arc<BTreeSet<ObjectRef>>;

/// Translates the mesh for proxies and remembers what it translated.
///
/// Calls may come from any thread; one at a time is answered.
#[derive(Debug)]
pub struct Translator {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    scoping: Scoping,
    outbounds: Outbounds,
    inbounds: Memo<Inbound, Arc<InboundPart>>,
    complete: Memo<ProxyScope, Complete>,
    /// Connected proxies, by the address of their `Arc`.
    proxies: HashMap<usize, Known>,
    /// Number of proxies at which the next sweep is due.
    sweep_at: usize,
    /// Version of the newest snapshot seen.
    newest: u64,
}

impl State {
    fn new(features: Features) -> Self {
        Self {
            scoping: Scoping::new(features),
            outbounds: Outbounds::default(),
            inbounds: Memo::new(SCOPES_MAX),
            complete: Memo::new(SCOPES_MAX),
            proxies: HashMap::new(),
            sweep_at: SWEEP_MIN,
            newest: 0,
        }
    }
}

impl Default for Translator {
    fn default() -> Self {
        Self::with(Features::default())
    }
}

/// A proxy and what it was told last.
#[derive(Debug)]
struct Known {
    proxy: Weak<Proxy>,
    inputs: Inputs,
    scope: ProxyScope,
    endpoints: u64,
    last: Arc<ProxyResources>,
}

/// The parts of a snapshot that a scope is made from, besides endpoints.
#[derive(Debug, Clone, PartialEq)]
struct Inputs {
    mesh: ById<MeshConfig>,
    services: ById<ServiceIndex>,
    workloads: ById<WorkloadIndex>,
    rules: ById<RuleIndex>,
    withdrawn: Withdrawn,
}

/// What the proxies of one scope are told, as of some state of the endpoints.
#[derive(Debug, Clone)]
struct Complete {
    endpoints: u64,
    resources: Arc<ProxyResources>,
}

/// The part that says how a workload is called.
#[derive(Debug)]
struct InboundPart {
    clusters: Vec<Resource>,
    listeners: Vec<Resource>,
    diagnostics: Vec<Diagnostic>,
}

impl Translator {
    /// A translator that remembers nothing yet, for a control plane without
    /// extras.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Translator::new`], for a control plane that can do more.
    pub fn with(features: Features) -> Self {
        Self { state: Mutex::new(State::new(features)) }
    }

    /// What `proxy` is to be told about `snapshot`.
    ///
    /// Pass the same `Arc<Proxy>` for as long as a proxy is connected: it is
    /// how the translator knows what the proxy was told before, so that each
    /// set names what differs from the one before it. Proxies that see the same
    /// get the same `Arc`; if nothing changed, the `Arc` of the last call.
    ///
    /// Cost: constant if nothing that concerns the proxy changed; the changed
    /// services' EDS if only endpoints did; otherwise one translation for all
    /// proxies of a scope.
    pub fn resources(&self, snapshot: &Arc<MeshSnapshot>, proxy: &Arc<Proxy>) -> Arc<ProxyResources> {
        self.resources_without(snapshot, proxy, &Withdrawn::default())
    }

    /// As [`Translator::resources`], without the patches of some EnvoyFilters,
    /// which the proxy refused.
    pub fn resources_without(
        &self,
        snapshot: &Arc<MeshSnapshot>,
        proxy: &Arc<Proxy>,
        withdrawn: &Withdrawn,
    ) -> Arc<ProxyResources> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).resources(snapshot, proxy, withdrawn)
    }

    /// What `proxy` sees of `snapshot`: equal scopes get equal resources.
    pub fn scope(&self, snapshot: &Arc<MeshSnapshot>, proxy: &Arc<Proxy>) -> ProxyScope {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).scoping.scope(snapshot, proxy, &Withdrawn::default())
    }
}

impl State {
    fn resources(
        &mut self,
        snapshot: &Arc<MeshSnapshot>,
        proxy: &Arc<Proxy>,
        withdrawn: &Withdrawn,
    ) -> Arc<ProxyResources> {
        self.turn(snapshot);
        let address = Arc::as_ptr(proxy) as usize;
        let inputs = Inputs {
            mesh: ById::of(&snapshot.mesh),
            services: ById::of(&snapshot.services),
            workloads: ById::of(&snapshot.workloads),
            rules: ById::of(&snapshot.rules),
            withdrawn: withdrawn.clone(),
        };
        let known = self.proxies.get(&address).filter(|k| k.proxy.upgrade().is_some_and(|p| Arc::ptr_eq(&p, proxy)));
        let endpoints = snapshot.endpoints.id();
        let mut scope = None;
        if let Some(known) = known.filter(|k| k.inputs == inputs) {
            if known.endpoints == endpoints {
                return known.last.clone();
            }
            scope = self.scoping.still_holds(snapshot, &known.scope).then(|| known.scope.clone());
        }
        let last = known.map(|k| k.last.clone());
        let scope = scope.unwrap_or_else(|| self.scoping.scope(snapshot, proxy, withdrawn));
        let resources = self.of_scope(snapshot, &scope, last.as_ref());
        let known = Known { proxy: Arc::downgrade(proxy), inputs, scope, endpoints, last: resources.clone() };
        self.proxies.insert(address, known);
        self.sweep();
        resources
    }

    fn of_scope(
        &mut self,
        snapshot: &Arc<MeshSnapshot>,
        scope: &ProxyScope,
        last: Option<&Arc<ProxyResources>>,
    ) -> Arc<ProxyResources> {
        let endpoints = snapshot.endpoints.id();
        let resources = match self.complete.get(scope) {
            Some(complete) if complete.endpoints == endpoints => return complete.resources,
            Some(complete) => {
                let parent = &complete.resources;
                let part = self.outbounds.part(&scope.outbound);
                let eds = self.outbounds.assignments(&scope.outbound, &part, snapshot, parent.set(types::ENDPOINT));
                parent.with(types::ENDPOINT, eds)
            }
            None => self.translate(snapshot, scope, last),
        };
        let complete = Complete { endpoints, resources: resources.clone() };
        self.complete.insert(scope.clone(), complete);
        resources
    }

    /// Puts outbound and inbound part together. `last` is what the proxy at
    /// hand was told before, and so most likely every proxy of this scope.
    fn translate(
        &mut self,
        snapshot: &Arc<MeshSnapshot>,
        scope: &ProxyScope,
        last: Option<&Arc<ProxyResources>>,
    ) -> Arc<ProxyResources> {
        let outbound = self.outbounds.part(&scope.outbound);
        let inbound = self.inbounds.get_or_insert_with(scope.inbound.clone(), |scope| Arc::new(inbound_part(scope)));
        let parent = |type_url| last.and_then(|l| l.set(type_url));
        let join = |type_url, a: &[Resource], b: &[Resource]| -> Arc<ResourceSet> {
            successor(parent(type_url), a.iter().chain(b).cloned())
        };
        let eds = self.outbounds.assignments(&scope.outbound, &outbound, snapshot, parent(types::ENDPOINT));
        let tables = self.outbounds.tables(&scope.outbound, &outbound, parent(types::ROUTE));
        let extensions = match parent(types::EXTENSION_CONFIG) {
            Some(parent) => successor(Some(parent), outbound.extensions.iter().cloned()),
            None => outbound.extensions.clone(),
        };
        let sets = BTreeMap::from([
            (types::CLUSTER, join(types::CLUSTER, &outbound.clusters, &inbound.clusters)),
            (types::ENDPOINT, eds),
            // Of two listeners with one name the later, the inbound, stays.
            (types::LISTENER, join(types::LISTENER, &outbound.listeners, &inbound.listeners)),
            (types::ROUTE, tables),
            (types::EXTENSION_CONFIG, extensions),
        ]);
        let mut diagnostics: Vec<Diagnostic> =
            outbound.diagnostics.iter().chain(&inbound.diagnostics).cloned().collect();
        diagnostics.sort();
        diagnostics.dedup();
        ProxyResources::from_sets(last, sets, diagnostics)
    }

    /// With each newer snapshot, what was not asked for since the one before is
    /// forgotten: a scope that no connected proxy has any more.
    fn turn(&mut self, snapshot: &MeshSnapshot) {
        if snapshot.version <= self.newest {
            return;
        }
        self.newest = snapshot.version;
        self.inbounds.turn();
        self.complete.turn();
        self.outbounds.turn(snapshot.services.len());
        self.scoping.turn();
    }

    /// Forgets proxies that are gone, whenever their number has doubled.
    fn sweep(&mut self) {
        if self.proxies.len() >= self.sweep_at {
            self.proxies.retain(|_, k| k.proxy.strong_count() > 0);
            self.sweep_at = (self.proxies.len() * 2).max(SWEEP_MIN);
        }
    }
}

fn inbound_part(scope: &Inbound) -> InboundPart {
    if scope.generator == Generator::Grpc {
        return InboundPart { clusters: Vec::new(), listeners: Vec::new(), diagnostics: Vec::new() };
    }
    let (mut clusters, mut listeners) = (cluster::inbound(scope), listener::inbound(scope));
    let mut diagnostics = scope.mesh.telemetry.diagnostics(&scope.mesh);
    if let Some(patches) = &scope.patches {
        clusters = patches.clusters(Context::SidecarInbound, clusters, &mut diagnostics);
        listeners = patches.listeners(Context::SidecarInbound, listeners, &mut diagnostics);
        diagnostics.extend(patches.diagnostics().iter().cloned());
    }
    InboundPart { clusters, listeners, diagnostics }
}

/// Scopes that are remembered (twice as many, in two generations).
const SCOPES_MAX: usize = 4096;
/// Fewest proxies before the first look for gone ones.
const SWEEP_MIN: usize = 64;
