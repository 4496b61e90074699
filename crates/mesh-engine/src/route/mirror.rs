//! Who gets a copy of a request.

use std::sync::Arc;

use http::HeaderValue;
use mesh_proto::envoy::config::route::v3::route_action as xds;

use super::domains::without_port;
use crate::error::{At, ConfigError};
use crate::parse::{self, honour};

/// A parsed `RequestMirrorPolicy`.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Where copies go.
    pub cluster: Arc<str>,
    /// How many requests are copied, in parts per million.
    pub share: u32,
    /// The copy's host instead of the request's.
    host: Option<HeaderValue>,
    /// The copy's host says that it is one.
    suffix: bool,
}

impl Mirror {
    pub(super) fn parse(at: &At<'_>, proto: &xds::RequestMirrorPolicy) -> Result<Self, ConfigError> {
        honour!(at, proto, xds::RequestMirrorPolicy =>
            honour [cluster runtime_fraction disable_shadow_host_suffix_append host_rewrite_literal]
            // Copies belong to no trace.
            ignore [trace_sampled]
            refuse [cluster_header request_headers_mutations]
        );
        let share = match proto.runtime_fraction.as_ref().and_then(|f| f.default_value.as_ref()) {
            None => 1_000_000,
            Some(value) => parse::parts_per_million(&at.field("runtime_fraction"), value)?,
        };
        let host =
            match proto.host_rewrite_literal.as_str() {
                "" => None,
                text => Some(HeaderValue::from_str(text).map_err(|_| {
                    at.field("host_rewrite_literal").invalid(text.escape_debug(), "a valid header value")
                })?),
            };
        Ok(Self {
            cluster: parse::non_empty(at, "cluster", &proto.cluster)?.into(),
            share,
            host,
            suffix: !proto.disable_shadow_host_suffix_append,
        })
    }

    /// Whether a request is copied; `random` is any number.
    pub fn draws(&self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.share)
    }

    /// The host that the copy of a request to `host` names: `host-shadow:80`
    /// for `host:80`. `None` if that is no header value.
    ///
    /// Source: Envoy's documentation of `request_mirror_policies`.
    pub fn host(&self, host: &str) -> Option<HeaderValue> {
        if let Some(host) = &self.host {
            return Some(host.clone());
        }
        if !self.suffix {
            return HeaderValue::from_str(host).ok();
        }
        let name = without_port(host);
        HeaderValue::from_str(&format!("{name}-shadow{}", &host[name.len()..])).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(mirror: &Mirror, host: &str, expected: &str) {
        assert_eq!(mirror.host(host).unwrap(), expected);
    }

    #[test]
    fn a_copy_says_in_its_host_that_it_is_one() {
        let plain = Mirror { cluster: "c".into(), share: 0, host: None, suffix: true };
        check(&plain, "a.example", "a.example-shadow");
        check(&plain, "a.example:80", "a.example-shadow:80");
        check(&plain, "[::1]:80", "[::1]-shadow:80");
        check(&Mirror { suffix: false, ..plain.clone() }, "a:80", "a:80");
        check(&Mirror { host: Some(HeaderValue::from_static("b")), ..plain }, "a:80", "b");
    }

    #[test]
    fn a_share_of_requests_is_copied() {
        let half = Mirror { cluster: "c".into(), share: 500_000, host: None, suffix: true };
        assert!(half.draws(499_999) && !half.draws(500_000));
    }
}
