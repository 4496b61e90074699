//! From the patches of one EnvoyFilter as written to typed ones, or to what is
//! wrong with them.
//!
//! Invariant: of an object with a value that cannot be read, no patch is
//! applied: half of it could be worse than none.

use std::sync::Arc;

use bytes::Bytes;
use mesh_model::rules::EnvoyFilter;
use mesh_model::rules::envoy_filter::{ApplyTo, Context, FilterClass, Object, Operation, Patch as Written};
use mesh_model::{Code, Diagnostic, Name, Severity, SourceLocation};
use mesh_proto::origin::Origin;
use mesh_proto::{Message, any, json};
use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use regex::{Regex, RegexBuilder};

use crate::xds;

/// An EnvoyFilter whose patches are ready to be applied.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(super) rule: Arc<EnvoyFilter>,
    pub(super) patches: Vec<Arc<Patch>>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// One patch.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) rule: Arc<EnvoyFilter>,
    pub(super) index: usize,
    pub(super) location: Option<SourceLocation>,
    pub(super) apply_to: ApplyTo,
    pub(super) context: Context,
    pub(super) version: Option<Regex>,
    pub(super) metadata: Vec<(Name, Name)>,
    pub(super) object: Object,
    pub(super) operation: Operation,
    pub(super) filter_class: FilterClass,
    /// `None` for a patch that needs none.
    value: Option<(DynamicMessage, Bytes)>,
    pub(super) origin: Origin,
}

impl Compiled {
    pub(super) fn new(rule: &Arc<EnvoyFilter>) -> Self {
        let mut compiled = Self { rule: rule.clone(), patches: Vec::new(), diagnostics: Vec::new() };
        for written in &rule.patches {
            match compile(rule, written) {
                Ok(patch) => compiled.patches.push(Arc::new(patch)),
                Err(_) if compiled.diagnostics.len() >= DIAGNOSTICS_MAX => {}
                Err(diagnostic) => compiled.diagnostics.push(*diagnostic),
            }
        }
        if !compiled.diagnostics.is_empty() {
            compiled.patches.clear();
        }
        if !rule.target_refs.is_empty() {
            compiled.patches.clear();
            compiled.diagnostics.push(targets(rule));
        }
        compiled
    }
}

impl Patch {
    /// What is merged.
    pub(super) fn value(&self) -> Option<&DynamicMessage> {
        self.value.as_ref().map(|(value, _)| value)
    }

    /// What is added, as an `M`.
    pub(super) fn added<M: Message + Default>(&self) -> Option<M> {
        M::decode(self.value.as_ref()?.1.clone()).ok()
    }

    /// Whether it merges, and how it treats lists.
    pub(super) fn merges(&self) -> Option<super::merge::Lists> {
        match self.operation {
            Operation::Merge => Some(super::merge::Lists::Append),
            Operation::MergeAndReplaceList => Some(super::merge::Lists::Replace),
            _ => None,
        }
    }

    /// A finding about it.
    pub(super) fn finding(&self, severity: Severity, code: Code, message: String, consequence: &str) -> Diagnostic {
        Diagnostic {
            severity,
            code,
            object: Some(self.rule.meta.object.clone()),
            location: self.location.clone().or_else(|| self.rule.meta.location.clone()),
            field: format!("spec.configPatches[{}].patch", self.index),
            message,
            consequence: consequence.to_owned(),
        }
    }
}

fn compile(rule: &Arc<EnvoyFilter>, written: &Written) -> Result<Patch, Box<Diagnostic>> {
    let wrong = |field: &str, message: String| {
        Box::new(Diagnostic {
            severity: Severity::Error,
            code: Code::InvalidValue,
            object: Some(rule.meta.object.clone()),
            location: written.location.clone().or_else(|| rule.meta.location.clone()),
            field: format!("spec.configPatches[{}].{field}", written.index),
            message,
            consequence: "no patch of the object is applied, and everything else is".to_owned(),
        })
    };
    let version = match &written.proxy_version {
        Some(text) => Some(regex(text).map_err(|why| wrong("match.proxy.proxyVersion", why))?),
        None => None,
    };
    let value = match &*written.value {
        serde_json::Value::Null => None,
        value => Some(parse(message_of(written.apply_to), value).map_err(|why| wrong("patch.value", why))?),
    };
    Ok(Patch {
        rule: rule.clone(),
        index: written.index,
        location: written.location.clone(),
        apply_to: written.apply_to,
        context: written.context,
        version,
        metadata: written.proxy_metadata.clone(),
        object: written.object.clone(),
        operation: operation(written),
        filter_class: written.filter_class,
        value,
        origin: xds::origin(&rule.meta),
    })
}

/// Where the order means nothing, an insertion is an addition.
fn operation(written: &Written) -> Operation {
    let ordered = matches!(
        written.apply_to,
        ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::ListenerFilter | ApplyTo::HttpRoute
    );
    match written.operation {
        Operation::InsertBefore | Operation::InsertAfter | Operation::InsertFirst if !ordered => Operation::Add,
        other => other,
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(REGEX_COMPILED_BYTES_MAX).build().map_err(|e| e.to_string())
}

fn parse(message: &str, value: &serde_json::Value) -> Result<(DynamicMessage, Bytes), String> {
    let descriptor = json::pool().get_message_by_name(message).ok_or_else(|| format!("{message} is not known here"))?;
    let parsed =
        DynamicMessage::deserialize(descriptor, value).map_err(|e| format!("found what is no {message}: {e}"))?;
    let depth = depth(&parsed, 0);
    if depth > DEPTH_MAX {
        return Err(format!("found more than {DEPTH_MAX} messages inside each other"));
    }
    let bytes = Bytes::from(parsed.encode_to_vec());
    Ok((parsed, bytes))
}

/// Decoding refuses what is nested too deeply; so does Envoy.
fn depth(message: &DynamicMessage, above: usize) -> usize {
    if above > DEPTH_MAX {
        return above;
    }
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return packed_depth(message).max(above);
    }
    let of = |value: &Value| match value {
        Value::Message(inner) => depth(inner, above + 1),
        Value::List(items) => {
            items.iter().filter_map(Value::as_message).map(|m| depth(m, above + 1)).max().unwrap_or(above)
        }
        Value::Map(map) => {
            map.values().filter_map(Value::as_message).map(|m| depth(m, above + 1)).max().unwrap_or(above)
        }
        _ => above,
    };
    message.fields().map(|(_, value)| of(value)).max().unwrap_or(above)
}

/// Bytes that do not decode are nested too deeply: they were encoded here.
fn packed_depth(packed: &DynamicMessage) -> usize {
    let field = |name| packed.get_field_by_name(name);
    let type_url = field("type_url").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let Some(descriptor) = json::pool().get_message_by_name(any::message_name(&type_url)) else { return 0 };
    let bytes = field("value").and_then(|v| v.as_bytes().cloned()).unwrap_or_default();
    DynamicMessage::decode(descriptor, bytes).map_or(DEPTH_MAX + 1, |inner| depth(&inner, 0))
}

fn message_of(apply_to: ApplyTo) -> &'static str {
    match apply_to {
        ApplyTo::Listener => "envoy.config.listener.v3.Listener",
        ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
        ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
        ApplyTo::HttpFilter => "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
        ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
        ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
        ApplyTo::Cluster => "envoy.config.cluster.v3.Cluster",
        ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
        ApplyTo::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
    }
}

fn targets(rule: &EnvoyFilter) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::NotApplied,
        object: Some(rule.meta.object.clone()),
        location: rule.meta.location.clone(),
        field: "spec.targetRefs".to_owned(),
        message: "accepted, not yet applied".to_owned(),
        consequence: "no patch of the object is applied".to_owned(),
    }
}

/// Findings about one object.
const DIAGNOSTICS_MAX: usize = 100;
/// What the expression for a proxy's version may take.
const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Messages inside each other; protobuf decoders stop at 100.
const DEPTH_MAX: usize = 90;
