//! Certificates of X.509 version 1, which have no extensions: `openssl x509
//! -req` makes them unless told otherwise, and Envoy takes them. The library
//! reads version 3 only.
//!
//! Invariant: accepted as a leaf that a trusted certificate signed itself, and
//! as nothing else: who has no extensions cannot say that it may sign others.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error};
use rustls_pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::tls::certificate;

/// Whether `leaf` is of version 1.
pub(super) fn is_old(leaf: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, c)| c.version() == X509Version::V1)
}

/// Whether one of `anchors` signed `leaf`. With `now`: and it is valid then.
pub(super) fn verify(
    leaf: &CertificateDer<'_>,
    anchors: &[TrustAnchor<'_>],
    now: Option<UnixTime>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let (_, old) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = now.map(|n| i64::try_from(n.as_secs()).unwrap_or(i64::MAX));
    if seconds.is_some_and(|s| s > old.validity().not_after.timestamp()) {
        return Err(CertificateError::Expired.into());
    }
    if seconds.is_some_and(|s| s < old.validity().not_before.timestamp()) {
        return Err(CertificateError::NotValidYet.into());
    }
    let issuer = old.issuer().as_raw();
    let signed = signed_part(leaf).ok_or(CertificateError::BadEncoding)?;
    let by = |anchor: &TrustAnchor<'_>| {
        let named = DistinguishedName::in_sequence(anchor.subject.as_ref()).as_ref() == issuer;
        let key = named.then(|| key_bits(anchor.subject_public_key_info.as_ref())).flatten();
        // An algorithm that does not suit the key does not verify.
        key.is_some_and(|key| {
            let verifies = |a: &&dyn SignatureVerificationAlgorithm| {
                a.verify_signature(key, signed, old.signature_value.as_ref()).is_ok()
            };
            algorithms.all.iter().any(verifies)
        })
    };
    match anchors.iter().any(by) {
        true => Ok(()),
        false => Err(CertificateError::UnknownIssuer.into()),
    }
}

/// Whether a handshake of TLS 1.3 was signed with the key of `leaf`.
pub(super) fn verify_handshake13(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = certificate::key(leaf).ok_or(CertificateError::BadEncoding)?;
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), signature, algorithms)
}

/// Whether a handshake of TLS 1.2 was signed with the key of `leaf`.
pub(super) fn verify_handshake12(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = certificate::key(leaf).ok_or(CertificateError::BadEncoding)?;
    let key = SubjectPublicKeyInfoDer::from(key);
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    let usable = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme).flat_map(|(_, all)| *all);
    let mut verified = usable.map(|a| key.verify_signature(*a, message, signature.signature()));
    match verified.any(|result| result.is_ok()) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}

/// The first element of a certificate: what is signed.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let (_, content, _) = element(der)?;
    let (whole, ..) = element(content)?;
    Some(whole)
}

/// The bits of a public key, given the inside of its SubjectPublicKeyInfo.
fn key_bits(info: &[u8]) -> Option<&[u8]> {
    let (.., rest) = element(info)?;
    let (_, bits, _) = element(rest)?;
    // A bit string begins with how many bits of its last byte do not count.
    bits.strip_prefix(&[0])
}

/// The first DER element: whole, its content, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let short = usize::from(*der.get(1)?);
    let (header, length) = match short {
        0..=0x7f => (2, short),
        0x81..=0x84 => {
            let digits = short - 0x80;
            let length = der.get(2..2 + digits)?.iter().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
            (2 + digits, length)
        }
        _ => return None,
    };
    let end = header.checked_add(length)?;
    Some((der.get(..end)?, der.get(header..end)?, &der[end..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

    use super::*;

    fn sequence(content: &[u8]) -> Vec<u8> {
        [&[0x30, 0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// What `authority` signs, without version and extensions.
    fn old(authority: &CertifiedIssuer<'static, KeyPair>) -> CertificateDer<'static> {
        let new = CertificateParams::new(vec!["a.b".to_owned()]).unwrap();
        let new = new.signed_by(&KeyPair::generate().unwrap(), authority).unwrap();
        let (_, content, _) = element(new.der()).unwrap();
        let (_, mut fields, rest) = element(content).unwrap();
        let (algorithm, ..) = element(rest).unwrap();
        let mut kept = Vec::new();
        for position in 0..7 {
            let (whole, _, rest) = element(fields).unwrap();
            if position > 0 {
                kept.extend_from_slice(whole);
            }
            fields = rest;
        }
        let signed = sequence(&kept);
        let key = PrivateKeyDer::from_pem_slice(authority.key().serialize_pem().as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let signer = key.choose_scheme(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
        let signature = signer.sign(&signed).unwrap();
        let bits = [&[0x03, u8::try_from(signature.len() + 1).unwrap(), 0][..], &signature].concat();
        sequence(&[&signed, algorithm, &bits].concat()).into()
    }

    #[test]
    fn a_leaf_without_extensions_is_whose_authority_signed_it() {
        let (trusted, other) = (authority("ca"), authority("ca"));
        let anchor = webpki::anchor_from_trusted_cert(trusted.der()).unwrap().to_owned();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let check = |leaf: &CertificateDer<'_>, now| verify(leaf, std::slice::from_ref(&anchor), now, &algorithms);
        let leaf = old(&trusted);
        assert!(is_old(&leaf) && !is_old(trusted.der()));
        assert_eq!(check(&leaf, Some(UnixTime::now())), Ok(()));
        assert_eq!(check(&old(&other), None), Err(CertificateError::UnknownIssuer.into()), "the name is not enough");
        let long_ago = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        assert_eq!(check(&leaf, Some(long_ago)), Err(CertificateError::NotValidYet.into()));
        let mut changed = leaf.to_vec();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert!(check(&changed.into(), None).is_err());
    }
}
