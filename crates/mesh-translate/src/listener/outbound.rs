//! Listeners for calls from the workload.
//!
//! With capture, `virtualOutbound` accepts every connection and hands it to the
//! listener of its original destination, which is not bound itself. Without
//! capture, listeners are bound on the workload's own address, one per service
//! port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_model::rules::mesh_config::OutboundTrafficPolicy;
use mesh_model::{Address, Code, Diagnostic, Port, Protocol, Registry, Resolution, Service, Severity};
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as api;
use mesh_proto::envoy::config::listener::v3::FilterChainMatch;
use mesh_proto::resource::Resource;

use super::slot::{Slot, Tcp};
use super::{Through, chain, encoded, listener, tcp_proxy};
use crate::destination::Destination;
use crate::route::RouteName;
use crate::scope;
use crate::scope::VisibleService;
use crate::xds;

/// The outbound listeners of a scope, and the routes they ask for.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pub(crate) listeners: Vec<Resource>,
    pub(crate) routes: BTreeSet<RouteName>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Decides which listeners the visible services need.
pub(crate) fn outbound(scope: &scope::Outbound) -> Outbound {
    let mut build = Build { scope, slots: BTreeMap::new(), diagnostics: Vec::new() };
    let mut services: Vec<&VisibleService> = scope.visible.services.iter().collect();
    services.sort_by(|a, b| a.service.meta.age_order().cmp(&b.service.meta.age_order()));
    for visible in services {
        if !matches!(visible.service.resolution, Resolution::Alias(_)) {
            for port in visible.service.ports.iter().filter(|p| p.protocol != Protocol::Udp && visible.allows(p.number))
            {
                build.add(visible, port);
            }
        }
    }
    build.finish()
}

struct Build<'a> {
    scope: &'a scope::Outbound,
    slots: BTreeMap<(String, u16), Slot>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Build<'a> {
    fn add(&mut self, visible: &'a VisibleService, port: &'a Port) {
        if let Some(diagnostic) = self.reserved(&visible.service, port) {
            self.diagnostics.push(diagnostic);
        } else if self.scope.captured {
            self.add_captured(visible, port);
        } else {
            self.add_bound(visible, port);
        }
    }

    fn slot(&mut self, bind: String, port: u16, catches_all: bool) -> &mut Slot {
        self.slots.entry((bind.clone(), port)).or_insert_with(|| Slot::new(bind, port, catches_all))
    }

    fn wildcard(&mut self, port: u16) -> &mut Slot {
        self.slot(self.scope.families.wildcard().to_owned(), port, true)
    }

    fn add_captured(&mut self, visible: &VisibleService, port: &Port) {
        let service = &visible.service.0;
        if port.protocol.is_http() {
            let grpc = matches!(port.protocol, Protocol::Grpc | Protocol::GrpcWeb);
            self.wildcard(port.number).add_http(service, RouteName::Port(port.number), grpc, false);
            return;
        }
        let (hosts, ranges) = self.addresses(service);
        if service.is_headless() && (service.registry == Registry::Kubernetes || self.has_endpoints(service, port)) {
            self.add_headless(visible, port);
        } else if service.addresses.is_empty() {
            self.add_bytes(visible, port, None, Vec::new());
        } else {
            for host in hosts {
                self.add_bytes(visible, port, Some(host), Vec::new());
            }
            if !ranges.is_empty() {
                self.add_bytes(visible, port, None, ranges);
            }
        }
    }

    /// A headless service is called by its endpoints' addresses. The workload's
    /// own is left out: a call to it never leaves the machine.
    fn add_headless(&mut self, visible: &VisibleService, port: &Port) {
        let scope = self.scope;
        let Some(set) = scope.pinned.get(&visible.service.key()) else { return };
        let mut addresses = BTreeSet::new();
        for endpoint in set.of_port(&port.name) {
            match endpoint.address {
                Address::Ip(ip) if scope.families.include(ip) && scope.own != Some(ip) => addresses.insert(ip),
                _ => continue,
            };
        }
        for address in addresses {
            self.add_bytes(visible, port, Some(address), Vec::new());
        }
    }

    /// A chain that forwards bytes, and before it one for HTTP if the service
    /// leaves open what it speaks.
    fn add_bytes(&mut self, visible: &VisibleService, port: &Port, host: Option<IpAddr>, ranges: Vec<IpNet>) {
        let service = &visible.service.0;
        let tcp = Tcp {
            ranges,
            server_name: (port.protocol.is_tls() && host.is_none()).then(|| service.hostname.name()),
            ..bytes(visible, port)
        };
        let slot = match host {
            Some(host) => self.slot(host.to_string(), port.number, false),
            None => self.wildcard(port.number),
        };
        let lost = slot.add_tcp(tcp);
        if port.protocol == Protocol::Auto && lost.is_none() {
            // On an address of its own the service is known; elsewhere its host tells.
            let route = match host {
                Some(_) => RouteName::Sniffed { host: service.hostname.clone(), port: port.number },
                None => RouteName::Port(port.number),
            };
            slot.add_http(service, route, false, true);
        }
        self.diagnostics.extend(lost);
    }

    /// Without capture the destination of a connection is this listener itself:
    /// only what is said inside HTTP tells services apart.
    fn add_bound(&mut self, visible: &VisibleService, port: &Port) {
        let Some(own) = self.scope.own else { return };
        let service = &visible.service.0;
        let slot = self.slot(own.to_string(), port.number, false);
        if port.protocol.is_http() || port.protocol == Protocol::Auto {
            let grpc = matches!(port.protocol, Protocol::Grpc | Protocol::GrpcWeb);
            slot.add_http(service, RouteName::Port(port.number), grpc, false);
        } else {
            slot.add_ambiguous(bytes(visible, port));
        }
    }

    /// Single addresses that a proxy can be called at, and networks.
    fn addresses(&self, service: &Service) -> (Vec<IpAddr>, Vec<IpNet>) {
        let usable = service.addresses.iter().filter(|n| self.scope.families.include(n.addr()));
        let (hosts, ranges): (Vec<&IpNet>, Vec<&IpNet>) = usable.partition(|n| n.prefix_len() == n.max_prefix_len());
        (hosts.into_iter().map(IpNet::addr).collect(), ranges.into_iter().map(IpNet::trunc).collect())
    }

    fn has_endpoints(&self, service: &Service, port: &Port) -> bool {
        self.scope.pinned.get(&service.key()).is_some_and(|s| s.of_port(&port.name).next().is_some())
            || !service.selector.is_empty()
    }

    /// Ports that the sidecar itself needs.
    fn reserved(&self, service: &Service, port: &Port) -> Option<Diagnostic> {
        let mesh = &self.scope.mesh;
        let own = [mesh.proxy_listen_port, mesh.proxy_inbound_listen_port];
        if self.scope.captured && own.contains(&port.number) {
            return Some(unreachable(service, port, "the sidecar itself listens on that port"));
        }
        if self.scope.captured {
            return None;
        }
        let mut taken = self.scope.taken.iter().filter(|(p, _)| *p == port.number);
        let first = taken.next()?;
        let mut lost = unreachable(service, port, "the workload's own inbound listener has that port");
        if std::iter::once(first).chain(taken).any(|(_, own)| own.key() == service.key()) {
            // A call to it ends at the workload itself, which is one of its endpoints.
            lost.severity = Severity::Info;
        }
        Some(lost)
    }

    fn finish(mut self) -> Outbound {
        if !self.scope.captured {
            self.settle_bound();
        }
        let passthrough = match self.scope.policy {
            OutboundTrafficPolicy::AllowAny => xds::PASSTHROUGH,
            OutboundTrafficPolicy::RegistryOnly => xds::BLACK_HOLE,
        };
        let mut listeners: Vec<api::Listener> = self.slots.values().map(|s| s.build(self.scope, passthrough)).collect();
        if self.scope.captured {
            listeners.push(virtual_outbound(self.scope, passthrough));
        }
        Outbound {
            listeners: encoded(listeners, &self.scope.mesh),
            routes: self.slots.values().filter_map(|s| s.route().cloned()).collect(),
            diagnostics: self.diagnostics,
        }
    }

    /// Bytes alone do not say whom they are for: where HTTP is spoken, or where
    /// two services want a port, no TCP service has it.
    fn settle_bound(&mut self) {
        for slot in self.slots.values_mut() {
            for service in slot.drop_ambiguous_tcp() {
                let port = slot.port;
                if let Some(port) = service.port(port) {
                    self.diagnostics.push(unreachable(&service, port, "another service has the same port"));
                }
            }
        }
        self.slots.retain(|_, s| !s.is_empty());
    }
}

fn bytes(visible: &VisibleService, port: &Port) -> Tcp {
    let destination = Destination(&visible.rules);
    let service = &visible.service.0;
    let pool = destination.policy(None, port.number).connection_pool;
    Tcp {
        service: service.clone(),
        ranges: Vec::new(),
        server_name: None,
        cluster: xds::outbound_cluster(port.number, "", service.hostname.as_str()),
        idle: pool.and_then(|p| p.tcp_idle_timeout),
        through: Through {
            tunnel: destination.tunnel(None).cloned(),
            by_source: destination.hashes_source(None, port.number),
        },
        origins: std::iter::once(xds::origin(&service.meta)).chain(destination.origins(None)).collect(),
    }
}

/// Accepts what the kernel redirects. What no other listener stands for is
/// passed on or refused; a call to the listener's own port would loop.
fn virtual_outbound(scope: &scope::Outbound, passthrough: &str) -> api::Listener {
    let port = scope.mesh.proxy_listen_port;
    let wildcard = scope.families.wildcard();
    let mut listener = listener("virtualOutbound".to_owned(), wildcard, port, TrafficDirection::Outbound);
    if scope.families.v4 && scope.families.v6 {
        listener.additional_addresses =
            vec![api::AdditionalAddress { address: Some(xds::socket("::", port)), ..Default::default() }];
    }
    listener.use_original_dst = xds::truth(true);
    let own = FilterChainMatch { destination_port: xds::number(u32::from(port)), ..Default::default() };
    let blackhole = tcp_proxy(xds::BLACK_HOLE, xds::BLACK_HOLE, None, &scope.mesh);
    listener.filter_chains = vec![chain("virtualOutbound-blackhole", own, blackhole)];
    let rest = tcp_proxy(passthrough, passthrough, None, &scope.mesh);
    listener.default_filter_chain = Some(chain("virtualOutbound-catchall-tcp", FilterChainMatch::default(), rest));
    listener
}

fn unreachable(service: &Service, port: &Port, why: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Conflict,
        object: Some(service.meta.object.clone()),
        location: service.meta.location.clone(),
        field: "spec.ports".to_owned(),
        message: format!("port {} of {} gets no listener on this workload: {why}", port.number, service.hostname),
        consequence: "this port cannot be called through the sidecar from there".to_owned(),
    }
}
