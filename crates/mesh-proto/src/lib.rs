//! The protobuf messages that the two planes speak, and what every crate that
//! speaks them needs: packing, content hashes, JSON and YAML.
//!
//! The typed messages are those of the published `envoy-types` crate. JSON and
//! YAML go through a descriptor set that is compiled in and decoded on first
//! use, so that a process which never prints or parses JSON never pays for it.
//!
//! Deliberately absent: any notion of what a resource means.

pub use envoy_types::pb::{cel, envoy, google, opentelemetry, udpa, xds};
pub use prost::{Message, Name};

pub mod any;
pub mod canonical;
pub mod json;
pub mod origin;
pub mod resource;
pub mod types;
