//! Nodes: where Pods run.

use std::sync::Arc;

use mesh_config::document::Object;
use mesh_model::{Labels, Locality, Name};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Where it is.
    pub locality: Arc<Locality>,
}

pub(super) fn read(object: &Object) -> Node {
    Node { name: object.meta.name().clone(), locality: Arc::new(locality(&object.meta.labels)) }
}

/// Kubernetes' labels for region and zone, newest first, and Istio's for the
/// sub-zone.
fn locality(labels: &Labels) -> Locality {
    let first = |names: &[&str]| names.iter().find_map(|name| labels.get(name)).unwrap_or_default().into();
    Locality {
        region: first(&["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"]),
        zone: first(&["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]),
        subzone: first(&["topology.istio.io/subzone"]),
    }
}
