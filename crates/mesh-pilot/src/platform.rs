//! Which adapters a pilot's options mean.

use std::path::{Path, PathBuf};

use mesh_platform::{Platform, files};

use crate::Options;

/// The platform that `options` describe.
pub(crate) fn of(options: &Options) -> Platform {
    Platform::Files(files(&options.config_dirs, options.mesh_config.as_deref(), &options.domain))
}

/// The files adapter for these folders.
pub(crate) fn files(config_dirs: &[PathBuf], mesh_config: Option<&Path>, domain: &str) -> files::Options {
    let paths = config_dirs.iter().map(PathBuf::as_path).chain(mesh_config);
    files::Options {
        paths: paths.map(Path::to_path_buf).collect(),
        domain: domain.into(),
        mesh_config: mesh_config.map(Path::to_path_buf),
    }
}
