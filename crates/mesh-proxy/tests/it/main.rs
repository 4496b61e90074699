//! A proxy in this process, on loopback, between a client and servers that the
//! tests hold in their hands.
#![allow(clippy::unwrap_used, missing_docs)]

mod admin;
mod demand;
mod dynamic;
mod http;
mod mirror;
mod support;
mod tcp;
mod tls;
mod tunnel;
mod xds;
