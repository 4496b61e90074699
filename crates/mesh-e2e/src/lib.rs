//! The harness of whole-mesh tests: real processes on the loopback.
//!
//! A test starts the command as users do (`pilothouse discovery`, `pilothouse
//! agent`, `pilothouse proxy`), gRPC replicas and clients of its own, and where
//! they are installed an unmodified Envoy and gRPC's own xDS clients. The tests
//! themselves are one binary, `tests/e2e`.
//!
//! ```text
//! test ── files ──► pilot (child) ── xDS ──► sidecar (child, native or Envoy)
//!   '── calls ──────────────────────────────► sidecar ──► replica (in the test)
//! ```
//!
//! Invariant: what a test started ends with it, also when it panics; every wait
//! has a deadline; addresses are the test's own, so that tests run in parallel.
//!
//! Deliberately absent: anything that ships.

pub mod address;
pub mod binary;
pub mod echo;
pub mod garbage;
pub mod grpc;
pub mod http1;
pub mod mesh;
pub mod namespace;
pub mod peers;
pub mod process;
pub mod sidecar;
pub mod wait;
