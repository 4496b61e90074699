//! CORS: answers preflights, and tells browsers which answers a page may read.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use mesh_proto::envoy::extensions::filters::http::cors::v3 as xds;

use super::switch;
use crate::error::{At, ConfigError};
use crate::flags::ResponseFlags;
use crate::hcm::LocalReply;
use crate::matcher::StringMatcher;
use crate::parse;
use crate::route::RequestView;

/// A parsed CORS policy of a route.
#[derive(Debug, Clone)]
pub struct CorsPolicy {
    enabled: bool,
    origins: Vec<StringMatcher>,
    forward_not_matching: bool,
    /// Of preflight answers.
    preflight: Vec<(HeaderName, HeaderValue)>,
    /// Of other answers.
    response: Vec<(HeaderName, HeaderValue)>,
    allow_private_network: bool,
}

impl CorsPolicy {
    pub(super) fn parse(at: &At<'_>, proto: &xds::CorsPolicy) -> Result<Self, ConfigError> {
        let mut origins = Vec::new();
        for (i, matcher) in proto.allow_origin_string_match.iter().enumerate() {
            origins.push(StringMatcher::parse(&at.index("allow_origin_string_match", i), matcher)?);
        }
        // The shadow fraction only adds statistics.
        let enabled = switch(at, "filter_enabled", proto.filter_enabled.as_ref())?;
        let (mut preflight, mut response) = (Vec::new(), Vec::new());
        if parse::bool_or(proto.allow_credentials.as_ref(), false) {
            let credentials = (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            preflight.push(credentials.clone());
            response.push(credentials);
        }
        for (of_preflight, name, field, text) in [
            (true, header::ACCESS_CONTROL_ALLOW_METHODS, "allow_methods", &proto.allow_methods),
            (true, header::ACCESS_CONTROL_ALLOW_HEADERS, "allow_headers", &proto.allow_headers),
            (true, header::ACCESS_CONTROL_MAX_AGE, "max_age", &proto.max_age),
            (false, header::ACCESS_CONTROL_EXPOSE_HEADERS, "expose_headers", &proto.expose_headers),
        ] {
            if !text.is_empty() {
                let value = HeaderValue::from_str(text);
                let list = if of_preflight { &mut preflight } else { &mut response };
                list.push((name, value.map_err(|_| at.field(field).invalid(text, "a valid header value"))?));
            }
        }
        Ok(Self {
            enabled,
            origins,
            forward_not_matching: parse::bool_or(proto.forward_not_matching_preflights.as_ref(), true),
            preflight,
            response,
            allow_private_network: parse::bool_or(proto.allow_private_network_access.as_ref(), false),
        })
    }

    /// The answer to a preflight; `None` if the request goes on.
    pub(super) fn preflight(&self, request: &RequestView<'_>) -> Option<LocalReply> {
        let asks = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|v| !v.is_empty());
        let origin = request.headers.get(header::ORIGIN).filter(|o| !o.is_empty())?;
        if !self.enabled || request.method != Method::OPTIONS || !asks {
            return None;
        }
        let mut reply = LocalReply::new(StatusCode::OK, bytes::Bytes::new(), ResponseFlags::NONE, "cors_response");
        if !self.allows(origin) {
            return (!self.forward_not_matching).then_some(reply);
        }
        reply.headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        reply.headers.extend(self.preflight.iter().cloned());
        if self.allow_private_network && request.headers.contains_key("access-control-request-private-network") {
            let allow = HeaderName::from_static("access-control-allow-private-network");
            reply.headers.insert(allow, HeaderValue::from_static("true"));
        }
        Some(reply)
    }

    pub(super) fn on_response(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origin) = request.get(header::ORIGIN).filter(|o| self.enabled && self.allows(o)) else { return };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        for (name, value) in &self.response {
            response.insert(name, value.clone());
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().unwrap_or_default();
        self.origins.iter().any(|m| m.matches("*") || m.matches(origin))
    }
}
