//! Envoy's command operators (`%REQ(X)%`, `%DURATION%`...), compiled once and
//! then written into access logs and headers.
//!
//! **Invariant:** writing a template asks nothing but [`Facts`] and allocates
//! nothing beyond the output string, except where a time is formatted.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::error::{At, ConfigError};
use crate::flags::ResponseFlags;
use crate::tls::TlsFacts;

mod json;
mod operator;
#[cfg(test)]
mod tests;
mod time;
mod tls;

pub use json::JsonTemplate;
use operator::Operator;

/// A compiled format string.
#[derive(Debug, Clone, Default)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Box<str>),
    /// An operator, and the length to which its value is cut, in characters.
    Operator(Operator, Option<usize>),
}

/// All that a format operator can ask about a request or connection. What is
/// not known stays `None` and is written as `-`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Request head; `None` for a TCP connection.
    pub request: Option<RequestFacts<'a>>,
    /// Response headers.
    pub response_headers: Option<&'a HeaderMap>,
    /// Response trailers.
    pub response_trailers: Option<&'a HeaderMap>,
    /// Status sent downstream.
    pub response_code: Option<u16>,
    /// `%RESPONSE_CODE_DETAILS%`
    pub response_code_details: Option<&'a str>,
    /// `%CONNECTION_TERMINATION_DETAILS%`
    pub connection_termination_details: Option<&'a str>,
    /// `%RESPONSE_FLAGS%`
    pub flags: ResponseFlags,
    /// Wall-clock time at which it began.
    pub start_time: Option<SystemTime>,
    /// Since then: the last request byte was received.
    pub request_duration: Option<Duration>,
    /// Since then: the last request byte was sent upstream.
    pub request_tx_duration: Option<Duration>,
    /// Since then: the first response byte came from upstream.
    pub response_duration: Option<Duration>,
    /// Since then: everything was done.
    pub duration: Option<Duration>,
    /// Request body bytes.
    pub bytes_received: u64,
    /// Response body bytes.
    pub bytes_sent: u64,
    /// HTTP version downstream.
    pub protocol: Option<http::Version>,
    /// HTTP version upstream.
    pub upstream_protocol: Option<http::Version>,
    /// The client, by trusted `x-forwarded-for`.
    pub downstream_remote: Option<SocketAddr>,
    /// The socket's peer.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// Where the connection was sent.
    pub downstream_local: Option<SocketAddr>,
    /// The upstream host.
    pub upstream_host: Option<SocketAddr>,
    /// The host's name, if it has one.
    pub upstream_host_name: Option<&'a str>,
    /// Our end of the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// The cluster.
    pub upstream_cluster: Option<&'a str>,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`
    pub upstream_failure: Option<&'a str>,
    /// Tries made upstream.
    pub attempts: u32,
    /// Name of the route.
    pub route_name: Option<&'a str>,
    /// Name of the virtual host.
    pub virtual_host: Option<&'a str>,
    /// Name of the filter chain.
    pub filter_chain: Option<&'a str>,
    /// SNI.
    pub server_name: Option<&'a str>,
    /// TLS of the client's connection.
    pub downstream_tls: Option<&'a TlsFacts>,
    /// TLS of the connection to the host.
    pub upstream_tls: Option<&'a TlsFacts>,
    /// `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%`
    pub downstream_failure: Option<&'a str>,
    /// Number of the connection in this process.
    pub connection_id: Option<u64>,
    /// Number of the stream in this process.
    pub stream_id: Option<u64>,
    /// `%HOSTNAME%` of this machine.
    pub hostname: Option<&'a str>,
    /// When it is written.
    pub access_log_type: Option<&'a str>,
}

/// A request head as format operators and matchers see it.
pub type RequestFacts<'a> = crate::route::RequestView<'a>;

impl Template {
    /// Reads a format string.
    pub(crate) fn parse(at: &At<'_>, text: &str) -> Result<Self, ConfigError> {
        let mut parts: Vec<Part> = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after_escape) = after.strip_prefix('%') {
                plain.push('%');
                rest = after_escape;
                continue;
            }
            let (operator, length, used) = operator::parse(after).map_err(|problem| match problem {
                operator::Unreadable::Syntax(why) => at.invalid(text, why),
                operator::Unreadable::Unsupported(name) => {
                    at.rule(format!("Not supported field in StreamInfo: {name}"))
                }
            })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Operator(operator, length));
            rest = &after[used..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// A template that always gives `text`.
    pub fn literal(text: &str) -> Self {
        Self { parts: [Part::Text(text.into())].into() }
    }

    /// The text it always gives, if it has no operator.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Writes what the template gives for `facts` at the end of `out`. What is
    /// not known is written as `-`.
    pub fn write(&self, facts: &Facts<'_>, out: &mut String) {
        self.write_or(facts, out, "-");
    }

    /// As [`Self::write`], with `missing` for what is not known.
    pub fn write_or(&self, facts: &Facts<'_>, out: &mut String, missing: &str) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Operator(operator, length) => {
                    let from = out.len();
                    if operator.write(facts, out).is_none() {
                        out.truncate(from);
                        out.push_str(missing);
                    }
                    if let Some(length) = length
                        && let Some((end, _)) = out[from..].char_indices().nth(*length)
                    {
                        out.truncate(from + end);
                    }
                }
            }
        }
    }
}
