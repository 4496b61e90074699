//! The control-plane process, as a library: it watches what describes the mesh,
//! builds snapshots of it, translates them for each proxy that is connected,
//! serves the result over xDS, and shows all of it on debug pages.
//!
//! [`Pilot::start`] gives a [`Handle`]; several pilots can run in one process.
//! The stages that a change goes through stand in order in `pipeline`.
//! [`offline`] answers the same questions from a folder, without any server.
//!
//! Invariant: a bad file, rule, request or proxy never stops the others. What
//! is wrong becomes a diagnostic, and the last good state stays in force.
//!
//! Deliberately absent: how rules are written (`mesh-config`), what xDS
//! resources they become (`mesh-translate`), and the xDS protocol (`mesh-xds`).

mod board;
mod debug;
mod fleet;
mod http;
mod metrics;
mod objects;
pub mod offline;
mod options;
mod pilot;
mod pipeline;
mod platform;
pub mod rule_status;
pub mod settle;
#[cfg(test)]
mod testing;
mod view;

pub use options::{AddressError, Options, parse_address};
pub use pilot::{Addresses, Handle, Pilot, StartError};
