//! Listeners for calls to the workload: `virtualInbound`, or without capture
//! one listener per port on the workload's own address.

use mesh_model::{Protocol, Service};
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as api;
use mesh_proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch};
use mesh_proto::resource::Resource;

use super::{Manager, Routes};
use super::{chain, detected_http, except, http_inspector, inspect, listener, original_dst, tcp_proxy};
use crate::http_filters::Chain;
use crate::proxy::Capture;
use crate::route;
use crate::scope::{Bound, Inbound, OwnPort};
use crate::xds;

/// All inbound listeners of a proxy.
pub(crate) fn inbound(scope: &Inbound) -> Vec<Resource> {
    let listeners = match &scope.bound {
        Some(bound) => scope.ports.chunk_by(|a, b| a.target == b.target).map(|p| of_port(scope, bound, p)).collect(),
        None => vec![captured(scope)],
    };
    listeners.iter().map(|l: &api::Listener| Resource::new(l.name.as_str(), l)).collect()
}

/// Without capture: the very address that endpoints name.
fn of_port(scope: &Inbound, bound: &Bound, ports: &[OwnPort]) -> api::Listener {
    let (address, port) = (bound.address.to_string(), ports[0].target);
    let mut listener = listener(format!("{address}_{port}"), &address, port, TrafficDirection::Inbound);
    listener.filter_chains = chains(scope, ports, &address, FilterChainMatch::default());
    listener.metadata = xds::metadata(Vec::new(), ports.iter().map(|p| xds::origin(&p.service.meta)));
    if protocol(ports) == Protocol::Auto {
        inspect(&mut listener, vec![http_inspector()], &scope.mesh);
    }
    listener
}

/// With capture: one listener, in which the original port chooses the chain.
fn captured(scope: &Inbound) -> api::Listener {
    let own = scope.mesh.proxy_inbound_listen_port;
    let wildcard = scope.families.wildcard();
    let mut listener = listener("virtualInbound".to_owned(), wildcard, own, TrafficDirection::Inbound);
    if scope.families.v4 && scope.families.v6 {
        listener.additional_addresses =
            vec![api::AdditionalAddress { address: Some(xds::socket("::", own)), ..Default::default() }];
    }
    if scope.capture == Capture::Tproxy {
        listener.transparent = xds::truth(true);
    }
    let blackhole = tcp_proxy(xds::BLACK_HOLE, xds::BLACK_HOLE, None, &scope.mesh);
    listener.filter_chains.push(chain("virtualInbound-blackhole", to_port(own), blackhole));
    let mut declared = Vec::new();
    for ports in scope.ports.chunk_by(|a, b| a.target == b.target).filter(|p| p[0].target != own) {
        listener.filter_chains.extend(chains(scope, ports, wildcard, to_port(ports[0].target)));
        if protocol(ports) != Protocol::Auto {
            declared.push(ports[0].target);
        }
    }
    listener.filter_chains.extend(catch_all(scope));
    declared.extend(SERVER_FIRST);
    declared.sort_unstable();
    declared.dedup();
    inspect(&mut listener, vec![original_dst(), except(http_inspector(), &declared)], &scope.mesh);
    listener
}

/// Calls to ports that no service declares go where they were going.
fn catch_all(scope: &Inbound) -> [FilterChain; 2] {
    let manager = Manager {
        stat_prefix: xds::INBOUND_PASSTHROUGH.to_owned(),
        routes: Routes::Inline(Box::new(route::inbound_passthrough())),
        chain: Chain { grpc: false },
        inbound: true,
    };
    let http = FilterChainMatch { application_protocols: detected_http(), ..Default::default() };
    let bytes = tcp_proxy(xds::INBOUND_PASSTHROUGH, xds::INBOUND_PASSTHROUGH, None, &scope.mesh);
    [
        chain("virtualInbound-catchall-http", http, manager.filter(&scope.mesh)),
        chain("virtualInbound", FilterChainMatch::default(), bytes),
    ]
}

/// The chains of one own port: of several services on it, the oldest says
/// which protocol it speaks.
fn chains(scope: &Inbound, ports: &[OwnPort], address: &str, matches: FilterChainMatch) -> Vec<FilterChain> {
    let port = ports[0].target;
    let name = format!("{address}_{port}");
    let origins = || ports.iter().map(|p| xds::origin(&p.service.meta));
    let mut chains = Vec::new();
    let protocol = protocol(ports);
    if protocol.is_http() || protocol == Protocol::Auto {
        let manager = Manager {
            stat_prefix: format!("inbound_{address}_{port};"),
            routes: Routes::Inline(Box::new(route::inbound(ports))),
            chain: Chain { grpc: protocol.is_http2() && protocol != Protocol::Http2 },
            inbound: true,
        };
        let mut http = matches.clone();
        if protocol == Protocol::Auto {
            http.application_protocols = detected_http();
        }
        chains.push(chain(&name, http, manager.filter(&scope.mesh)));
    }
    if !protocol.is_http() {
        let cluster = xds::inbound_cluster(port);
        chains.push(chain(&name, matches, tcp_proxy(&cluster, &cluster, None, &scope.mesh)));
    }
    for chain in &mut chains {
        chain.metadata = xds::metadata(Vec::new(), origins());
    }
    chains
}

fn protocol(ports: &[OwnPort]) -> Protocol {
    let of = |service: &Service, number| service.port(number).map(|p| p.protocol);
    of(&ports[0].service, ports[0].number).unwrap_or(Protocol::Tcp)
}

fn to_port(port: u16) -> FilterChainMatch {
    FilterChainMatch { destination_port: xds::number(u32::from(port)), ..Default::default() }
}

/// On these ports the server, or nobody, speaks first: waiting for the client's
/// first bytes would wait for ever.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];
