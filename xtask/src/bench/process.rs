//! A process under measurement: started on its own core, watched through
//! `/proc`, and killed when dropped.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::affinity;

/// How long a process may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(20);

/// A running child.
pub(super) struct Measured {
    child: Child,
    name: String,
}

impl Measured {
    /// Starts `command` on the measured core; what it says goes to `log`.
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, String> {
        let file = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        affinity::pin(affinity::MEASURED)?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        affinity::pin(affinity::LOAD)?;
        let child = child.map_err(|error| format!("{name}: {:?}: {error}", command.get_program()))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Waits until every address accepts a connection.
    pub(super) fn wait_for(&mut self, addresses: &[SocketAddr], log: &Path) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        for address in addresses {
            while TcpStream::connect_timeout(address, Duration::from_secs(1)).is_err() {
                let exited = self.child.try_wait().ok().flatten();
                if exited.is_some() || Instant::now() > deadline {
                    let said = fs::read_to_string(log).unwrap_or_default();
                    let tail: Vec<&str> = said.lines().rev().take(15).collect();
                    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n  ");
                    return Err(format!(
                        "{}: nothing listens on {address} ({exited:?}). It said:\n  {tail}",
                        self.name
                    ));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Seconds of processor time that the threads alive now have used, from the scheduler.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let stats = tasks.into_iter().flatten().flatten().map(|task| fs::read_to_string(task.path().join("schedstat")));
        let nanos: u64 =
            stats.flatten().filter_map(|text| text.split(' ').next().and_then(|n| n.parse::<u64>().ok())).sum();
        nanos as f64 / 1e9
    }

    /// Begins a new peak for [`Self::peak_memory_mb`].
    pub(super) fn reset_peak_memory(&self) {
        // Where the kernel refuses, the peak is that of the process's whole life: larger, never flattering.
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").ok();
    }

    /// The most memory that was resident, in MB (2^20 bytes).
    pub(super) fn peak_memory_mb(&self) -> f64 {
        self.status_kb("VmHWM:") / 1024.0
    }

    fn status_kb(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill and nobody to tell.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
