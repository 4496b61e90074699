//! What a gRPC library is told: it calls services itself and has no listeners
//! of its own.
//!
//! Such a client asks for a listener by its target (`backend.shop:8000`), finds
//! in it the name of a route table, there a cluster, there endpoints. Every
//! name by which a visible service's port can be called has a listener here, so
//! that a set answers whatever the client asks for.

use std::collections::BTreeSet;

use mesh_model::{Protocol, Resolution};
use mesh_proto::envoy::config::listener::v3::{ApiListener, Listener};
use mesh_proto::resource::Resource;

use crate::http_filters::{self, Chain};
use crate::listener::{Manager, Routes};
use crate::route::{Assigned, Names, RouteName};
use crate::scope;
use crate::xds;

/// The API listeners of a scope and the routes that they name.
pub(crate) fn listeners(scope: &scope::Outbound, assigned: &Assigned<'_>) -> (Vec<Resource>, BTreeSet<RouteName>) {
    let (mut listeners, mut routes) = (Vec::new(), BTreeSet::new());
    let mut names = Names::new(scope, &assigned.names);
    for visible in &scope.visible.services {
        if matches!(visible.service.resolution, Resolution::Alias(_)) {
            continue;
        }
        let domains = names.of_service(visible);
        for port in visible.service.ports.iter().filter(|p| callable(p.protocol) && visible.allows(p.number)) {
            let route = RouteName::Client { host: visible.service.hostname.clone(), port: port.number };
            for domain in domains.iter().filter(|d| !d.contains('*') && !d.ends_with('.')) {
                listeners.push(listener(scope, &format!("{domain}:{}", port.number), &route, visible));
            }
            routes.insert(route);
        }
    }
    (listeners, routes)
}

/// Whatever may be gRPC.
fn callable(protocol: Protocol) -> bool {
    protocol.is_http() || protocol == Protocol::Auto
}

fn listener(scope: &scope::Outbound, name: &str, route: &RouteName, visible: &scope::VisibleService) -> Resource {
    let manager = Manager {
        stat_prefix: name.to_owned(),
        routes: Routes::Named(route.to_string()),
        chain: Chain { grpc: false },
        inbound: false,
    };
    let mut config = manager.config(&scope.mesh);
    // A library keeps no access log and refuses settings that it cannot honour.
    config.access_log.clear();
    config.upgrade_configs.clear();
    config.http_filters.retain(|f| f.name != http_filters::CORS);
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(xds::pack(&config)) }),
        metadata: xds::metadata(Vec::new(), [xds::origin(&visible.service.meta)]),
        ..Default::default()
    };
    Resource::new(name, &listener)
}
