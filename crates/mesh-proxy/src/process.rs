//! Starts a proxy's threads and ends them.
//!
//! ```text
//! control thread    store, ADS client, resolver, admin
//! worker threads    connections, one current-thread runtime each
//! access-log thread files
//! ```
//!
//! Invariant: the control thread owns the workers' command channels; when it
//! ends, they end.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mesh_engine::RuntimeConfig;
use mesh_proto::envoy::config::bootstrap::v3::Bootstrap;
use mesh_proto::envoy::config::core::v3::{address::Address, socket_address::PortSpecifier};
use parking_lot::Mutex;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use crate::access_log::LogWriter;
use crate::admin::{self, Admin};
use crate::bootstrap::{self, BootstrapError, Loaded};
use crate::options::{Mode, Options};
use crate::stats::Stats;
use crate::worker::Shared;
use crate::xds::client;
use crate::xds::store::Store;

mod thread;

pub(crate) use thread::Command;

/// A proxy that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The bootstrap is missing, unreadable or asks for what is not supported.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A static listener or cluster, or the admin address, cannot be used.
    #[error("{resource}: {detail}; the proxy does not start")]
    Resource {
        /// `static listener "x"`, `static cluster "y"`, `admin`.
        resource: String,
        /// Field, found, expected.
        detail: String,
    },
    /// The operating system refuses a thread or a runtime.
    #[error("cannot start {what}: {source}")]
    System {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// A running proxy. Dropping it does not stop the proxy.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    admin: Option<SocketAddr>,
    stop: watch::Sender<Stop>,
    done: watch::Receiver<bool>,
    control: Control,
    threads: Mutex<Vec<JoinHandle<()>>>,
    log_thread: Mutex<Option<JoinHandle<()>>>,
}

/// What others see of the control thread's state.
#[derive(Clone)]
struct Control {
    shared: Arc<Shared>,
    records: Arc<Mutex<crate::xds::record::Records>>,
    admin: Option<SocketAddr>,
}

/// How the proxy is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    Drain,
    Now,
}

impl Handle {
    /// The address the admin interface is bound to; `None` if the bootstrap
    /// has none.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.inner.admin
    }

    /// The addresses on which the listener called `name` accepts connections;
    /// empty if it is not in use (yet). With port 0 in the configuration these
    /// are the ports that the system chose.
    pub fn listener_addresses(&self, name: &str) -> Vec<SocketAddr> {
        self.inner.control.records.lock().bound.get(name).cloned().unwrap_or_default()
    }

    /// Whether it has what it needs to serve, as `/ready` says.
    pub fn is_live(&self) -> bool {
        self.inner.control.records.lock().live
    }

    /// Stops accepting, asks connections to close, and ends when they have, or
    /// after the drain time.
    pub fn drain(&self) {
        self.inner.stop.send_if_modified(|stop| {
            let first = *stop == Stop::No;
            if first {
                *stop = Stop::Drain;
            }
            first
        });
    }

    /// Ends now; open connections are cut.
    pub fn shutdown(&self) {
        self.inner.stop.send_replace(Stop::Now);
    }

    /// Opens the access-log files anew, after a rotation.
    pub fn reopen_logs(&self) {
        self.inner.control.shared.logs.reopen();
    }

    /// Completes when the proxy has ended, whoever ended it.
    pub async fn finished(&self) {
        let mut done = self.inner.done.clone();
        // An error means that the control thread is gone: ended as well.
        let _ = done.wait_for(|done| *done).await;
    }

    /// Blocks until the proxy has ended, whoever ended it. Returns at once if
    /// another caller already waits.
    pub fn wait(&self) {
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("A proxy thread panicked.");
            }
        }
        // Last, for the workers hand over their last lines as they end.
        if let Some(thread) = self.inner.log_thread.lock().take() {
            self.inner.control.shared.logs.end();
            drop(thread.join());
        }
    }
}

/// Starts a proxy and returns once its static listeners and admin are bound.
///
/// # Errors
/// [`ProxyError`]; nothing keeps running then.
pub fn start(options: Options) -> Result<Handle, ProxyError> {
    let began = Instant::now();
    let loaded = bootstrap::load(&options)?;
    for what in &loaded.ignored {
        tracing::warn!(%what, "A part of the bootstrap has no effect.");
    }
    let stats = Stats::default();
    let workers = options.workers();
    stats.server.concurrency.set(workers as u64);
    stats.server.state.set(STATE_PRE_INITIALIZING);
    let (logs, log_thread) = LogWriter::start(stats.files.clone()).map_err(system("the access-log thread"))?;
    let shared = Arc::new(Shared::new(stats, logs, &options));
    let mut threads = Vec::new();
    let mut commands = Vec::new();
    for index in 0..workers {
        let (command, received) = mpsc::unbounded_channel();
        threads.push(thread::start(index, workers, shared.clone(), received).map_err(system("a worker thread"))?);
        commands.push(command);
    }
    shared.stats.listeners.workers_started.set(1);
    let (stop, stopping) = watch::channel(Stop::No);
    let (done_tx, done) = watch::channel(false);
    let (ready_tx, ready) = std::sync::mpsc::sync_channel(1);
    let own_stop = stop.clone();
    let own_shared = shared.clone();
    let control = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            let start = ControlStart { options, loaded, shared: own_shared, workers: commands, stop: own_stop };
            control_thread(start, stopping, &ready_tx);
            drop(ready_tx);
            done_tx.send_replace(true);
        })
        .map_err(system("the control thread"))?;
    threads.push(control);
    let control = match ready.recv() {
        Ok(Ok(control)) => control,
        refused => {
            // The control thread is gone, and with it the workers' channels.
            threads.into_iter().for_each(|t| drop(t.join()));
            shared.logs.end();
            drop(log_thread.join());
            return Err(match refused {
                Ok(Err(error)) => error,
                _ => system("the control thread")(std::io::ErrorKind::Other.into()),
            });
        }
    };
    shared.stats.server.initialization_time_ms.record(crate::upstream::pool::millis(began.elapsed()));
    let (threads, log_thread) = (Mutex::new(threads), Mutex::new(Some(log_thread)));
    Ok(Handle { inner: Arc::new(Inner { admin: control.admin, stop, done, control, threads, log_thread }) })
}

/// Checks a configuration as [`start`] would, without binding anything.
///
/// # Errors
/// What `start` would fail with.
pub fn validate(options: &Options) -> Result<(), ProxyError> {
    let loaded = bootstrap::load(options)?;
    let runtime = RuntimeConfig::default();
    let Some(resources) = &loaded.bootstrap.static_resources else { return Ok(()) };
    let refuse = |kind: &str, name: &str, error: mesh_engine::ConfigError| ProxyError::Resource {
        resource: format!("static {kind} {name:?}"),
        detail: error.to_string(),
    };
    for cluster in &resources.clusters {
        mesh_engine::ClusterConfig::parse(cluster).map_err(|e| refuse("cluster", &cluster.name, e))?;
    }
    for listener in &resources.listeners {
        mesh_engine::Listener::parse(listener, &runtime.routes).map_err(|e| refuse("listener", &listener.name, e))?;
    }
    Ok(())
}

/// Runs a proxy until it is told to end: SIGTERM and SIGINT drain it, a second
/// one ends it at once; SIGUSR1 opens the access logs anew. With
/// [`Mode::Validate`] only checks the configuration. Sets up logging if the
/// process has none.
///
/// # Errors
/// [`ProxyError`] if it cannot start.
pub fn run(options: Options) -> Result<(), ProxyError> {
    crate::logging::install(&options.log_level);
    if options.mode == Mode::Validate {
        return validate(&options);
    }
    let runtime = Builder::new_current_thread().enable_all().build().map_err(system("the signal handler"))?;
    let handle = start(options)?;
    runtime.block_on(signals(&handle)).map_err(system("the signal handler"))?;
    handle.wait();
    Ok(())
}

async fn signals(handle: &Handle) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let mut asked = false;
    loop {
        tokio::select! {
            () = handle.finished() => return Ok(()),
            _ = reopen.recv() => {
                handle.reopen_logs();
                continue;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if std::mem::replace(&mut asked, true) {
            handle.shutdown();
        } else {
            handle.drain();
        }
    }
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> ProxyError {
    move |source| ProxyError::System { what, source }
}

struct ControlStart {
    options: Options,
    loaded: Loaded,
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    stop: watch::Sender<Stop>,
}

fn control_thread(
    start: ControlStart,
    stopping: watch::Receiver<Stop>,
    ready: &std::sync::mpsc::SyncSender<Result<Control, ProxyError>>,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(system("the control runtime")(error)))),
    };
    runtime.block_on(async {
        let drain_time = start.options.drain_time;
        match begin(start).await {
            Ok((store, control)) => {
                let shared = control.shared.clone();
                // The receiver waits for exactly this.
                let _ = ready.send(Ok(control));
                finish(store, &shared, stopping, drain_time).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

/// Everything up to serving.
async fn begin(start: ControlStart) -> Result<(Rc<RefCell<Store>>, Control), ProxyError> {
    let ControlStart { options, loaded, shared, workers, stop } = start;
    let bootstrap = &loaded.bootstrap;
    let listening = match admin_address(bootstrap)? {
        Some(address) => {
            Some(admin::bind(address).map_err(|detail| ProxyError::Resource { resource: "admin".to_owned(), detail })?)
        }
        None => None,
    };
    let mut store = Store::new(shared.clone(), RuntimeConfig::default(), bootstrap, workers);
    store.load_static(bootstrap)?;
    let wait = |source: Option<&mesh_proto::envoy::config::core::v3::ConfigSource>| {
        crate::xds::wait_of(source.and_then(|s| s.initial_fetch_timeout.as_ref()))
    };
    let dynamic = bootstrap.dynamic_resources.clone().unwrap_or_default();
    let ads = match &loaded.ads {
        None => None,
        Some(ads) => {
            let clusters = bootstrap.static_resources.iter().flat_map(|s| &s.clusters);
            let target = clusters.filter(|c| c.name == ads.cluster).find_map(client::target);
            let target = target.ok_or_else(|| ProxyError::Resource {
                resource: format!("static cluster {:?}", ads.cluster),
                detail: "load_assignment: found no socket address or pipe, expected the control plane's".to_owned(),
            })?;
            Some((ads.clone(), bootstrap.node.clone().unwrap_or_default(), target))
        }
    };
    let (cds, lds) = loaded.ads.as_ref().map_or((false, false), |a| (a.cds, a.lds));
    let delta = loaded.ads.as_ref().is_some_and(|a| a.kind == crate::bootstrap::AdsKind::Delta);
    store.begin(cds.then(|| wait(dynamic.cds_config.as_ref())), lds.then(|| wait(dynamic.lds_config.as_ref())), delta);
    let records = store.records.clone();
    let store = Rc::new(RefCell::new(store));
    let address = listening.as_ref().and_then(|l| l.local_addr().ok());
    if let Some(listening) = listening {
        let admin = Admin::new(shared.clone(), records.clone(), options, stop);
        tokio::task::spawn_local(admin::serve(listening, admin, store.clone()));
    }
    tokio::task::spawn_local(client::run(store.clone(), ads));
    Ok((store, Control { shared, records, admin: address }))
}

/// Waits for the end and carries it out.
async fn finish(store: Rc<RefCell<Store>>, shared: &Shared, mut stopping: watch::Receiver<Stop>, drain_time: Duration) {
    // An error means that every handle is gone; admin may still end it, and
    // holds a sender, so that it cannot happen while anyone can.
    let stop = stopping.wait_for(|s| *s != Stop::No).await.map_or(Stop::Now, |s| *s);
    if stop == Stop::Now {
        return;
    }
    shared.stats.server.state.set(STATE_DRAINING);
    shared.failing.store(true, Ordering::Relaxed);
    let open = shared.open.load(Ordering::Relaxed);
    let drain_s = drain_time.as_secs();
    tracing::info!(open, drain_s, "Draining: no new connections, open ones may finish.");
    store.borrow_mut().drain_all();
    let drained = async {
        while shared.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(drain_time) => tracing::warn!("The drain time is over; the connections left are cut."),
        _ = stopping.wait_for(|s| *s == Stop::Now) => {}
    }
}

fn admin_address(bootstrap: &Bootstrap) -> Result<Option<SocketAddr>, ProxyError> {
    let address = bootstrap.admin.as_ref().and_then(|a| a.address.as_ref()).and_then(|a| a.address.as_ref());
    let refuse = |detail: String| ProxyError::Resource { resource: "admin".to_owned(), detail };
    match address {
        None => Ok(None),
        Some(Address::SocketAddress(socket)) => {
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
                _ => None,
            };
            match (socket.address.parse(), port) {
                (Ok(ip), Some(port)) => Ok(Some(SocketAddr::new(ip, port))),
                _ => Err(refuse(format!("address: found {:?}, expected an IP address and a port", socket.address))),
            }
        }
        Some(_) => Err(refuse("address: found a pipe or internal address, expected a socket_address".to_owned())),
    }
}

/// Between looks at whether all connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);
const STATE_PRE_INITIALIZING: u64 = 2;
const STATE_DRAINING: u64 = 1;
