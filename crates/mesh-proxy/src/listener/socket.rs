//! Opens listening sockets and reads where a captured connection was going.

use std::io;
use std::net::SocketAddr;

use mesh_engine::Listener;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// Binds `address` once for each worker, as `listener` says. Connections are
/// refused until [`listen`].
///
/// # Errors
/// The system's; `AddrInUse` if somebody else has the port.
pub(crate) fn bind(address: SocketAddr, listener: &Listener, workers: usize) -> io::Result<Vec<Socket>> {
    let first = open(address, listener)?;
    let bound = local_address(&first).unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(bound, listener)?);
    }
    Ok(sockets)
}

/// Where `socket` is bound.
pub(crate) fn local_address(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket()
}

/// Lets connections come in.
pub(crate) fn listen(socket: Socket, backlog: Option<u32>) -> io::Result<std::net::TcpListener> {
    socket.listen(backlog.map_or(BACKLOG, |b| i32::try_from(b).unwrap_or(i32::MAX)))?;
    Ok(socket.into())
}

fn open(address: SocketAddr, listener: &Listener) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match address {
        SocketAddr::V4(_) => {
            if listener.transparent {
                socket.set_ip_transparent_v4(true)?;
            }
            if listener.freebind {
                socket.set_freebind_v4(true)?;
            }
        }
        SocketAddr::V6(_) => {
            if listener.transparent {
                socket.set_ip_transparent_v6(true)?;
            }
            if listener.freebind {
                socket.set_freebind_v6(true)?;
            }
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The destination that iptables or nftables replaced; `None` if it was not.
pub(crate) fn original_destination(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok()?.as_socket().filter(|original| *original != local)
}

/// As Envoy: the system's `somaxconn` caps it.
const BACKLOG: i32 = 4096;
