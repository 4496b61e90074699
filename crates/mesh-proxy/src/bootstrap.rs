//! Reads the bootstrap: file and override text, merged, typed, and checked
//! for what cannot be honoured.
//!
//! Invariant: everything in a bootstrap that changes behaviour is either
//! honoured, or refused by name here, or warned about by name.
//!
//! Deliberately absent: what listeners and clusters mean (`mesh-engine`).

use std::path::PathBuf;

use mesh_proto::envoy::config::bootstrap::v3::Bootstrap;
use mesh_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use mesh_proto::envoy::config::core::v3::{ApiConfigSource, ConfigSource, Locality, Node, api_config_source::ApiType};
use mesh_proto::json;

use crate::options::Options;

/// A bootstrap with which the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Neither `-c` nor `--config-yaml` was given.
    #[error("no configuration: give a bootstrap file with -c, or its text with --config-yaml")]
    Missing,
    /// The file cannot be read.
    #[error("bootstrap {}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file or text is not a bootstrap.
    #[error("bootstrap {origin}: {detail}")]
    Parse {
        /// Path, or `--config-yaml`.
        origin: String,
        /// Line, column and field, as far as known.
        detail: String,
    },
    /// A field that this proxy cannot honour.
    #[error("bootstrap: {field}: {found}; expected {expected}; the proxy does not start")]
    Unsupported {
        /// Path of the field.
        field: String,
        /// What it holds.
        found: String,
        /// What is supported.
        expected: &'static str,
    },
}

/// How the two ADS resource streams are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdsKind {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

/// The control plane to ask, and what for.
#[derive(Debug, Clone)]
pub(crate) struct Ads {
    /// State of the world or delta.
    pub(crate) kind: AdsKind,
    /// Static cluster that holds the control plane's addresses.
    pub(crate) cluster: String,
    /// Listeners come from it.
    pub(crate) lds: bool,
    /// Clusters come from it.
    pub(crate) cds: bool,
}

/// A bootstrap that has been read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The message, with flag overrides applied.
    pub(crate) bootstrap: Bootstrap,
    /// The control plane, if one is configured.
    pub(crate) ads: Option<Ads>,
    /// What is accepted but does nothing, for the log.
    pub(crate) ignored: Vec<String>,
}

/// Reads and checks what `options` point at.
///
/// # Errors
/// [`BootstrapError`]; nothing has been started then.
pub(crate) fn load(options: &Options) -> Result<Loaded, BootstrapError> {
    let mut ignored = Vec::new();
    let mut merged: Option<Bootstrap> = None;
    if let Some(path) = &options.config_path {
        let text =
            std::fs::read_to_string(path).map_err(|source| BootstrapError::Read { path: path.clone(), source })?;
        merged = Some(parse(&path.display().to_string(), &text, options, &mut ignored)?);
    }
    if let Some(text) = options.config_yaml.as_deref().filter(|t| !t.trim().is_empty()) {
        let over = parse("--config-yaml", text, options, &mut ignored)?;
        merged = Some(match merged {
            Some(base) => merge(base, &over)?,
            None => over,
        });
    }
    let mut bootstrap = merged.ok_or(BootstrapError::Missing)?;
    override_node(&mut bootstrap, options);
    name_listeners(&mut bootstrap);
    let ads = check(&bootstrap, &mut ignored)?;
    Ok(Loaded { bootstrap, ads, ignored })
}

fn parse(origin: &str, text: &str, options: &Options, ignored: &mut Vec<String>) -> Result<Bootstrap, BootstrapError> {
    let refuse = |detail: String| BootstrapError::Parse { origin: origin.to_owned(), detail };
    let error = match json::from_yaml(text) {
        Ok(bootstrap) => return Ok(bootstrap),
        Err(error) => error.to_string(),
    };
    if !options.allow_unknown_static_fields {
        return Err(refuse(error));
    }
    // Unknown fields are taken out one at a time, each by the name the parser gave.
    let mut value = serde_saphyr_value(text).ok_or_else(|| refuse(error.clone()))?;
    let mut error = error;
    for _ in 0..UNKNOWN_FIELDS_MAX {
        let Some(name) = unknown_field(&error) else { return Err(refuse(error)) };
        if !remove_key(&mut value, &name) {
            return Err(refuse(error));
        }
        ignored.push(format!("{origin}: unknown field {name:?}"));
        match json::from_json(&value) {
            Ok(bootstrap) => return Ok(bootstrap),
            Err(e) => error = e.to_string(),
        }
    }
    Err(refuse(error))
}

/// Static listeners may go without a name (Envoy draws one at random); each
/// gets one by its place, since everything here is told apart by name.
fn name_listeners(bootstrap: &mut Bootstrap) {
    let listeners = bootstrap.static_resources.iter_mut().flat_map(|s| &mut s.listeners);
    for (place, listener) in listeners.enumerate().filter(|(_, l)| l.name.is_empty()) {
        listener.name = format!("static-listener-{place}");
    }
}

/// YAML as a JSON value, through the well-known `google.protobuf.Struct`.
fn serde_saphyr_value(text: &str) -> Option<serde_json::Value> {
    let bytes = json::yaml_to_bytes("google.protobuf.Struct", text).ok()?;
    Some(json::bytes_to_json("google.protobuf.Struct", &bytes))
}

fn unknown_field(error: &str) -> Option<String> {
    let at = error.find("unrecognized field name '")? + "unrecognized field name '".len();
    error[at..].split('\'').next().map(str::to_owned)
}

fn remove_key(value: &mut serde_json::Value, name: &str) -> bool {
    match value {
        serde_json::Value::Object(map) => {
            let here = map.shift_remove(name).is_some();
            map.values_mut().fold(here, |found, v| remove_key(v, name) || found)
        }
        serde_json::Value::Array(items) => {
            items.iter_mut().filter_map(|v| remove_key(v, name).then_some(())).count() > 0
        }
        _ => false,
    }
}

/// Protobuf merge, as Envoy does: scalars are replaced, messages merged,
/// lists appended. Concatenated encodings decode to exactly that.
fn merge(base: Bootstrap, over: &Bootstrap) -> Result<Bootstrap, BootstrapError> {
    use mesh_proto::Message;
    let mut bytes = base.encode_to_vec();
    bytes.extend(over.encode_to_vec());
    Bootstrap::decode(bytes.as_slice())
        .map_err(|e| BootstrapError::Parse { origin: "--config-yaml".to_owned(), detail: e.to_string() })
}

fn override_node(bootstrap: &mut Bootstrap, options: &Options) {
    let node = bootstrap.node.get_or_insert_with(Node::default);
    if let Some(id) = &options.service_node {
        node.id.clone_from(id);
    }
    if let Some(cluster) = &options.service_cluster {
        node.cluster.clone_from(cluster);
    }
    if let Some(zone) = &options.service_zone {
        node.locality.get_or_insert_with(Locality::default).zone.clone_from(zone);
    }
    if node.user_agent_name.is_empty() {
        node.user_agent_name = USER_AGENT.to_owned();
    }
}

fn check(bootstrap: &Bootstrap, ignored: &mut Vec<String>) -> Result<Option<Ads>, BootstrapError> {
    let refuse = |field: &str, found: &str, expected| BootstrapError::Unsupported {
        field: field.to_owned(),
        found: found.to_owned(),
        expected,
    };
    if bootstrap.hds_config.is_some() {
        return Err(refuse("hds_config", "health discovery is not supported", "no hds_config"));
    }
    for (name, present) in [
        ("tracing", bootstrap.static_resources.is_some() && has_tracing(bootstrap)),
        ("overload_manager", bootstrap.overload_manager.is_some()),
        ("stats_sinks", !bootstrap.stats_sinks.is_empty()),
        ("layered_runtime", bootstrap.layered_runtime.is_some()),
        ("watchdogs", bootstrap.watchdogs.is_some()),
    ] {
        if present {
            ignored.push(format!("{name}: accepted, not yet applied"));
        }
    }
    let Some(dynamic) = &bootstrap.dynamic_resources else { return Ok(None) };
    let lds = over_ads("dynamic_resources.lds_config", dynamic.lds_config.as_ref())?;
    let cds = over_ads("dynamic_resources.cds_config", dynamic.cds_config.as_ref())?;
    let Some(api) = &dynamic.ads_config else {
        if lds || cds {
            return Err(refuse(
                "dynamic_resources.ads_config",
                "is absent while lds_config or cds_config ask for ads",
                "an ads_config",
            ));
        }
        return Ok(None);
    };
    if bootstrap.node.as_ref().is_none_or(|n| n.id.is_empty() || n.cluster.is_empty()) {
        return Err(refuse("node", "id or cluster is empty", "node.id and node.cluster, which xDS needs"));
    }
    Ok(Some(Ads { lds, cds, ..ads(api, bootstrap, ignored)? }))
}

#[allow(deprecated)]
fn has_tracing(bootstrap: &Bootstrap) -> bool {
    bootstrap.tracing.is_some()
}

#[allow(deprecated)] // `path` must be refused by name too.
fn over_ads(field: &str, source: Option<&ConfigSource>) -> Result<bool, BootstrapError> {
    let refuse = |found: &str| BootstrapError::Unsupported {
        field: field.to_owned(),
        found: format!("found {found}"),
        expected: "ads: {}",
    };
    match source.and_then(|s| s.config_source_specifier.as_ref()) {
        None => Ok(false),
        Some(ConfigSourceSpecifier::Ads(_)) => Ok(true),
        Some(ConfigSourceSpecifier::Path(_) | ConfigSourceSpecifier::PathConfigSource(_)) => {
            Err(refuse("a file (path_config_source)"))
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(_)) => Err(refuse("an api_config_source of its own")),
        Some(ConfigSourceSpecifier::Self_(_)) => Err(refuse("self")),
    }
}

fn ads(api: &ApiConfigSource, bootstrap: &Bootstrap, ignored: &mut Vec<String>) -> Result<Ads, BootstrapError> {
    use mesh_proto::envoy::config::core::v3::grpc_service::TargetSpecifier;
    let refuse = |field: &str, found: String, expected| BootstrapError::Unsupported {
        field: format!("dynamic_resources.ads_config.{field}"),
        found,
        expected,
    };
    let kind = match api.api_type() {
        ApiType::Grpc | ApiType::AggregatedGrpc => AdsKind::Sotw,
        ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc => AdsKind::Delta,
        other => return Err(refuse("api_type", format!("found {}", other.as_str_name()), "GRPC or DELTA_GRPC")),
    };
    let Some(service) = api.grpc_services.first() else {
        return Err(refuse("grpc_services", "is empty".to_owned(), "one envoy_grpc service"));
    };
    let Some(TargetSpecifier::EnvoyGrpc(target)) = &service.target_specifier else {
        return Err(refuse("grpc_services[0]", "found google_grpc or nothing".to_owned(), "envoy_grpc"));
    };
    let clusters = bootstrap.static_resources.iter().flat_map(|s| &s.clusters);
    if !clusters.clone().any(|c| c.name == target.cluster_name) {
        let found = format!("found {:?}, which is no static cluster", target.cluster_name);
        return Err(refuse("grpc_services[0].envoy_grpc.cluster_name", found, "the name of a static cluster"));
    }
    if !service.initial_metadata.is_empty() {
        ignored.push(
            "dynamic_resources.ads_config.grpc_services[0].initial_metadata: accepted, not yet applied".to_owned(),
        );
    }
    Ok(Ads { kind, cluster: target.cluster_name.clone(), lds: false, cds: false })
}

/// What we call ourselves in `node.user_agent_name`.
const USER_AGENT: &str = "pilothouse";
/// Unknown fields dropped under `--allow-unknown-static-fields` before giving up.
const UNKNOWN_FIELDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(yaml: &str) -> Result<Loaded, BootstrapError> {
        load(&Options { config_yaml: Some(yaml.to_owned()), ..Options::default() })
    }

    const ADS: &str = "
node: {id: n, cluster: c}
static_resources: {clusters: [{name: xds}]}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: {ads: {}}
";

    #[test]
    fn ads_over_a_static_cluster_is_understood() {
        let ads = check(ADS).unwrap().ads.unwrap();
        assert_eq!((ads.kind, ads.cluster.as_str(), ads.lds, ads.cds), (AdsKind::Delta, "xds", true, false));
    }

    #[test]
    fn a_file_as_source_is_refused_by_its_field() {
        let text = check(&ADS.replace("lds_config: {ads: {}}", "lds_config: {path_config_source: {path: x}}"));
        let text = text.unwrap_err().to_string();
        assert!(text.contains("dynamic_resources.lds_config: found a file"), "{text}");
    }

    #[test]
    fn an_ads_cluster_that_does_not_exist_is_refused() {
        let text = check(&ADS.replace("cluster_name: xds", "cluster_name: nope")).unwrap_err().to_string();
        assert!(text.contains("\"nope\", which is no static cluster"), "{text}");
    }

    #[test]
    fn unknown_fields_are_refused_or_by_flag_reported() {
        let yaml = "node: {id: a, clusterr: b}\n";
        assert!(check(yaml).unwrap_err().to_string().contains("clusterr"));
        let options =
            Options { config_yaml: Some(yaml.to_owned()), allow_unknown_static_fields: true, ..Options::default() };
        let loaded = load(&options).unwrap();
        assert_eq!(loaded.bootstrap.node.unwrap().id, "a");
        assert_eq!(loaded.ignored.len(), 1);
    }

    #[test]
    fn static_listeners_without_a_name_get_one_each() {
        let loaded = check("static_resources: {listeners: [{}, {name: own}, {}]}").unwrap();
        let listeners = loaded.bootstrap.static_resources.unwrap().listeners;
        let names: Vec<&str> = listeners.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["static-listener-0", "own", "static-listener-2"]);
    }
}
