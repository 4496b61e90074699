//! Whether a peer's certificate is acceptable, as Envoy's validation contexts
//! say it: the chain against the trusted certificates, then pins, then names.
//!
//! Unlike the library's own verifiers, the chain is not tied to a server name:
//! names are matched as configured, SPIFFE identities among them.

use std::fmt;
use std::sync::Arc;

use mesh_engine::tls::ValidationContext;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder};

use super::{Shown, TlsError, certificate, material};

mod old;

/// Verifies peers of one context.
pub(super) struct Verifier {
    rules: ValidationContext,
    anchors: Vec<TrustAnchor<'static>>,
    /// The trusted certificates themselves: one that is shown as a leaf is accepted as it is.
    trusted: Vec<CertificateDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
    /// Servers: a client must show a certificate.
    required: bool,
    /// Clients: the certificate must have the name that was asked for.
    verify_name: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("roots", &self.anchors.len()).finish_non_exhaustive()
    }
}

impl Verifier {
    pub(super) fn new(
        rules: ValidationContext,
        provider: Arc<CryptoProvider>,
        required: bool,
        verify_name: bool,
    ) -> Result<(Self, Vec<Shown>), TlsError> {
        let (trusted, shown) = material::roots(&rules)?;
        // What is no root to the library (an old version of X.509) is of no use, and the others are.
        let anchors: Vec<TrustAnchor<'static>> =
            trusted.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok().map(|a| a.to_owned())).collect();
        let lists = material::revocation_lists(&rules)?;
        let told = !rules.suppress_client_ca_list && anchors.len() <= HINTS_MAX;
        let hints = anchors.iter().filter(|_| told).map(|a| DistinguishedName::in_sequence(a.subject.as_ref()));
        let hints = hints.collect();
        Ok((Self { rules, anchors, trusted, lists, provider, hints, required, verify_name }, shown))
    }

    /// Whether a client is asked for a certificate.
    pub(super) fn asks(&self) -> bool {
        let rules = &self.rules;
        self.required || rules.roots.is_some() || !rules.hashes.is_empty() || !rules.spki.is_empty()
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        name: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        if self.rules.accept_untrusted {
            return Ok(());
        }
        if self.rules.roots.is_some() {
            self.chain(leaf, intermediates, now, usage)?;
        }
        let pinned = !self.rules.hashes.is_empty() || !self.rules.spki.is_empty();
        let key = || certificate::sha256(&certificate::key(leaf).unwrap_or_default());
        if pinned && !self.rules.accepts_pins(&certificate::sha256(leaf), &key()) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let name = name.filter(|_| self.verify_name);
        if self.rules.names.is_empty() && name.is_none() {
            return Ok(());
        }
        let facts = certificate::facts(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let is_asked = name.is_none_or(|n| facts.is_for(&n.to_str()));
        match is_asked && self.rules.accepts_names(&facts) {
            true => Ok(()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let facts = || certificate::facts(leaf).map_err(|_| Error::from(CertificateError::BadEncoding));
        if self.trusted.contains(leaf) {
            let facts = facts()?;
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return match seconds {
                _ if self.rules.allow_expired => Ok(()),
                s if s > facts.not_after => Err(CertificateError::Expired.into()),
                s if s < facts.not_before => Err(CertificateError::NotValidYet.into()),
                _ => Ok(()),
            };
        }
        if old::is_old(leaf) {
            // There is no telling where such a certificate's revocation would be listed.
            if !self.lists.is_empty() {
                return Err(CertificateError::UnknownRevocationStatus.into());
            }
            let now = (!self.rules.allow_expired).then_some(now);
            return old::verify(leaf, &self.anchors, now, &self.provider.signature_verification_algorithms);
        }
        match self.path(leaf, intermediates, now, usage) {
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })
                if self.rules.allow_expired =>
            {
                let then = u64::try_from(facts()?.not_after).unwrap_or(0);
                let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(then));
                self.path(leaf, intermediates, then, usage).map_err(refusal)
            }
            other => other.map_err(refusal),
        }
    }

    fn path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let depth = match self.rules.crl_leaf_only {
            true => RevocationCheckDepth::EndEntity,
            false => RevocationCheckDepth::Chain,
        };
        // Without lists nothing is asked for.
        let revocation = RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|b| b.with_depth(depth).with_expiration_policy(webpki::ExpirationPolicy::Enforce).build());
        let algorithms = self.provider.signature_verification_algorithms.all;
        let leaf = EndEntityCert::try_from(leaf)?;
        leaf.verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, revocation, None).map(drop)
    }

    fn signature12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match old::is_old(cert) {
            true => old::verify_handshake12(message, cert, dss, algorithms),
            false => verify_tls12_signature(message, cert, dss, algorithms),
        }
    }

    fn signature13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match old::is_old(cert) {
            true => old::verify_handshake13(message, cert, dss, algorithms),
            false => verify_tls13_signature(message, cert, dss, algorithms),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::server_auth(), Some(server_name))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.asks()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::client_auth(), None)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The alert that fits.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let known = match error {
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::BadDer => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    known.into()
}

/// Names of more authorities are not told: the list would fill the handshake,
/// and who trusts that many leaves the choice to the client anyhow.
const HINTS_MAX: usize = 64;
