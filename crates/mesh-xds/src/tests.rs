//! Server and client machine, joined back to back.
