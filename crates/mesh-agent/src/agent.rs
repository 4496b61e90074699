//! `agent proxy`: bootstrap, supervision and status server, put together.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::bootstrap::{self, Inputs, Settings, SettingsError};
use crate::status::Status;
use crate::supervise::{self, Event, Exit, Order, Restarts, StartError};

/// What the agent is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything that the bootstrap depends on.
    pub inputs: Inputs,
    /// The proxy to run.
    pub program: Program,
    /// Folder for the bootstrap file; made if it is missing.
    pub config_dir: PathBuf,
    /// The proxy's log level (`-l`).
    pub log_level: String,
    /// The proxy's levels by component, `misc:error,upstream:debug`.
    pub component_log_level: Option<String>,
    /// Address on which the status server is bound.
    pub status_bind: IpAddr,
    /// When to start the proxy again.
    pub restarts: Restarts,
}

/// Which proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Our own: an executable and what comes before Envoy's flags, such as
    /// `["proxy"]`.
    Native {
        /// The executable, usually this process's own.
        executable: PathBuf,
        /// Its first arguments.
        prefix: Vec<String>,
    },
    /// Envoy's binary.
    Envoy(PathBuf),
}

/// Why the agent does not run. Nothing keeps running then.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The inputs.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The bootstrap file.
    #[error("bootstrap {}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The status server's port.
    #[error("status port {address}: cannot be bound: {source}; choose another with statusPort in PROXY_CONFIG")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The process's signals.
    #[error("signals cannot be received: {source}")]
    Signals {
        /// Why.
        source: io::Error,
    },
    /// The proxy's executable.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Options {
    /// The usual options for `program` with these inputs.
    pub fn new(program: Program, inputs: Inputs) -> Self {
        Self {
            inputs,
            program,
            config_dir: PathBuf::from("./etc/istio/proxy"),
            log_level: "warning".to_owned(),
            component_log_level: None,
            status_bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            restarts: Restarts::default(),
        }
    }
}

/// Orders that wait for the supervisor; more than a few have no meaning.
const ORDERS: usize = 16;

/// Writes the bootstrap, runs the proxy and the status server until SIGTERM,
/// SIGINT or an order of the status server ends them.
///
/// # Errors
/// [`AgentError`] if it cannot start.
pub async fn run(options: &Options) -> Result<Exit, AgentError> {
    let (settings, notes) = bootstrap::settle(&options.inputs)?;
    for note in &notes {
        warn!("{note}");
    }
    let file = write_bootstrap(&options.config_dir, &settings)?;
    let address = SocketAddr::new(options.status_bind, settings.status_port);
    let listener = TcpListener::bind(address).await.map_err(|source| AgentError::Bind { address, source })?;
    let (orders, received) = mpsc::channel(ORDERS);
    forward_signals(orders.clone()).map_err(|source| AgentError::Signals { source })?;

    let (program, args) = command(options, &settings, &file);
    let supervised = supervise::Options {
        program,
        args,
        admin: admin(&settings),
        drain: settings.termination_drain,
        exit_on_zero_active_connections: settings.exit_on_zero_active_connections,
        minimum_drain: settings.minimum_drain,
        own_ports: vec![settings.health_port, settings.prometheus_port],
        restarts: options.restarts.clone(),
    };
    let status = Status::new(supervised.admin, settings.scrape.clone(), orders);
    let serving = tokio::spawn({
        let status = status.clone();
        async move {
            if let Err(error) = status.serve(listener).await {
                warn!(%error, "The status server has failed.");
            }
        }
    });
    info!(node = settings.node_id, discovery = settings.discovery_address, %address, "The agent runs.");
    let exit = supervise::supervise(&supervised, received, |event| match event {
        Event::Started => status.proxy_started(),
        Event::Ended => status.proxy_ended(),
        Event::Terminating => status.proxy_terminates(),
    })
    .await;
    serving.abort();
    Ok(exit?)
}

/// The executable and the arguments that Istio's agent gives Envoy.
fn command(options: &Options, settings: &Settings, file: &Path) -> (PathBuf, Vec<String>) {
    let (program, mut args) = match &options.program {
        Program::Native { executable, prefix } => (executable.clone(), prefix.clone()),
        Program::Envoy(binary) => (binary.clone(), Vec::new()),
    };
    if let Some(path) = &settings.binary_path
        && Path::new(path) != program
    {
        warn!(binary_path = %path, program = %program.display(), "binaryPath is ignored; the command line chooses the proxy.");
    }
    let mut flag = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
    flag("-c", &file.display().to_string());
    flag("--drain-time-s", &settings.drain.as_secs().to_string());
    flag("--drain-strategy", "immediate");
    flag("--local-address-ip-version", settings.ip_version);
    flag("--file-flush-interval-msec", "1000");
    flag("-l", &options.log_level);
    if let Some(levels) = &options.component_log_level {
        flag("--component-log-level", levels);
    }
    if let Some(concurrency) = settings.concurrency.filter(|n| *n > 0) {
        flag("--concurrency", &concurrency.to_string());
    }
    args.extend(["--disable-hot-restart".to_owned(), "--allow-unknown-static-fields".to_owned()]);
    (program, args)
}

fn admin(settings: &Settings) -> SocketAddr {
    let loopback = if settings.ip_version == "v6" { "::1" } else { "127.0.0.1" };
    SocketAddr::new(loopback.parse().unwrap_or(Ipv4Addr::LOCALHOST.into()), settings.admin_port)
}

fn write_bootstrap(folder: &Path, settings: &Settings) -> Result<PathBuf, AgentError> {
    let path = folder.join("envoy-rev.json");
    let failed = |source| AgentError::Write { path: path.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(&path, format!("{:#}\n", bootstrap::render(settings))).map_err(failed)?;
    Ok(path)
}

/// SIGTERM and SIGINT drain; SIGHUP, SIGUSR1 and SIGUSR2 go to the proxy.
fn forward_signals(orders: mpsc::Sender<Order>) -> io::Result<()> {
    for (kind, order) in [
        (SignalKind::terminate(), Order::Drain),
        (SignalKind::interrupt(), Order::Drain),
        (SignalKind::hangup(), Order::Forward(Signal::SIGHUP)),
        (SignalKind::user_defined1(), Order::Forward(Signal::SIGUSR1)),
        (SignalKind::user_defined2(), Order::Forward(Signal::SIGUSR2)),
    ] {
        let (mut signals, orders) = (signal(kind)?, orders.clone());
        tokio::spawn(async move { while signals.recv().await.is_some() && orders.send(order).await.is_ok() {} });
    }
    Ok(())
}
