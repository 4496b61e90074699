//! Rules of the client, one by one.
