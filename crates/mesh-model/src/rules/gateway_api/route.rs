//! HTTPRoute, GRPCRoute, TLSRoute and TCPRoute, as one type: what they match is
//! already in a VirtualService's terms.

use std::sync::Arc;
use std::time::Duration;

use super::Reference;
use crate::rules::virtual_service::{Cors, HeaderOperations, HttpMatch, Millionths, Redirect, Retries, Rewrite};
use crate::{Hostname, Meta, Name};

/// A route of any kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What every object carries; its kind is the route's.
    pub meta: Arc<Meta>,
    /// What it is attached to.
    pub parents: Vec<ParentRef>,
    /// Hosts it is about; empty: those of its parents.
    pub hostnames: Vec<Hostname>,
    /// Its rules.
    pub rules: Vec<RouteRule>,
}

/// What a route is attached to, as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParentRef {
    /// `None`: the Gateway API's own.
    pub group: Option<Name>,
    /// `None`: Gateway.
    pub kind: Option<Name>,
    /// `None`: the route's.
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
    /// One of its listeners or ports; `None`: all.
    pub section: Option<Name>,
    /// One of its ports; `None`: all.
    pub port: Option<u16>,
}

/// What happens to some requests or connections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteRule {
    /// Its name.
    pub name: Option<Name>,
    /// Any of these must match; empty: everything does. None for TLS and TCP.
    pub matches: Vec<HttpMatch>,
    /// What is done on the way.
    pub filters: Vec<Filter>,
    /// Where to.
    pub backends: Vec<Backend>,
    /// Limit of the whole request; zero: none.
    pub timeout: Option<Duration>,
    /// Limit of each attempt; zero: none.
    pub backend_timeout: Option<Duration>,
    /// How failed requests are repeated.
    pub retries: Option<Retries>,
}

/// A destination and its share.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The object that it is.
    pub reference: Reference,
    /// Its port.
    pub port: Option<u16>,
    /// Its share; 1 where nothing is written.
    pub weight: u32,
    /// What is done on the way to this one alone.
    pub filters: Vec<Filter>,
}

/// Something that is done to a request or a response.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// RequestHeaderModifier.
    RequestHeaders(HeaderOperations),
    /// ResponseHeaderModifier.
    ResponseHeaders(HeaderOperations),
    /// RequestRedirect.
    Redirect(Redirect),
    /// URLRewrite.
    Rewrite(Rewrite),
    /// RequestMirror: copies go there as well.
    Mirror {
        /// Where to.
        backend: Box<Backend>,
        /// Of how many requests.
        share: Millionths,
    },
    /// CORS.
    Cors(Cors),
    /// A filter that is not supported, by its type.
    Unsupported(Name),
    /// A header whose value has characters that no header may have.
    InvalidHeader(Name),
}
