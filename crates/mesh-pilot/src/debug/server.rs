//! Pages about the process itself: `/metrics`, `/ready`, `/version`.

use std::collections::BTreeMap;

use http::StatusCode;
use mesh_model::{Health, Resolution};
use serde_json::json;

use super::{Query, Reply, View};
use crate::metrics::{Present, Refused};

pub(super) fn metrics(view: &View, _: &Query) -> Reply {
    let unready = unready(view);
    let present = Present {
        versions: view.connected.iter().map(|c| &*c.proxy.version).collect(),
        services: view.mesh.services.len(),
        virtual_services: view.mesh.rules.virtual_services().len(),
        refusals: view
            .refusals
            .iter()
            .map(|r| Refused { type_url: &r.type_url, node: &r.node_id, error: &r.error })
            .collect(),
        without_instances: without_instances(view).collect(),
        not_ready: unready.into_iter().collect(),
        diagnostics: &view.diagnostics,
        uptime: view.uptime,
    };
    Reply::Metrics(view.metrics.scrape(&present))
}

pub(super) fn ready(view: &View, _: &Query) -> Reply {
    if view.synced {
        return Reply::Text(String::new());
    }
    Reply::Failure(StatusCode::SERVICE_UNAVAILABLE, "the mesh has not been read yet".to_owned())
}

pub(super) fn version(_: &View, _: &Query) -> Reply {
    Reply::Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": option_env!("PILOTHOUSE_REVISION").unwrap_or("unknown"),
        "golang_version": "",
        "status": if cfg!(debug_assertions) { "Debug" } else { "Release" },
        "tag": env!("CARGO_PKG_VERSION"),
    }))
}

/// Hosts whose endpoints the mesh should know, and which have none.
pub(super) fn without_instances(view: &View) -> impl Iterator<Item = &str> {
    let known = view.mesh.services.iter().filter(|s| s.resolution == Resolution::ClientSideLb && !s.mesh_external);
    let empty = known.filter(|s| view.mesh.endpoints.get(&s.key()).is_none_or(|set| set.endpoints.is_empty()));
    empty.map(|s| s.hostname.as_str())
}

/// How many endpoints of each host are not ready, where there are any.
pub(super) fn unready(view: &View) -> BTreeMap<&str, usize> {
    let mut unready = BTreeMap::new();
    for set in view.mesh.endpoints.iter() {
        let count = set.endpoints.iter().filter(|e| e.health != Health::Healthy).count();
        if count > 0 {
            *unready.entry(set.service.hostname.as_str()).or_default() += count;
        }
    }
    unready
}
