//! EnvoyFilter: patches of what proxies are told.
//!
//! The values of patches stay the JSON that was written: what they mean is
//! protobuf, which this crate does not know. `mesh-translate` reads them.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/envoy-filter/>

use std::sync::Arc;

use serde_json::Value;

use crate::{Labels, Meta, Name, SourceLocation};

/// Patches for the proxies of a namespace (of the mesh, if it stands in the
/// root namespace).
#[derive(Debug, Clone, PartialEq)]
pub struct EnvoyFilter {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// Workloads whose proxies are patched; empty: all.
    pub workload_selector: Labels,
    /// Gateways (or services) whose proxies are patched, instead of a selector;
    /// at most 16.
    pub target_refs: Vec<TargetRef>,
    /// Lower ones are applied first.
    pub priority: i32,
    /// In the order written.
    pub patches: Vec<Patch>,
}

/// Something that a rule is attached to, in the rule's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetRef {
    /// API group; empty: the core group.
    pub group: Name,
    /// Kind.
    pub kind: Name,
    /// Name.
    pub name: Name,
}

/// One change of one kind of thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Its place in `configPatches`, counted from 0.
    pub index: usize,
    /// Where its value (or, without one, the patch) stands.
    pub location: Option<SourceLocation>,
    /// What is changed.
    pub apply_to: ApplyTo,
    /// For which side of a proxy.
    pub context: Context,
    /// Proxies of this version only: an RE2 expression that compiles, found
    /// anywhere in the version.
    pub proxy_version: Option<Name>,
    /// Proxies whose node metadata has these texts only, sorted by key.
    pub proxy_metadata: Vec<(Name, Name)>,
    /// Which of the things.
    pub object: Object,
    /// What happens to them.
    pub operation: Operation,
    /// Where an added HTTP filter goes.
    pub filter_class: FilterClass,
    /// What is merged or added; null if nothing was written.
    pub value: Arc<Value>,
}

/// What a patch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are Istio's own words")]
pub enum ApplyTo {
    Listener,
    ListenerFilter,
    FilterChain,
    NetworkFilter,
    HttpFilter,
    RouteConfiguration,
    VirtualHost,
    HttpRoute,
    Cluster,
    ExtensionConfig,
    Bootstrap,
}

/// Which side of which proxy something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are Istio's own words")]
pub enum Context {
    Any,
    SidecarInbound,
    SidecarOutbound,
    Gateway,
    Waypoint,
}

/// What happens to what matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are Istio's own words")]
pub enum Operation {
    Merge,
    MergeAndReplaceList,
    Add,
    Remove,
    InsertBefore,
    InsertAfter,
    InsertFirst,
    Replace,
}

/// Which of Istio's filters an added HTTP filter goes with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are Istio's own words")]
pub enum FilterClass {
    #[default]
    Unspecified,
    /// After authentication.
    Authn,
    /// After authorization.
    Authz,
    /// Before statistics.
    Stats,
}

/// Which things a patch is about. A text that is empty, or a number that is
/// `None`, asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Object {
    /// Every one.
    #[default]
    Any,
    /// By listener, chain and filter.
    Listener(ListenerMatch),
    /// By route table, virtual host and route.
    Routes(RouteMatch),
    /// By cluster.
    Cluster(ClusterMatch),
    /// By what a waypoint has; no proxy here is one.
    Waypoint,
}

/// `match.listener`
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ListenerMatch {
    /// Port of the listener; in the two virtual ones, of the filter chain.
    pub port: Option<u32>,
    /// Name of the listener.
    pub name: Name,
    /// Name of a listener filter.
    pub listener_filter: Name,
    /// Of the chains, these.
    pub chain: Option<ChainMatch>,
}

/// `match.listener.filterChain`
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ChainMatch {
    /// Its name.
    pub name: Name,
    /// One of its server names.
    pub sni: Name,
    /// Its transport protocol.
    pub transport_protocol: Name,
    /// Words that must all be among its application protocols.
    pub application_protocols: Vec<Name>,
    /// Its destination port.
    pub destination_port: Option<u32>,
    /// Name of its transport socket.
    pub transport_socket: Name,
    /// Of the network filters, the one of this name; `Some("")` is a filter
    /// without a name.
    pub filter: Option<Name>,
    /// Of that filter's HTTP filters, the one of this name.
    pub sub_filter: Option<Name>,
}

/// `match.routeConfiguration`
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RouteMatch {
    /// Port that the table is for.
    pub port: Option<u32>,
    /// Name of the gateway server's port.
    pub port_name: Name,
    /// Gateway, as `namespace/name`.
    pub gateway: Name,
    /// Name of the table.
    pub name: Name,
    /// Of the virtual hosts, these.
    pub host: Option<HostMatch>,
}

/// `match.routeConfiguration.vhost`
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HostMatch {
    /// Its name: `host:port`.
    pub name: Name,
    /// One of its domains.
    pub domain: Name,
    /// Of the routes, these: name and kind of action.
    pub route: Option<(Name, ActionMatch)>,
}

/// What a route does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are Istio's own words")]
pub enum ActionMatch {
    #[default]
    Any,
    Route,
    Redirect,
    DirectResponse,
}

/// `match.cluster`
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClusterMatch {
    /// Service port that it was made for.
    pub port: Option<u32>,
    /// Host of the service.
    pub service: Name,
    /// Subset.
    pub subset: Name,
    /// Name of the cluster; what else is asked is then not looked at.
    pub name: Name,
}
