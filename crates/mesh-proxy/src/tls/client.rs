//! TLS that we speak to endpoints.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_engine::tls::{CertificateFacts, ClientTls, Material, TlsFacts};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::material;
use super::stream::Stream;
use super::verify::Verifier;
use super::{Shown, TlsError, facts, provider, versions};

/// What will be spoken inside, for contexts that leave the protocol open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Anything.
    Bytes,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// An `UpstreamTlsContext`, ready for handshakes.
pub(crate) struct Client {
    /// By [`Inside`].
    configs: [Arc<ClientConfig>; 3],
    own: Option<Arc<CertificateFacts>>,
    /// Own chain, and trusted certificates.
    pub(crate) shown: (Vec<Shown>, Vec<Shown>),
}

impl Client {
    /// Makes one of `context`, with its secrets in `material`. With
    /// `verify_name` a certificate must have the name that is asked for.
    pub(crate) fn new(context: &ClientTls, material: &Material, verify_name: bool) -> Result<Self, TlsError> {
        let provider = provider(&context.common);
        let own = material.certificates.first().map(|c| material::own(c, &provider)).transpose()?;
        let rules = material.validation.clone().unwrap_or_default();
        let (verifier, trusted) = Verifier::new(rules, provider.clone(), false, verify_name)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(&context.common))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &own {
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own.key.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = match context.sessions_max {
            0 => Resumption::disabled(),
            _ => Resumption::in_memory_sessions(context.sessions_max.max(SESSIONS_MIN)),
        };
        config.alpn_protocols = context.common.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let with = |protocol: &str| {
            let mut config = config.clone();
            if config.alpn_protocols.is_empty() {
                config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            }
            Arc::new(config)
        };
        let configs = [Arc::new(config.clone()), with("http/1.1"), with("h2")];
        let shown = (own.as_ref().map(|o| o.shown.clone()).unwrap_or_default(), trusted);
        Ok(Self { configs, own: own.map(|o| o.facts), shown })
    }

    /// Handshakes with the endpoint at `address`, asking for `name`. The caller limits the time.
    pub(crate) async fn connect(
        &self,
        io: TcpStream,
        name: Option<&str>,
        address: IpAddr,
        inside: Inside,
    ) -> io::Result<(Stream, TlsFacts)> {
        let server = match name.filter(|n| !n.is_empty()) {
            Some(name) => server_name(name)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no server name")))?,
            // An address is not sent, and still tells sessions apart.
            None => ServerName::IpAddress(address.into()),
        };
        let config = &self.configs[inside as usize];
        let stream = TlsConnector::from(config.clone()).connect(server, io).await?;
        let facts = facts(stream.get_ref().1, name.map(Arc::from), self.own.clone());
        Ok((Stream::layered(stream), facts))
    }
}

/// A name as the handshake can carry it.
pub(crate) fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

/// The library drops sessions by endpoint: fewer would be none.
const SESSIONS_MIN: usize = 8;
