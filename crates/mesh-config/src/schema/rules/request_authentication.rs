//! RequestAuthentication: how tokens are found and checked.

use super::{Report, selectors};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    selectors::policy(spec, report);
    for rule in spec.get("jwtRules").items() {
        let uri = ["jwksUri", "jwks_uri"].map(|name| rule.get(name));
        if rule.get("issuer").text().is_empty() && uri.iter().all(|uri| uri.text().is_empty()) {
            report.missing(&rule, "issuer, jwksUri, or both");
        }
        for uri in uri.iter().filter(|uri| uri.exists()) {
            let host = uri.text().split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
            if host.is_none_or(|(_, host)| host.is_empty() || host.contains(char::is_whitespace)) {
                report.invalid(uri, "a URL whose scheme is http:// or https://");
            }
        }
        key_set(&rule.get("jwks"), report);
    }
}

/// A JSON Web Key Set, or a single key.
///
/// Source: RFC 7517.
fn key_set(jwks: &At<'_>, report: &Report<'_>) {
    if jwks.text().is_empty() {
        return;
    }
    let Ok(json) = serde_json::from_str::<serde_json::Value>(jwks.text()) else {
        return report.invalid(jwks, "a JSON Web Key Set");
    };
    let keys = match json.get("keys") {
        Some(keys) => keys.as_array().cloned(),
        None => Some(vec![json]),
    };
    let Some(keys) = keys else { return report.invalid(jwks, "a JSON Web Key Set: a map with the list keys") };
    for (index, key) in keys.iter().enumerate() {
        let kind = key["kty"].as_str().unwrap_or_default();
        if !matches!(kind, "RSA" | "EC" | "OKP" | "oct") {
            report.error(jwks, format!("found key {index} of type {kind:?}, expected RSA, EC, OKP or oct"));
        }
        if kind == "oct" || key.get("d").is_some() {
            report.warn(jwks, format!("found a private key as key {index}, expected public keys only"));
        }
    }
}
