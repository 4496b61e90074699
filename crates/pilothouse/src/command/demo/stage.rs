//! What the demo runs: the servers, then the control plane and the sidecars,
//! all on addresses of the loopback network and on ports that are free.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Diagnostic, SourceLocation};
use mesh_pilot::{Options, Pilot};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::echo::Replica;
use super::manifests::{FOLDER, PORTS, Plan};
use crate::command::explain::running_subject;
use crate::command::explain::subject::Subject;
use crate::failure::{Failure, Result, chain};
use crate::proxies::{Launch, Proxy, Sidecar, Workload};

/// The replicas of the server. They end when this is dropped.
pub(super) struct Servers {
    replicas: Vec<Replica>,
}

impl Servers {
    /// Finds a port that is free on every address and serves there. The plan
    /// that is returned says where. Must be called inside a runtime.
    ///
    /// # Errors
    /// If an address does not exist, or no port is free on all.
    pub(super) fn start(replicas: u8, policy: &'static str) -> Result<(Self, Plan)> {
        let (plan, listeners) = reserve(replicas, policy)?;
        let ports = (plan.port, plan.target_port);
        if ports != PORTS {
            anstream::eprintln!(
                "Port {} or {} is taken here; the demo uses {} and {} instead.",
                PORTS.0,
                PORTS.1,
                ports.0,
                ports.1
            );
        }
        let serve = |(replica, listener): (&super::manifests::ReplicaPlan, TcpListener)| {
            Replica::start(&replica.name, listener)
                .map_err(|error| Failure::other(format!("cannot start {}", replica.name), &error))
        };
        let replicas = plan.replicas.iter().zip(listeners).map(serve).collect::<Result<_>>()?;
        Ok((Self { replicas }, plan))
    }

    /// Where the servers themselves listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|r| r.address).collect()
    }
}

/// The control plane and the sidecars. They end when this is dropped.
pub(super) struct Mesh {
    entrance: SocketAddr,
    pilot: mesh_pilot::Handle,
    sidecars: Vec<(String, Sidecar)>,
    folder: TempDir,
}

impl Mesh {
    /// Starts all of it and returns when every sidecar takes connections.
    ///
    /// # Errors
    /// If a part does not start, or a sidecar has no listener after [`READY`].
    pub(super) async fn start(proxy: Proxy, plan: &Plan) -> Result<Self> {
        let folder = TempDir::with_prefix("pilothouse-demo-").map_err(|e| Failure::other("no temporary folder", &e))?;
        let manifests = folder.path().join(MANIFESTS);
        let written = std::fs::create_dir(&manifests).and_then(|()| plan.write(&manifests));
        written.map_err(|error| Failure::other(format!("cannot write {}", manifests.display()), &error))?;
        let options = Options::on_free_ports([manifests]);
        let pilot = Pilot::start(options).await.map_err(|error| Failure::Other(chain(&error)))?;
        pilot.wait_synced().await;
        let launch = Launch { proxy, discovery: pilot.addresses().grpc, folder: folder.path().to_owned(), workers: 1 };
        let entrance = SocketAddr::from((plan.frontend, plan.port));
        let mut places = vec![("frontend".to_owned(), entrance)];
        places.extend(plan.replicas.iter().map(|r| (r.name.clone(), SocketAddr::from((r.pod, plan.target_port)))));
        let mut sidecars = Vec::new();
        for (name, address) in &places {
            sidecars.push((name.clone(), launch.sidecar(&workload(name, address.ip())).await?));
        }
        let mesh = Self { entrance, pilot, sidecars, folder };
        mesh.wait_ready(&places).await?;
        Ok(mesh)
    }

    /// Where the client's sidecar takes calls for the service.
    pub(super) fn entrance(&self) -> SocketAddr {
        self.entrance
    }

    /// What the control plane finds wrong.
    pub(super) fn diagnostics(&self) -> Arc<[Diagnostic]> {
        self.pilot.diagnostics().borrow().clone()
    }

    /// The workload `from` as the running control plane knows it. Files are
    /// shown as those that they were made from.
    ///
    /// # Errors
    /// If the control plane's debug pages do not answer.
    pub(super) async fn subject(&self, from: &str) -> Result<Subject> {
        let address = self.pilot.addresses().monitoring;
        let address = address.ok_or_else(|| Failure::Other("the control plane has no debug pages".to_owned()))?;
        let mut subject = running_subject(&address.to_string(), from, "cluster.local").await?;
        let folder = self.folder.path().join(MANIFESTS).display().to_string();
        for place in subject.locations.values_mut() {
            if let Some(rest) = place.file.strip_prefix(&folder) {
                *place = SourceLocation { file: format!("{FOLDER}{rest}").into(), line: place.line };
            }
        }
        Ok(subject)
    }

    /// Ends all of it.
    pub(super) async fn stop(self) {
        drop(self.sidecars);
        self.pilot.shutdown().await;
    }

    /// Waits until every sidecar listens where it must.
    async fn wait_ready(&self, places: &[(String, SocketAddr)]) -> Result {
        let begun = Instant::now();
        for (name, address) in places {
            while TcpStream::connect(*address).await.is_err() {
                if begun.elapsed() > READY {
                    return Err(Failure::Other(self.not_ready(name, *address)));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn not_ready(&self, name: &str, address: SocketAddr) -> String {
        let sidecar = self.sidecars.iter().find(|(n, _)| n == name).map(|(_, sidecar)| sidecar);
        let log = sidecar.and_then(Sidecar::log_tail).map(|log| format!("; it says: {log}")).unwrap_or_default();
        format!("the sidecar of {name} does not listen on {address} after {} s{log}", READY.as_secs())
    }
}

fn workload(name: &str, address: IpAddr) -> Workload {
    let app = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    Workload {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        address,
        service_account: String::new(),
        labels: vec![("app".to_owned(), app.to_owned())],
    }
}

/// A plan whose ports are free on all its addresses, and the servers' sockets.
fn reserve(replicas: u8, policy: &'static str) -> Result<(Plan, Vec<TcpListener>)> {
    for attempt in 0..PORTS_TRIED {
        let ports = if attempt == 0 { PORTS } else { any_ports(Plan::new(1, PORTS, policy).frontend)? };
        let plan = Plan::new(replicas, ports, policy);
        if let Some(listeners) = bind(&plan)? {
            return Ok((plan, listeners));
        }
    }
    Err(Failure::Other(format!(
        "tried {PORTS_TRIED} pairs of ports, none is free on all addresses that the demo needs"
    )))
}

/// Two ports that are free on one address.
fn any_ports(address: Ipv4Addr) -> Result<(u16, u16)> {
    let any = || TcpListener::bind((address, 0)).and_then(|l| Ok((l.local_addr()?.port(), l)));
    let (first, _held) = any().map_err(|error| missing(address, &error))?;
    let (second, _) = any().map_err(|error| missing(address, &error))?;
    Ok((first, second))
}

/// The sockets of the servers; those of the sidecars are only tried, since
/// they bind their own. `None` if one of them is taken.
fn bind(plan: &Plan) -> Result<Option<Vec<TcpListener>>> {
    let mut kept = Vec::new();
    let sidecars = std::iter::once(plan.frontend).chain(plan.replicas.iter().map(|r| r.pod));
    let tried = sidecars.flat_map(|a| [(a, plan.port, false), (a, plan.target_port, false)]);
    for (address, port, keep) in tried.chain(plan.replicas.iter().map(|r| (r.application, plan.target_port, true))) {
        match TcpListener::bind((address, port)) {
            Ok(listener) if keep => kept.push(listener),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(None),
            Err(error) => return Err(missing(address, &error)),
        }
    }
    Ok(Some(kept))
}

fn missing(address: Ipv4Addr, error: &std::io::Error) -> Failure {
    let hint = if error.kind() == ErrorKind::AddrNotAvailable {
        "; the demo needs loopback addresses beside 127.0.0.1 (Linux has them; elsewhere add them to the loopback interface)"
    } else {
        ""
    };
    Failure::Other(format!("cannot listen on {address}: {error}{hint}"))
}

/// The manifests' folder inside the temporary one.
const MANIFESTS: &str = "manifests";
/// Sidecars take their first connections within a second; a loaded machine
/// with Envoys needs more.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const PORTS_TRIED: usize = 20;
