//! Certificates made for a test, and a client that speaks TLS with them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};

/// An authority.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for `names`: DNS names, addresses, or URIs.
    pub(crate) fn issue(&self, common: &str, names: &[&str]) -> Pair {
        let plain = names.iter().filter(|n| !n.contains("://")).map(|n| (*n).to_owned());
        let mut params = CertificateParams::new(plain.collect::<Vec<_>>()).unwrap();
        for uri in names.iter().filter(|n| n.contains("://")) {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).map(Result::unwrap).collect();
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }

    /// As a `TlsCertificate` in YAML.
    pub(crate) fn yaml(&self) -> String {
        format!(
            "{{certificate_chain: {{inline_string: {:?}}}, private_key: {{inline_string: {:?}}}}}",
            self.chain, self.key
        )
    }
}

/// A server's configuration that shows `pair`, and asks for certificates of `clients` if given.
pub(crate) fn server_config(pair: &Pair, clients: Option<&Ca>, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
    let (chain, key) = pair.der();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(default_provider());
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What a client asks for.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) name: &'a str,
    pub(crate) alpn: &'a [&'a str],
    pub(crate) own: Option<&'a Pair>,
    pub(crate) version: &'static SupportedProtocolVersion,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self { name: "a.test", alpn: &[], own: None, version: &rustls::version::TLS13 }
    }
}

/// What a client was shown, and the answer to a GET.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) certificate: Vec<u8>,
    pub(crate) alpn: Option<String>,
    pub(crate) answer: String,
}

impl Told {
    pub(crate) fn showed(&self, pair: &Pair) -> bool {
        self.certificate == pair.der().0[0].to_vec()
    }
}

impl Ask<'_> {
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone));
        let mut config = match self.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.der();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Sends a GET for `/head` and reads to the end. An error is a handshake, or a connection, that failed.
    pub(crate) fn get(&self, address: SocketAddr) -> std::io::Result<Told> {
        self.send(address, "GET /head HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
    }

    pub(crate) fn send(&self, address: SocketAddr, text: &str) -> std::io::Result<Told> {
        let name = ServerName::try_from(self.name.to_owned()).unwrap();
        let mut connection = rustls::ClientConnection::new(self.config(), name).map_err(std::io::Error::other)?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        tls.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        match tls.read_to_end(&mut answer) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
            other => drop(other?),
        }
        Ok(Told {
            certificate: connection.peer_certificates().unwrap()[0].to_vec(),
            alpn: connection.alpn_protocol().map(|p| String::from_utf8(p.to_vec()).unwrap()),
            answer: String::from_utf8_lossy(&answer).into_owned(),
        })
    }
}

/// Trusts every server: what is shown is for the test to judge.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
