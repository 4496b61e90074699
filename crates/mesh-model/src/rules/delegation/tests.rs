//! Which routes a root ends up with.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::rules::virtual_service::{Destination, HttpMatch, Semantics, StringMatch, WeightedDestination};
use crate::{Hostname, Kind, Visibility};

fn rule(name: &str, hosts: &[&str], http: Vec<HttpRoute>) -> Arc<VirtualService> {
    Arc::new(VirtualService {
        meta: Arc::new(Meta::new(Kind::VirtualService, "shop", name)),
        hosts: hosts.iter().map(|h| Hostname::new(h)).collect(),
        gateways: vec!["mesh".into()],
        export_to: Visibility::Public,
        semantics: Semantics::Istio,
        http,
        tls: Vec::new(),
        tcp: Vec::new(),
    })
}

fn route(name: &str, matches: Vec<HttpMatch>, action: HttpAction) -> HttpRoute {
    HttpRoute {
        name: name.into(),
        matches,
        action,
        timeout: None,
        retries: None,
        headers: Default::default(),
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        origin: None,
    }
}

fn prefix(path: &str) -> HttpMatch {
    HttpMatch { uri: Some(StringMatch::Prefix(path.into())), ..HttpMatch::default() }
}

fn to(host: &str) -> HttpAction {
    let destination = Destination { host: Hostname::new(host), subset: None, port: None };
    HttpAction::Route {
        destinations: vec![WeightedDestination { destination, weight: 100, headers: Default::default() }],
        rewrite: None,
    }
}

fn delegate_to(name: &str) -> HttpAction {
    HttpAction::Delegate { namespace: "shop".into(), name: name.into(), rewrite: None }
}

/// The prefixes of all routes of the only rule that comes out, and what is
/// said.
fn check(rules: &[Arc<VirtualService>], prefixes: &[&str], said: &[&str]) -> Arc<VirtualService> {
    let (resolved, diagnostics) = resolve(rules.to_vec(), &[]);
    assert_eq!(resolved.len(), 1);
    let uris = resolved[0].http.iter().flat_map(|r| &r.matches).map(|m| m.uri.clone());
    let expected: Vec<_> = prefixes.iter().map(|p| Some(StringMatch::Prefix((*p).into()))).collect();
    assert_eq!(uris.collect::<Vec<_>>(), expected);
    let messages: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), said.len(), "{messages:?}");
    for (message, part) in messages.iter().zip(said) {
        assert!(message.contains(part), "{message}");
    }
    resolved[0].clone()
}

#[test]
fn a_delegates_routes_stand_where_the_root_delegates() {
    let root = rule("root", &["a"], vec![route("r", vec![prefix("/x")], delegate_to("d")), route("", vec![], to("a"))]);
    let delegate = rule("d", &[], vec![route("one", vec![prefix("/x/1")], to("b")), route("", vec![], to("c"))]);
    let found = check(&[root, delegate], &["/x/1", "/x"], &[]);
    let names: Vec<&str> = found.http.iter().map(|r| &*r.name).collect();
    assert_eq!(names, ["r-one", "r", ""]);
    let origins: Vec<(String, usize)> =
        found.http.iter().map(|r| r.origin.as_ref().unwrap()).map(|o| (o.meta.name().to_string(), o.index)).collect();
    assert_eq!(origins, [("d".to_owned(), 0), ("d".to_owned(), 1), ("root".to_owned(), 1)]);
}

#[test]
fn a_delegate_cannot_widen_what_it_is_given() {
    let root = rule("root", &["a"], vec![route("", vec![prefix("/x")], delegate_to("d"))]);
    let delegate =
        rule("d", &[], vec![route("", vec![prefix("/")], to("b")), route("", vec![prefix("/x/y")], to("c"))]);
    check(&[root, delegate], &["/x/y"], &["shop/d: spec.http[0].match: its conditions are not within"]);
}

#[test]
fn what_a_delegate_leaves_out_it_has_from_the_root() {
    let timeout = |seconds| Some(Duration::from_secs(seconds));
    let root = HttpRoute { timeout: timeout(5), ..route("", vec![], delegate_to("d")) };
    let own = HttpRoute { timeout: timeout(0), ..route("", vec![prefix("/own")], to("b")) };
    let rules = [rule("root", &["a"], vec![root]), rule("d", &[], vec![own, route("", vec![prefix("/")], to("c"))])];
    let found = check(&rules, &["/own", "/"], &[]);
    assert_eq!(found.http.iter().map(|r| r.timeout).collect::<Vec<_>>(), [timeout(0), timeout(5)]);
}

#[test]
fn what_cannot_be_delegated_to_is_left_out_and_said() {
    let root = |target| {
        rule("root", &["a"], vec![route("", vec![], delegate_to(target)), route("", vec![prefix("/")], to("a"))])
    };
    check(&[root("none")], &["/"], &["shop/none, which does not exist"]);
    check(&[root("root")], &["/"], &["shop/root, which has hosts of its own"]);
    let hidden = VirtualService { export_to: Visibility::None, ..(*rule("d", &[], vec![])).clone() };
    check(&[root("d"), Arc::new(hidden)], &["/"], &["shop/d, which is not exported to namespace shop"]);
}

#[test]
fn a_delegate_alone_applies_to_nothing() {
    let (resolved, said) = resolve(vec![rule("d", &[], vec![route("", vec![], to("a"))])], &[]);
    assert!(resolved.is_empty() && said.is_empty());
}

#[test]
fn what_is_merged_again_to_the_same_is_the_same() {
    let rules = vec![
        rule("root", &["a"], vec![route("", vec![], delegate_to("d"))]),
        rule("d", &[], vec![route("", vec![prefix("/")], to("b"))]),
    ];
    let (first, _) = resolve(rules.clone(), &[]);
    let (second, _) = resolve(rules, &first);
    assert!(Arc::ptr_eq(&first[0], &second[0]));
}
