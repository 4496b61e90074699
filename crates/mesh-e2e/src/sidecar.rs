//! Proxies of a test's mesh: native or Envoy, with the same bootstrap.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http1::{self, Answer};
use crate::mesh::{Mesh, Pilot};
use crate::process::Process;
use crate::{address, binary, peers, wait};

/// How long a proxy may take until its listeners are there.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Which data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `pilothouse proxy`.
    Native,
    /// An unmodified Envoy.
    Envoy(PathBuf),
}

impl Kind {
    /// Envoy, or `None` after saying that the test is skipped.
    #[must_use]
    pub fn envoy() -> Option<Self> {
        peers::envoy().map(Self::Envoy)
    }

    /// The command that runs it, without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Native => {
                let mut command = binary::command();
                command.arg("proxy");
                command
            }
            Self::Envoy(path) => Command::new(path),
        }
    }
}

/// Whom a proxy says it is.
#[derive(Debug, Clone)]
pub struct Node {
    /// Pod name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Address of its workload.
    pub address: IpAddr,
    /// Labels that it claims.
    pub labels: Value,
    /// `INTERCEPTION_MODE`.
    pub capture: &'static str,
}

impl Node {
    /// A workload of `default` to which nothing is captured.
    #[must_use]
    pub fn uncaptured(name: &str, address: IpAddr) -> Self {
        let app = name.split('-').next().unwrap_or(name);
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            address,
            labels: json!({"app": app}),
            capture: "NONE",
        }
    }

    /// Its id, in Istio's form.
    #[must_use]
    pub fn id(&self) -> String {
        let Self { name, namespace, address, .. } = self;
        format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local")
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id(),
            "cluster": format!("{}.{}", self.name, self.namespace),
            "metadata": {
                "NAME": self.name,
                "NAMESPACE": self.namespace,
                "LABELS": self.labels,
                "INSTANCE_IPS": self.address.to_string(),
                "INTERCEPTION_MODE": self.capture,
                "CLUSTER_ID": "Kubernetes",
                "SERVICE_ACCOUNT": "default",
                "ISTIO_VERSION": "1.24.0",
            },
        })
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Sidecar {
    /// Its admin interface.
    pub admin: SocketAddr,
    /// Its process.
    pub process: Process,
    _dir: tempfile::TempDir,
}

impl Sidecar {
    /// Starts a proxy that takes its configuration from the control plane over delta ADS, and waits until it is live.
    pub async fn start(kind: &Kind, node: &Node, control_plane: SocketAddr) -> Self {
        Self::start_with(kind, node, control_plane, "DELTA_GRPC").await
    }

    /// As [`Self::start`], with the ADS variant named: `GRPC` or `DELTA_GRPC`.
    pub async fn start_with(kind: &Kind, node: &Node, control_plane: SocketAddr, api_type: &str) -> Self {
        let admin = address::free(IpAddr::from([127, 0, 0, 1]));
        Self::run(kind, &node.name, &bootstrap(node, control_plane, admin, api_type), admin).await
    }

    /// Starts a proxy on a bootstrap of the test's own, and waits until it is live.
    pub async fn run(kind: &Kind, name: &str, bootstrap: &Value, admin: SocketAddr) -> Self {
        let sidecar = Self::launch(kind, name, bootstrap, admin);
        sidecar.wait_live(name).await;
        sidecar
    }

    /// Starts a proxy, and does not wait.
    ///
    /// # Panics
    /// If the process cannot be started.
    #[must_use]
    pub fn launch(kind: &Kind, name: &str, bootstrap: &Value, admin: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = dir.path().join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut command = kind.command();
        command.arg("-c").arg(&path).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        command.args(["--file-flush-interval-msec", "50"]);
        let process = Process::start(&format!("proxy of {name}"), &mut command);
        Self { admin, process, _dir: dir }
    }

    /// Waits until the proxy has its listeners.
    pub async fn wait_live(&self, name: &str) {
        wait::until(&format!("the proxy of {name} is live"), START_LIMIT, || async {
            match http1::get(self.admin, "/ready").await? {
                Answer { status: 200, .. } => Ok(()),
                other => Err(format!("/ready answers {} {}", other.status, other.body)),
            }
        })
        .await;
    }

    /// An admin page.
    ///
    /// # Panics
    /// If there is no answer, or not a 200.
    pub async fn page(&self, path: &str) -> Answer {
        let answer = http1::get(self.admin, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer
    }
}

/// The client's sidecar.
pub async fn start_frontend(kind: &Kind, mesh: &Mesh, pilot: &Pilot) -> Sidecar {
    let sidecar = Sidecar::start(kind, &Node::uncaptured("frontend", mesh.frontend()), pilot.grpc).await;
    wait_listening(mesh.entrance()).await;
    sidecar
}

/// Waits until something listens at `address`.
pub async fn wait_listening(address: SocketAddr) {
    wait::until(&format!("something listens on {address}"), START_LIMIT, || async {
        tokio::net::TcpStream::connect(address).await.map(drop)
    })
    .await;
}

/// A bootstrap in Envoy's form: a node, an admin interface, and ADS.
#[must_use]
pub fn bootstrap(node: &Node, control_plane: SocketAddr, admin: SocketAddr, api_type: &str) -> Value {
    bootstrap_of(&node.json(), control_plane, admin, api_type)
}

/// As [`bootstrap`], for a node in Envoy's own form.
#[must_use]
pub fn bootstrap_of(node: &Value, control_plane: SocketAddr, admin: SocketAddr, api_type: &str) -> Value {
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": node,
        "admin": {"address": socket(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [control_plane_cluster(control_plane)]},
    })
}

fn control_plane_cluster(address: SocketAddr) -> Value {
    json!({
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}],
        },
    })
}

/// A socket address in Envoy's form.
#[must_use]
pub fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
