//! Listeners for calls to the workload: `virtualInbound`, or without capture
//! one listener per port on the workload's own address.

use mesh_model::rules::peer_authentication::MutualTls;
use mesh_model::{Protocol, Service};
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as api;
use mesh_proto::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};
use mesh_proto::resource::Resource;

use super::{Manager, Routes};
use super::{chain, encoded, except, http_inspector, inspect, listener, original_dst, tcp_proxy, tls_inspector};
use crate::http_filters::Chain;
use crate::mutual_tls::{self, Carries, Shape};
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
    encoded(listeners, &scope.mesh)
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
    let mutual = scope.mutual_tls.any();
    let blackhole = tcp_proxy(xds::BLACK_HOLE, xds::BLACK_HOLE, None, &scope.mesh);
    listener.filter_chains.push(chain("virtualInbound-blackhole", to_port(own), blackhole));
    let mut declared = Vec::new();
    for ports in scope.ports.chunk_by(|a, b| a.target == b.target).filter(|p| p[0].target != own) {
        listener.filter_chains.extend(chains(scope, ports, wildcard, to_port(ports[0].target)));
        if protocol(ports) != Protocol::Auto {
            declared.push(ports[0].target);
        }
    }
    for port in scope.mutual_tls.stated().filter(|p| scope.ports.iter().all(|own| own.target != *p)) {
        listener.filter_chains.extend(catch_all(scope, scope.mutual_tls.of_port(port), to_port(port)));
    }
    listener.filter_chains.extend(catch_all(scope, scope.mutual_tls.all(), FilterChainMatch::default()));
    declared.extend(SERVER_FIRST);
    declared.sort_unstable();
    declared.dedup();
    let mut filters = vec![original_dst()];
    if mutual {
        // A sidecar's client speaks first in every handshake; where plaintext is accepted too and the server speaks
        // first, looking would wait for ever.
        let waits = |port: &u16| scope.mutual_tls.of_port(*port) != MutualTls::Strict;
        let server_first: Vec<u16> = SERVER_FIRST.into_iter().filter(waits).collect();
        filters.push(except(tls_inspector(), &server_first));
    }
    filters.push(except(http_inspector(), &declared));
    inspect(&mut listener, filters, &scope.mesh);
    listener
}

/// Calls to ports that no service declares go where they were going.
fn catch_all(scope: &Inbound, mode: MutualTls, matches: FilterChainMatch) -> Vec<FilterChain> {
    let of_shape = |shape: &Shape| {
        let (name, filter) = if shape.http {
            let manager = Manager {
                stat_prefix: xds::INBOUND_PASSTHROUGH.to_owned(),
                routes: Routes::Inline(Box::new(route::inbound_passthrough())),
                chain: Chain { grpc: false },
                inbound: true,
            };
            ("virtualInbound-catchall-http", manager.filter(&scope.mesh))
        } else {
            ("virtualInbound", tcp_proxy(xds::INBOUND_PASSTHROUGH, xds::INBOUND_PASSTHROUGH, None, &scope.mesh))
        };
        shaped(scope, name, shape, matches.clone(), filter)
    };
    mutual_tls::shapes(mode, Carries::Either).iter().map(of_shape).collect()
}

/// A chain that ends in `filter` and takes what `shape` says.
fn shaped(scope: &Inbound, name: &str, shape: &Shape, matches: FilterChainMatch, filter: Filter) -> FilterChain {
    FilterChain {
        transport_socket: shape.transport_socket(&scope.mesh.trust_domain),
        ..chain(name, shape.narrowed(matches), filter)
    }
}

/// The chains of one own port: of several services on it, the oldest says
/// which protocol it speaks.
fn chains(scope: &Inbound, ports: &[OwnPort], address: &str, matches: FilterChainMatch) -> Vec<FilterChain> {
    let port = ports[0].target;
    let name = format!("{address}_{port}");
    let origins = || ports.iter().map(|p| xds::origin(&p.service.meta));
    let protocol = protocol(ports);
    let carries = match protocol {
        Protocol::Auto => Carries::Either,
        protocol if protocol.is_http() => Carries::Http,
        _ => Carries::Bytes,
    };
    let of_shape = |shape: &Shape| {
        let filter = if shape.http {
            let manager = Manager {
                stat_prefix: format!("inbound_{address}_{port};"),
                routes: Routes::Inline(Box::new(route::inbound(ports))),
                chain: Chain { grpc: protocol.is_http2() && protocol != Protocol::Http2 },
                inbound: true,
            };
            manager.filter(&scope.mesh)
        } else {
            let cluster = xds::inbound_cluster(port);
            tcp_proxy(&cluster, &cluster, None, &scope.mesh)
        };
        shaped(scope, &name, shape, matches.clone(), filter)
    };
    let mut chains: Vec<FilterChain> =
        mutual_tls::shapes(scope.mutual_tls.of_port(port), carries).iter().map(of_shape).collect();
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
