//! Rules of the protocol, one by one.
