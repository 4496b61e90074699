//! What a mesh is: services, endpoints, workloads, identities, localities,
//! typed rules, and the immutable [`MeshSnapshot`] that all of them form.
//!
//! Platform adapters and the configuration parser produce [`Change`]s; one
//! owner applies them to a [`World`]; readers get snapshots that share what did
//! not change.
//!
//! Invariant: values of these types are valid by construction. Nothing here
//! reads a file, a clock or the network, and nothing here knows YAML, protobuf
//! or which platform a service came from beyond its name.

pub mod diagnostic;
pub mod endpoint;
pub mod gateway_api;
pub mod host;
pub mod labels;
pub mod object;
pub mod protocol;
pub mod rules;
pub mod secret;
pub mod service;
pub mod status;
pub mod visibility;
pub mod workload;
pub mod world;

pub use diagnostic::{Code, Diagnostic, Severity};
pub use endpoint::{Address, Endpoint, EndpointSet, Health, Locality};
pub use host::Hostname;
pub use labels::Labels;
pub use object::{Kind, Meta, ObjectRef, SourceLocation};
pub use protocol::Protocol;
pub use rules::Rule;
pub use secret::Secret;
pub use service::{Port, Registry, Resolution, Service, ServiceKey, TargetPort};
pub use status::{Condition, ObjectStatus, Statuses};
pub use visibility::Visibility;
pub use workload::{Namespace, Workload, WorkloadKey};
pub use world::{Change, MeshSnapshot, World};

/// A short string that many values share: a namespace, a name, a port's name.
pub type Name = std::sync::Arc<str>;
