//! Trouble made on purpose: delays and aborts.

use mesh_model::rules::virtual_service::{AbortStatus, Fault, Millionths};

use super::share;
use crate::reader::{Fields, Value};

/// Reads `fault`.
///
/// Source: `validateHTTPFaultInjection`, istio `pkg/config/validation/validation.go`.
pub(super) fn read(value: &Value<'_>) -> Option<Fault> {
    let fields = value.fields()?;
    let delay = fields.optional("delay").map(|v| delay(&v));
    let abort = fields.optional("abort").map(|v| abort(&v));
    fields.finish();
    if delay.is_none() && abort.is_none() {
        return value.error("found neither delay nor abort, expected one of them or both".to_owned());
    }
    Some(Fault { delay: delay.flatten(), abort: abort.flatten() })
}

fn delay(value: &Value<'_>) -> Option<(std::time::Duration, Millionths)> {
    let fields = value.fields()?;
    let fixed = fields.optional("fixedDelay");
    let share = percentage(&fields, value);
    if let Some(exponential) = fields.optional("exponentialDelay") {
        exponential.error::<()>("found exponentialDelay, which no proxy has, expected fixedDelay".to_owned());
    } else if fixed.is_none() {
        fields.missing("fixedDelay", "a duration such as 5s");
    }
    fields.finish();
    Some((fixed?.duration()?, share?))
}

fn abort(value: &Value<'_>) -> Option<(AbortStatus, Millionths)> {
    let fields = value.fields()?;
    let http = fields.optional("httpStatus").map(|v| http_status(&v));
    let grpc = fields.optional("grpcStatus").map(|v| grpc_status(&v));
    let share = percentage(&fields, value);
    if let Some(http2) = fields.optional("http2Error") {
        http2.error::<()>("found http2Error, which no proxy has, expected httpStatus or grpcStatus".to_owned());
    } else if http.is_none() && grpc.is_none() {
        fields.missing("httpStatus", "httpStatus or grpcStatus");
    } else if http.is_some() && grpc.is_some() {
        fields.error::<()>("found httpStatus and grpcStatus together, expected only one of them".to_owned());
    }
    fields.finish();
    Some((http.or(grpc)??, share?))
}

fn http_status(value: &Value<'_>) -> Option<AbortStatus> {
    value.integer(200, 599).and_then(|status| u16::try_from(status).ok()).map(AbortStatus::Http)
}

fn grpc_status(value: &Value<'_>) -> Option<AbortStatus> {
    let name = value.text()?;
    match GRPC_STATUSES.iter().position(|known| **known == *name) {
        Some(number) => u32::try_from(number).ok().map(AbortStatus::Grpc),
        None => value.invalid(&format!("one of {}", GRPC_STATUSES.join(", "))),
    }
}

/// `percentage`, or the older `percent` of whole numbers. Without either the
/// fault hits nobody, which is worth a word.
fn percentage(fields: &Fields<'_>, value: &Value<'_>) -> Option<Millionths> {
    let fraction = fields.optional("percentage").map(|v| share::percent(&v));
    let whole = fields.optional("percent").map(|v| share::whole(&v));
    match fraction.or(whole) {
        Some(share) => share,
        None => {
            let message = "found no percentage, which means that no request is hit".to_owned();
            value.note(mesh_model::Code::MissingField, message, "requests pass unharmed");
            Some(Millionths(0))
        }
    }
}

/// gRPC's statuses, by number.
///
/// Source: <https://grpc.io/docs/guides/status-codes/>
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
