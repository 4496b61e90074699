//! Bytes and files become certificates, keys, roots and revocation lists.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mesh_engine::tls::{self, CertificateFacts, Data, Roots, SecretKind, ValidationContext};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::{Shown, TlsError, certificate};

/// An own certificate, ready to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) facts: Arc<CertificateFacts>,
    /// The whole chain.
    pub(crate) shown: Vec<Shown>,
}

/// Loads a certificate and its key; they must fit each other.
pub(crate) fn own(certificate: &tls::Certificate, provider: &CryptoProvider) -> Result<Own, TlsError> {
    let chain = certificates("certificate chain", &certificate.chain)?;
    let from = origin(&certificate.key);
    let malformed = |problem: String| TlsError::Malformed { what: "private key", from: from.clone(), problem };
    let key = PrivateKeyDer::from_pem_slice(&read(&certificate.key)?)
        .map_err(|_| malformed("holds no private key in PEM (encrypted keys are not supported)".to_owned()))?;
    let mut shown = Vec::with_capacity(chain.len());
    for der in &chain {
        let problem =
            |problem| TlsError::Malformed { what: "certificate chain", from: origin(&certificate.chain), problem };
        let facts = Arc::new(certificate::facts(der).map_err(problem)?);
        shown.push(Shown { path: origin(&certificate.chain).into(), facts });
    }
    let key = provider.key_provider.load_private_key(key).map_err(|error| malformed(error.to_string()))?;
    let public = key.public_key();
    if chain.first().zip(public).is_some_and(|(leaf, key)| certificate::key(leaf).as_deref() != Some(key.as_ref())) {
        return Err(malformed("does not fit the certificate".to_owned()));
    }
    let mut key = CertifiedKey::new(chain, key);
    if let Some(ocsp) = &certificate.ocsp {
        key.ocsp = Some(read(ocsp)?.to_vec());
    }
    let facts = shown.first().map(|s| s.facts.clone()).unwrap_or_default();
    Ok(Own { key: Arc::new(key), facts, shown })
}

/// The trusted certificates of `context`; empty if it has none.
pub(crate) fn roots(context: &ValidationContext) -> Result<(Vec<CertificateDer<'static>>, Vec<Shown>), TlsError> {
    let data = match &context.roots {
        None => return Ok((Vec::new(), Vec::new())),
        Some(Roots::Pem(data)) => data.clone(),
        Some(Roots::System) => {
            let found = SYSTEM_ROOTS.iter().find(|p| Path::new(p).exists()).unwrap_or(&SYSTEM_ROOTS[0]);
            Data::File((*found).into())
        }
    };
    let roots = certificates("trusted_ca", &data)?;
    let path: Arc<str> = origin(&data).into();
    let shown = roots.iter().filter_map(|der| certificate::facts(der).ok());
    let shown = shown.map(|facts| Shown { path: path.clone(), facts: Arc::new(facts) }).collect();
    Ok((roots, shown))
}

/// The revocation lists of `context`.
pub(crate) fn revocation_lists(
    context: &ValidationContext,
) -> Result<Vec<webpki::CertRevocationList<'static>>, TlsError> {
    let Some(data) = &context.crl else { return Ok(Vec::new()) };
    let malformed = |problem: String| TlsError::Malformed { what: "crl", from: origin(data), problem };
    let mut lists = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(&read(data)?) {
        let der = der.map_err(|e| malformed(e.to_string()))?;
        let list = webpki::OwnedCertRevocationList::from_der(&der).map_err(|e| malformed(e.to_string()))?;
        lists.push(list.into());
    }
    match lists.is_empty() {
        true => Err(malformed("holds no revocation list in PEM".to_owned())),
        false => Ok(lists),
    }
}

/// Whether what stands in the secret itself is what it should be; what is in
/// files shows when they are read.
pub(crate) fn check(secret: &tls::Secret) -> Result<(), TlsError> {
    if !secret.files().is_empty() {
        return Ok(());
    }
    match &secret.kind {
        SecretKind::Certificate(certificate) => {
            own(certificate, &rustls::crypto::aws_lc_rs::default_provider()).map(drop)
        }
        SecretKind::Validation(context) => {
            revocation_lists(context)?;
            roots(context).map(drop)
        }
        SecretKind::Generic(_) => Ok(()),
    }
}

/// What tells one content of a file from another without reading it; 0 if
/// there is none. Follows links, so that swapping a directory is seen.
pub(crate) fn signature(path: &str) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else { return 0 };
    let mut hasher = DefaultHasher::new();
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
    hasher.finish() | 1
}

fn certificates(what: &'static str, data: &Data) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let malformed = |problem: String| TlsError::Malformed { what, from: origin(data), problem };
    let mut all = Vec::new();
    for der in CertificateDer::pem_slice_iter(&read(data)?) {
        all.push(der.map_err(|e| malformed(e.to_string()))?);
    }
    match all.is_empty() {
        true => Err(malformed("holds no certificate in PEM".to_owned())),
        false => Ok(all),
    }
}

fn read(data: &Data) -> Result<Bytes, TlsError> {
    let path = match data {
        Data::Inline(bytes) => return Ok(bytes.clone()),
        Data::File(path) => path,
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&**path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Bytes::from(bytes)),
        Err(source) => Err(TlsError::File { path: path.to_string(), source }),
    }
}

fn origin(data: &Data) -> String {
    match data {
        Data::Inline(_) => "<inline>".to_owned(),
        Data::File(path) => path.to_string(),
    }
}

/// A longer file is not a certificate bundle. The largest system bundles have 300 KiB.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Where distributions keep their roots: Debian, Red Hat, OpenSUSE, Alpine.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
