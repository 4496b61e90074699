//! The objects of a mesh by kind and name, and the settings that analyses ask
//! for.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_model::Name;

use super::Shared;
use super::object::{CONFIG_MAP, KindName, Object};
use crate::schema::At;
use crate::yaml::{self, Node};

/// What an analysis depends on besides objects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace of the control plane and of mesh-wide rules.
    pub root_namespace: Name,
    /// MeshConfig; without it, that of the ConfigMap `istio` is used.
    pub mesh_config: Option<Node>,
    /// MeshNetworks; without it, that of the ConfigMap `istio` is used.
    pub mesh_networks: Option<Node>,
    /// Seconds since the Unix epoch: certificates are valid for a time.
    pub now: i64,
    /// Whether the ingress gateway that an installation brings is assumed.
    pub default_ingress: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root_namespace: "istio-system".into(),
            mesh_config: None,
            mesh_networks: None,
            now: 0,
            default_ingress: true,
        }
    }
}

/// Objects with their index. Of two objects of one kind and name the later one
/// stays.
#[derive(Debug)]
pub struct Mesh {
    by_kind: HashMap<(Name, Name), Vec<Shared>>,
    by_name: HashMap<(Name, Name, Name, Name), Shared>,
    settings: Settings,
}

/// Namespaces of Kubernetes itself, whose objects are not looked at.
///
/// Source: `IgnoredNamespaces`, istio `pkg/kube/inject`.
const IGNORED_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

impl Mesh {
    /// The mesh that `objects` form.
    pub fn new(objects: impl IntoIterator<Item = Object>, settings: Settings) -> Self {
        let mut mesh = Self { by_kind: HashMap::new(), by_name: HashMap::new(), settings };
        if mesh.settings.default_ingress {
            default_ingress(&mesh.settings.root_namespace).into_iter().for_each(|object| mesh.add(object));
        }
        for object in objects {
            let own = if *object.kind == *"Namespace" { &object.name } else { &object.namespace };
            if !IGNORED_NAMESPACES.contains(&&**own) {
                mesh.add(object);
            }
        }
        mesh.settings.mesh_config = mesh.settings.mesh_config.take().or_else(|| mesh.embedded("mesh"));
        mesh.settings.mesh_networks = mesh.settings.mesh_networks.take().or_else(|| mesh.embedded("meshNetworks"));
        mesh
    }

    fn add(&mut self, object: Object) {
        let object = Arc::new(object);
        let kind = (object.group.clone(), object.kind.clone());
        let cluster_and_name: Name = format!("{}\n{}", object.cluster, object.name).into();
        let key = (kind.0.clone(), kind.1.clone(), object.namespace.clone(), cluster_and_name);
        let all = self.by_kind.entry(kind).or_default();
        if let Some(before) = self.by_name.insert(key, object.clone()) {
            all.retain(|other| !Arc::ptr_eq(other, &before));
        }
        all.push(object);
    }

    fn embedded(&self, key: &str) -> Option<Node> {
        let map = self.find(CONFIG_MAP, &self.settings.root_namespace, "istio")?;
        let text = map.at(&["data", key]).text();
        yaml::parse(text.as_bytes()).into_iter().next()?.root.ok()
    }

    /// All objects of `kind`, in the order read.
    pub fn all(&self, kind: KindName) -> &[Shared] {
        self.by_kind.get(&(kind.group.into(), kind.kind.into())).map_or(&[], Vec::as_slice)
    }

    /// The object of `kind` called `name` in `namespace`.
    pub fn find(&self, kind: KindName, namespace: &str, name: &str) -> Option<&Shared> {
        let key = (kind.group.into(), kind.kind.into(), namespace.into(), format!("\n{name}").into());
        self.by_name.get(&key)
    }

    /// Every object, kind by kind.
    pub fn objects(&self) -> impl Iterator<Item = &Shared> {
        self.by_kind.values().flatten()
    }

    /// A field of MeshConfig.
    pub(super) fn config(&self, names: &[&str]) -> At<'_> {
        At::root(self.settings.mesh_config.as_ref().unwrap_or(&NOTHING)).path(names)
    }

    /// MeshNetworks.
    pub(super) fn networks(&self) -> At<'_> {
        At::root(self.settings.mesh_networks.as_ref().unwrap_or(&NOTHING))
    }

    /// The namespace of mesh-wide rules.
    pub(super) fn root_namespace(&self) -> &str {
        match self.config(&["rootNamespace"]).text() {
            "" => &self.settings.root_namespace,
            namespace => namespace,
        }
    }

    /// Where the control plane is.
    pub(super) fn system_namespace(&self) -> &Name {
        &self.settings.root_namespace
    }

    /// Seconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        self.settings.now
    }
}

static NOTHING: Node = Node { value: yaml::Value::Null, line: 1, column: 1 };

/// The ingress gateway of a default installation: files that are analyzed alone
/// seldom hold it, and nearly all Gateways select it.
///
/// Source: istio `pkg/config/analysis/local/defaults.go`.
fn default_ingress(namespace: &str) -> Vec<Object> {
    let ports: Vec<_> = [("http2", 80), ("https", 443), ("tcp", 31400), ("tls", 15443)]
        .map(|(name, port)| serde_json::json!({"name": name, "port": port, "protocol": "TCP", "targetPort": port}))
        .into();
    let labels = serde_json::json!({"istio": "ingressgateway"});
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "istio-ingressgateway-default", "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "istio-proxy"}]},
    });
    let service = serde_json::json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "istio-ingressgateway", "namespace": namespace},
        "spec": {"ports": ports, "selector": labels},
    });
    let parse = |json: serde_json::Value| yaml::parse(json.to_string().as_bytes()).into_iter().next()?.root.ok();
    [pod, service].into_iter().filter_map(parse).filter_map(|root| Object::of_node(root, "", &"".into())).collect()
}
