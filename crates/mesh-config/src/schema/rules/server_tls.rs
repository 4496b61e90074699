//! `tls` of a Gateway's server or a Sidecar's ingress.

use std::collections::HashSet;

use super::Report;
use crate::schema::At;

pub(super) fn check(tls: &At<'_>, report: &Report<'_>) {
    if !tls.exists() {
        return;
    }
    versions(tls, report);
    let has = |name: &str| !tls.get(name).text().is_empty() || !tls.get(name).is_empty();
    let mode = tls.get("mode").text();
    if mode == "ISTIO_MUTUAL" {
        for name in SOURCES.into_iter().filter(|name| has(name)) {
            report.error(
                &tls.get(name),
                format!("found {name} with mode ISTIO_MUTUAL, expected none: it uses the workload's own certificate"),
            );
        }
        return;
    }
    // The default is PASSTHROUGH, which terminates nothing.
    let passes = matches!(mode, "" | "PASSTHROUGH" | "AUTO_PASSTHROUGH");
    if passes && (has("caCrl") || SOURCES.into_iter().any(has)) {
        report.warn(tls, "found certificates with a mode that passes TLS through, expected none: they are not used");
    }
    let pair = has("serverCertificate") && has("privateKey");
    let sources = [pair, has("credentialName"), has("credentialNames"), has("tlsCertificates")];
    if sources.into_iter().filter(|has| *has).count() > 1 {
        report.error(tls, "found several sources of certificates, expected one of serverCertificate with privateKey, tlsCertificates, credentialName and credentialNames");
    }
    if has("caCrl") {
        if has("credentialName") {
            report.error(&tls.get("caCrl"), "found caCrl beside credentialName, expected the list inside the Secret");
        }
        if mode == "SIMPLE" {
            report.error(
                &tls.get("caCrl"),
                "found caCrl with mode SIMPLE, expected MUTUAL: no client shows a certificate",
            );
        }
    }
    if !passes && !has("credentialName") && !has("credentialNames") {
        files(tls, mode, report);
    }
}

const SOURCES: [&str; 6] =
    ["serverCertificate", "privateKey", "caCertificates", "tlsCertificates", "credentialName", "credentialNames"];

/// A mode that terminates TLS without a Secret needs files.
fn files(tls: &At<'_>, mode: &str, report: &Report<'_>) {
    if mode != "SIMPLE" && tls.get("caCertificates").text().is_empty() {
        report.missing(
            &tls.get("caCertificates"),
            &format!("a file's path: mode {mode} checks the client's certificate"),
        );
    }
    let several = tls.get("tlsCertificates").items();
    let pairs = if several.is_empty() { vec![tls.clone()] } else { several };
    for (pair, name) in pairs.iter().flat_map(|pair| ["serverCertificate", "privateKey"].map(|name| (pair, name))) {
        if pair.get(name).text().is_empty() {
            report.missing(
                &pair.get(name),
                &format!("a file's path, or credentialName: mode {mode} shows a certificate"),
            );
        }
    }
}

fn versions(tls: &At<'_>, report: &Report<'_>) {
    let ciphers = tls.get("cipherSuites");
    let min = tls.get("minProtocolVersion");
    if matches!(min.text(), "TLSV1_0" | "TLSV1_1") && ciphers.is_empty() {
        report.warn(
            &min,
            "found a version below TLSV1_2 without cipherSuites, expected some: the default ones do not fit it",
        );
    }
    let mut seen = HashSet::new();
    for cipher in ciphers.items() {
        if !is_cipher(cipher.text()) {
            report.warn(&cipher, format!("found cipher suite {:?}, which is not known and is ignored", cipher.text()));
        } else if !seen.insert(cipher.text()) {
            report.warn(&cipher, format!("found cipher suite {} a second time, which is ignored", cipher.text()));
        }
    }
}

/// A cipher suite by its OpenSSL name, or one of BoringSSL's expressions
/// (`[A|B]`, `!X`).
fn is_cipher(text: &str) -> bool {
    const KNOWN: [&str; 15] = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    ];
    matches!(text, "" | "ALL") || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || KNOWN.contains(&text)
}
