//! Where a request goes that says itself where, and what sets its connection
//! apart from those of other requests.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use mesh_engine::cluster::ClusterConfig;
use mesh_engine::hcm::LocalReply;
use mesh_engine::route::host_without_port;
use mesh_engine::{RequestView, ResponseFlags};

use super::Forwarding;
use crate::dynamic::Unresolved;
use crate::http::exchange::Downstream;
use crate::upstream::pool::Apart;

impl Forwarding {
    /// Resolves the request's own host, for clusters whose destinations are names. Once for all tries.
    pub(super) async fn resolve(&mut self, parts: &Parts) -> Result<(), Unresolved> {
        if self.destination.is_none() {
            self.destination = resolved(&self.config, &self.exchange.down, parts).await?;
        }
        Ok(())
    }
}

/// What sets the request's connection apart from others to the same host;
/// `None` for nearly all clusters.
pub(super) fn apart(config: &ClusterConfig, down: &Downstream, parts: &Parts) -> Option<Apart> {
    let transports = &config.transports;
    let by_name = config.http.auto_sni.as_ref().filter(|a| a.ask);
    let by_client = transports.all().any(|s| s.proxy_protocol.is_some());
    if by_name.is_none() && !by_client {
        return None;
    }
    let name = by_name.and_then(|auto| {
        let header = auto.header.as_ref().and_then(|h| parts.headers.get(h)?.to_str().ok());
        let host = host_without_port(header.unwrap_or(RequestView::of(parts).authority));
        // An address is never a server name (RFC 6066, 3).
        (!host.is_empty() && host.parse::<std::net::IpAddr>().is_err()).then(|| Arc::from(host))
    });
    Some(Apart { server_name: name, client: by_client.then_some((down.remote, down.local)) })
}

/// Where the host of a request is, for clusters whose destinations are names; `None` for all others.
pub(super) async fn resolved(
    config: &ClusterConfig,
    down: &Downstream,
    parts: &Parts,
) -> Result<Option<SocketAddr>, Unresolved> {
    let Some(cache) = config.discovery.names() else { return Ok(None) };
    let authority = RequestView::of(parts).authority;
    let host = host_without_port(authority);
    let port = authority[host.len()..].strip_prefix(':').and_then(|p| p.parse().ok());
    let port = port.unwrap_or(if config.transports.default.tls.is_some() { HTTPS_PORT } else { HTTP_PORT });
    let address = down.worker.names.resolve(cache, host).await?;
    Ok(Some(SocketAddr::new(address, port)))
}

/// Envoy's answer when a name leads nowhere.
pub(super) fn unresolved_reply(error: &Unresolved) -> LocalReply {
    let flags = match error {
        Unresolved::Overflow => ResponseFlags::UPSTREAM_OVERFLOW,
        Unresolved::Failed(_) | Unresolved::Local => ResponseFlags::DNS_RESOLUTION_FAILED,
    };
    LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), flags, error.details())
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
