//! Rules, from the file to what a caller sees, with either data plane.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_e2e::echo::Echo;
use mesh_e2e::http1::{self, Answer};
use mesh_e2e::mesh::{Mesh, Pilot};
use mesh_e2e::sidecar::{Kind, Node, Sidecar, wait_listening};
use mesh_e2e::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT_S: u64 = 90;
const HTTP: u16 = 8081;
const TCP: u16 = 8082;
const WEB: &str = "web.default.svc.cluster.local";

/// Two versions of an HTTP service, a TCP service, and rules for both.
fn manifests(mesh: &Mesh) -> String {
    let (v1, v2) = (mesh.network.ip(21), mesh.network.ip(22));
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  clusterIP: 10.96.0.21
  selector: {{app: web}}
  ports: [{{name: http, port: {HTTP}}}, {{name: tcp, port: {TCP}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: {HTTP}}}, {{name: tcp, port: {TCP}}}]
endpoints:
- {{addresses: [{v1}], conditions: {{ready: true}}, targetRef: {{kind: Pod, namespace: default, name: web-v1}}}}
- {{addresses: [{v2}], conditions: {{ready: true}}, targetRef: {{kind: Pod, namespace: default, name: web-v2}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web-v1, namespace: default, labels: {{app: web, version: v1}}}}
spec: {{containers: [{{name: web, image: example.com/web}}]}}
status: {{phase: Running, podIP: {v1}, conditions: [{{type: Ready, status: 'True'}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web-v2, namespace: default, labels: {{app: web, version: v2}}}}
spec: {{containers: [{{name: web, image: example.com/web}}]}}
status: {{phase: Running, podIP: {v2}, conditions: [{{type: Ready, status: 'True'}}]}}
"
    )
}

const RULES: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: default}
spec:
  host: web
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [web]
  http:
  - name: canary
    match: [{headers: {x-user: {exact: jason}}}]
    route: [{destination: {host: web, subset: v2}}]
  - name: moved
    match: [{uri: {prefix: /old}}]
    rewrite: {uri: /new}
    route: [{destination: {host: web, subset: v1}}]
  - name: elsewhere
    match: [{uri: {exact: /elsewhere}}]
    redirect: {authority: other.example, uri: /there, redirectCode: 302}
  - name: slow
    match: [{uri: {exact: /slow}}]
    timeout: 200ms
    route: [{destination: {host: web, subset: v1}}]
  - name: teapot
    match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - name: retried
    match: [{uri: {prefix: /retried}}]
    retries: {attempts: 2, retryOn: '503', perTryTimeout: 1s}
    route: [{destination: {host: web, subset: v1}}]
  - name: headers
    match: [{uri: {prefix: /headers}}]
    headers:
      request: {set: {x-set: new}, remove: [x-gone]}
      response: {add: {x-answer: mesh}}
    route: [{destination: {host: web, subset: v1}}]
  - name: weighted
    match: [{uri: {prefix: /weighted}}]
    route:
    - {destination: {host: web, subset: v1}, weight: 0}
    - {destination: {host: web, subset: v2}, weight: 100}
  - name: default
    route: [{destination: {host: web, subset: v1}}]
";

struct Scene {
    mesh: Mesh,
    v1: Echo,
    v2: Echo,
    pilot: Pilot,
    _sidecar: Sidecar,
    entrance: SocketAddr,
}

impl Scene {
    async fn start(kind: &Kind) -> Self {
        let mesh = Mesh::new(1);
        mesh.write("web.yaml", &manifests(&mesh));
        mesh.write("rules.yaml", RULES);
        let v1 = Echo::start(SocketAddr::new(mesh.network.ip(21), HTTP)).await;
        let v2 = Echo::start(SocketAddr::new(mesh.network.ip(22), HTTP)).await;
        let pilot = Pilot::start(mesh.path()).await;
        let node = Node::uncaptured("frontend", mesh.frontend());
        let sidecar = Sidecar::start(kind, &node, pilot.grpc).await;
        let entrance = SocketAddr::new(mesh.frontend(), HTTP);
        wait_listening(entrance).await;
        Self { mesh, v1, v2, pilot, _sidecar: sidecar, entrance }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", WEB));
        }
        http1::get_with(self.entrance, path, &all).await.unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    /// Which of the two versions has served since.
    fn served(&self, before: (u64, u64)) -> (u64, u64) {
        (self.v1.requests() - before.0, self.v2.requests() - before.1)
    }

    fn count(&self) -> (u64, u64) {
        (self.v1.requests(), self.v2.requests())
    }
}

async fn check_routing(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let scene = Scene::start(kind).await;
        let check = async |path: &str, headers: &[(&str, &str)], status: u16, served: (u64, u64), body: &str| {
            let before = scene.count();
            let answer = scene.get(path, headers).await;
            assert_eq!((answer.status, scene.served(before)), (status, served), "{path} {headers:?}: {answer:?}");
            assert!(answer.body.contains(body), "{path}: {body:?} is not in {}", answer.body);
            answer
        };
        check("/", &[], 200, (1, 0), "GET / HTTP/1.1").await;
        check("/", &[("x-user", "jason")], 200, (0, 1), "x-user: jason").await;
        check("/old/a?b=c", &[], 200, (1, 0), "GET /new/a?b=c HTTP/1.1").await;
        let moved = check("/elsewhere", &[], 302, (0, 0), "").await;
        assert_eq!(moved.header("location"), Some("http://other.example/there"));
        check("/slow", &[], 504, (1, 0), "").await;
        check("/teapot", &[], 418, (0, 0), "short and stout").await;
        check("/retried/status/503", &[], 503, (3, 0), "").await;
        check("/retried/status/500", &[], 500, (1, 0), "").await;
        let answer = check("/headers", &[("x-gone", "1"), ("x-set", "old")], 200, (1, 0), "x-set: new").await;
        assert!(!answer.body.contains("x-gone") && answer.header("x-answer") == Some("mesh"), "{answer:?}");
        for _ in 0..5 {
            check("/weighted", &[], 200, (0, 1), "").await;
        }
        check("/", &[("host", "web")], 200, (1, 0), "host: web").await;
        check("/", &[("host", "web.default:8081")], 200, (1, 0), "").await;
    })
    .await;
}

#[tokio::test]
async fn a_virtual_service_decides_behind_a_native_sidecar() {
    check_routing(&Kind::Native).await;
}

#[tokio::test]
async fn a_virtual_service_decides_behind_an_envoy_sidecar() {
    let Some(envoy) = Kind::envoy() else { return };
    check_routing(&envoy).await;
}

const REGISTRY_ONLY: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
";

const SERVICE_ENTRY: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: default}
spec:
  hosts: [outside.example]
  ports: [{number: 8081, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: ADDRESS}]
";

async fn check_registry_only(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let scene = Scene::start(kind).await;
        scene.mesh.write("mesh.yaml", REGISTRY_ONLY);
        let outside = [("host", "outside.example:8081")];
        wait::until("an unknown host is refused", Duration::from_secs(10), || async {
            match scene.get("/", &outside).await.status {
                502 => Ok(()),
                status => Err(format!("{status}; {}", scene.pilot.page("/debug/syncz").await.body)),
            }
        })
        .await;
        assert_eq!(scene.get("/", &[]).await.status, 200, "what the mesh knows is served");
        let address = scene.mesh.network.ip(21).to_string();
        scene.mesh.write("outside.yaml", &SERVICE_ENTRY.replace("ADDRESS", &address));
        wait::until("a ServiceEntry lets it through", Duration::from_secs(10), || async {
            match scene.get("/", &outside).await.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn registry_only_refuses_unknown_hosts_behind_a_native_sidecar() {
    check_registry_only(&Kind::Native).await;
}

#[tokio::test]
async fn registry_only_refuses_unknown_hosts_behind_an_envoy_sidecar() {
    let Some(envoy) = Kind::envoy() else { return };
    check_registry_only(&envoy).await;
}

async fn check_tcp(kind: &Kind) {
    wait::bounded(LIMIT_S, async {
        let scene = Scene::start(kind).await;
        let mut servers = Vec::new();
        for host in [21, 22] {
            let listener = tokio::net::TcpListener::bind((scene.mesh.network.ip(host), TCP)).await.unwrap();
            servers.push(tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        writer.write_all(&[host]).await.ok();
                        tokio::io::copy(&mut reader, &mut writer).await.ok();
                    });
                }
            }));
        }
        let entrance = SocketAddr::new(scene.mesh.frontend(), TCP);
        wait_listening(entrance).await;
        let mut hosts = std::collections::BTreeSet::new();
        for _ in 0..6 {
            let mut stream = tokio::net::TcpStream::connect(entrance).await.unwrap();
            let message = vec![7; 300_000];
            let (mut reader, mut writer) = stream.split();
            let write = async {
                writer.write_all(&message).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            tokio::join!(write, async { reader.read_to_end(&mut back).await.unwrap() });
            assert_eq!(back.len(), message.len() + 1, "all bytes come back after a half-close");
            hosts.insert(back[0]);
        }
        assert_eq!(hosts.len(), 2, "connections are spread");
        servers.iter().for_each(tokio::task::JoinHandle::abort);
    })
    .await;
}

#[tokio::test]
async fn tcp_passes_a_native_sidecar_whole() {
    check_tcp(&Kind::Native).await;
}

#[tokio::test]
async fn tcp_passes_an_envoy_sidecar_whole() {
    let Some(envoy) = Kind::envoy() else { return };
    check_tcp(&envoy).await;
}
