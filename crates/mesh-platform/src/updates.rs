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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mesh_model::{Code, Kind, Meta, Namespace, Severity};

    use super::*;

    fn known(namespaces: &[&str], wrong: bool) -> Arc<Known> {
        let mut known = Known::default();
        for name in namespaces {
            let meta = Arc::new(Meta::new(Kind::Namespace, "", *name));
            known.namespaces.insert((*name).into(), Arc::new(Namespace { meta }));
        }
        known.diagnostics.extend(wrong.then(|| Diagnostic {
            severity: Severity::Error,
            code: Code::Syntax,
            object: None,
            location: None,
            field: String::new(),
            message: "wrong".to_owned(),
            consequence: String::new(),
        }));
        Arc::new(known)
    }

    /// How many changes and diagnostics the next update has.
    async fn next(updates: &mut Updates) -> (usize, usize) {
        let update = updates.next().await.unwrap();
        (update.changes.len(), update.diagnostics.len())
    }

    #[tokio::test]
    async fn a_slow_reader_gets_one_update_with_the_sum() {
        let (sender, receiver) = watch::channel(known(&["a"], false));
        let mut updates = Updates::new(receiver);
        assert_eq!(next(&mut updates).await, (1, 0));
        sender.send_replace(known(&["a", "b"], true));
        sender.send_replace(known(&["a", "b", "c"], true));
        sender.send_replace(known(&["b", "d"], false));
        assert_eq!(next(&mut updates).await, (3, 0));
        sender.send_replace(known(&["b", "d"], true));
        assert_eq!(next(&mut updates).await, (0, 1));
        // What is the same as before is no update.
        sender.send_replace(known(&["b", "d"], true));
        drop(sender);
        assert!(updates.next().await.is_none());
    }

    #[tokio::test]
    async fn the_first_update_comes_even_if_nothing_is_known() {
        let (_sender, receiver) = watch::channel(known(&[], false));
        assert_eq!(next(&mut Updates::new(receiver)).await, (0, 0));
    }
}
