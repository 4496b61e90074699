//! What of a request is hashed, so that like requests go to the same host.
//!
//! Source: Envoy's documentation of `RouteAction.HashPolicy`; hashes are equal
//! to Envoy's.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;
use mesh_proto::envoy::config::route::v3 as xds;
use regex::Regex;
use xxhash_rust::xxh64::xxh64;

use super::{Matched, RequestView};
use crate::error::{At, ConfigError};
use crate::matcher::{self, HeaderRef, substitution};
use crate::parse::{self, honour};

/// Where the hash of a request comes from.
#[derive(Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// If this gives a hash, later policies are not asked.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Debug)]
pub enum HashSource {
    /// A header, perhaps rewritten.
    Header(HeaderRef, Option<(Regex, Box<str>)>),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// What a client without it is given; `None`: nothing.
        grant: Option<CookieGrant>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    Query(Box<str>),
}

/// A cookie that is handed out.
#[derive(Debug)]
pub struct CookieGrant {
    /// Whole seconds; zero: for the client's session.
    pub ttl: Duration,
    /// May be empty.
    pub path: Box<str>,
    /// Names and values; a value may be empty.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// The hash of a request.
#[derive(Debug, Default)]
pub struct Hashed {
    /// `None` if no policy gave one.
    pub hash: Option<u64>,
    /// `set-cookie` headers that go into the response from upstream.
    pub cookies: Vec<HeaderValue>,
}

impl Matched {
    /// The hash of a request by the route's hash policies. `remote` is the
    /// client, `local` the address that it called.
    pub fn hash(&self, request: &RequestView<'_>, remote: SocketAddr, local: SocketAddr) -> Hashed {
        let mut hashed = Hashed::default();
        let Some(forward) = self.forward() else { return hashed };
        for policy in &forward.hash_policy {
            let own = match &policy.source {
                HashSource::Header(name, rewrite) => header(name, rewrite.as_ref(), request),
                HashSource::Cookie { name, grant } => {
                    cookie(name, grant.as_ref(), request, (remote, local), &mut hashed)
                }
                HashSource::SourceIp => Some(source_hash(remote)),
                HashSource::Query(name) => {
                    matcher::query_parameter(request.path, name).map(|value| xxh64(value.as_bytes(), 0))
                }
            };
            if let Some(own) = own {
                // Envoy's way to combine them.
                hashed.hash = Some(hashed.hash.map_or(own, |hash| hash.rotate_left(1) ^ own));
            }
            if policy.terminal && hashed.hash.is_some() {
                break;
            }
        }
        hashed
    }
}

/// The hash of a client's address, without its port.
pub fn source_hash(remote: SocketAddr) -> u64 {
    xxh64(remote.ip().to_string().as_bytes(), 0)
}

/// Several values of a header are hashed in sorted order.
fn header(name: &HeaderRef, rewrite: Option<&(Regex, Box<str>)>, request: &RequestView<'_>) -> Option<u64> {
    let mut values: Vec<Cow<'_, str>> = match name {
        HeaderRef::Name(name) => {
            request.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect()
        }
        pseudo => pseudo.of_request(request).into_iter().collect(),
    };
    if let Some((regex, by)) = rewrite {
        for value in &mut values {
            *value = Cow::Owned(regex.replace_all(value, &**by).into_owned());
        }
    }
    if values.is_empty() {
        return None;
    }
    values.sort_unstable();
    Some(values.iter().fold(0, |seed, value| xxh64(value.as_bytes(), seed)))
}

fn cookie(
    name: &str,
    grant: Option<&CookieGrant>,
    request: &RequestView<'_>,
    (remote, local): (SocketAddr, SocketAddr),
    hashed: &mut Hashed,
) -> Option<u64> {
    if let Some(value) = matcher::cookie(request.headers, name).filter(|value| !value.is_empty()) {
        return Some(xxh64(value.as_bytes(), 0));
    }
    let grant = grant?;
    // Requests that race on one connection are given the same cookie.
    let value = format!("{:016x}", xxh64(format!("{remote}{local}").as_bytes(), 0));
    hashed.cookies.extend(HeaderValue::from_str(&grant.header(name, &value)).ok());
    Some(xxh64(value.as_bytes(), 0))
}

impl CookieGrant {
    fn header(&self, name: &str, value: &str) -> String {
        let mut text = format!("{name}=\"{value}\"");
        if !self.ttl.is_zero() {
            let _ = write!(text, "; Max-Age={}", self.ttl.as_secs());
        }
        if !self.path.is_empty() {
            let _ = write!(text, "; Path={}", self.path);
        }
        for (name, value) in &self.attributes {
            let _ = match &**value {
                "" => write!(text, "; {name}"),
                value => write!(text, "; {name}={value}"),
            };
        }
        text.push_str("; HttpOnly");
        text
    }
}

/// Reads a route's policies.
pub(super) fn parse(at: &At<'_>, protos: &[xds::route_action::HashPolicy]) -> Result<Vec<HashPolicy>, ConfigError> {
    use xds::route_action::hash_policy::PolicySpecifier as S;
    let mut policies = Vec::with_capacity(protos.len());
    for (i, proto) in protos.iter().enumerate() {
        let at = at.index("hash_policy", i);
        let source = match &proto.policy_specifier {
            Some(S::Header(header)) => {
                let at = at.field("header");
                let rewrite = match &header.regex_rewrite {
                    Some(rewrite) => Some(substitution(&at.field("regex_rewrite"), rewrite)?),
                    None => None,
                };
                HashSource::Header(HeaderRef::parse(&at, "header_name", &header.header_name)?, rewrite)
            }
            Some(S::Cookie(cookie)) => cookie_source(&at.field("cookie"), cookie)?,
            Some(S::ConnectionProperties(properties)) if !properties.source_ip => continue,
            Some(S::ConnectionProperties(_)) => HashSource::SourceIp,
            Some(S::QueryParameter(query)) => {
                let at = at.field("query_parameter");
                HashSource::Query(parse::non_empty(&at, "name", &query.name)?.into())
            }
            Some(S::FilterState(_)) => return Err(at.field("filter_state").unsupported()),
            None => return Err(at.missing("a policy_specifier")),
        };
        policies.push(HashPolicy { source, terminal: proto.terminal });
    }
    Ok(policies)
}

fn cookie_source(at: &At<'_>, proto: &xds::route_action::hash_policy::Cookie) -> Result<HashSource, ConfigError> {
    honour!(at, proto, xds::route_action::hash_policy::Cookie =>
        honour [name ttl path attributes]
        ignore []
        refuse []
    );
    let ttl = parse::duration(at, "ttl", proto.ttl.as_ref())?;
    let attributes = proto.attributes.iter().map(|a| (a.name.as_str().into(), a.value.as_str().into())).collect();
    let path = proto.path.as_str().into();
    Ok(HashSource::Cookie {
        name: parse::non_empty(at, "name", &proto.name)?.into(),
        grant: ttl.map(|ttl| CookieGrant { ttl: Duration::from_secs(ttl.as_secs()), path, attributes }),
    })
}
