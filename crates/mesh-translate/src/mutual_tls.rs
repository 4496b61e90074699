//! Which connections a workload accepts, and the filter chains that follow.
//!
//! A client's sidecar says in the ALPN of its TLS handshake what it carries
//! (`istio-http/1.1`, `istio`); TLS of an application names no such protocol
//! and is left to the application.
//!
//! Source of the rows: `getFilterChainMatchOptions`, istio
//! `pilot/pkg/networking/core/listener_inbound.go`; of the precedence:
//! `ComposePeerAuthentication`, `pilot/pkg/security/authn/policy_applier.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::Labels;
use mesh_model::rules::PeerAuthentication;
use mesh_model::rules::peer_authentication::MutualTls;
use mesh_proto::envoy::config::core::v3::{TransportSocket, transport_socket};
use mesh_proto::envoy::config::listener::v3::FilterChainMatch;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    subject_alt_name_matcher::SanType,
};
use mesh_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::xds;

#[cfg(test)]
mod tests;

/// What holds for each port of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Modes {
    all: MutualTls,
    ports: BTreeMap<u16, MutualTls>,
}

impl Modes {
    /// Plaintext on every port.
    pub(crate) fn plaintext() -> Self {
        Self { all: MutualTls::Disable, ports: BTreeMap::new() }
    }

    /// What `rules` (oldest first) say for a workload in `namespace` with
    /// `labels`: the one that selects it, else its namespace's, else the root
    /// namespace's; `UNSET` asks one level up, and at the top is permissive.
    pub(crate) fn of(rules: &[Arc<PeerAuthentication>], namespace: &str, labels: &Labels, root: &str) -> Self {
        let whole = |place: &str| {
            rules.iter().find(|r| r.selector.is_empty() && &**r.meta.namespace() == place).and_then(|r| r.mode)
        };
        let selects = |r: &&Arc<PeerAuthentication>| !r.selector.is_empty() && r.selector.selects(labels);
        let own = rules.iter().filter(|r| &**r.meta.namespace() == namespace).find(selects);
        let above = whole(namespace).or_else(|| whole(root)).unwrap_or(MutualTls::Permissive);
        let all = own.and_then(|r| r.mode).unwrap_or(above);
        let of_ports = own.into_iter().flat_map(|r| &r.port_modes);
        Self { all, ports: of_ports.map(|(port, mode)| (*port, mode.unwrap_or(all))).collect() }
    }

    /// What holds for `port` of the workload.
    pub(crate) fn of_port(&self, port: u16) -> MutualTls {
        self.ports.get(&port).copied().unwrap_or(self.all)
    }

    /// What holds for ports that no service declares, unless they are
    /// [`Modes::stated`].
    pub(crate) fn all(&self) -> MutualTls {
        self.all
    }

    /// Ports that have a mode of their own.
    pub(crate) fn stated(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().copied()
    }

    /// Whether some port may see mutual TLS.
    pub(crate) fn any(&self) -> bool {
        self.all != MutualTls::Disable || self.ports.values().any(|m| *m != MutualTls::Disable)
    }
}

/// What a port carries, as far as chains depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    Http,
    Bytes,
    /// Whatever the client's first bytes look like.
    Either,
}

/// One filter chain of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether it ends in an HTTP connection manager.
    pub(crate) http: bool,
    /// Whether it terminates mutual TLS.
    pub(crate) mutual: bool,
    transport: &'static str,
    protocols: &'static [&'static str],
}

impl Shape {
    /// `matches` with the conditions of this chain added.
    pub(crate) fn narrowed(&self, mut matches: FilterChainMatch) -> FilterChainMatch {
        matches.transport_protocol = self.transport.to_owned();
        matches.application_protocols = self.protocols.iter().map(|p| (*p).to_owned()).collect();
        matches
    }

    /// What terminates its TLS, if it does.
    pub(crate) fn transport_socket(&self, trust_domain: &str) -> Option<TransportSocket> {
        self.mutual.then(|| TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(xds::pack(&context(self.http, trust_domain)))),
        })
    }
}

/// The chains of a port that carries `carries`, where `mode` holds.
pub(crate) fn shapes(mode: MutualTls, carries: Carries) -> &'static [Shape] {
    match (mode, carries) {
        (MutualTls::Disable, Carries::Http) => &[Shape { http: true, ..ANY }],
        (MutualTls::Disable, Carries::Bytes) => &[ANY],
        (MutualTls::Disable, Carries::Either) => &[Shape { http: true, protocols: DETECTED_HTTP, ..ANY }, ANY],
        (MutualTls::Permissive, Carries::Http) => {
            &[Shape { protocols: MESH, http: true, ..MUTUAL }, Shape { http: true, ..PLAIN }]
        }
        (MutualTls::Permissive, Carries::Bytes) => {
            &[Shape { protocols: MESH, ..MUTUAL }, Shape { mutual: false, ..MUTUAL }, PLAIN]
        }
        (MutualTls::Permissive, Carries::Either) => &[
            Shape { protocols: MESH_HTTP, http: true, ..MUTUAL },
            Shape { protocols: DETECTED_HTTP, http: true, ..PLAIN },
            Shape { protocols: MESH_BYTES, ..MUTUAL },
            PLAIN,
            Shape { mutual: false, ..MUTUAL },
        ],
        (MutualTls::Strict, Carries::Http) => &[Shape { http: true, ..MUTUAL }],
        (MutualTls::Strict, Carries::Bytes) => &[MUTUAL],
        (MutualTls::Strict, Carries::Either) => &[Shape { protocols: MESH_HTTP, http: true, ..MUTUAL }, MUTUAL],
    }
}

/// Presents the workload's certificate and asks for one of the trust domain.
fn context(http: bool, trust_domain: &str) -> DownstreamTlsContext {
    let alpn: &[&str] = if http { &["h2", "http/1.1"] } else { &["istio-peer-exchange", "h2", "http/1.1"] };
    let secret = |name: &str| SdsSecretConfig { name: name.to_owned(), sds_config: Some(xds::ads()) };
    let prefix = format!("spiffe://{trust_domain}/");
    let san = SubjectAltNameMatcher {
        san_type: SanType::Uri as i32,
        matcher: Some(StringMatcher { match_pattern: Some(MatchPattern::Prefix(prefix)), ..Default::default() }),
        ..Default::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: vec![san],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret(ROOT_CA)),
        ..Default::default()
    };
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
            tls_certificate_sds_secret_configs: vec![secret(OWN_CERTIFICATE)],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
            ..Default::default()
        }),
        require_client_certificate: xds::truth(true),
        ..Default::default()
    }
}

const ANY: Shape = Shape { http: false, mutual: false, transport: "", protocols: &[] };
const PLAIN: Shape = Shape { transport: "raw_buffer", ..ANY };
const MUTUAL: Shape = Shape { transport: "tls", mutual: true, ..ANY };

/// What the HTTP inspector finds in plaintext.
const DETECTED_HTTP: &[&str] = &["http/1.1", "h2c"];
/// What a client's sidecar offers when it carries HTTP.
const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What it offers when it carries bytes.
const MESH_BYTES: &[&str] = &["istio-peer-exchange", "istio"];
/// Either.
const MESH: &[&str] = &["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// SDS name of the workload's own certificate.
const OWN_CERTIFICATE: &str = "default";
/// SDS name of the roots that peers' certificates must lead to.
const ROOT_CA: &str = "ROOTCA";
