//! Routes to the workload's own application.

use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
use mesh_proto::origin::Origin;

use super::{action, matches, retry};
use crate::proxy::Generator;
use crate::scope::OwnPort;
use crate::xds;

/// `inbound|8000||`: everything goes to the application.
pub(crate) fn inbound(ports: &[OwnPort]) -> RouteConfiguration {
    let first = &ports[0];
    let cluster = xds::inbound_cluster(first.target);
    let origins = ports.iter().map(|p| xds::origin(&p.service.meta)).collect();
    to(&cluster, &format!("inbound|http|{}", first.number), &cluster, origins)
}

/// Requests to ports that no service declares.
pub(crate) fn inbound_passthrough() -> RouteConfiguration {
    let cluster = xds::INBOUND_PASSTHROUGH;
    to(cluster, "inbound|http|0", cluster, Vec::new())
}

fn to(name: &str, host: &str, cluster: &str, origins: Vec<Origin>) -> RouteConfiguration {
    let mut action = action::to_cluster(cluster);
    action::set_timeout(&mut action, None, Generator::Envoy);
    action.retry_policy = Some(retry::inbound_policy());
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(matches::everything()),
        action: Some(Action::Route(action)),
        metadata: xds::metadata(Vec::new(), origins),
        ..Default::default()
    };
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: host.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        validate_clusters: xds::truth(false),
        ..Default::default()
    }
}
