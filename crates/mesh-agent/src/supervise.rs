//! Keeps the proxy running: starts it, starts it again when it ends by itself,
//! passes signals on, drains it when told to end.
//!
//! ```text
//!             start ──► running ── ends by itself ──► waits (backoff) ──► start
//!                         │ Order::Drain                    │ too often
//!                         v                                 v
//!                      draining ── time is up, or no ──►  SIGTERM ── SIGKILL
//!                                  connection is left
//! ```
//!
//! Invariant: the proxy does not outlive the supervisor.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::fetch::{self, Bounds};

/// What to run and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The proxy's executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its admin interface, for draining.
    pub admin: SocketAddr,
    /// Time between the order to drain and the proxy's end.
    pub drain: Duration,
    /// Whether to end as soon as no connection is left, however long it takes.
    pub exit_on_zero_active_connections: bool,
    /// Time before that is looked at first.
    pub minimum_drain: Duration,
    /// Ports of listeners whose connections do not count: the proxy's own.
    pub own_ports: Vec<u16>,
    /// When to start a proxy again.
    pub restarts: Restarts,
}

/// When to start a proxy again that ended by itself.
#[derive(Debug, Clone)]
pub struct Restarts {
    /// Delay before the first; doubles with each further one.
    pub base: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Consecutive ends after which the supervisor gives up.
    pub limit: u32,
    /// A proxy that ran this long is taken to have worked: counting starts over.
    pub healthy_after: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(200),
            max: Duration::from_secs(30),
            limit: 10,
            healthy_after: Duration::from_secs(60),
        }
    }
}

impl Restarts {
    /// Delay before the start that follows the `failures`th consecutive end,
    /// counted from 1; `None` if there should be none.
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        (failures < self.limit).then(|| self.base.saturating_mul(factor).min(self.max))
    }
}

/// What the supervisor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Drain, then end. While draining, once more: end now.
    Drain,
    /// End now.
    Stop,
    /// Pass a signal on to the proxy.
    Forward(Signal),
}

/// What the supervisor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A proxy process was started.
    Started,
    /// It ended by itself.
    Ended,
    /// It was told to drain or to end.
    Terminating,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As ordered.
    Ordered,
    /// The proxy ended by itself too often; its last exit code (128 + signal if
    /// it was killed).
    GaveUp {
        /// See above.
        code: i32,
    },
}

impl Exit {
    /// The exit code of the agent.
    pub fn code(self) -> i32 {
        match self {
            Self::Ordered => 0,
            // The proxy's own 0 would hide that it should have gone on.
            Self::GaveUp { code: 0 } => 1,
            Self::GaveUp { code } => code,
        }
    }
}

/// The proxy cannot be started at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the proxy {}: {source}", program.display())]
pub struct StartError {
    /// The executable.
    pub program: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// Time that a proxy gets to end after SIGTERM before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How often connections are counted while waiting for none.
const POLL: Duration = Duration::from_secs(1);
const ADMIN: Bounds = Bounds { within: Duration::from_secs(2), bytes_max: 16 << 20 };

/// Runs the proxy until it is ordered to end or ends too often. If `orders`
/// closes, that is an order to drain.
///
/// # Errors
/// [`StartError`] if the executable cannot be run; it would not get better.
pub async fn supervise(
    options: &Options,
    mut orders: mpsc::Receiver<Order>,
    tell: impl Fn(Event),
) -> Result<Exit, StartError> {
    let mut failures = 0;
    loop {
        let mut child = start(options)?;
        tell(Event::Started);
        let started = Instant::now();
        let Some(status) = watch(options, &mut child, &mut orders, &tell).await else {
            return Ok(Exit::Ordered);
        };
        tell(Event::Ended);
        let ran = started.elapsed();
        failures = if ran >= options.restarts.healthy_after { 1 } else { failures + 1 };
        let Some(delay) = options.restarts.delay(failures) else {
            warn!(%status, failures, "The proxy ended by itself too often; giving up.");
            return Ok(Exit::GaveUp { code: code(status) });
        };
        warn!(%status, ?ran, failures, ?delay, "The proxy ended by itself; starting it again.");
        let until = Instant::now() + delay;
        loop {
            tokio::select! {
                () = sleep_until(until) => break,
                order = orders.recv() => if !matches!(order, Some(Order::Forward(_))) {
                    tell(Event::Terminating);
                    return Ok(Exit::Ordered);
                },
            }
        }
    }
}

/// `None` if the proxy was ordered to end and has.
async fn watch(
    options: &Options,
    child: &mut Child,
    orders: &mut mpsc::Receiver<Order>,
    tell: &impl Fn(Event),
) -> Option<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return Some(status.unwrap_or_default()),
            order = orders.recv() => match order {
                Some(Order::Forward(signal)) => pass_on(child, signal),
                Some(Order::Stop) => {
                    tell(Event::Terminating);
                    break;
                }
                Some(Order::Drain) | None => {
                    tell(Event::Terminating);
                    drain(options, child, orders).await;
                    break;
                }
            },
        }
    }
    terminate(child).await;
    None
}

/// Has the proxy drain its listeners and waits as configured.
async fn drain(options: &Options, child: &mut Child, orders: &mut mpsc::Receiver<Order>) {
    let admin = options.admin.to_string();
    match fetch::fetch(&Method::POST, &admin, "/drain_listeners?graceful", ADMIN).await {
        Ok((status, _)) if status.is_success() => info!(wait = ?options.drain, "The proxy drains."),
        Ok((status, _)) => warn!(%status, "The proxy refuses to drain; it ends after the same time."),
        Err(error) => warn!(%error, "The proxy cannot be told to drain; it ends after the same time."),
    }
    let over = async {
        if options.exit_on_zero_active_connections {
            sleep(options.minimum_drain).await;
            while active_connections(&admin, &options.own_ports).await.is_none_or(|active| active > 0) {
                sleep(POLL).await;
            }
        } else {
            sleep(options.drain).await;
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return,
            _ = child.wait() => return,
            order = orders.recv() => match order {
                Some(Order::Forward(signal)) => pass_on(child, signal),
                Some(Order::Drain | Order::Stop) => return,
                // Nobody can order anything any more.
                None => return over.await,
            },
        }
    }
}

/// Connections that clients have open to listeners other than the proxy's own
/// interfaces. `None` if the proxy does not say.
async fn active_connections(admin: &str, own_ports: &[u16]) -> Option<u64> {
    let path = "/stats?usedonly&filter=downstream_cx_active$";
    let (_, body) = fetch::fetch(&Method::GET, admin, path, ADMIN).await.ok()?;
    Some(count_active(&String::from_utf8_lossy(&body), own_ports))
}

/// Sums the lines `listener.<address>_<port>.downstream_cx_active: n`, but for
/// the admin interface and `own_ports`.
fn count_active(stats: &str, own_ports: &[u16]) -> u64 {
    let own =
        |listener: &str| listener == "admin" || own_ports.iter().any(|port| listener.ends_with(&format!("_{port}")));
    let lines = stats.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter_map(|(name, value)| {
            let listener = name.strip_prefix("listener.")?.strip_suffix(".downstream_cx_active")?;
            let counts = !own(listener) && !listener.contains(".worker_");
            counts.then(|| value.trim().parse::<u64>().ok()).flatten()
        })
        .sum()
}

fn start(options: &Options) -> Result<Child, StartError> {
    let mut command = Command::new(&options.program);
    command.args(&options.args).stdin(Stdio::null()).kill_on_drop(true);
    die_with_parent(&mut command);
    let child = command.spawn().map_err(|source| StartError { program: options.program.clone(), source })?;
    info!(program = %options.program.display(), pid = child.id(), "The proxy starts.");
    Ok(child)
}

/// SIGTERM, and SIGKILL if that does not help.
async fn terminate(child: &mut Child) {
    pass_on(child, Signal::SIGTERM);
    match timeout(KILL_AFTER, child.wait()).await {
        Ok(Ok(status)) => info!(%status, "The proxy has ended."),
        Ok(Err(error)) => warn!(%error, "The proxy's end cannot be seen."),
        Err(_) => {
            warn!(after = ?KILL_AFTER, "The proxy does not end; it is killed.");
            if let Err(error) = child.kill().await {
                warn!(%error, "The proxy cannot be killed.");
            }
        }
    }
}

fn pass_on(child: &Child, signal: Signal) {
    // Without an id it has ended, and there is nobody to signal.
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Err(error) = kill(Pid::from_raw(pid), signal)
    {
        warn!(%signal, %error, "The proxy cannot be signalled.");
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// Has the kernel end the proxy when the agent ends, however it ends.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let set = || nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from);
    // SAFETY: the closure makes one system call, which is async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(set) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
