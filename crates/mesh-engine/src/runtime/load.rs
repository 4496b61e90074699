//! A whole configuration from encoded resources, as `explain` and golden cases
//! have them.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener as ListenerProto;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::Secret as SecretProto;
use mesh_proto::{Message, any, types};

use super::{Listeners, RuntimeConfig};
use crate::cluster::ClusterConfig;
use crate::endpoint::LoadAssignment;
use crate::error::{At, ConfigError, Kind};
use crate::listener::Listener;
use crate::route::RouteTable;
use crate::tls::Secret;

pub(super) fn load<'a>(resources: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> (RuntimeConfig, Vec<ConfigError>) {
    let mut by_type: HashMap<&str, Vec<&[u8]>> = HashMap::new();
    for (type_url, body) in resources {
        by_type.entry(any::message_name(type_url)).or_default().push(body);
    }
    let of = |type_url: &'static str| by_type.get(any::message_name(type_url)).cloned().unwrap_or_default();
    let mut config = RuntimeConfig::default();
    let mut errors = Vec::new();
    let assignments: HashMap<Arc<str>, LoadAssignment> =
        parse(of(types::ENDPOINT), Kind::Endpoint, &mut errors, |p: ClusterLoadAssignment| LoadAssignment::parse(&p))
            .into_iter()
            .map(|a| (a.cluster_name.clone(), a))
            .collect();
    for cluster in parse(of(types::CLUSTER), Kind::Cluster, &mut errors, |p: Cluster| ClusterConfig::parse(&p)) {
        let endpoints = cluster.eds_name().and_then(|name| assignments.get(name));
        config.clusters.upsert(cluster, endpoints);
    }
    for table in parse(of(types::ROUTE), Kind::Route, &mut errors, |p: RouteConfiguration| RouteTable::parse(&p)) {
        config.routes.set(Arc::new(table));
    }
    for secret in parse(of(types::SECRET), Kind::Secret, &mut errors, |p: SecretProto| Secret::parse(&p)) {
        config.secrets.set(secret);
    }
    let listeners =
        parse(of(types::LISTENER), Kind::Listener, &mut errors, |p: ListenerProto| Listener::parse(&p, &config.routes));
    config.listeners = Arc::new(Listeners::new(listeners.into_iter().map(Arc::new)));
    (config, errors)
}

fn parse<M: Message + Default, T>(
    bodies: Vec<&[u8]>,
    kind: Kind,
    errors: &mut Vec<ConfigError>,
    read: impl Fn(M) -> Result<T, ConfigError>,
) -> Vec<T> {
    let mut parsed = Vec::with_capacity(bodies.len());
    for body in bodies {
        let proto = M::decode(body).map_err(|e| At::root(kind, "").rule(format!("the bytes do not decode: {e}")));
        match proto.and_then(&read) {
            Ok(one) => parsed.push(one),
            Err(error) => errors.push(error),
        }
    }
    parsed
}
