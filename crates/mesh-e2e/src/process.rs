//! Child processes that end with the test.
//!
//! Invariant: dropping a [`Process`] kills it and its process group, and waits
//! for it. What it said is kept and printed when a test panics.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Bytes of output that a panic shows.
const SHOWN_MAX: usize = 6_000;

/// A running child, leader of its own process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts `command`; its standard output and error go to one file.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = dir.path().join("output");
        let file = File::create(&output).unwrap_or_else(|error| panic!("{name}: {error}"));
        let errors = file.try_clone().unwrap_or_else(|error| panic!("{name}: {error}"));
        let command = command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {:?}: {error}", command.get_program()));
        Self { name: name.to_owned(), child, output, _dir: dir }
    }

    /// Everything it has said so far.
    #[must_use]
    pub fn output(&self) -> String {
        let mut text = Vec::new();
        // A file that vanished says nothing.
        if let Ok(mut file) = File::open(&self.output) {
            file.read_to_end(&mut text).ok();
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it, and not to its children.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        nix::sys::signal::kill(self.pid(), signal).ok();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} has not ended after {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        killpg(self.pid(), Signal::SIGKILL).ok();
        self.child.wait().ok();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.output();
            let from = said.floor_char_boundary(said.len().saturating_sub(SHOWN_MAX));
            eprintln!("---- {} said:\n{}\n----", self.name, &said[from..]);
        }
    }
}
