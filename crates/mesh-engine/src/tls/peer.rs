//! What a handshake showed: the connection's parameters and both certificates,
//! as matchers, logs and headers ask for them.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as xds;

use super::Version;
use crate::error::{At, ConfigError};
use crate::matcher::{StringMatch, StringMatcher};
use crate::parse::honour;

/// A connection's TLS.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// Which version.
    pub version: Version,
    /// The cipher suite, by OpenSSL's name.
    pub cipher: &'static str,
    /// The protocol that was agreed on.
    pub alpn: Option<Box<str>>,
    /// The server name that was asked for.
    pub server_name: Option<Arc<str>>,
    /// A session was resumed.
    pub resumed: bool,
    /// The certificate that was shown to the peer.
    pub local: Option<Arc<CertificateFacts>>,
    /// The certificate that the peer showed.
    pub peer: Option<Arc<CertificateFacts>>,
    /// The rest of the peer's chain.
    pub peer_chain: Arc<str>,
}

/// What is in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// RFC 2253: `CN=a,O=b`.
    pub subject: String,
    /// RFC 2253.
    pub issuer: String,
    /// In hexadecimal, lower case.
    pub serial: String,
    /// SHA-256 of the DER, in hexadecimal.
    pub fingerprint_256: String,
    /// URIs among its alternative names.
    pub uris: Vec<Box<str>>,
    /// DNS names among them.
    pub dns: Vec<Box<str>>,
    /// Addresses among them.
    pub addresses: Vec<IpAddr>,
    /// E-mail addresses among them.
    pub emails: Vec<Box<str>>,
    /// The certificate in PEM, percent-encoded.
    pub pem: Arc<str>,
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid until, in seconds since 1970.
    pub not_after: i64,
}

/// Kinds of alternative names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// Any of them.
    Any,
    /// An e-mail address.
    Email,
    /// A DNS name.
    Dns,
    /// A URI.
    Uri,
    /// An address, as text.
    Address,
}

/// `SubjectAltNameMatcher`
#[derive(Debug, Clone)]
pub struct NameMatcher {
    /// What kind of name.
    pub kind: NameKind,
    /// What it must be.
    pub value: StringMatcher,
}

impl NameMatcher {
    /// Reads a matcher.
    pub(super) fn parse(at: &At<'_>, proto: &xds::SubjectAltNameMatcher) -> Result<Self, ConfigError> {
        use xds::subject_alt_name_matcher::SanType as T;
        honour!(at, proto, xds::SubjectAltNameMatcher =>
            honour [san_type matcher]
            ignore []
            refuse [oid]
        );
        let kind = match T::try_from(proto.san_type) {
            Ok(T::Email) => NameKind::Email,
            Ok(T::Dns) => NameKind::Dns,
            Ok(T::Uri) => NameKind::Uri,
            Ok(T::IpAddress) => NameKind::Address,
            Ok(T::OtherName) => {
                return Err(at.field("san_type").unsupported_value("OTHER_NAME", "EMAIL, DNS, URI or IP_ADDRESS"));
            }
            Ok(T::Unspecified) | Err(_) => {
                return Err(at.field("san_type").invalid(proto.san_type, "EMAIL, DNS, URI or IP_ADDRESS"));
            }
        };
        let matcher = proto.matcher.as_ref().ok_or_else(|| at.field("matcher").missing("a string matcher"))?;
        Ok(Self { kind, value: StringMatcher::parse(&at.field("matcher"), matcher)? })
    }

    /// Whether one of the certificate's names is meant.
    pub fn matches(&self, certificate: &CertificateFacts) -> bool {
        let is = |kind| self.kind == kind || self.kind == NameKind::Any;
        let listed = |names: &[Box<str>]| names.iter().any(|n| self.value.matches(n));
        (is(NameKind::Uri) && listed(&certificate.uris))
            || (is(NameKind::Email) && listed(&certificate.emails))
            || (is(NameKind::Dns) && certificate.dns.iter().any(|n| self.matches_dns(n)))
            || (is(NameKind::Address) && certificate.addresses.iter().any(|a| self.value.matches(&a.to_string())))
    }

    /// A wildcard in the certificate stands for one label, if an exact name is asked for.
    fn matches_dns(&self, name: &str) -> bool {
        match &self.value.kind {
            StringMatch::Exact(wanted) => covers(name, wanted),
            _ => self.value.matches(name),
        }
    }
}

impl CertificateFacts {
    /// Whether it was issued for the server that clients know as `name`, a
    /// DNS name or an address (RFC 6125).
    pub fn is_for(&self, name: &str) -> bool {
        match name.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address),
            Err(_) => self.dns.iter().any(|known| covers(known, name)),
        }
    }
}

/// Whether the certificate's name `pattern` is, or covers, `name`.
fn covers(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    let Some(suffix) = pattern.strip_prefix("*.") else { return false };
    name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix))
}
