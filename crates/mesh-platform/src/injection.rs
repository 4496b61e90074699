//! Which workloads ask for a sidecar, and why.
//!
//! Source: `injectRequired`, istio `pkg/kube/inject/inject.go`, and the
//! selectors of its webhooks (namespace labels `istio-injection`, `istio.io/rev`).

use std::fmt;

use mesh_model::{Kind, Labels, Namespace, Workload};

/// Whether a workload gets a sidecar. `Display` writes the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it gets one.
    pub inject: bool,
    /// What decided it.
    pub reason: Reason,
}

/// What decided whether a workload gets a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It shares its node's network, where capturing would hit every workload.
    HostNetwork,
    /// Its namespace belongs to the platform.
    SystemNamespace(String),
    /// The workload's own label `sidecar.istio.io/inject` has this value.
    WorkloadLabel(String),
    /// The workload's own annotation `sidecar.istio.io/inject` has this value.
    WorkloadAnnotation(String),
    /// The workload's own label `istio.io/rev` names a control plane.
    WorkloadRevision(String),
    /// The namespace's label `istio-injection` has this value.
    NamespaceLabel(String),
    /// The namespace's label `istio.io/rev` names a control plane.
    NamespaceRevision(String),
    /// Nobody asks for one.
    NotAsked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::HostNetwork => f.write_str("it uses its node's network (hostNetwork: true)"),
            Reason::SystemNamespace(name) => write!(f, "namespace {name} belongs to the platform"),
            Reason::WorkloadLabel(value) => write!(f, "its label {INJECT} is \"{value}\""),
            Reason::WorkloadAnnotation(value) => write!(f, "its annotation {INJECT} is \"{value}\""),
            Reason::WorkloadRevision(value) => write!(f, "its label {REVISION} is \"{value}\""),
            Reason::NamespaceLabel(value) => write!(f, "its namespace's label {NAMESPACE_INJECTION} is \"{value}\""),
            Reason::NamespaceRevision(value) => write!(f, "its namespace's label {REVISION} is \"{value}\""),
            Reason::NotAsked => write!(
                f,
                "nothing asks for a sidecar (label {INJECT}: \"true\" on the workload, or {NAMESPACE_INJECTION}: enabled on its namespace)"
            ),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// Whether `workload` gets a sidecar; `namespace` is its namespace's object, if
/// there is one.
///
/// A Pod on its node's network, or in a namespace of the platform, never gets
/// one. Then the most specific word counts: the workload's label, its
/// annotation, then the namespace's `istio-injection`, then `istio.io/rev` of
/// either. A value that is neither yes nor no counts as no, as in Istio. A
/// WorkloadEntry is asked the same, since its machine runs a sidecar by hand.
pub fn decide(workload: &Workload, namespace: Option<&Namespace>) -> Decision {
    let decided = |inject, reason| Decision { inject, reason };
    if workload.host_network {
        return decided(false, Reason::HostNetwork);
    }
    if workload.meta.object.kind == Kind::Pod && SYSTEM_NAMESPACES.contains(&&**workload.meta.namespace()) {
        return decided(false, Reason::SystemNamespace(workload.meta.namespace().to_string()));
    }
    if let Some(value) = workload.meta.labels.get(INJECT) {
        return decided(is_yes(value), Reason::WorkloadLabel(value.to_owned()));
    }
    if let Some(value) = workload.meta.annotations.get(INJECT) {
        return decided(is_yes(value), Reason::WorkloadAnnotation(value.to_owned()));
    }
    let no_labels = Labels::default();
    let labels = namespace.map_or(&no_labels, |n| &n.meta.labels);
    if let Some(value) = labels.get(NAMESPACE_INJECTION) {
        return decided(value == "enabled", Reason::NamespaceLabel(value.to_owned()));
    }
    if let Some(value) = workload.meta.labels.get(REVISION) {
        return decided(true, Reason::WorkloadRevision(value.to_owned()));
    }
    if let Some(value) = labels.get(REVISION) {
        return decided(true, Reason::NamespaceRevision(value.to_owned()));
    }
    decided(false, Reason::NotAsked)
}

/// What YAML 1.1, and therefore Istio's injector, takes for yes.
fn is_yes(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "y" | "yes" | "true" | "on")
}

const INJECT: &str = "sidecar.istio.io/inject";
const NAMESPACE_INJECTION: &str = "istio-injection";
const REVISION: &str = "istio.io/rev";
/// Istio's `IgnoredNamespaces`.
const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_model::{Labels, Locality, Meta};

    use super::*;

    fn labels(text: &str) -> Labels {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect()
    }

    /// `pod` and `namespace` are labels; `annotations` the Pod's.
    fn check(place: &str, pod: &str, annotations: &str, namespace: &str, inject: bool, reason: Reason) {
        let (host_network, place) = place.strip_prefix("host:").map_or((false, place), |place| (true, place));
        let mut meta = Meta::new(Kind::Pod, place, "p");
        meta.labels = labels(pod);
        meta.annotations = labels(annotations);
        let workload = Workload {
            meta: Arc::new(meta),
            addresses: Vec::new(),
            service_account: "".into(),
            locality: Arc::new(Locality::default()),
            node: "".into(),
            ports: Vec::new(),
            host_network,
            ready: true,
            weight: 1,
            network: "".into(),
        };
        let mut meta = Meta::new(Kind::Namespace, "", place);
        meta.labels = labels(namespace);
        let namespace = Namespace { meta: Arc::new(meta) };
        let decision = decide(&workload, Some(&namespace));
        assert_eq!(decision, Decision { inject, reason });
    }

    #[test]
    fn the_most_specific_word_decides_unless_the_platform_forbids_it() {
        let text = |text: &str| text.to_owned();
        let yes = "sidecar.istio.io/inject=true";
        let no = "sidecar.istio.io/inject=false";
        check("shop", "", "", "", false, Reason::NotAsked);
        check("shop", "", "", "istio-injection=enabled", true, Reason::NamespaceLabel(text("enabled")));
        check("shop", "", "", "istio-injection=disabled", false, Reason::NamespaceLabel(text("disabled")));
        check("shop", "", "", "istio.io/rev=canary", true, Reason::NamespaceRevision(text("canary")));
        check("shop", "istio.io/rev=canary", "", "", true, Reason::WorkloadRevision(text("canary")));
        check("shop", no, yes, "istio-injection=enabled", false, Reason::WorkloadLabel(text("false")));
        check("shop", "", no, "istio-injection=enabled", false, Reason::WorkloadAnnotation(text("false")));
        check("shop", yes, "", "istio-injection=disabled", true, Reason::WorkloadLabel(text("true")));
        check("shop", "sidecar.istio.io/inject=maybe", "", "", false, Reason::WorkloadLabel(text("maybe")));
        check("host:shop", yes, "", "istio-injection=enabled", false, Reason::HostNetwork);
        check("kube-system", yes, "", "", false, Reason::SystemNamespace(text("kube-system")));
    }
}
