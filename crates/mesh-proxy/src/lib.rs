//! The data plane: a process that listens, asks `mesh-engine` what to do with
//! each connection and request, and does it.
//!
//! ```text
//!            xDS thread: ADS, DNS, admin, statistics
//!                 | atomic swap of Arc<RuntimeConfig>
//! socket -> worker thread (one per core, SO_REUSEPORT, nothing shared on the path)
//!             listener filters -> filter chain -> TCP copy
//!                                             \-> HTTP codec -> route -> endpoint -> pool -> upstream
//! ```
//!
//! [`start`] runs a proxy beside whatever else the process does, and may be
//! called several times in one process: nothing here is global but the log
//! subscriber. [`run`] is for a process that is the proxy: it also handles
//! SIGTERM and SIGINT.
//!
//! **Invariant:** no decision about traffic is made here. Routing, balancing,
//! retries and limits are asked of `mesh-engine`, so that `explain` and the
//! proxy cannot disagree.
#![allow(clippy::result_large_err)] // A local reply is large, and rare: boxing it everywhere would hide what is returned.

mod access_log;
mod admin;
mod bootstrap;
mod demand;
mod dynamic;
mod http;
mod io;
mod listener;
mod logging;
mod options;
mod process;
mod stats;
mod tcp;
mod tls;
mod upstream;
mod worker;
mod xds;

pub use bootstrap::BootstrapError;
pub use logging::install as install_logging;
pub use options::{DrainStrategy, Mode, OptionError, Options};
pub use process::{Handle, ProxyError, run, start, validate};
