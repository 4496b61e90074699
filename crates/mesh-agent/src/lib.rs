//! The process beside the proxy (the pilot-agent role): it writes the proxy's
//! bootstrap, keeps the proxy running, drains it, and says whether it is ready.
//!
//! ```text
//!  flags, environment,      bootstrap        supervise            proxy (child)
//!  PROXY_CONFIG, mesh  ---> (pure)  --file--> start, restart, ---> ADS, listeners
//!  config, pod labels                         drain on SIGTERM      ^ admin
//!                                                  status ----------'
//!                                        /healthz/ready, merged metrics
//! ```
//!
//! [`run`] is the whole of `agent proxy`; [`wait`](mod@wait) and
//! [`request`](mod@request) are the small commands beside it.
//!
//! Invariant: the agent speaks to the proxy through its command line, its
//! signals and its admin interface only, so that any proxy that has Envoy's
//! can be its child.
//!
//! Deliberately absent: certificates, DNS and traffic capture.

mod agent;
pub mod bootstrap;
mod fetch;
pub mod request;
pub mod status;
pub mod supervise;
pub mod wait;

pub use agent::{AgentError, Options, Program, run};
pub use fetch::FetchError;
