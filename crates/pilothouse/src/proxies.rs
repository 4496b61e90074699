//! Sidecars that `demo` and `up` start: our own proxy inside this process, or
//! Envoy as a child of it.
//!
//! Invariant: a sidecar does not outlive its [`Sidecar`], nor an Envoy this
//! process.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mesh_agent::bootstrap::{Flags, Inputs};
use tokio::process::{Child, Command};

use crate::failure::{Failure, Result, chain};

/// Which proxy stands in the sidecars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Our own
    #[default]
    Native,
    /// An unmodified Envoy
    Envoy,
}

/// Flags that choose the proxy.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Choice {
    /// Which proxy stands in the sidecars
    #[arg(long, value_enum, default_value_t)]
    proxy: Kind,

    /// Envoy's binary, for --proxy envoy; by default $ENVOY, else `envoy` on the PATH
    #[arg(long, value_name = "FILE")]
    envoy_path: Option<PathBuf>,
}

/// A proxy that has been found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// Our own.
    Native,
    /// Envoy, at this path.
    Envoy(PathBuf),
}

impl Choice {
    /// Looks for the chosen proxy.
    ///
    /// # Errors
    /// If Envoy is asked for and not found.
    pub(crate) fn find(&self) -> Result<Proxy> {
        match self.proxy {
            Kind::Native => Ok(Proxy::Native),
            Kind::Envoy => envoy(self.envoy_path.as_deref()).map(Proxy::Envoy),
        }
    }
}

fn envoy(given: Option<&Path>) -> Result<PathBuf> {
    let told = given.map(|p| (p.to_owned(), "--envoy-path"));
    let told = told.or_else(|| std::env::var_os("ENVOY").map(|p| (PathBuf::from(p), "$ENVOY")));
    if let Some((path, origin)) = told {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Failure::Usage(format!("{origin}: {} is not a file; expected Envoy's binary", path.display())))
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join("envoy")).find(|path| path.is_file()).ok_or_else(|| {
        Failure::Usage("no Envoy found: give its binary with --envoy-path or $ENVOY, or put it on the PATH".to_owned())
    })
}

impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Proxy::Native => f.write_str("native"),
            Proxy::Envoy(path) => write!(f, "Envoy ({})", path.display()),
        }
    }
}

/// The workload that a sidecar stands beside.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its primary address.
    pub(crate) address: IpAddr,
    /// Its service account; may be empty.
    pub(crate) service_account: String,
    /// Its labels.
    pub(crate) labels: Vec<(String, String)>,
}

/// A sidecar that runs.
pub(crate) struct Sidecar {
    /// Its admin interface.
    pub(crate) admin: SocketAddr,
    process: Process,
}

enum Process {
    Native(mesh_proxy::Handle),
    Envoy { child: Box<Child>, log: PathBuf },
}

/// How sidecars are started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Which proxy.
    pub(crate) proxy: Proxy,
    /// Where the control plane serves xDS.
    pub(crate) discovery: SocketAddr,
    /// Folder for bootstraps and logs; it must outlive the sidecars.
    pub(crate) folder: PathBuf,
    /// Worker threads of each.
    pub(crate) workers: usize,
}

impl Launch {
    /// Starts the sidecar of `workload`. It returns when the admin interface
    /// answers; listeners come later, from the control plane.
    ///
    /// # Errors
    /// If the proxy does not start. Nothing keeps running then.
    pub(crate) async fn sidecar(&self, workload: &Workload) -> Result<Sidecar> {
        let bootstrap = bootstrap(workload, self.discovery)?;
        match &self.proxy {
            Proxy::Native => self.native(workload, &bootstrap).await,
            Proxy::Envoy(path) => self.envoy(path, workload, &bootstrap).await,
        }
    }

    async fn native(&self, workload: &Workload, bootstrap: &serde_json::Value) -> Result<Sidecar> {
        let options = mesh_proxy::Options {
            config_yaml: Some(bootstrap.to_string()),
            concurrency: Some(self.workers),
            drain_time: DRAIN,
            ..mesh_proxy::Options::default()
        };
        let refuse = |why: String| workload.does_not_start(&why);
        // It blocks until its static listeners are bound.
        let started = tokio::task::spawn_blocking(|| mesh_proxy::start(options)).await;
        let started = started.map_err(|error| refuse(error.to_string()))?;
        let handle = started.map_err(|error| refuse(chain(&error)))?;
        let admin = handle.admin_address().ok_or_else(|| refuse("it has no admin interface".to_owned()))?;
        Ok(Sidecar { admin, process: Process::Native(handle) })
    }

    async fn envoy(&self, path: &Path, workload: &Workload, bootstrap: &serde_json::Value) -> Result<Sidecar> {
        let refuse = |why: String| workload.does_not_start(&why);
        let file = |suffix: &str| self.folder.join(format!("{}-{}.{suffix}", workload.namespace, workload.name));
        let (config, log, admin) = (file("json"), file("log"), file("admin"));
        // Left by an earlier sidecar of the same workload, it would name the wrong port.
        let _ = std::fs::remove_file(&admin);
        std::fs::write(&config, bootstrap.to_string()).map_err(|error| refuse(error.to_string()))?;
        let output = std::fs::File::create(&log).map_err(|error| refuse(error.to_string()))?;
        let mut command = Command::new(path);
        command.arg("-c").arg(&config).arg("--admin-address-path").arg(&admin);
        command.args(["--disable-hot-restart", "--log-level", "warning"]);
        command.args(["--concurrency", &self.workers.to_string(), "--drain-time-s", &DRAIN.as_secs().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).kill_on_drop(true);
        die_with_parent(&mut command);
        let mut child = command.spawn().map_err(|error| refuse(format!("{}: {error}", path.display())))?;
        let begun = tokio::time::Instant::now();
        loop {
            let address = std::fs::read_to_string(&admin).ok().and_then(|text| text.trim().parse().ok());
            if let Some(admin) = address {
                return Ok(Sidecar { admin, process: Process::Envoy { child: Box::new(child), log } });
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(refuse(format!("{} ended with {status}: {}", path.display(), tail(&log))));
            }
            if begun.elapsed() > START {
                return Err(refuse(format!("no admin interface after {} s: {}", START.as_secs(), tail(&log))));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Workload {
    /// `name.namespace`
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    fn does_not_start(&self, why: &str) -> Failure {
        Failure::Other(format!("the sidecar of {} does not start: {why}", self.id()))
    }
}

impl Sidecar {
    /// What it says has gone wrong, if it keeps a log of its own.
    pub(crate) fn log_tail(&self) -> Option<String> {
        match &self.process {
            Process::Native(_) => None,
            Process::Envoy { log, .. } => Some(tail(log)).filter(|text| !text.is_empty()),
        }
    }

    /// Whether it has ended by itself. Our own proxy ends with this process.
    pub(crate) fn has_ended(&mut self) -> bool {
        match &mut self.process {
            Process::Native(_) => false,
            Process::Envoy { child, .. } => matches!(child.try_wait(), Ok(Some(_))),
        }
    }

    /// Takes no new connections, and ends when the open ones have, or after
    /// [`DRAIN`].
    pub(crate) async fn drain(self) {
        if let Process::Native(handle) = &self.process {
            handle.drain();
            let ended = handle.clone();
            let ended = tokio::task::spawn_blocking(move || ended.wait());
            let _ = tokio::time::timeout(DRAIN + POLL, ended).await;
        } else {
            let url = format!("http://{}/drain_listeners?graceful", self.admin);
            if crate::web::request(&http::Method::POST, &url).await.is_ok() {
                tokio::time::sleep(DRAIN).await;
            }
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        match &mut self.process {
            Process::Native(handle) => handle.shutdown(),
            // The child was spawned to be killed when dropped; this only says so earlier.
            Process::Envoy { child, .. } => drop(child.start_kill()),
        }
    }
}

/// Has the kernel end the child when this process ends, however it ends.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let set = || nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(std::io::Error::from);
    // SAFETY: the closure makes one system call, which is async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(set) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// The last lines of a log, in one line.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// How long a drained sidecar keeps the connections that it has.
const DRAIN: Duration = Duration::from_secs(5);
/// Envoy starts in well under a second; a loaded machine needs more.
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const TAIL_LINES: usize = 5;
/// Static clusters that only the agent's listeners lead to.
const OF_THE_AGENT: [&str; 2] = ["agent", "prometheus_stats"];

/// The bootstrap that the agent would make for a workload to which nothing is
/// captured. There is no agent here, so what leads to it is left out.
fn bootstrap(workload: &Workload, discovery: SocketAddr) -> Result<serde_json::Value> {
    let Workload { name, namespace, address, service_account, labels } = workload;
    let env = [
        ("POD_NAME", name.clone()),
        ("POD_NAMESPACE", namespace.clone()),
        ("INSTANCE_IP", address.to_string()),
        ("SERVICE_ACCOUNT", service_account.clone()),
        ("ISTIO_META_INTERCEPTION_MODE", "NONE".to_owned()),
    ];
    let inputs = Inputs {
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        labels: Some(labels.iter().map(|(name, value)| format!("{name}={value:?}\n")).collect()),
        flags: Flags {
            discovery_address: Some(discovery.to_string()),
            delta: Some(true),
            admin_port: Some(0),
            ..Flags::default()
        },
        ..Inputs::default()
    };
    let settled = mesh_agent::bootstrap::settle(&inputs);
    let (settings, _) = settled.map_err(|error| workload.does_not_start(&chain(&error)))?;
    let mut bootstrap = mesh_agent::bootstrap::render(&settings);
    let resources = &mut bootstrap["static_resources"];
    resources["listeners"] = serde_json::json!([]);
    if let Some(clusters) = resources["clusters"].as_array_mut() {
        clusters.retain(|cluster| !OF_THE_AGENT.contains(&cluster["name"].as_str().unwrap_or_default()));
    }
    Ok(bootstrap)
}
