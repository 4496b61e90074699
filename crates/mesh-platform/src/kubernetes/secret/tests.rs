//! What Secrets and ConfigMaps mean, and what is said of bad ones. Certificates
//! are made here, for each run.

#![allow(clippy::unwrap_used)]

use mesh_config::document;
use mesh_config::reader::Fallback;
use mesh_model::Secret;
use mesh_model::rules::MeshConfig;

use crate::kubernetes::{Resource, read};

/// A certificate and its key, in PEM.
fn made(host: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn document(kind: &str, pairs: &[(&str, &str)]) -> String {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let pairs: serde_json::Map<String, serde_json::Value> =
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    serde_json::json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": "front", "namespace": "shop"},
        field: pairs,
    })
    .to_string()
}

fn load(text: &str) -> (Option<Resource>, Vec<String>) {
    let contents = document::read(&"f.yaml".into(), text.as_bytes());
    let parsed = read(&contents.objects[0], &MeshConfig::default(), Fallback::Ignored);
    (parsed.value, parsed.diagnostics.iter().map(ToString::to_string).collect())
}

/// What the Secret holds: pair, authorities, revoked.
fn parts(secret: &Secret) -> [bool; 3] {
    [secret.pair.is_some(), secret.authorities.is_some(), secret.revoked.is_some()]
}

fn check(kind: &str, pairs: &[(&str, &str)], expected: Option<[bool; 3]>) {
    let (value, findings) = load(&document(kind, pairs));
    assert!(findings.is_empty(), "{findings:?}");
    let found = match value.unwrap() {
        Resource::Secret(secret) => Some(parts(&secret)),
        _ => None,
    };
    assert_eq!(found, expected, "{kind} with {:?}", pairs.iter().map(|p| p.0).collect::<Vec<_>>());
}

fn check_refused(pairs: &[(&str, &str)], field: &str, words: &str) {
    let (value, findings) = load(&document("Secret", pairs));
    assert!(value.is_none(), "{field}: {words}");
    let found = findings.iter().any(|f| f.contains(&format!("data[{field}]")) && f.contains(words));
    assert!(found, "expected {field}: {words} in {findings:?}");
    let shown = findings.iter().any(|f| f.contains("BEGIN") || f.contains("MII"));
    assert!(!shown, "a finding shows a value: {findings:?}");
}

#[test]
fn the_keys_of_both_kinds_of_secret_are_read() {
    let (cert, key) = made("a.example.com");
    check("Secret", &[("tls.crt", &cert), ("tls.key", &key)], Some([true, false, false]));
    check("Secret", &[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &cert)], Some([true, true, false]));
    check("Secret", &[("cert", &cert), ("key", &key), ("cacert", &cert)], Some([true, true, false]));
    check("Secret", &[("cacert", &cert)], Some([false, true, false]));
    check("Secret", &[("password", "x")], None);
    check("ConfigMap", &[("ca.crt", &cert), ("mesh", "{}")], Some([false, true, false]));
    check("ConfigMap", &[("tls.key", &key)], Some([false, false, false]));
}

#[test]
fn values_of_data_are_base64() {
    let (cert, _) = made("a.example.com");
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
        "data": {"cacert": encode(cert.as_bytes())},
    });
    let (value, findings) = load(&text.to_string());
    assert!(findings.is_empty() && matches!(value, Some(Resource::Secret(_))), "{findings:?}");
}

fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let letter = |i: usize| {
            let used = i <= three.len();
            if used { char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]) } else { '=' }
        };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn what_cannot_be_used_is_an_error_that_shows_no_value() {
    let (cert, key) = made("a.example.com");
    let (_, other) = made("b.example.com");
    check_refused(&[("tls.crt", "x"), ("tls.key", &key)], "tls.crt", "no PEM block");
    let broken = cert.replacen("MI", "!!", 1);
    check_refused(&[("tls.crt", &broken), ("tls.key", &key)], "tls.crt", "broken PEM");
    let empty = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    check_refused(&[("tls.crt", empty), ("tls.key", &key)], "tls.crt", "does not parse");
    check_refused(&[("tls.crt", &cert), ("tls.key", "x")], "tls.key", "no private key");
    check_refused(&[("tls.crt", &cert), ("tls.key", &other)], "tls.key", "does not belong");
    check_refused(&[("tls.crt", &cert)], "tls.key", "without");
    check_refused(&[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", "x")], "ca.crt", "no PEM block");
    check_refused(&[("cacert", &cert), ("crl", "x")], "crl", "no PEM block");
}
