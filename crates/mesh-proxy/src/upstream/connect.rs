//! Opens TCP connections to endpoints.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_engine::cluster::TcpKeepalive;
use tokio::net::{TcpSocket, TcpStream};

use super::Failure;

/// How to connect to the endpoints of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) source: Option<SocketAddr>,
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Option<TcpKeepalive>,
}

/// Connects with `TCP_NODELAY`, from `dial.source` if set.
pub(crate) async fn connect(address: SocketAddr, dial: &Dial) -> Result<TcpStream, Failure> {
    match tokio::time::timeout(dial.timeout, open(address, dial)).await {
        Ok(result) => result.map_err(Failure::Connect),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

async fn open(address: SocketAddr, dial: &Dial) -> io::Result<TcpStream> {
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
