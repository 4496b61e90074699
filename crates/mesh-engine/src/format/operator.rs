//! The command operators.
//!
//! Source: Envoy's documentation, "Access logging", "Command operators".

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Version};

use super::Facts;
use super::time::TimeFormat;
use super::tls::TlsPart;
use crate::matcher::{HeaderRef, joined, query_parameter};
use crate::{grpc, matcher};

/// One operator with its arguments.
#[derive(Debug, Clone)]
pub(super) enum Operator {
    /// `REQ(main?alternative)`
    Request(HeaderRef, Option<HeaderRef>),
    Response(HeaderName, Option<HeaderName>),
    Trailer(HeaderName, Option<HeaderName>),
    StartTime(TimeFormat),
    Simple(Simple),
    Address(Side, AddressPart),
    GrpcStatus(GrpcStatus),
    QueryParameter(Box<str>),
    Path(PathPart),
    Tls(TlsPart),
    /// Operators on what filters leave behind, for which there is never a value here.
    Nothing,
}

macro_rules! simple {
    ($($variant:ident $name:literal,)*) => {
        /// Operators without arguments.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Simple { $(#[allow(missing_docs)] $variant,)* }

        const SIMPLE: &[(&str, Simple)] = &[$(($name, Simple::$variant),)*];
    };
}

simple! {
    Protocol "PROTOCOL",
    UpstreamProtocol "UPSTREAM_PROTOCOL",
    ResponseCode "RESPONSE_CODE",
    ResponseCodeDetails "RESPONSE_CODE_DETAILS",
    ConnectionTerminationDetails "CONNECTION_TERMINATION_DETAILS",
    ResponseFlags "RESPONSE_FLAGS",
    ResponseFlagsLong "RESPONSE_FLAGS_LONG",
    BytesReceived "BYTES_RECEIVED",
    BytesSent "BYTES_SENT",
    Duration "DURATION",
    RequestDuration "REQUEST_DURATION",
    RequestTxDuration "REQUEST_TX_DURATION",
    ResponseDuration "RESPONSE_DURATION",
    ResponseTxDuration "RESPONSE_TX_DURATION",
    UpstreamCluster "UPSTREAM_CLUSTER",
    UpstreamClusterRaw "UPSTREAM_CLUSTER_RAW",
    UpstreamHostName "UPSTREAM_HOST_NAME",
    UpstreamFailure "UPSTREAM_TRANSPORT_FAILURE_REASON",
    UpstreamAttempts "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    RouteName "ROUTE_NAME",
    VirtualHost "VIRTUAL_CLUSTER_NAME",
    FilterChain "FILTER_CHAIN_NAME",
    ServerName "REQUESTED_SERVER_NAME",
    ConnectionId "CONNECTION_ID",
    StreamId "STREAM_ID",
    Hostname "HOSTNAME",
    AccessLogType "ACCESS_LOG_TYPE",
    DownstreamFailure "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    DownstreamRemote,
    DownstreamDirectRemote,
    DownstreamLocal,
    UpstreamHost,
    UpstreamLocal,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum AddressPart {
    Whole,
    WithoutPort,
    Port,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum GrpcStatus {
    Camel,
    Snake,
    Number,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PathPart {
    query: bool,
    original: Original,
}

#[derive(Debug, Clone, Copy)]
enum Original {
    Preferred,
    Only,
    Never,
}

/// Why an operator could not be read.
pub(super) enum Unreadable {
    /// The text is malformed; this was expected.
    Syntax(&'static str),
    /// An operator that is not known here.
    Unsupported(String),
}

/// Reads an operator from what follows its opening `%`. Returns it, the length
/// to which it is cut, and how many bytes were read, the closing `%` included.
pub(super) fn parse(text: &str) -> Result<(Operator, Option<usize>, usize), Unreadable> {
    let bytes = text.as_bytes();
    let name_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = &text[..name_end];
    let mut at = name_end;
    let mut argument = None;
    if bytes.get(at) == Some(&b'(') {
        let close = text[at..].find(')').ok_or(Unreadable::Syntax("a closing ) after each ("))?;
        argument = Some(&text[at + 1..at + close]);
        at += close + 1;
    }
    let mut length = None;
    if bytes.get(at) == Some(&b':') {
        let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let number = text[at + 1..at + 1 + digits].parse();
        length = Some(number.map_err(|_| Unreadable::Syntax("a number after :"))?);
        at += 1 + digits;
    }
    if name.is_empty() || bytes.get(at) != Some(&b'%') {
        return Err(Unreadable::Syntax("%OPERATOR%, %OPERATOR(ARGUMENT)% or %OPERATOR(ARGUMENT):LENGTH%"));
    }
    Ok((operator(name, argument)?, length, at + 1))
}

fn operator(name: &str, argument: Option<&str>) -> Result<Operator, Unreadable> {
    if let Some((_, simple)) = SIMPLE.iter().find(|(n, _)| *n == name) {
        return match argument {
            None => Ok(Operator::Simple(*simple)),
            Some(_) => Err(Unreadable::Syntax("no argument for this operator")),
        };
    }
    if let Some((side, part)) = address(name) {
        return Ok(Operator::Address(side, part));
    }
    let required = argument.filter(|a| !a.is_empty()).ok_or(Unreadable::Syntax("an argument in parentheses"));
    Ok(match name {
        "REQ" | "REQUEST_HEADER" => {
            let (main, alternative) = alternatives(required?);
            Operator::Request(request_header(main)?, alternative.map(request_header).transpose()?)
        }
        "RESP" | "RESPONSE_HEADER" => {
            let (main, alternative) = alternatives(required?);
            Operator::Response(header(main)?, alternative.map(header).transpose()?)
        }
        "TRAILER" | "RESPONSE_TRAILER" => {
            let (main, alternative) = alternatives(required?);
            Operator::Trailer(header(main)?, alternative.map(header).transpose()?)
        }
        "START_TIME" => {
            Operator::StartTime(TimeFormat::parse(argument.unwrap_or_default()).map_err(Unreadable::Syntax)?)
        }
        "GRPC_STATUS" => Operator::GrpcStatus(match argument.unwrap_or("CAMEL_STRING") {
            "CAMEL_STRING" | "" => GrpcStatus::Camel,
            "SNAKE_STRING" => GrpcStatus::Snake,
            "NUMBER" => GrpcStatus::Number,
            _ => return Err(Unreadable::Syntax("CAMEL_STRING, SNAKE_STRING or NUMBER")),
        }),
        "GRPC_STATUS_NUMBER" => Operator::GrpcStatus(GrpcStatus::Number),
        "QUERY_PARAM" => Operator::QueryParameter(required?.into()),
        "PATH" => Operator::Path(path(argument.unwrap_or_default())?),
        // No filter of this proxy writes dynamic metadata or filter state.
        "DYNAMIC_METADATA"
        | "FILTER_STATE"
        | "UPSTREAM_FILTER_STATE"
        // The library does not tell it.
        | "DOWNSTREAM_TLS_SESSION_ID"
        | "UPSTREAM_TLS_SESSION_ID"
        | "TRACE_ID" => Operator::Nothing,
        other => match TlsPart::named(other) {
            Some(part) => Operator::Tls(part),
            None => return Err(Unreadable::Unsupported(other.to_owned())),
        },
    })
}

fn address(name: &str) -> Option<(Side, AddressPart)> {
    let (side, rest) = [
        ("DOWNSTREAM_REMOTE_", Side::DownstreamRemote),
        ("DOWNSTREAM_DIRECT_REMOTE_", Side::DownstreamDirectRemote),
        ("DOWNSTREAM_LOCAL_", Side::DownstreamLocal),
        ("UPSTREAM_REMOTE_", Side::UpstreamHost),
        ("UPSTREAM_LOCAL_", Side::UpstreamLocal),
        ("UPSTREAM_HOST", Side::UpstreamHost),
    ]
    .into_iter()
    .find_map(|(prefix, side)| Some((side, name.strip_prefix(prefix)?)))?;
    let part = match rest {
        "ADDRESS" => AddressPart::Whole,
        "" if name == "UPSTREAM_HOST" => AddressPart::Whole,
        "ADDRESS_WITHOUT_PORT" => AddressPart::WithoutPort,
        "PORT" => AddressPart::Port,
        _ => return None,
    };
    Some((side, part))
}

fn alternatives(argument: &str) -> (&str, Option<&str>) {
    argument.split_once('?').map_or((argument, None), |(main, other)| (main, Some(other)))
}

fn header(name: &str) -> Result<HeaderName, Unreadable> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unreadable::Syntax("a valid header name"))
}

fn request_header(name: &str) -> Result<HeaderRef, Unreadable> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":method" => HeaderRef::Method,
        ":authority" | "host" => HeaderRef::Authority,
        ":path" => HeaderRef::Path,
        ":scheme" => HeaderRef::Scheme,
        ":protocol" => HeaderRef::Protocol,
        other => HeaderRef::Name(header(other)?),
    })
}

fn path(argument: &str) -> Result<PathPart, Unreadable> {
    let (query, original) = argument.split_once(':').unwrap_or((argument, ""));
    Ok(PathPart {
        query: match query {
            "WQ" | "" => true,
            "NQ" => false,
            _ => return Err(Unreadable::Syntax("WQ or NQ")),
        },
        original: match original {
            "ORIG_OR_PATH" | "" => Original::Preferred,
            "ORIG" => Original::Only,
            "PATH" => Original::Never,
            _ => return Err(Unreadable::Syntax("ORIG, PATH or ORIG_OR_PATH")),
        },
    })
}

impl Operator {
    /// Writes its value; `None` if there is none (something may have been
    /// written nevertheless).
    pub(super) fn write(&self, facts: &Facts<'_>, out: &mut String) -> Option<()> {
        match self {
            Self::Simple(simple) => simple.write(facts, out)?,
            Self::Request(main, alternative) => {
                let request = facts.request.as_ref()?;
                let value = main.of_request(request).or_else(|| alternative.as_ref()?.of_request(request))?;
                out.push_str(&value);
            }
            Self::Response(main, alternative) => response_header(facts, main, alternative.as_ref(), out)?,
            Self::Trailer(main, alternative) => either(facts.response_trailers?, main, alternative.as_ref(), out)?,
            Self::StartTime(format) => format.write(facts.start_time?, out),
            Self::Address(side, part) => write_address(side.of(facts)?, *part, out),
            Self::GrpcStatus(format) => write_grpc_status(facts, *format, out)?,
            Self::QueryParameter(name) => out.push_str(&query_parameter(facts.request.as_ref()?.path, name)?),
            Self::Path(part) => out.push_str(part.of(facts)?),
            Self::Tls(part) => part.write(facts, out)?,
            Self::Nothing => return None,
        }
        Some(())
    }

    /// Its value, if it is a number.
    pub(super) fn number(&self, facts: &Facts<'_>) -> Option<u64> {
        let Self::Simple(simple) = self else { return None };
        match simple {
            Simple::ResponseCode => Some(u64::from(facts.response_code.unwrap_or(0))),
            Simple::BytesReceived => Some(facts.bytes_received),
            Simple::BytesSent => Some(facts.bytes_sent),
            Simple::UpstreamAttempts => Some(u64::from(facts.attempts)),
            Simple::ConnectionId => facts.connection_id,
            Simple::StreamId => facts.stream_id,
            Simple::Duration => Some(millis(facts.duration?)),
            Simple::RequestDuration => Some(millis(facts.request_duration?)),
            Simple::RequestTxDuration => Some(millis(facts.request_tx_duration?)),
            Simple::ResponseDuration => Some(millis(facts.response_duration?)),
            Simple::ResponseTxDuration => Some(millis(facts.duration?.checked_sub(facts.response_duration?)?)),
            _ => None,
        }
    }

    /// Whether its values are numbers.
    pub(super) fn is_number(&self) -> bool {
        use Simple as S;
        let Self::Simple(simple) = self else { return false };
        matches!(
            simple,
            S::ResponseCode
                | S::BytesReceived
                | S::BytesSent
                | S::UpstreamAttempts
                | S::ConnectionId
                | S::StreamId
                | S::Duration
                | S::RequestDuration
                | S::RequestTxDuration
                | S::ResponseDuration
                | S::ResponseTxDuration
        )
    }
}

impl Simple {
    fn write(self, facts: &Facts<'_>, out: &mut String) -> Option<()> {
        let text = match self {
            Self::Protocol => version(facts.protocol?),
            Self::UpstreamProtocol => version(facts.upstream_protocol?),
            Self::ResponseCodeDetails => facts.response_code_details?,
            Self::ConnectionTerminationDetails => facts.connection_termination_details?,
            Self::UpstreamCluster | Self::UpstreamClusterRaw => facts.upstream_cluster?,
            Self::UpstreamHostName => facts.upstream_host_name.filter(|n| !n.is_empty())?,
            Self::UpstreamFailure => facts.upstream_failure?,
            Self::DownstreamFailure => facts.downstream_failure?,
            Self::RouteName => facts.route_name.filter(|n| !n.is_empty())?,
            Self::FilterChain => facts.filter_chain.filter(|n| !n.is_empty())?,
            Self::ServerName => facts.server_name?,
            Self::Hostname => facts.hostname?,
            Self::AccessLogType => facts.access_log_type?,
            // Virtual clusters are refused, so that there never is one.
            Self::VirtualHost => return None,
            Self::ResponseFlags => return write!(out, "{}", facts.flags).ok(),
            Self::ResponseFlagsLong => {
                out.push_str(&facts.flags.long());
                return Some(());
            }
            _ => {
                let number = Operator::Simple(self).number(facts)?;
                return write!(out, "{number}").ok();
            }
        };
        out.push_str(text);
        Some(())
    }
}

impl Side {
    fn of(self, facts: &Facts<'_>) -> Option<SocketAddr> {
        match self {
            Self::DownstreamRemote => facts.downstream_remote,
            Self::DownstreamDirectRemote => facts.downstream_direct_remote,
            Self::DownstreamLocal => facts.downstream_local,
            Self::UpstreamHost => facts.upstream_host,
            Self::UpstreamLocal => facts.upstream_local,
        }
    }
}

impl PathPart {
    fn of<'a>(self, facts: &Facts<'a>) -> Option<&'a str> {
        let request = facts.request.as_ref()?;
        let original = || request.headers.get(ORIGINAL_PATH).and_then(|v| v.to_str().ok());
        let path = match self.original {
            Original::Preferred => original().unwrap_or(request.path),
            Original::Only => original()?,
            Original::Never => request.path,
        };
        Some(if self.query { path } else { path.split('?').next().unwrap_or(path) })
    }
}

fn write_address(address: SocketAddr, part: AddressPart, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = match part {
        AddressPart::Whole => write!(out, "{address}"),
        AddressPart::WithoutPort => write!(out, "{}", address.ip()),
        AddressPart::Port => write!(out, "{}", address.port()),
    };
}

/// The trailers' status, else that of the headers.
fn write_grpc_status(facts: &Facts<'_>, format: GrpcStatus, out: &mut String) -> Option<()> {
    if !facts.request.as_ref().is_some_and(|r| grpc::is_grpc(r.headers)) {
        return None;
    }
    let status = facts
        .response_trailers
        .and_then(grpc::status_of)
        .or_else(|| facts.response_headers.and_then(grpc::status_of))?;
    let name = match format {
        GrpcStatus::Camel => grpc::name(status),
        GrpcStatus::Snake => grpc::snake_name(status),
        GrpcStatus::Number => None,
    };
    match name {
        Some(name) => out.push_str(name),
        None => write!(out, "{status}").ok()?,
    }
    Some(())
}

fn response_header(
    facts: &Facts<'_>,
    main: &HeaderName,
    alternative: Option<&HeaderName>,
    out: &mut String,
) -> Option<()> {
    either(facts.response_headers?, main, alternative, out)
}

fn either(headers: &HeaderMap, main: &HeaderName, alternative: Option<&HeaderName>, out: &mut String) -> Option<()> {
    let value = joined(headers, main).or_else(|| matcher::joined(headers, alternative?))?;
    out.push_str(&value);
    Some(())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const ORIGINAL_PATH: &str = "x-envoy-original-path";
