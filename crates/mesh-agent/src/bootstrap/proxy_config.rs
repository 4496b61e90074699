//! `ProxyConfig`: the documents that say how a proxy starts, merged.
//!
//! A later document replaces the scalars and lists of an earlier one and adds
//! to its maps. Fields that this agent does not honour are noted by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Inputs, StatsMatcher};

/// A document that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxyConfigError {
    /// It is not YAML.
    #[error("{document}: {detail}; the proxy does not start")]
    Yaml {
        /// Which document.
        document: &'static str,
        /// Where and what, as the parser tells it.
        detail: String,
    },
    /// A field has the wrong form.
    #[error("{document}: {field}: found {found}, expected {expected}; the proxy does not start")]
    Field {
        /// Which document.
        document: &'static str,
        /// Path of the field.
        field: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// The fields that are honoured.
#[derive(Debug, Default)]
pub(super) struct ProxyConfig {
    pub(super) discovery_address: Option<String>,
    pub(super) service_cluster: Option<String>,
    pub(super) tracing_service_name: Option<String>,
    pub(super) binary_path: Option<String>,
    pub(super) concurrency: Option<u32>,
    pub(super) drain: Option<Duration>,
    pub(super) termination_drain: Option<Duration>,
    pub(super) admin_port: Option<u16>,
    pub(super) status_port: Option<u16>,
    pub(super) interception_mode: Option<String>,
    pub(super) zipkin: Option<String>,
    pub(super) stats: StatsMatcher,
    pub(super) extra_stat_tags: Vec<String>,
    pub(super) proxy_metadata: BTreeMap<String, String>,
    /// The merged document, as node metadata shows it.
    pub(super) document: Map<String, Value>,
}

/// Nesting of documents that is followed; `PROXY_CONFIG` has three levels.
const DEPTH_MAX: usize = 16;

/// Reads and merges the documents, weakest first.
pub(super) fn merged(
    inputs: &Inputs,
    annotations: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<ProxyConfig, ProxyConfigError> {
    let mut merged = ProxyConfig::default();
    if let Some(text) = &inputs.mesh_config {
        let mut mesh = yaml("mesh config", text)?;
        if let Some(config) = mesh.remove("defaultConfig") {
            merged.take("mesh config: defaultConfig", object("mesh config", "defaultConfig", config)?, notes)?;
        }
    }
    for (document, text) in [
        ("PROXY_CONFIG", inputs.env.get("PROXY_CONFIG")),
        ("annotation proxy.istio.io/config", annotations.get("proxy.istio.io/config")),
    ] {
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            merged.take(document, yaml(document, text)?, notes)?;
        }
    }
    Ok(merged)
}

impl ProxyConfig {
    fn take(
        &mut self,
        document: &'static str,
        fields: Map<String, Value>,
        notes: &mut Vec<String>,
    ) -> Result<(), ProxyConfigError> {
        merge(&mut self.document, &fields, 0);
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            let at = Field { document, path: name.clone(), value: &value };
            match name.as_str() {
                "discoveryAddress" => self.discovery_address = Some(at.text()?),
                "serviceCluster" => self.service_cluster = Some(at.text()?),
                "tracingServiceName" => self.tracing_service_name = Some(at.text()?),
                "binaryPath" => self.binary_path = Some(at.text()?),
                "interceptionMode" => self.interception_mode = Some(at.text()?),
                "concurrency" => self.concurrency = Some(at.number(u32::MAX.into())? as u32),
                "drainDuration" => self.drain = Some(at.duration()?),
                "terminationDrainDuration" => self.termination_drain = Some(at.duration()?),
                "proxyAdminPort" => self.admin_port = Some(at.number(65_535)? as u16),
                "statusPort" => self.status_port = Some(at.number(65_535)? as u16),
                "extraStatTags" => self.extra_stat_tags = at.texts()?,
                "proxyMetadata" => self.proxy_metadata.extend(at.text_map()?),
                "proxyStatsMatcher" => self.stats = at.stats()?,
                "tracing" => self.take_tracing(&at, notes)?,
                _ => notes.push(format!("{document}: {name} is accepted, not yet applied")),
            }
        }
        Ok(())
    }

    fn take_tracing(&mut self, at: &Field<'_>, notes: &mut Vec<String>) -> Result<(), ProxyConfigError> {
        for (name, value) in at.object()? {
            let at = Field { document: at.document, path: format!("{}.{name}", at.path), value };
            match name.as_str() {
                "zipkin" => {
                    if let Some(address) = at.object()?.get("address") {
                        let path = format!("{}.address", at.path);
                        self.zipkin = Some(Field { document: at.document, path, value: address }.text()?);
                    }
                }
                _ => notes.push(format!("{}: {} is accepted, not yet applied", at.document, at.path)),
            }
        }
        Ok(())
    }
}

/// One field of a document, for messages that say which.
struct Field<'a> {
    document: &'static str,
    path: String,
    value: &'a Value,
}

impl Field<'_> {
    fn wrong(&self, expected: &'static str) -> ProxyConfigError {
        ProxyConfigError::Field {
            document: self.document,
            field: self.path.clone(),
            found: self.value.to_string(),
            expected,
        }
    }

    fn text(&self) -> Result<String, ProxyConfigError> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a string"))
    }

    /// Numbers are also accepted as strings, as in protobuf's JSON.
    fn number(&self, max: u64) -> Result<u64, ProxyConfigError> {
        let number = self.value.as_u64().or_else(|| self.value.as_str()?.parse().ok());
        number.filter(|n| *n <= max).ok_or_else(|| self.wrong("a whole number in range"))
    }

    fn duration(&self) -> Result<Duration, ProxyConfigError> {
        self.value.as_str().and_then(duration).ok_or_else(|| self.wrong("a duration such as 5s or 1m30s"))
    }

    fn object(&self) -> Result<&Map<String, Value>, ProxyConfigError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    fn texts(&self) -> Result<Vec<String>, ProxyConfigError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list of strings"))?;
        items.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a list of strings"))).collect()
    }

    fn text_map(&self) -> Result<BTreeMap<String, String>, ProxyConfigError> {
        let entries = self.object()?.iter().map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Bool(_) | Value::Number(_) => Ok((name.clone(), value.to_string())),
            _ => Err(self.wrong("an object of strings")),
        });
        entries.collect()
    }

    fn stats(&self) -> Result<StatsMatcher, ProxyConfigError> {
        let fields = self.object()?;
        let list = |name: &str| match fields.get(name) {
            Some(value) => Field { document: self.document, path: format!("{}.{name}", self.path), value }.texts(),
            None => Ok(Vec::new()),
        };
        Ok(StatsMatcher {
            prefixes: list("inclusionPrefixes")?,
            suffixes: list("inclusionSuffixes")?,
            regexps: list("inclusionRegexps")?,
        })
    }
}

/// `1h2m3.5s`, `250ms`: Go's form, whose subset is protobuf's. `None` if it is
/// neither, is negative, or overflows.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit_end..];
    }
    Some(total)
}

fn yaml(document: &'static str, text: &str) -> Result<Map<String, Value>, ProxyConfigError> {
    let failed = |detail: String| ProxyConfigError::Yaml { document, detail };
    let value: Value = serde_saphyr::from_str(text).map_err(|error| failed(error.to_string()))?;
    if value.is_null() { Ok(Map::new()) } else { object(document, "", value) }
}

fn object(document: &'static str, field: &str, value: Value) -> Result<Map<String, Value>, ProxyConfigError> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(ProxyConfigError::Field {
            document,
            field: field.to_owned(),
            found: other.to_string(),
            expected: "an object",
        }),
    }
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>, depth: usize) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) if depth < DEPTH_MAX => merge(into, from, depth + 1),
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}
