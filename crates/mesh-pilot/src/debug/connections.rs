//! Who is connected, and how far along: `adsz`, `connections`, `syncz`.

use std::time::SystemTime;

use mesh_proto::types;
use mesh_xds::server::TypeStatus;
use serde_json::{Map, Value, json};

use super::{Connected, Query, Reply, View};
use crate::debug::registry::labels;

pub(super) fn adsz(view: &View, query: &Query) -> Reply {
    if query.flag("push") {
        return Reply::Push;
    }
    clients(view, query, true)
}

pub(super) fn connections(view: &View, query: &Query) -> Reply {
    clients(view, query, false)
}

/// Values are nonces, as in Istio.
pub(super) fn syncz(view: &View, query: &Query) -> Reply {
    let namespace = query.get("namespace");
    let wanted = view.connected.iter().filter(|c| namespace.is_none_or(|n| **c.proxy.namespace() == *n));
    Reply::Json(wanted.map(sync_status).collect())
}

fn clients(view: &View, query: &Query, whole: bool) -> Reply {
    match view.proxies(query) {
        Ok(proxies) => {
            let clients: Vec<Value> = proxies.into_iter().map(|c| client(c, whole)).collect();
            Reply::Json(json!({ "totalClients": clients.len(), "clients": clients }))
        }
        Err(reply) => reply,
    }
}

fn client(connected: &Connected, whole: bool) -> Value {
    let proxy = &connected.proxy;
    let peer = connected.peer.as_ref();
    let mut client = json!({
        "connectionId": connected.id(),
        "connectedAt": peer.and_then(|p| time(p.connected_at)),
        "address": peer.and_then(|p| p.address).map(|a| a.to_string()),
    });
    if whole {
        let watches = connected.types.iter().map(|(status, _)| (status.type_url.to_string(), watched(status)));
        client["labels"] = labels(&proxy.labels);
        client["metadata"] = connected.node.metadata.as_ref().map_or(Value::Null, mesh_proto::json::to_json);
        client["locality"] = json!({ "region": &*proxy.locality.region, "zone": &*proxy.locality.zone, "subzone": &*proxy.locality.subzone });
        client["watches"] = Value::Object(watches.collect());
    }
    client
}

/// The names that are watched; a wildcard counts as one, as in xDS itself.
fn watched(status: &TypeStatus) -> Value {
    let wildcard = status.wildcard.then_some("*").into_iter();
    wildcard.chain(status.names.iter().map(|n| &**n)).collect()
}

fn sync_status(connected: &Connected) -> Value {
    let proxy = &connected.proxy;
    let mut status = Map::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            status.insert(name.to_owned(), Value::from(value));
        }
    };
    add("cluster_id", Some(proxy.cluster_id.to_string()));
    add("proxy", Some(connected.proxy_id().to_owned()));
    add("proxy_type", proxy.node_id.split('~').next().map(str::to_owned));
    add("proxy_version", Some(proxy.version.to_string()));
    add("istio_version", Some(proxy.version.to_string()));
    for (type_url, name) in SYNC_FIELDS {
        let watch = connected.watch(type_url);
        add(&format!("{name}_sent"), watch.and_then(|w| w.nonce_sent.as_deref()).map(str::to_owned));
        add(&format!("{name}_acked"), watch.and_then(|w| w.nonce_acked.as_deref()).map(str::to_owned));
    }
    let resources = connected.types.iter().map(|(status, sent_at)| {
        (
            status.type_url.to_string(),
            json!({
                "sent": status.nonce_sent.as_deref(),
                "acked": status.nonce_acked.as_deref(),
                "sentTime": sent_at.and_then(time),
                "lastError": status.last_error.as_deref(),
                "synced": status.in_sync,
            }),
        )
    });
    let resources = Value::Object(resources.collect());
    status.insert("resources".to_owned(), resources);
    Value::Object(status)
}

fn time(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|t| t.to_string())
}

const SYNC_FIELDS: [(&str, &str); 5] = [
    (types::CLUSTER, "cluster"),
    (types::LISTENER, "listener"),
    (types::ROUTE, "route"),
    (types::ENDPOINT, "endpoint"),
    (types::EXTENSION_CONFIG, "extensionconfig"),
];
