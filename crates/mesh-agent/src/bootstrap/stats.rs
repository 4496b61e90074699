//! `stats_config`: which parts of a statistic's name are tags, and which
//! statistics are kept.
//!
//! The tags are those that Istio's dashboards and tools look for.

use serde_json::{Value, json};

use super::Settings;

/// Name and regular expression (ECMAScript, as Envoy reads them).
const TAGS: [(&str, &str); 8] = [
    ("cluster_name", r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"(response_code=\.=(.+?);\.;)|_rq(_(\.d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("mongo_prefix", r"^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$"),
];

/// Tags that stand in names as `name=.=value;.;`.
const EMBEDDED: [&str; 28] = [
    "reporter",
    "source_namespace",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_port",
    "destination_cluster",
    "request_protocol",
    "request_operation",
    "request_host",
    "response_flags",
    "grpc_response_status",
    "connection_security_policy",
    "source_canonical_service",
    "destination_canonical_service",
    "source_canonical_revision",
];

/// What readiness and the agent's own pages read; kept whatever the matcher.
const NEEDED: [&str; 4] = ["cluster_manager", "listener_manager", "server", "cluster.xds-grpc"];

pub(super) fn config(settings: &Settings) -> Value {
    let tag = |name: &str, regex: String| json!({ "tag_name": name, "regex": regex });
    let embedded = |name: &str| tag(name, format!(r"({name}=\.=(.*?);\.;)"));
    let mut tags: Vec<Value> = TAGS.iter().map(|(name, regex)| tag(name, (*regex).to_owned())).collect();
    tags.extend(EMBEDDED.iter().map(|name| embedded(name)));
    tags.push(embedded("destination_canonical_revision"));
    for name in &settings.extra_stat_tags {
        if !EMBEDDED.contains(&name.as_str()) {
            tags.push(embedded(name));
        }
    }
    let mut config = json!({ "use_all_default_tags": false, "stats_tags": tags });
    let matcher = &settings.stats;
    if !(matcher.prefixes.is_empty() && matcher.suffixes.is_empty() && matcher.regexps.is_empty()) {
        let prefixes = NEEDED.iter().map(|p| json!({ "prefix": p }));
        let patterns: Vec<Value> = prefixes
            .chain(matcher.prefixes.iter().map(|p| json!({ "prefix": p })))
            .chain(matcher.suffixes.iter().map(|s| json!({ "suffix": s })))
            .chain(matcher.regexps.iter().map(|r| json!({ "safe_regex": { "regex": r } })))
            .collect();
        config["stats_matcher"] = json!({ "inclusion_list": { "patterns": patterns } });
    }
    config
}
