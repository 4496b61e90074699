//! Access logs: which requests are logged, where to, and in what words.

use std::path::PathBuf;

use crate::format::{Facts, Template};

/// One access log of a listener or filter.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: Sink,
    template: Template,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sink {
    /// A file, opened for appending. `/dev/stdout` and `/dev/stderr` come as the variants below.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl AccessLog {
    /// Whether its filter lets these facts through. `random` is any number.
    pub fn wants(&self, facts: &Facts<'_>, random: u64) -> bool {
        let _ = (facts, random);
        true
    }

    /// Appends one line, with its newline, to `out`.
    pub fn write(&self, facts: &Facts<'_>, out: &mut String) {
        self.template.write(facts, out);
    }
}
