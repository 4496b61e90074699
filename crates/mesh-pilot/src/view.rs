//! Everything that one proxy gets, as a value and as the JSON of
//! `/debug/resources`.
//!
//! Invariant: what is written as JSON and read back is the same resources, so
//! that whoever explains a path from them decides as the proxy itself does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mesh_model::{Diagnostic, Kind, MeshSnapshot, ObjectRef, SourceLocation, Workload, WorkloadKey};
use mesh_proto::resource::{Resource, ResourceSet};
use mesh_proto::{any, json as protobuf};
use mesh_translate::{Capture, Generator, Place, Proxy, Translator};
use serde_json::{Map, Value, json};

use crate::objects;

/// What a proxy gets.
#[derive(Debug, Clone)]
pub struct ProxyView {
    /// Its node id.
    pub node_id: String,
    /// Whether it is connected; if not, this is what it would get.
    pub connected: bool,
    /// Resources by type URL.
    pub resources: BTreeMap<Arc<str>, Arc<ResourceSet>>,
    /// What translation found wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// A workload that the mesh does not know, or that cannot have a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// Nothing of that name is known.
    #[error("no Pod or WorkloadEntry {}/{} is known; known are: {known}", .workload.namespace, .workload.name)]
    Unknown {
        /// The one asked for.
        workload: WorkloadKey,
        /// Those that are known, shortened.
        known: String,
    },
    /// It has no address yet, which a proxy needs.
    #[error("{object} has no IP address, so that it has no proxy")]
    NoAddress {
        /// The one asked for.
        object: ObjectRef,
    },
}

/// JSON that is not an answer of `/debug/resources` or `/debug/objectz`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: found {found}, expected {expected}")]
pub struct JsonError {
    /// Path inside the document.
    pub field: String,
    /// What stands there, shortened.
    pub found: String,
    /// What should.
    pub expected: String,
}

/// Workloads that an error message lists.
const KNOWN_MAX: usize = 20;
/// How much of an unexpected value an error message repeats.
const FOUND_CHARS_MAX: usize = 120;

impl ProxyView {
    /// What the sidecar of `workload` gets from `mesh`, whether or not there is
    /// one.
    ///
    /// # Errors
    /// See [`WorkloadError`].
    pub fn of_workload(mesh: &Arc<MeshSnapshot>, workload: &WorkloadKey) -> Result<Self, WorkloadError> {
        let Some(found) = mesh.workloads.get(workload) else {
            return Err(WorkloadError::Unknown { workload: workload.clone(), known: known(mesh) });
        };
        let proxy =
            sidecar(mesh, found).ok_or_else(|| WorkloadError::NoAddress { object: found.meta.object.clone() })?;
        let node_id = proxy.node_id.to_string();
        let resources = Translator::new().resources(mesh, &Arc::new(proxy));
        Ok(Self {
            node_id,
            connected: false,
            resources: resources.iter().map(|(t, set)| (t.into(), set.clone())).collect(),
            diagnostics: resources.diagnostics().to_vec(),
        })
    }

    /// The objects that shaped anything in it, by kind, sorted.
    pub fn objects(&self) -> BTreeMap<Kind, Vec<ObjectRef>> {
        let mut by_kind: BTreeMap<Kind, Vec<ObjectRef>> = BTreeMap::new();
        for (type_url, set) in &self.resources {
            for origin in set.iter().flat_map(|r| objects::origins(type_url, &r.body)) {
                if let Some(object) = objects::parse(&origin) {
                    by_kind.entry(object.kind).or_default().push(object);
                }
            }
        }
        for list in by_kind.values_mut() {
            list.sort();
            list.dedup();
        }
        by_kind
    }

    /// As `/debug/resources` shows it:
    /// `{"proxy", "connected", "resources": {type URL: [{"name", "version", "origins", "resource"}]}, "diagnostics": [..]}`.
    pub fn to_json(&self) -> Value {
        let of_type = |(type_url, set): (&Arc<str>, &Arc<ResourceSet>)| {
            let list: Vec<Value> = set.iter().map(|r| resource_to_json(type_url, r)).collect();
            (type_url.to_string(), Value::Array(list))
        };
        json!({
            "proxy": self.node_id,
            "connected": self.connected,
            "resources": self.resources.iter().map(of_type).collect::<Map<_, _>>(),
            "diagnostics": self.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    /// Reads what [`ProxyView::to_json`] wrote. Diagnostics stay where they are.
    ///
    /// # Errors
    /// [`JsonError`] with the field that is not as it should be.
    pub fn from_json(document: &Value) -> Result<Self, JsonError> {
        let types =
            document["resources"].as_object().ok_or_else(|| error("resources", &document["resources"], "an object"))?;
        let mut resources = BTreeMap::new();
        for (type_url, list) in types {
            let field = format!("resources[{type_url:?}]");
            let list = list.as_array().ok_or_else(|| error(&field, list, "a list"))?;
            let read = |(index, entry)| resource_from_json(type_url, entry, &format!("{field}[{index}]"));
            let set = list.iter().enumerate().map(read).collect::<Result<Vec<Resource>, JsonError>>()?;
            resources.insert(type_url.as_str().into(), Arc::new(ResourceSet::new(set)));
        }
        let node_id = document["proxy"].as_str().ok_or_else(|| error("proxy", &document["proxy"], "a node id"))?;
        let connected = document["connected"].as_bool().unwrap_or_default();
        Ok(Self { node_id: node_id.to_owned(), connected, resources, diagnostics: Vec::new() })
    }
}

/// Reads what `/debug/objectz` shows: where each object stands. Objects of a
/// kind that is not known here are left out.
///
/// # Errors
/// [`JsonError`] with the field that is not as it should be.
pub fn locations_from_json(document: &Value) -> Result<BTreeMap<ObjectRef, SourceLocation>, JsonError> {
    let entries = document.as_object().ok_or_else(|| error("/", document, "an object"))?;
    let mut locations = BTreeMap::new();
    for (key, place) in entries {
        let line = place["line"].as_u64().and_then(|line| u32::try_from(line).ok());
        let (Some(file), Some(line)) = (place["file"].as_str(), line) else {
            return Err(error(key, place, "{\"file\", \"line\"}"));
        };
        if let Some(object) = mesh_proto::origin::Origin::parse(key).as_ref().and_then(objects::parse) {
            locations.insert(object, SourceLocation { file: file.into(), line });
        }
    }
    Ok(locations)
}

/// The proxy that `workload` has, or would have: a gateway's, or a sidecar.
pub(crate) fn sidecar(mesh: &MeshSnapshot, workload: &Workload) -> Option<Proxy> {
    let (name, namespace) = (workload.meta.name(), workload.meta.namespace());
    let domain = format!("{namespace}.svc.{}", mesh.mesh.domain);
    let address = workload.addresses.first()?;
    let capture = match workload.meta.annotations.get("sidecar.istio.io/interceptionMode") {
        Some("TPROXY") => Capture::Tproxy,
        Some("NONE") => Capture::None,
        _ => Capture::Redirect,
    };
    let (place, kind) = if workload.is_gateway() { (Place::Router, "router") } else { (Place::Sidecar, "sidecar") };
    Some(Proxy {
        node_id: format!("{kind}~{address}~{name}.{namespace}~{domain}").into(),
        workload: workload.key(),
        addresses: workload.addresses.clone(),
        domain: domain.into(),
        labels: workload.meta.labels.clone(),
        place,
        metadata: Arc::default(),
        generator: Generator::Envoy,
        capture,
        cluster_id: "".into(),
        version: "".into(),
        service_account: workload.service_account.clone(),
        locality: workload.locality.clone(),
        unprivileged: false,
        istio_stats: false,
        native: false,
        may_hold_keys: false,
    })
}

fn known(mesh: &MeshSnapshot) -> String {
    let name = |w: &Arc<Workload>| format!("{}/{}", w.meta.namespace(), w.meta.name());
    let mut names: Vec<String> = mesh.workloads.iter().take(KNOWN_MAX + 1).map(name).collect();
    if names.len() > KNOWN_MAX {
        names[KNOWN_MAX] = "...".to_owned();
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn resource_to_json(type_url: &str, resource: &Resource) -> Value {
    let origins: Vec<String> = objects::origins(type_url, &resource.body).iter().map(ToString::to_string).collect();
    json!({
        "name": &*resource.name,
        "version": version(resource),
        "origins": origins,
        "resource": protobuf::any_to_json(type_url, &resource.body),
    })
}

/// A version as the xDS server writes it.
pub(crate) fn version(resource: &Resource) -> String {
    format!("{:016x}", resource.version)
}

fn resource_from_json(type_url: &str, entry: &Value, field: &str) -> Result<Resource, JsonError> {
    let name = entry["name"].as_str().ok_or_else(|| error(&format!("{field}.name"), &entry["name"], "a name"))?;
    let mut message = entry["resource"].clone();
    let object = message.as_object_mut();
    object.ok_or_else(|| error(&format!("{field}.resource"), &entry["resource"], "an object"))?.remove("@type");
    // JSON is YAML, and this is the way in for a message whose type is a value.
    let body = protobuf::yaml_to_bytes(any::message_name(type_url), &message.to_string());
    let body =
        body.map_err(|why| error(&format!("{field}.resource"), &entry["resource"], &format!("{type_url} ({why})")))?;
    Ok(Resource::from_bytes(name, Bytes::from(body)))
}

fn error(field: &str, found: &Value, expected: &str) -> JsonError {
    let found = found.to_string().chars().take(FOUND_CHARS_MAX).collect();
    JsonError { field: field.to_owned(), found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mesh_proto::envoy::config::cluster::v3::Cluster;
    use mesh_proto::types;

    use super::*;

    fn view() -> ProxyView {
        let cluster =
            Cluster { name: "outbound|80||a".to_owned(), alt_stat_name: "ü: #".to_owned(), ..Cluster::default() };
        let set = ResourceSet::new([Resource::new("outbound|80||a", &cluster)]);
        ProxyView {
            node_id: "sidecar~10.0.0.1~a.b~b.svc".to_owned(),
            connected: true,
            resources: BTreeMap::from([(types::CLUSTER.into(), Arc::new(set))]),
            diagnostics: Vec::new(),
        }
    }

    #[test]
    fn json_carries_the_resources_unchanged() {
        let before = view();
        let after = ProxyView::from_json(&before.to_json()).unwrap();
        assert_eq!(after.node_id, before.node_id);
        let (a, b) = (&before.resources[types::CLUSTER], &after.resources[types::CLUSTER]);
        assert_eq!(a.iter().collect::<Vec<_>>(), b.iter().collect::<Vec<_>>());
    }

    #[test]
    fn json_that_is_something_else_is_refused_by_field() {
        let check = |document: Value, expected: &str| {
            let text = ProxyView::from_json(&document).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(json!({}), "resources: found null, expected an object");
        let mut document = view().to_json();
        document["resources"][types::CLUSTER][0]["resource"]["nonsense"] = json!(1);
        check(document, "[0].resource");
    }

    #[test]
    fn places_are_read_back() {
        let document = json!({ "Service/shop/a": { "file": "mesh.yaml", "line": 7 }, "Unheard/of/it": { "file": "x", "line": 1 } });
        let places = locations_from_json(&document).unwrap();
        assert_eq!(places.values().map(ToString::to_string).collect::<Vec<_>>(), ["mesh.yaml:7"]);
        assert!(locations_from_json(&json!({ "Service/shop/a": "mesh.yaml:7" })).is_err());
    }

    #[test]
    fn an_unknown_workload_is_told_with_those_that_are_known() {
        let key = WorkloadKey { namespace: "shop".into(), name: "a".into() };
        let text = ProxyView::of_workload(&Arc::default(), &key).unwrap_err().to_string();
        assert_eq!(text, "no Pod or WorkloadEntry shop/a is known; known are: none");
    }
}
