//! The sidecars that run, and what a snapshot makes of them.
//!
//! Invariant: after [`Sidecars::follow`] exactly those workloads have a sidecar
//! that ask for one and are here, except where starting it failed, which was
//! said and is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use mesh_model::{MeshSnapshot, WorkloadKey};
use mesh_platform::injection;
use tokio::task::JoinSet;

use crate::proxies::{Launch, Sidecar, Workload};
use crate::terminal::{GOOD, WARNING, paint};
use crate::web;

/// How often it is looked whether a sidecar has ended by itself.
pub(super) const CHECK: Duration = Duration::from_secs(1);

/// All sidecars of this process.
pub(super) struct Sidecars {
    launch: Launch,
    wanted: BTreeMap<WorkloadKey, Workload>,
    running: BTreeMap<WorkloadKey, (Workload, Sidecar)>,
    /// Workloads whose absence from this machine, or failure to start, was said.
    said: BTreeSet<(WorkloadKey, String)>,
    draining: JoinSet<()>,
    /// Sidecars whose listeners have not been said yet.
    silent: BTreeSet<WorkloadKey>,
}

impl Sidecars {
    /// None yet; they will be started with `launch`.
    pub(super) fn new(launch: Launch) -> Self {
        Self {
            launch,
            wanted: BTreeMap::new(),
            running: BTreeMap::new(),
            said: BTreeSet::new(),
            draining: JoinSet::new(),
            silent: BTreeSet::new(),
        }
    }

    /// Starts what `snapshot` asks for and drains the rest. Returns what there
    /// is to say.
    pub(super) async fn follow(&mut self, snapshot: &MeshSnapshot) -> Vec<String> {
        let mut lines = Vec::new();
        let (wanted, elsewhere) = wanted(snapshot);
        self.wanted = wanted;
        let gone = self.running.iter().filter(|(key, (runs, _))| self.wanted.get(key).is_none_or(|w| !same(w, runs)));
        let gone: Vec<WorkloadKey> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            if let Some((workload, sidecar)) = self.running.remove(&key) {
                lines.push(format!("{} {}", paint(WARNING, "drains"), workload.id()));
                self.draining.spawn(sidecar.drain());
            }
        }
        let elsewhere: BTreeSet<(WorkloadKey, String)> = elsewhere.into_iter().collect();
        lines.extend(elsewhere.difference(&self.said).map(|(_, why)| why.clone()));
        self.said.retain(|(key, _)| self.wanted.contains_key(key));
        self.said.extend(elsewhere);
        lines.extend(self.start_missing().await);
        lines
    }

    /// Starts again what has ended, and says which listeners have come.
    pub(super) async fn check(&mut self) -> Vec<String> {
        while self.draining.try_join_next().is_some() {}
        let mut lines = Vec::new();
        let ended: Vec<WorkloadKey> =
            self.running.iter_mut().filter_map(|(key, (_, s))| s.has_ended().then(|| key.clone())).collect();
        for key in ended {
            if let Some((workload, sidecar)) = self.running.remove(&key) {
                let log = sidecar.log_tail().map(|log| format!(": {log}")).unwrap_or_default();
                lines.push(format!(
                    "{} {}: its sidecar has ended and is started again{log}",
                    paint(WARNING, "ended"),
                    workload.id()
                ));
            }
        }
        lines.extend(self.start_missing().await);
        lines.extend(self.listeners().await);
        lines
    }

    /// Ends all of them.
    pub(super) async fn stop(&mut self) {
        for (_, sidecar) in std::mem::take(&mut self.running).into_values() {
            self.draining.spawn(sidecar.drain());
        }
        while self.draining.join_next().await.is_some() {}
    }

    async fn start_missing(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let missing = self.wanted.iter().filter(|(key, _)| !self.running.contains_key(key));
        let missing: Vec<(WorkloadKey, Workload)> = missing.map(|(k, w)| (k.clone(), w.clone())).collect();
        for (key, workload) in missing {
            match self.launch.sidecar(&workload).await {
                Ok(sidecar) => {
                    let Workload { address, .. } = &workload;
                    let (id, admin) = (workload.id(), sidecar.admin);
                    lines.push(format!("{} {id} on {address}, admin http://{admin}", paint(GOOD, "sidecar")));
                    self.silent.insert(key.clone());
                    self.said.retain(|(said, _)| *said != key);
                    self.running.insert(key, (workload, sidecar));
                }
                Err(failure) => {
                    let why = format!("{failure}; it is tried again");
                    if self.said.insert((key, why.clone())) {
                        lines.push(paint(WARNING, &why));
                    }
                }
            }
        }
        lines
    }

    /// For each sidecar that now has listeners, where it listens; once.
    async fn listeners(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for key in self.silent.clone() {
            let Some((workload, sidecar)) = self.running.get(&key) else {
                self.silent.remove(&key);
                continue;
            };
            let Ok(answer) = web::request(&http::Method::GET, &format!("http://{}/listeners", sidecar.admin)).await
            else {
                continue;
            };
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let mut places: Vec<&str> = text.lines().filter_map(|line| line.split_once("::")).map(|(_, p)| p).collect();
            places.sort_unstable();
            if !places.is_empty() {
                lines.push(format!("  {} listens on {}", workload.id(), places.join(", ")));
                self.silent.remove(&key);
            }
        }
        lines
    }
}

type Elsewhere = Vec<(WorkloadKey, String)>;

/// Workloads that ask for a sidecar and are here, and those that ask and are not.
fn wanted(snapshot: &MeshSnapshot) -> (BTreeMap<WorkloadKey, Workload>, Elsewhere) {
    let (mut here, mut elsewhere) = (BTreeMap::new(), Vec::new());
    for workload in snapshot.workloads.iter() {
        let namespace = snapshot.namespaces.get(workload.meta.namespace());
        let decision = injection::decide(workload, namespace.map(|n| &**n));
        if !decision.inject {
            continue;
        }
        let (key, object) = (workload.key(), &workload.meta.object);
        let Some(address) = workload.addresses.first().copied() else {
            elsewhere.push((key, format!("no sidecar for {object}: it has no address yet")));
            continue;
        };
        if !is_here(address) {
            elsewhere.push((key, format!("no sidecar for {object}: {address} is not an address of this machine")));
            continue;
        }
        let labels = workload.meta.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let described = Workload {
            name: key.name.to_string(),
            namespace: key.namespace.to_string(),
            address,
            service_account: workload.service_account.to_string(),
            labels,
        };
        here.insert(key, described);
    }
    (here, elsewhere)
}

/// Whether a running sidecar serves the workload as it is now. Labels do not
/// count: the control plane knows them better than the sidecar.
fn same(a: &Workload, b: &Workload) -> bool {
    a.address == b.address && a.service_account == b.service_account
}

/// Whether a socket can be bound to `address` on this machine.
fn is_here(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_here_and_documentation_addresses_are_not() {
        let check =
            |address: [u8; 4], expected: bool| assert_eq!(is_here(IpAddr::from(address)), expected, "{address:?}");
        check([127, 0, 0, 1], true);
        check([203, 0, 113, 9], false);
        check([0, 0, 0, 0], false);
        check([224, 0, 0, 1], false);
    }
}
