//! What Kubernetes' own objects mean for the mesh.
//!
//! ```text
//! Object ── read ──► Resource (typed, one object) ── assemble ──► services, endpoints, workloads, namespaces
//! ```
//!
//! Reading looks at one object alone; joining Services, EndpointSlices, Pods and
//! Nodes is [`assemble()`]'s. Both are functions on values, so that every adapter
//! that has Kubernetes objects, from files or from an API server, shares them.
//!
//! Invariant: an endpoint never carries an identity that is not its own: one
//! that points to a Pod which is not known is withheld.
//!
//! Deliberately absent: watching, and Istio's rules (`mesh-config`). Fields of
//! Kubernetes that concern no mesh are not looked at.

mod assemble;
mod node;
mod pod;
mod secret;
mod service;
mod slice;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mesh_config::document::Object;
use mesh_config::reader::Fallback;
use mesh_config::rules::Parsed;
use mesh_model::rules::MeshConfig;
use mesh_model::{Kind, Namespace, Secret};

pub use assemble::{Assembled, assemble};
pub use node::Node;
pub use pod::Pod;
pub use service::Declared;
pub use slice::{Slice, SliceEndpoint, SlicePort};

/// One object of Kubernetes, typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// A Service.
    Service(Declared),
    /// An EndpointSlice or Endpoints.
    Slice(Slice),
    /// A Pod.
    Pod(Pod),
    /// A Node.
    Node(Node),
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Secret with a certificate and key or with authorities, or a ConfigMap
    /// with authorities.
    Secret(Arc<Secret>),
    /// A kind that is understood and says nothing that is used yet:
    /// ServiceAccount, and Secrets and ConfigMaps without certificates.
    Inert,
}

/// Reads an object of one of Kubernetes' own kinds; `None` without diagnostics
/// for every other kind. `mesh` gives the DNS domain and the default of
/// `exportTo`.
pub fn read(object: &Object, mesh: &MeshConfig, fallback: Fallback) -> Parsed<Resource> {
    let log = object.log(fallback);
    let value = match object.kind() {
        Kind::Service => service::read(object, &log, mesh).map(Resource::Service),
        Kind::EndpointSlice => slice::read_slice(object, &log).map(Resource::Slice),
        Kind::Endpoints => slice::read_endpoints(object, &log).map(Resource::Slice),
        Kind::Pod => pod::read(object, &log).map(Resource::Pod),
        Kind::Node => Some(Resource::Node(node::read(object))),
        Kind::Namespace => Some(Resource::Namespace(Arc::new(Namespace { meta: object.meta.clone() }))),
        Kind::Secret => secret::read(object, &log),
        Kind::ConfigMap => secret::read_config_map(object, &log),
        Kind::ServiceAccount => Some(Resource::Inert),
        _ => None,
    };
    let value = value.filter(|_| !log.failed());
    Parsed { value, diagnostics: log.finish() }
}
