//! HTTP: from a connection's first byte to the last byte of each response.
//!
//! ```text
//! serve       one downstream connection: codec, limits, draining
//! request     one request: prepare, route, answer here or forward
//! forward     tries at endpoints until one answers
//! reply       answers when no endpoint gives one
//! response    the response body on its way down, and the request's end
//! exchange    what is known of a request; its end counts and logs it
//! ```
//!
//! Deliberately absent: every decision (`mesh-engine`).

pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod head;
mod reply;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod serve;
pub(crate) mod upgrade;
