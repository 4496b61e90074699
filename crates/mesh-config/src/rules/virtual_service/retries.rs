//! Retries of a route, and MeshConfig's default of them.

use mesh_model::Name;
use mesh_model::rules::virtual_service::Retries;

use crate::reader::Value;

/// Envoy's words for what is retried, of HTTP and gRPC.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "http3-post-connect-failure",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "retriable-headers",
    "retriable-status-codes",
    "unavailable",
];

/// More retries of one request help nobody and can drown a service.
const ATTEMPTS_MAX: i64 = 1000;

/// Reads a retry policy.
///
/// Source: `validateHTTPRetry`, istio `pkg/config/validation/validation.go`.
pub(in crate::rules) fn read(value: &Value<'_>) -> Option<Retries> {
    let fields = value.fields()?;
    let attempts = fields.optional("attempts").and_then(|v| v.integer(0, ATTEMPTS_MAX)).unwrap_or(0);
    let per_try = fields.optional("perTryTimeout").and_then(|v| v.duration_or_zero()).filter(|t| !t.is_zero());
    let (retry_on, retriable_status_codes) = fields.optional("retryOn").and_then(|v| words(&v)).unwrap_or_default();
    let backoff = fields.optional("backoff").and_then(|v| v.duration());
    let ignore = fields.optional("retryIgnorePreviousHosts").and_then(|v| v.boolean());
    fields.not_applied(&["retryRemoteLocalities"]);
    let says_more = ["perTryTimeout", "retryOn"].iter().any(|name| fields.has(name));
    if attempts == 0 && says_more {
        fields.error::<()>(
            "found perTryTimeout or retryOn without attempts, expected attempts of at least 1 (0 turns retries off)"
                .to_owned(),
        );
    }
    fields.finish();
    Some(Retries {
        attempts: u32::try_from(attempts).ok()?,
        per_try_timeout: per_try,
        retry_on,
        retriable_status_codes,
        backoff,
        ignore_previous_hosts: ignore.unwrap_or(true),
    })
}

/// `retryOn`: words and status codes, separated by commas.
fn words(value: &Value<'_>) -> Option<(Vec<Name>, Vec<u32>)> {
    let text = value.text()?;
    let (mut words, mut codes) = (Vec::new(), Vec::new());
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if let Ok(code) = word.parse::<u32>() {
            if !(100..600).contains(&code) {
                value.error::<()>(format!("found the status code {code}, expected one from 100 to 599"));
            }
            codes.push(code);
        } else if RETRY_ON.contains(&word) {
            words.push(word.into());
        } else {
            value.error::<()>(format!(
                "found {}, expected status codes or words of {}",
                crate::yaml::quote(word),
                RETRY_ON.join(", ")
            ));
        }
    }
    Some((words, codes))
}
