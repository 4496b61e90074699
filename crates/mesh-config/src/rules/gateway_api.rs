//! The Kubernetes Gateway API and Ingress: from objects as written to typed
//! values. What they refer to is not looked up here; `mesh-model` converts them
//! and says in their status what became of them.
//!
//! Invariant: what a route matches is never more than its author wrote: a match
//! that is not understood is an error of the object.
//!
//! Source: the CRDs of Gateway API 1.6 (all versions served there have the same
//! fields); Kubernetes' `networking.k8s.io/v1`.

mod filters;
mod gateway;
mod ingress;
mod matches;
mod policy;
mod route;

use std::sync::Arc;

use mesh_model::rules::Spec;
use mesh_model::rules::gateway_api::{
    GatewayApi, GroupKind, LabelOperator, LabelRequirement, LabelSelector, Reference,
};
use mesh_model::{Kind, Name};

use super::Scope;
use crate::reader::{Fields, Value};

/// Whether objects of this kind are read here.
pub(super) fn reads(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::BackendTlsPolicy
            | Kind::GatewayClass
            | Kind::GrpcRoute
            | Kind::HttpRoute
            | Kind::Ingress
            | Kind::IngressClass
            | Kind::KubernetesGateway
            | Kind::ListenerSet
            | Kind::ReferenceGrant
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::XBackendTrafficPolicy
            | Kind::XListenerSet
    )
}

pub(super) fn read(kind: Kind, spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let value = match kind {
        Kind::GatewayClass => gateway::read_class(spec, scope).map(GatewayApi::GatewayClass),
        Kind::KubernetesGateway => gateway::read(spec, scope).map(GatewayApi::Gateway),
        Kind::ListenerSet | Kind::XListenerSet => gateway::read_set(spec, scope).map(GatewayApi::ListenerSet),
        Kind::ReferenceGrant => policy::read_grant(spec, scope).map(GatewayApi::ReferenceGrant),
        Kind::BackendTlsPolicy => policy::read_tls(spec, scope).map(GatewayApi::BackendTlsPolicy),
        Kind::XBackendTrafficPolicy => policy::read_traffic(spec, scope).map(GatewayApi::BackendTrafficPolicy),
        Kind::Ingress => Some(GatewayApi::Ingress(ingress::read(spec, scope))),
        Kind::IngressClass => ingress::read_class(spec, scope).map(GatewayApi::IngressClass),
        _ => Some(GatewayApi::Route(route::read(kind, spec, scope))),
    };
    spec.finish();
    value.map(|value| Spec::GatewayApi(Arc::new(value)))
}

/// The text of the field called `name`, if it is there.
fn text(fields: &Fields<'_>, name: &'static str) -> Option<Name> {
    fields.optional(name).and_then(|value| value.text())
}

/// The items of the list called `name`; none if it is absent.
fn items<'a>(fields: &Fields<'a>, name: &'static str) -> Vec<Value<'a>> {
    fields.optional(name).and_then(|value| value.items()).unwrap_or_default()
}

/// Reads group, kind, name and (if `namespaced`) namespace of a reference whose
/// field may leave out what `default` says.
fn reference(fields: &Fields<'_>, default: (&str, &str), namespaced: bool) -> Option<Reference> {
    let target = group_kind(fields, default);
    let namespace = if namespaced { text(fields, "namespace") } else { None };
    let name = fields.required("name", "a name")?.filled_text("a name")?;
    Some(Reference { target, namespace, name })
}

fn group_kind(fields: &Fields<'_>, default: (&str, &str)) -> GroupKind {
    let group = text(fields, "group").unwrap_or_else(|| default.0.into());
    let kind = text(fields, "kind").unwrap_or_else(|| default.1.into());
    GroupKind { group, kind }
}

/// A whole reference, with nothing beside it.
fn whole_reference(value: &Value<'_>, default: (&str, &str)) -> Option<Reference> {
    let fields = value.fields()?;
    let reference = reference(&fields, default, true);
    fields.finish();
    reference
}

/// A Secret by default.
const SECRET: (&str, &str) = ("", "Secret");
/// No default: the field must say it all.
const NOTHING: (&str, &str) = ("", "");

fn label_selector(value: &Value<'_>) -> Option<LabelSelector> {
    let fields = value.fields()?;
    let labels = fields.optional("matchLabels").map_or(Some(Default::default()), |v| v.labels());
    let expressions: Vec<Option<LabelRequirement>> =
        items(&fields, "matchExpressions").iter().map(requirement).collect();
    fields.finish();
    Some(LabelSelector { labels: labels?, expressions: expressions.into_iter().collect::<Option<_>>()? })
}

fn requirement(value: &Value<'_>) -> Option<LabelRequirement> {
    let fields = value.fields()?;
    let key = fields.required("key", "a label's name")?.filled_text("a label's name")?;
    let operators = [
        ("In", LabelOperator::In),
        ("NotIn", LabelOperator::NotIn),
        ("Exists", LabelOperator::Exists),
        ("DoesNotExist", LabelOperator::DoesNotExist),
    ];
    let operator = fields.required("operator", "In, NotIn, Exists or DoesNotExist")?.one_of(&operators)?;
    let values = fields.optional("values").map_or(Some(Vec::new()), |v| v.texts())?;
    fields.finish();
    Some(LabelRequirement { key, operator, values })
}
