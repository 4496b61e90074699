//! Telemetry: which logs, spans and metrics proxies make.
//!
//! Source: `ValidateTelemetry`, istio `pkg/config/validation`, and the CEL rules
//! of its CRD.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::rules::Spec;
use mesh_model::rules::telemetry::{
    AccessLogging, Metric, Metrics, Override, Role, STANDARD_METRICS, Tag, Telemetry, Tracing,
};
use mesh_model::{Code, Name};

use super::{Scope, selector};
use crate::reader::{Fields, Value};

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let selector = selector::read_named(spec, "selector", "matchLabels").unwrap_or_default();
    if spec.has("targetRef") || spec.has("targetRefs") {
        spec.ignore(&["targetRef", "targetRefs"]);
        spec.object_not_applied("targetRefs");
        return Some(Spec::NotApplied);
    }
    let tracing = entries(spec, "tracing", |v| tracing(v, scope));
    let metrics = entries(spec, "metrics", |v| metrics(v, scope));
    let access_logging = entries(spec, "accessLogging", |v| access_logging(v, scope));
    spec.finish();
    Some(Spec::Telemetry(Arc::new(Telemetry { meta: scope.meta.clone(), selector, tracing, metrics, access_logging })))
}

fn entries<T>(fields: &Fields<'_>, name: &'static str, read: impl Fn(&Value<'_>) -> Option<T>) -> Vec<T> {
    let items = fields.optional(name).and_then(|v| v.items()).unwrap_or_default();
    items.iter().filter_map(read).collect()
}

fn tracing(value: &Value<'_>, scope: &Scope<'_>) -> Option<Tracing> {
    let fields = value.fields()?;
    let role = matched(&fields);
    let providers = providers(&fields, scope);
    if providers.len() > 1 {
        let found = fields.optional("providers")?;
        found.warn(Code::NotApplied, "found several, of which spans go to the first".to_owned(), "the others get none");
    }
    let sampling = fields.optional("randomSamplingPercentage").and_then(|v| v.number(0.0, 100.0));
    let flag = |name| fields.optional(name).and_then(|v| v.boolean());
    let tags = fields.optional("customTags").and_then(|v| v.entries());
    let tracing = Tracing {
        role,
        providers,
        sampling: sampling.map(|percent| (percent * 100.0).round() as u32),
        disabled: flag("disableSpanReporting"),
        tags: tags.map(|tags| tags.iter().filter_map(|(name, v)| Some((name.clone(), tag(v)?))).collect()),
        request_id_decides: flag("useRequestIdForTraceSampling"),
        istio_tags: flag("enableIstioTags"),
        no_propagation: flag("disableContextPropagation"),
    };
    fields.finish();
    Some(tracing)
}

/// A tag's source; also of `defaultConfig.tracing.customTags`.
pub(super) fn tag(value: &Value<'_>) -> Option<Tag> {
    let fields = value.fields()?;
    let named = |v: Value<'_>, default: &'static str| {
        let fields = v.fields()?;
        let name = fields.required("name", "a name")?.filled_text("a name");
        let default = fields.optional(default).and_then(|v| v.text()).unwrap_or_default();
        fields.finish();
        Some((name?, default))
    };
    let text = |v: Value<'_>| {
        let fields = v.fields()?;
        let text = fields.required("value", "a text")?.filled_text("a text");
        fields.finish();
        text
    };
    let literal = fields.optional("literal").map(|v| text(v).map(Tag::Literal));
    let environment = fields
        .optional("environment")
        .map(|v| named(v, "defaultValue").map(|(name, default)| Tag::Environment { name, default }));
    let header = fields
        .optional("header")
        .map(|v| named(v, "defaultValue").map(|(name, default)| Tag::Header { name, default }));
    let format = fields.optional("formatter").map(|v| text(v).map(Tag::Format));
    fields.finish();
    let mut found: Vec<Option<Tag>> = [literal, environment, header, format].into_iter().flatten().collect();
    match found.len() {
        1 => found.pop().flatten(),
        _ => value.invalid("exactly one of literal, environment, header, formatter"),
    }
}

fn access_logging(value: &Value<'_>, scope: &Scope<'_>) -> Option<AccessLogging> {
    let fields = value.fields()?;
    let filter = fields.optional("filter").and_then(|v| {
        let fields = v.fields()?;
        let expression = fields.optional("expression").and_then(|v| v.filled_text("a CEL expression"));
        fields.finish();
        expression
    });
    let entry = AccessLogging {
        role: matched(&fields),
        providers: providers(&fields, scope),
        disabled: fields.optional("disabled").and_then(|v| v.boolean()).unwrap_or(false),
        filter,
    };
    fields.finish();
    Some(entry)
}

fn metrics(value: &Value<'_>, scope: &Scope<'_>) -> Option<Metrics> {
    let fields = value.fields()?;
    let entry = Metrics { providers: providers(&fields, scope), overrides: entries(&fields, "overrides", changed) };
    if let Some(interval) = fields.optional("reportingInterval") {
        interval.duration()?;
        interval.warn(
            Code::NotApplied,
            crate::reader::NOT_APPLIED.to_owned(),
            "TCP metrics are counted as bytes flow, not at intervals",
        );
    }
    fields.finish();
    Some(entry)
}

fn changed(value: &Value<'_>) -> Option<Override> {
    let fields = value.fields()?;
    let (mut role, mut metric) = (Role::Both, None);
    if let Some(selected) = fields.optional("match").and_then(|v| v.fields()) {
        role = role_of(&selected);
        let names: Vec<(&'static str, Option<&'static str>)> =
            STANDARD_METRICS.iter().map(|(n, _)| (*n, Some(*n))).chain([("ALL_METRICS", None)]).collect();
        let standard = selected.optional("metric").and_then(|v| v.one_of(&names));
        let custom = selected.optional("customMetric").and_then(|v| v.filled_text("a metric's name"));
        metric = custom.map(Metric::Custom).or(standard.flatten().map(Metric::Standard));
        selected.finish();
    }
    let mut tags = BTreeMap::new();
    for (name, change) in fields.optional("tagOverrides").and_then(|v| v.entries()).unwrap_or_default() {
        let change = change.fields()?;
        let remove = change.optional("operation").and_then(|v| v.one_of(&[("UPSERT", false), ("REMOVE", true)]));
        let expression = change.optional("value").and_then(|v| v.text()).filter(|v| !v.is_empty());
        change.finish();
        match (remove.unwrap_or(false), expression) {
            (true, None) => tags.insert(name, None),
            (true, Some(_)) => change.error("found a value with operation REMOVE, expected none".to_owned())?,
            (false, Some(expression)) => tags.insert(name, Some(expression)),
            (false, None) => change.error("found operation UPSERT without value, expected an expression".to_owned())?,
        };
    }
    let entry = Override { role, metric, disabled: fields.optional("disabled").and_then(|v| v.boolean()), tags };
    fields.finish();
    Some(entry)
}

/// `match`, of which only the mode is there.
fn matched(fields: &Fields<'_>) -> Role {
    let Some(selected) = fields.optional("match").and_then(|v| v.fields()) else { return Role::Both };
    let role = role_of(&selected);
    selected.finish();
    role
}

fn role_of(fields: &Fields<'_>) -> Role {
    let roles = [("CLIENT_AND_SERVER", Role::Both), ("CLIENT", Role::Client), ("SERVER", Role::Server)];
    fields.optional("mode").and_then(|v| v.one_of(&roles)).unwrap_or_default()
}

/// Names of providers, each of which the mesh's settings should define.
fn providers(fields: &Fields<'_>, scope: &Scope<'_>) -> Vec<Name> {
    entries(fields, "providers", |value| {
        let fields = value.fields()?;
        let name = fields.required("name", "a provider's name")?;
        fields.finish();
        let text = name.filled_text("a provider's name")?;
        if !scope.mesh.extension_providers.iter().any(|p| p.name.eq_ignore_ascii_case(&text)) {
            let message = format!("found {text}, which extensionProviders of the mesh's settings do not define");
            name.warn(Code::MissingReference, message, "nothing goes there");
        }
        Some(text)
    })
}
