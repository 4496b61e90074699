//! Puts a request head in order before it is routed.

use http::request::Parts;
use rand::RngCore;

use super::{Downstream, LocalReply, Prepared};

/// What of the connection manager's configuration concerns request heads.
#[derive(Debug, Clone, Default)]
pub struct Rules {}

pub(super) fn run(
    _rules: &Rules,
    _parts: &mut Parts,
    downstream: &Downstream,
    _rng: &mut impl RngCore,
) -> Result<Prepared, LocalReply> {
    Ok(Prepared { remote: downstream.direct_remote, internal: false })
}
