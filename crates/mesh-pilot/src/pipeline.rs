//! The stages that a change goes through, in order.
//!
//! | # | Stage | Where |
//! |---|---|---|
//! | 1 | the platform's adapter reports changes and what is wrong | `mesh-platform` |
//! | 2 | the [`World`] takes note of them; this task is its one owner | `mesh-model` |
//! | 3 | they settle: a debounce with an upper bound | [`Settle`] |
//! | 4 | the world makes a [`MeshSnapshot`] | `mesh-model` |
//! | 5 | every connected proxy enters the queue | [`Fleet`] |
//! | 6 | workers translate for the one that waits longest | `mesh-translate` |
//! | 7 | the result is published to the proxy's stream if it differs | [`Fleet`] |
//! | 8 | the stream sends what the proxy watches and does not have | `mesh-xds` |
//!
//! Invariant: stages hand over the newest state, never a queue of states, so a
//! slow stage skips work instead of falling behind. When one fails, the state
//! before it stays in force.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{Change, Diagnostic, MeshSnapshot, World};
use mesh_platform::{Update, Updates};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::board::{Board, Part};
use crate::fleet::{Fleet, Served};
use crate::metrics::Metrics;
use crate::settle::{Class, Settle, Settled};

/// Stages 1 to 5: one task. See the module's documentation.
pub(crate) struct Pipeline {
    pub(crate) updates: Updates,
    pub(crate) settle: Settle,
    pub(crate) outlets: Outlets,
    /// Requests to push now, settled or not.
    pub(crate) pushes: mpsc::Receiver<()>,
}

/// Who is told about a new state.
pub(crate) struct Outlets {
    pub(crate) served: watch::Sender<Option<Served>>,
    pub(crate) snapshots: watch::Sender<Arc<MeshSnapshot>>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Arc<Metrics>,
}

/// How long what proxies report may gather before the board is drawn again.
const BOARD_INTERVAL: Duration = Duration::from_millis(50);

/// How long after a change namespaces without a proxy are looked at: proxies
/// come first, and what a burst of changes makes is looked at once.
const PROBE_AFTER: Duration = Duration::from_millis(250);

/// Runs stages 1 to 5 until `stop`, or until the adapter ends.
pub(crate) async fn run(mut pipeline: Pipeline, stop: CancellationToken) {
    let mut world = World::new();
    let mut synced = false;
    loop {
        let due = pipeline.settle.due();
        let settled = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = pipeline.pushes.recv() => {
                pipeline.outlets.metrics.push_asked_for();
                let now = Instant::now();
                let nothing = Settled { class: Class::Config, waited: Duration::ZERO, updates: 0 };
                Some(pipeline.settle.flush(now).unwrap_or(nothing))
            }
            update = pipeline.updates.next() => {
                let Some(update) = update else {
                    error!("The platform's adapter has ended; the mesh stays as it is until a restart.");
                    stop.cancelled().await;
                    return;
                };
                note(&mut pipeline, &mut world, update);
                // What there was at the start is complete: nothing to wait for.
                if synced { None } else { pipeline.settle.flush(Instant::now()) }
            }
            () = at(due) => pipeline.settle.take(Instant::now()),
        };
        if let Some(settled) = settled {
            world = pipeline.outlets.serve(world, settled, !synced).await;
            synced = true;
        } else if !synced {
            // An empty folder is a mesh, too.
            let nothing = Settled { class: Class::Config, waited: Duration::ZERO, updates: 0 };
            world = pipeline.outlets.serve(world, nothing, true).await;
            synced = true;
        }
    }
}

/// Keeps the board's third part up to date until `stop`.
pub(crate) async fn watch_fleet(fleet: Arc<Fleet>, board: Arc<Board>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = fleet.news() => board.set(Part::Proxies, fleet.diagnostics()),
        }
        tokio::time::sleep(BOARD_INTERVAL).await;
    }
}

/// Looks at namespaces without a proxy, a while after each change, until `stop`.
pub(crate) async fn probe_namespaces(fleet: Arc<Fleet>, stop: CancellationToken) {
    let mut meshes = fleet.meshes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = meshes.changed() => if changed.is_err() { return },
        }
        tokio::time::sleep(PROBE_AFTER).await;
        meshes.mark_unchanged();
        let fleet = fleet.clone();
        if tokio::task::spawn_blocking(move || fleet.probe()).await.is_err() {
            error!("Looking at namespaces without a proxy failed; it is tried again at the next change.");
        }
    }
}

/// Stages 2 and 3.
fn note(pipeline: &mut Pipeline, world: &mut World, update: Update) {
    pipeline.outlets.board.set(Part::Platform, update.diagnostics);
    pipeline.outlets.metrics.changed(&update.changes);
    if let Some(class) = classify(&update.changes) {
        pipeline.settle.note(class, Instant::now());
    }
    for change in update.changes {
        world.apply(change);
    }
}

/// `None` if there is no change at all.
fn classify(changes: &[Change]) -> Option<Class> {
    let class = |change: &Change| match change {
        Change::Endpoints { .. } => Class::Endpoints,
        _ => Class::Config,
    };
    changes.iter().map(class).max()
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Outlets {
    /// Stages 4 and 5. Building a large mesh takes a while, so it happens off
    /// the async threads; the world goes there and comes back.
    async fn serve(&self, mut world: World, settled: Settled, first: bool) -> World {
        let started = Instant::now();
        let built = tokio::task::spawn_blocking(move || {
            let built = catch_unwind(AssertUnwindSafe(|| {
                let (mesh, diagnostics) = world.snapshot();
                (mesh, diagnostics.to_vec())
            }));
            (world, built)
        });
        match built.await {
            Ok((world, Ok((mesh, diagnostics)))) => {
                self.publish(mesh, diagnostics, settled, started, first);
                world
            }
            Ok((world, Err(_))) => {
                self.metrics.internal_error();
                error!("Building a snapshot of the mesh failed; the last one stays in force.");
                world
            }
            Err(error) => {
                warn!(%error, "The runtime is going down.");
                World::new()
            }
        }
    }

    fn publish(
        &self,
        mesh: Arc<MeshSnapshot>,
        diagnostics: Vec<Diagnostic>,
        settled: Settled,
        started: Instant,
        first: bool,
    ) {
        let took = started.elapsed();
        let changed_at = started.checked_sub(settled.waited).unwrap_or(started);
        self.board.set(Part::World, diagnostics);
        self.metrics.settled(&settled, took);
        self.served.send_replace(Some(Served { mesh: mesh.clone(), changed_at }));
        self.snapshots.send_replace(mesh.clone());
        self.fleet.mesh_changed();
        let (version, proxies) = (mesh.version, self.fleet.members().len());
        let (services, rules) = (mesh.services.len(), mesh.rules.all().len());
        let waited_ms = settled.waited.as_millis() as u64;
        if first {
            info!(version, services, rules, "The mesh has been read.");
        } else {
            info!(version, services, rules, proxies, waited_ms, updates = settled.updates, "The mesh has changed.");
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::ServiceKey;

    use super::*;

    #[test]
    fn an_update_takes_the_short_path_only_if_it_is_all_endpoints() {
        let service = ServiceKey { hostname: "a".into(), namespace: "b".into() };
        let endpoints = Change::Endpoints { service: service.clone(), source: "slice".into(), endpoints: Vec::new() };
        let removed = Change::ServiceRemoved(service);
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[endpoints.clone(), endpoints.clone()]), Some(Class::Endpoints));
        assert_eq!(classify(&[endpoints, removed]), Some(Class::Config));
    }
}
