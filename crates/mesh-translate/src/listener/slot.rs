//! One outbound address and port, and the services that want it.
//!
//! Istio's conflict rules: HTTP services share an address, told apart by host;
//! TCP services share it if address ranges or TLS server names tell them apart;
//! HTTP and one TCP service share it by looking at the first bytes. What cannot
//! be told apart is decided by age: the oldest service keeps the address.

use std::sync::Arc;

use ipnet::IpNet;
use mesh_model::{Code, Diagnostic, Name, Service, Severity};
use mesh_proto::envoy::config::core::v3::TrafficDirection;
use mesh_proto::envoy::config::listener::v3 as api;
use mesh_proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch};
use mesh_proto::origin::Origin;

use super::{
    Manager, Routes, Through, chain, http_inspector, inspect, listener, plaintext_http, tcp_proxy, tcp_proxy_through,
    tls_inspector,
};
use crate::http_filters::Chain;
use crate::route::RouteName;
use crate::scope;
use crate::xds;

/// What listens on one address and port.
#[derive(Debug)]
pub(super) struct Slot {
    /// Bound address; the wildcard if `catches_all`.
    pub(super) bind: String,
    pub(super) port: u16,
    /// Whether connections to any address may arrive: then what no chain takes
    /// goes where unknown destinations go.
    pub(super) catches_all: bool,
    http: Option<Http>,
    tcp: Vec<Tcp>,
}

#[derive(Debug)]
struct Http {
    route: RouteName,
    grpc: bool,
    /// Whether the port's services leave open what they speak.
    sniffed: bool,
    first: Arc<Service>,
}

/// One chain that forwards bytes.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) service: Arc<Service>,
    /// Destination networks; empty: any.
    pub(super) ranges: Vec<IpNet>,
    /// TLS server name; `None`: any, or no TLS.
    pub(super) server_name: Option<Name>,
    pub(super) cluster: Name,
    pub(super) idle: Option<std::time::Duration>,
    /// How connections come to the cluster's endpoints, and go on from there.
    pub(super) through: Through,
    pub(super) origins: Vec<Origin>,
}

impl Slot {
    pub(super) fn new(bind: String, port: u16, catches_all: bool) -> Self {
        Self { bind, port, catches_all, http: None, tcp: Vec::new() }
    }

    /// A service that speaks HTTP, or may.
    pub(super) fn add_http(&mut self, service: &Arc<Service>, route: RouteName, grpc: bool, sniffed: bool) {
        match &mut self.http {
            None => self.http = Some(Http { route, grpc, sniffed, first: service.clone() }),
            Some(http) => {
                http.grpc |= grpc;
                if !sniffed && http.sniffed {
                    // Routes of the whole port hold the sniffed service's too.
                    http.route = route;
                    http.sniffed = false;
                } else if http.sniffed && http.route != route {
                    http.route = RouteName::Port(self.port);
                }
            }
        }
    }

    /// A service that speaks something else, or may. The loser of a conflict
    /// is named in the result.
    pub(super) fn add_tcp(&mut self, mut new: Tcp) -> Option<Diagnostic> {
        let rival = |tcp: &&Tcp| tcp.server_name == new.server_name;
        if new.ranges.is_empty() {
            if let Some(rival) = self.tcp.iter().filter(rival).find(|t| t.ranges.is_empty()) {
                return Some(self.conflict(&new, &rival.service));
            }
        } else {
            let taken: Vec<&Tcp> = self.tcp.iter().filter(rival).collect();
            let wanted = std::mem::take(&mut new.ranges);
            let free = |net: &IpNet| !taken.iter().any(|t| t.ranges.contains(net));
            new.ranges = wanted.iter().filter(|n| free(n)).copied().collect();
            if new.ranges.is_empty() {
                let rival = taken.iter().find(|t| wanted.iter().any(|n| t.ranges.contains(n)));
                return rival.map(|r| self.conflict(&new, &r.service));
            }
        }
        self.tcp.push(new);
        None
    }

    /// A TCP service on an address that many share; see
    /// [`Slot::drop_ambiguous_tcp`].
    pub(super) fn add_ambiguous(&mut self, new: Tcp) {
        self.tcp.push(new);
    }

    /// Takes out all TCP services where bytes alone would not say which of
    /// several services they are for, and names them.
    pub(super) fn drop_ambiguous_tcp(&mut self) -> Vec<Arc<Service>> {
        if self.tcp.len() + usize::from(self.http.is_some()) < 2 {
            return Vec::new();
        }
        self.tcp.drain(..).map(|t| t.service).collect()
    }

    /// Whether nobody wants it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.http.is_none() && self.tcp.is_empty()
    }

    fn conflict(&self, loser: &Tcp, winner: &Service) -> Diagnostic {
        let service = &loser.service;
        Diagnostic {
            severity: Severity::Warning,
            code: Code::Conflict,
            object: Some(service.meta.object.clone()),
            location: service.meta.location.clone(),
            field: "spec.ports".to_owned(),
            message: format!(
                "port {} of {} takes the same connections to {}:{} as {}",
                self.port, service.hostname, self.bind, self.port, winner.meta.object
            ),
            consequence: format!("connections go to {}, the older one; this port gets no listener", winner.hostname),
        }
    }

    /// Routes that its connection manager asks for.
    pub(super) fn route(&self) -> Option<&RouteName> {
        self.http.as_ref().map(|h| &h.route)
    }

    /// The listener. `passthrough` is the cluster of connections that no chain
    /// takes.
    pub(super) fn build(&self, scope: &scope::Outbound, passthrough: &str) -> api::Listener {
        let name = format!("{}_{}", self.bind, self.port);
        let mut listener = listener(name.clone(), &self.bind, self.port, TrafficDirection::Outbound);
        if scope.captured {
            listener.bind_to_port = xds::truth(false);
        }
        if self.catches_all && scope.families.v4 && scope.families.v6 {
            listener.additional_addresses =
                vec![api::AdditionalAddress { address: Some(xds::socket("::", self.port)), ..Default::default() }];
        }
        let tells_http = self.http.is_some() && (self.catches_all || !self.tcp.is_empty());
        if let Some(http) = &self.http {
            let matches = if tells_http { plaintext_http() } else { FilterChainMatch::default() };
            listener.filter_chains.push(self.http_chain(http, matches, scope));
        }
        // What is no HTTP must be left to the default chain: once a chain asks
        // for a transport protocol, chains that do not ask are not looked at.
        let rest = |t: &&Tcp| tells_http && t.ranges.is_empty() && t.server_name.is_none();
        let other = self.tcp.iter().filter(|t| !rest(t));
        listener.filter_chains.extend(other.map(|t| tcp_chain(t, &name, scope)));
        listener.default_filter_chain = self.tcp.iter().find(rest).map(|t| tcp_chain(t, &name, scope));
        let total = |t: &Tcp| t.ranges.is_empty() && t.server_name.is_none();
        if self.catches_all && !self.tcp.iter().any(total) {
            let filter = tcp_proxy(passthrough, passthrough, None, &scope.mesh);
            listener.default_filter_chain = Some(chain("PassthroughFilterChain", FilterChainMatch::default(), filter));
        }
        let mut inspectors = Vec::new();
        if tells_http || self.tcp.iter().any(|t| t.server_name.is_some()) {
            inspectors.push(tls_inspector());
        }
        if tells_http {
            inspectors.push(http_inspector());
        }
        inspect(&mut listener, inspectors, &scope.mesh);
        // The service that asked first stands for all: if each were named, one
        // more service on a shared port would make every proxy drain it.
        let first = self.http.as_ref().map(|h| &h.first).or(self.tcp.first().map(|t| &t.service));
        listener.metadata = xds::metadata(Vec::new(), first.map(|s| xds::origin(&s.meta)));
        listener
    }

    fn http_chain(&self, http: &Http, matches: FilterChainMatch, scope: &scope::Outbound) -> FilterChain {
        let manager = Manager {
            stat_prefix: format!("outbound_{}_{};", self.bind, self.port),
            routes: Routes::Named(http.route.to_string()),
            chain: Chain { grpc: http.grpc },
            inbound: false,
        };
        chain(&format!("{}_{}", self.bind, self.port), matches, manager.filter(&scope.mesh))
    }
}

fn tcp_chain(tcp: &Tcp, name: &str, scope: &scope::Outbound) -> FilterChain {
    let matches = FilterChainMatch {
        prefix_ranges: tcp.ranges.iter().map(xds::range).collect(),
        server_names: tcp.server_name.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let mut chain =
        chain(name, matches, tcp_proxy_through(&tcp.cluster, &tcp.cluster, tcp.idle, &tcp.through, &scope.mesh));
    chain.metadata = xds::metadata(Vec::new(), tcp.origins.clone());
    chain
}
