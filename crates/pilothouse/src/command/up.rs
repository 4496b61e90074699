//! `pilothouse up`: a mesh on one machine, from a folder of YAML.
//!
//! A control plane watches the folder; beside it runs a sidecar for each
//! workload that asks for one and whose address is an address of this machine.
//! Each snapshot of the control plane is compared with what runs: new workloads
//! get sidecars, those that are gone drain.

mod sidecars;

use std::path::PathBuf;

use mesh_pilot::{Handle, Options, Pilot};
use tempfile::TempDir;

use self::sidecars::Sidecars;
use super::discovery::Addresses;
use crate::failure::{Failure, Result, chain};
use crate::proxies::{Choice, Launch};
use crate::{report, signals, terminal};

/// Run a mesh on this machine from a folder of YAML
///
/// Starts a control plane, and a sidecar for each Pod or WorkloadEntry that
/// asks for one (label sidecar.istio.io/inject: "true", or istio-injection:
/// enabled on its namespace) and whose IP address is one of this machine;
/// 127.x.x.x counts. Saving a file changes the running mesh.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders or files of manifests
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,

    #[command(flatten)]
    proxy: Choice,

    /// Worker threads of each sidecar
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,

    #[command(flatten)]
    addresses: Addresses,

    /// File with mesh settings; it goes before a ConfigMap `istio` in the folders
    #[arg(long = "meshConfig", visible_alias = "mesh-config", value_name = "FILE")]
    mesh_config: Option<PathBuf>,

    /// DNS domain of the platform's services
    #[arg(long, default_value = "cluster.local")]
    domain: String,
}

pub(crate) fn run(args: Args) -> Result {
    report::log(report::QUIET)?;
    for path in &args.dirs {
        std::fs::metadata(path).map_err(|error| Failure::Data(format!("{}: {error}", path.display())))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::other("cannot start", &error))?.block_on(serve(args))
}

async fn serve(args: Args) -> Result {
    let proxy = args.proxy.find()?;
    let mut stop = signals::Stop::listen()?;
    let folder =
        TempDir::with_prefix("pilothouse-up-").map_err(|error| Failure::other("no temporary folder", &error))?;
    let options = args.addresses.apply(Options {
        config_dirs: args.dirs,
        mesh_config: args.mesh_config,
        domain: args.domain,
        ..Options::default()
    });
    let pilot = Pilot::start(options).await.map_err(|error| Failure::Other(chain(&error)))?;
    say(&format!("control plane: {}", addresses(&pilot)));
    let discovery = reachable(pilot.addresses().grpc);
    let launch = Launch { proxy, discovery, folder: folder.path().to_owned(), workers: usize::from(args.concurrency) };
    let mut sidecars = Sidecars::new(launch);
    let mut snapshots = pilot.snapshots();
    snapshots.mark_changed();
    let mut diagnostics = report::Diagnostics::new(pilot.diagnostics());
    let mut check = tokio::time::interval(sidecars::CHECK);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            Ok(()) = snapshots.changed() => {
                let snapshot = snapshots.borrow_and_update().clone();
                if snapshot.version > 0 {
                    sidecars.follow(&snapshot).await.iter().for_each(|line| say(line));
                }
            }
            Some(news) = diagnostics.next() => {
                news.iter().filter_map(report::News::line).for_each(|line| say(&line));
            }
            _ = check.tick() => sidecars.check().await.iter().for_each(|line| say(line)),
        }
    }
    say("stopping; a second signal does not wait for open connections");
    tokio::select! {
        () = sidecars.stop() => {}
        () = stop.wait() => {}
    }
    pilot.shutdown().await;
    Ok(())
}

fn addresses(pilot: &Handle) -> String {
    let addresses = pilot.addresses();
    let mut text = format!("xDS on {}", addresses.grpc);
    let pages = [addresses.monitoring, addresses.http, addresses.legacy_monitoring];
    let pages: Vec<String> = pages.into_iter().flatten().map(|a| format!("http://{}/debug", reachable(a))).collect();
    if !pages.is_empty() {
        text.push_str(&format!(", debug pages on {}", pages.join(" and ")));
    }
    text
}

/// How a process on this machine reaches what listens on `address`.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn say(line: &str) {
    terminal::print(&format!("{line}\n"));
}
