//! `/config_dump`: what the proxy has, section by section.

use std::cell::RefCell;

use http::StatusCode;
use mesh_proto::json;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::{Admin, Answer};
use crate::xds::record::{Entry, Records, Refused, Versioned};
use crate::xds::store::Store;

pub(super) fn answer(admin: &Admin, query: &Query, _: &RefCell<Store>) -> Answer {
    let names = match query.value("name_regex").filter(|r| !r.is_empty()).map(Regex::new) {
        Some(Err(error)) => {
            let text = format!("Error while parsing name_regex from {error}");
            return Answer::status(StatusCode::BAD_REQUEST, text);
        }
        Some(Ok(names)) => Some(names),
        None => None,
    };
    let sections = {
        let records = admin.records.lock();
        sections(&records, names.as_ref(), query.has("include_eds"))
    };
    let mask = query.value("mask").filter(|m| !m.is_empty()).map(Mask::parse);
    let resource = query.value("resource").filter(|r| !r.is_empty());
    let configs = match resource {
        Some(resource) => match elements(&sections, resource) {
            Some(elements) => elements,
            None => return Answer::status(StatusCode::NOT_FOUND, format!("{resource} not found in config dump")),
        },
        None => sections,
    };
    let configs: Vec<Value> = configs.into_iter().map(|c| mask.iter().fold(c, |c, m| m.apply(c))).collect();
    Answer::json(&json!({ "configs": configs }))
}

/// In Envoy's order.
fn sections(records: &Records, names: Option<&Regex>, include_eds: bool) -> Vec<Value> {
    let wanted = |name: &str| names.is_none_or(|n| n.is_match(name));
    let mut all = vec![section(
        "BootstrapConfigDump",
        vec![
            ("bootstrap", json::to_json(&records.bootstrap)),
            ("last_updated", Value::from(records.bootstrap_loaded.clone())),
        ],
    )];
    all.push(clusters(records, &wanted));
    all.push(section("EcdsConfigDump", Vec::new()));
    if include_eds {
        all.push(endpoints(records, &wanted));
    }
    all.push(listeners(records, &wanted));
    all.push(section("ScopedRoutesConfigDump", Vec::new()));
    all.push(routes(records, &wanted));
    all.push(secrets(records, &wanted));
    all
}

fn section(name: &str, fields: Vec<(&str, Value)>) -> Value {
    let mut out = Map::new();
    out.insert("@type".to_owned(), Value::from(format!("{ADMIN}{name}")));
    for (name, value) in fields {
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_str().is_some_and(str::is_empty);
        if !empty {
            out.insert(name.to_owned(), value);
        }
    }
    Value::Object(out)
}

fn resource(versioned: &Versioned) -> Value {
    json::any_to_json(&versioned.resource.type_url, &versioned.resource.value)
}

/// `{"version_info", <field>, "last_updated"}`
fn state(field: &str, versioned: &Versioned) -> Value {
    let mut out = Map::new();
    if !versioned.version.is_empty() {
        out.insert("version_info".to_owned(), Value::from(versioned.version.clone()));
    }
    out.insert(field.to_owned(), resource(versioned));
    out.insert("last_updated".to_owned(), Value::from(versioned.updated.clone()));
    Value::Object(out)
}

fn error_state(refused: &Refused) -> Value {
    let failed = json::any_to_json(&refused.resource.type_url, &refused.resource.value);
    let mut out = Map::new();
    out.insert("failed_configuration".to_owned(), failed);
    out.insert("last_update_attempt".to_owned(), Value::from(refused.attempted.clone()));
    out.insert("details".to_owned(), Value::from(refused.details.clone()));
    if !refused.version.is_empty() {
        out.insert("version_info".to_owned(), Value::from(refused.version.clone()));
    }
    Value::Object(out)
}

fn with_error(mut state: Value, entry: &Entry) -> Value {
    if let (Some(refused), Some(object)) = (&entry.refused, state.as_object_mut()) {
        object.insert("error_state".to_owned(), error_state(refused));
    }
    state
}

fn clusters(records: &Records, wanted: &dyn Fn(&str) -> bool) -> Value {
    let (mut fixed, mut active, mut warming) = (Vec::new(), Vec::new(), Vec::new());
    for (_, entry) in records.clusters.iter().filter(|(n, _)| wanted(n)) {
        match (&entry.active, entry.fixed) {
            (Some(version), true) => fixed.push(state("cluster", version)),
            (Some(version), false) => active.push(with_error(state("cluster", version), entry)),
            // A cluster that was only ever refused is shown as one that warms.
            (None, _) if entry.warming.is_none() && entry.refused.is_some() => {
                warming.push(with_error(json!({}), entry));
            }
            (None, _) => {}
        }
        if let Some(version) = &entry.warming {
            warming.push(state("cluster", version));
        }
    }
    section(
        "ClustersConfigDump",
        vec![
            ("version_info", Value::from(records.cds_version.clone())),
            ("static_clusters", Value::from(fixed)),
            ("dynamic_active_clusters", Value::from(active)),
            ("dynamic_warming_clusters", Value::from(warming)),
        ],
    )
}

fn listeners(records: &Records, wanted: &dyn Fn(&str) -> bool) -> Value {
    let (mut fixed, mut dynamic) = (Vec::new(), Vec::new());
    for (name, entry) in records.listeners.iter().filter(|(n, _)| wanted(n)) {
        if entry.fixed {
            fixed.extend(entry.active.as_ref().or(entry.warming.as_ref()).map(|v| state("listener", v)));
            continue;
        }
        let mut out = Map::new();
        out.insert("name".to_owned(), Value::from(name.clone()));
        if let Some(version) = &entry.active {
            out.insert("active_state".to_owned(), state("listener", version));
        }
        if let Some(version) = &entry.warming {
            out.insert("warming_state".to_owned(), state("listener", version));
        }
        dynamic.push(with_error(Value::Object(out), entry));
    }
    section(
        "ListenersConfigDump",
        vec![
            ("version_info", Value::from(records.lds_version.clone())),
            ("static_listeners", Value::from(fixed)),
            ("dynamic_listeners", Value::from(dynamic)),
        ],
    )
}

fn routes(records: &Records, wanted: &dyn Fn(&str) -> bool) -> Value {
    let inline = records.inline_routes.values().flatten().map(|v| {
        let unversioned = Versioned { version: String::new(), ..v.clone() };
        state("route_config", &unversioned)
    });
    let inline: Vec<Value> =
        inline.filter(|v| wanted(v["route_config"]["name"].as_str().unwrap_or_default())).collect();
    let dynamic: Vec<Value> = records
        .routes
        .iter()
        .filter(|(n, _)| wanted(n))
        .map(|(_, entry)| {
            let shown = entry.active.as_ref().map_or_else(|| json!({}), |v| state("route_config", v));
            with_error(shown, entry)
        })
        .collect();
    section(
        "RoutesConfigDump",
        vec![("static_route_configs", Value::from(inline)), ("dynamic_route_configs", Value::from(dynamic))],
    )
}

/// Keys are never shown, nor anything else that is not known to be public.
fn secrets(records: &Records, wanted: &dyn Fn(&str) -> bool) -> Value {
    let active = records.secrets.iter().filter(|(n, e)| wanted(n) && e.active.is_some()).map(|(name, entry)| {
        let mut out = Map::new();
        out.insert("name".to_owned(), Value::from(name.clone()));
        if let (Some(version), Value::Object(state)) =
            (&entry.active, entry.active.as_ref().map_or(Value::Null, |v| state("secret", v)))
        {
            out.extend(state);
            out.insert("secret".to_owned(), redacted(&version.resource));
        }
        if let Some(refused) = &entry.refused {
            let refused = Refused { resource: Default::default(), ..refused.clone() };
            out.insert("error_state".to_owned(), error_state(&refused));
        }
        Value::Object(out)
    });
    section("SecretsConfigDump", vec![("dynamic_active_secrets", Value::from(active.collect::<Vec<_>>()))])
}

/// A secret without what is secret in it.
fn redacted(any: &mesh_proto::google::protobuf::Any) -> Value {
    use mesh_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
    use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as tls;
    let hide = |source: &mut DataSource| {
        if !matches!(source.specifier, Some(Specifier::Filename(_))) {
            source.specifier = Some(Specifier::InlineString("[redacted]".to_owned()));
        }
    };
    let Ok(mut secret) = mesh_proto::any::unpack::<tls::Secret>(any) else { return Value::Null };
    match &mut secret.r#type {
        Some(tls::secret::Type::TlsCertificate(certificate)) => {
            [&mut certificate.private_key, &mut certificate.password].into_iter().flatten().for_each(hide);
        }
        Some(tls::secret::Type::GenericSecret(generic)) => {
            generic.secret.iter_mut().for_each(hide);
            generic.secrets.values_mut().for_each(hide);
        }
        Some(tls::secret::Type::SessionTicketKeys(keys)) => keys.keys.iter_mut().for_each(hide),
        Some(tls::secret::Type::ValidationContext(_)) | None => {}
    }
    let mut out = json::to_json(&secret);
    if let Some(fields) = out.as_object_mut() {
        fields.insert("@type".to_owned(), Value::from(mesh_proto::types::SECRET));
    }
    out
}

fn endpoints(records: &Records, wanted: &dyn Fn(&str) -> bool) -> Value {
    let fixed = records.clusters.iter().filter(|(n, e)| e.fixed && wanted(n)).filter_map(|(_, entry)| {
        let cluster = resource(entry.active.as_ref()?);
        let mut assignment = cluster.get("load_assignment")?.as_object()?.clone();
        assignment.insert("@type".to_owned(), Value::from(mesh_proto::types::ENDPOINT));
        Some(json!({ "endpoint_config": assignment }))
    });
    let dynamic = records.endpoints.iter().filter(|(n, _)| wanted(n)).map(|(_, v)| state("endpoint_config", v));
    section(
        "EndpointsConfigDump",
        vec![
            ("static_endpoint_configs", Value::from(fixed.collect::<Vec<_>>())),
            ("dynamic_endpoint_configs", Value::from(dynamic.collect::<Vec<_>>())),
        ],
    )
}

/// The elements of the repeated field `name` in whichever section has it.
fn elements(sections: &[Value], name: &str) -> Option<Vec<Value>> {
    let kind = KINDS.iter().find(|(field, _)| *field == name).map(|(_, kind)| *kind)?;
    let found = sections.iter().find_map(|s| s.get(name));
    let all = match found {
        Some(Value::Array(all)) => all.clone(),
        Some(one) => return Some(vec![one.clone()]),
        None => Vec::new(),
    };
    let typed = all.into_iter().map(|element| {
        let mut out = Map::new();
        out.insert("@type".to_owned(), Value::from(format!("{ADMIN}{kind}")));
        if let Value::Object(fields) = element {
            out.extend(fields);
        }
        Value::Object(out)
    });
    Some(typed.collect())
}

/// A protobuf field mask over JSON.
struct Mask(Vec<Vec<String>>);

impl Mask {
    fn parse(text: &str) -> Self {
        Self(text.split(',').map(|path| path.trim().split('.').map(str::to_owned).collect()).collect())
    }

    fn apply(&self, value: Value) -> Value {
        let paths: Vec<&[String]> = self.0.iter().map(Vec::as_slice).collect();
        trim(value, &paths)
    }
}

fn trim(value: Value, paths: &[&[String]]) -> Value {
    // A path that ends here keeps everything below.
    if paths.iter().any(|p| p.is_empty()) {
        return value;
    }
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(name, value)| {
                if name == "@type" {
                    return Some((name, value));
                }
                let below: Vec<&[String]> = paths.iter().filter(|p| p[0] == name).map(|p| &p[1..]).collect();
                (!below.is_empty()).then(|| (name, trim(value, &below)))
            });
            Value::Object(kept.collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(|v| trim(v, paths)).collect()),
        other => other,
    }
}

const ADMIN: &str = "type.googleapis.com/envoy.admin.v3.";

/// Fields that `?resource=` may ask for, and the type of their elements.
const KINDS: [(&str, &str); 11] = [
    ("bootstrap", "BootstrapConfigDump"),
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_the_paths_it_names_and_types() {
        let value = json!({"@type": "t", "version_info": "2", "cluster": {"@type": "c", "name": "a", "type": "EDS"}});
        let trimmed = Mask::parse("version_info,cluster.name").apply(value);
        assert_eq!(trimmed, json!({"@type": "t", "version_info": "2", "cluster": {"@type": "c", "name": "a"}}));
    }
}
