//! PeerAuthentication: whether callers of a workload must present a
//! certificate.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Labels, Meta};

/// What holds for connections to some workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Its name, age and place.
    pub meta: Arc<Meta>,
    /// Which workloads it is about; empty: all of the namespace, or of the mesh
    /// if the namespace is the root one.
    pub selector: Labels,
    /// For every port; `None` (`UNSET`): what holds one level up.
    pub mode: Option<MutualTls>,
    /// For ports of the workload. `None`: as `mode`. Counts only with a
    /// selector.
    pub port_modes: BTreeMap<u16, Option<MutualTls>>,
}

/// Which connections a workload accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MutualTls {
    /// Plaintext; TLS is the application's own.
    Disable,
    /// Both plaintext and mutual TLS. Istio's default.
    Permissive,
    /// Mutual TLS and nothing else.
    Strict,
}
