//! What texts in rules are: labels, names of hosts, addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// Bytes of one label of a DNS name.
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of a DNS name.
const NAME_BYTES_MAX: usize = 255;

/// Letters, digits and inner `-`, at most 63.
///
/// Source: `IsDNS1123Label`, istio `pkg/config/labels`, which takes capitals.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=LABEL_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// A DNS name without a wildcard. A trailing dot may stand.
pub(crate) fn is_fqdn(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && are_labels(text)
}

/// A DNS name whose first label may be, or begin with, `*`.
///
/// Source: `ValidateWildcardDomain`, istio `pkg/config/validation/agent`.
pub(crate) fn is_wildcard_domain(text: &str) -> bool {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return false;
    }
    let (first, rest) = text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let first_is_right = match first.strip_prefix('*') {
        Some("") => true,
        Some(rest) => first.len() <= LABEL_BYTES_MAX && is_dns_label(rest.strip_prefix('-').unwrap_or(rest)),
        None => is_dns_label(first),
    };
    first_is_right && rest.is_none_or(are_labels)
}

/// `*foo.com`: a wildcard that is a part of a label. Envoy matches no such host
/// in a certificate or a SNI.
pub(crate) fn is_partial_wildcard(text: &str) -> bool {
    text.contains('*') && text.len() != 1 && !text.starts_with("*.")
}

fn are_labels(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let top = text.rsplit('.').next().unwrap_or_default();
    // `10.0.0.1` looks like a name and is none.
    let looks_like_an_address = !top.is_empty() && top.bytes().all(|b| b.is_ascii_digit());
    !looks_like_an_address && text.split('.').all(is_dns_label)
}

/// An IP address.
pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An IP address, or a range of them as CIDR.
pub(crate) fn is_subnet(text: &str) -> bool {
    if text.contains('/') { text.parse::<IpNet>().is_ok() } else { is_ip(text) }
}

/// A label's key: a name, with a domain and a slash in front or without.
pub(crate) fn is_label_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    !name.is_empty()
        && is_label_value(name)
        && domain.is_none_or(|domain| domain.len() < 253 && !domain.is_empty() && domain.split('.').all(is_dns_label))
}

/// A label's value, which may be empty.
pub(crate) fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(inner)
        && bytes.first().is_none_or(u8::is_ascii_alphanumeric)
        && bytes.last().is_none_or(u8::is_ascii_alphanumeric)
}

/// What follows `unix://` is an absolute path to a file, or `@` and a name.
pub(crate) fn is_unix_address(text: &str) -> bool {
    text.starts_with('@') || (text.starts_with('/') && !text.ends_with('/'))
}

/// What marks an address as a Unix domain socket.
pub(crate) const UNIX: &str = "unix://";

/// What a port's protocol says about what is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// HTTP without TLS.
    Http,
    /// HTTP inside TLS.
    Https,
    /// TLS that is not looked into.
    Tls,
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Layer {
    pub(crate) fn is_http(self) -> bool {
        self == Layer::Http
    }

    /// On top of TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Layer::Https | Layer::Tls)
    }

    /// Routed by addresses, or by SNI.
    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Layer::Https | Layer::Tls | Layer::Tcp)
    }
}

/// What the protocol called `text` is; `None` if there is none of that name.
///
/// Source: `Parse`, istio `pkg/config/protocol`.
pub(crate) fn protocol(text: &str) -> Option<Layer> {
    Some(match &*text.to_ascii_lowercase() {
        "http" | "http2" | "grpc" | "grpc-web" | "http_proxy" => Layer::Http,
        "https" => Layer::Https,
        "tls" => Layer::Tls,
        "tcp" | "mongo" | "redis" | "mysql" => Layer::Tcp,
        "udp" => Layer::Udp,
        _ => return None,
    })
}

/// Whether a header's name in a match stands for a claim of a JWT.
///
/// Source: `ToRoutingClaim`, istio `pkg/jwt`.
pub(crate) fn is_jwt_claim(name: &str) -> bool {
    const PREFIX: &str = "@request.auth.claims";
    let Some((prefix, rest)) = name.split_at_checked(PREFIX.len()) else { return false };
    prefix.eq_ignore_ascii_case(PREFIX)
        && ((rest.starts_with('.') && rest.len() > 1)
            || (rest.len() > 2 && rest.starts_with('[') && rest.ends_with(']')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_addresses_and_from_nonsense() {
        let right = ["a", "a.b", "*.a.b", "*", "*a.b", "*-a.b", "A.b.", "a.b1"];
        right.iter().for_each(|host| assert!(is_wildcard_domain(host), "{host}"));
        let wrong = ["", ".", "a..b", "-a", "a.*", "10.0.0.1", "a_b", "*.*", "a b"];
        wrong.iter().for_each(|host| assert!(!is_wildcard_domain(host), "{host}"));
        assert!(is_partial_wildcard("*a.b") && !is_partial_wildcard("*.b") && !is_partial_wildcard("*"));
    }

    #[test]
    fn labels_follow_kubernetes() {
        assert!(
            is_label_key("app") && is_label_key("example.com/app_1") && !is_label_key("a b") && !is_label_key("/a")
        );
        assert!(is_label_value("") && is_label_value("v1.0") && !is_label_value("-v1") && !is_label_value("a/b"));
    }

    #[test]
    fn claims_stand_behind_a_dot_or_in_brackets() {
        assert!(is_jwt_claim("@request.auth.claims.sub") && is_jwt_claim("@request.auth.claims[sub]"));
        assert!(
            !is_jwt_claim("@request.auth.claims") && !is_jwt_claim("x-sub") && !is_jwt_claim("@request.auth.claims[")
        );
    }
}
