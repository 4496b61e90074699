//! Who the proxy says it is: node id, cluster, locality, metadata.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::proxy_config::ProxyConfig;
use super::{Env, Inputs, SettingsError};

pub(super) struct Identity {
    pub(super) id: String,
    pub(super) cluster: String,
    pub(super) locality: [String; 3],
    pub(super) metadata: Map<String, Value>,
    pub(super) address: IpAddr,
}

pub(super) fn node(
    inputs: &Inputs,
    env: &Env<'_>,
    config: &ProxyConfig,
    file_labels: BTreeMap<String, String>,
    file_annotations: BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<Identity, SettingsError> {
    let addresses = addresses(inputs, env)?;
    let address = *addresses.first().ok_or(SettingsError::NoAddress)?;
    let namespace = env.text("POD_NAMESPACE").unwrap_or("default").to_owned();
    let name = env.text("POD_NAME").map_or_else(|| address.to_string(), str::to_owned);
    let domain = inputs.flags.domain.clone().filter(|domain| !domain.is_empty());
    let domain = domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local"));

    let mut metadata = Map::new();
    metadata.insert("NAME".to_owned(), json!(name));
    metadata.insert("NAMESPACE".to_owned(), json!(namespace));
    metadata.insert("INSTANCE_IPS".to_owned(), json!(joined(&addresses)));
    metadata.insert("LABELS".to_owned(), json!(file_labels));
    metadata.insert("ANNOTATIONS".to_owned(), json!(visible(file_annotations)));
    if let Some(account) = env.text("SERVICE_ACCOUNT") {
        metadata.insert("SERVICE_ACCOUNT".to_owned(), json!(account));
    }
    if let Some(mode) = &config.interception_mode {
        metadata.insert("INTERCEPTION_MODE".to_owned(), json!(mode));
    }
    if !config.document.is_empty() {
        metadata.insert("PROXY_CONFIG".to_owned(), Value::Object(config.document.clone()));
    }
    metadata.insert("PILOTHOUSE_VERSION".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    from_environment(env, &mut metadata, notes);

    let labels = metadata.get("LABELS").and_then(Value::as_object).cloned().unwrap_or_default();
    let label = |name: &str| labels.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    let id = format!("{}~{address}~{name}.{namespace}~{domain}", inputs.role.as_str());
    let cluster = cluster(inputs, config, &namespace, &metadata, label);
    Ok(Identity { id, cluster, locality: locality(label("istio-locality")), metadata, address })
}

/// `ISTIO_META_X=v` becomes metadata `X: "v"`, `ISTIO_METAJSON_X={..}` the JSON
/// itself.
fn from_environment(env: &Env<'_>, metadata: &mut Map<String, Value>, notes: &mut Vec<String>) {
    for (name, value) in env.iter() {
        if let Some(key) = name.strip_prefix("ISTIO_METAJSON_").filter(|key| !key.is_empty()) {
            match serde_json::from_str::<Value>(value) {
                Ok(value) => drop(metadata.insert(key.to_owned(), value)),
                Err(error) => {
                    notes.push(format!("environment variable {name}: found no JSON ({error}); it is ignored"))
                }
            }
        } else if let Some(key) = name.strip_prefix("ISTIO_META_").filter(|key| !key.is_empty()) {
            metadata.insert(key.to_owned(), json!(value));
        }
    }
}

/// `INSTANCE_IP`, which the platform sets, before what the machine has.
fn addresses(inputs: &Inputs, env: &Env<'_>) -> Result<Vec<IpAddr>, SettingsError> {
    let given = env.parsed("INSTANCE_IP", "an IP address", |text| text.parse::<IpAddr>().ok())?;
    let mut addresses: Vec<IpAddr> = given.into_iter().collect();
    for address in &inputs.addresses {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    Ok(addresses)
}

fn cluster<'a>(
    inputs: &Inputs,
    config: &ProxyConfig,
    namespace: &str,
    metadata: &'a Map<String, Value>,
    label: impl Fn(&str) -> Option<&'a str>,
) -> String {
    if let Some(cluster) = inputs.flags.service_cluster.as_ref().or(config.service_cluster.as_ref()) {
        return cluster.clone();
    }
    let workload = metadata.get("WORKLOAD_NAME").and_then(Value::as_str);
    let canonical = label("service.istio.io/canonical-name").or(label("app")).or(workload).unwrap_or("istio-proxy");
    match config.tracing_service_name.as_deref() {
        Some("CANONICAL_NAME_ONLY") => canonical.to_owned(),
        Some("CANONICAL_NAME_AND_NAMESPACE") => format!("{canonical}.{namespace}"),
        _ => format!("{}.{namespace}", label("app").or(workload).unwrap_or("istio-proxy")),
    }
}

/// `region.zone.subzone` (a label cannot hold `/`) or `region/zone/subzone`.
fn locality(label: Option<&str>) -> [String; 3] {
    let label = label.unwrap_or_default();
    let separator = if label.contains('/') { '/' } else { '.' };
    let mut parts = label.splitn(3, separator).map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Lines `key="value"`, as the downward API writes labels and annotations. The
/// value is a quoted Go string; other lines are skipped.
pub(super) fn properties(text: Option<&str>) -> BTreeMap<String, String> {
    let lines = text.unwrap_or_default().lines();
    lines
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let value = serde_json::from_str(value.trim()).unwrap_or_else(|_| value.trim().to_owned());
            Some((key.trim().to_owned(), value))
        })
        .collect()
}

/// Annotations that are worth sending with every connection: kubectl's copy of
/// the whole object is not.
fn visible(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}
