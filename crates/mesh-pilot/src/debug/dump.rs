//! What proxies have, in Envoy's own words: `config_dump`, `cdsz`, `edsz`.
//!
//! A dump holds what was made for the proxy and what it watches: a route table
//! that no listener of it names is left out, as Envoy itself would.

use std::collections::BTreeSet;

use mesh_proto::resource::Resource;
use mesh_proto::{json as protobuf, types};
use serde_json::{Value, json};

use super::{Connected, Query, Reply, View};
use crate::view::version;

pub(super) fn config_dump(view: &View, query: &Query) -> Reply {
    let connected = match view.proxy(query) {
        Ok(connected) => connected,
        Err(reply) => return reply,
    };
    if let Some(names) = query.get("types") {
        return raw(connected, names);
    }
    let mut configs = vec![section("BootstrapConfigDump", json!({})), clusters(connected)];
    if query.flag("include_eds") {
        configs.push(endpoints(connected));
    }
    configs.extend([
        listeners(connected),
        section("ScopedRoutesConfigDump", json!({})),
        routes(connected),
        section("SecretsConfigDump", json!({})),
    ]);
    Reply::Json(json!({ "configs": configs }))
}

/// An element per proxy: `{"node", "addr", "connect", "clusters"}`.
pub(super) fn cdsz(view: &View, query: &Query) -> Reply {
    let proxies = match view.proxies(query) {
        Ok(proxies) => proxies,
        Err(reply) => return reply,
    };
    let of_proxy = |connected: &&Connected| {
        let peer = connected.peer.as_ref();
        let clusters = held(connected, types::CLUSTER);
        json!({
            "node": connected.id(),
            "addr": peer.and_then(|p| p.address).map(|a| a.to_string()),
            "connect": peer.and_then(|p| jiff::Timestamp::try_from(p.connected_at).ok()).map(|t| t.to_string()),
            "clusters": clusters.map(|r| plain(types::CLUSTER, r)).collect::<Vec<_>>(),
        })
    };
    Reply::Json(proxies.iter().map(of_proxy).collect())
}

/// `ClusterLoadAssignment`s of one proxy, or each distinct one of them all.
pub(super) fn edsz(view: &View, query: &Query) -> Reply {
    let proxies = match view.proxies(query) {
        Ok(proxies) => proxies,
        Err(reply) => return reply,
    };
    let mut seen = BTreeSet::new();
    let all = proxies.iter().flat_map(|connected| held(connected, types::ENDPOINT));
    let distinct: Vec<&Resource> = all.filter(|r| seen.insert((r.name.clone(), r.version))).collect();
    Reply::Json(distinct.into_iter().map(|r| plain(types::ENDPOINT, r)).collect())
}

/// The resources of these types alone: `?types=cds,lds`.
fn raw(connected: &Connected, names: &str) -> Reply {
    let mut configs: Vec<Value> = Vec::new();
    for name in names.split(',').map(str::trim) {
        let Some(type_url) = type_url(name) else {
            return Reply::missing(format!("types: found {name:?}, expected cds, eds, lds, rds, sds or ecds"));
        };
        configs.extend(held(connected, type_url).map(|r| protobuf::any_to_json(type_url, &r.body)));
    }
    Reply::Json(json!({ "configs": configs }))
}

fn type_url(name: &str) -> Option<&'static str> {
    types::PUSH_ORDER.into_iter().find(|t| types::short(t).eq_ignore_ascii_case(name) || *t == name)
}

fn clusters(connected: &Connected) -> Value {
    let active: Vec<Value> = held(connected, types::CLUSTER)
        .map(|r| json!({ "version_info": version(r), "cluster": protobuf::any_to_json(types::CLUSTER, &r.body) }))
        .collect();
    section(
        "ClustersConfigDump",
        json!({ "version_info": acked(connected, types::CLUSTER), "dynamic_active_clusters": active }),
    )
}

fn listeners(connected: &Connected) -> Value {
    let dynamic: Vec<Value> = held(connected, types::LISTENER)
        .map(|r| {
            let listener = protobuf::any_to_json(types::LISTENER, &r.body);
            json!({ "name": &*r.name, "active_state": { "version_info": version(r), "listener": listener } })
        })
        .collect();
    section(
        "ListenersConfigDump",
        json!({ "version_info": acked(connected, types::LISTENER), "dynamic_listeners": dynamic }),
    )
}

fn routes(connected: &Connected) -> Value {
    let dynamic: Vec<Value> = held(connected, types::ROUTE)
        .map(|r| json!({ "version_info": version(r), "route_config": protobuf::any_to_json(types::ROUTE, &r.body) }))
        .collect();
    section("RoutesConfigDump", json!({ "dynamic_route_configs": dynamic }))
}

fn endpoints(connected: &Connected) -> Value {
    let dynamic: Vec<Value> = held(connected, types::ENDPOINT)
        .map(|r| json!({ "version_info": version(r), "endpoint_config": protobuf::any_to_json(types::ENDPOINT, &r.body) }))
        .collect();
    section("EndpointsConfigDump", json!({ "dynamic_endpoint_configs": dynamic }))
}

fn section(name: &str, fields: Value) -> Value {
    let mut section = json!({ "@type": format!("type.googleapis.com/envoy.admin.v3.{name}") });
    if let (Some(section), Value::Object(fields)) = (section.as_object_mut(), fields) {
        section.extend(fields.into_iter().filter(|(_, v)| !v.is_null()));
    }
    section
}

/// The version that the proxy has acknowledged last; null if none.
fn acked(connected: &Connected, type_url: &str) -> Value {
    connected.watch(type_url).and_then(|w| w.version_acked.as_deref()).map_or(Value::Null, Value::from)
}

fn plain(type_url: &str, resource: &Resource) -> Value {
    protobuf::bytes_to_json(mesh_proto::any::message_name(type_url), &resource.body)
}

/// The resources of a type that were made for the proxy and that it watches;
/// all of them where it has not said yet what it watches.
fn held<'a>(connected: &'a Connected, type_url: &'a str) -> impl Iterator<Item = &'a Resource> + 'a {
    let watch = connected.watch(type_url);
    let set = connected.snapshot.as_ref().and_then(|s| s.get(type_url));
    let watched =
        move |resource: &&Resource| watch.is_none_or(|w| w.wildcard || w.names.binary_search(&resource.name).is_ok());
    set.into_iter().flat_map(|set| set.iter()).filter(watched)
}
