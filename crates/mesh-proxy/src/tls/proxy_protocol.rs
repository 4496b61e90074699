//! The PROXY header, by which an endpoint learns whose connection it serves.
//!
//! Source: HAProxy's "The PROXY protocol", versions 1 and 2.

use std::net::{IpAddr, SocketAddr};

use mesh_engine::tls::ProxyProtocol;

/// Where the client's connection came from and went to.
pub(crate) type Client = (SocketAddr, SocketAddr);

/// The header; without a client one that says that nothing is known.
pub(crate) fn header(version: ProxyProtocol, client: Option<Client>) -> Vec<u8> {
    let same_family =
        client.map(|(from, to)| (canonical(from), canonical(to))).filter(|(f, t)| f.is_ipv4() == t.is_ipv4());
    match version {
        ProxyProtocol::V1 => text(same_family).into_bytes(),
        ProxyProtocol::V2 => binary(same_family),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn text(client: Option<Client>) -> String {
    match client {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some((from, to)) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
    }
}

fn binary(client: Option<Client>) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let Some((from, to)) = client else {
        out.extend_from_slice(&[LOCAL, 0, 0, 0]);
        return out;
    };
    let (family, length): (u8, u16) = if from.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    out.extend_from_slice(&[PROXY, family]);
    out.extend_from_slice(&length.to_be_bytes());
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_are_as_the_protocol_has_them() {
        let client = Some(("1.2.3.4:5".parse().unwrap(), "[::ffff:6.7.8.9]:258".parse().unwrap()));
        assert_eq!(header(ProxyProtocol::V1, client), b"PROXY TCP4 1.2.3.4 6.7.8.9 5 258\r\n");
        let v2 = header(ProxyProtocol::V2, client);
        assert_eq!(v2[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(v2[16..], [1, 2, 3, 4, 6, 7, 8, 9, 0, 5, 1, 2]);
        assert_eq!(header(ProxyProtocol::V1, None), b"PROXY UNKNOWN\r\n");
        assert_eq!(header(ProxyProtocol::V2, None)[12..], [0x20, 0, 0, 0]);
    }
}
