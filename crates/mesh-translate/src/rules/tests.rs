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
    assert_eq!(found.rules.iter().map(|r| &**r.meta.name()).collect::<Vec<_>>(), expected);
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
    let chosen = rule("web", "chosen", HOST, &[("app", "x")], only(&["web"]));
    check(&[general.clone(), chosen.clone()], "web", &[("app", "x")], &["chosen"]);
    check(&[general, chosen], "web", &[("app", "y")], &["general"]);
}

fn only(namespaces: &[&str]) -> Visibility {
    Visibility::Namespaces(namespaces.iter().map(|n| (*n).into()).collect())
}

#[test]
fn of_rules_that_other_namespaces_see_the_youngest_stands_alone() {
    let everywhere = rule("shop", "a", HOST, &[], Visibility::Public);
    let two = rule("shop", "b", HOST, &[], only(&["shop", "web"]));
    let same = rule("shop", "c", HOST, &[], Visibility::Public);
    check(&[everywhere.clone(), two.clone(), same.clone()], "web", &[], &["b"]);
    check(&[everywhere, two, same], "other", &[], &["a", "c"]);
    let narrow = rule("shop", "a", HOST, &[], only(&["web"]));
    let wide = rule("shop", "b", HOST, &[], only(&["shop", "web"]));
    check(&[narrow, wide], "web", &[], &["b"]);
}

#[test]
fn equal_selectors_are_merged_and_of_others_the_oldest_holds() {
    let selector = &[("app", "x")];
    let own = only(&["web"]);
    let one = rule("web", "one", HOST, selector, own.clone());
    let other = rule("web", "other", HOST, &[("version", "v1")], own.clone());
    let same = rule("web", "same", HOST, selector, own.clone());
    let private = rule("web", "private", HOST, &[], own);
    let rules = [one, other, same, private];
    check(&rules, "web", &[("app", "x"), ("version", "v1")], &["one", "same", "private"]);
    check(&rules, "web", &[("version", "v1")], &["other", "private"]);
    check(&rules, "web", &[], &["private"]);
}

#[test]
fn in_the_root_namespace_a_rule_for_the_mesh_does_not_hide_a_services() {
    let mesh = rule("istio-system", "mesh", "*.local", &[], Visibility::Public);
    let service = rule("shop", "service", HOST, &[], Visibility::Public);
    let private = rule("istio-system", "private", HOST, &[], only(&["istio-system"]));
    check(&[mesh.clone(), service.clone()], "istio-system", &[], &["service"]);
    check(std::slice::from_ref(&mesh), "istio-system", &[], &["mesh"]);
    check(&[mesh, service, private], "istio-system", &[], &["private"]);
}
