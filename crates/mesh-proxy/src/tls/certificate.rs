//! What X.509 certificates say.

use std::fmt::Write;
use std::net::IpAddr;

use mesh_engine::tls::CertificateFacts;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// Reads a certificate.
///
/// # Errors
/// In words, if it is not one.
pub(crate) fn facts(der: &CertificateDer<'_>) -> Result<CertificateFacts, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| format!("is not a certificate: {e}"))?;
    let mut facts = CertificateFacts {
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        serial: serial(certificate.raw_serial()),
        fingerprint_256: hexadecimal(&sha256(der)),
        pem: escaped_pem(der).into(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        ..CertificateFacts::default()
    };
    let alternative = certificate.subject_alternative_name().map_err(|e| format!("alternative names: {e}"))?;
    for general in alternative.iter().flat_map(|a| &a.value.general_names) {
        match general {
            GeneralName::DNSName(text) => facts.dns.push((*text).into()),
            GeneralName::URI(text) => facts.uris.push((*text).into()),
            GeneralName::RFC822Name(text) => facts.emails.push((*text).into()),
            GeneralName::IPAddress(bytes) => facts.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Ok(facts)
}

/// A certificate's public key: its SubjectPublicKeyInfo, in DER.
pub(crate) fn key(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let provider = digest.map(|suite| suite.common.hash_provider);
    let mut out = [0; 32];
    if let Some(provider) = provider {
        let hash = provider.hash(bytes);
        out.copy_from_slice(&hash.as_ref()[..32]);
    }
    out
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Without the zero that keeps a positive number positive.
fn serial(raw: &[u8]) -> String {
    hexadecimal(raw.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(raw))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// RFC 2253: the most specific part first.
fn name(name: &X509Name<'_>) -> String {
    let registry = x509_parser::objects::oid_registry();
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes: Vec<String> = rdn
                .iter()
                .map(|attribute| {
                    let kind = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry);
                    let kind = kind.map_or_else(|_| attribute.attr_type().to_string(), str::to_owned);
                    format!("{kind}={}", escape(attribute.as_str().unwrap_or_default()))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// RFC 2253, 2.4.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (i, c) in text.chars().enumerate() {
        let at_end = (i == 0 && matches!(c, ' ' | '#')) || (i == last && c == ' ');
        if at_end || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A certificate in PEM, with everything escaped that cannot stand in a header.
pub(crate) fn escaped_pem(der: &[u8]) -> String {
    let mut out = "-----BEGIN%20CERTIFICATE-----%0A".to_owned();
    for line in der.chunks(PEM_LINE_BYTES) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for i in 0..4 {
                match (i > group.len(), BASE64[(bits >> (18 - 6 * i)) as usize & 63]) {
                    (true, _) => out.push_str("%3D"),
                    (false, b'+') => out.push_str("%2B"),
                    (false, b'/') => out.push_str("%2F"),
                    (false, digit) => out.push(char::from(digit)),
                }
            }
        }
        out.push_str("%0A");
    }
    out.push_str("-----END%20CERTIFICATE-----%0A");
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// 64 characters in Base64.
const PEM_LINE_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_certificate_says_who_it_is_for() {
        let mut params = rcgen::CertificateParams::new(vec!["a.b".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://t/ns/a/sa/b".try_into().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "O, Inc");
        params.distinguished_name.push(rcgen::DnType::CommonName, "me");
        params.serial_number = Some(vec![0x0f, 1].into());
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let facts = facts(certificate.der()).unwrap();
        assert_eq!((facts.subject.as_str(), facts.serial.as_str()), ("CN=me,O=O\\, Inc", "0f01"));
        assert_eq!((&*facts.dns[0], &*facts.uris[0]), ("a.b", "spiffe://t/ns/a/sa/b"));
        assert_eq!(facts.addresses, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(facts.fingerprint_256.len(), 64);
        let escaped =
            certificate.pem().replace("\r\n", "\n").replace(' ', "%20").replace('\n', "%0A").replace('+', "%2B");
        assert_eq!(*facts.pem, escaped.replace('/', "%2F").replace('=', "%3D"));
        assert!(super::facts(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
