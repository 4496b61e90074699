//! The objects of a running mesh, from its debug pages.
//!
//! A control plane tells its rules and its services. Of Pods, Secrets and
//! workload controllers it tells nothing, so analyzers that ask for those do
//! not run: they would find everything missing.

use mesh_config::analysis::{Analyzer, Object};
use mesh_config::yaml;
use serde_json::{Value as Json, json};

use crate::failure::{Failure, Result};
use crate::web;

/// Analyzers that need rules and services only.
pub(super) fn can_run(analyzer: &Analyzer) -> bool {
    const RULES: [&str; 12] = [
        "conditions.ConditionAnalyzer",
        "deprecation.DeprecationAnalyzer",
        "destinationrule.CaCertificateAnalyzer",
        "envoyfilter.EnvoyPatchAnalyzer",
        "gateway.CertificateAnalyzer",
        "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
        "virtualservice.DestinationHostAnalyzer",
        "virtualservice.DestinationRuleAnalyzer",
        "virtualservice.GatewayAnalyzer",
        "serviceentry.Analyzer",
        "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        "telemetry.DefaultSelectorAnalyzer",
    ];
    RULES.contains(&analyzer.name)
        || analyzer.name.starts_with("pilothouse.")
        || analyzer.name.starts_with("schema.ValidationAnalyzer.")
}

/// The rules and services of the control plane at `pilot` (a URL or `host:port`).
///
/// # Errors
/// If it does not answer, or not with JSON.
pub(super) fn objects(pilot: &str) -> Result<Vec<Object>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other("cannot start", &error))?;
    let base = if pilot.contains("://") { pilot.to_owned() } else { format!("http://{pilot}") };
    let base = base.trim_end_matches('/').to_owned();
    let ask = |page: &str| runtime.block_on(web::json(&format!("{base}{page}")));
    let (rules, services, places) = (ask("/debug/configz")?, ask("/debug/registryz")?, ask("/debug/objectz")?);
    let rules = rules.as_array().cloned().unwrap_or_default();
    let services = services.as_array().cloned().unwrap_or_default();
    let found = rules.iter().filter_map(|rule| object(rule, &places));
    Ok(found.chain(services.iter().filter_map(service)).collect())
}

/// A rule, at the place where the control plane has read it.
fn object(rule: &Json, places: &Json) -> Option<Object> {
    let root = yaml::parse(rule.to_string().as_bytes()).into_iter().next()?.root.ok()?;
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let (kind, meta) = (text(&rule["kind"]), &rule["metadata"]);
    let namespace = match text(&meta["namespace"]) {
        namespace if namespace.is_empty() => "default".to_owned(),
        namespace => namespace,
    };
    let place = &places[format!("{kind}/{namespace}/{}", text(&meta["name"]))];
    let line = place["line"].as_u64().and_then(|line| u32::try_from(line).ok()).unwrap_or(1);
    Object::of_node(root.on_line(line), &namespace, &text(&place["file"]).into())
}

/// A service of the platform, as the Service that it was.
fn service(entry: &Json) -> Option<Object> {
    let attributes = &entry["Attributes"];
    if attributes["ServiceRegistry"].as_str() == Some("External") {
        return None;
    }
    let ports: Vec<Json> = entry["ports"]
        .as_array()?
        .iter()
        .map(|port| {
            let (number, name) =
                (port.get("port").or_else(|| port.get("Port")), port.get("name").or_else(|| port.get("Name")));
            json!({"name": name, "port": number})
        })
        .collect();
    let json = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": attributes["Name"], "namespace": attributes["Namespace"]},
        "spec": {"ports": ports},
    });
    let root = yaml::parse(json.to_string().as_bytes()).into_iter().next()?.root.ok()?;
    Object::of_node(root, "", &"".into())
}
