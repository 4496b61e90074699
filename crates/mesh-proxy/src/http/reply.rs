//! Answers made here when no endpoint gave one, in Envoy's words: tools and
//! people know these texts and flags.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use mesh_engine::ResponseFlags;
use mesh_engine::balance::PickError;
use mesh_engine::hcm::LocalReply;

use super::exchange::TimedOut;
use crate::upstream::Failure;

/// Envoy's answer to a try that failed for good.
pub(crate) fn reply_to(failure: &Failure, retried: bool) -> LocalReply {
    let (flags, details, reason) = match failure {
        Failure::Connect(error) => (
            ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            match error.kind() {
                std::io::ErrorKind::ConnectionRefused => REFUSED,
                _ => "upstream_reset_before_response_started{remote_connection_failure}",
            },
            "remote connection failure",
        ),
        Failure::Tls(_) => (
            ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error}",
            "remote connection failure",
        ),
        Failure::ConnectTimeout => (
            ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            "upstream_reset_before_response_started{connection_timeout}",
            "connection timeout",
        ),
        Failure::Overflow => {
            (ResponseFlags::UPSTREAM_OVERFLOW, "upstream_reset_before_response_started{overflow}", "overflow")
        }
        Failure::Terminated => (
            ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
            "upstream_reset_before_response_started{connection_termination}",
            "connection termination",
        ),
        Failure::Reset { refused: true } => (
            ResponseFlags::UPSTREAM_REMOTE_RESET,
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
            "remote refused stream reset",
        ),
        Failure::Reset { refused: false } => (
            ResponseFlags::UPSTREAM_REMOTE_RESET,
            "upstream_reset_before_response_started{remote_reset}",
            "remote reset",
        ),
        Failure::Protocol => (
            ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
            "upstream_reset_before_response_started{protocol_error}",
            "protocol error",
        ),
        Failure::Downstream => {
            let flags = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
            return LocalReply::new(StatusCode::BAD_REQUEST, "", flags, "downstream_remote_disconnect");
        }
    };
    let text = reset_text(failure, reason, retried);
    let status = match failure {
        Failure::Protocol => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut reply = LocalReply::new(status, text, flags, details);
    if matches!(failure, Failure::Overflow) {
        reply.headers.insert(OVERLOADED.clone(), HeaderValue::from_static("true"));
    }
    reply
}

fn reset_text(failure: &Failure, reason: &str, retried: bool) -> String {
    let again = if retried { "retried and the latest reset reason" } else { "reset reason" };
    let mut text = format!("upstream connect error or disconnect/reset before headers. {again}: {reason}");
    if let Failure::Tls(why) = failure {
        text.push_str(", transport failure reason: ");
        text.push_str(why);
    }
    text
}

/// Envoy's answer when a timeout of the request has run out.
pub(crate) fn timeout_reply(which: TimedOut) -> LocalReply {
    let (status, body, flags, details) = match which {
        TimedOut::Route => (
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout",
            ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
            "response_timeout",
        ),
        TimedOut::Stream => (
            StatusCode::REQUEST_TIMEOUT,
            "downstream duration timeout",
            ResponseFlags::DURATION_TIMEOUT,
            "max_duration_timeout",
        ),
        TimedOut::Idle => {
            (StatusCode::REQUEST_TIMEOUT, "stream timeout", ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")
        }
    };
    LocalReply::new(status, body, flags, details)
}

/// Envoy's answer when the cluster has no host to offer.
pub(crate) fn no_host_reply(error: &PickError) -> LocalReply {
    let (flags, body) = match error {
        PickError::Dropped { .. } => (ResponseFlags::DROP_OVERLOAD, "drop overload"),
        _ => (ResponseFlags::NO_HEALTHY_UPSTREAM, "no healthy upstream"),
    };
    LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, body, flags, "no_healthy_upstream")
}

/// The reason that a client does not see.
const REFUSED: &str =
    "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";

static OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
