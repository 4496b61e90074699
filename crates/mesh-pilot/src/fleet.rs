//! The proxies that are connected, and what each of them is told.
//!
//! ```text
//! connect ──► member ──► Queue ──► worker threads ── Translator ──► watch ──► the proxy's stream
//! new mesh ──► every member ─┘     (a panic costs one proxy one turn)
//! ```
//!
//! A new mesh enters every proxy into the queue; a worker takes the one that
//! waits longest, translates the newest mesh for it and publishes the result if
//! it differs. Streams keep only the newest, so a slow proxy never holds up a
//! worker. Translation runs on threads of its own: the streams stay responsive
//! while a large mesh is translated.
//!
//! Invariant: a proxy's stream begins with a complete translation, and keeps
//! the last good one when a later one fails.
//!
//! Deliberately absent: who may connect, and what a resource means.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{Code, Diagnostic, MeshSnapshot, Severity};
use mesh_translate::{Proxy, ProxyResources, Translator};
use mesh_xds::transport::server::Peer;
use mesh_xds::{Node, Snapshot};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tonic::Status;
use tracing::error;

mod probe;
mod queue;
mod refusals;
#[cfg(test)]
mod tests;
mod xds;

pub(crate) use refusals::Refusal;

use crate::metrics::Metrics;
use probe::{Found, Probe};
use queue::Queue;
use refusals::Refusals;

/// A mesh that is served, and since when the oldest change in it has waited.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) mesh: Arc<MeshSnapshot>,
    pub(crate) changed_at: Instant,
}

/// All connected proxies. See the module's documentation.
pub(crate) struct Fleet {
    translate: Box<Translate>,
    served: watch::Receiver<Option<Served>>,
    members: Mutex<BTreeMap<u64, Arc<Member>>>,
    queue: Queue,
    refusals: Mutex<Refusals>,
    probe: Mutex<Probe>,
    /// What holds for namespaces without a proxy.
    probed: Mutex<Found>,
    metrics: Arc<Metrics>,
    /// Told when the fleet's diagnostics may be different.
    news: Notify,
}

/// Makes the resources of one proxy; a parameter, so that tests can let it fail.
type Translate = dyn Fn(&Arc<MeshSnapshot>, &Arc<Proxy>) -> Arc<ProxyResources> + Send + Sync;

/// One stream.
pub(crate) struct Member {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) node: Arc<Node>,
    state: Mutex<State>,
}

type First = oneshot::Sender<Result<watch::Receiver<Arc<Snapshot>>, Status>>;

#[derive(Default)]
struct State {
    /// Who waits for the first translation.
    first: Option<First>,
    sender: Option<watch::Sender<Arc<Snapshot>>>,
    last: Option<Arc<ProxyResources>>,
    /// What went wrong the last time, if it did.
    failure: Option<String>,
    /// Since when a change that was published waits to be sent.
    unsent_since: Option<Instant>,
}

/// How long a proxy that connects too early waits for the mesh to be read.
const SYNC_WAIT_MAX: Duration = Duration::from_secs(30);

impl Fleet {
    pub(crate) fn new(served: watch::Receiver<Option<Served>>, metrics: Arc<Metrics>) -> Self {
        let translator = Translator::new();
        Self::with_translation(served, metrics, Box::new(move |mesh, proxy| translator.resources(mesh, proxy)))
    }

    fn with_translation(
        served: watch::Receiver<Option<Served>>,
        metrics: Arc<Metrics>,
        translate: Box<Translate>,
    ) -> Self {
        Self {
            translate,
            served,
            members: Mutex::default(),
            queue: Queue::default(),
            refusals: Mutex::default(),
            probe: Mutex::default(),
            probed: Mutex::default(),
            metrics,
            news: Notify::new(),
        }
    }

    /// The mesh has changed: every proxy's turn comes.
    pub(crate) fn mesh_changed(&self) {
        let streams: Vec<u64> = self.members.lock().keys().copied().collect();
        self.queue.enter(streams, Instant::now());
    }

    /// Translates until the fleet is closed. Several threads may do so.
    pub(crate) fn work(&self) {
        while let Some((stream, waited)) = self.queue.next() {
            self.turn(stream, waited);
            self.queue.done(stream);
        }
    }

    /// Sends the workers home.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// The connected proxies, in the order in which they connected.
    pub(crate) fn members(&self) -> BTreeMap<u64, Arc<Member>> {
        self.members.lock().clone()
    }

    /// The refusals that last.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.refusals.lock().iter().cloned().collect()
    }

    /// Completes when [`Fleet::diagnostics`] may have changed.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// What translation found wrong for the proxies that are connected, and
    /// what they refuse.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let members = self.members();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for member in members.values() {
            let state = member.state.lock();
            if let Some(last) = &state.last
                && seen.insert(Arc::as_ptr(last.diagnostics()))
            {
                all.extend(last.diagnostics().iter().cloned());
            }
            all.extend(state.failure.as_ref().map(|failure| failed(&member.proxy, failure)));
        }
        all.extend(self.probed.lock().values().flat_map(|list| list.iter()).cloned());
        let refusals = self.refusals();
        let mesh = self.served.borrow().as_ref().map(|s| s.mesh.clone()).unwrap_or_default();
        all.extend(refusals::diagnostics(&refusals, &mesh, |stream, type_url| {
            members.get(&stream)?.state.lock().last.as_ref()?.set(type_url).cloned()
        }));
        all
    }

    /// Looks at namespaces without a proxy; see [`probe`]. Blocks while it does.
    pub(crate) fn probe(&self) {
        let Some(served) = self.served.borrow().clone() else { return };
        let with_proxy = self.members().values().map(|m| m.proxy.namespace().clone()).collect();
        let found = self.probe.lock().look(&served.mesh, &with_proxy);
        let before = std::mem::replace(&mut *self.probed.lock(), found.clone());
        if found != before {
            self.news.notify_one();
        }
    }

    /// The mesh that is served, and each one after it.
    pub(crate) fn meshes(&self) -> watch::Receiver<Option<Served>> {
        self.served.clone()
    }

    fn turn(&self, stream: u64, waited: Duration) {
        let member = self.members.lock().get(&stream).cloned();
        let served = self.served.borrow().clone();
        let (Some(member), Some(served)) = (member, served) else { return };
        let started = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| (self.translate)(&served.mesh, &member.proxy)));
        self.metrics.translated(waited, started.elapsed());
        let (news, gone) = match made {
            Ok(resources) => member.publish(resources, served.changed_at),
            Err(panic) => {
                self.metrics.internal_error();
                (member.fail(panic_text(&*panic)), false)
            }
        };
        if gone {
            self.leave(stream);
        }
        if news {
            self.news.notify_one();
        }
    }

    /// A stream enters and gets its first translation.
    async fn enter(
        &self,
        peer: &Peer,
        node: &Arc<Node>,
        proxy: Proxy,
    ) -> Result<watch::Receiver<Arc<Snapshot>>, Status> {
        let (first, made) = oneshot::channel();
        let state = Mutex::new(State { first: Some(first), ..State::default() });
        let member = Arc::new(Member { proxy: Arc::new(proxy), node: node.clone(), state });
        let unwind = Entering { fleet: self, stream: peer.stream, entered: false };
        self.members.lock().insert(peer.stream, member);
        self.metrics.proxy_asked();
        self.queue.enter([peer.stream], Instant::now());
        let receiver = made.await.map_err(|_| Status::unavailable("the control plane is stopping; try again"))??;
        unwind.entered();
        Ok(receiver)
    }

    fn leave(&self, stream: u64) {
        let member = self.members.lock().remove(&stream);
        let refused = self.refusals.lock().forget(stream);
        if let Some(member) = &member {
            self.remember(member);
        }
        if member.is_some() || refused {
            self.news.notify_one();
        }
    }

    /// What was found for the last proxy of a namespace is no less true when it
    /// has left; it holds until the mesh changes.
    fn remember(&self, gone: &Member) {
        let namespace = gone.proxy.namespace();
        let others = self.members.lock().values().any(|m| m.proxy.namespace() == namespace);
        let last = gone.state.lock().last.clone();
        if let Some(last) = last.filter(|_| !others) {
            self.probed.lock().insert(namespace.clone(), last.diagnostics().clone());
        }
    }

    async fn wait_synced(&self) -> Result<(), Status> {
        let mut served = self.served.clone();
        let synced = tokio::time::timeout(SYNC_WAIT_MAX, served.wait_for(Option::is_some)).await;
        match synced {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Status::unavailable("the control plane has not read the mesh yet; try again")),
        }
    }
}

/// Takes a stream out again that goes away while it waits.
struct Entering<'a> {
    fleet: &'a Fleet,
    stream: u64,
    entered: bool,
}

impl Entering<'_> {
    fn entered(mut self) {
        self.entered = true;
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if !self.entered {
            self.fleet.leave(self.stream);
        }
    }
}

impl Member {
    /// What was last published to the stream.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.state.lock().sender.as_ref().map(|sender| sender.borrow().clone())
    }

    /// Hands `resources` to the stream. Returns whether the diagnostics differ
    /// from before, and whether the stream is gone.
    fn publish(&self, resources: Arc<ProxyResources>, changed_at: Instant) -> (bool, bool) {
        let state = &mut *self.state.lock();
        let healed = state.failure.take().is_some();
        if let Some(last) = &state.last
            && Arc::ptr_eq(last, &resources)
        {
            return (healed, state.sender.as_ref().is_some_and(watch::Sender::is_closed));
        }
        let before = state.last.is_some();
        let said = state.last.as_ref().is_some_and(|last| last.diagnostics() == resources.diagnostics());
        let snapshot = Arc::new(Snapshot::new(resources.iter().map(|(t, set)| (t, set.clone()))));
        state.last = Some(resources);
        let gone = match (&state.sender, state.first.take()) {
            (Some(sender), _) => {
                sender.send_replace(snapshot);
                sender.is_closed()
            }
            (None, first) => {
                let (sender, receiver) = watch::channel(snapshot);
                state.sender = Some(sender);
                first.is_none_or(|first| first.send(Ok(receiver)).is_err())
            }
        };
        // To a proxy that has just come, an old mesh is no old change.
        let since = if before { changed_at } else { Instant::now() };
        state.unsent_since.get_or_insert(since);
        (healed || !said, gone)
    }

    /// Takes note of a translation that failed. Returns whether that is new.
    fn fail(&self, text: String) -> bool {
        let mut state = self.state.lock();
        if let Some(first) = state.first.take() {
            // Whether the stream still waits makes no difference.
            let _ = first.send(Err(Status::internal(format!("translation failed: {text}"))));
        }
        let node = &self.proxy.node_id;
        error!(%node, reason = text, "Translation failed; the proxy keeps the last good state.");
        state.failure.replace(text.clone()).is_none_or(|before| before != text)
    }
}

/// A failure of ours, told to whoever reads diagnostics.
fn failed(proxy: &Proxy, failure: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::Refused,
        object: None,
        location: None,
        field: String::new(),
        message: format!("translation for proxy {} failed: {failure}", proxy.node_id),
        consequence: "it keeps the last good state until the mesh changes again; this is a defect of pilothouse".into(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
