//! Ingress and IngressClass.

use mesh_model::Code;
use mesh_model::rules::gateway_api::ingress::{
    IngressBackend, IngressPath, IngressPort, IngressRule, IngressTls, PathKind,
};
use mesh_model::rules::gateway_api::{Ingress, IngressClass};

use super::gateway::hostname;
use super::{Scope, items, text};
use crate::reader::{Fields, NOT_APPLIED, Value};

pub(super) fn read_class(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<IngressClass> {
    let expected = "a controller's name such as istio.io/ingress-controller";
    let controller = spec.required("controller", expected)?.filled_text(expected)?;
    spec.not_applied(&["parameters"]);
    Some(IngressClass { meta: scope.meta.clone(), controller })
}

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Ingress {
    Ingress {
        meta: scope.meta.clone(),
        class: text(spec, "ingressClassName").filter(|class| !class.is_empty()),
        default_backend: spec.optional("defaultBackend").and_then(|v| backend(&v)),
        tls: items(spec, "tls").iter().filter_map(tls).collect(),
        rules: items(spec, "rules").iter().filter_map(rule).collect(),
    }
}

fn tls(value: &Value<'_>) -> Option<IngressTls> {
    let fields = value.fields()?;
    let hosts = items(&fields, "hosts").iter().filter_map(hostname).collect();
    let secret = text(&fields, "secretName").filter(|name| !name.is_empty());
    if secret.is_none() {
        let message = "found no secretName, expected the name of a Secret".to_owned();
        value.warn(Code::MissingField, message, "the entry is ignored, its hosts are not served with TLS");
    }
    fields.finish();
    Some(IngressTls { hosts, secret })
}

fn rule(value: &Value<'_>) -> Option<IngressRule> {
    let fields = value.fields()?;
    let host = fields.optional("host").and_then(|v| hostname(&v));
    let http = fields.optional("http").and_then(|v| v.fields());
    fields.finish();
    let Some(http) = http else {
        let message = "found no http, expected paths".to_owned();
        value.warn(Code::MissingField, message, "the rule is ignored");
        return None;
    };
    let paths = items(&http, "paths").iter().filter_map(path).collect();
    http.finish();
    Some(IngressRule { host, paths })
}

fn path(value: &Value<'_>) -> Option<IngressPath> {
    let fields = value.fields()?;
    let kinds = [
        ("Exact", PathKind::Exact),
        ("Prefix", PathKind::Prefix),
        ("ImplementationSpecific", PathKind::ImplementationSpecific),
    ];
    let kind = fields.optional("pathType").map_or(Some(PathKind::ImplementationSpecific), |v| v.one_of(&kinds));
    let path = fields.optional("path");
    if let (Some(path), Some(PathKind::Exact | PathKind::Prefix)) = (&path, kind)
        && !path.node().text().is_some_and(|text| text.starts_with('/'))
    {
        path.invalid::<()>("a path that begins with /");
    }
    let path = path.map_or(Some("".into()), |v| v.text());
    let backend = fields.required("backend", "a Service").and_then(|v| backend(&v));
    fields.finish();
    let (path, kind) = (path?, kind?);
    if path.is_empty() && kind != PathKind::ImplementationSpecific {
        fields.missing("path", "a path that begins with /");
    }
    Some(IngressPath { path, kind, backend: backend? })
}

fn backend(value: &Value<'_>) -> Option<IngressBackend> {
    let fields = value.fields()?;
    if let Some(resource) = fields.optional("resource") {
        let message = format!("{NOT_APPLIED}: a backend other than a Service");
        resource.warn(Code::NotApplied, message, "requests for it are answered as if it were not written");
        return None;
    }
    let service = fields.required("service", "a Service's name and port")?.fields()?;
    fields.finish();
    let name = service.required("name", "a Service's name").and_then(|v| v.filled_text("a Service's name"));
    let port = service.required("port", "a port's number or name").and_then(|v| port(&v));
    service.finish();
    Some(IngressBackend { service: name?, port: port? })
}

fn port(value: &Value<'_>) -> Option<IngressPort> {
    let fields = value.fields()?;
    let number = fields.optional("number").map(|v| v.port());
    let name = fields.optional("name").map(|v| v.filled_text("a port's name"));
    fields.finish();
    match (number, name) {
        (Some(number), None) => number.map(IngressPort::Number),
        (None, Some(name)) => name.map(IngressPort::Name),
        _ => value.invalid("either number or name"),
    }
}
