//! Decides who may see debug pages: whoever calls from this machine, by its
//! loopback address.
//!
//! The peer's address is the only proof; no header grants anything. Headers can
//! only take away: a browser on this machine may be made by a foreign page to
//! call us, under a name that the page's author points at 127.0.0.1, or across
//! sites. Such a call comes from loopback and is still not its user's wish.

use std::net::IpAddr;

use http::{HeaderMap, header};

/// Why a debug page is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The call comes from elsewhere.
    #[error(
        "debug pages answer on the loopback interface only, and this call comes from {0}; call them from this \
         machine, for instance through `kubectl exec` or `kubectl port-forward`"
    )]
    Elsewhere(IpAddr),
    /// A name that is not this machine's, which may be a rebinding attack.
    #[error("the Host header says {0:?}; expected localhost or an IP address, since other names may be forged")]
    Host(String),
    /// A browser says that a foreign page calls.
    #[error("a page of another site calls; debug pages answer to none")]
    CrossSite,
}

/// Whether a call from `peer` is answered. `authority` is that of an absolute
/// request target, or of HTTP/2.
pub(crate) fn admit(peer: IpAddr, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Refusal> {
    if !peer.to_canonical().is_loopback() {
        return Err(Refusal::Elsewhere(peer));
    }
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("(not text)"));
    for host in [host, authority].into_iter().flatten() {
        if !is_local(host) {
            return Err(Refusal::Host(host.to_owned()));
        }
    }
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        Some(b"cross-site" | b"same-site") => Err(Refusal::CrossSite),
        _ => Ok(()),
    }
}

/// Whether `host`, with or without a port, is an IP address or a name that
/// resolvers must not take from the network (RFC 6761).
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.is_empty() || name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(peer: &str, headers: &[(&'static str, &'static str)], admitted: bool) {
        let map = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        let result = admit(peer.parse().unwrap(), &map, None);
        assert_eq!(result.is_ok(), admitted, "{peer} {headers:?}: {result:?}");
    }

    #[test]
    fn only_loopback_peers_are_admitted_whatever_the_headers_say() {
        check("127.0.0.1", &[], true);
        check("127.8.8.8", &[("host", "127.8.8.8:15014")], true);
        check("::1", &[("host", "[::1]:15014")], true);
        check("::ffff:127.0.0.1", &[], true);
        check("10.0.0.1", &[], false);
        check("10.0.0.1", &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")], false);
        check("::ffff:10.0.0.1", &[], false);
    }

    #[test]
    fn a_name_that_anybody_can_point_here_is_refused() {
        check("127.0.0.1", &[("host", "localhost:8080")], true);
        check("127.0.0.1", &[("host", "LOCALHOST.")], true);
        check("127.0.0.1", &[("host", "pilot.localhost")], true);
        check("127.0.0.1", &[("host", "rebind.example.com:15014")], false);
        check("127.0.0.1", &[("host", "localhost.example.com")], false);
        assert!(admit("127.0.0.1".parse().unwrap(), &HeaderMap::new(), Some("rebind.example.com")).is_err());
    }

    #[test]
    fn foreign_pages_in_a_local_browser_are_refused() {
        check("127.0.0.1", &[("sec-fetch-site", "none")], true);
        check("127.0.0.1", &[("sec-fetch-site", "same-origin")], true);
        check("127.0.0.1", &[("sec-fetch-site", "cross-site")], false);
    }
}
