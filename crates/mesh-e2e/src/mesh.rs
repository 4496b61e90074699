//! A mesh of one test: a folder of manifests, a control plane on it, and the
//! names by which the test speaks of its parts.
//!
//! The mesh is that of the founding story: a gRPC service `backend` in
//! `default`, port 8000, with replicas, and a client `frontend`. Nothing is
//! captured: a sidecar listens on its workload's own loopback address.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::{self, Network};
use crate::grpc::Replica;
use crate::http1::{self, Answer};
use crate::process::Process;
use crate::{binary, wait};

/// The service that tests call.
pub const BACKEND: &str = "backend.default.svc.cluster.local";
/// Its port.
pub const PORT: u16 = 8000;
/// How long a control plane may take to serve.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A folder of manifests and the addresses of what they describe.
#[derive(Debug)]
pub struct Mesh {
    /// The test's own loopback network.
    pub network: Network,
    /// Replicas that the manifests name.
    pub replicas: u8,
    dir: tempfile::TempDir,
}

impl Mesh {
    /// Manifests of `backend` with so many replicas, and of `frontend`.
    ///
    /// # Panics
    /// If the folder cannot be written.
    #[must_use]
    pub fn new(replicas: u8) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let mesh = Self { network: Network::new(), replicas, dir };
        mesh.write("service.yaml", SERVICE);
        mesh.write("frontend.yaml", &pod("frontend", mesh.frontend(), None));
        mesh.write("endpoints.yaml", &mesh.endpoints(replicas));
        mesh.write_load_balancer("ROUND_ROBIN");
        mesh
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file as editors do: aside, then renamed into place.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let aside = self.dir.path().join(format!(".{name}.tmp"));
        let path = self.dir.path().join(name);
        let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Removes a file.
    ///
    /// # Panics
    /// If it is not there.
    pub fn remove(&self, name: &str) {
        let path = self.dir.path().join(name);
        fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes the DestinationRule of `backend`.
    pub fn write_load_balancer(&self, simple: &str) {
        self.write("destination-rule.yaml", &DESTINATION_RULE.replace("LB", simple));
    }

    /// Writes an EndpointSlice with the first `replicas` of the replicas.
    pub fn write_endpoints(&self, replicas: u8) {
        self.write("endpoints.yaml", &self.endpoints(replicas));
    }

    /// The address of the client's workload, on which its sidecar listens.
    #[must_use]
    pub fn frontend(&self) -> IpAddr {
        self.network.ip(2)
    }

    /// Where the client finds its sidecar's listener for `backend`.
    #[must_use]
    pub fn entrance(&self) -> SocketAddr {
        SocketAddr::new(self.frontend(), PORT)
    }

    /// The workload address of replica `number`, from 1.
    #[must_use]
    pub fn replica(&self, number: u8) -> IpAddr {
        self.network.ip(10 + number)
    }

    /// Where the server of replica `number` itself listens, behind its sidecar.
    #[must_use]
    pub fn application(&self, number: u8) -> IpAddr {
        self.network.ip(110 + number)
    }

    /// Starts all replicas on their workload addresses: the mesh has a sidecar for the client only.
    #[must_use]
    pub fn start_replicas(&self) -> Vec<Replica> {
        (1..=self.replicas).map(|n| Replica::start(&format!("backend-{n}"), (self.replica(n), PORT).into())).collect()
    }

    /// Starts all replicas behind sidecars of their own.
    #[must_use]
    pub fn start_applications(&self) -> Vec<Replica> {
        (1..=self.replicas)
            .map(|n| Replica::start(&format!("backend-{n}"), (self.application(n), PORT).into()))
            .collect()
    }

    fn endpoints(&self, replicas: u8) -> String {
        let mut text = ENDPOINT_SLICE.to_owned();
        for n in 1..=replicas {
            let target = format!("targetRef: {{kind: Pod, namespace: default, name: backend-{n}}}");
            text += &format!("- {{addresses: [{}], conditions: {{ready: true}}, {target}}}\n", self.replica(n));
        }
        for n in 1..=replicas {
            text += &format!("---\n{}", pod(&format!("backend-{n}"), self.replica(n), Some(self.application(n))));
        }
        text
    }
}

fn pod(name: &str, address: IpAddr, application: Option<IpAddr>) -> String {
    let app = name.split('-').next().unwrap_or(name);
    let annotations = application
        .map(|application| format!("  annotations: {{pilothouse.io/application-address: {application}}}\n"))
        .unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: default\n  \
         labels: {{app: {app}, sidecar.istio.io/inject: \"true\"}}\n{annotations}\
         spec: {{containers: [{{name: {app}, image: example.com/{app}}}]}}\n\
         status: {{phase: Running, podIP: {address}, conditions: [{{type: Ready, status: \"True\"}}]}}\n"
    )
}

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: backend, namespace: default}
spec:
  clusterIP: 10.96.0.10
  selector: {app: backend}
  ports: [{name: grpc, port: 8000, targetPort: 8000}]
";

const ENDPOINT_SLICE: &str = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: backend-1
  namespace: default
  labels: {kubernetes.io/service-name: backend}
addressType: IPv4
ports: [{name: grpc, port: 8000, protocol: TCP}]
endpoints:
";

const DESTINATION_RULE: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: default}
spec:
  host: backend.default.svc.cluster.local
  trafficPolicy: {loadBalancer: {simple: LB}}
";

/// A running control plane.
#[derive(Debug)]
pub struct Pilot {
    /// Where it serves xDS.
    pub grpc: SocketAddr,
    /// Where it serves debug pages.
    pub monitoring: SocketAddr,
    /// Its process.
    pub process: Process,
    config: PathBuf,
}

impl Pilot {
    /// Starts `pilothouse discovery` on a folder, on free ports, and waits until it is ready.
    pub async fn start(config: &Path) -> Self {
        let local = IpAddr::from([127, 0, 0, 1]);
        Self::start_at(config, address::free(local), address::free(local)).await
    }

    /// Starts another one in its place, on the same folder and ports, after this one has ended.
    pub async fn restart(self) -> Self {
        let Self { grpc, monitoring, config, process } = self;
        drop(process);
        Self::start_at(&config, grpc, monitoring).await
    }

    async fn start_at(config: &Path, grpc: SocketAddr, monitoring: SocketAddr) -> Self {
        let process = Process::start("pilothouse discovery", &mut Self::command(config, grpc, monitoring));
        let pilot = Self { grpc, monitoring, process, config: config.to_owned() };
        wait::until("the control plane is ready", START_LIMIT, || async {
            match http1::get(monitoring, "/ready").await?.status {
                200 => Ok(()),
                status => Err(format!("/ready answers {status}")),
            }
        })
        .await;
        pilot
    }

    /// The command line that serves a folder.
    #[must_use]
    pub fn command(config: &Path, grpc: SocketAddr, monitoring: SocketAddr) -> std::process::Command {
        let mut command = binary::command();
        command.args(["discovery", "--config-dir"]).arg(config);
        command.args(["--grpc-addr", &grpc.to_string(), "--monitoring-addr", &monitoring.to_string()]);
        command.args(["--http-addr", ""]);
        command
    }

    /// A debug page.
    ///
    /// # Panics
    /// If there is no answer, or not a 200.
    pub async fn page(&self, path: &str) -> Answer {
        let answer = http1::get(self.monitoring, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer
    }
}
