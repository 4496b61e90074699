//! Sidecar: which hosts the proxies of a namespace or workload know.
//!
//! Source: `ValidateSidecar`, istio `pkg/config/validation/validation.go`.

use std::sync::Arc;

use mesh_model::rules::mesh_config::OutboundTrafficPolicy;
use mesh_model::rules::sidecar::{EgressHost, EgressHosts, EgressNamespace};
use mesh_model::rules::{Sidecar, Spec};
use mesh_model::{Code, Hostname};

use super::{Scope, exports, selector};
use crate::reader::{Fields, NOT_APPLIED, Value, is_wildcard_domain};

/// Fields that are accepted and not yet applied.
const FIELDS_NOT_APPLIED: [&str; 2] = ["ingress", "inboundConnectionPool"];

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let workload_selector = selector::read(spec, "labels").unwrap_or_default();
    let egress = match spec.optional("egress").map(|v| v.items()) {
        Some(items) => Some(items?.iter().filter_map(|item| listener(item, scope)).collect::<Vec<_>>()),
        None => None,
    };
    let outbound_traffic_policy = spec.optional("outboundTrafficPolicy").and_then(|v| outbound(&v));
    spec.not_applied(&FIELDS_NOT_APPLIED);
    spec.finish();
    Some(Spec::Sidecar(Arc::new(Sidecar {
        meta: scope.meta.clone(),
        workload_selector,
        // An empty list says nothing, as in protobuf.
        egress: egress.filter(|listeners| !listeners.is_empty()),
        outbound_traffic_policy,
    })))
}

fn listener(value: &Value<'_>, scope: &Scope<'_>) -> Option<EgressHosts> {
    let fields = value.fields()?;
    let hosts = fields.required("hosts", "at least one namespace/host").and_then(|v| {
        let items = v.items()?;
        if items.is_empty() { v.invalid("at least one namespace/host") } else { Some(items) }
    });
    let hosts = hosts.map(|items| items.iter().filter_map(|item| host(item, scope)).collect());
    let port = match fields.optional("port") {
        Some(value) => Some(port(&value)?),
        None => None,
    };
    if let Some(mode) = fields.optional("captureMode")
        && mode.one_of(&[("DEFAULT", true), ("IPTABLES", true), ("NONE", false)]) == Some(false)
    {
        mode.not_applied();
    }
    fields.not_applied(&["bind"]);
    fields.finish();
    Some(EgressHosts { hosts: hosts?, port })
}

/// The number of an egress listener's port; its name and protocol are the
/// services' own.
fn port(value: &Value<'_>) -> Option<u16> {
    let fields = value.fields()?;
    let number = fields.required("number", "a port number").and_then(|v| v.port());
    fields.ignore(&["name", "protocol"]);
    fields.not_applied(&["targetPort"]);
    fields.finish();
    number
}

fn host(value: &Value<'_>, scope: &Scope<'_>) -> Option<EgressHost> {
    let text = value.text()?;
    let expected = "namespace/host, where namespace may be *, . or ~ and host may begin with *";
    let Some((namespace, host)) = text.split_once('/') else { return value.invalid(expected) };
    let namespace = match namespace {
        "*" => EgressNamespace::Any,
        "~" => EgressNamespace::None,
        "." => EgressNamespace::Name(scope.meta.namespace().clone()),
        name if exports::is_namespace(name) => EgressNamespace::Name(name.into()),
        _ => return value.invalid(expected),
    };
    if !is_wildcard_domain(host) {
        return value.invalid(expected);
    }
    // As in Istio, a name without a dot is not completed here.
    Some(EgressHost { namespace, host: Hostname::new(host) })
}

fn outbound(value: &Value<'_>) -> Option<OutboundTrafficPolicy> {
    let fields = value.fields()?;
    let mode = fields.optional("mode").map_or(Some(OutboundTrafficPolicy::RegistryOnly), |v| mode(&v));
    fields.not_applied(&["egressProxy"]);
    fields.finish();
    mode
}

/// `mode` of an outboundTrafficPolicy.
pub(super) fn mode(value: &Value<'_>) -> Option<OutboundTrafficPolicy> {
    let (policy, whole) = value.one_of(&[
        ("ALLOW_ANY", (OutboundTrafficPolicy::AllowAny, true)),
        ("REGISTRY_ONLY", (OutboundTrafficPolicy::RegistryOnly, true)),
        ("ALLOW_ANY_DYNAMIC_DNS", (OutboundTrafficPolicy::AllowAny, false)),
    ])?;
    if !whole {
        value.warn(Code::NotApplied, NOT_APPLIED.to_owned(), "ALLOW_ANY is used");
    }
    Some(policy)
}
