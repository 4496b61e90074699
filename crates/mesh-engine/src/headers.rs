//! Header mutations of routes: add, overwrite, remove, with format operators
//! in values.

use http::{HeaderMap, HeaderName};

use crate::format::{Facts, Template};

/// Mutations of one level (weighted cluster, route, virtual host, table).
#[derive(Debug, Clone, Default)]
pub struct HeaderMutations {
    /// Removed first.
    pub remove: Vec<HeaderName>,
    /// Then added, in order.
    pub add: Vec<HeaderAddition>,
}

/// One header to set.
#[derive(Debug, Clone)]
pub struct HeaderAddition {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: Template,
    /// What if there is one already.
    pub action: AppendAction,
    /// Add it even if the value turns out empty.
    pub keep_empty_value: bool,
}

/// `HeaderValueOption.HeaderAppendAction`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendAction {
    /// Another value beside those that are there.
    AppendIfExistsOrAdd,
    /// Only if there is none.
    AddIfAbsent,
    /// Instead of those that are there.
    OverwriteIfExistsOrAdd,
    /// Only if there is one, instead of it.
    OverwriteIfExists,
}

impl HeaderMutations {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Carries them out on `headers`.
    pub fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        let _ = (headers, facts);
    }
}
