//! Reads `DownstreamTlsContext` and `UpstreamTlsContext`.

use std::sync::Arc;

use mesh_proto::Message;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as xds;

use super::{CertificateSource, ClientTls, CommonTls, ServerTls, Validation, Version, secret};
use crate::error::{At, ConfigError};
use crate::parse::{self, bool_or, honour};

/// Reads TLS of a filter chain.
pub(super) fn server(at: &At<'_>, proto: &xds::DownstreamTlsContext) -> Result<ServerTls, ConfigError> {
    use xds::downstream_tls_context::SessionTicketKeysType as K;
    honour!(at, proto, xds::DownstreamTlsContext =>
        honour [
            common_tls_context require_client_certificate require_sni disable_stateful_session_resumption
            prefer_client_ciphers session_ticket_keys_type ocsp_staple_policy
        ]
        // A certificate for another name is used as a last resort in any case.
        ignore [full_scan_certs_on_sni_mismatch]
        refuse [session_timeout]
    );
    // Only what is stapled unconditionally can be promised.
    parse::refuse_if_set(at, "ocsp_staple_policy", &proto.ocsp_staple_policy)?;
    let no_tickets = match &proto.session_ticket_keys_type {
        None => false,
        Some(K::DisableStatelessSessionResumption(off)) => *off,
        Some(K::SessionTicketKeys(_)) => return Err(at.field("session_ticket_keys").unsupported()),
        Some(K::SessionTicketKeysSdsSecretConfig(_)) => {
            return Err(at.field("session_ticket_keys_sds_secret_config").unsupported());
        }
    };
    let hash = xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec());
    let common = common(&at.field("common_tls_context"), proto.common_tls_context.as_ref(), Side::Server, hash)?;
    if common.certificates.is_empty() {
        return Err(at.rule("No TLS certificates found for server context"));
    }
    Ok(ServerTls {
        common,
        require_client_certificate: bool_or(proto.require_client_certificate.as_ref(), false),
        require_sni: bool_or(proto.require_sni.as_ref(), false),
        no_tickets,
        no_session_cache: proto.disable_stateful_session_resumption,
        prefer_client_ciphers: proto.prefer_client_ciphers,
    })
}

/// Reads TLS to a cluster.
pub(super) fn client(at: &At<'_>, proto: &xds::UpstreamTlsContext) -> Result<ClientTls, ConfigError> {
    honour!(at, proto, xds::UpstreamTlsContext =>
        honour [common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys]
        // The library checks key usage in any case.
        ignore [enforce_rsa_key_usage]
        refuse [allow_renegotiation]
    );
    if proto.sni.len() > SNI_BYTES_MAX {
        return Err(at.field("sni").invalid(&proto.sni, "at most 255 bytes"));
    }
    let hash = xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec());
    let common = common(&at.field("common_tls_context"), proto.common_tls_context.as_ref(), Side::Client, hash)?;
    if common.certificates.len() > 1 {
        return Err(at.rule("Multiple TLS certificates are not supported for client contexts"));
    }
    Ok(ClientTls {
        common,
        sni: proto.sni.as_str().into(),
        auto_host_sni: proto.auto_host_sni,
        verify_sni: proto.auto_sni_san_validation,
        sessions_max: parse::u32_or(proto.max_session_keys.as_ref(), 1).min(SESSIONS_MAX) as usize,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Server,
    Client,
}

fn common(at: &At<'_>, proto: Option<&xds::CommonTlsContext>, side: Side, hash: u64) -> Result<CommonTls, ConfigError> {
    let empty = xds::CommonTlsContext::default();
    let proto = proto.unwrap_or(&empty);
    honour!(at, proto, xds::CommonTlsContext =>
        honour [
            tls_params tls_certificates tls_certificate_sds_secret_configs alpn_protocols validation_context_type
        ]
        ignore []
        refuse [
            tls_certificate_provider_instance custom_tls_certificate_selector tls_certificate_certificate_provider
            tls_certificate_certificate_provider_instance custom_handshaker key_log
        ]
    );
    let mut certificates = Vec::new();
    for (i, one) in proto.tls_certificates.iter().enumerate() {
        certificates.push(CertificateSource::Inline(secret::certificate(&at.index("tls_certificates", i), one)?));
    }
    for (i, one) in proto.tls_certificate_sds_secret_configs.iter().enumerate() {
        let at = at.index("tls_certificate_sds_secret_configs", i);
        certificates.push(CertificateSource::Secret(sds(&at, one)?));
    }
    let mut alpn: Vec<Box<str>> = Vec::new();
    for (i, protocol) in proto.alpn_protocols.iter().enumerate() {
        if protocol.is_empty() || protocol.len() > ALPN_BYTES_MAX {
            return Err(at.index("alpn_protocols", i).invalid(protocol, "1 to 255 bytes"));
        }
        alpn.push(protocol.as_str().into());
    }
    let mut left_out = Vec::new();
    let parameters = proto.tls_params.clone().unwrap_or_default();
    let (versions, ciphers, groups) = params(&at.field("tls_params"), &parameters, side, &mut left_out)?;
    let validation = validation(at, proto)?;
    Ok(CommonTls { versions, ciphers, groups, alpn, certificates, validation, left_out, hash })
}

fn validation(at: &At<'_>, proto: &xds::CommonTlsContext) -> Result<Option<Validation>, ConfigError> {
    use xds::common_tls_context::ValidationContextType as V;
    let validation = match &proto.validation_context_type {
        None => return Ok(None),
        Some(V::ValidationContext(context)) => {
            let own = secret::validation(&at.field("validation_context"), context)?;
            let named = !own.names.is_empty() && own.roots.is_none();
            if named {
                return Err(at.field("validation_context").rule(
                    "SAN-based verification of peer certificates without trusted CA is insecure and not allowed",
                ));
            }
            Validation { own, secret: None }
        }
        Some(V::ValidationContextSdsSecretConfig(config)) => {
            let name = sds(&at.field("validation_context_sds_secret_config"), config)?;
            Validation { secret: Some(name), ..Validation::default() }
        }
        Some(V::CombinedValidationContext(combined)) => {
            let at = at.field("combined_validation_context");
            honour!(&at, combined, xds::common_tls_context::CombinedCertificateValidationContext =>
                honour [default_validation_context validation_context_sds_secret_config]
                ignore []
                refuse [validation_context_certificate_provider validation_context_certificate_provider_instance]
            );
            let own = match &combined.default_validation_context {
                Some(context) => secret::validation(&at.field("default_validation_context"), context)?,
                None => return Err(at.field("default_validation_context").missing("a validation context")),
            };
            let Some(config) = &combined.validation_context_sds_secret_config else {
                return Err(at.field("validation_context_sds_secret_config").missing("a secret"));
            };
            Validation { own, secret: Some(sds(&at.field("validation_context_sds_secret_config"), config)?) }
        }
        Some(V::ValidationContextCertificateProvider(_)) => {
            return Err(at.field("validation_context_certificate_provider").unsupported());
        }
        Some(V::ValidationContextCertificateProviderInstance(_)) => {
            return Err(at.field("validation_context_certificate_provider_instance").unsupported());
        }
    };
    Ok(Some(validation))
}

/// The name of a secret that comes over the aggregated stream.
fn sds(at: &At<'_>, proto: &xds::SdsSecretConfig) -> Result<Arc<str>, ConfigError> {
    let name = parse::non_empty(at, "name", &proto.name)?;
    match &proto.sds_config {
        Some(source) => parse::ads_source(&at.field("sds_config"), source)?,
        // It would be a secret of the bootstrap, which this proxy takes nothing of.
        None => return Err(at.field("sds_config").missing("ads")),
    }
    Ok(name.into())
}

type Params = ((Version, Version), Vec<u16>, Vec<u16>);

fn params(
    at: &At<'_>,
    proto: &xds::TlsParameters,
    side: Side,
    left_out: &mut Vec<String>,
) -> Result<Params, ConfigError> {
    use xds::tls_parameters::TlsProtocol as P;
    honour!(at, proto, xds::TlsParameters =>
        honour [tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves]
        ignore []
        refuse [signature_algorithms compliance_policies]
    );
    let read = |field: &'static str, value: i32| {
        P::try_from(value).map_err(|_| at.field(field).invalid(value, "a TlsProtocol"))
    };
    let minimum = match read("tls_minimum_protocol_version", proto.tls_minimum_protocol_version)? {
        P::TlsAuto | P::TlSv12 => Version::V12,
        P::TlSv13 => Version::V13,
        old @ (P::TlSv10 | P::TlSv11) => {
            left_out.push(format!("{} (the lowest version here is TLSv1_2)", old.as_str_name()));
            Version::V12
        }
    };
    let maximum = match read("tls_maximum_protocol_version", proto.tls_maximum_protocol_version)? {
        P::TlsAuto if side == Side::Server => Version::V13,
        // As in Envoy, but never below the minimum.
        P::TlsAuto => minimum.max(Version::V12),
        P::TlSv12 => Version::V12,
        P::TlSv13 => Version::V13,
        old @ (P::TlSv10 | P::TlSv11) => {
            let at = at.field("tls_maximum_protocol_version");
            return Err(at.unsupported_value(old.as_str_name(), "TLSv1_2 or TLSv1_3"));
        }
    };
    if maximum < minimum {
        return Err(at.rule(format!(
            "tls_maximum_protocol_version {} is below tls_minimum_protocol_version {}",
            maximum.as_str(),
            minimum.as_str()
        )));
    }
    let suites = proto.cipher_suites.iter().flat_map(|s| s.trim_matches(['[', ']']).split(['|', ':']));
    let ciphers = known(&at.field("cipher_suites"), suites, CIPHERS, left_out)?;
    let groups = known(&at.field("ecdh_curves"), proto.ecdh_curves.iter().map(String::as_str), GROUPS, left_out)?;
    Ok(((minimum, maximum), ciphers, groups))
}

/// Those of `asked` that are in `table`; the others are left out, unless
/// nothing would remain.
fn known<'a>(
    at: &At<'_>,
    asked: impl Iterator<Item = &'a str>,
    table: &[(u16, &[&str])],
    left_out: &mut Vec<String>,
) -> Result<Vec<u16>, ConfigError> {
    let (mut numbers, mut others) = (Vec::new(), Vec::new());
    for name in asked.filter(|n| !n.is_empty()) {
        match table.iter().find(|(_, names)| names.contains(&name)) {
            Some((number, _)) if numbers.contains(number) => {}
            Some((number, _)) => numbers.push(*number),
            None => others.push(name.to_owned()),
        }
    }
    if numbers.is_empty() && !others.is_empty() {
        let all: Vec<&str> = table.iter().filter_map(|(_, names)| names.first().copied()).collect();
        return Err(at.unsupported_value(others.join(", "), format!("at least one of {}", all.join(", "))));
    }
    left_out.append(&mut others);
    Ok(numbers)
}

/// A server name is a DNS name.
const SNI_BYTES_MAX: usize = 255;
/// RFC 7301, 3.1.
const ALPN_BYTES_MAX: usize = 255;
/// Bounds memory, whatever is asked for.
const SESSIONS_MAX: u32 = 1024;

/// TLS 1.2 cipher suites: IANA number, OpenSSL's name, IANA's name.
pub(super) const CIPHERS: &[(u16, &[&str])] = &[
    (0xc02b, &["ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
    (0xc02f, &["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
    (0xc02c, &["ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]),
    (0xc030, &["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]),
    (0xcca9, &["ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]),
    (0xcca8, &["ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]),
];
/// Key exchange groups: IANA number, Envoy's name, other names.
const GROUPS: &[(u16, &[&str])] = &[
    (0x001d, &["X25519"]),
    (0x0017, &["P-256", "secp256r1", "prime256v1"]),
    (0x0018, &["P-384", "secp384r1"]),
    (0x11ec, &["X25519MLKEM768"]),
];
