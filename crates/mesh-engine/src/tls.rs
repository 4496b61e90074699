//! TLS as configured: what a filter chain or a cluster asks of a handshake,
//! which secrets that takes, and what a peer's certificate must say.
//!
//! Contexts become typed settings here; keys and certificates stay bytes, or
//! names of files, that nobody in this crate opens. The proxy resolves secret
//! names ([`CommonTls::material`]), builds its TLS library's configuration from
//! that, and asks [`ValidationContext::accepts_names`] about a peer whose chain
//! holds.
//!
//! **Invariant:** a private key is never shown: [`Data`] prints its length
//! only.
//!
//! Deliberately absent: cryptography, reading of files, X.509, clocks.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

mod labels;
mod parse;
mod peer;
mod secret;
mod socket;
#[cfg(test)]
mod tests;

pub use labels::Labels;
pub use peer::{CertificateFacts, NameKind, NameMatcher, TlsFacts};
pub use secret::{Secret, SecretKind};
pub(crate) use socket::downstream;
pub use socket::{ProxyProtocol, Socket, SocketMatch, Transports};

/// Bytes, or the file that has them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Data {
    /// These bytes.
    Inline(Bytes),
    /// What this file holds, now and whenever it changes.
    File(Arc<str>),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "[redacted, {} bytes]", bytes.len()),
            Self::File(path) => write!(f, "file {path:?}"),
        }
    }
}

/// A certificate chain in PEM, leaf first, with the leaf's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain.
    pub chain: Data,
    /// The leaf's private key.
    pub key: Data,
    /// Stapled OCSP response (DER).
    pub ocsp: Option<Data>,
}

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// These certificates, in PEM.
    Pem(Data),
    /// Those that come with the operating system.
    System,
}

/// What a peer's certificate must be. Source: `CertificateValidationContext`.
#[derive(Debug, Clone, Default)]
pub struct ValidationContext {
    /// The chain must lead to one of these; `None`: the chain is not looked at.
    pub roots: Option<Roots>,
    /// Revocation lists, in PEM.
    pub crl: Option<Data>,
    /// Only the leaf may be on them; otherwise every certificate of the chain must be covered by a list.
    pub crl_leaf_only: bool,
    /// SHA-256 of the leaf's DER, one of which must be it; empty: any.
    pub hashes: Vec<[u8; 32]>,
    /// SHA-256 of the leaf's public key, likewise.
    pub spki: Vec<[u8; 32]>,
    /// One of the leaf's names must match one of these; empty: any.
    pub names: Vec<NameMatcher>,
    /// The leaf may have expired.
    pub allow_expired: bool,
    /// A chain that does not lead to `roots` is accepted nevertheless.
    pub accept_untrusted: bool,
    /// Clients are not told which authorities are trusted.
    pub suppress_client_ca_list: bool,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// It is in the context.
    Inline(Certificate),
    /// The secret of this name.
    Secret(Arc<str>),
}

/// How a peer is verified.
#[derive(Debug, Clone, Default)]
pub struct Validation {
    /// What the context itself says.
    pub own: ValidationContext,
    /// The secret to which that is added.
    pub secret: Option<Arc<str>>,
}

/// TLS protocol versions that this proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2
    V12,
    /// TLS 1.3
    V13,
}

/// What both ends of a handshake may have configured. Source: `CommonTlsContext`.
#[derive(Debug, Clone)]
pub struct CommonTls {
    /// Lowest and highest version.
    pub versions: (Version, Version),
    /// TLS 1.2 cipher suites in order of preference, by their IANA numbers; empty: the library's.
    pub ciphers: Vec<u16>,
    /// Key exchange groups in order of preference, by their IANA numbers; empty: the library's.
    pub groups: Vec<u16>,
    /// Protocols, in order of preference.
    pub alpn: Vec<Box<str>>,
    /// Own certificates.
    pub certificates: Vec<CertificateSource>,
    /// How the peer is verified; `None`: not at all.
    pub validation: Option<Validation>,
    /// What was asked for and left out, because there is something else in the same list that this proxy has.
    pub left_out: Vec<String>,
    /// XXH3 of the encoded context: equal contexts share what is built from them.
    pub hash: u64,
}

/// TLS of a filter chain. Source: `DownstreamTlsContext`.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// See there.
    pub common: CommonTls,
    /// A client without a certificate is refused.
    pub require_client_certificate: bool,
    /// A client that names no server is refused.
    pub require_sni: bool,
    /// No session tickets.
    pub no_tickets: bool,
    /// No session cache.
    pub no_session_cache: bool,
    /// The client's order of cipher suites counts.
    pub prefer_client_ciphers: bool,
}

/// TLS to a cluster. Source: `UpstreamTlsContext`, and `UpstreamHttpProtocolOptions` for what depends on the request.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// See there.
    pub common: CommonTls,
    /// The name to ask for; empty: none.
    pub sni: Arc<str>,
    /// Ask for the endpoint's host name.
    pub auto_host_sni: bool,
    /// The certificate must have the name that is asked for.
    pub verify_sni: bool,
    /// Sessions kept for resumption.
    pub sessions_max: usize,
}

/// What a context needs, all in one place.
#[derive(Debug, Clone)]
pub struct Material {
    /// Own certificates.
    pub certificates: Vec<Certificate>,
    /// How the peer is verified.
    pub validation: Option<ValidationContext>,
}

/// A secret that is not there, or is of another kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret {name:?} {}", if *.wrong_kind { "is of another kind than it is used for" } else { "has not arrived" })]
pub struct Unavailable {
    /// Which.
    pub name: Arc<str>,
    /// It is there, but of another kind.
    pub wrong_kind: bool,
}

impl CommonTls {
    /// Names of the secrets it takes, each once per use.
    pub fn secret_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let certificates = self.certificates.iter().filter_map(|c| match c {
            CertificateSource::Secret(name) => Some(name),
            CertificateSource::Inline(_) => None,
        });
        certificates.chain(self.validation.as_ref().and_then(|v| v.secret.as_ref()))
    }

    /// All it takes, with its secrets from `lookup`.
    ///
    /// # Errors
    /// The first secret that is not there.
    pub fn material(&self, lookup: impl Fn(&str) -> Option<Arc<Secret>>) -> Result<Material, Unavailable> {
        let find = |name: &Arc<str>| lookup(name).ok_or(Unavailable { name: name.clone(), wrong_kind: false });
        let mut certificates = Vec::with_capacity(self.certificates.len());
        for source in &self.certificates {
            certificates.push(match source {
                CertificateSource::Inline(certificate) => certificate.clone(),
                CertificateSource::Secret(name) => match &find(name)?.kind {
                    SecretKind::Certificate(certificate) => certificate.clone(),
                    _ => return Err(Unavailable { name: name.clone(), wrong_kind: true }),
                },
            });
        }
        let validation = match &self.validation {
            None => None,
            Some(Validation { own, secret: None }) => Some(own.clone()),
            Some(Validation { own, secret: Some(name) }) => match &find(name)?.kind {
                SecretKind::Validation(context) => Some(context.with(own)),
                _ => return Err(Unavailable { name: name.clone(), wrong_kind: true }),
            },
        };
        Ok(Material { certificates, validation })
    }
}

impl ValidationContext {
    /// This context with `more` on top: lists are joined, what `more` sets
    /// replaces, as protobuf merges.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let join = |a: &[[u8; 32]], b: &[[u8; 32]]| [a, b].concat();
        Self {
            roots: more.roots.clone().or_else(|| self.roots.clone()),
            crl: more.crl.clone().or_else(|| self.crl.clone()),
            crl_leaf_only: self.crl_leaf_only || more.crl_leaf_only,
            hashes: join(&self.hashes, &more.hashes),
            spki: join(&self.spki, &more.spki),
            names: self.names.iter().chain(&more.names).cloned().collect(),
            allow_expired: self.allow_expired || more.allow_expired,
            accept_untrusted: self.accept_untrusted || more.accept_untrusted,
            suppress_client_ca_list: self.suppress_client_ca_list || more.suppress_client_ca_list,
        }
    }

    /// Whether a certificate with these names may be the peer's.
    pub fn accepts_names(&self, peer: &CertificateFacts) -> bool {
        self.names.is_empty() || self.names.iter().any(|m| m.matches(peer))
    }

    /// Whether it asks for a hash, and neither the certificate's nor that of its key is the one.
    pub fn accepts_pins(&self, certificate: &[u8; 32], key: &[u8; 32]) -> bool {
        let unpinned = self.hashes.is_empty() && self.spki.is_empty();
        unpinned || self.hashes.contains(certificate) || self.spki.contains(key)
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        let roots = match &self.roots {
            Some(Roots::Pem(data)) => Some(data),
            _ => None,
        };
        roots.into_iter().chain(&self.crl).filter_map(Data::file)
    }
}

impl Certificate {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        [&self.chain, &self.key].into_iter().chain(&self.ocsp).filter_map(Data::file)
    }
}

impl Data {
    fn file(&self) -> Option<&Arc<str>> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl Version {
    /// As Envoy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "TLSv1.2",
            Self::V13 => "TLSv1.3",
        }
    }
}
