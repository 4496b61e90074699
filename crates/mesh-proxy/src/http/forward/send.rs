//! One try on the wire: a connection of the endpoint's pool carries the request
//! up and the response's head down.
//!
//! Deliberately absent: which endpoint, how long, and whether to try again.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use mesh_engine::cluster::ClusterConfig;
use mesh_engine::route::Priority;
use mesh_engine::tls::TlsFacts;

use crate::http::head;
use crate::http::response::Source;
use crate::upstream::Failure;
use crate::upstream::body::{Progress, ReqBody};
use crate::upstream::h1::H1Body;
use crate::upstream::pool::Pool;

/// How one try is sent.
pub(super) struct Sending<'a> {
    pub(super) pool: Rc<Pool>,
    pub(super) config: &'a Arc<ClusterConfig>,
    pub(super) priority: Priority,
    pub(super) progress: Option<Rc<Progress>>,
}

impl Sending<'_> {
    pub(super) async fn http1(&self, mut parts: Parts, body: ReqBody) -> Result<Response<Source>, Failure> {
        head::to_http1(&mut parts);
        let mut request = Request::from_parts(parts, body);
        loop {
            let h1 = self.pool.h1(self.config, self.priority).await?;
            let fresh = h1.requests == 0;
            match h1.exchange(request).await {
                Ok((response, h1)) => {
                    let request_ended = self.progress.as_ref().is_none_or(|p| p.ended.get());
                    let (mut parts, incoming) = response.into_parts();
                    parts.extensions.extend(tls_of(h1.tls.as_ref()));
                    let body = H1Body::new(incoming, h1, self.pool.clone(), request_ended, false);
                    return Ok(Response::from_parts(parts, Source::Http1(body)));
                }
                // A kept connection that had ended unnoticed: nothing was
                // sent, so the request takes the next one.
                Err((_, Some(unsent))) if !fresh => request = unsent,
                Err((failure, _)) => return Err(failure),
            }
        }
    }

    pub(super) async fn http2(&self, mut parts: Parts, body: ReqBody) -> Result<Response<Source>, Failure> {
        head::to_http2(&mut parts);
        let mut head = Request::from_parts(parts, ());
        let mut body = Some(body);
        loop {
            let h2 = self.pool.h2(self.config, self.priority).await?;
            let fresh = h2.requests.get() == 0;
            let tls = h2.tls.clone();
            match h2.lease().exchange(head, &mut body).await {
                Ok(mut response) => {
                    response.extensions_mut().extend(tls_of(tls.as_ref()));
                    return Ok(response.map(Source::Http2));
                }
                Err((_, Some(unsent))) if !fresh => head = unsent,
                Err((failure, _)) => return Err(failure),
            }
        }
    }

    /// An upgrade over HTTP/2. What accepts it looks as on HTTP/1.1.
    pub(super) async fn upgrade(
        &self,
        mut parts: Parts,
        protocol: Option<&HeaderValue>,
    ) -> Result<Response<Source>, Failure> {
        let Some(protocol) = protocol else { return Err(Failure::Protocol) };
        head::to_extended_connect(&mut parts, protocol);
        let h2 = self.pool.h2(self.config, self.priority).await?;
        let tls = h2.tls.clone();
        let (response, stream) = h2.lease().open(Request::from_parts(parts, ())).await?;
        let (mut parts, ()) = response.into_parts();
        parts.extensions.extend(tls_of(tls.as_ref()));
        if !parts.status.is_success() {
            return Ok(Response::from_parts(parts, Source::Http2(stream.into_body())));
        }
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        parts.headers.insert(header::UPGRADE, protocol.clone());
        Ok(Response::from_parts(parts, Source::Upgraded(Box::new(stream))))
    }
}

/// What a response carries back to its exchange; nothing, and nothing is
/// allocated, for plaintext.
fn tls_of(tls: Option<&Arc<TlsFacts>>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    if let Some(tls) = tls {
        extensions.insert(tls.clone());
    }
    extensions
}
