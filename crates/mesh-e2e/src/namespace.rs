//! Network namespaces joined by a veth pair, for tests of packet capture.
//!
//! Needs root, `ip` and `iptables-restore`; [`Pair::new`] answers `None`, after
//! saying that the test is skipped, where one of them is absent.
//!
//! Invariant: a namespace ends with its guard.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Two namespaces that see each other and nothing else.
#[derive(Debug)]
pub struct Pair {
    /// The one with 10.77.0.1.
    pub left: Namespace,
    /// The one with 10.77.0.2.
    pub right: Namespace,
}

/// One network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Pair {
    /// Two fresh namespaces, or `None` where that is not possible.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        for tool in ["ip", "iptables-restore", "setpriv"] {
            if Command::new(tool).arg("--version").output().is_err() {
                eprintln!("skipped: {tool} is not installed");
                return None;
            }
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Interface names have 15 characters at most.
        let id =
            format!("{}{}", std::process::id(), char::from(b'a' + (NEXT.fetch_add(1, Ordering::Relaxed) % 26) as u8));
        let names = [format!("ph-l-{id}"), format!("ph-r-{id}")];
        let mut made = Vec::new();
        for name in names {
            if let Err(why) = ip(&["netns", "add", &name]) {
                eprintln!("skipped: no network namespaces here: {why}");
                return None;
            }
            made.push(Namespace { name });
        }
        let (right, left) = (made.pop()?, made.pop()?);
        let pair = Self { left, right };
        if let Err(why) = pair.join(&id) {
            eprintln!("skipped: the namespaces cannot be joined: {why}");
            return None;
        }
        Some(pair)
    }

    fn join(&self, id: &str) -> Result<(), String> {
        let (l, r) = (self.left.name.as_str(), self.right.name.as_str());
        let (vl, vr) = (format!("phl{id}"), format!("phr{id}"));
        ip(&["link", "add", &vl, "netns", l, "type", "veth", "peer", "name", &vr, "netns", r])?;
        for (namespace, link, address) in [(l, &vl, "10.77.0.1/24"), (r, &vr, "10.77.0.2/24")] {
            ip(&["-n", namespace, "addr", "add", address, "dev", link])?;
            ip(&["-n", namespace, "link", "set", link, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        // Service addresses have no route of their own: they are captured before they would leave.
        ip(&["-n", l, "route", "add", "default", "via", "10.77.0.2"])?;
        ip(&["-n", r, "route", "add", "default", "via", "10.77.0.1"])
    }
}

impl Namespace {
    /// A command that will run inside, as this user and group. It may read files as the test may: a checkout below
    /// `/root` is closed to other users.
    #[must_use]
    pub fn command(&self, user: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv"]);
        command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
        command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]).arg(program);
        command
    }

    /// Loads packet-filter rules in iptables-save form.
    ///
    /// # Errors
    /// What `iptables-restore` said.
    pub fn capture(&self, rules: &str) -> Result<(), String> {
        let mut restore = Command::new("ip");
        restore.args(["netns", "exec", &self.name, "iptables-restore", "--noflush"]);
        let restore = restore.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = restore.spawn().map_err(|error| error.to_string())?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules.as_bytes()).map_err(|error| error.to_string())?;
        }
        succeeded(&child.wait_with_output().map_err(|error| error.to_string())?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nobody can act on a namespace that does not go; its name carries the process id.
        ip(&["netns", "delete", &self.name]).ok();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    succeeded(&output).map_err(|why| format!("ip {}: {why}", arguments.join(" ")))
}

fn succeeded(output: &Output) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
