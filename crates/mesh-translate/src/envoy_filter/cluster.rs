//! Patches of clusters.
//!
//! Source: istio `pilot/pkg/networking/core/envoyfilter/cluster_patch.go`.

use mesh_model::rules::envoy_filter::{ApplyTo, ClusterMatch, Context, Object, Operation};
use mesh_model::{Code, Diagnostic, Severity};
use mesh_proto::Message;
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::google::protobuf::value::Kind;
use mesh_proto::resource::Resource;

use super::compile::Patch;
use super::{Patches, merge};

impl Patches {
    /// `clusters` as patched, and those that patches add. A cluster that no
    /// patch is about is not even decoded.
    pub(crate) fn clusters(
        &self,
        context: Context,
        clusters: Vec<Resource>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Resource> {
        let patches: Vec<&Patch> = self.of(ApplyTo::Cluster, context).collect();
        if patches.is_empty() {
            return clusters;
        }
        let mut out: Vec<Resource> = clusters.into_iter().filter_map(|c| patched(c, &patches)).collect();
        for patch in patches.iter().filter(|p| p.operation == Operation::Add && super::adds_in(p, context)) {
            let Some(mut added) = patch.added::<Cluster>() else { continue };
            if out.iter().any(|c| *c.name == *added.name) {
                diagnostics.push(repeated(patch, &added.name));
                continue;
            }
            super::add_origin(&mut added.metadata, patch);
            out.push(Resource::new(added.name.as_str(), &added));
        }
        out
    }
}

fn patched(resource: Resource, patches: &[&Patch]) -> Option<Resource> {
    let mut decoded: Option<Cluster> = None;
    for patch in patches.iter().filter(|p| p.operation != Operation::Add) {
        let name = decoded.as_ref().map_or(&*resource.name, |c| c.name.as_str());
        if !matches(&patch.object, name, &resource) {
            continue;
        }
        if patch.operation == Operation::Remove {
            return None;
        }
        let (Some(lists), Some(value)) = (patch.merges(), patch.value()) else { continue };
        if decoded.is_none() {
            decoded = Cluster::decode(resource.body.clone()).ok();
        }
        let Some(cluster) = decoded.as_mut() else { continue };
        merge_cluster(cluster, value, lists);
        super::add_origin(&mut cluster.metadata, patch);
    }
    match decoded {
        Some(cluster) => Some(Resource::new(cluster.name.as_str(), &cluster)),
        None => Some(resource),
    }
}

/// A transport socket is merged into the one of its name that is chosen by
/// endpoint, where there are such: beside them it would never be used.
fn merge_cluster(cluster: &mut Cluster, value: &prost_reflect::DynamicMessage, lists: merge::Lists) {
    let mut matches = std::mem::take(&mut cluster.transport_socket_matches);
    let before = cluster.transport_socket.clone();
    merge::merge(cluster, value, lists);
    if !matches.is_empty() && value.has_field_by_name("transport_socket") {
        let patch = Cluster::decode(value.encode_to_vec().as_slice()).ok().and_then(|c| c.transport_socket);
        cluster.transport_socket = before;
        let sockets = matches.iter_mut().filter_map(|m| m.transport_socket.as_mut());
        if let Some(patch) = patch
            && let Some(socket) = sockets.into_iter().find(|s| s.name == patch.name)
        {
            super::merge_socket(socket, &patch);
        }
    }
    if lists == merge::Lists::Append || cluster.transport_socket_matches.is_empty() {
        matches.append(&mut cluster.transport_socket_matches);
        cluster.transport_socket_matches = matches;
    }
}

fn matches(object: &Object, name: &str, resource: &Resource) -> bool {
    let asked = match object {
        Object::Any => return true,
        Object::Cluster(asked) => asked,
        _ => return false,
    };
    if !asked.name.is_empty() {
        return *asked.name == *name;
    }
    let mut parts = name.splitn(4, '|');
    let (direction, port) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (subset, host) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    (asked.subset.is_empty() || *asked.subset == *subset)
        && asked.port.is_none_or(|wanted| port.parse() == Ok(wanted))
        && of_service(asked, direction, host, resource)
}

/// An inbound cluster does not name its services; its metadata do.
fn of_service(asked: &ClusterMatch, direction: &str, host: &str, resource: &Resource) -> bool {
    if asked.service.is_empty() || *asked.service == *host {
        return true;
    }
    let services = || {
        let metadata = Cluster::decode(resource.body.clone()).ok()?.metadata?;
        let Kind::ListValue(list) = metadata.filter_metadata.get("istio")?.fields.get("services")?.kind.clone()? else {
            return None;
        };
        Some(list.values)
    };
    let is_it = |value: &mesh_proto::google::protobuf::Value| match &value.kind {
        Some(Kind::StructValue(fields)) => {
            matches!(fields.fields.get("host").and_then(|h| h.kind.as_ref()), Some(Kind::StringValue(h)) if **h == *asked.service)
        }
        _ => false,
    };
    direction == "inbound" && services().is_some_and(|values| values.iter().any(is_it))
}

fn repeated(patch: &Patch, name: &str) -> Diagnostic {
    let message = format!("found cluster {name:?}, which there is already");
    patch.finding(Severity::Error, Code::Conflict, message, "the cluster that was there first stays")
}
