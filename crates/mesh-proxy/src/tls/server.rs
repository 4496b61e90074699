//! TLS that clients speak to us.

use std::io;
use std::sync::Arc;

use mesh_engine::tls::{Material, ServerTls, TlsFacts};
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use tokio_rustls::LazyConfigAcceptor;

use super::material::{self, Own};
use super::stream::{Rewound, Stream};
use super::verify::Verifier;
use super::{Shown, TlsError, facts, library_error, provider, versions};
use crate::stats::sets::SslStats;

/// A `DownstreamTlsContext`, ready for handshakes.
pub(crate) struct Server {
    config: Arc<ServerConfig>,
    /// For clients that know none of our protocols: as in Envoy, they go on without one.
    without_alpn: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    require_sni: bool,
    /// Own chains, and trusted certificates.
    pub(crate) shown: (Vec<Shown>, Vec<Shown>),
}

/// Picks the certificate that a client can use.
#[derive(Debug)]
struct Certificates(Vec<Own>);

impl Certificates {
    /// One for the name that is asked for goes before one that only suits the client's algorithms.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Own> {
        let usable = |own: &&Own| own.key.key.choose_scheme(schemes).is_some();
        let named = name.and_then(|n| self.0.iter().filter(usable).find(|own| own.facts.is_for(n)));
        named.or_else(|| self.0.iter().find(usable)).or_else(|| self.0.first())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).map(|own| own.key.clone())
    }
}

impl Server {
    /// Makes one of `context`, with its secrets in `material`.
    pub(crate) fn new(context: &ServerTls, material: &Material) -> Result<Self, TlsError> {
        let provider = provider(&context.common);
        let mut own = Vec::new();
        for certificate in &material.certificates {
            own.push(material::own(certificate, &provider)?);
        }
        let shown: Vec<Shown> = own.iter().flat_map(|o| o.shown.iter().cloned()).collect();
        let certificates = Arc::new(Certificates(own));
        let rules = material.validation.clone().unwrap_or_default();
        let (verifier, trusted) = Verifier::new(rules, provider.clone(), context.require_client_certificate, false)?;
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions(&context.common))?;
        let builder = match verifier.asks() {
            true => builder.with_client_cert_verifier(Arc::new(verifier)),
            false => builder.with_no_client_auth(),
        };
        let mut without_alpn = builder.with_cert_resolver(certificates.clone());
        without_alpn.ignore_client_order = !context.prefer_client_ciphers;
        without_alpn.session_storage = match context.no_session_cache {
            true => Arc::new(NoServerSessionStorage {}),
            false => ServerSessionMemoryCache::new(SESSIONS_MAX),
        };
        if !context.no_tickets {
            without_alpn.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        }
        let mut config = without_alpn.clone();
        config.alpn_protocols = context.common.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
            without_alpn: Arc::new(without_alpn),
            certificates,
            require_sni: context.require_sni,
            shown: (shown, trusted),
        })
    }

    /// Handshakes. The caller limits the time.
    pub(crate) async fn accept(&self, io: Rewound) -> io::Result<(Stream, TlsFacts)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let hello = start.client_hello();
        let name: Option<Arc<str>> = hello.server_name().map(Arc::from);
        if self.require_sni && name.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client names no server"));
        }
        let local = self.certificates.choose(name.as_deref(), hello.signature_schemes()).map(|own| own.facts.clone());
        let offered = hello.alpn();
        let common = offered.is_none_or(|mut all| all.any(|p| self.config.alpn_protocols.iter().any(|own| own == p)));
        let config = if common { &self.config } else { &self.without_alpn };
        let stream = start.into_stream(config.clone()).await?;
        let facts = facts(stream.get_ref().1, name, local);
        Ok((Stream::layered(stream), facts))
    }
}

/// Counts a handshake that failed, by its reason.
pub(crate) fn count_failure(stats: &SslStats, error: &io::Error) {
    stats.connection_error.inc();
    count_refusal(stats, error);
}

/// Counts why a peer's certificate was refused.
pub(crate) fn count_refusal(stats: &SslStats, error: &io::Error) {
    use rustls::{CertificateError as C, Error as E};
    match library_error(error) {
        Some(E::NoCertificatesPresented) => stats.fail_verify_no_cert.inc(),
        Some(E::InvalidCertificate(C::NotValidForName)) => stats.fail_verify_san.inc(),
        Some(E::InvalidCertificate(C::ApplicationVerificationFailure)) => stats.fail_verify_cert_hash.inc(),
        Some(E::InvalidCertificate(_)) => stats.fail_verify_error.inc(),
        _ => {}
    }
}

/// Sessions that are kept for TLS 1.2 clients without tickets, per context.
const SESSIONS_MAX: usize = 1024;
