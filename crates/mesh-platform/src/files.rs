//! Watches files and folders of manifests.
//!
//! ```text
//! notify ──► batch (at most 20 ms) ──► scan: which files differ ──► store: parse those, join all ──► Known
//! ```
//!
//! A thread of its own reads and parses; only files whose bytes differ are
//! parsed again. The same text in other files costs nothing.
//!
//! Invariant: what was good stays. An object that is broken, a document that is
//! no YAML and a file that cannot be read keep what they said before, and a
//! diagnostic names them; only what is deleted is removed. Of two objects with
//! the same name the one in the first file, by path, counts.
//!
//! Deliberately absent: debouncing of the mesh's own reaction (`mesh-pilot`).

mod scan;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};

use mesh_model::{Change, Diagnostic, Name};

use crate::{Known, Updates};

/// What is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files and folders, as the user gave them. Folders are read with all
    /// their sub-folders; in them, files that end in `.yaml`, `.yml` or `.json`
    /// count, and entries whose name begins with `.` do not. A file that is
    /// given by its own name is read whatever it is called.
    pub paths: Vec<PathBuf>,
    /// DNS domain of Kubernetes Services.
    pub domain: Name,
    /// One of `paths` that holds the mesh-wide settings themselves, not an
    /// object; it goes before a ConfigMap `istio` elsewhere.
    pub mesh_config: Option<PathBuf>,
}

impl Options {
    /// Watches `paths` with the domain `cluster.local`.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), domain: "cluster.local".into(), mesh_config: None }
    }
}

/// Why the files cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No path was given.
    #[error("no file or folder was given to read; expected at least one")]
    NoPath,
    /// A path that the user gave cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The thread that watches could not be started.
    #[error("the thread that watches the files could not be started")]
    Thread(#[source] std::io::Error),
}

/// Reads everything once and begins to watch. See [`crate::Platform::start`].
///
/// A change on disk is in the next update within about 20 ms. Where the system
/// gives no notice of changes (no inotify watches left, a network file system),
/// the files are looked at once a second, and a diagnostic says so.
///
/// # Errors
/// If there is no path, or a path that does not exist or cannot be read.
pub fn start(options: Options) -> Result<Updates, Error> {
    if options.paths.is_empty() {
        return Err(Error::NoPath);
    }
    for path in &options.paths {
        std::fs::metadata(path).map_err(|source| Error::Unreadable { path: path.clone(), source })?;
    }
    watch::start(options)
}

/// Reads `paths` once, without watching: everything as changes to an empty
/// world, and all that is wrong. A path that cannot be read is a diagnostic.
/// The domain of Services is `cluster.local`.
pub fn load_once<P: AsRef<Path>>(paths: &[P]) -> (Vec<Change>, Vec<Diagnostic>) {
    let known = read_once(Options::new(paths.iter().map(|p| p.as_ref())));
    (known.changes_since(&Known::default()), known.diagnostics)
}

/// What [`load_once`] reads, by key, with any options.
pub fn read_once(options: Options) -> Known {
    let mut store = store::Store::new(&options);
    store.refresh(&scan::scan(&options.paths), &Default::default(), true);
    store.known()
}
