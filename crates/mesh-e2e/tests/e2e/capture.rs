//! Packet capture, as in a cluster: two network namespaces, iptables rules that
//! send traffic to 15001 and 15006, proxies as user 1337, applications as
//! another.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mesh_e2e::binary;
use mesh_e2e::mesh::Pilot;
use mesh_e2e::namespace::{Namespace, Pair};
use mesh_e2e::process::Process;
use mesh_e2e::sidecar::{self, Kind, Node};
use mesh_e2e::wait;
use serde_json::json;

const LIMIT_S: u64 = 90;
const PROXY_USER: u32 = 1337;
const APPLICATION_USER: u32 = 1000;
const SERVICE: &str = "web.default.svc.cluster.local";
const SERVICE_ADDRESS: &str = "10.96.0.20";

/// Istio's rules: everything that the workload sends or receives by TCP, except what the proxy itself sends.
const RULES: &str = "*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m multiport --dports 15010,15014,15000 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";

const MANIFESTS: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.20
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.77.0.2], conditions: {ready: true}, targetRef: {kind: Pod, namespace: default, name: web-1}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: default, labels: {app: web}}
spec: {containers: [{name: web, image: example.com/web, ports: [{containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.77.0.2, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, labels: {app: client}}
spec: {containers: [{name: client, image: example.com/client}]}
status: {phase: Running, podIP: 10.77.0.1, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [web]
  http:
  - headers: {response: {set: {x-mesh: captured}}}
    route: [{destination: {host: web}}]
";

/// Answers every request with the caller's address and the path.
const APPLICATION: &str = "
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = f'{self.client_address[0]} {self.path}'.encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8080), Answer).serve_forever()
";

/// One GET, printed as status, the mesh's header, body.
const CLIENT: &str = "
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
request = urllib.request.Request(sys.argv[1], headers={'host': sys.argv[2]})
with opener.open(request, timeout=5) as answer:
    print(answer.status, answer.headers.get('x-mesh'), answer.read().decode())
";

/// A proxy inside a namespace, as user 1337, without a network of its own to reach the test.
fn start_proxy(kind: &Kind, namespace: &Namespace, node: &Node, pilot: &str, dir: &Path) -> Process {
    let control_plane: SocketAddr = format!("{pilot}:15010").parse().unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], 15000));
    let mut bootstrap = sidecar::bootstrap(node, control_plane, admin, "DELTA_GRPC");
    bootstrap["stats_flush_interval"] = json!("1s");
    let path = dir.join(format!("{}.json", node.name));
    std::fs::write(&path, bootstrap.to_string()).unwrap();
    let program = kind.command();
    let mut command = namespace.command(PROXY_USER, program.get_program());
    command.args(program.get_args()).arg("-c").arg(path);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
    Process::start(&format!("proxy of {}", node.name), &mut command)
}

async fn check(kind: &Kind) {
    let Some(pair) = Pair::new() else { return };
    let python = "/usr/bin/python3";
    if Command::new(python).arg("--version").output().is_err() {
        eprintln!("skipped: no {python}");
        return;
    }
    wait::bounded(LIMIT_S, async {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let manifests = dir.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(manifests.join("web.yaml"), MANIFESTS).unwrap();

        // The control plane runs beside the web application. Its neighbour's proxy must not reach it at 10.77.0.2: what
        // a proxy sends to its own workload's address is captured.
        let address = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
        let pilot = Pilot::command(&manifests, address(15010), address(15014));
        let mut command = pair.right.command(PROXY_USER, binary::pilothouse());
        let _pilot = Process::start("discovery", command.args(pilot.get_args()));
        for namespace in [&pair.left, &pair.right] {
            namespace.capture(RULES).unwrap();
        }
        let mut node = Node::uncaptured("client", [10, 77, 0, 1].into());
        node.capture = "REDIRECT";
        let _client = start_proxy(kind, &pair.left, &node, "10.77.0.2", dir.path());
        let mut node = Node::uncaptured("web-1", [10, 77, 0, 2].into());
        node.capture = "REDIRECT";
        let _web = start_proxy(kind, &pair.right, &node, "127.0.0.1", dir.path());
        let mut application = pair.right.command(APPLICATION_USER, python);
        let _application = Process::start("application", application.args(["-c", APPLICATION]));

        // The service's own address has no host: only capture can lead anywhere.
        let url = format!("http://{SERVICE_ADDRESS}/hello");
        let answer = wait::until("a captured request is answered", Duration::from_secs(30), || async {
            get(&pair.left, python, &url, SERVICE)
        })
        .await;
        // The inbound proxy calls its application from 127.0.0.6, so that the kernel does not capture it again.
        assert_eq!(answer, "200 captured 127.0.0.6 /hello");

        // An address that no service has passes through both proxies as it is.
        let answer = get(&pair.left, python, "http://10.77.0.2:8080/direct", "10.77.0.2:8080").unwrap();
        assert_eq!(answer, "200 None 127.0.0.6 /direct");
    })
    .await;
}

fn get(namespace: &Namespace, python: &str, url: &str, host: &str) -> Result<String, String> {
    let mut client = namespace.command(APPLICATION_USER, python);
    let output = client.args(["-c", CLIENT, url, host]).output().map_err(|error| error.to_string())?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.trim().to_owned()) } else { Err(err.lines().last().unwrap_or_default().into()) }
}

/// The proxies run as another user than the test.
fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn native_proxies_carry_captured_traffic() {
    check(&Kind::Native).await;
}

#[tokio::test]
async fn envoy_proxies_carry_captured_traffic() {
    let Some(envoy) = Kind::envoy() else { return };
    check(&envoy).await;
}
