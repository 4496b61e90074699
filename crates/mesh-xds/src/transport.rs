//! The gRPC drivers: they carry messages between a state machine and a socket
//! and decide nothing.

pub mod client;
mod codec;
pub mod server;
#[cfg(test)]
mod tests;
