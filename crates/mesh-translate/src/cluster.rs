//! Clusters: for every service port and subset one, for every own port one,
//! and the few that every proxy has.

mod balancer;
mod inbound;
mod outlier;
mod policy;
mod reports;
mod standard;

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::rules::destination_rule::Subset;
use mesh_model::rules::{DestinationRule, MeshConfig};
use mesh_model::{Address, Code, Diagnostic, EndpointSet, Labels, Name, Port, Protocol, Resolution, Service, Severity};
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbPolicy};
use mesh_proto::resource::Resource;

pub(crate) use inbound::inbound;
pub(crate) use standard::standard;

use crate::destination::{Destination, set_aside};
use crate::endpoint;
use crate::memo::ById;
use crate::place::{Nearness, Place};
use crate::proxy::Generator;
use crate::scope::Families;
use crate::xds;

/// What the clusters of one service are made from: the key under which they
/// are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Input {
    pub(crate) service: ById<Service>,
    /// Ports that may be called; `None`: all.
    pub(crate) ports: Option<BTreeSet<u16>>,
    pub(crate) rules: Vec<ById<DestinationRule>>,
    /// Rules that those set aside.
    pub(crate) set_aside: Vec<ById<DestinationRule>>,
    pub(crate) mesh: ById<MeshConfig>,
    pub(crate) generator: Generator,
    pub(crate) captured: bool,
    pub(crate) families: Families,
    /// Where the caller is, if the rules make something of it.
    pub(crate) place: Option<Place>,
    /// Endpoints that stand in the clusters themselves (names to resolve).
    pub(crate) pinned: Option<ById<EndpointSet>>,
}

/// The clusters of one service, encoded.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) clusters: Vec<Resource>,
    /// Those whose endpoints come by EDS.
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Which endpoints belong to an EDS cluster.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) cluster: Name,
    pub(crate) port_name: Name,
    /// Labels of the subset; empty: all endpoints of the port.
    pub(crate) labels: Labels,
    /// What the caller makes of where endpoints are.
    pub(crate) nearness: Option<Arc<Nearness>>,
}

/// All clusters of a service.
pub(crate) fn outbound(input: &Input) -> Output {
    let mut output = Output::default();
    if matches!(input.service.resolution, Resolution::Alias(_)) {
        return output;
    }
    let destination = Destination(&input.rules);
    let subsets = destination.subsets();
    output.diagnostics.extend(destination.conflicts(&input.service.hostname));
    let winner = input.rules.first().map(|r| &**r);
    output.diagnostics.extend(set_aside(&input.service.hostname, &input.set_aside, winner));
    output.diagnostics.extend(input.rules.iter().flat_map(|rule| reports::not_applied(rule, input.generator)));
    let allowed =
        |p: &&Port| p.protocol != Protocol::Udp && input.ports.as_ref().is_none_or(|ports| ports.contains(&p.number));
    for port in input.service.ports.iter().filter(allowed) {
        add(input, port, None, &mut output);
        for subset in &subsets {
            add(input, port, Some(*subset), &mut output);
        }
    }
    output
}

fn add(input: &Input, port: &Port, subset: Option<(&Subset, &DestinationRule)>, output: &mut Output) {
    let service = &*input.service;
    let subset_name = subset.map_or("", |(s, _)| &*s.name);
    let name = xds::outbound_cluster(port.number, subset_name, service.hostname.as_str());
    let destination = Destination(&input.rules);
    let settings = destination.policy(subset.map(|(s, _)| s), port.number);
    let mut cluster = api::Cluster {
        name: name.to_string(),
        metadata: xds::metadata(
            metadata(service, subset_name, destination),
            std::iter::once(xds::origin(&service.meta)).chain(destination.origins(subset.map(|(_, rule)| rule))),
        ),
        ..Default::default()
    };
    policy::apply(&mut cluster, &settings, policy::Upstream::of(input, port));
    let nearness = Nearness::of(&settings, &input.mesh, input.place.as_ref()).map(Arc::new);
    balancer::apply_nearness(&mut cluster, nearness.as_deref());
    let discovery = discovery(input, destination.is_passthrough(subset.map(|(s, _)| s), port.number));
    let labels = subset.map(|(s, _)| s.labels.clone()).unwrap_or_default();
    match discovery {
        DiscoveryType::Eds => {
            cluster.eds_cluster_config =
                Some(api::cluster::EdsClusterConfig { eds_config: Some(xds::ads()), service_name: name.to_string() });
            output.assignments.push(Assignment {
                cluster: name.clone(),
                port_name: port.name.clone(),
                labels,
                nearness,
            });
        }
        DiscoveryType::OriginalDst => {
            if input.generator == Generator::Grpc {
                return;
            }
            cluster.lb_policy = LbPolicy::ClusterProvided as i32;
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let wanted = Assignment { cluster: name.clone(), port_name: port.name.clone(), labels, nearness };
            if !resolve(input, &wanted, discovery, &mut cluster) {
                output.diagnostics.push(without_endpoints(service, &name));
                return;
            }
        }
        DiscoveryType::Static => {}
    }
    if cluster.cluster_discovery_type.is_none() {
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery as i32));
    }
    output.clusters.push(Resource::new(name, &cluster));
}

fn discovery(input: &Input, passthrough: bool) -> DiscoveryType {
    let grpc = input.generator == Generator::Grpc;
    match input.service.resolution {
        Resolution::ClientSideLb if passthrough && input.captured && !grpc => DiscoveryType::OriginalDst,
        Resolution::ClientSideLb | Resolution::Alias(_) => DiscoveryType::Eds,
        // A client that is not captured, or that is no proxy, did not choose
        // an address: it must be given the endpoints.
        Resolution::Passthrough if grpc || !input.captured => DiscoveryType::Eds,
        Resolution::Passthrough => DiscoveryType::OriginalDst,
        Resolution::DnsLb if grpc => DiscoveryType::LogicalDns,
        Resolution::DnsLb => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
    }
}

/// Enters the endpoints of a cluster that resolves names; whether there are
/// any (exactly one, for LOGICAL_DNS) that can be used.
fn resolve(input: &Input, wanted: &Assignment, discovery: DiscoveryType, cluster: &mut api::Cluster) -> bool {
    let Some(set) = &input.pinned else { return false };
    let one = discovery == DiscoveryType::LogicalDns;
    let limit = if one { 1 } else { usize::MAX };
    let chosen = set.of_port(&wanted.port_name).filter(|e| wanted.labels.selects(&e.labels)).take(limit);
    // A single endpoint is taken wherever it is.
    let nearness = wanted.nearness.as_deref().filter(|_| !one);
    let assignment = endpoint::assignment(&cluster.name, chosen, endpoint::Names::Resolved, nearness);
    let first = assignment.endpoints.first().and_then(|l| l.lb_endpoints.first());
    if first.is_none() {
        return false;
    }
    if one && set.of_port(&wanted.port_name).all(|e| !matches!(e.address, Address::Dns(_))) {
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns as i32));
    }
    cluster.load_assignment = Some(assignment);
    cluster.dns_lookup_family = match (input.families.v4, input.families.v6) {
        (true, true) => DnsLookupFamily::All,
        (false, true) => DnsLookupFamily::V6Only,
        _ => DnsLookupFamily::V4Only,
    } as i32;
    set_refresh(cluster, input.mesh.dns_refresh_rate);
    true
}

#[allow(deprecated, reason = "the enum types STRICT_DNS and LOGICAL_DNS read no other field")]
fn set_refresh(cluster: &mut api::Cluster, rate: std::time::Duration) {
    cluster.dns_refresh_rate = xds::duration(rate);
    cluster.respect_dns_ttl = true;
}

/// Istio's description of a cluster, which dashboards and tools read.
fn metadata(
    service: &Service,
    subset: &str,
    destination: Destination<'_>,
) -> Vec<(&'static str, mesh_proto::google::protobuf::Value)> {
    let mut fields = vec![("services", xds::list([described(service)]))];
    if let Some(path) = destination.config_path() {
        fields.push(("config", xds::text(&path)));
    }
    if !subset.is_empty() {
        fields.push(("subset", xds::text(subset)));
    }
    fields
}

fn described(service: &Service) -> mesh_proto::google::protobuf::Value {
    xds::object([
        ("host", xds::text(service.hostname.as_str())),
        ("name", xds::text(short_name(service))),
        ("namespace", xds::text(service.meta.namespace())),
    ])
}

/// A ServiceEntry's service is called by its host.
fn short_name(service: &Service) -> &str {
    match service.registry {
        mesh_model::Registry::External => service.hostname.as_str(),
        _ => service.meta.name(),
    }
}

fn without_endpoints(service: &Service, cluster: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::MissingReference,
        object: Some(service.meta.object.clone()),
        location: service.meta.location.clone(),
        field: "spec.endpoints".to_owned(),
        message: format!("{} is resolved by DNS and has no endpoint that names what to ask for", service.hostname),
        consequence: format!("cluster {cluster} is left out, requests to it are answered with 503"),
    }
}
