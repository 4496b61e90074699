//! What the agent reads from the machine or pod that it runs on.

use std::net::IpAddr;
use std::path::Path;

use crate::failure::{Failure, Result};

/// Addresses of this machine at which others can reach it, as the system lists
/// them: no loopback and no link-local ones.
///
/// # Errors
/// If the system does not list them.
pub(super) fn addresses() -> Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs();
    let interfaces = interfaces.map_err(|error| Failure::other("cannot list this machine's addresses", &error))?;
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let mut addresses: Vec<IpAddr> = interfaces.filter_map(address).filter(is_reachable).collect();
    // IPv4 goes first: it is what peers on this network most often have.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}

/// The text of a file that may be absent.
///
/// # Errors
/// If it is there and cannot be read.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Data(format!("{}: {error}", path.display()))),
    }
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}
