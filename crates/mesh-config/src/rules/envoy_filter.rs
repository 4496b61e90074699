//! EnvoyFilter: patches of what proxies are told. Values are kept as they were
//! written; whether they are protobuf of the right type is asked when they are
//! compiled.
//!
//! Source: `ValidateEnvoyFilter`, istio `pkg/config/validation/validation.go`,
//! and the CEL rules of its CRD.

use std::sync::Arc;

use mesh_model::rules::envoy_filter::{ApplyTo, Context, FilterClass, Object, Operation, Patch, TargetRef};
use mesh_model::rules::{EnvoyFilter, Spec};
use mesh_model::{Code, Name, SourceLocation};

mod matches;

use super::{Scope, selector};
use crate::reader::{Fields, NOT_APPLIED, Value};
use crate::yaml;

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    if spec.has("workloadSelector") && spec.has("targetRefs") {
        spec.error::<()>("found workloadSelector and targetRefs, expected only one of them".to_owned());
    }
    let workload_selector = selector::read(spec, "labels").unwrap_or_default();
    let target_refs = spec.optional("targetRefs").map_or(Some(Vec::new()), |v| target_refs(&v));
    let priority = spec.optional("priority").and_then(|v| v.integer(i64::from(i32::MIN), i64::from(i32::MAX)));
    let patches = spec.optional("configPatches").map_or(Some(Vec::new()), |v| {
        let patches = v.items()?.iter().enumerate().filter_map(|(i, item)| patch(item, i, scope)).collect();
        Some(patches)
    });
    spec.finish();
    Some(Spec::EnvoyFilter(Arc::new(EnvoyFilter {
        meta: scope.meta.clone(),
        workload_selector,
        target_refs: target_refs?,
        priority: priority.and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
        patches: patches?,
    })))
}

fn target_refs(value: &Value<'_>) -> Option<Vec<TargetRef>> {
    let items = value.items()?;
    if items.len() > TARGET_REFS_MAX {
        return value.error(format!("found {} targetRefs, expected at most {TARGET_REFS_MAX}", items.len()));
    }
    let target = |item: &Value<'_>| {
        let fields = item.fields()?;
        let group = fields.optional("group").and_then(|v| v.text()).unwrap_or_default();
        let kind = fields.required("kind", "a kind").and_then(|v| v.filled_text("a kind"));
        let name = fields.required("name", "an object's name").and_then(|v| v.filled_text("an object's name"));
        if let Some(namespace) = fields.optional("namespace").filter(|v| v.text().is_some_and(|t| !t.is_empty())) {
            namespace.invalid::<()>("no namespace: a reference to another namespace is not supported");
        }
        fields.finish();
        Some(TargetRef { group, kind: kind?, name: name? })
    };
    Some(items.iter().filter_map(target).collect())
}

fn patch(value: &Value<'_>, index: usize, scope: &Scope<'_>) -> Option<Patch> {
    let fields = value.fields()?;
    let apply_to = fields.required("applyTo", "what the patch changes").and_then(|v| v.one_of(&APPLY_TO));
    let matched = fields.optional("match").map_or_else(|| Some(Match::default()), |v| read_match(&v));
    let patch = fields.required("patch", "the operation and its value");
    fields.finish();
    let (line, patch) = {
        let patch = patch?.fields()?;
        (patch.optional("value").map_or(patch.line(), |v| v.node().line), patch)
    };
    let operation = patch.required("operation", "what happens").and_then(|v| v.one_of(&OPERATIONS));
    let filter_class = patch.optional("filterClass").and_then(|v| v.one_of(&FILTER_CLASSES)).unwrap_or_default();
    let written = patch.optional("value");
    if let Some(written) = written.as_ref().filter(|v| !matches!(v.node().value, yaml::Value::Map(_))) {
        written.invalid::<()>("a map: the fields of what is patched");
    }
    patch.finish();
    let (apply_to, operation, matched) = (apply_to?, operation?, matched?);
    if let Some(why) = mismatch(apply_to, &matched.object) {
        fields.error::<()>(why.to_owned());
    }
    if operation != Operation::Remove && written.is_none() {
        patch.missing("value", "the fields of what is patched");
    }
    if !applies(apply_to, operation) {
        let consequence = "the patch is ignored, as Istio does, and the others apply";
        let (operation, apply_to) = (word(&OPERATIONS, operation), word(&APPLY_TO, apply_to));
        value.warn(Code::NotApplied, format!("{operation} does nothing to a {apply_to}"), consequence);
    }
    if matched.context == Context::Waypoint || matched.object == Object::Waypoint {
        value.warn(Code::NotApplied, NOT_APPLIED.to_owned(), "there are no waypoints; the patch is ignored");
    }
    if matched.context == Context::Gateway {
        value.warn(Code::NotApplied, NOT_APPLIED.to_owned(), "gateways are not patched; sidecars are");
    }
    if apply_to == ApplyTo::Bootstrap {
        value.warn(Code::NotApplied, NOT_APPLIED.to_owned(), "proxies start with the bootstrap of their agent");
    }
    let file = scope.meta.location.as_ref().map(|l| l.file.clone());
    Some(Patch {
        index,
        location: file.map(|file| SourceLocation { file, line }),
        apply_to,
        context: matched.context,
        proxy_version: matched.proxy_version,
        proxy_metadata: matched.proxy_metadata,
        object: matched.object,
        operation,
        filter_class,
        value: Arc::new(written.map_or(serde_json::Value::Null, |v| v.node().to_json())),
    })
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, v)| *v == value).map_or("", |(word, _)| word)
}

/// Whether an operation does anything to a kind of thing.
fn applies(apply_to: ApplyTo, operation: Operation) -> bool {
    use Operation as Op;
    match apply_to {
        ApplyTo::RouteConfiguration => matches!(operation, Op::Merge | Op::MergeAndReplaceList),
        ApplyTo::ExtensionConfig => operation == Op::Add,
        ApplyTo::Bootstrap => operation == Op::Merge,
        ApplyTo::ListenerFilter | ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::VirtualHost => true,
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::HttpRoute | ApplyTo::Cluster => operation != Op::Replace,
    }
}

/// Why a match cannot choose among the things that a patch is about.
fn mismatch(apply_to: ApplyTo, object: &Object) -> Option<&'static str> {
    use ApplyTo as To;
    let of_listener =
        matches!(apply_to, To::Listener | To::ListenerFilter | To::FilterChain | To::NetworkFilter | To::HttpFilter);
    let of_routes = matches!(apply_to, To::RouteConfiguration | To::VirtualHost | To::HttpRoute);
    match object {
        Object::Listener(_) if !of_listener => Some("found match.listener, expected a match of what applyTo names"),
        Object::Routes(_) if !of_routes => {
            Some("found match.routeConfiguration, expected a match of what applyTo names")
        }
        Object::Cluster(_) if apply_to != To::Cluster => {
            Some("found match.cluster, expected a match of what applyTo names")
        }
        Object::Listener(found) if apply_to == To::ListenerFilter && found.chain.is_some() => {
            Some("found match.listener.filterChain, expected none: listener filters belong to no chain")
        }
        _ => None,
    }
}

/// What `match` says.
struct Match {
    context: Context,
    proxy_version: Option<Name>,
    proxy_metadata: Vec<(Name, Name)>,
    object: Object,
}

impl Default for Match {
    fn default() -> Self {
        Self { context: Context::Any, proxy_version: None, proxy_metadata: Vec::new(), object: Object::Any }
    }
}

fn read_match(value: &Value<'_>) -> Option<Match> {
    let fields = value.fields()?;
    let context = fields.optional("context").map_or(Some(Context::Any), |v| v.one_of(&CONTEXTS));
    let mut found = Match::default();
    if let Some(proxy) = fields.optional("proxy").and_then(|v| v.fields()) {
        if let Some(version) = proxy.optional("proxyVersion") {
            found.proxy_version = version.regex().filter(|v| !v.is_empty());
        }
        let metadata = proxy.optional("metadata").and_then(|v| v.entries()).unwrap_or_default();
        found.proxy_metadata = metadata.iter().filter_map(|(k, v)| Some((k.clone(), v.text()?))).collect();
        found.proxy_metadata.sort();
        proxy.finish_with(SELECTS_TOO_MUCH);
    }
    let objects = ["listener", "routeConfiguration", "cluster", "waypoint"];
    if objects.iter().filter(|name| fields.has(name)).count() > 1 {
        fields.error::<()>(format!("found several of {}, expected one", objects.join(", ")));
    }
    if let Some(listener) = fields.optional("listener") {
        found.object = Object::Listener(matches::listener(&listener)?);
    }
    if let Some(routes) = fields.optional("routeConfiguration") {
        found.object = Object::Routes(matches::routes(&routes)?);
    }
    if let Some(cluster) = fields.optional("cluster") {
        found.object = Object::Cluster(matches::cluster(&cluster)?);
    }
    let waypoint = fields.optional("waypoint");
    if let Some(waypoint) = &waypoint {
        matches::waypoint(waypoint);
        found.object = Object::Waypoint;
    }
    fields.finish();
    found.context = context?;
    if (found.context == Context::Waypoint) != waypoint.is_some() {
        return fields.error("found a match of a waypoint without the context WAYPOINT or the reverse, expected both or neither (only support waypointMatch when context is WAYPOINT)".to_owned());
    }
    Some(found)
}

/// Istio's bound.
const TARGET_REFS_MAX: usize = 16;
/// What an unknown condition leads to.
const SELECTS_TOO_MUCH: &str = "it is ignored: the patch may hold for more than was meant";

const APPLY_TO: [(&str, ApplyTo); 11] = [
    ("LISTENER", ApplyTo::Listener),
    ("LISTENER_FILTER", ApplyTo::ListenerFilter),
    ("FILTER_CHAIN", ApplyTo::FilterChain),
    ("NETWORK_FILTER", ApplyTo::NetworkFilter),
    ("HTTP_FILTER", ApplyTo::HttpFilter),
    ("ROUTE_CONFIGURATION", ApplyTo::RouteConfiguration),
    ("VIRTUAL_HOST", ApplyTo::VirtualHost),
    ("HTTP_ROUTE", ApplyTo::HttpRoute),
    ("CLUSTER", ApplyTo::Cluster),
    ("EXTENSION_CONFIG", ApplyTo::ExtensionConfig),
    ("BOOTSTRAP", ApplyTo::Bootstrap),
];

const CONTEXTS: [(&str, Context); 5] = [
    ("ANY", Context::Any),
    ("SIDECAR_INBOUND", Context::SidecarInbound),
    ("SIDECAR_OUTBOUND", Context::SidecarOutbound),
    ("GATEWAY", Context::Gateway),
    ("WAYPOINT", Context::Waypoint),
];

const OPERATIONS: [(&str, Operation); 8] = [
    ("MERGE", Operation::Merge),
    ("MERGE_AND_REPLACE_LIST", Operation::MergeAndReplaceList),
    ("ADD", Operation::Add),
    ("REMOVE", Operation::Remove),
    ("INSERT_BEFORE", Operation::InsertBefore),
    ("INSERT_AFTER", Operation::InsertAfter),
    ("INSERT_FIRST", Operation::InsertFirst),
    ("REPLACE", Operation::Replace),
];

const FILTER_CLASSES: [(&str, FilterClass); 4] = [
    ("UNSPECIFIED", FilterClass::Unspecified),
    ("AUTHN", FilterClass::Authn),
    ("AUTHZ", FilterClass::Authz),
    ("STATS", FilterClass::Stats),
];
