//! Listeners: where connections come in, and which filter chain takes them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_proto::envoy::config::listener::v3 as xds;
use mesh_proto::origin::Origin;

use crate::access_log::AccessLog;
use crate::error::ConfigError;
use crate::hcm::{HttpConnectionManager, RouteSource};
use crate::runtime::Routes;
use crate::tcp::TcpProxy;

mod parse;
pub(crate) mod select;
#[cfg(test)]
mod tests;

/// A parsed `envoy.config.listener.v3.Listener`.
#[derive(Debug)]
pub struct Listener {
    /// Its name; the address if the resource has none.
    pub name: Arc<str>,
    /// Where to listen (if `bind_to_port`), and what captured connections are matched with.
    pub address: SocketAddr,
    /// More addresses that share everything else.
    pub additional_addresses: Vec<SocketAddr>,
    /// `stat_prefix`, or the address with `_` for `:`, as in `listener.<this>.downstream_cx_total`.
    pub stat_prefix: Arc<str>,
    /// Whether to open a socket. Listeners without one get connections only by `use_original_dst`.
    pub bind_to_port: bool,
    /// Connections whose restored destination is another listener's address are handed to that listener.
    pub use_original_dst: bool,
    /// Socket option `SO_REUSEPORT` is wanted (default).
    pub reuse_port: bool,
    /// `IP_TRANSPARENT`
    pub transparent: bool,
    /// `IP_FREEBIND`
    pub freebind: bool,
    /// Listen backlog, if set.
    pub tcp_backlog: Option<u32>,
    /// Read and write buffer of a connection, soft limit in bytes.
    pub per_connection_buffer_limit_bytes: u32,
    /// TCP keepalive of accepted connections.
    pub tcp_keepalive: Option<crate::cluster::TcpKeepalive>,
    /// Listener filters, in order.
    pub listener_filters: Vec<ListenerFilter>,
    /// How long listener filters may take; `None`: forever.
    pub listener_filters_timeout: Option<Duration>,
    /// After that timeout go on with what is known, instead of closing.
    pub continue_on_listener_filters_timeout: bool,
    /// Inbound or outbound.
    pub traffic_direction: Direction,
    /// Logs of connections that no filter chain took.
    pub access_log: Vec<AccessLog>,
    /// All chains in the order of the resource, without the default.
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// Takes what no chain matches.
    pub default_filter_chain: Option<Arc<FilterChain>>,
    selector: select::Selector,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
    /// XXH3 of the encoded resource; equal hashes mean nothing changed.
    pub hash: u64,
}

/// `envoy.config.core.v3.TrafficDirection`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Not said.
    Unspecified,
    /// Towards the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// What is done before a filter chain is chosen.
#[derive(Debug, Clone)]
pub struct ListenerFilter {
    /// What.
    pub kind: ListenerFilterKind,
    /// Not for connections whose destination port satisfies this.
    pub disabled: Option<PortPredicate>,
}

/// Listener filters this proxy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerFilterKind {
    /// Restore the destination that iptables replaced.
    OriginalDst,
    /// Look at the TLS client hello for server name and ALPN.
    TlsInspector,
    /// Look at the first bytes for HTTP/1 or the HTTP/2 preface.
    HttpInspector,
}

/// `ListenerFilterChainMatchPredicate`, over the destination port.
#[derive(Debug, Clone)]
pub enum PortPredicate {
    /// One of them.
    Or(Vec<PortPredicate>),
    /// All of them.
    And(Vec<PortPredicate>),
    /// Not it.
    Not(Box<PortPredicate>),
    /// Always.
    Any,
    /// `start <= port < end`
    Range(i32, i32),
}

/// A filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// What it matches.
    pub matches: ChainMatch,
    /// TLS, which ends here; `None`: its filters see the bytes as they come.
    pub tls: Option<Arc<crate::tls::ServerTls>>,
    /// Its terminal network filter.
    pub filter: NetworkFilter,
    /// How long the transport socket may take to be ready.
    pub transport_socket_connect_timeout: Option<Duration>,
    /// Which rule objects shaped it.
    pub origins: Vec<Origin>,
}

/// The terminal network filter of a chain.
#[derive(Debug, Clone)]
pub enum NetworkFilter {
    /// `envoy.filters.network.http_connection_manager`
    Http(Arc<HttpConnectionManager>),
    /// `envoy.filters.network.tcp_proxy`
    Tcp(Arc<TcpProxy>),
}

/// A parsed `FilterChainMatch`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// Port after the destination was restored.
    pub destination_port: Option<u16>,
    /// Networks of the destination; empty: any.
    pub prefix_ranges: Vec<ipnet::IpNet>,
    /// In lower case, `*.suffix` wildcards allowed; empty: any.
    pub server_names: Vec<Box<str>>,
    /// `raw_buffer`, `tls` or empty for any.
    pub transport_protocol: Box<str>,
    /// ALPN protocols or what the HTTP inspector found; empty: any.
    pub application_protocols: Vec<Box<str>>,
    /// Networks of the peer at the other end of the socket; empty: any.
    pub direct_source_prefix_ranges: Vec<ipnet::IpNet>,
    /// Whether the source is this machine.
    pub source_type: SourceType,
    /// Networks of the source; empty: any.
    pub source_prefix_ranges: Vec<ipnet::IpNet>,
    /// Ports of the source; empty: any.
    pub source_ports: Vec<u16>,
}

/// `FilterChainMatch.ConnectionSourceType`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum SourceType {
    /// Either.
    #[default]
    Any,
    /// The source is loopback or has the destination's address.
    SameIpOrLoopback,
    /// It is not.
    External,
}

/// What is known of an accepted connection when its chain is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// The address it was sent to, before any redirection.
    pub destination: SocketAddr,
    /// The client's address (as restored by a PROXY header, if any).
    pub source: SocketAddr,
    /// The peer of the socket.
    pub direct_source: IpAddr,
    /// SNI in lower case, if TLS was detected and carried one.
    pub server_name: Option<&'a str>,
    /// `raw_buffer` unless TLS was detected.
    pub transport_protocol: &'a str,
    /// ALPN of the client hello, or `http/1.0`, `http/1.1`, `h2c` from the HTTP inspector.
    pub application_protocols: &'a [&'a str],
}

impl<'a> Connection<'a> {
    /// A plaintext connection about which no inspector said anything.
    pub fn plain(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            destination,
            source,
            direct_source: source.ip(),
            server_name: None,
            transport_protocol: "raw_buffer",
            application_protocols: &[],
        }
    }
}

impl Listener {
    /// Reads a listener. Route tables that it names are bound to their slots in
    /// `routes`, which may still be empty.
    ///
    /// # Errors
    /// The first thing that cannot be honoured.
    pub fn parse(proto: &xds::Listener, routes: &Routes) -> Result<Self, ConfigError> {
        parse::listener(proto, routes)
    }

    /// The chain that takes `connection`, by Envoy's order of precedence:
    /// destination port, destination address, server name, transport protocol,
    /// application protocol, direct source, source type, source address,
    /// source port; the most specific wins at each step and there is no way
    /// back. The default chain takes what none matches.
    pub fn select_chain(&self, connection: &Connection<'_>) -> Option<&Arc<FilterChain>> {
        match self.selector.select(&self.filter_chains, connection) {
            Some(index) => self.filter_chains.get(index),
            None => self.default_filter_chain.as_ref(),
        }
    }

    /// All chains, the default last.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.filter_chains.iter().chain(&self.default_filter_chain)
    }

    /// Names of the route tables that its chains want by RDS, each once.
    pub fn route_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self
            .chains()
            .filter_map(|chain| match &chain.filter {
                NetworkFilter::Http(hcm) => match &hcm.routes {
                    RouteSource::Rds(slot) => Some(slot.name().clone()),
                    RouteSource::Inline(_) => None,
                },
                NetworkFilter::Tcp(_) => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

impl PortPredicate {
    /// Whether `port` satisfies it.
    pub fn holds(&self, port: u16) -> bool {
        match self {
            Self::Or(rules) => rules.iter().any(|r| r.holds(port)),
            Self::And(rules) => rules.iter().all(|r| r.holds(port)),
            Self::Not(rule) => !rule.holds(port),
            Self::Any => true,
            Self::Range(start, end) => (*start..*end).contains(&i32::from(port)),
        }
    }
}
