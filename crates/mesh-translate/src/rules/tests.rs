#![allow(clippy::unwrap_used)]

use mesh_model::rules::Spec;
use mesh_model::rules::destination_rule::TrafficPolicy;
use mesh_model::{Kind, Meta, Rule, Visibility};

use super::*;

fn rule(namespace: &str, name: &str, host: &str, selector: &[(&str, &str)], export_to: Visibility) -> Arc<Rule> {
    let meta = Arc::new(Meta::new(Kind::DestinationRule, namespace, name));
    let spec = DestinationRule {
        meta: meta.clone(),
        host: Hostname::new(host),
        export_to,
        workload_selector: selector.iter().copied().collect(),
        policy: TrafficPolicy::default(),
        subsets: Vec::new(),
    };
    Arc::new(Rule { meta, spec: Spec::DestinationRule(Arc::new(spec)), document: Arc::default() })
}

fn check(rules: &[Arc<Rule>], namespace: &str, labels: &[(&str, &str)], expected: &[&str]) {
    let lookup = Lookup::new(&RuleIndex::new(rules.iter().cloned()));
    let host = Hostname::new("a.shop.svc.cluster.local");
    let labels = labels.iter().copied().collect();
    let found = lookup.destination(namespace, &labels, &host, "shop", "istio-system");
    assert_eq!(found.iter().map(|r| &**r.meta.name()).collect::<Vec<_>>(), expected);
}

const HOST: &str = "a.shop.svc.cluster.local";

#[test]
fn the_clients_namespace_goes_before_the_services_and_that_before_the_root() {
    let own = rule("web", "own", "*.local", &[], Visibility::Public);
    let service = rule("shop", "service", HOST, &[], Visibility::Public);
    let root = rule("istio-system", "root", HOST, &[], Visibility::Public);
    check(&[own.clone(), service.clone(), root.clone()], "web", &[], &["own"]);
    check(&[service.clone(), root.clone()], "web", &[], &["service"]);
    check(&[root], "web", &[], &["root"]);
    check(&[own], "other", &[], &[]);
}

#[test]
fn the_most_specific_host_wins_and_equal_hosts_are_merged() {
    let wide = rule("shop", "wide", "*.cluster.local", &[], Visibility::Public);
    let narrow = rule("shop", "narrow", "*.shop.svc.cluster.local", &[], Visibility::Public);
    check(&[wide.clone(), narrow.clone()], "web", &[], &["narrow"]);
    let one = rule("shop", "one", HOST, &[], Visibility::Public);
    let two = rule("shop", "two", HOST, &[], Visibility::Public);
    check(&[wide, two, narrow, one], "web", &[], &["one", "two"]);
}

#[test]
fn a_rule_that_is_not_exported_is_not_seen_elsewhere() {
    let private = rule("shop", "private", HOST, &[], Visibility::Namespaces(vec!["shop".into()]));
    check(std::slice::from_ref(&private), "web", &[], &[]);
    check(&[private], "shop", &[], &["private"]);
}

#[test]
fn a_rule_that_selects_the_client_replaces_the_general_one() {
    let general = rule("web", "general", HOST, &[], Visibility::Public);
    let chosen = rule("web", "chosen", HOST, &[("app", "x")], Visibility::Public);
    check(&[general.clone(), chosen.clone()], "web", &[("app", "x")], &["chosen"]);
    check(&[general, chosen], "web", &[("app", "y")], &["general"]);
}
