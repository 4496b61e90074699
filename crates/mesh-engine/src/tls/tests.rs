//! What is read of contexts and secrets, and what is refused of them.
#![allow(clippy::unwrap_used)]

use mesh_proto::envoy::config::cluster::v3 as cluster;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as xds;
use mesh_proto::json::from_yaml;

use super::*;
use crate::error::{At, ConfigError, Kind};

fn server(yaml: &str) -> Result<ServerTls, ConfigError> {
    parse::server(&At::root(Kind::Listener, "l"), &from_yaml::<xds::DownstreamTlsContext>(yaml).unwrap())
}

fn client(yaml: &str) -> Result<ClientTls, ConfigError> {
    parse::client(&At::root(Kind::Cluster, "c"), &from_yaml::<xds::UpstreamTlsContext>(yaml).unwrap())
}

fn secret(yaml: &str) -> Result<Secret, ConfigError> {
    Secret::parse(&from_yaml::<xds::Secret>(yaml).unwrap())
}

const ADS: &str = "sds_config: {ads: {}, resource_api_version: V3}";

fn certified(more: &str) -> String {
    format!(
        "{{common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: 'kubernetes://web', {ADS}}}]{more}}}, require_client_certificate: true}}"
    )
}

#[test]
fn a_gateways_mutual_context_is_read() {
    let combined = format!(
        ", alpn_protocols: [h2, http/1.1], combined_validation_context: {{default_validation_context: {{match_typed_subject_alt_names: [{{san_type: URI, matcher: {{prefix: 'spiffe://a/'}}}}]}}, validation_context_sds_secret_config: {{name: 'kubernetes://web-cacert', {ADS}}}}}"
    );
    let tls = server(&certified(&combined)).unwrap();
    let names: Vec<&str> = tls.common.secret_names().map(|n| &**n).collect();
    assert_eq!(names, ["kubernetes://web", "kubernetes://web-cacert"]);
    assert!(tls.require_client_certificate);
    assert_eq!(tls.common.versions, (Version::V12, Version::V13));
    let certificate = "tls_certificate: {certificate_chain: {inline_string: chain}, private_key: {inline_bytes: a2V5}}";
    let web = Arc::new(secret(&format!("{{name: 'kubernetes://web', {certificate}}}")).unwrap());
    let ca = "{name: ca, validation_context: {trusted_ca: {filename: /etc/ca.pem}, crl: {inline_string: x}}}";
    let ca = Arc::new(secret(ca).unwrap());
    let lookup = |name: &str| Some(if name.ends_with("-cacert") { ca.clone() } else { web.clone() });
    let material = tls.common.material(lookup).unwrap();
    assert_eq!(material.certificates[0].chain, Data::Inline(Bytes::from("chain")));
    let validation = material.validation.unwrap();
    assert_eq!((validation.names.len(), &validation.roots), (1, &Some(Roots::Pem(Data::File("/etc/ca.pem".into())))));
    assert_eq!(ca.files(), [Arc::from("/etc/ca.pem")]);
    let missing = tls.common.material(|_| None).unwrap_err();
    assert_eq!(missing.to_string(), "secret \"kubernetes://web\" has not arrived");
    let wrong = tls.common.material(|_| Some(ca.clone())).unwrap_err();
    assert_eq!(wrong.to_string(), "secret \"kubernetes://web\" is of another kind than it is used for");
}

#[test]
fn a_key_is_never_shown() {
    let certificate = "tls_certificate: {certificate_chain: {inline_string: c}, private_key: {inline_string: hush}}";
    let shown = format!("{:?}", secret(&format!("{{name: a, {certificate}}}")).unwrap());
    assert!(!shown.contains("hush") && shown.contains("[redacted, 4 bytes]"), "{shown}");
}

#[test]
fn of_cipher_suites_those_that_are_known_stay_and_the_others_are_said() {
    let params = |list: &str| certified(&format!(", tls_params: {{cipher_suites: [{list}]}}"));
    let tls = server(&params("'[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]', AES128-SHA")).unwrap();
    assert_eq!((tls.common.ciphers, tls.common.left_out), (vec![0xc02f, 0xcca8], vec!["AES128-SHA".to_owned()]));
    let error = server(&params("AES128-SHA, AES256-SHA")).unwrap_err().to_string();
    assert!(error.contains("tls_params.cipher_suites: AES128-SHA, AES256-SHA is not supported"), "{error}");
}

#[test]
fn a_client_speaks_no_more_than_it_is_told_to() {
    assert_eq!(client("{}").unwrap().common.versions, (Version::V12, Version::V12));
    let newest = "{sni: a.b, common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}}";
    let newest = client(newest).unwrap();
    assert_eq!((newest.common.versions, &*newest.sni), ((Version::V12, Version::V13), "a.b"));
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let both = |list: &str| client(&format!("{{common_tls_context: {{{list}}}}}")).unwrap_err().to_string();
    for (error, expected) in [
        (client("{allow_renegotiation: true}").unwrap_err().to_string(), "allow_renegotiation: is set"),
        (server("{}").unwrap_err().to_string(), "No TLS certificates found for server context"),
        (both("tls_params: {tls_maximum_protocol_version: TLSv1_1}"), "tls_maximum_protocol_version: TLSv1_1 is not"),
        (both("tls_params: {signature_algorithms: [x]}"), "tls_params.signature_algorithms: is set"),
        (both("validation_context: {max_verify_depth: 1}"), "validation_context.max_verify_depth: is set"),
        (
            both("validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}"),
            "SAN-based verification of peer certificates without trusted CA",
        ),
        (both("validation_context: {verify_certificate_hash: [abc]}"), "found abc, expected a SHA-256 in hexadecimal"),
        (both("validation_context_sds_secret_config: {name: a}"), "sds_config: is not set, expected ads"),
        (
            secret("{name: t, session_ticket_keys: {keys: []}}").unwrap_err().to_string(),
            "secret t: session_ticket_keys",
        ),
    ] {
        assert!(error.contains(expected), "{error}: {expected}");
    }
}

#[test]
fn a_pin_is_either_hash_in_either_spelling() {
    let zeros = "00".repeat(32);
    let spki = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let yaml = format!(
        "{{name: p, validation_context: {{verify_certificate_hash: ['{zeros}'], verify_certificate_spki: ['{spki}']}}}}"
    );
    let SecretKind::Validation(context) = secret(&yaml).unwrap().kind else { panic!() };
    assert!(context.accepts_pins(&[0; 32], &[1; 32]) && context.accepts_pins(&[1; 32], &[0; 32]));
    assert!(!context.accepts_pins(&[1; 32], &[1; 32]));
}

#[test]
fn a_wildcard_in_a_certificate_stands_for_one_label() {
    let certificate = CertificateFacts { dns: vec!["*.a.com".into()], ..CertificateFacts::default() };
    assert!(certificate.is_for("x.A.com") && !certificate.is_for("x.y.a.com") && !certificate.is_for("a.com"));
    let addressed = CertificateFacts { addresses: vec!["::1".parse().unwrap()], ..CertificateFacts::default() };
    assert!(addressed.is_for("::1") && !addressed.is_for("127.0.0.1"));
    let yaml =
        "{name: v, validation_context: {trusted_ca: {inline_string: x}, match_subject_alt_names: [{exact: x.a.com}]}}";
    let SecretKind::Validation(context) = secret(yaml).unwrap().kind else { panic!() };
    assert!(context.accepts_names(&certificate) && !context.accepts_names(&addressed));
}

#[test]
fn an_endpoint_gets_the_first_transport_socket_that_means_it() {
    let tls = "{name: envoy.transport_sockets.tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: a}}";
    let raw = "{name: envoy.transport_sockets.raw_buffer, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}";
    let proxied = format!(
        "{{name: envoy.transport_sockets.upstream_proxy_protocol, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {{version: V2}}, transport_socket: {tls}}}}}"
    );
    let yaml = format!(
        "{{name: c, transport_socket: {proxied}, transport_socket_matches: [{{name: istio, match: {{tlsMode: istio}}, transport_socket: {tls}}}, {{name: one, match: {{n: 1}}, transport_socket: {raw}}}]}}"
    );
    let proto: cluster::Cluster = from_yaml(&yaml).unwrap();
    let transports = Transports::parse(&At::root(Kind::Cluster, "c"), &proto).unwrap();
    let of = |yaml: &str| {
        let labels = Labels::of_struct(Some(&from_yaml(yaml).unwrap()));
        let socket = transports.of(&labels);
        (socket.tls.is_some(), socket.proxy_protocol)
    };
    assert_eq!(of("{tlsMode: istio, n: 1}"), (true, None));
    assert_eq!(of("{n: 1}"), (false, None));
    assert_eq!(of("{n: '1'}"), (true, Some(ProxyProtocol::V2)), "a number is not its text");
}
