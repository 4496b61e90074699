#![allow(clippy::unwrap_used)]

use mesh_proto::json;

use super::*;

fn proxy(yaml: &str) -> Result<Proxy, String> {
    Proxy::from_node(&json::from_yaml(yaml).unwrap()).map_err(|e| e.to_string())
}

fn check_refused(yaml: &str, expected: &str) {
    let text = proxy(yaml).unwrap_err();
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_sidecar_is_read_from_id_and_metadata() {
    let proxy = proxy(
        "id: sidecar~10.0.0.1~web-0.shop~shop.svc.cluster.local\n\
         locality: {region: r, zone: z}\n\
         metadata: {LABELS: {app: web}, INSTANCE_IPS: '10.0.0.1,fd00::1', INTERCEPTION_MODE: NONE, CLUSTER_ID: c}\n",
    )
    .unwrap();
    assert_eq!((&*proxy.workload.namespace, &*proxy.workload.name), ("shop", "web-0"));
    assert_eq!(proxy.addresses.len(), 2);
    assert_eq!(proxy.labels.get("app"), Some("web"));
    assert_eq!((proxy.capture, proxy.generator), (Capture::None, Generator::Envoy));
    assert_eq!(proxy.locality.to_string(), "r/z");
}

#[test]
fn the_namespace_in_metadata_is_preferred_to_the_domains() {
    let proxy =
        proxy("id: sidecar~1.1.1.1~app.test~default.svc.cluster.local\nmetadata: {NAMESPACE: other}\n").unwrap();
    assert_eq!(&**proxy.namespace(), "other");
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    check_refused("id: a~b\n", "found 2 parts");
    check_refused("id: waypoint~1.1.1.1~a.b~b.svc\n", "expected \"sidecar\" or \"router\"");
    check_refused("id: sidecar~nowhere~a.b~b.svc\n", "\"nowhere\", expected an IP address");
    check_refused("id: sidecar~1.1.1.1~a.b~b.svc\nmetadata: {GENERATOR: api}\n", "metadata.GENERATOR");
    check_refused("id: sidecar~1.1.1.1~a.b~b.svc\nmetadata: {INTERCEPTION_MODE: X}\n", "REDIRECT, TPROXY or NONE");
    check_refused("id: sidecar~1.1.1.1~a~\n", "metadata.NAMESPACE is absent");
}
