//! The thread that waits for changes on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use mesh_model::{Code, Diagnostic, Severity};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::scan::{Scan, scan};
use super::store::{Refreshed, Store};
use super::{Error, Options};
use crate::{Known, Updates};

/// How long after the first notice of a change the files are read: an editor's
/// save is several steps (write aside, rename), which are one change.
const BATCH: Duration = Duration::from_millis(10);
/// How long a file that is suddenly empty is given to be written.
const HALF_WRITTEN: Duration = Duration::from_millis(30);
/// How often the thread looks whether it is still wanted, and, where the system
/// gives no notice, at the files.
const IDLE: Duration = Duration::from_secs(1);

pub(super) fn start(options: Options) -> Result<Updates, Error> {
    let (notices_in, notices) = channel();
    let mut follower = Follower::new(options, notices_in);
    let (sender, receiver) = watch::channel(Arc::new(follower.known()));
    std::thread::Builder::new()
        .name("files".to_owned())
        .spawn(move || follower.run(&notices, &sender))
        .map_err(Error::Thread)?;
    Ok(Updates::new(receiver))
}

struct Follower {
    paths: Vec<PathBuf>,
    store: Store,
    watcher: Option<RecommendedWatcher>,
    /// Folders that the watcher watches, each for itself: recursion is ours,
    /// since links are followed.
    watched: BTreeSet<PathBuf>,
    /// Why changes are looked for instead of waited for.
    polling: Option<String>,
}

/// Paths that changed; empty if it is not known which.
type Notice = Vec<PathBuf>;

impl Follower {
    fn new(options: Options, notices: Sender<Notice>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let changed = match event {
                // Reading is no change; acting on it would never end.
                Ok(event) if event.kind.is_access() && !is_written(&event) => return,
                Ok(event) => event.paths,
                Err(_) => Vec::new(),
            };
            // An error means that nobody listens any more.
            let _ = notices.send(changed);
        });
        let (watcher, polling) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let store = Store::new(&options);
        let mut follower = Self { paths: options.paths, store, watcher, watched: BTreeSet::new(), polling };
        follower.look(&BTreeSet::new(), true);
        follower
    }

    fn known(&self) -> Known {
        let mut known = self.store.known();
        if let Some(why) = &self.polling {
            known.diagnostics.push(Diagnostic {
                severity: Severity::Warning,
                code: Code::Unreadable,
                object: None,
                location: None,
                field: String::new(),
                message: format!("the system gives no notice of changed files: {why}"),
                consequence: format!("they are looked at every {} s", IDLE.as_secs()),
            });
        }
        known
    }

    fn run(&mut self, notices: &Receiver<Notice>, sender: &watch::Sender<Arc<Known>>) {
        let mut emptied_at: Option<Instant> = None;
        while !sender.is_closed() {
            let wait = emptied_at.map_or(IDLE, |at| HALF_WRITTEN.saturating_sub(at.elapsed()));
            let touched = match notices.recv_timeout(wait) {
                Ok(first) => batch(first, notices),
                Err(RecvTimeoutError::Timeout) => BTreeSet::new(),
                // Without a watcher nobody holds the other end; time alone tells.
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(wait);
                    BTreeSet::new()
                }
            };
            let believe_empty = emptied_at.is_some_and(|at| at.elapsed() >= HALF_WRITTEN);
            if touched.is_empty() && !believe_empty && self.polling.is_none() {
                continue;
            }
            let refreshed = self.look(&touched, believe_empty);
            emptied_at = if refreshed.emptied { emptied_at.or_else(|| Some(Instant::now())) } else { None };
            if refreshed.changed {
                debug!(touched = touched.len(), "Files changed.");
                sender.send_replace(Arc::new(self.known()));
            }
        }
    }

    /// Scans and reads. Folders that appear are watched before they are scanned
    /// again, so that nothing written between is missed.
    fn look(&mut self, touched: &BTreeSet<PathBuf>, believe_empty: bool) -> Refreshed {
        let mut found = scan(&self.paths);
        while self.watch(&found) {
            found = scan(&self.paths);
        }
        self.store.refresh(&found, touched, believe_empty)
    }

    /// Watches every folder of `found`, and those that hold single files.
    /// Returns whether there was a new one.
    fn watch(&mut self, found: &Scan) -> bool {
        let parents = self.paths.iter().filter(|path| !found.folders.contains(*path)).map(|path| parent(path));
        let wanted: BTreeSet<PathBuf> = found.folders.iter().cloned().chain(parents).collect();
        let Some(watcher) = &mut self.watcher else { return false };
        for gone in self.watched.difference(&wanted) {
            // The system forgets a folder that is deleted; then this fails.
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|folder| wanted.contains(folder));
        let mut news = false;
        for folder in wanted {
            if self.watched.contains(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder);
                    news = true;
                }
                Err(error) if folder.exists() => {
                    if self.polling.is_none() {
                        warn!(folder = %folder.display(), %error, "Changes cannot be waited for.");
                    }
                    self.polling = Some(error.to_string());
                }
                Err(_) => {}
            }
        }
        news
    }
}

/// A file that was open for writing and is closed.
fn is_written(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// The folder that `path` lies in.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Collects notices for [`BATCH`] after the first. A notice without a path (too
/// many changes to name) still makes all files be looked at.
fn batch(first: Notice, notices: &Receiver<Notice>) -> BTreeSet<PathBuf> {
    let until = Instant::now() + BATCH;
    let mut touched: BTreeSet<PathBuf> = first.into_iter().collect();
    while let Ok(more) = notices.recv_timeout(until.saturating_duration_since(Instant::now())) {
        touched.extend(more);
    }
    if touched.is_empty() {
        touched.insert(PathBuf::new());
    }
    touched
}
