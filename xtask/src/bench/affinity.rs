//! Which core does what: the process under measurement has core 0 alone, load
//! generators and backends have core 1.
//!
//! A child inherits the mask that its parent has when it starts it, so the
//! parent moves to core 0, starts it, and moves away.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The core of what is measured.
pub(super) const MEASURED: usize = 0;
/// The core of everything else.
pub(super) const LOAD: usize = 1;

/// Moves the calling thread, and what it starts from now on, to one core.
/// On a machine with a single core everything stays where it is.
pub(super) fn pin(core: usize) -> Result<(), String> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 && core != MEASURED {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core).map_err(|error| format!("core {core}: {error}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| format!("core {core}: {error}"))
}
