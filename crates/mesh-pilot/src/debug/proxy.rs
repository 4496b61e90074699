//! Everything about one proxy: `resources` and `sidecarz`.

use mesh_model::{Kind, WorkloadKey};
use mesh_proto::types;
use serde_json::{Value, json};

use super::{Connected, Query, Reply, View};
use crate::view::{ProxyView, WorkloadError};

pub(super) fn resources(view: &View, query: &Query) -> Reply {
    match proxy_view(view, query) {
        Ok(proxy) => Reply::Json(proxy.to_json()),
        Err(reply) => reply,
    }
}

/// What the proxy sees, told from what it gets, so that it cannot be otherwise.
pub(super) fn sidecarz(view: &View, query: &Query) -> Reply {
    let proxy = match proxy_view(view, query) {
        Ok(proxy) => proxy,
        Err(reply) => return reply,
    };
    let clusters = proxy.resources.get(types::CLUSTER);
    let mut hosts: Vec<&str> =
        clusters.iter().flat_map(|set| set.iter()).filter_map(|r| outbound_host(&r.name)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let objects = proxy.objects();
    let rules = |kind: Kind| -> Vec<Value> {
        let of_kind = objects.get(&kind).into_iter().flatten();
        of_kind.map(|o| json!({ "namespace": &*o.namespace, "name": &*o.name })).collect()
    };
    Reply::Json(json!({
        "proxyID": proxy.node_id,
        "sidecars": rules(Kind::Sidecar),
        "services": hosts,
        "virtualServices": rules(Kind::VirtualService),
        "destinationRules": rules(Kind::DestinationRule),
    }))
}

fn proxy_view(view: &View, query: &Query) -> Result<ProxyView, Reply> {
    let Some(workload) = query.get("workload") else { return view.proxy(query).map(of_connected) };
    let Some((namespace, name)) = workload.split_once('/') else {
        return Err(Reply::missing(format!("workload: found {workload:?}, expected namespace/name")));
    };
    let key = WorkloadKey { namespace: namespace.into(), name: name.into() };
    // The proxy itself knows best how it is reached; without one, guess.
    if let Some(connected) = view.connected.iter().find(|c| c.proxy.workload == key && c.snapshot.is_some()) {
        return Ok(of_connected(connected));
    }
    ProxyView::of_workload(&view.mesh, &key).map_err(|error| match error {
        WorkloadError::Unknown { .. } => Reply::not_found(error.to_string()),
        WorkloadError::NoAddress { .. } => Reply::missing(error.to_string()),
    })
}

fn of_connected(connected: &Connected) -> ProxyView {
    let sets = connected.snapshot.iter().flat_map(|s| s.iter());
    ProxyView {
        node_id: connected.proxy.node_id.to_string(),
        connected: true,
        resources: sets.map(|(t, set)| (t.into(), set.clone())).collect(),
        diagnostics: Vec::new(),
    }
}

/// The host in `outbound|port|subset|host`.
fn outbound_host(cluster: &str) -> Option<&str> {
    cluster.strip_prefix("outbound|")?.rsplit('|').next()
}
