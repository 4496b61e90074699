//! What a matched route does to a request and to its response.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Uri};

use super::domains::without_port;
use super::{Forward, HostRewrite, Matched, Mutations, PathRewrite, Redirect, RedirectPath, RequestView, Timeouts};
use crate::format::Facts;
use crate::grpc;

impl Matched {
    /// Carries out the route's mutations on a request: headers of every level,
    /// then the host, then the path. `facts` need not hold the request: its
    /// head as it stands is put in here.
    ///
    /// A host that changes is kept in `x-envoy-original-host`, a path in
    /// `x-envoy-original-path`; a router with `suppress_envoy_headers` takes
    /// them out again.
    pub fn mutate_request(&self, parts: &mut Parts, facts: &Facts<'_>) {
        for mutations in self.levels().into_iter().flatten() {
            let mutations = &mutations.request;
            if mutations.is_empty() {
                continue;
            }
            let values = {
                let facts = Facts { request: Some(RequestView::of(parts)), ..*facts };
                mutations.values(&facts)
            };
            mutations.set(&mut parts.headers, values);
        }
        if let Some(forward) = self.forward() {
            self.rewrite_host(forward, parts);
            self.rewrite_path(forward, parts);
        }
    }

    /// Carries out the mutations of response headers, of every level. `facts`
    /// need not hold the response headers.
    pub fn mutate_response(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        for mutations in self.levels().into_iter().flatten() {
            let mutations = &mutations.response;
            if mutations.is_empty() {
                continue;
            }
            let values = mutations.values(&Facts { response_headers: Some(headers), ..*facts });
            mutations.set(headers, values);
        }
    }

    /// Whether the upstream host's name must go into the host header once a host is picked
    /// ([`super::set_authority`]).
    pub fn auto_host_rewrite(&self) -> bool {
        let auto = |f: &Forward| matches!(f.host_rewrite, Some(HostRewrite::Auto));
        self.forward().is_some_and(auto) && self.weighted().is_none_or(|w| w.host_rewrite.is_none())
    }

    /// Levels in the order in which they are carried out.
    fn levels(&self) -> [Option<&Mutations>; 4] {
        let weighted = self.weighted().map(|w| &w.headers);
        let (route, host, table) = (&self.route().headers, &self.virtual_host().headers, &self.table.headers);
        if self.table.most_specific_header_mutations_wins {
            [Some(table), Some(host), Some(route), weighted]
        } else {
            [weighted, Some(route), Some(host), Some(table)]
        }
    }

    fn rewrite_host(&self, forward: &Forward, parts: &mut Parts) {
        let new = match (self.weighted().and_then(|w| w.host_rewrite.as_ref()), &forward.host_rewrite) {
            (Some(literal), _) | (None, Some(HostRewrite::Literal(literal))) => Some(literal.clone()),
            (None, Some(HostRewrite::Header(name))) => parts.headers.get(name).filter(|v| !v.is_empty()).cloned(),
            (None, Some(HostRewrite::PathRegex(regex, substitution))) => {
                let request = RequestView::of(parts);
                let host = regex.replace_all(request.path_only(), &**substitution);
                HeaderValue::from_str(&host).ok()
            }
            (None, Some(HostRewrite::Auto) | None) => None,
        };
        let Some(new) = new else { return };
        let old = RequestView::of(parts).authority.to_owned();
        if old.as_bytes() == new.as_bytes() {
            return;
        }
        if let Ok(old) = HeaderValue::from_str(&old) {
            if forward.append_x_forwarded_host {
                parts.headers.append(X_FORWARDED_HOST, old.clone());
            }
            parts.headers.insert(X_ENVOY_ORIGINAL_HOST, old);
        }
        set_authority(parts, &new);
    }

    fn rewrite_path(&self, forward: &Forward, parts: &mut Parts) {
        let Some(rewrite) = &forward.path_rewrite else { return };
        let new = {
            let request = RequestView::of(parts);
            let path = request.path_only();
            let rest = &request.path[path.len()..];
            let new: Cow<'_, str> = match rewrite {
                PathRewrite::Prefix(prefix) => {
                    Cow::Owned(format!("{prefix}{}", &path[self.route().matches.path.matched_len(path)..]))
                }
                PathRewrite::Regex(regex, substitution) => regex.replace_all(path, &**substitution),
            };
            format!("{new}{rest}")
        };
        set_path(parts, &new);
    }

    /// Timeouts for a request with these headers. `internal`: obey
    /// `x-envoy-upstream-rq-*` headers.
    pub fn timeouts(&self, headers: &HeaderMap, internal: bool) -> Timeouts {
        let Some(forward) = self.forward() else { return Timeouts::default() };
        let is_grpc = grpc::is_grpc(headers);
        let mut route = forward.timeout;
        let stream = forward.max_stream_duration.as_ref();
        if let (true, None, Some(max)) = (is_grpc, stream, forward.max_grpc_timeout) {
            route = grpc_timeout(grpc::timeout(headers), max, forward.grpc_timeout_offset);
        }
        let retry = forward.retry_policy.as_ref();
        let mut per_try = retry.and_then(|r| r.per_try_timeout);
        if internal {
            let millis = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()?.parse().ok());
            if let Some(ms) = millis(TIMEOUT_HEADER) {
                route = Some(Duration::from_millis(ms)).filter(|d| !d.is_zero());
            }
            if let Some(ms) = millis(PER_TRY_HEADER) {
                per_try = Some(Duration::from_millis(ms)).filter(|d| !d.is_zero());
            }
        }
        // A try cannot take longer than all of them.
        let per_try = per_try.filter(|t| route.is_none_or(|route| *t < route));
        let max_stream = stream.and_then(|s| match (s.grpc_timeout_header_max, grpc::timeout(headers)) {
            (Some(max), Some(asked)) if is_grpc => Some(grpc_timeout(Some(asked), max, s.grpc_timeout_header_offset)),
            _ => s.max.map(|max| Some(max).filter(|d| !d.is_zero())),
        });
        Timeouts {
            route,
            per_try,
            per_try_idle: retry.and_then(|r| r.per_try_idle_timeout),
            idle: forward.idle_timeout,
            max_stream,
        }
    }

    /// Where a redirect leads: the value of `location`.
    pub fn location(&self, redirect: &Redirect, request: &RequestView<'_>) -> String {
        let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
        let port = redirect.port.map(|p| format!(":{p}")).unwrap_or_default();
        let host = match &redirect.host {
            Some(host) => host,
            None => {
                let bare = without_port(request.authority);
                let own_port = &request.authority[bare.len()..];
                let default = matches!((request.scheme, own_port), ("https", ":443") | ("http", ":80"));
                if redirect.port.is_some() || (scheme != request.scheme && default) { bare } else { request.authority }
            }
        };
        let path = request.path_only();
        let query = if redirect.strip_query { "" } else { &request.path[path.len()..] };
        let path: Cow<'_, str> = match &redirect.path {
            None => Cow::Borrowed(path),
            // Its own query wins, and is not stripped.
            Some(RedirectPath::Full(full)) if full.contains('?') => return format!("{scheme}://{host}{port}{full}"),
            Some(RedirectPath::Full(full)) => Cow::Borrowed(full),
            Some(RedirectPath::Prefix(prefix)) => {
                Cow::Owned(format!("{prefix}{}", &path[self.route().matches.path.matched_len(path)..]))
            }
            Some(RedirectPath::Regex(regex, by)) => regex.replace_all(path, &**by),
        };
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

/// `grpc-timeout`, at most `max` (zero: no bound), less `offset`; no timeout at all if nothing bounds it.
fn grpc_timeout(asked: Option<Duration>, max: Duration, offset: Option<Duration>) -> Option<Duration> {
    let offset = offset.unwrap_or_default();
    let asked = asked.map(|a| if a > offset { a - offset } else { a });
    match (asked.filter(|a| !a.is_zero()), max.is_zero()) {
        (asked, true) => asked,
        (None, false) => Some(max),
        (Some(asked), false) => Some(asked.min(max)),
    }
}

/// Puts `host` where the request's host is: in the URI, in `Host`, or both.
pub fn set_authority(parts: &mut Parts, host: &HeaderValue) {
    if parts.uri.authority().is_some()
        && let Ok(authority) = Authority::try_from(host.as_bytes())
    {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.authority = Some(authority);
        // A URI with an authority and a path but no scheme is not one.
        if uri.scheme.is_none() && uri.path_and_query.is_some() {
            uri.scheme = Some(http::uri::Scheme::HTTP);
        }
        if let Ok(uri) = Uri::from_parts(uri) {
            parts.uri = uri;
        }
        if !parts.headers.contains_key(HOST) {
            return;
        }
    }
    parts.headers.insert(HOST, host.clone());
}

/// Replaces path and query, and keeps the old ones in `x-envoy-original-path`
/// unless that is there already. A path that is not valid changes nothing.
fn set_path(parts: &mut Parts, path: &str) {
    let Ok(new) = PathAndQuery::try_from(path) else { return };
    let old = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    if old == new.as_str() {
        return;
    }
    if let (false, Ok(old)) = (parts.headers.contains_key(X_ENVOY_ORIGINAL_PATH), HeaderValue::from_str(old)) {
        parts.headers.insert(X_ENVOY_ORIGINAL_PATH, old);
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(new);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_ENVOY_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const X_ENVOY_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const TIMEOUT_HEADER: &str = "x-envoy-upstream-rq-timeout-ms";
const PER_TRY_HEADER: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
