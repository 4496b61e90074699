//! From a snapshot and a proxy to the scope, remembering what proxies share.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::rules::MeshConfig;
use mesh_model::rules::envoy_filter::Context;
use mesh_model::rules::telemetry::Role;
use mesh_model::world::{RuleIndex, ServiceIndex};
use mesh_model::{Labels, MeshSnapshot, Name, ObjectRef, Workload};

use crate::envoy_filter::{self, Patches, Selection};
use crate::features::Features;
use crate::memo::{ById, Memo};
use crate::mutual_tls::Modes;
use crate::place::Place;
use crate::proxy::{Capture, Generator, Proxy};
use crate::rules::Lookup;
use crate::scope::{
    Bound, Families, Inbound, Outbound, OwnPort, Pinned, ProxyScope, Selecting, Settings, Unselected, Visible,
    own_ports,
};
use crate::telemetry::{self, Side, Subject};

/// What the scopes of one snapshot have in common.
#[derive(Debug)]
pub(super) struct Scoping {
    features: Features,
    rules: Option<(ById<RuleIndex>, Arc<Lookup>)>,
    patches: Selection,
    services: Option<(ById<ServiceIndex>, Arc<Selecting>)>,
    unselected: Option<(u64, Arc<Unselected>)>,
    views: Memo<ViewKey, View>,
    pins: Memo<ById<Visible>, (u64, Arc<Pinned>)>,
}

/// Who sees the same services and rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ViewKey {
    namespace: Name,
    labels: Labels,
    sidecar: Option<Name>,
}

/// What they see, and of what that was made.
#[derive(Debug, Clone)]
struct View {
    rules: ById<RuleIndex>,
    services: ById<ServiceIndex>,
    mesh: ById<MeshConfig>,
    visible: Arc<Visible>,
}

impl Scoping {
    pub(super) fn new(features: Features) -> Self {
        Self {
            patches: Selection::default(),
            features,
            rules: None,
            services: None,
            unselected: None,
            views: Memo::new(VIEWS_MAX),
            pins: Memo::new(VIEWS_MAX),
        }
    }

    /// Begins a new generation of what proxies share.
    pub(super) fn turn(&mut self) {
        self.views.turn();
        self.pins.turn();
    }

    pub(super) fn scope(
        &mut self,
        snapshot: &MeshSnapshot,
        proxy: &Proxy,
        withdrawn: &BTreeSet<ObjectRef>,
    ) -> ProxyScope {
        let lookup = self.lookup(snapshot);
        let workload = workload(snapshot, proxy);
        let labels = workload.map_or(&proxy.labels, |w| &w.meta.labels).clone();
        let relevant = lookup.relevant(&labels);
        let patches = self.patches(snapshot, proxy, &labels, withdrawn);
        let root = &snapshot.mesh.root_namespace;
        let sidecar = lookup.sidecar(proxy.namespace(), &labels, root);
        let policy = sidecar.and_then(|s| s.outbound_traffic_policy);
        let policy = policy.unwrap_or(snapshot.mesh.outbound_traffic_policy);
        let key = ViewKey {
            namespace: proxy.namespace().clone(),
            labels: relevant.clone(),
            sidecar: sidecar.map(|s| format!("{}/{}", s.meta.namespace(), s.meta.name()).into()),
        };
        let visible = self.visible(snapshot, key, &lookup, &labels);
        let pinned = self.pinned(snapshot, &visible);
        let settings = |role| settings(snapshot, proxy, &labels, &visible, role);
        let mut inbound =
            self.inbound(snapshot, proxy, workload.map(|w| &**w), &labels, &lookup, settings(Role::Server));
        inbound.patches = patches.inbound;
        let captured = proxy.capture != Capture::None;
        let own = if captured {
            proxy.addresses.iter().copied().find(|a| pinned.includes(*a))
        } else {
            Some(proxy.address())
        };
        let outbound = Outbound {
            namespace: proxy.namespace().clone(),
            domain: proxy.domain.clone(),
            labels: relevant,
            generator: proxy.generator,
            captured,
            families: Families::of(&proxy.addresses),
            place: visible
                .place_matters(&snapshot.mesh)
                .then(|| place(snapshot, proxy, workload.map(|w| &**w), &labels, &lookup)),
            own: own.filter(|_| proxy.generator == Generator::Envoy),
            taken: inbound
                .bound
                .iter()
                .flat_map(|_| inbound.ports.iter().map(|p| (p.target, p.service.clone())))
                .collect(),
            policy,
            mesh: settings(Role::Client),
            visible: ById(visible),
            pinned: ById(pinned),
            patches: patches.outbound,
        };
        ProxyScope { outbound, inbound }
    }

    /// Whether a scope that was made from everything in `snapshot` but the
    /// endpoints holds for these endpoints too.
    pub(super) fn still_holds(&mut self, snapshot: &MeshSnapshot, scope: &ProxyScope) -> bool {
        let before = self.unselected.as_ref().map(|(_, u)| u.clone());
        let after = self.unselected(snapshot);
        let pinned = self.pinned(snapshot, &scope.outbound.visible.0);
        before.is_some_and(|b| Arc::ptr_eq(&b, &after)) && Arc::ptr_eq(&pinned, &scope.outbound.pinned.0)
    }

    fn lookup(&mut self, snapshot: &MeshSnapshot) -> Arc<Lookup> {
        let index = ById::of(&snapshot.rules);
        match &self.rules {
            Some((of, lookup)) if *of == index => lookup.clone(),
            _ => {
                let lookup = Arc::new(Lookup::new(&snapshot.rules));
                self.rules = Some((index, lookup.clone()));
                lookup
            }
        }
    }

    fn selecting(&mut self, snapshot: &MeshSnapshot) -> Arc<Selecting> {
        let index = ById::of(&snapshot.services);
        match &self.services {
            Some((of, selecting)) if *of == index => selecting.clone(),
            _ => {
                let selecting = Arc::new(Selecting::new(&snapshot.services));
                self.services = Some((index, selecting.clone()));
                self.unselected = None;
                selecting
            }
        }
    }

    /// Made again only if endpoints of services without a selector changed.
    fn unselected(&mut self, snapshot: &MeshSnapshot) -> Arc<Unselected> {
        let selecting = self.selecting(snapshot);
        let id = snapshot.endpoints.id();
        let unselected = match self.unselected.take() {
            Some((of, unselected)) if of == id || unselected.holds_for(&selecting, &snapshot.endpoints) => unselected,
            _ => Arc::new(Unselected::new(&selecting, &snapshot.endpoints)),
        };
        self.unselected = Some((id, unselected.clone()));
        unselected
    }

    /// What is equal to what was seen before keeps its identity, so that a
    /// change which these callers do not see changes nothing for them.
    fn visible(&mut self, snapshot: &MeshSnapshot, key: ViewKey, lookup: &Lookup, labels: &Labels) -> Arc<Visible> {
        let (rules, services) = (ById::of(&snapshot.rules), ById::of(&snapshot.services));
        let mesh = ById::of(&snapshot.mesh);
        let before = self.views.get(&key);
        if let Some(view) = &before
            && view.rules == rules
            && view.services == services
            && view.mesh == mesh
        {
            return view.visible.clone();
        }
        let sidecar = lookup.sidecar(&key.namespace, labels, &snapshot.mesh.root_namespace).map(|s| &**s);
        let made = Visible::new(&snapshot.services, lookup, &mesh, &key.namespace, &key.labels, sidecar);
        let visible = match before {
            Some(view) if *view.visible == made => view.visible,
            _ => Arc::new(made),
        };
        self.views.insert(key, View { rules, services, mesh, visible: visible.clone() });
        visible
    }

    fn pinned(&mut self, snapshot: &MeshSnapshot, visible: &Arc<Visible>) -> Arc<Pinned> {
        let id = snapshot.endpoints.id();
        let before = self.pins.get(&ById::of(visible));
        let pinned = match before {
            Some((of, pinned)) if of == id => return pinned,
            Some((_, pinned)) => {
                let made = Pinned::new(visible, &snapshot.endpoints);
                if *pinned == made { pinned } else { Arc::new(made) }
            }
            None => Arc::new(Pinned::new(visible, &snapshot.endpoints)),
        };
        self.pins.insert(ById::of(visible), (id, pinned.clone()));
        pinned
    }

    /// What EnvoyFilters change for a proxy; see [`Selection`].
    fn patches(
        &mut self,
        snapshot: &MeshSnapshot,
        proxy: &Proxy,
        labels: &Labels,
        withdrawn: &BTreeSet<ObjectRef>,
    ) -> Sides {
        self.patches.update(&snapshot.rules);
        let subject = envoy_filter::Subject {
            namespace: proxy.namespace(),
            root: &snapshot.mesh.root_namespace,
            labels,
            version: &proxy.version,
            metadata: &proxy.metadata,
            withdrawn,
        };
        Sides {
            outbound: self.patches.patches(subject, &[Context::SidecarOutbound]),
            inbound: self.patches.patches(subject, &[Context::SidecarInbound]),
        }
    }

    fn inbound(
        &mut self,
        snapshot: &MeshSnapshot,
        proxy: &Proxy,
        workload: Option<&Workload>,
        labels: &Labels,
        lookup: &Lookup,
        mesh: Settings,
    ) -> Inbound {
        let selecting = self.selecting(snapshot);
        let unselected = self.unselected(snapshot);
        let bound = (proxy.capture == Capture::None).then(|| Bound {
            address: proxy.address(),
            application: workload.and_then(application_address).unwrap_or_else(|| loopback(proxy)),
        });
        let root = &snapshot.mesh.root_namespace;
        let port = |(service, number, target): (Arc<mesh_model::Service>, u16, u16)| {
            let owner = service.meta.namespace();
            let rules = lookup.destination(proxy.namespace(), &Labels::default(), &service.hostname, owner, root).rules;
            OwnPort { target, number, rules: rules.into_iter().map(ById).collect(), service: ById(service) }
        };
        let mutual_tls = match self.features.workload_certificates && proxy.capture != Capture::None {
            true => lookup.mutual_tls(proxy.namespace(), labels, root),
            false => Modes::plaintext(),
        };
        let ports = own_ports(proxy, workload, labels, &selecting, &unselected).into_iter().map(port).collect();
        Inbound {
            generator: proxy.generator,
            capture: proxy.capture,
            families: Families::of(&proxy.addresses),
            bound,
            mesh,
            patches: None,
            mutual_tls,
            ports: if proxy.generator == Generator::Grpc { Vec::new() } else { ports },
        }
    }
}

/// What holds for one role of `proxy`. A gRPC library reports nothing.
fn settings(snapshot: &MeshSnapshot, proxy: &Proxy, labels: &Labels, visible: &Visible, role: Role) -> Settings {
    let subject = Subject {
        namespace: proxy.namespace(),
        labels,
        workload: &proxy.workload.name,
        mesh: &snapshot.mesh,
        visible,
        makes_metrics: proxy.istio_stats,
        native: proxy.native,
    };
    let side = match proxy.generator {
        Generator::Envoy => telemetry::of(snapshot.rules.telemetries(), &subject, role),
        Generator::Grpc => Side::plain(),
    };
    Settings { mesh: ById::of(&snapshot.mesh), telemetry: Arc::new(side) }
}

/// The patches of both sides of a proxy.
struct Sides {
    outbound: Option<ById<Patches>>,
    inbound: Option<ById<Patches>>,
}

/// The workload that the proxy says it stands beside or, if there is none of
/// that name, the one at its address.
fn workload<'a>(snapshot: &'a MeshSnapshot, proxy: &Proxy) -> Option<&'a Arc<Workload>> {
    let named = snapshot.workloads.get(&proxy.workload);
    named.or_else(|| snapshot.workloads.at(proxy.address()).filter(|w| w.meta.namespace() == proxy.namespace()))
}

/// Where a proxy is: where the mesh knows its workload to be, else where it says
/// that it is.
fn place(
    snapshot: &MeshSnapshot,
    proxy: &Proxy,
    workload: Option<&Workload>,
    labels: &Labels,
    lookup: &Lookup,
) -> Place {
    let known = workload.map(|w| &w.locality).filter(|l| !l.is_empty());
    let locality = known.unwrap_or(&proxy.locality).clone();
    let (network, node) = workload.map_or(("", ""), |w| (&*w.network, &*w.node));
    let topology = |key: &str| crate::place::topology(key, &locality, network, node).to_owned();
    let labels = lookup.place_labels(&snapshot.mesh, labels, topology);
    Place { locality, labels }
}

fn application_address(workload: &Workload) -> Option<std::net::IpAddr> {
    workload.meta.annotations.get(APPLICATION_ADDRESS)?.parse().ok()
}

fn loopback(proxy: &Proxy) -> std::net::IpAddr {
    match proxy.address() {
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

/// Annotation that says where the application of a workload listens whose
/// connections are not captured.
const APPLICATION_ADDRESS: &str = "pilothouse.io/application-address";
/// Views that are remembered (twice as many, in two generations).
const VIEWS_MAX: usize = 2048;
