//! x
use super::Options;
use crate::Outcome;
use std::path::Path;
pub(super) fn run(_: &Path, _: &Options) -> Outcome {
    Ok(())
}
