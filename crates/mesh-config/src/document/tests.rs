#![allow(clippy::unwrap_used)]

use super::*;

fn check(text: &str, objects: &[&str], diagnostics: &[&str]) -> Contents {
    let contents = read(&"f.yaml".into(), text.as_bytes());
    let found: Vec<String> = contents
        .objects
        .iter()
        .map(|o| format!("{} line {}", o.meta.object, o.meta.location.as_ref().unwrap().line))
        .collect();
    assert_eq!(found, objects, "{text}");
    let mut said = contents.diagnostics.clone();
    said.extend(unknown_kinds([&contents]));
    let said: Vec<String> = said.iter().map(|d| format!("{}: {d}", d.severity)).collect();
    assert_eq!(said, diagnostics, "{text}");
    contents
}

#[test]
fn lists_are_taken_apart_and_may_imply_the_kind() {
    check(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a, namespace: x}\n- {apiVersion: v1, kind: Node, metadata: {name: n, namespace: x}}\n",
        &["Pod x/a line 4", "Node n line 7"],
        &[],
    );
    check(
        "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n",
        &["Service default/a line 4", "Service default/b line 5"],
        &[],
    );
}

#[test]
fn kinds_that_nobody_reads_are_counted_once_and_cost_nothing() {
    check(
        "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: apps/v1\nkind: Deployment\n---\napiVersion: gateway.example.com/v1\nkind: Gateway\n",
        &[],
        &[
            "info: f.yaml:1: Deployment (apps/v1) is not a kind that the mesh reads, found 2 of it; they are ignored",
            "info: f.yaml:7: Gateway (gateway.example.com/v1) is not a kind that the mesh reads, found 1 of it; it is ignored",
        ],
    );
}

#[test]
fn what_is_no_object_is_said_and_skipped() {
    check(
        "replicas: 3\n---\nkind: Pod\n---\napiVersion: v1\n---\napiVersion: v2\nkind: Pod\n---\n- 1\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: ok}\n",
        &["Pod default/ok line 12"],
        &[
            "warning: f.yaml:1: found a map without kind and apiVersion, expected a Kubernetes object; the document is ignored",
            "error: f.yaml:3: found kind \"Pod\" without apiVersion, expected a Kubernetes object; the document is ignored",
            "error: f.yaml:5: found apiVersion without kind, expected a Kubernetes object; the document is ignored",
            "error: f.yaml:7: apiVersion: Pod: found \"v2\", expected v1; the object is ignored",
            "warning: f.yaml:10: found a list of 1 without kind and apiVersion, expected a Kubernetes object; the document is ignored",
        ],
    );
}

#[test]
fn metadata_is_read_or_the_object_is_not() {
    let contents = check(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {x: y}\n  creationTimestamp: 1970-01-01T00:01:00Z\n  resourceVersion: '7'\n",
        &["Pod default/a line 1"],
        &[],
    );
    let meta = &contents.objects[0].meta;
    assert_eq!((meta.labels.get("x"), meta.created, &*meta.resource_version), (Some("y"), 60, "7"));
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n",
        &[],
        &[
            "error: f.yaml:3: metadata.name: found nothing, expected a name of lower-case letters, digits, '-' and '.', at most 253 long; the object is ignored",
        ],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: Big, labels: {v: 1}}\n",
        &[],
        &[
            "error: f.yaml:3: Pod default/Big: metadata.name: found \"Big\", expected a name of lower-case letters, digits, '-' and '.', at most 253 long; the object is ignored",
            "error: f.yaml:3: Pod default/Big: metadata.labels[v]: found 1, expected text (put the value in quotes); the object is ignored",
        ],
    );
}
