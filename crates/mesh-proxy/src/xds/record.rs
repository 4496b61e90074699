//! What is remembered of each resource, for `/config_dump`.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_proto::Message;
use mesh_proto::envoy::config::bootstrap::v3::Bootstrap;
use mesh_proto::google::protobuf::Any;

/// A resource as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Versioned {
    pub(crate) version: String,
    pub(crate) resource: Any,
    pub(crate) updated: String,
}

impl Versioned {
    pub(crate) fn new(version: &str, resource: Any) -> Self {
        Self { version: version.to_owned(), resource, updated: timestamp() }
    }
}

/// The last version that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) version: String,
    pub(crate) resource: Any,
    pub(crate) attempted: String,
    pub(crate) details: String,
}

impl Refused {
    pub(crate) fn new(version: &str, resource: Any, details: String) -> Self {
        Self { version: version.to_owned(), resource, attempted: timestamp(), details }
    }
}

/// One name's states.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// From the bootstrap: the control plane cannot change it.
    pub(crate) fixed: bool,
    pub(crate) active: Option<Versioned>,
    pub(crate) warming: Option<Versioned>,
    pub(crate) refused: Option<Refused>,
}

impl Entry {
    /// Whether `resource` is what is in force, or on its way there.
    pub(crate) fn holds(&self, resource: &Any) -> bool {
        let newest = self.warming.as_ref().or(self.active.as_ref());
        newest.is_some_and(|v| v.resource.value == resource.value) && self.refused.is_none()
    }
}

/// Everything `/config_dump` shows.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) bootstrap_loaded: String,
    pub(crate) cds_version: String,
    pub(crate) lds_version: String,
    pub(crate) clusters: BTreeMap<String, Entry>,
    pub(crate) endpoints: BTreeMap<String, Versioned>,
    pub(crate) listeners: BTreeMap<String, Entry>,
    pub(crate) routes: BTreeMap<String, Entry>,
    /// Their keys are shown to nobody; see `/config_dump`.
    pub(crate) secrets: BTreeMap<String, Entry>,
    /// Tables inside listeners, by listener.
    pub(crate) inline_routes: BTreeMap<String, Vec<Versioned>>,
    /// Addresses that are bound, by listener.
    pub(crate) bound: BTreeMap<String, Vec<std::net::SocketAddr>>,
    /// What the server still waits for, for `/init_dump`.
    pub(crate) unready: Vec<String>,
    pub(crate) live: bool,
    pub(crate) live_since: Option<Instant>,
}

/// Now, as protobuf JSON writes it: `2026-11-23T18:24:11.251Z`.
pub(crate) fn timestamp() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now).to_string()
}

/// Packs `message` as an `Any`.
pub(crate) fn pack<M: Message + mesh_proto::Name>(message: &M) -> Any {
    mesh_proto::any::pack(message)
}
