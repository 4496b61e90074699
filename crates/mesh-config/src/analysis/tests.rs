//! What our own analyses prove, and what they leave alone.
#![allow(clippy::unwrap_used)]

use super::*;

/// Codes that `text` gives, of those that begin with `PLT`, with their lines.
fn ours(text: &str) -> Vec<(&'static str, u32)> {
    let (objects, unreadable) = read(&"f.yaml".into(), text.as_bytes(), "default");
    assert_eq!(unreadable, []);
    let mesh = Mesh::new(objects, Settings::default());
    let found = Filter::default().apply(analyze(&mesh, ANALYZERS));
    found.iter().filter(|f| f.code.id.starts_with("PLT")).map(|f| (f.code.id, f.line)).collect()
}

/// The codes for HTTP rules with `matches`, one rule each.
fn check_http(matches: &[&str], wanted: &[&str]) {
    let routes: String =
        matches.iter().map(|m| format!("  - match: [{m}]\n    route: [{{destination: {{host: a}}}}]\n")).collect();
    let head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n";
    let found = ours(&format!("{head}spec:\n  hosts: [a]\n  http:\n{routes}"));
    let found: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(found, wanted, "{matches:?}");
}

#[test]
fn a_route_behind_a_wider_one_never_matches() {
    let shadowed = &["PLT0001"];
    check_http(&["{uri: {prefix: /a}}", "{uri: {exact: /a/b}}"], shadowed);
    check_http(&["{uri: {prefix: /a}}", "{uri: {prefix: /ab}, method: {exact: GET}}"], shadowed);
    check_http(&["{headers: {X: {}}}", "{headers: {x: {regex: a.*}}, port: 80}"], shadowed);
    check_http(&["{uri: {regex: a.*}}", "{uri: {regex: a.*}}"], shadowed);
    check_http(&["{uri: {prefix: /a}}", "{uri: {exact: /a}}, {uri: {exact: /b}}"], &["PLT0002"]);
}

#[test]
fn a_route_that_something_is_left_for_is_left_alone() {
    for pair in [
        ["{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}"],
        ["{uri: {prefix: /a}, method: {exact: GET}}", "{uri: {exact: /a}}"],
        ["{uri: {prefix: /a}}", "{uri: {prefix: /a}, ignoreUriCase: true}"],
        ["{uri: {regex: .*}}", "{uri: {exact: /a}}"],
        ["{withoutHeaders: {x: {}}}", "{uri: {exact: /a}}"],
        ["{withoutHeaders: {x: {}}}", "{withoutHeaders: {x: {exact: a}}}"],
        ["{queryParams: {X: {exact: a}}}", "{queryParams: {x: {exact: a}}}"],
        ["{sourceLabels: {app: a}}", "{sourceNamespace: b}"],
        ["{uri: {prefix: /}}", "{method: {exact: OPTIONS}}"],
    ] {
        check_http(&pair, &[]);
    }
}

#[test]
fn a_match_that_contradicts_itself_can_never_hold() {
    check_http(&["{uri: {prefix: a}}"], &["PLT0003"]);
    check_http(&["{headers: {x: {exact: a}}, withoutHeaders: {X: {}}}"], &["PLT0003"]);
    check_http(&["{gateways: [other]}"], &["PLT0003"]);
    check_http(&["{gateways: [mesh], uri: {exact: '*'}}"], &[]);
}

#[test]
fn delegates_are_used_and_rules_bound() {
    let rule = |name: &str, spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let route = "http: [{route: [{destination: {host: a}}]}]";
    let root = rule("root", "{hosts: [a], http: [{match: [{uri: {prefix: /}}], delegate: {name: used}}]}");
    let used = rule("used", &format!("{{{route}}}"));
    assert_eq!(ours(&format!("{root}{used}")), []);
    assert_eq!(ours(&used), [("PLT0004", 1)]);
    assert_eq!(ours(&root).first().map(|(code, _)| *code), Some("PLT0005"));
    assert_eq!(ours(&rule("a", &format!("{{hosts: [a.b], gateways: [gone], {route}}}"))), [("PLT0006", 4)]);
}

#[test]
fn the_older_of_two_rules_wins() {
    let rule = |name: &str, age: &str, kind: &str, spec: &str| {
        let meta = format!("{{name: {name}, creationTimestamp: \"{age}\"}}");
        format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {meta}\nspec: {spec}\n---\n")
    };
    let (old, new) = ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
    let route = "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}";
    let found = ours(&(rule("a", new, "VirtualService", route) + &rule("b", old, "VirtualService", route)));
    assert_eq!(found, [("PLT0010", 4)]);
    let policy = "{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1}]}";
    let found = ours(&(rule("a", old, "DestinationRule", policy) + &rule("b", new, "DestinationRule", policy)));
    assert_eq!(found, [("PLT0011", 9), ("PLT0012", 9)]);
    let subsets = |name: &str| format!("{{host: a, subsets: [{{name: {name}}}]}}");
    let found =
        ours(&(rule("a", old, "DestinationRule", &subsets("v1")) + &rule("b", new, "DestinationRule", &subsets("v2"))));
    assert_eq!(found, []);
}

#[test]
fn hostile_files_end_quickly_and_cost_one_document() {
    let deep = "[".repeat(100_000);
    let bomb: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1)).collect();
    let text = format!("{deep}\n---\na0: &a0 [x, x]\n{bomb}---\nkind: Pod\nmetadata: {{name: a}}\n");
    let (objects, unreadable) = read(&"f.yaml".into(), text.as_bytes(), "default");
    assert_eq!((objects.len(), unreadable.len()), (1, 2), "{unreadable:?}");
}
