//! Log levels, in Envoy's words, and a way to change them while running.
//!
//! A process may hold several proxies, and `tracing` has one subscriber per
//! process: the first proxy started with [`install`] sets it up, the rest log
//! through it. `/logging` then changes the level for the process.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};

/// The filter for one of Envoy's level names; `None` if it is not one.
pub(crate) fn level(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warning" | "warn" => LevelFilter::WARN,
        "error" | "critical" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => return None,
    })
}

/// Installs a subscriber that writes to standard error at `name`'s level. Does
/// nothing if the process already has one.
pub fn install(name: &str) {
    let (filter, handle) = reload::Layer::new(level(name).unwrap_or(LevelFilter::INFO));
    let colour = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(true);
    if tracing_subscriber::registry().with(filter).with(format).try_init().is_ok() {
        // Cannot be set already: only the one successful `try_init` gets here.
        let _ = HANDLE.set(handle);
    }
}

/// Changes the process's level. `false` if the level is unknown or the
/// subscriber is not ours.
pub(crate) fn change(name: &str) -> bool {
    match (level(name), HANDLE.get()) {
        (Some(filter), Some(handle)) => handle.modify(|f| *f = filter).is_ok(),
        _ => false,
    }
}

// The subscriber is the process's, so its handle is too.
static HANDLE: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();
