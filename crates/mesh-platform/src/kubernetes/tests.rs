#![allow(clippy::unwrap_used)]

use mesh_config::document;
use mesh_config::reader::Fallback;
use mesh_model::rules::MeshConfig;
use mesh_model::{Endpoint, Health, Resolution, Severity, Visibility};

use super::*;

/// Reads and joins all documents of `text`; findings are lines.
fn load(text: &str) -> (Assembled, Vec<String>) {
    let contents = document::read(&"f.yaml".into(), text.as_bytes());
    let mut diagnostics = contents.diagnostics.clone();
    let mut resources = Vec::new();
    for object in &contents.objects {
        let parsed = read(object, &MeshConfig::default(), Fallback::Ignored);
        diagnostics.extend(parsed.diagnostics);
        resources.extend(parsed.value);
    }
    let assembled = assemble(&resources);
    diagnostics.extend(assembled.diagnostics.clone());
    let lines = diagnostics.iter().filter(|d| d.severity > Severity::Info).map(|d| d.to_string()).collect();
    (assembled, lines)
}

fn endpoint(e: &Endpoint) -> String {
    let health = match e.health {
        Health::Healthy => "",
        Health::Unhealthy => " unhealthy",
        Health::Draining => " draining",
        Health::Terminating => " terminating",
    };
    format!("{}:{}/{}{health} {}@{}", e.address, e.port, e.port_name, e.workload, e.locality)
}

/// All endpoints, with the source that says so.
fn endpoints(assembled: &Assembled) -> Vec<String> {
    let of = |((_, source), list): (&(_, mesh_model::Name), &Vec<Endpoint>)| {
        list.iter().map(|e| format!("{source} {}", endpoint(e))).collect::<Vec<_>>()
    };
    assembled.endpoints.iter().flat_map(of).collect()
}

fn check(text: &str, expected: &[&str], findings: &[&str]) {
    let (assembled, lines) = load(text);
    assert_eq!(endpoints(&assembled), expected, "{text}");
    assert_eq!(lines, findings, "{text}");
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, name: http, targetPort: web}]
";

fn pod(name: &str, ip: &str, status: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web}}}}
spec:
  serviceAccountName: web
  nodeName: n1
  containers: [{{name: c, ports: [{{name: web, containerPort: 8080}}]}}]
status: {{podIP: {ip}{status}}}
"
    )
}

const NODE: &str = "---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, failure-domain.beta.kubernetes.io/zone: eu-1, topology.istio.io/subzone: r7}}
";

fn slice(name: &str, endpoints: &str) -> String {
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:
{endpoints}"
    )
}

#[test]
fn services_are_converted_as_istio_does() {
    let (assembled, findings) = load(
        "
apiVersion: v1
kind: Service
metadata: {name: dual, namespace: shop, annotations: {networking.istio.io/exportTo: '., infra'}}
spec:
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1, 'fd00::1']
  ports:
  - {name: grpc-api, port: 8000}
  - {name: web, port: 80, appProtocol: http, targetPort: 8080}
  - {name: dns, port: 53, protocol: UDP, targetPort: dns}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, ports: [{port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: db.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: written}
spec: {ports: [{port: 80}], internalTrafficPolicy: Local}
",
    );
    let line = |s: &Arc<mesh_model::Service>| {
        let ports: Vec<String> =
            s.ports.iter().map(|p| format!("{} {} {} {:?}", p.number, p.name, p.protocol, p.target)).collect();
        let addresses: Vec<String> = s.addresses.iter().map(|a| a.to_string()).collect();
        format!("{} {} [{}] {}", s.hostname, s.resolution.as_str(), addresses.join(" "), ports.join(", "))
    };
    let services: Vec<String> = assembled.services.values().map(line).collect();
    assert_eq!(
        services,
        [
            "alias.default.svc.cluster.local Alias [] ",
            "dual.shop.svc.cluster.local ClientSideLB [10.0.0.1/32 fd00::1/128] 8000 grpc-api GRPC Number(8000), \
         80 web HTTP Number(8080), 53 dns UDP Name(\"dns\")",
            "headless.default.svc.cluster.local Passthrough [] 3306  TCP Number(3306)",
            "written.default.svc.cluster.local ClientSideLB [] 80  UnsupportedProtocol Number(80)",
        ]
    );
    let by_name = |name: &str| assembled.services.values().find(|s| &**s.meta.name() == name).unwrap();
    assert_eq!(by_name("dual").export_to, Visibility::Namespaces(vec!["infra".into(), "shop".into()]));
    assert_eq!(by_name("alias").resolution, Resolution::Alias("db.example.com".into()));
    assert!(by_name("alias").mesh_external && by_name("headless").is_headless());
    assert_eq!(
        findings,
        [
            "f.yaml:26: Service default/written: spec.internalTrafficPolicy: accepted, not yet applied; the rest of the Service applies"
        ]
    );
}

#[test]
fn a_service_that_kubernetes_would_refuse_is_refused() {
    let check = |spec: &str, expected: &str| {
        let (assembled, findings) =
            load(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n"));
        assert!(assembled.services.is_empty(), "{spec}");
        assert_eq!(findings, [format!("f.yaml:4: Service default/a: {expected}; the object is ignored")]);
    };
    check("{ports: [{port: 0}]}", "spec.ports[0].port: found 0, expected a whole number from 1 to 65535");
    check(
        "{ports: [{port: 1, targetPort: '80'}]}",
        "spec.ports[0].targetPort: found \"80\", expected a port number without quotes, or a container port's name",
    );
    check(
        "{ports: [{port: 1, name: a}, {port: 2}]}",
        "spec.ports[1].name: found nothing, expected a name, since the Service has several ports",
    );
    check(
        "{ports: [{port: 1, name: a}, {port: 1, name: b}]}",
        "spec.ports[1]: port 1 stands twice, expected each number once per protocol",
    );
    check("{type: ExternalName}", "spec.externalName: found nothing, expected a host name");
    check("{clusterIP: ten, ports: [{port: 1}]}", "spec.clusterIP: found \"ten\", expected an IP address");
    check(
        "{selector: {a: 1}, ports: [{port: 1}]}",
        "spec.selector[a]: found 1, expected text (put the value in quotes)",
    );
}

#[test]
fn slices_take_labels_identity_and_locality_from_pods_and_nodes() {
    let endpoints = "- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: a}}\n- {addresses: [10.1.0.2]}\n- {addresses: [10.1.0.3], nodeName: n9}\n";
    let text = [SERVICE, NODE, &pod("a", "10.1.0.1", ""), &pod("b", "10.1.0.2", ""), &slice("s", endpoints)].concat();
    check(
        &text,
        &["s 10.1.0.1:8080/http a@eu/eu-1/r7", "s 10.1.0.2:8080/http b@eu/eu-1/r7", "s 10.1.0.3:8080/http @"],
        &[],
    );
    let (assembled, _) = load(&text);
    let first = &assembled.endpoints.values().next().unwrap()[0];
    assert_eq!((&*first.service_account, first.labels.get("app"), &*first.node), ("web", Some("web"), "n1"));
}

#[test]
fn absent_conditions_count_as_true() {
    let case = |conditions: &str, service_labels: &str, health: &str| {
        let service = SERVICE.replace("{name: web}", &format!("{{name: web, labels: {{{service_labels}}}}}"));
        let endpoint = format!("- {{addresses: [10.1.0.1], conditions: {{{conditions}}}}}\n");
        let expected = format!("s 10.1.0.1:8080/http{health} @");
        check(&[&*service, &slice("s", &endpoint)].concat(), &[&*expected], &[]);
    };
    case("", "", "");
    case("ready: true, terminating: true", "", "");
    case("ready: false, terminating: false", "", " unhealthy");
    case("ready: false", "", " terminating");
    case("ready: false, serving: true, terminating: true", "", " terminating");
    case("ready: false, serving: true, terminating: true", "istio.io/persistent-session: x", " draining");
    case("ready: false, serving: false, terminating: true", "istio.io/persistent-session: x", " terminating");
}

#[test]
fn an_endpoint_whose_pod_is_missing_is_withheld() {
    let endpoints = "- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: gone}}\n- {addresses: [10.1.0.2]}\n";
    check(
        &[SERVICE, &slice("s", endpoints)].concat(),
        &["s 10.1.0.2:8080/http @"],
        &[
            "f.yaml:9: EndpointSlice default/s: endpoints: 1 of 2 endpoints point to Pods that are not here, such as default/gone at 10.1.0.1; they are withheld until the Pods are, since their labels and identity are unknown",
        ],
    );
}

#[test]
fn slices_of_names_and_of_nobody_say_nothing() {
    let fqdn = slice("s", "- {addresses: [a.example.com]}\n").replace("IPv4", "FQDN");
    let nobodys = slice("t", "- {addresses: [10.1.0.1]}\n").replace("kubernetes.io/service-name", "other");
    let strangers = slice("u", "- {addresses: [10.1.0.1]}\n").replace("service-name: web", "service-name: nowhere");
    check(&[SERVICE, &fqdn, &nobodys, &strangers].concat(), &[], &[]);
}

#[test]
fn endpoints_objects_count_only_where_there_are_no_slices() {
    let old = "---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses: [{ip: 10.1.0.1}]
  notReadyAddresses: [{ip: 10.1.0.2}]
  ports: [{name: http, port: 8080}]
";
    check(&[SERVICE, old].concat(), &["web 10.1.0.1:8080/http @", "web 10.1.0.2:8080/http unhealthy @"], &[]);
    let new = slice("s", "- {addresses: [10.1.0.3]}\n");
    check(&[SERVICE, old, &new].concat(), &["s 10.1.0.3:8080/http @"], &[]);
}

#[test]
fn a_pod_with_two_families_is_one_endpoint() {
    let pod = pod("a", "10.1.0.1", ", podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}]");
    let four = slice("four", "- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: a}}\n");
    let six = slice("six", "- {addresses: ['fd00::1'], targetRef: {kind: Pod, name: a}}\n").replace("IPv4", "IPv6");
    check(&[SERVICE, &pod, &four, &six].concat(), &["four 10.1.0.1:8080/http a@"], &[]);
    check(&[SERVICE, &pod, &six].concat(), &["six fd00::1:8080/http a@"], &[]);
}

#[test]
fn without_slices_the_selected_pods_are_the_endpoints() {
    let ready = |status: &str| format!(", conditions: [{{type: Ready, status: '{status}'}}]");
    let text = [
        SERVICE,
        &pod("a", "10.1.0.1", ""),
        &pod("b", "10.1.0.2", &ready("False")),
        &pod("c", "10.1.0.3", &ready("True")),
        &pod("d", "10.1.0.4", ", phase: Succeeded"),
        &pod("e", "10.1.0.5", "").replace("app: web", "app: other"),
        &pod("f", "10.1.0.6", "").replace("{name: web,", "{name: oops,"),
    ]
    .concat();
    check(
        &text,
        &["pods 10.1.0.1:8080/http a@", "pods 10.1.0.2:8080/http unhealthy b@", "pods 10.1.0.3:8080/http c@"],
        &[
            "f.yaml:2: Service default/web: spec.ports: found targetPort web, which Pod default/f does not declare; Pods without it are no endpoints of this port",
        ],
    );
    let publish = text.replace("selector:", "publishNotReadyAddresses: true\n  selector:");
    let (assembled, _) = load(&publish);
    assert!(assembled.endpoints.values().flatten().all(|e| e.health == Health::Healthy));
}

#[test]
fn pods_are_workloads_with_what_a_sidecar_needs() {
    let (assembled, findings) = load(
        &[
            NODE,
            &pod("a", "10.1.0.1", ""),
            "---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {istio-locality: us.us-1}}
spec: {hostNetwork: true, nodeName: n1}
",
            &pod("done", "10.1.0.9", ", phase: Failed"),
        ]
        .concat(),
    );
    assert_eq!(findings, [""; 0]);
    let line = |w: &Arc<mesh_model::Workload>| {
        let ports: Vec<String> = w.ports.iter().map(|p| format!("{}={}", p.name, p.number)).collect();
        format!(
            "{} {:?} sa={} {} ready={} host={} {}",
            w.meta.name(),
            w.addresses,
            w.service_account,
            w.locality,
            w.ready,
            w.host_network,
            ports.join(",")
        )
    };
    let workloads: Vec<String> = assembled.workloads.values().map(line).collect();
    assert_eq!(
        workloads,
        [
            "a [10.1.0.1] sa=web eu/eu-1/r7 ready=true host=false web=8080",
            "bare [] sa=default us/us-1 ready=false host=true ",
        ]
    );
}
