//! The stream of updates that an adapter's reader sees.
//!
//! The adapter puts each new [`Known`] into a slot that holds only the newest;
//! the reader takes the difference to what it was told before. Back-pressure is
//! thus latest-wins: no queue grows while the reader is busy.

use std::sync::Arc;

use mesh_model::{Change, Diagnostic};
use tokio::sync::watch;

use crate::Known;

/// What is different since the update before, and all that is wrong now.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// What must be applied to the world, in order.
    pub changes: Vec<Change>,
    /// Every diagnostic that holds now, sorted; it replaces those of the update
    /// before.
    pub diagnostics: Vec<Diagnostic>,
}

/// The updates of one adapter. Dropping it ends the adapter.
#[derive(Debug)]
pub struct Updates {
    latest: watch::Receiver<Arc<Known>>,
    said: Option<Arc<Known>>,
}

impl Updates {
    /// Updates that follow `latest`, whose present value is the first one.
    pub fn new(mut latest: watch::Receiver<Arc<Known>>) -> Self {
        latest.mark_changed();
        Self { latest, said: None }
    }

    /// The next update; `None` once the adapter has ended. Returns at once if
    /// something changed since the last call. An update may consist of
    /// diagnostics alone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            self.latest.changed().await.ok()?;
            let known = self.latest.borrow_and_update().clone();
            let before = self.said.replace(known.clone());
            let nothing = Known::default();
            let changes = known.changes_since(before.as_deref().unwrap_or(&nothing));
            let news = before.is_none_or(|before| !changes.is_empty() || before.diagnostics != known.diagnostics);
            if news {
                return Some(Update { changes, diagnostics: known.diagnostics.clone() });
            }
        }
    }
}
