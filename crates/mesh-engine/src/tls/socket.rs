//! Reads transport sockets: what lies between TCP and the filters.

use std::sync::Arc;

use mesh_proto::envoy::config::cluster::v3 as cluster;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::transport_sockets::{proxy_protocol::v3 as proxy, tls::v3 as tls};
use mesh_proto::google::protobuf::Any;

use super::{ClientTls, Labels, ServerTls, parse as contexts};
use crate::error::{At, ConfigError};
use crate::parse::{self, honour};

/// The transport sockets of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Transports {
    /// For endpoints that none of `matches` means.
    pub default: Arc<Socket>,
    /// The first that means an endpoint is its own.
    pub matches: Vec<SocketMatch>,
}

/// `TransportSocketMatch`
#[derive(Debug, Clone)]
pub struct SocketMatch {
    /// Its name.
    pub name: Box<str>,
    /// Labels that an endpoint must have; empty: any endpoint.
    pub labels: Labels,
    /// What to use for it.
    pub socket: Arc<Socket>,
}

/// What is spoken on a connection to an endpoint before any byte of the
/// application, outermost first.
#[derive(Debug, Clone, Default)]
pub struct Socket {
    /// A PROXY header that says where the client's connection came from.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS; `None`: plaintext.
    pub tls: Option<Arc<ClientTls>>,
}

/// Versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Transports {
    /// Reads the transport sockets of a cluster.
    pub(crate) fn parse(at: &At<'_>, proto: &cluster::Cluster) -> Result<Self, ConfigError> {
        let mut matches: Vec<SocketMatch> = Vec::with_capacity(proto.transport_socket_matches.len());
        for (i, one) in proto.transport_socket_matches.iter().enumerate() {
            let at = at.index("transport_socket_matches", i);
            parse::non_empty(&at, "name", &one.name)?;
            if matches.iter().any(|known| *known.name == one.name) {
                return Err(at.rule(format!("Duplicate transport socket match name: {}", one.name)));
            }
            let Some(socket) = &one.transport_socket else {
                return Err(at.field("transport_socket").missing("a transport socket"));
            };
            matches.push(SocketMatch {
                name: one.name.as_str().into(),
                labels: Labels::of_struct(one.r#match.as_ref()),
                socket: Arc::new(upstream(&at.field("transport_socket"), socket)?),
            });
        }
        let default = match &proto.transport_socket {
            Some(socket) => Arc::new(upstream(&at.field("transport_socket"), socket)?),
            None => Arc::default(),
        };
        Ok(Self { default, matches })
    }

    /// The transport socket for an endpoint with these labels.
    pub fn of(&self, labels: &Labels) -> &Arc<Socket> {
        self.matches.iter().find(|m| m.labels.select(labels)).map_or(&self.default, |m| &m.socket)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Socket>> {
        std::iter::once(&self.default).chain(self.matches.iter().map(|m| &m.socket))
    }
}

/// Reads the transport socket of a filter chain; `None`: plaintext.
pub(crate) fn downstream(
    at: &At<'_>,
    proto: Option<&core::TransportSocket>,
) -> Result<Option<Arc<ServerTls>>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    let at = at.field("transport_socket");
    let any = typed(&at, proto)?;
    match mesh_proto::any::message_name(&any.type_url) {
        RAW_BUFFER => Ok(None),
        DOWNSTREAM_TLS => {
            let at = at.field("typed_config");
            let context: tls::DownstreamTlsContext = parse::unpack(&at, &any)?;
            Ok(Some(Arc::new(contexts::server(&at, &context)?)))
        }
        other => Err(at.unsupported_value(
            format_args!("{} ({other})", proto.name),
            "envoy.transport_sockets.raw_buffer or envoy.transport_sockets.tls (DownstreamTlsContext)",
        )),
    }
}

/// Reads a transport socket of a cluster.
fn upstream(at: &At<'_>, proto: &core::TransportSocket) -> Result<Socket, ConfigError> {
    let any = typed(at, proto)?;
    let typed = at.field("typed_config");
    match mesh_proto::any::message_name(&any.type_url) {
        RAW_BUFFER => Ok(Socket::default()),
        UPSTREAM_TLS => {
            let context: tls::UpstreamTlsContext = parse::unpack(&typed, &any)?;
            Ok(Socket { proxy_protocol: None, tls: Some(Arc::new(contexts::client(&typed, &context)?)) })
        }
        PROXY_PROTOCOL => proxied(&typed, &parse::unpack(&typed, &any)?),
        other => Err(at.unsupported_value(
            format_args!("{} ({other})", proto.name),
            "envoy.transport_sockets.raw_buffer, envoy.transport_sockets.tls (UpstreamTlsContext) or envoy.transport_sockets.upstream_proxy_protocol",
        )),
    }
}

fn proxied(at: &At<'_>, proto: &proxy::ProxyProtocolUpstreamTransport) -> Result<Socket, ConfigError> {
    honour!(at, proto, proxy::ProxyProtocolUpstreamTransport =>
        honour [config transport_socket]
        // Where the client is not known the header says so (LOCAL, UNKNOWN) in any case; TLVs are refused below.
        ignore [allow_unspecified_address tlv_as_pool_key]
        refuse []
    );
    let config = proto.config.clone().unwrap_or_default();
    let field = at.field("config");
    honour!(&field, &config, core::ProxyProtocolConfig =>
        honour [version]
        ignore []
        refuse [pass_through_tlvs added_tlvs]
    );
    let version = match config.version {
        0 => ProxyProtocol::V1,
        1 => ProxyProtocol::V2,
        other => return Err(field.field("version").invalid(other, "V1 or V2")),
    };
    let Some(inner) = &proto.transport_socket else {
        return Err(at.field("transport_socket").missing("the transport socket below"));
    };
    let inner = upstream(&at.field("transport_socket"), inner)?;
    if inner.proxy_protocol.is_some() {
        return Err(at.field("transport_socket").unsupported_value("a second PROXY header", "tls or raw_buffer"));
    }
    Ok(Socket { proxy_protocol: Some(version), ..inner })
}

fn typed(at: &At<'_>, proto: &core::TransportSocket) -> Result<Any, ConfigError> {
    use core::transport_socket::ConfigType;
    parse::non_empty(at, "name", &proto.name)?;
    match &proto.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(any.clone()),
        None if proto.name == "envoy.transport_sockets.raw_buffer" => {
            Ok(Any { type_url: format!("type.googleapis.com/{RAW_BUFFER}"), ..Any::default() })
        }
        None => Err(at.field("typed_config").missing("a configuration")),
    }
}

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const PROXY_PROTOCOL: &str = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";
