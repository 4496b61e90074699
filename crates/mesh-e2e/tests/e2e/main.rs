//! Whole-mesh tests, in one binary: what a user sees, on real processes.
#![allow(clippy::unwrap_used)]

mod harness;
