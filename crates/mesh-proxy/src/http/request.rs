//! One request: prepared, routed, and answered here or forwarded.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use mesh_engine::hcm::{self, LocalReply, ServerHeader, Underscores};
use mesh_engine::route::Action;
use mesh_engine::{RequestView, ResponseFlags, grpc, match_route};

use super::exchange::{Downstream, Exchange};
use super::response::{ResponseBody, Source};
use super::{forward, head};
use crate::upstream::body::Progress;

/// Serves one request. An error resets the stream (HTTP/2) or closes the
/// connection (HTTP/1).
pub(crate) async fn serve(
    down: Rc<Downstream>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, std::convert::Infallible> {
    let mut exchange = Exchange::begin(&down, request.version());
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    if parts.method == Method::CONNECT {
        head::from_extended_connect(&mut parts);
    }
    exchange.grpc = grpc::is_grpc(&parts.headers);
    if !body.is_end_stream() {
        exchange.progress = Some(Rc::new(Progress::default()));
    }
    let no_body = parts.method == Method::HEAD;
    match route(&mut exchange, &mut parts).await {
        Err(reply) => {
            keep_head(&mut exchange, parts);
            Ok(local(exchange, *reply, no_body))
        }
        Ok(prepared) => {
            let response = forward::forward(exchange, parts, body, upgrade, prepared.internal).await;
            Ok(match response {
                Ok(response) => response,
                Err(failed) => {
                    let (exchange, reply) = *failed;
                    local(exchange, reply, no_body)
                }
            })
        }
    }
}

/// A request that is answered here: the exchange goes back with the answer.
pub(crate) type Answered = Box<(Box<Exchange>, LocalReply)>;

/// Keeps the head for what looks at it again when the answer goes down.
pub(crate) fn keep_head(exchange: &mut Exchange, parts: Parts) {
    if exchange.keeps_head() {
        exchange.head = Some(parts);
    }
}

/// Everything up to the decision where the request goes. What is not
/// forwarded comes back as the reply.
async fn route(exchange: &mut Exchange, parts: &mut Parts) -> Result<hcm::Prepared, Box<LocalReply>> {
    let down = exchange.down.clone();
    check_limits(&down, parts)?;
    let connection = hcm::Downstream { direct_remote: down.remote, local: down.local, tls: down.tls.as_deref() };
    let prepared = {
        let rng = &mut *down.worker.rng.borrow_mut();
        down.hcm.prepare(parts, &connection, rng).map_err(Box::new)?
    };
    exchange.remote = prepared.remote;
    let Some(table) = down.hcm.routes.load().filter(|_| down.hcm.has_router) else {
        down.stats.no_route.inc();
        return Err(not_found());
    };
    let Ok(matched) = match_route(&table, &RequestView::of(parts), down.worker.random()) else {
        down.stats.no_route.inc();
        return Err(not_found());
    };
    let decision = {
        let rng = &mut *down.worker.rng.borrow_mut();
        down.hcm.on_request(&matched, parts, rng)
    };
    if let Some(delay) = decision.delay {
        exchange.flags.insert(ResponseFlags::DELAY_INJECTED);
        tokio::time::sleep(delay).await;
    }
    let matched = exchange.matched.insert(matched);
    if let Some(reply) = decision.reply {
        return Err(Box::new(reply));
    }
    match matched.action() {
        Action::Forward(_) => Ok(prepared),
        Action::NonForwarding => Err(not_found()),
        Action::Redirect(redirect) => {
            down.stats.rq_redirect.inc();
            let location = matched.location(redirect, &RequestView::of(parts));
            let mut reply = LocalReply::new(redirect.status, "", ResponseFlags::NONE, "direct_response");
            if let Ok(location) = HeaderValue::try_from(location) {
                reply.headers.insert(header::LOCATION, location);
            }
            Err(Box::new(reply))
        }
        Action::Direct(direct) => {
            down.stats.rq_direct_response.inc();
            Err(Box::new(LocalReply::new(direct.status, direct.body.clone(), ResponseFlags::NONE, "direct_response")))
        }
    }
}

fn not_found() -> Box<LocalReply> {
    Box::new(LocalReply::new(StatusCode::NOT_FOUND, "", ResponseFlags::NO_ROUTE_FOUND, "route_not_found"))
}

fn check_limits(down: &Downstream, parts: &mut Parts) -> Result<(), Box<LocalReply>> {
    let (count_max, kb_max) = (down.hcm.max_headers_count as usize, down.hcm.max_request_headers_kb as usize);
    if parts.headers.len() > count_max {
        down.stats.downstream_rq_too_large.inc();
        let text = format!("request header fields too large: {} headers, limit {count_max}", parts.headers.len());
        return Err(too_large(text));
    }
    let bytes = head::bytes(parts);
    if bytes > kb_max * 1024 {
        down.stats.downstream_rq_too_large.inc();
        let text = format!("request header fields too large: {bytes} bytes, limit {kb_max} KiB");
        return Err(too_large(text));
    }
    if down.hcm.underscores != Underscores::Allow {
        let with: Vec<HeaderName> = parts.headers.keys().filter(|n| n.as_str().contains('_')).cloned().collect();
        if !with.is_empty() && down.hcm.underscores == Underscores::Reject {
            let details = "http1.unexpected_underscore";
            return Err(Box::new(LocalReply::new(StatusCode::BAD_REQUEST, "", ResponseFlags::NONE, details)));
        }
        for name in with {
            parts.headers.remove(name);
        }
    }
    Ok(())
}

fn too_large(text: String) -> Box<LocalReply> {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Box::new(LocalReply::new(status, text, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, "request_headers_too_large"))
}

/// The response for a reply made here. For a gRPC request it is HTTP 200 with
/// the status in the headers, which ends the call.
pub(crate) fn local(mut exchange: Box<Exchange>, reply: LocalReply, head_request: bool) -> Response<ResponseBody> {
    exchange.flags.insert(reply.flags);
    exchange.details = exchange.details.or(Some(reply.details));
    let mut headers = reply.headers;
    let (status, body) = if exchange.grpc {
        let code = reply.grpc_status.unwrap_or_else(|| grpc::status_from_http(reply.status));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS.clone(), HeaderValue::from(code));
        if !reply.body.is_empty()
            && let Ok(message) = HeaderValue::try_from(percent_encode(&reply.body))
        {
            headers.insert(GRPC_MESSAGE.clone(), message);
        }
        (StatusCode::OK, Bytes::new())
    } else {
        if !reply.body.is_empty() {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
        }
        (reply.status, if head_request { Bytes::new() } else { reply.body })
    };
    finish(&mut exchange, status, &mut headers);
    let mut response = Response::new(ResponseBody::new(Source::Local(body), exchange));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What every response gets on its way down, local or not.
pub(crate) fn finish(exchange: &mut Exchange, status: StatusCode, headers: &mut HeaderMap) {
    let down = exchange.down.clone();
    exchange.status = Some(status.as_u16());
    if let Some(matched) = exchange.matched.take() {
        let facts = exchange.facts(exchange.head.as_ref().map(RequestView::of));
        matched.mutate_response(headers, &facts);
        let empty = HeaderMap::new();
        down.hcm.on_response(&matched, exchange.head.as_ref().map_or(&empty, |h| &h.headers), headers);
        exchange.matched = Some(matched);
    }
    match down.hcm.server_header {
        ServerHeader::Overwrite => {
            headers.insert(header::SERVER, down.hcm.server_name.clone());
        }
        ServerHeader::AppendIfAbsent => {
            headers.entry(header::SERVER).or_insert_with(|| down.hcm.server_name.clone());
        }
        ServerHeader::PassThrough => {}
    }
    if let Some(via) = &down.hcm.via {
        headers.append(header::VIA, via.clone());
    }
    if down.hcm.max_requests_per_connection.is_some_and(|max| down.state.requests.get() >= u64::from(max)) {
        down.state.drain();
        down.stats.downstream_cx_max_requests_reached.inc();
    }
    // HTTP/2 says it with GOAWAY, which the connection's task sends.
    if exchange.version < Version::HTTP_2 && down.state.drain.get() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        down.stats.downstream_cx_drain_close.inc();
    }
    if exchange.logged() {
        exchange.response.get_or_insert_default().headers = headers.clone();
    }
}

/// `grpc-message`: bytes outside printable ASCII, and `%`, as `%XX`.
fn percent_encode(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(super::percent_encode("50% né\n".as_bytes()), "50%25 n%C3%A9%0A");
    }
}
