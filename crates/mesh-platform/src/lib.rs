//! Adapters that watch a platform and say what its mesh consists of.
//!
//! ```text
//! files on disk ── files ──► documents ── kubernetes ──► Known ── Updates ──► Update { changes, diagnostics }
//! ```
//!
//! An adapter keeps one immutable [`Known`]: all that it knows at this moment.
//! The reader of its [`Updates`] gets the difference to what it was told before,
//! so a slow reader skips states and never falls behind.
//!
//! Invariant: the changes of all updates, applied in order, are exactly the
//! [`Known`] of the last one. An object that cannot be read any more stays as it
//! last was, and a diagnostic says so; only what is gone is removed.
//!
//! Deliberately absent: what the rules mean (`mesh-config`), snapshots and
//! debouncing beyond one save (`mesh-pilot`), and listeners, clusters or proxies.

pub mod files;
pub mod injection;
pub mod known;
pub mod kubernetes;
pub mod updates;

pub use known::Known;
pub use updates::{Update, Updates};

/// Where a mesh is described. One variant per adapter; a new adapter is entered
/// here and the compiler names every place that must know it.
#[derive(Debug, Clone)]
pub enum Platform {
    /// Files and folders of Kubernetes and Istio manifests.
    Files(files::Options),
}

impl Platform {
    /// Its name on debug pages and in logs: `files`.
    pub fn name(&self) -> &'static str {
        match self {
            Platform::Files(_) => "files",
        }
    }

    /// Reads everything once and begins to watch. The first
    /// [`Updates::next`] returns at once with all that was read.
    ///
    /// # Errors
    /// If the platform cannot be watched at all. An object that is wrong is no
    /// error: it is a diagnostic of the update.
    pub fn start(self) -> Result<Updates, StartError> {
        match self {
            Platform::Files(options) => Ok(files::start(options)?),
        }
    }
}

/// Why a platform cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files adapter.
    #[error(transparent)]
    Files(#[from] files::Error),
}
