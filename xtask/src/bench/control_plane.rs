//! The control plane under simulated proxies: how long a change takes until
//! the last of them has acknowledged it.
//!
//! ```text
//! core 0: pilothouse discovery ── delta ADS ──► core 1: N clients, one process
//!            ▲ files                                │ acknowledges at once
//!            '────────── one endpoint, one rule ────'
//! ```
//! A change is a file that is renamed into place; its time runs from there to
//! the moment at which the last client has queued its acknowledgement, and so
//! holds the file watch, the debounce, translation, sending, and what the
//! clients themselves need to read it.
//!
//! Invariant: a client that misses a change, or a refused push, fails the
//! measurement.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::Measured;
use super::report::{self, Figures, Row, median};
use super::{Options, affinity};
use crate::Outcome;

mod fleet;
mod mesh;

use fleet::Fleet;

/// Services of the mesh, spread over [`mesh::PORTS`] ports.
const SERVICES: usize = 1_000;
/// Proxies of the two sizes.
const FLEETS: [usize; 2] = [100, 1_000];
/// Changes of each kind, full and quick.
const CHANGES: usize = 20;
const CHANGES_QUICK: usize = 3;
/// How long a fleet may take to be in sync, and a change to arrive.
const SYNC_MAX: Duration = Duration::from_secs(120);
/// Between two changes, so that each meets a mesh at rest.
const REST: Duration = Duration::from_millis(300);

pub(super) fn run(root: &Path, options: &Options) -> Outcome {
    let pilothouse = options.pilothouse(root)?;
    affinity::pin(affinity::LOAD)?;
    let changes = match options.seconds {
        Some(count) => count.max(1.0) as usize,
        None if options.quick => CHANGES_QUICK,
        None => CHANGES,
    };
    let mut rows = Vec::new();
    for size in FLEETS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        rows.extend(runtime.block_on(measure_fleet(&pilothouse, size, changes))?);
    }
    rows.retain(|row| options.wants(&row.name));
    report::print(&rows, options.output);
    Ok(())
}

/// Every row of one fleet size, against a control plane started for it.
async fn measure_fleet(pilothouse: &Path, size: usize, changes: usize) -> Result<Vec<Row>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    mesh::write(dir.path(), SERVICES).map_err(|error| format!("{}: {error}", dir.path().display()))?;
    let mut rows = Vec::new();

    let begun = Instant::now();
    let pilot = Pilot::start(pilothouse, dir.path())?;
    let mut fleet = Fleet::new(pilot.address);
    fleet.grow(1, SYNC_MAX).await?;
    let mut cold = vec![("first_proxy_in_sync_ms", millis(begun.elapsed()))];
    cold.extend(pilot.cost(0.0));
    rows.push(row(format!("cold start, {SERVICES} services"), cold));
    eprintln!("in sync: 1 proxy");

    let (begun, cpu, bytes) = (Instant::now(), pilot.process.cpu_seconds(), fleet.bytes());
    fleet.grow(size, SYNC_MAX).await?;
    let mut connect = vec![("last_in_sync_ms", millis(begun.elapsed())), ("sent_mb", megabytes(fleet.bytes() - bytes))];
    connect.extend(pilot.cost(cpu));
    rows.push(row(format!("connect, {size} proxies"), connect));
    eprintln!("in sync: {size} proxies");

    for change in [mesh::Change::Endpoint, mesh::Change::VirtualService] {
        rows.push(measure_changes(&pilot, &mut fleet, dir.path(), change, changes).await?);
    }
    Ok(rows)
}

async fn measure_changes(
    pilot: &Pilot,
    fleet: &mut Fleet,
    dir: &Path,
    change: mesh::Change,
    count: usize,
) -> Result<Row, String> {
    let (mut all, mut last) = (Vec::new(), Vec::new());
    let (cpu, bytes) = (pilot.process.cpu_seconds(), fleet.bytes());
    for number in 0..count {
        tokio::time::sleep(REST).await;
        fleet.settle().await;
        let begun = Instant::now();
        change.apply(dir, number).map_err(|error| format!("{}: {error}", dir.display()))?;
        let times = fleet.acknowledged(change.resource(), begun, SYNC_MAX).await?;
        last.push(times.iter().copied().fold(0.0, f64::max));
        all.extend(times);
    }
    all.sort_by(f64::total_cmp);
    let at = |quantile: f64| all[((all.len() as f64 * quantile).ceil() as usize).clamp(1, all.len()) - 1];
    let mut figures = vec![
        ("p50_ms", at(0.5)),
        ("p99_ms", at(0.99)),
        ("last_ack_ms", median(last.clone())),
        ("last_ack_max_ms", last.iter().copied().fold(0.0, f64::max)),
        ("sent_mb_per_change", megabytes(fleet.bytes() - bytes) / count as f64),
    ];
    figures.extend(pilot.cost(cpu));
    eprintln!("measured: {}", change.name());
    Ok(row(format!("{}, {} proxies", change.name(), fleet.len()), figures))
}

fn row(name: String, ours: Figures) -> Row {
    Row { name, ratio: None, ours, envoy: None }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A control plane on free ports, on the measured core.
struct Pilot {
    process: Measured,
    address: SocketAddr,
}

impl Pilot {
    fn start(pilothouse: &Path, dir: &Path) -> Result<Self, String> {
        let [grpc, monitoring] = <[SocketAddr; 2]>::try_from(super::free_addresses(2)?).map_err(|_| "two ports")?;
        let mut command = Command::new(pilothouse);
        command.args(["discovery", "--config-dir"]).arg(dir.join(mesh::MANIFESTS));
        command.args(["--grpc-addr", &grpc.to_string(), "--monitoring-addr", &monitoring.to_string()]);
        command.args(["--http-addr", ""]);
        let log = dir.join("pilot.log");
        let mut process = Measured::start("pilothouse discovery", &mut command, &log)?;
        process.wait_for(&[grpc], &log)?;
        Ok(Self { process, address: grpc })
    }

    /// Processor seconds since `cpu`, and the peak of memory so far.
    fn cost(&self, cpu: f64) -> Figures {
        vec![("cpu_s", self.process.cpu_seconds() - cpu), ("rss_mb", self.process.peak_memory_mb())]
    }
}
