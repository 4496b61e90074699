//! What every parser needs: refusing what is not honoured, durations, numbers
//! in bounds, addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::r#type::v3 as kind;
use mesh_proto::google::protobuf as pb;

use crate::error::{At, ConfigError, Problem};

/// Destructures `$msg` and refuses every field listed under `refuse` that
/// differs from its default. Every field of the message must be listed
/// somewhere, so that a field which a newer protocol adds cannot be ignored by
/// oversight: the compiler names it.
///
/// `ignore` is for fields that Envoy itself ignores here, or that change
/// nothing a client or a server could observe.
macro_rules! honour {
    ($at:expr, $msg:expr, $ty:path => honour [$($honoured:ident)*] ignore [$($ignored:ident)*] refuse [$($refused:ident)*]) => {{
        let $ty { $($honoured: _,)* $($ignored: _,)* $($refused,)* } = $msg;
        let _ = $at;
        $( $crate::parse::refuse_if_set($at, stringify!($refused), $refused)?; )*
    }};
}
pub(crate) use honour;

/// Refuses `value` if it is not the default of its type.
pub(crate) fn refuse_if_set<T: Default + PartialEq>(at: &At<'_>, field: &str, value: &T) -> Result<(), ConfigError> {
    let field = field.strip_prefix("r#").unwrap_or(field);
    if *value == T::default() { Ok(()) } else { Err(at.field(field).unsupported()) }
}

/// A duration that is not negative; `None` if it is not set.
pub(crate) fn duration(
    at: &At<'_>,
    field: &str,
    value: Option<&pb::Duration>,
) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    let at = at.field(field);
    let seconds = u64::try_from(value.seconds).ok().filter(|s| *s <= DURATION_SECONDS_MAX);
    let nanos = u32::try_from(value.nanos).ok().filter(|n| *n < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) => Ok(Some(Duration::new(seconds, nanos))),
        _ => Err(at.invalid(format_args!("{}s {}ns", value.seconds, value.nanos), "a duration from 0s to 10000 years")),
    }
}

/// A duration that must be greater than zero if it is set.
pub(crate) fn positive_duration(
    at: &At<'_>,
    field: &str,
    value: Option<&pb::Duration>,
) -> Result<Option<Duration>, ConfigError> {
    match duration(at, field, value)? {
        Some(Duration::ZERO) => Err(at.field(field).invalid("0s", "a duration greater than 0s")),
        other => Ok(other),
    }
}

/// Where zero means "none", as Envoy's timeouts have it.
pub(crate) fn zero_disables(value: Option<Duration>, default: Option<Duration>) -> Option<Duration> {
    match value {
        Some(Duration::ZERO) => None,
        Some(d) => Some(d),
        None => default,
    }
}

/// The value, or `default`.
pub(crate) fn u32_or(value: Option<&pb::UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |v| v.value)
}

/// The value, or `default`.
pub(crate) fn bool_or(value: Option<&pb::BoolValue>, default: bool) -> bool {
    value.map_or(default, |v| v.value)
}

/// A whole percentage from 0 to 100.
pub(crate) fn percent_u32(
    at: &At<'_>,
    field: &str,
    value: Option<&pb::UInt32Value>,
    default: u32,
) -> Result<u32, ConfigError> {
    match u32_or(value, default) {
        p @ 0..=100 => Ok(p),
        other => Err(at.field(field).invalid(other, "0 to 100")),
    }
}

/// A fraction, as a number of parts per million.
pub(crate) fn parts_per_million(at: &At<'_>, value: &kind::FractionalPercent) -> Result<u32, ConfigError> {
    use kind::fractional_percent::DenominatorType as D;
    let scale = match D::try_from(value.denominator) {
        Ok(D::Hundred) => 10_000,
        Ok(D::TenThousand) => 100,
        Ok(D::Million) => 1,
        Err(_) => return Err(at.field("denominator").invalid(value.denominator, "HUNDRED, TEN_THOUSAND or MILLION")),
    };
    Ok(value.numerator.saturating_mul(scale).min(1_000_000))
}

/// A TCP socket address with a literal IP.
pub(crate) fn socket_address(at: &At<'_>, address: Option<&core::Address>) -> Result<SocketAddr, ConfigError> {
    let socket = tcp_address(at, address)?;
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        at.rule(format!(
            "malformed IP address: {}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'",
            socket.address
        ))
    })?;
    Ok(SocketAddr::new(ip, port(&at.field("socket_address"), socket)?))
}

/// The socket address inside, TCP and with a number for its port.
pub(crate) fn tcp_address<'a>(
    at: &At<'_>,
    address: Option<&'a core::Address>,
) -> Result<&'a core::SocketAddress, ConfigError> {
    use core::address::Address as A;
    let socket = match address.and_then(|a| a.address.as_ref()) {
        Some(A::SocketAddress(socket)) => socket,
        Some(A::Pipe(_)) => return Err(at.field("pipe").unsupported()),
        Some(A::EnvoyInternalAddress(_)) => return Err(at.field("envoy_internal_address").unsupported()),
        None => return Err(at.missing("a socket_address")),
    };
    let at = at.field("socket_address");
    honour!(&at, socket, core::SocketAddress =>
        honour [protocol address port_specifier]
        ignore [ipv4_compat]
        refuse [resolver_name network_namespace_filepath]
    );
    if socket.protocol != 0 {
        return Err(at.field("protocol").unsupported_value("UDP", "TCP"));
    }
    if socket.address.is_empty() {
        return Err(at.field("address").missing("an address of at least one character"));
    }
    Ok(socket)
}

/// The port of `socket`.
pub(crate) fn port(at: &At<'_>, socket: &core::SocketAddress) -> Result<u16, ConfigError> {
    use core::socket_address::PortSpecifier as P;
    match &socket.port_specifier {
        Some(P::PortValue(value)) => {
            u16::try_from(*value).map_err(|_| at.field("port_value").invalid(value, "0 to 65535"))
        }
        Some(P::NamedPort(_)) => Err(at.field("named_port").unsupported()),
        None => Err(at.missing("port_value")),
    }
}

/// An IP network. A prefix longer than the address allows is refused; host bits
/// are cut off, as Envoy does.
pub(crate) fn cidr(at: &At<'_>, range: &core::CidrRange) -> Result<ipnet::IpNet, ConfigError> {
    let expected = "an IP address and a prefix_len that fits it";
    let ip: IpAddr = range
        .address_prefix
        .parse()
        .map_err(|_| at.field("address_prefix").invalid(&range.address_prefix, expected))?;
    let length = u32_or(range.prefix_len.as_ref(), 0);
    let bits = u8::try_from(length).map_err(|_| at.field("prefix_len").invalid(length, "0 to 128"))?;
    let net = ipnet::IpNet::new(ip, bits)
        .map_err(|_| at.field("prefix_len").invalid(length, if ip.is_ipv4() { "0 to 32" } else { "0 to 128" }))?;
    Ok(net.trunc())
}

/// A string that must not be empty.
pub(crate) fn non_empty<'a>(at: &At<'_>, field: &str, value: &'a str) -> Result<&'a str, ConfigError> {
    if value.is_empty() { Err(at.field(field).missing("at least one character")) } else { Ok(value) }
}

/// An extension that is not known here, in Envoy's words.
pub(crate) fn unknown_extension(at: &At<'_>, name: &str, type_url: &str) -> ConfigError {
    at.error(Problem::UnknownExtension {
        name: name.to_owned(),
        type_name: mesh_proto::any::message_name(type_url).to_owned(),
    })
}

/// Reads `any` as an `M`.
pub(crate) fn unpack<M: mesh_proto::Message + mesh_proto::Name + Default>(
    at: &At<'_>,
    any: &pb::Any,
) -> Result<M, ConfigError> {
    mesh_proto::any::unpack(any).map_err(|e| at.rule(e.to_string()))
}

/// Upper bound that protobuf itself sets for a duration.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// A configuration source: the aggregated stream.
pub(crate) fn ads_source(at: &At<'_>, proto: &core::ConfigSource) -> Result<(), ConfigError> {
    use core::config_source::ConfigSourceSpecifier as S;
    honour!(at, proto, core::ConfigSource =>
        // The proxy decides how long it waits for a resource.
        honour [config_source_specifier resource_api_version]
        ignore [initial_fetch_timeout authorities]
        refuse []
    );
    if proto.resource_api_version == core::ApiVersion::V2 as i32 {
        return Err(at.field("resource_api_version").unsupported_value("V2", "V3"));
    }
    match &proto.config_source_specifier {
        Some(S::Ads(_)) => Ok(()),
        Some(S::Path(_) | S::PathConfigSource(_)) => Err(at.unsupported_value("a path", "ads")),
        Some(S::ApiConfigSource(_)) => Err(at.unsupported_value("api_config_source", "ads")),
        Some(S::Self_(_)) => Err(at.unsupported_value("self", "ads")),
        None => Err(at.missing("ads")),
    }
}

/// Envoy's default soft limit of a connection's buffers: 1 MiB.
pub(crate) const BUFFER_LIMIT_DEFAULT: u32 = 1024 * 1024;

/// The bytes of a data source that stands in the resource itself.
pub(crate) fn inline_source(at: &At<'_>, source: &core::DataSource) -> Result<bytes::Bytes, ConfigError> {
    use core::data_source::Specifier as S;
    match &source.specifier {
        Some(S::InlineBytes(bytes)) => Ok(bytes::Bytes::from(bytes.clone())),
        Some(S::InlineString(text)) => Ok(bytes::Bytes::from(text.clone())),
        Some(S::Filename(_)) => Err(at.field("filename").unsupported()),
        Some(S::EnvironmentVariable(_)) => Err(at.field("environment_variable").unsupported()),
        None => Err(at.missing("inline_string or inline_bytes")),
    }
}
