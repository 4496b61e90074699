//! What golden cases do not show: identity of selections, merging, bounds.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};

use mesh_model::rules::EnvoyFilter;
use mesh_model::rules::envoy_filter::{FilterClass, Object, Operation, Patch as Written};
use mesh_model::rules::{Rule, Spec};
use mesh_model::world::RuleIndex;
use mesh_model::{Kind, Labels, Meta, Name};
use mesh_proto::envoy::config::cluster::v3::Cluster;
use serde_json::{Value, json};

use super::merge::{Lists, merge};
use super::*;

fn rule(name: &str, patches: Vec<(ApplyTo, Operation, Value)>) -> Arc<Rule> {
    let meta = Arc::new(Meta::new(Kind::EnvoyFilter, "shop", name));
    let patch = |(index, (apply_to, operation, value))| Written {
        index,
        location: None,
        apply_to,
        context: Context::Any,
        proxy_version: None,
        proxy_metadata: Vec::new(),
        object: Object::Any,
        operation,
        filter_class: FilterClass::Unspecified,
        value: Arc::new(value),
    };
    let filter = EnvoyFilter {
        meta: meta.clone(),
        workload_selector: Labels::default(),
        target_refs: Vec::new(),
        priority: 0,
        patches: patches.into_iter().enumerate().map(patch).collect(),
    };
    Arc::new(Rule { meta, spec: Spec::EnvoyFilter(Arc::new(filter)), document: Arc::default() })
}

fn patches(
    selection: &mut Selection,
    rules: &Arc<RuleIndex>,
    withdrawn: &[&str],
) -> Option<crate::memo::ById<Patches>> {
    selection.update(rules);
    let (namespace, root, labels): (Name, Name, Labels) = ("shop".into(), "istio-system".into(), Labels::default());
    let metadata = HashMap::new();
    let withdrawn: BTreeSet<_> = withdrawn.iter().map(|n| Meta::new(Kind::EnvoyFilter, "shop", *n).object).collect();
    let subject = Subject {
        namespace: &namespace,
        root: &root,
        labels: &labels,
        version: "1.31.0",
        metadata: &metadata,
        withdrawn: &withdrawn,
    };
    selection.patches(subject, &[Context::SidecarOutbound])
}

fn cluster(value: &Value) -> Cluster {
    mesh_proto::json::from_json(value).unwrap()
}

#[test]
fn equal_selections_are_one_while_a_proxy_has_it() {
    let mut selection = Selection::default();
    let kept = rule("kept", vec![(ApplyTo::Cluster, Operation::Merge, json!({"alt_stat_name": "x"}))]);
    let first = Arc::new(RuleIndex::new([kept.clone()]));
    let before = patches(&mut selection, &first, &[]).unwrap();
    let other = rule("other", vec![(ApplyTo::Cluster, Operation::Merge, json!({"alt_stat_name": "y"}))]);
    let second = Arc::new(RuleIndex::new([kept, other]));
    assert_ne!(patches(&mut selection, &second, &[]).unwrap(), before);
    assert_eq!(patches(&mut selection, &second, &["other"]).unwrap(), before);
    assert!(patches(&mut selection, &second, &["other", "kept"]).is_none());
}

#[test]
fn a_merge_sets_values_even_to_zero_and_replaces_lists_only_if_asked() {
    let check = |base: Value, patch: Value, lists, expected: Value| {
        let mut merged = cluster(&base);
        let patches = [rule("r", vec![(ApplyTo::Cluster, Operation::Merge, patch)])];
        let Spec::EnvoyFilter(filter) = &patches[0].spec else { unreachable!() };
        let compiled = compile::Compiled::new(filter);
        assert_eq!(compiled.diagnostics, []);
        merge(&mut merged, compiled.patches[0].value().unwrap(), lists);
        assert_eq!(merged, cluster(&expected));
    };
    let keepalive =
        |seconds: u32| json!({"upstream_connection_options": {"tcp_keepalive": {"keepalive_time": seconds}}});
    check(keepalive(7), keepalive(0), Lists::Append, keepalive(0));
    check(
        json!({"connect_timeout": "1.5s", "name": "a"}),
        json!({"connect_timeout": "2s"}),
        Lists::Append,
        json!({"connect_timeout": "2s", "name": "a"}),
    );
    let thresholds = |list: &[u32]| {
        let list: Vec<Value> = list.iter().map(|n| json!({"max_requests": n})).collect();
        json!({"circuit_breakers": {"thresholds": list}})
    };
    check(thresholds(&[1]), thresholds(&[2]), Lists::Append, thresholds(&[1, 2]));
    check(thresholds(&[1]), thresholds(&[2]), Lists::Replace, thresholds(&[2]));
}

#[test]
fn a_packed_message_is_merged_with_its_own_type_and_replaces_any_other() {
    let socket = |value: Value| json!({"transport_socket": {"name": "tls", "typed_config": value}});
    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let raw = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    let merged = |patch: Value| {
        let mut base = cluster(&socket(json!({"@type": tls, "sni": "a", "max_session_keys": 3})));
        let rule = rule("r", vec![(ApplyTo::Cluster, Operation::Merge, socket(patch))]);
        let Spec::EnvoyFilter(filter) = &rule.spec else { unreachable!() };
        let compiled = compile::Compiled::new(filter);
        merge(&mut base, compiled.patches[0].value().unwrap(), Lists::Append);
        base
    };
    let same = merged(json!({"@type": tls, "sni": "b"}));
    assert_eq!(same, cluster(&socket(json!({"@type": tls, "sni": "b", "max_session_keys": 3}))));
    assert_eq!(merged(json!({"@type": raw})), cluster(&socket(json!({"@type": raw}))));
}

#[test]
fn ten_thousand_patches_are_applied_in_bounded_time() {
    let many: Vec<_> =
        (0..10_000).map(|i| (ApplyTo::Cluster, Operation::Merge, json!({"alt_stat_name": format!("s{i}")}))).collect();
    let rules = Arc::new(RuleIndex::new([rule("many", many)]));
    let found = patches(&mut Selection::default(), &rules, &[]).unwrap();
    let one = Resource::new("c", &cluster(&json!({"name": "c"})));
    let out = found.clusters(Context::SidecarOutbound, vec![one], &mut Vec::new());
    let last: Cluster = mesh_proto::Message::decode(out[0].body.clone()).unwrap();
    assert_eq!(last.alt_stat_name, "s9999");
}

#[test]
fn a_value_that_nests_without_end_is_refused_and_no_patch_of_it_applies() {
    let mut filter = json!({"any": true});
    for _ in 0..200 {
        filter = json!({"not_rule": filter});
    }
    let rbac = json!({
        "name": "x",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"policies": {"p": {"permissions": [filter], "principals": [{"any": true}]}}},
        },
    });
    let rule = rule("deep", vec![(ApplyTo::HttpFilter, Operation::InsertFirst, rbac)]);
    let Spec::EnvoyFilter(filter) = &rule.spec else { unreachable!() };
    let compiled = compile::Compiled::new(filter);
    assert!(compiled.patches.is_empty());
    assert_eq!(compiled.diagnostics.len(), 1);
}
