//! Everything that is wrong now, from wherever it was found, said once.
//!
//! Each finder hands over its whole list; the board joins the lists, tells what
//! is new and what is resolved, logs either once, and publishes the rest.
//!
//! Invariant: what is published is the sorted union of the parts, without
//! repeats, and nothing is logged twice while it lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Diagnostic, Severity};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Who found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// The adapter and its parser: inside one object.
    Platform,
    /// The world: between objects.
    World,
    /// Translation, and the proxies that refuse its result.
    Proxies,
}

/// The board. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Board {
    parts: Mutex<BTreeMap<Part, Vec<Diagnostic>>>,
    published: watch::Sender<Arc<[Diagnostic]>>,
    log: bool,
}

/// What a new list changed, to be logged.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    found: Vec<Diagnostic>,
    resolved: Vec<Diagnostic>,
}

/// Lines that one change may log for each of found and resolved. A folder with
/// more wrong objects than this is better read on the debug page.
const LOGGED_MAX: usize = 100;

/// Findings that are kept; a mesh with more is not helped by more.
const KEPT_MAX: usize = 20_000;

impl Board {
    /// An empty board; without `log`, whoever reads it says what is new.
    pub(crate) fn new(log: bool) -> Self {
        Self { parts: Mutex::default(), published: watch::Sender::new(Arc::from([])), log }
    }

    /// What is wrong now, sorted.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<[Diagnostic]>> {
        self.published.subscribe()
    }

    /// Replaces the list of one finder.
    pub(crate) fn set(&self, part: Part, list: Vec<Diagnostic>) {
        let mut parts = self.parts.lock();
        if parts.get(&part).is_some_and(|old| *old == list) {
            return;
        }
        parts.insert(part, list);
        let mut all: Vec<Diagnostic> = parts.values().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all.truncate(KEPT_MAX);
        let before = self.published.borrow().clone();
        let news = news(&before, &all);
        if news != News::default() {
            self.published.send_replace(all.into());
            if self.log {
                log(&news);
            }
        }
    }
}

/// Compares two sorted lists.
fn news(before: &[Diagnostic], now: &[Diagnostic]) -> News {
    let missing_in = |list: &[Diagnostic], other: &[Diagnostic]| {
        list.iter().filter(|d| other.binary_search(d).is_err()).cloned().collect()
    };
    News { found: missing_in(now, before), resolved: missing_in(before, now) }
}

fn log(news: &News) {
    for diagnostic in news.found.iter().take(LOGGED_MAX) {
        let code = diagnostic.code.as_str();
        match diagnostic.severity {
            Severity::Error => error!(code, "{diagnostic}"),
            Severity::Warning => warn!(code, "{diagnostic}"),
            Severity::Info => info!(code, "{diagnostic}"),
        }
    }
    for diagnostic in news.resolved.iter().take(LOGGED_MAX) {
        info!(code = diagnostic.code.as_str(), "Resolved: {diagnostic}");
    }
    let unsaid = news.found.len().saturating_sub(LOGGED_MAX) + news.resolved.len().saturating_sub(LOGGED_MAX);
    if unsaid > 0 {
        warn!(unsaid, "More diagnostics changed than are logged; /debug/diagnosticsz has them all.");
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::Code;

    use super::*;

    fn diagnostic(message: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            code: Code::Conflict,
            object: None,
            location: None,
            field: String::new(),
            message: message.to_owned(),
            consequence: String::new(),
        }
    }

    #[test]
    fn the_union_of_all_parts_is_published_without_repeats() {
        let board = Board::new(false);
        let seen = board.subscribe();
        board.set(Part::Platform, vec![diagnostic("b"), diagnostic("a")]);
        board.set(Part::World, vec![diagnostic("a"), diagnostic("c")]);
        let messages: Vec<_> = seen.borrow().iter().map(|d| d.message.clone()).collect();
        assert_eq!(messages, ["a", "b", "c"]);
    }

    #[test]
    fn what_lasts_is_no_news() {
        let board = Board::new(false);
        let mut seen = board.subscribe();
        board.set(Part::Platform, vec![diagnostic("a")]);
        seen.mark_unchanged();
        board.set(Part::Platform, vec![diagnostic("a")]);
        board.set(Part::World, vec![diagnostic("a")]);
        assert!(!seen.has_changed().unwrap_or(true));
    }

    #[test]
    fn news_is_what_came_and_what_went() {
        let (a, b, c) = (diagnostic("a"), diagnostic("b"), diagnostic("c"));
        let expected = News { found: vec![c.clone()], resolved: vec![a.clone()] };
        assert_eq!(news(&[a, b.clone()], &[b, c]), expected);
    }
}
