//! Checks of PEM: that certificates, keys and revocation lists parse, and that
//! a key belongs to a certificate.
//!
//! Invariant: nothing here prints what it is given.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// What is wrong with PEM.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Error {
    #[error("found no PEM block of type {0}")]
    Empty(&'static str),
    #[error("found broken PEM, expected blocks of type {0}")]
    Broken(&'static str),
    #[error("found a certificate (number {0}) that does not parse, expected X.509 in DER")]
    Certificate(usize),
    #[error("found a revocation list (number {0}) that does not parse, expected X.509 in DER")]
    RevocationList(usize),
    #[error("found {0} certificates, expected at most {CERTIFICATES_MAX}")]
    Many(usize),
    #[error("found no private key that can be read, expected an unencrypted PKCS#8, PKCS#1 or SEC1 block")]
    Key,
    #[error("found a private key of a kind that is not supported, expected RSA, ECDSA or Ed25519")]
    KeyKind,
    #[error("found a private key that does not belong to the first certificate")]
    Mismatch,
}

impl Error {
    /// Whether the key is what is wrong.
    pub(super) fn is_about_the_key(&self) -> bool {
        matches!(self, Error::Key | Error::KeyKind | Error::Mismatch)
    }
}

/// Certificates of one bundle: more are no authorities anyone chose.
const CERTIFICATES_MAX: usize = 1_000;

/// Checks a certificate with its chain and the private key of the first one.
pub(super) fn pair(chain: &[u8], key: &[u8]) -> Result<(), Error> {
    let chain = parse(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Error::Key)?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| Error::KeyKind)?;
    let first = chain.first().ok_or(Error::Empty(CERTIFICATE))?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|_| Error::Certificate(1))?;
    let public = key.public_key().ok_or(Error::KeyKind)?;
    let same = certificate.tbs_certificate.subject_pki.raw == public.as_ref();
    if same { Ok(()) } else { Err(Error::Mismatch) }
}

/// Checks a bundle of certificates.
pub(super) fn certificates(pem: &[u8]) -> Result<(), Error> {
    parse(pem).map(|_| ())
}

/// Checks a bundle of revocation lists.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<(), Error> {
    let mut found = 0;
    for list in CertificateRevocationListDer::pem_slice_iter(pem) {
        found += 1;
        let list = list.map_err(|_| Error::Broken(LIST))?;
        CertificateRevocationList::from_der(&list).map_err(|_| Error::RevocationList(found))?;
    }
    if found == 0 { Err(Error::Empty(LIST)) } else { Ok(()) }
}

fn parse(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| Error::Broken(CERTIFICATE))?;
        X509Certificate::from_der(&certificate).map_err(|_| Error::Certificate(certificates.len() + 1))?;
        certificates.push(certificate);
        if certificates.len() > CERTIFICATES_MAX {
            return Err(Error::Many(certificates.len()));
        }
    }
    if certificates.is_empty() { Err(Error::Empty(CERTIFICATE)) } else { Ok(certificates) }
}

const CERTIFICATE: &str = "CERTIFICATE";
const LIST: &str = "X509 CRL";
