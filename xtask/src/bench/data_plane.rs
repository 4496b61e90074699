//! Our proxy against Envoy: same configuration, same core, interleaved runs.
//!
//! ```text
//! core 1                      core 0                    core 1
//! load generator ── row ──► proxy, one worker ── row ──► backend
//! ```
//! Every row is measured in rounds; in each, one proxy after the other serves
//! the same load, and the order turns about. A side's figure is the median of
//! its rounds; the ratio is the median of the rounds' ratios, so that a slow
//! minute of the machine weighs on both alike.
//!
//! Invariant: a response that is not a success fails the measurement.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::histogram::Histogram;
use super::process::Measured;
use super::report::{self, Row, median};
use super::{Options, affinity};
use crate::{Outcome, peers};

mod config;
mod http1;
mod http2;
mod tcp;

/// Seconds before each measured run, in which connections and pools fill.
const WARM_UP_S: f64 = 0.5;
/// Rounds of a full measurement.
const ROUNDS: usize = 5;
/// Seconds of each run, full and quick.
const SECONDS: f64 = 4.0;
const SECONDS_QUICK: f64 = 2.0;

/// What kind of traffic a row sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Http1,
    Http2,
    Grpc,
    Tcp,
}

/// One row: a listener of its own in both proxies.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    kind: Kind,
    access_log: bool,
}

/// Every row, in the order in which it is measured and printed.
const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "http1", kind: Kind::Http1, access_log: false },
    Scenario { name: "http1+log", kind: Kind::Http1, access_log: true },
    Scenario { name: "http2", kind: Kind::Http2, access_log: false },
    Scenario { name: "http2+log", kind: Kind::Http2, access_log: true },
    Scenario { name: "grpc", kind: Kind::Grpc, access_log: false },
    Scenario { name: "grpc+log", kind: Kind::Grpc, access_log: true },
    Scenario { name: "tcp", kind: Kind::Tcp, access_log: false },
    Scenario { name: "tcp+log", kind: Kind::Tcp, access_log: true },
];

/// What one run of a load generator saw.
#[derive(Default)]
struct Load {
    /// Requests answered with success; for TCP, units of 64 KiB received.
    done: u64,
    /// Requests answered otherwise, or not at all.
    failed: u64,
    latency: Histogram,
}

/// The figures of one measured run.
struct Run {
    cpu_s_per_million: f64,
    p50_us: f64,
    p99_us: f64,
    rss_mb: f64,
    per_s: f64,
    busy: f64,
}

pub(super) fn run(root: &Path, options: &Options) -> Outcome {
    let pilothouse = options.pilothouse(root)?;
    let envoy = options.envoy.clone().or_else(|| peers::envoy(root));
    affinity::pin(affinity::LOAD)?;
    let backends = Backends::start()?;
    let dir = tempfile::tempdir()?;
    let mut ours_command = Command::new(&pilothouse);
    ours_command.arg("proxy");
    let ours = Proxy::start("ours", ours_command, dir.path(), &backends)?;
    let envoy = match envoy {
        Some(path) => Some(Proxy::start("envoy", Command::new(path), dir.path(), &backends)?),
        None => {
            eprintln!("No Envoy: run `cargo xtask peers`, or give --envoy. Only our own figures follow.");
            None
        }
    };
    let mut rows = Vec::new();
    for (index, scenario) in SCENARIOS.iter().enumerate().filter(|(_, s)| options.wants(s.name)) {
        eprintln!("measuring {}", scenario.name);
        rows.push(measure_row(index, scenario, &ours, envoy.as_ref(), options)?);
    }
    report::print(&rows, options.output);
    Ok(())
}

fn measure_row(
    index: usize,
    scenario: &Scenario,
    ours: &Proxy,
    envoy: Option<&Proxy>,
    options: &Options,
) -> Result<Row, String> {
    let rounds = if options.quick { 1 } else { ROUNDS };
    let seconds = options.seconds.unwrap_or(if options.quick { SECONDS_QUICK } else { SECONDS });
    let (mut our_runs, mut envoy_runs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let measure = |proxy: &Proxy| measure(proxy, index, scenario, seconds);
        match envoy {
            Some(envoy) if round % 2 == 1 => {
                envoy_runs.push(measure(envoy)?);
                our_runs.push(measure(ours)?);
            }
            Some(envoy) => {
                our_runs.push(measure(ours)?);
                envoy_runs.push(measure(envoy)?);
            }
            None => our_runs.push(measure(ours)?),
        }
    }
    let ratios = our_runs.iter().zip(&envoy_runs).map(|(a, b)| a.cpu_s_per_million / b.cpu_s_per_million).collect();
    Ok(Row {
        name: scenario.name.to_owned(),
        ratio: envoy.map(|_| median(ratios)),
        ours: Run::medians(&our_runs),
        envoy: envoy.map(|_| Run::medians(&envoy_runs)),
    })
}

fn measure(proxy: &Proxy, index: usize, scenario: &Scenario, seconds: f64) -> Result<Run, String> {
    let address = proxy.addresses[index];
    load(scenario.kind, address, WARM_UP_S)?;
    proxy.process.reset_peak_memory();
    let before = proxy.process.cpu_seconds();
    let begun = std::time::Instant::now();
    let load = load(scenario.kind, address, seconds)?;
    let wall = begun.elapsed().as_secs_f64();
    let cpu = proxy.process.cpu_seconds() - before;
    if load.failed > 0 || load.done == 0 {
        return Err(format!("{}: {}: {} failed, {} succeeded", proxy.name, scenario.name, load.failed, load.done));
    }
    Ok(Run {
        cpu_s_per_million: cpu / load.done as f64 * 1e6,
        p50_us: load.latency.quantile(0.5) as f64,
        p99_us: load.latency.quantile(0.99) as f64,
        rss_mb: proxy.process.peak_memory_mb(),
        per_s: load.done as f64 / wall,
        busy: cpu / wall,
    })
}

fn load(kind: Kind, address: SocketAddr, seconds: f64) -> Result<Load, String> {
    match kind {
        Kind::Http1 => http1::load(address, seconds),
        Kind::Http2 => http2::load(address, seconds, http2::Call::Get),
        Kind::Grpc => http2::load(address, seconds, http2::Call::Unary),
        Kind::Tcp => tcp::load(address, seconds),
    }
}

impl Run {
    fn medians(runs: &[Self]) -> report::Figures {
        let median_of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure).collect());
        vec![
            ("cpu_s_per_million", median_of(|r| r.cpu_s_per_million)),
            ("p50_us", median_of(|r| r.p50_us)),
            ("p99_us", median_of(|r| r.p99_us)),
            ("rss_mb", median_of(|r| r.rss_mb)),
            ("per_s", median_of(|r| r.per_s)),
            ("busy", median_of(|r| r.busy)),
        ]
    }
}

/// The servers behind the proxies, each on a thread of its own until the process ends.
struct Backends {
    http1: SocketAddr,
    http2: SocketAddr,
    tcp: SocketAddr,
}

impl Backends {
    fn start() -> Result<Self, String> {
        Ok(Self { http1: http1::serve()?, http2: http2::serve()?, tcp: tcp::serve()? })
    }

    fn of(&self, kind: Kind) -> SocketAddr {
        match kind {
            Kind::Http1 => self.http1,
            Kind::Http2 | Kind::Grpc => self.http2,
            Kind::Tcp => self.tcp,
        }
    }
}

/// A proxy with one listener per scenario, in the order of [`SCENARIOS`].
struct Proxy {
    name: &'static str,
    process: Measured,
    addresses: Vec<SocketAddr>,
}

impl Proxy {
    fn start(name: &'static str, mut command: Command, dir: &Path, backends: &Backends) -> Result<Self, String> {
        let addresses = super::free_addresses(SCENARIOS.len() + 1)?;
        let (admin, listeners) = addresses.split_last().ok_or("no ports")?;
        let bootstrap = config::bootstrap(*admin, listeners, backends, &access_log_path(dir, name));
        let path = dir.join(format!("{name}.yaml"));
        std::fs::write(&path, bootstrap).map_err(|error| format!("{}: {error}", path.display()))?;
        command.arg("-c").arg(&path).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
        let log = dir.join(format!("{name}.log"));
        let mut process = Measured::start(name, &mut command, &log)?;
        process.wait_for(listeners, &log)?;
        Ok(Self { name, process, addresses: listeners.to_vec() })
    }
}

/// In memory where the machine has such a file system: the disk is not what is measured.
fn access_log_path(dir: &Path, name: &str) -> String {
    let memory = Path::new("/dev/shm");
    let file = format!("pilothouse-bench-{}-{name}.log", std::process::id());
    let path = if memory.is_dir() { memory.join(file) } else { dir.join(file) };
    path.display().to_string()
}

impl Load {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.latency.merge(&other.latency);
    }
}
