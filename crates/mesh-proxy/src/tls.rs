//! TLS: the engine's settings and the secrets they name become configurations
//! of the TLS library, and connections go through them.
//!
//! ```text
//! settings (mesh-engine) + secrets -> material -> server::Server | client::Client  (control thread)
//!                                                      | Contexts, swapped whole
//! accepted or dialled connection -> handshake -> stream::Stream + TlsFacts         (workers)
//! ```
//! Equal contexts share what is built of them, found by the hash of the
//! context's message. A rotation builds anew: handshakes that begin after it
//! show the new certificate, connections that stand go on.
//!
//! **Invariant:** one provider of cryptography (aws-lc-rs), given to every
//! configuration by hand; nothing is installed process-wide.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_engine::tls::{CertificateFacts, CommonTls, Version};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod material;
pub(crate) mod proxy_protocol;
pub(crate) mod server;
pub(crate) mod stream;
mod verify;

/// What workers handshake by.
#[derive(Default)]
pub(crate) struct Contexts {
    /// By the hash of the `DownstreamTlsContext`.
    pub(crate) servers: HashMap<u64, Arc<server::Server>>,
    /// By the hash of the `UpstreamTlsContext`, and whether the name that is asked for is verified.
    pub(crate) clients: HashMap<(u64, bool), Arc<client::Client>>,
}

/// A certificate in use, for `/certs`.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The file it is from; `<inline>` otherwise.
    pub(crate) path: Arc<str>,
    pub(crate) facts: Arc<CertificateFacts>,
}

/// Why a context cannot be built. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are not what they should be.
    #[error("{what} {from}: {problem}")]
    Malformed {
        /// `certificate chain`, `private key`, `trusted_ca`, `crl`.
        what: &'static str,
        /// The file, or `<inline>`.
        from: String,
        /// What was found.
        problem: String,
    },
    /// The library refuses the combination.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

/// The library's provider, cut down to the suites and groups of `common`.
fn provider(common: &CommonTls) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !common.ciphers.is_empty() {
        let all = std::mem::take(&mut provider.cipher_suites);
        let number = |s: &rustls::SupportedCipherSuite| u16::from(s.suite());
        let newest = all.iter().copied().filter(|s| s.tls13().is_some());
        let chosen = common.ciphers.iter().filter_map(|n| all.iter().copied().find(|s| number(s) == *n));
        provider.cipher_suites = newest.chain(chosen).collect();
    }
    if !common.groups.is_empty() {
        let all = rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
        let chosen = common.groups.iter().filter_map(|n| all.iter().copied().find(|g| u16::from(g.name()) == *n));
        provider.kx_groups = chosen.collect();
    }
    Arc::new(provider)
}

/// Newest first.
fn versions(common: &CommonTls) -> Vec<&'static SupportedProtocolVersion> {
    let (lowest, highest) = common.versions;
    let all = [(Version::V13, &rustls::version::TLS13), (Version::V12, &rustls::version::TLS12)];
    all.into_iter().filter(|(v, _)| (lowest..=highest).contains(v)).map(|(_, known)| known).collect()
}

/// OpenSSL's name of a cipher suite, as Envoy writes it.
fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    match u16::from(suite) {
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0xc02b => "ECDHE-ECDSA-AES128-GCM-SHA256",
        0xc02c => "ECDHE-ECDSA-AES256-GCM-SHA384",
        0xc02f => "ECDHE-RSA-AES128-GCM-SHA256",
        0xc030 => "ECDHE-RSA-AES256-GCM-SHA384",
        0xcca8 => "ECDHE-RSA-CHACHA20-POLY1305",
        0xcca9 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        _ => "unknown",
    }
}

/// What a finished handshake showed.
fn facts(
    connection: &rustls::CommonState,
    server_name: Option<Arc<str>>,
    local: Option<Arc<CertificateFacts>>,
) -> mesh_engine::tls::TlsFacts {
    let mut chain = connection.peer_certificates().unwrap_or_default().iter();
    let peer = chain.next().and_then(|leaf| certificate::facts(leaf).ok()).map(Arc::new);
    let alpn = connection.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned().into());
    mesh_engine::tls::TlsFacts {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => Version::V13,
            _ => Version::V12,
        },
        cipher: connection.negotiated_cipher_suite().map_or("unknown", |s| cipher_name(s.suite())),
        alpn,
        server_name,
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        local,
        peer,
        peer_chain: chain.map(|der| certificate::escaped_pem(der)).collect::<String>().into(),
    }
}

/// Words for a handshake that failed, in the shape in which Envoy gives them.
pub(crate) fn failure_text(error: &std::io::Error) -> String {
    format!("TLS_error:|{error}:TLS_error_end")
}

/// The library's error inside an I/O error.
fn library_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
