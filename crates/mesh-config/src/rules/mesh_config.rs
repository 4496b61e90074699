//! MeshConfig, from the key `mesh` of the ConfigMap `istio`.
//!
//! What it does not say keeps Istio's default. It is one object: a bad value
//! sets all of it aside.

mod providers;
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use mesh_model::rules::MeshConfig;
use mesh_model::rules::mesh_config::{InboundTrafficPolicy, IngressControllerMode};
use mesh_model::{Code, Diagnostic, Kind, Name, ObjectRef, Severity, SourceLocation};

use super::destination_rule::locality;
use super::{Parsed, exports, sidecar, virtual_service};
use crate::document::{self, Object};
use crate::reader::{Fallback, Fields, Log};
use crate::yaml;

/// The ConfigMap's name.
pub const CONFIG_MAP: &str = "istio";
/// Its key.
pub const KEY: &str = "mesh";

/// Fields that are accepted and not yet applied.
const FIELDS_NOT_APPLIED: [&str; 26] = [
    "proxyHttpPort",
    "tcpKeepalive",
    "enableEnvoyAccessLogService",
    "disableEnvoyListenerLog",
    "configSources",
    "enableAutoMtls",
    "trustDomainAliases",
    "caCertificates",
    "h2UpgradePolicy",
    "inboundClusterStatName",
    "outboundClusterStatName",
    "certificates",
    "serviceSettings",
    "enablePrometheusMerge",
    "verifyCertificateAtClient",
    "ca",
    "discoverySelectors",
    "pathNormalization",
    "meshMTLS",
    "tlsDefaults",
    "serviceScopeConfigs",
    "thriftConfig",
    "mixerCheckServer",
    "mixerReportServer",
    "disablePolicyChecks",
    "sdsUdsPath",
];

/// Whether `object` is the ConfigMap that holds the mesh's settings, given the
/// namespace `root` that it lies in.
pub fn is_mesh_config(object: &Object, root: &str) -> bool {
    object.kind() == Kind::ConfigMap && &**object.meta.name() == CONFIG_MAP && &**object.meta.namespace() == root
}

/// Reads the settings from the ConfigMap `object`. `base` is what holds where it
/// says nothing. `None` without diagnostics if it has no key `mesh`.
pub fn parse(object: &Object, base: &MeshConfig, fallback: Fallback) -> Parsed<MeshConfig> {
    let nothing = Parsed { value: None, diagnostics: Vec::new() };
    let Some(node) = object.root.get("data").and_then(|data| data.get(KEY)) else { return nothing };
    let meta = &object.meta.object;
    let name = ObjectRef { kind: Kind::MeshConfig, namespace: meta.namespace.clone(), name: meta.name.clone() };
    let log = Log::new(Some(name.clone()), object.file(), fallback);
    let Some(text) = log.root(node, "data.mesh").text() else {
        return Parsed { value: None, diagnostics: log.finish() };
    };
    match inner_document(&text, node.line) {
        Ok(None) => Parsed { value: Some(base.clone()), diagnostics: log.finish() },
        Ok(Some(root)) => {
            let mesh = log.root(&root, "mesh").fields().map(|fields| read(&fields, base));
            let value = mesh.filter(|_| !log.failed());
            Parsed { value, diagnostics: log.finish() }
        }
        Err(error) => {
            let location = object.meta.location.as_ref();
            let diagnostic = Diagnostic {
                severity: Severity::Error,
                code: Code::Syntax,
                object: Some(name),
                location: location.map(|l| SourceLocation { file: l.file.clone(), line: error.line }),
                field: "data.mesh".to_owned(),
                message: error.to_string(),
                consequence: fallback.as_str().to_owned(),
            };
            Parsed { value: None, diagnostics: vec![diagnostic] }
        }
    }
}

/// Reads a file that holds the settings themselves, as Istio's `--meshConfig`
/// takes it, or the ConfigMap with them. `base` is what holds where it says
/// nothing.
pub fn parse_file(file: &Name, bytes: &[u8], base: &MeshConfig, fallback: Fallback) -> Parsed<MeshConfig> {
    let name = ObjectRef { kind: Kind::MeshConfig, namespace: base.root_namespace.clone(), name: CONFIG_MAP.into() };
    let root = match yaml::parse(bytes).into_iter().next().map(|document| document.root) {
        None => return Parsed { value: Some(base.clone()), diagnostics: Vec::new() },
        Some(Ok(root)) => root,
        Some(Err(error)) => {
            let diagnostic = Diagnostic {
                severity: Severity::Error,
                code: Code::Syntax,
                object: Some(name),
                location: Some(SourceLocation { file: file.clone(), line: error.line }),
                field: String::new(),
                message: error.to_string(),
                consequence: fallback.as_str().to_owned(),
            };
            return Parsed { value: None, diagnostics: vec![diagnostic] };
        }
    };
    if root.get("kind").is_some() {
        let objects = document::read(file, bytes).objects;
        let settings = objects.iter().find(|object| object.kind() == Kind::ConfigMap);
        return settings
            .map_or(Parsed { value: None, diagnostics: Vec::new() }, |object| parse(object, base, fallback));
    }
    let log = Log::new(Some(name), file.clone(), fallback);
    let mesh = log.root(&root, "").fields().map(|fields| read(&fields, base));
    let value = mesh.filter(|_| !log.failed());
    Parsed { value, diagnostics: log.finish() }
}

/// The document inside a text whose first line that is not blank stands on
/// `line` of the file (as a block scalar's node has it).
fn inner_document(text: &str, line: u32) -> Result<Option<yaml::Node>, yaml::Error> {
    let blank = text.bytes().take_while(|b| *b == b'\n').count();
    let padding = "\n".repeat((line.saturating_sub(1) as usize).saturating_sub(blank));
    match yaml::parse(format!("{padding}{text}").as_bytes()).into_iter().next() {
        Some(document) => document.root.map(Some),
        None => Ok(None),
    }
}

fn read(fields: &Fields<'_>, base: &MeshConfig) -> MeshConfig {
    let mut mesh = base.clone();
    read_traffic(fields, &mut mesh);
    read_visibility(fields, &mut mesh);
    read_access_log(fields, &mut mesh);
    if let Some(retries) = fields.optional("defaultHttpRetryPolicy") {
        mesh.default_http_retry_policy = virtual_service::read_retries(&retries);
    }
    if let Some(setting) = fields.optional("localityLbSetting").and_then(|v| locality::read(&v, None)) {
        mesh.locality_balancing = setting;
    }
    mesh.zone_aware = fields.optional("zoneAwareLbSetting").and_then(|v| locality::read_zone_aware(&v, None));
    if let Some(value) = fields.optional("extensionProviders") {
        // What the mesh always has stays, unless it is defined anew.
        let own = providers::read(&value);
        mesh.extension_providers.retain(|p| !own.iter().any(|o| o.name.eq_ignore_ascii_case(&p.name)));
        mesh.extension_providers.extend(own.into_iter().map(Arc::new));
    }
    if let Some(defaults) = fields.optional("defaultProviders").and_then(|v| providers::read_defaults(&v)) {
        mesh.default_providers = defaults;
    }
    if let Some(enable) = fields.optional("enableTracing").and_then(|v| v.boolean()) {
        mesh.enable_tracing = enable;
    }
    if let Some(config) = fields.optional("defaultConfig").and_then(|v| v.fields()) {
        proxy::read(&config, &mut mesh.default_config);
    }
    read_ingress(fields, &mut mesh);
    fields.not_applied(&FIELDS_NOT_APPLIED);
    fields.finish();
    mesh
}

fn read_ingress(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    let text = |name| fields.optional(name).and_then(|v| v.text());
    if let Some(class) = text("ingressClass") {
        mesh.ingress_class = class;
    }
    if let Some(selector) = text("ingressSelector") {
        mesh.ingress_selector = selector;
    }
    if let Some(service) = text("ingressService") {
        mesh.ingress_service = service;
    }
    let modes = [
        ("OFF", IngressControllerMode::Off),
        ("DEFAULT", IngressControllerMode::Default),
        ("STRICT", IngressControllerMode::Strict),
    ];
    if let Some(mode) = fields.optional("ingressControllerMode").and_then(|v| v.one_of(&modes)) {
        mesh.ingress_controller_mode = mode;
    }
}

fn read_traffic(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    let port = |name| fields.optional(name).and_then(|v| v.port());
    mesh.proxy_listen_port = port("proxyListenPort").unwrap_or(mesh.proxy_listen_port);
    mesh.proxy_inbound_listen_port = port("proxyInboundListenPort").unwrap_or(mesh.proxy_inbound_listen_port);
    let duration = |name, default: Duration| fields.optional(name).and_then(|v| v.duration()).unwrap_or(default);
    mesh.connect_timeout = duration("connectTimeout", mesh.connect_timeout);
    mesh.dns_refresh_rate = duration("dnsRefreshRate", mesh.dns_refresh_rate);
    if let Some(timeout) = fields.optional("protocolDetectionTimeout").and_then(|v| v.duration_or_zero()) {
        mesh.protocol_detection_timeout = timeout;
    }
    if let Some(policy) = fields.optional("outboundTrafficPolicy").and_then(|v| v.fields()) {
        if let Some(mode) = policy.optional("mode").and_then(|v| sidecar::mode(&v)) {
            mesh.outbound_traffic_policy = mode;
        }
        policy.finish();
    }
    if let Some(policy) = fields.optional("inboundTrafficPolicy").and_then(|v| v.fields()) {
        let modes =
            [("PASSTHROUGH", InboundTrafficPolicy::Passthrough), ("LOCALHOST", InboundTrafficPolicy::Localhost)];
        if let Some(mode) = policy.optional("mode").and_then(|v| v.one_of(&modes)) {
            mesh.inbound_traffic_policy = mode;
        }
        policy.finish();
    }
}

fn read_visibility(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    let text = |name, expected| fields.optional(name).and_then(|v| v.filled_text(expected));
    if let Some(domain) = text("trustDomain", "a trust domain such as cluster.local") {
        mesh.trust_domain = domain;
    }
    if let Some(namespace) = text("rootNamespace", "a namespace") {
        mesh.root_namespace = namespace;
    }
    let export = |name| fields.optional(name).and_then(|v| exports::read_default(&v));
    if let Some(visibility) = export("defaultServiceExportTo") {
        mesh.default_service_export_to = visibility;
    }
    if let Some(visibility) = export("defaultVirtualServiceExportTo") {
        mesh.default_virtual_service_export_to = visibility;
    }
    if let Some(visibility) = export("defaultDestinationRuleExportTo") {
        mesh.default_destination_rule_export_to = visibility;
    }
}

fn read_access_log(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    let text = |name| fields.optional(name).and_then(|v| v.text());
    if let Some(file) = text("accessLogFile") {
        mesh.access_log_file = file;
    }
    let encoding = fields.optional("accessLogEncoding");
    if let Some(json) = encoding.and_then(|v| v.one_of(&[("TEXT", false), ("JSON", true)])) {
        mesh.access_log_json = json;
    }
    let Some(value) = fields.optional("accessLogFormat") else { return };
    let Some(format) = value.text() else { return };
    if mesh.access_log_json && !format.is_empty() && !is_json_object(&format) {
        value.invalid::<()>("a JSON object, since accessLogEncoding is JSON");
    }
    mesh.access_log_format = Name::from(&*format);
}

fn is_json_object(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(serde_json::Value::Object(_)))
}
