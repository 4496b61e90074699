//! Which objects shaped a resource, and where they stand.

use std::collections::BTreeMap;

use mesh_model::{Kind, MeshSnapshot, Meta, ObjectRef, SourceLocation};
use mesh_proto::Message;
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3::Metadata;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::origin::{self, Origin};
use mesh_proto::types;

/// The objects that shaped an encoded resource, in the order in which it names
/// them, without repeats. None for a type that carries none, or bytes that do
/// not decode.
pub(crate) fn origins(type_url: &str, body: &[u8]) -> Vec<Origin> {
    let mut found: Vec<Origin> = Vec::new();
    let mut read = |metadata: Option<&Metadata>| {
        for origin in origin::read(metadata) {
            if !found.contains(&origin) {
                found.push(origin);
            }
        }
    };
    match type_url {
        types::CLUSTER => {
            let cluster = Cluster::decode(body).unwrap_or_default();
            read(cluster.metadata.as_ref());
        }
        types::LISTENER => {
            let listener = Listener::decode(body).unwrap_or_default();
            read(listener.metadata.as_ref());
            let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
            chains.for_each(|chain| read(chain.metadata.as_ref()));
        }
        types::ROUTE => {
            let routes = RouteConfiguration::decode(body).unwrap_or_default();
            read(routes.metadata.as_ref());
            for host in &routes.virtual_hosts {
                read(host.metadata.as_ref());
                host.routes.iter().for_each(|route| read(route.metadata.as_ref()));
            }
        }
        types::ENDPOINT => {
            let assignment = ClusterLoadAssignment::decode(body).unwrap_or_default();
            for endpoint in assignment.endpoints.iter().flat_map(|e| &e.lb_endpoints) {
                read(endpoint.metadata.as_ref());
            }
        }
        _ => {}
    }
    found
}

/// The object that an origin names; `None` for a kind that is not known here.
pub(crate) fn parse(origin: &Origin) -> Option<ObjectRef> {
    let kind = Kind::ALL.into_iter().find(|k| k.qualified() == origin.kind)?;
    Some(ObjectRef { kind, namespace: origin.namespace.as_str().into(), name: origin.name.as_str().into() })
}

/// An object as an origin names it: `Kind/namespace/name`.
pub(crate) fn key(object: &ObjectRef) -> String {
    format!("{}/{}/{}", object.kind.qualified(), object.namespace, object.name)
}

/// Where `object` stands, if the mesh has it and it came from a file.
pub(crate) fn location(mesh: &MeshSnapshot, object: &ObjectRef) -> Option<SourceLocation> {
    metas(mesh).find(|meta| meta.object == *object).and_then(|meta| meta.location.clone())
}

/// Where every object of the mesh stands that came from a file.
pub(crate) fn locations(mesh: &MeshSnapshot) -> BTreeMap<ObjectRef, SourceLocation> {
    metas(mesh).filter_map(|meta| Some((meta.object.clone(), meta.location.clone()?))).collect()
}

/// Every object that the mesh keeps: rules, services, workloads, namespaces.
pub(crate) fn metas(mesh: &MeshSnapshot) -> impl Iterator<Item = &Meta> {
    let rules = mesh.rules.all().iter().map(|r| &*r.meta);
    let services = mesh.services.iter().map(|s| &*s.meta);
    let workloads = mesh.workloads.iter().map(|w| &*w.meta);
    let namespaces = mesh.namespaces.values().map(|n| &*n.meta);
    rules.chain(services).chain(workloads).chain(namespaces)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mesh_proto::envoy::config::route::v3::{Route, VirtualHost};

    use super::*;

    fn metadata(rule: &str) -> Option<Metadata> {
        let mut metadata = Metadata::default();
        origin::write(&mut metadata, [Origin::parse(rule).unwrap()]);
        Some(metadata)
    }

    #[test]
    fn a_route_tables_origins_are_those_of_its_hosts_and_routes() {
        let route = |rule| Route { metadata: metadata(rule), ..Route::default() };
        let host = VirtualHost {
            metadata: metadata("Service/shop/a"),
            routes: vec![route("VirtualService/shop/a"), route("VirtualService/shop/a")],
            ..VirtualHost::default()
        };
        let table = RouteConfiguration { virtual_hosts: vec![host], ..RouteConfiguration::default() };
        let found: Vec<String> = origins(types::ROUTE, &table.encode_to_vec()).iter().map(Origin::to_string).collect();
        assert_eq!(found, ["Service/shop/a", "VirtualService/shop/a"]);
    }

    #[test]
    fn an_origin_of_an_unknown_kind_is_no_object() {
        assert!(parse(&Origin::parse("Unheard/of/it").unwrap()).is_none());
        let object = parse(&Origin::parse("VirtualService/shop/a").unwrap()).unwrap();
        assert_eq!(key(&object), "VirtualService/shop/a");
    }
}
