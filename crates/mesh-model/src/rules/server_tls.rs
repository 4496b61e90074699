//! TLS settings of a server: of a Gateway's, and of a Sidecar's ingress
//! listener.
//!
//! Source: `ServerTLSSettings`, <https://istio.io/latest/docs/reference/config/networking/gateway/>

use std::fmt;

use crate::Name;

/// How a server speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Whether TLS ends here, and who must show a certificate.
    pub mode: TlsMode,
    /// Whether plaintext requests are answered with a redirect to HTTPS.
    pub https_redirect: bool,
    /// What the server shows; `Certificates::None` where TLS does not end here
    /// or the workload's own certificate is shown.
    pub certificates: Certificates,
    /// Credential with the authorities of clients' certificates; `None`: that
    /// of the first certificate.
    pub ca_credential: Option<Credential>,
    /// File with the authorities of clients' certificates.
    pub ca_file: Option<Name>,
    /// File with revoked certificates.
    pub crl_file: Option<Name>,
    /// Names, one of which a client's certificate must carry; empty: any.
    pub subject_alt_names: Vec<Name>,
    /// Base64 SHA-256 hashes, one of which a client's key must have.
    pub spki_pins: Vec<Name>,
    /// Hex SHA-256 hashes, one of which a client's certificate must have.
    pub certificate_hashes: Vec<Name>,
    /// `None`: TLS 1.2.
    pub min_version: Option<TlsVersion>,
    /// `None`: the newest.
    pub max_version: Option<TlsVersion>,
    /// BoringSSL's names, in order of preference; empty: the proxy's own.
    pub cipher_suites: Vec<Name>,
    /// Curves, in order of preference; empty: the proxy's own.
    pub ecdh_curves: Vec<Name>,
    /// Whether clients' certificates of unknown authorities are accepted.
    pub insecure_skip_verify: bool,
}

impl ServerTls {
    /// Settings of a mode and nothing else.
    pub fn new(mode: TlsMode) -> Self {
        Self {
            mode,
            https_redirect: false,
            certificates: Certificates::None,
            ca_credential: None,
            ca_file: None,
            crl_file: None,
            subject_alt_names: Vec::new(),
            spki_pins: Vec::new(),
            certificate_hashes: Vec::new(),
            min_version: None,
            max_version: None,
            cipher_suites: Vec::new(),
            ecdh_curves: Vec::new(),
            insecure_skip_verify: false,
        }
    }
}

/// What happens to TLS at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Passed on by server name, as the rules' TLS routes say.
    Passthrough,
    /// Ends here.
    Simple,
    /// Ends here; clients must show a certificate.
    Mutual,
    /// Passed on to the cluster that the server name spells.
    AutoPassthrough,
    /// Ends here, with the workload's own certificate; clients must show one of
    /// the mesh.
    IstioMutual,
    /// Ends here; a client's certificate is checked if it shows one.
    OptionalMutual,
}

impl TlsMode {
    /// The mode as it is written: `SIMPLE`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            TlsMode::Passthrough => "PASSTHROUGH",
            TlsMode::Simple => "SIMPLE",
            TlsMode::Mutual => "MUTUAL",
            TlsMode::AutoPassthrough => "AUTO_PASSTHROUGH",
            TlsMode::IstioMutual => "ISTIO_MUTUAL",
            TlsMode::OptionalMutual => "OPTIONAL_MUTUAL",
        }
    }
}

/// What a server shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Certificates {
    /// Nothing of its own.
    None,
    /// Credentials by name, in order of preference; never empty.
    Credentials(Vec<Credential>),
    /// Files on the proxy's machine, in order of preference; never empty.
    Files(Vec<PairFiles>),
}

/// A certificate and its key, in files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairFiles {
    /// The certificate, with its chain.
    pub certificate: Name,
    /// The private key.
    pub key: Name,
}

/// Where a credential is found. `Display` writes its resource name.
///
/// Source: `ParseResourceName`, istio `pilot/pkg/model/credentials/resource.go`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credential {
    /// What kind of object it is in.
    pub source: CredentialSource,
    /// Namespace of the object; `None`: the proxy's own.
    pub namespace: Option<Name>,
    /// Name of the object.
    pub name: Name,
}

/// The kind of object that holds a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialSource {
    /// A Secret in the proxy's own namespace.
    Secret,
    /// A Secret whose use was granted where the reference was read.
    GrantedSecret,
    /// A ConfigMap; it holds authorities alone.
    ConfigMap,
}

impl Credential {
    /// Reads a `credentialName`; `None` if it is empty or names a source that
    /// is not known here.
    pub fn parse(text: &str) -> Option<Self> {
        let (source, rest) = match text.split_once("://") {
            None => (CredentialSource::Secret, text),
            Some(("kubernetes", rest)) => (CredentialSource::Secret, rest),
            Some(("kubernetes-gateway", rest)) => (CredentialSource::GrantedSecret, rest),
            Some(("configmap", rest)) => (CredentialSource::ConfigMap, rest),
            Some(_) => return None,
        };
        let (namespace, name) = match rest.split_once('/') {
            Some((namespace, name)) => (Some(Name::from(namespace)), name),
            None => (None, rest),
        };
        let whole = !name.is_empty() && !name.contains('/') && namespace.as_ref().is_none_or(|n| !n.is_empty());
        let placed = source == CredentialSource::Secret || namespace.is_some();
        (whole && placed).then(|| Self { source, namespace, name: name.into() })
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.source {
            CredentialSource::Secret => "kubernetes",
            CredentialSource::GrantedSecret => "kubernetes-gateway",
            CredentialSource::ConfigMap => "configmap",
        };
        match &self.namespace {
            Some(namespace) => write!(f, "{scheme}://{namespace}/{}", self.name),
            None => write!(f, "{scheme}://{}", self.name),
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are the versions themselves")]
pub enum TlsVersion {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_name_is_a_secret_unless_it_says_otherwise() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(Credential::parse(text).map(|c| c.to_string()).as_deref(), expected, "{text}");
        };
        check("shop-cert", Some("kubernetes://shop-cert"));
        check("kubernetes://shop-cert", Some("kubernetes://shop-cert"));
        check("kubernetes://web/shop-cert", Some("kubernetes://web/shop-cert"));
        check("kubernetes-gateway://web/shop-cert", Some("kubernetes-gateway://web/shop-cert"));
        check("configmap://web/roots", Some("configmap://web/roots"));
        check("configmap://roots", None);
        check("sds://elsewhere", None);
        check("kubernetes://a/b/c", None);
        check("", None);
    }
}
