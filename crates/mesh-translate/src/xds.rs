//! Small makers of xDS messages that the translation uses everywhere.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_model::{Meta, Name, ObjectRef};
use mesh_proto::any;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::google::protobuf::value::Kind;
use mesh_proto::google::protobuf::{Any, BoolValue, Duration as ProtoDuration, ListValue, Struct, UInt32Value, Value};
use mesh_proto::origin::{self, Origin};

/// A wrapped number.
pub(crate) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A wrapped truth value.
pub(crate) fn truth(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// A duration; protobuf's longest if it is longer.
pub(crate) fn duration(value: std::time::Duration) -> Option<ProtoDuration> {
    const SECONDS_MAX: u64 = 315_576_000_000;
    let seconds = value.as_secs().min(SECONDS_MAX);
    Some(ProtoDuration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    })
}

/// No time at all, which in most places means: no limit.
pub(crate) fn zero() -> Option<ProtoDuration> {
    Some(ProtoDuration { seconds: 0, nanos: 0 })
}

/// A TCP address.
pub(crate) fn socket(ip: impl ToString, port: u16) -> core::Address {
    core::Address { address: Some(core::address::Address::SocketAddress(socket_address(ip, port))) }
}

/// As [`socket`], without the wrapper.
pub(crate) fn socket_address(ip: impl ToString, port: u16) -> core::SocketAddress {
    core::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
        ..Default::default()
    }
}

/// A Unix socket's address.
pub(crate) fn pipe(path: &str) -> core::Address {
    core::Address { address: Some(core::address::Address::Pipe(core::Pipe { path: path.to_owned(), mode: 0 })) }
}

/// A network.
pub(crate) fn range(net: &IpNet) -> core::CidrRange {
    core::CidrRange { address_prefix: net.network().to_string(), prefix_len: number(u32::from(net.prefix_len())) }
}

/// The stream that everything comes over.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        initial_fetch_timeout: zero(),
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    }
}

/// `message`, packed.
pub(crate) fn pack<M: mesh_proto::Message + mesh_proto::Name>(message: &M) -> Any {
    any::pack(message)
}

/// A text value of a protobuf struct.
pub(crate) fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

/// An object value of a protobuf struct.
pub(crate) fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value { kind: Some(Kind::StructValue(fields_of(fields))) }
}

/// A list value of a protobuf struct.
pub(crate) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values: values.into_iter().collect() })) }
}

fn fields_of<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    Struct { fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect() }
}

/// Metadata with Istio's `istio` key, if `fields` is not empty, and the origins.
pub(crate) fn metadata(
    fields: Vec<(&str, Value)>,
    origins: impl IntoIterator<Item = Origin>,
) -> Option<core::Metadata> {
    let mut metadata = core::Metadata::default();
    if !fields.is_empty() {
        metadata.filter_metadata.insert("istio".to_owned(), fields_of(fields));
    }
    origin::write(&mut metadata, origins);
    (!metadata.filter_metadata.is_empty()).then_some(metadata)
}

/// The object that `meta` is of, or was derived from, as an origin.
pub(crate) fn origin(meta: &Meta) -> Origin {
    origin_of(meta.origin())
}

/// `object` as an origin.
pub(crate) fn origin_of(object: &ObjectRef) -> Origin {
    Origin {
        kind: object.kind.qualified().to_owned(),
        namespace: object.namespace.to_string(),
        name: object.name.to_string(),
    }
}

/// `outbound|8000|v1|backend.default.svc.cluster.local`
pub(crate) fn outbound_cluster(port: u16, subset: &str, host: &str) -> Name {
    format!("outbound|{port}|{subset}|{host}").into()
}

/// Port, subset (may be empty) and host in an outbound cluster's name.
pub(crate) fn parts_of_outbound(name: &str) -> Option<(u16, &str, &str)> {
    let mut parts = name.strip_prefix("outbound|")?.splitn(3, '|');
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// `inbound|8000||`
pub(crate) fn inbound_cluster(port: u16) -> Name {
    format!("inbound|{port}||").into()
}

/// An IP address as it stands in a URL: IPv6 in brackets.
pub(crate) fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Cluster of connections that are passed on where they were going.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// Cluster without endpoints.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Cluster of inbound connections to ports that no service declares.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
