//! Why a command failed, in one message, and the exit code that says so.
//!
//! The codes are `sysexits.h`'s, as istioctl uses them: 64 for a command line
//! that cannot be understood, 65 for input that is wrong, 79 for issues that an
//! analysis finds, 1 for the rest.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

/// What a command returns if it fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// Files, manifests or answers that are not what they should be.
    Data(String),
    /// An analysis found what must not be.
    Issues(String),
    /// Everything else: a port in use, a peer that is away.
    Other(String),
}

/// Outcome of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// The code that the process exits with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Usage(_) => USAGE,
            Failure::Data(_) => DATA,
            Failure::Issues(_) => ISSUES,
            Failure::Other(_) => OTHER,
        })
    }

    /// `what`, followed by `error` and all its sources.
    pub(crate) fn other(what: impl fmt::Display, error: &dyn StdError) -> Self {
        Failure::Other(format!("{what}: {}", chain(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(text) | Failure::Data(text) | Failure::Issues(text) | Failure::Other(text)) = self;
        f.write_str(text)
    }
}

/// An error and its sources, outermost first, joined by colons. A source whose
/// text the level above already ends with is not said twice.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let inner = source.to_string();
        if !text.ends_with(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        next = source.source();
    }
    text
}

/// Prints what clap has to say: help and version on standard output, and
/// everything else on standard error with the exit code for wrong usage.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe (`pilothouse --help | head -1`) is no reason to fail.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// `EX_USAGE`
const USAGE: u8 = 64;
/// `EX_DATAERR`
const DATA: u8 = 65;
/// istioctl's code for analyses that find issues.
const ISSUES: u8 = 79;
const OTHER: u8 = 1;
