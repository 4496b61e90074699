//! Opens connections to endpoints: TCP, then what the cluster wants on top.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_engine::Host;
use mesh_engine::cluster::{ClusterConfig, TcpKeepalive};
use mesh_engine::tls::{ClientTls, Socket, TlsFacts};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::Failure;
use crate::stats::sets::ClusterStats;
use crate::tls::client::Inside;
use crate::tls::stream::Stream;
use crate::tls::{self, proxy_protocol, server};
use crate::worker::Shared;

/// How to connect to the endpoints of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) source: Option<SocketAddr>,
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Option<TcpKeepalive>,
}

/// What a connection is for, as far as what lies below the application follows
/// from it.
#[derive(Debug, Clone)]
pub(crate) struct Purpose {
    pub(crate) inside: Inside,
    /// The server name by the request, if it is to follow that.
    pub(crate) server_name: Option<Arc<str>>,
    /// The client's connection, for a PROXY header.
    pub(crate) client: Option<proxy_protocol::Client>,
}

impl Default for Purpose {
    fn default() -> Self {
        Self { inside: Inside::Bytes, server_name: None, client: None }
    }
}

/// An open connection.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// Our end.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) tls: Option<Arc<TlsFacts>>,
}

/// Connects to `host` as its cluster says, all within the connect timeout.
pub(crate) async fn open(
    shared: &Shared,
    stats: &ClusterStats,
    config: &ClusterConfig,
    host: &Host,
    purpose: &Purpose,
) -> Result<Opened, Failure> {
    let dial = Dial {
        source: config.source_for(host.address),
        timeout: config.connect_timeout,
        keepalive: config.tcp_keepalive,
    };
    let socket = config.transports.of(&host.labels);
    if socket.tls.is_none() && socket.proxy_protocol.is_none() {
        let stream = connect(host.address, &dial).await?;
        return Ok(Opened { local: stream.local_addr().ok(), stream: Stream::Plain(stream), tls: None });
    }
    // Apart, so that a plaintext connection's task stays small.
    let layered = Box::pin(layered(shared, stats, config, socket, host, purpose, &dial));
    match tokio::time::timeout(dial.timeout, layered).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

async fn layered(
    shared: &Shared,
    stats: &ClusterStats,
    config: &ClusterConfig,
    socket: &Socket,
    host: &Host,
    purpose: &Purpose,
    dial: &Dial,
) -> Result<Opened, Failure> {
    let mut stream = connect(host.address, dial).await?;
    let local = stream.local_addr().ok();
    if let Some(version) = socket.proxy_protocol {
        stream.write_all(&proxy_protocol::header(version, purpose.client)).await.map_err(Failure::Connect)?;
    }
    let Some(context) = &socket.tls else {
        return Ok(Opened { stream: Stream::Plain(stream), local, tls: None });
    };
    let verify = verifies(config, context);
    let client = shared.tls.load().clients.get(&(context.common.hash, verify)).cloned();
    let Some(client) = client else {
        stats.ssl.secrets_not_ready.inc();
        return Err(Failure::Tls("TLS_error: Secret is not supplied by SDS".into()));
    };
    let name = match &purpose.server_name {
        Some(name) => Some(&**name),
        None if context.auto_host_sni && !host.hostname.is_empty() => Some(&*host.hostname),
        None => Some(&*context.sni).filter(|n| !n.is_empty()),
    };
    match client.connect(stream, name, host.address.ip(), purpose.inside).await {
        Ok((stream, facts)) => {
            stats.ssl.count(&facts);
            Ok(Opened { stream, local, tls: Some(Arc::new(facts)) })
        }
        Err(error) => {
            server::count_failure(&stats.ssl, &error);
            Err(Failure::Tls(tls::failure_text(&error).into()))
        }
    }
}

/// Whether the certificate must have the name that is asked for.
pub(crate) fn verifies(config: &ClusterConfig, context: &ClientTls) -> bool {
    let by_request = config.http.auto_sni.as_ref().is_some_and(|a| a.verify);
    by_request || (context.verify_sni && (!context.sni.is_empty() || context.auto_host_sni))
}

/// Connects with `TCP_NODELAY`, from `dial.source` if set.
async fn connect(address: SocketAddr, dial: &Dial) -> Result<TcpStream, Failure> {
    match tokio::time::timeout(dial.timeout, open_socket(address, dial)).await {
        Ok(result) => result.map_err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

async fn open_socket(address: SocketAddr, dial: &Dial) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a small message waits for the peer's delayed ACK: 40 ms.
    socket.set_nodelay(true)?;
    if let Some(keepalive) = dial.keepalive {
        set_keepalive(&socket2::SockRef::from(&socket), &keepalive)?;
    }
    if let Some(source) = dial.source {
        // The port is chosen at connect, by the whole four-tuple: otherwise
        // one source address would run out after 28,000 connections.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(source)?;
    }
    socket.connect(address).await
}

/// Applies TCP keepalive with the system's values where none are given.
pub(crate) fn set_keepalive(socket: &socket2::SockRef<'_>, keepalive: &TcpKeepalive) -> io::Result<()> {
    let mut options = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        options = options.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        options = options.with_retries(probes);
    }
    socket.set_tcp_keepalive(&options)
}
