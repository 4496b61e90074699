//! Configuration: what the control plane sends becomes what the workers use.
//!
//! One task on the control thread owns the [`store::Store`] and is the only
//! writer. Workers read the engine's tables, which it swaps; the admin
//! interface reads the store's own records.
//!
//! ```text
//! ADS stream -> client -> store: parse, warm, make before break -> engine tables, worker commands
//! resolver   -> dns ----^
//! ```

pub(crate) mod client;
mod clusters;
pub(crate) mod dns;
mod honour;
mod listeners;
pub(crate) mod record;
mod routes;
mod secrets;
pub(crate) mod store;

pub(crate) use clusters::wait_of;
