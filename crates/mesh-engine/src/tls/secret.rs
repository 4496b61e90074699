//! Reads `Secret` and what secrets are made of.

use std::sync::Arc;

use bytes::Bytes;
use mesh_proto::Message;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as xds;

use super::{Certificate, Data, NameKind, NameMatcher, Roots, ValidationContext};
use crate::error::{At, ConfigError, Kind};
use crate::matcher::StringMatcher;
use crate::parse::{self, honour};

/// A parsed `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: SecretKind,
    /// XXH3 of the encoded resource.
    pub hash: u64,
}

/// Kinds of secrets.
#[derive(Debug, Clone)]
pub enum SecretKind {
    /// A certificate and its key.
    Certificate(Certificate),
    /// How peers are verified.
    Validation(ValidationContext),
    /// Bytes for whoever knows what they are.
    Generic(Data),
}

impl Secret {
    /// Reads a secret.
    ///
    /// # Errors
    /// The first thing that cannot be honoured.
    pub fn parse(proto: &xds::Secret) -> Result<Self, ConfigError> {
        use xds::secret::Type as T;
        let at = At::root(Kind::Secret, &proto.name);
        let kind = match &proto.r#type {
            Some(T::TlsCertificate(one)) => SecretKind::Certificate(certificate(&at.field("tls_certificate"), one)?),
            Some(T::ValidationContext(context)) => {
                SecretKind::Validation(validation(&at.field("validation_context"), context)?)
            }
            Some(T::GenericSecret(generic)) => {
                let at = at.field("generic_secret");
                honour!(&at, generic, xds::GenericSecret => honour [secret] ignore [] refuse [secrets]);
                SecretKind::Generic(required(&at, "secret", generic.secret.as_ref())?)
            }
            Some(T::SessionTicketKeys(_)) => return Err(at.field("session_ticket_keys").unsupported()),
            None => return Err(at.missing("tls_certificate or validation_context")),
        };
        let hash = xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec());
        Ok(Self { name: proto.name.as_str().into(), kind, hash })
    }

    /// The files that it names.
    pub fn files(&self) -> Vec<Arc<str>> {
        match &self.kind {
            SecretKind::Certificate(certificate) => certificate.files().cloned().collect(),
            SecretKind::Validation(context) => context.files().cloned().collect(),
            SecretKind::Generic(data) => data.file().cloned().into_iter().collect(),
        }
    }
}

/// Reads a certificate.
pub(super) fn certificate(at: &At<'_>, proto: &xds::TlsCertificate) -> Result<Certificate, ConfigError> {
    honour!(at, proto, xds::TlsCertificate =>
        honour [certificate_chain private_key ocsp_staple]
        // Files are watched in any case.
        ignore [watched_directory]
        refuse [pkcs12 private_key_provider password signed_certificate_timestamp tls_params]
    );
    Ok(Certificate {
        chain: required(at, "certificate_chain", proto.certificate_chain.as_ref())?,
        key: required(at, "private_key", proto.private_key.as_ref())?,
        ocsp: data(at, "ocsp_staple", proto.ocsp_staple.as_ref())?,
    })
}

/// Reads how a peer is verified.
pub(super) fn validation(
    at: &At<'_>,
    proto: &xds::CertificateValidationContext,
) -> Result<ValidationContext, ConfigError> {
    honour!(at, proto, xds::CertificateValidationContext =>
        honour [
            trusted_ca system_root_certs verify_certificate_spki verify_certificate_hash match_typed_subject_alt_names
            match_subject_alt_names crl allow_expired_certificate trust_chain_verification only_verify_leaf_cert_crl
            suppress_client_ca_list
        ]
        // Files are watched in any case.
        ignore [watched_directory]
        refuse [
            ca_certificate_provider_instance require_signed_certificate_timestamp custom_validator_config
            max_verify_depth
        ]
    );
    let roots = match (data(at, "trusted_ca", proto.trusted_ca.as_ref())?, &proto.system_root_certs) {
        (Some(pem), _) => Some(Roots::Pem(pem)),
        (None, Some(_)) => Some(Roots::System),
        (None, None) => None,
    };
    let mut names = Vec::new();
    for (i, one) in proto.match_typed_subject_alt_names.iter().enumerate() {
        names.push(NameMatcher::parse(&at.index("match_typed_subject_alt_names", i), one)?);
    }
    for (i, one) in proto.match_subject_alt_names.iter().enumerate() {
        let value = StringMatcher::parse(&at.index("match_subject_alt_names", i), one)?;
        names.push(NameMatcher { kind: NameKind::Any, value });
    }
    let mut context = ValidationContext {
        roots,
        crl: data(at, "crl", proto.crl.as_ref())?,
        crl_leaf_only: proto.only_verify_leaf_cert_crl,
        names,
        allow_expired: proto.allow_expired_certificate,
        accept_untrusted: match proto.trust_chain_verification {
            0 => false,
            1 => true,
            other => {
                let expected = "VERIFY_TRUST_CHAIN or ACCEPT_UNTRUSTED";
                return Err(at.field("trust_chain_verification").invalid(other, expected));
            }
        },
        suppress_client_ca_list: proto.suppress_client_ca_list,
        ..ValidationContext::default()
    };
    pins(at, proto, &mut context)?;
    Ok(context)
}

fn pins(
    at: &At<'_>,
    proto: &xds::CertificateValidationContext,
    context: &mut ValidationContext,
) -> Result<(), ConfigError> {
    for (i, text) in proto.verify_certificate_hash.iter().enumerate() {
        let hash = hexadecimal(text).ok_or_else(|| {
            at.index("verify_certificate_hash", i).invalid(text, "a SHA-256 in hexadecimal, with or without colons")
        })?;
        context.hashes.push(hash);
    }
    for (i, text) in proto.verify_certificate_spki.iter().enumerate() {
        let hash = base64(text).ok_or_else(|| {
            at.index("verify_certificate_spki", i).invalid(text, "a SHA-256 in Base64, 44 characters")
        })?;
        context.spki.push(hash);
    }
    Ok(())
}

fn required(at: &At<'_>, field: &str, source: Option<&core::DataSource>) -> Result<Data, ConfigError> {
    data(at, field, source)?.ok_or_else(|| at.field(field).missing("inline_bytes, inline_string or filename"))
}

/// What a data source has; `None` if it is not set. What is empty cannot be a
/// certificate: the library that reads it says so.
fn data(at: &At<'_>, field: &str, source: Option<&core::DataSource>) -> Result<Option<Data>, ConfigError> {
    use core::data_source::Specifier as S;
    let Some(source) = source else { return Ok(None) };
    let at = at.field(field);
    Ok(Some(match &source.specifier {
        Some(S::InlineBytes(bytes)) => Data::Inline(Bytes::from(bytes.clone())),
        Some(S::InlineString(text)) => Data::Inline(Bytes::from(text.clone())),
        Some(S::Filename(path)) => Data::File(parse::non_empty(&at, "filename", path)?.into()),
        Some(S::EnvironmentVariable(_)) => return Err(at.field("environment_variable").unsupported()),
        None => return Ok(None),
    }))
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// 32 bytes in Base64 with padding (RFC 4648, 4).
fn base64(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_suffix('=').filter(|d| d.len() == 43)?;
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::with_capacity(32));
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // The two bits left over must be zero, or two texts would mean one hash.
    (bits == 0).then_some(())?;
    out.try_into().ok()
}
