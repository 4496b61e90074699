//! Where the command under test is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `pilothouse` command of this workspace, built with the profile of the
/// test itself; `$PILOTHOUSE` names another one.
///
/// # Panics
/// If it does not build.
pub fn pilothouse() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("PILOTHOUSE") {
        Some(path) => path.into(),
        None => build(),
    })
}

/// A command that runs `pilothouse` with a clean environment: no proxy settings of the machine, no mesh variables.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(pilothouse());
    without_proxy_settings(&mut command);
    for name in variables(|name| name.starts_with("ISTIO_") || name == "PROXY_CONFIG") {
        command.env_remove(name);
    }
    command
}

/// Takes the machine's own proxy (`http_proxy` and its kin) from a command: everything that it calls is on the loopback.
pub fn without_proxy_settings(command: &mut Command) {
    for name in variables(|name| name.to_ascii_lowercase().ends_with("_proxy")) {
        command.env_remove(name);
    }
}

fn variables(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).filter(|name| wanted(name)).collect()
}

/// The workspace's root folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// `target/<profile>`: two folders above the test binary.
pub(crate) fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("this test's own path: {error}"));
    test.ancestors().nth(2).unwrap_or(&test).to_owned()
}

fn build() -> PathBuf {
    let profile = profile_dir();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--package", "pilothouse"]);
    if let Some(target) = profile.parent() {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("cargo: {error}"));
    assert!(status.success(), "`cargo build --package pilothouse` failed: {status}");
    profile.join("pilothouse")
}
