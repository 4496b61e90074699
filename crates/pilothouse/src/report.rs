//! What a running control plane finds wrong, told once: each diagnostic when it
//! appears, and a word when it is gone.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Arc;

use mesh_model::{Diagnostic, Severity};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Result};
use crate::terminal;

/// What is logged by commands that talk to people. Diagnostics are left out:
/// these commands print them themselves.
pub(crate) const QUIET: &str = "error,mesh_pilot::board=off";

/// Installs the log: lines on standard error. `RUST_LOG` overrides `level`.
///
/// # Errors
/// If `level` is neither a level nor tracing directives.
pub(crate) fn log(level: &str) -> Result {
    let text = std::env::var("RUST_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::Usage(format!("log level {text:?}: {error}; expected error, warn, info, debug or trace"))
    })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let subscriber = subscriber.with_ansi(colour);
    // Only a second call in one process fails, and then a log is there.
    let _ = subscriber.try_init();
    Ok(())
}

/// The diagnostics of a control plane, as news.
pub(crate) struct Diagnostics {
    now: watch::Receiver<Arc<[Diagnostic]>>,
    told: BTreeSet<Diagnostic>,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It holds from now on.
    Found(Diagnostic),
    /// It holds no more.
    Gone(Diagnostic),
}

impl Diagnostics {
    /// Follows `now`.
    pub(crate) fn new(mut now: watch::Receiver<Arc<[Diagnostic]>>) -> Self {
        now.mark_changed();
        Self { now, told: BTreeSet::new() }
    }

    /// What is new since the last call, in order of severity; `None` once the
    /// control plane has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<News>> {
        loop {
            self.now.changed().await.ok()?;
            let news = self.take();
            if !news.is_empty() {
                return Some(news);
            }
        }
    }

    fn take(&mut self) -> Vec<News> {
        let now: BTreeSet<Diagnostic> = self.now.borrow_and_update().iter().cloned().collect();
        let gone = self.told.difference(&now).cloned().map(News::Gone);
        let mut found: Vec<Diagnostic> = now.difference(&self.told).cloned().collect();
        found.sort_by_key(|d| std::cmp::Reverse(d.severity));
        let news = gone.chain(found.into_iter().map(News::Found)).collect();
        self.told = now;
        news
    }
}

impl News {
    /// As a line for people. What only needs knowing is not said again when it
    /// is gone.
    pub(crate) fn line(&self) -> Option<String> {
        Some(match self {
            News::Found(d) => {
                let style = match d.severity {
                    Severity::Error => terminal::ERROR,
                    Severity::Warning => terminal::WARNING,
                    Severity::Info => terminal::FAINT,
                };
                format!("{}: {d}", terminal::paint(style, &d.severity.to_string()))
            }
            News::Gone(d) if d.severity == Severity::Info => return None,
            News::Gone(d) => format!("{}: {}", terminal::paint(terminal::GOOD, "solved"), subject(d)),
        })
    }
}

/// What a diagnostic is about, without what it says.
fn subject(diagnostic: &Diagnostic) -> String {
    let location = diagnostic.location.as_ref().map(ToString::to_string);
    let object = diagnostic.object.as_ref().map(ToString::to_string);
    let field = Some(diagnostic.field.clone()).filter(|f| !f.is_empty());
    let code = Some(diagnostic.code.as_str().to_owned());
    [location, object, field, code].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mesh_model::Code;

    use super::*;

    fn diagnostic(severity: Severity, message: &str) -> Diagnostic {
        Diagnostic {
            severity,
            code: Code::InvalidValue,
            object: None,
            location: None,
            field: String::new(),
            message: message.to_owned(),
            consequence: String::new(),
        }
    }

    #[tokio::test]
    async fn each_diagnostic_is_told_once_and_its_end_too() {
        let (a, b) = (diagnostic(Severity::Warning, "a"), diagnostic(Severity::Error, "b"));
        let (sender, receiver) = watch::channel(Arc::from([a.clone()]));
        let mut diagnostics = Diagnostics::new(receiver);
        assert_eq!(diagnostics.next().await, Some(vec![News::Found(a.clone())]));
        sender.send(Arc::from([a.clone(), b.clone()])).unwrap();
        assert_eq!(diagnostics.next().await, Some(vec![News::Found(b.clone())]));
        sender.send(Arc::from([b.clone()])).unwrap();
        assert_eq!(diagnostics.next().await, Some(vec![News::Gone(a)]));
        drop(sender);
        assert_eq!(diagnostics.next().await, None);
    }
}
