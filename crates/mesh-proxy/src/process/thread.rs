//! A worker thread: what it is told, and its main loop.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rand::Rng;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::AbortHandle;

use crate::listener::accept::Acceptor;
use crate::options::DrainStrategy;
use crate::stats::sets::ListenerStats;
use crate::worker::{ConnectionState, Connections, Shared, Worker};

/// What the control thread tells a worker.
pub(crate) enum Command {
    /// Accept on this socket, for the listener called `name`.
    Listen { key: u64, name: Arc<str>, socket: std::net::TcpListener, stats: Arc<ListenerStats> },
    /// Close these sockets.
    Unlisten { keys: Vec<u64> },
    /// Drain the connections of this listener.
    DrainListener { name: Arc<str> },
    /// Drain the connections of these filter chains.
    DrainChains { chains: Vec<usize> },
    /// Close all sockets and drain all connections, without delay.
    DrainAll,
}

/// Starts worker `index` of `workers`. It ends when its commands do.
pub(crate) fn start(
    index: usize,
    workers: usize,
    shared: Arc<Shared>,
    mut commands: UnboundedReceiver<Command>,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = |_: ()| Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = match runtime(()) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "A worker has no runtime; it takes no connections.");
                return;
            }
        };
        let connections_max = connections_max(workers);
        runtime.block_on(async move {
            let worker = Worker::new(shared);
            tokio::task::spawn_local(worker.clone().housekeeping());
            let mut sockets: HashMap<u64, AbortHandle> = HashMap::new();
            while let Some(command) = commands.recv().await {
                carry_out(&worker, &mut sockets, command, connections_max);
            }
            worker.logs.borrow_mut().flush(&worker.shared.logs);
        });
    })
}

fn carry_out(worker: &Rc<Worker>, sockets: &mut HashMap<u64, AbortHandle>, command: Command, connections_max: usize) {
    match command {
        Command::Listen { key, name, socket, stats } => match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => {
                let acceptor = Acceptor { worker: worker.clone(), name, stats, connections_max };
                sockets.insert(key, tokio::task::spawn_local(acceptor.run(socket)).abort_handle());
            }
            Err(error) => tracing::error!(listener = %name, %error, "A socket cannot be used."),
        },
        Command::Unlisten { keys } => {
            for key in keys {
                if let Some(task) = sockets.remove(&key) {
                    task.abort();
                }
            }
        }
        Command::DrainListener { name } => drain(worker, move |c| c.listener == name),
        Command::DrainChains { chains } => drain(worker, move |c| chains.contains(&(c.chain as usize))),
        Command::DrainAll => {
            sockets.drain().for_each(|(_, task)| task.abort());
            worker.connections.drain(|_| true);
        }
    }
}

/// Drains the connections that `which` selects, spread over the drain time if
/// the strategy says so, and cuts what is left when it is over.
fn drain(worker: &Rc<Worker>, which: impl Fn(&ConnectionState) -> bool) {
    let time = worker.shared.drain_time;
    for connection in worker.connections.select(which) {
        let delay = match worker.shared.drain_strategy {
            DrainStrategy::Immediate => Duration::ZERO,
            DrainStrategy::Gradual => time.mul_f64(worker.rng.borrow_mut().random::<f64>()),
        };
        // Held weakly: most connections end long before.
        let connection = Rc::downgrade(&connection);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            if let Some(connection) = connection.upgrade() {
                connection.drain();
            }
            tokio::time::sleep(time.saturating_sub(delay)).await;
            if let Some(connection) = connection.upgrade() {
                Connections::cut(&connection);
            }
        });
    }
}

/// Connections that one worker may have: each takes up to two file
/// descriptors, and some must be left for everything else.
fn connections_max(workers: usize) -> usize {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let files = limit.map_or(FILES_DEFAULT, |(soft, _)| soft.min(FILES_MAX)) as usize;
    (files.saturating_sub(FILES_RESERVED) / 2 / workers.max(1)).max(CONNECTIONS_MIN)
}

const FILES_DEFAULT: u64 = 1024;
/// "Unlimited" must still be a number of connections that fits in memory.
const FILES_MAX: u64 = 2_000_000;
const FILES_RESERVED: usize = 256;
const CONNECTIONS_MIN: usize = 64;
