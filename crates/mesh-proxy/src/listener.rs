//! Listeners: sockets, accepting, and what is found out about a connection
//! before its filter chain is chosen.
//!
//! Each worker has its own socket for each address (`SO_REUSEPORT`), so the
//! kernel spreads connections and no worker waits for another. The listener's
//! configuration is looked up by name when a connection comes in: a change of
//! filter chains needs no new socket.

pub(crate) mod accept;
pub(crate) mod client_hello;
pub(crate) mod inspect;
pub(crate) mod socket;
