//! Whole-mesh tests, in one binary: what a user sees, on real processes.
#![allow(clippy::unwrap_used)]

mod agent;
mod bad_input;
mod balance;
mod capture;
mod commands;
mod debug;
mod harness;
mod parity;
mod proxyless;
mod reload;
mod resilience;
mod rules;
mod samples;
mod translation;
