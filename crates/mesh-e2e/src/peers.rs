//! Real peers, where they are installed: by `cargo xtask peers` under the
//! target folder, or where `$ENVOY` and `$PILOTHOUSE_PEERS` say.
//!
//! Each function answers `None` after printing that the test is skipped, so a
//! test begins with `let Some(envoy) = peers::envoy() else { return };`.

use std::path::PathBuf;
use std::process::Command;

use crate::binary;

/// An unmodified Envoy: `$ENVOY`, the installed one, or one on `PATH`.
#[must_use]
pub fn envoy() -> Option<PathBuf> {
    let given = std::env::var_os("ENVOY").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = given
        .into_iter()
        .chain([folder().join("envoy/bin/envoy")])
        .chain(std::env::split_paths(&path).map(|dir| dir.join("envoy")))
        .find(|path| path.is_file());
    said(found, "no Envoy: run `cargo xtask peers`, or set ENVOY")
}

/// A Python with gRPC's own xDS client.
#[must_use]
pub fn grpc_python() -> Option<PathBuf> {
    let python = folder().join("grpc/bin/python");
    said(python.is_file().then_some(python), "no Python with grpcio: run `cargo xtask peers`, or set PILOTHOUSE_PEERS")
}

/// The folder of node modules with `@grpc/grpc-js-xds`.
#[must_use]
pub fn grpc_js() -> Option<PathBuf> {
    let modules = folder().join("js/node_modules");
    let there = modules.join("@grpc/grpc-js-xds").is_dir() && Command::new("node").arg("--version").output().is_ok();
    said(there.then_some(modules), "no node with @grpc/grpc-js-xds: run `cargo xtask peers`, or set PILOTHOUSE_PEERS")
}

fn folder() -> PathBuf {
    match std::env::var_os("PILOTHOUSE_PEERS") {
        Some(dir) => binary::workspace().join(dir),
        None => binary::profile_dir().parent().map(|target| target.join("peers")).unwrap_or_default(),
    }
}

fn said<T>(found: Option<T>, otherwise: &str) -> Option<T> {
    if found.is_none() {
        eprintln!("skipped: {otherwise}");
    }
    found
}
