//! Derives the descriptor set that `mesh-proto` carries from the one that the
//! `envoy-types` crate was generated with, so that every message we speak can
//! be read from YAML and printed as JSON, and the two never disagree.
//!
//! The set is committed: building Pilothouse needs no `protoc`.

use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;

/// Where the committed descriptor set lives, seen from the workspace root.
const OUTPUT: &str = "crates/mesh-proto/descriptors.bin.gz";

/// Rewrites the descriptor set; with `check`, only says whether it is current.
///
/// # Errors
/// If the sources of `envoy-types` are not in cargo's registry, its descriptor
/// set does not decode, or (with `check`) the committed set differs.
pub(crate) fn run(root: &Path, check: bool) -> Result<(), Box<dyn Error>> {
    let source = envoy_types_dir(root)?.join("src/generated/types.bin");
    let mut set = FileDescriptorSet::decode(std::fs::read(source)?.as_slice())?;
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let bytes = set.encode_to_vec();
    let path = root.join(OUTPUT);
    if check {
        let mut committed = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&path)?).read_to_end(&mut committed)?;
        if committed != bytes {
            return Err(
                format!("{OUTPUT} differs from what envoy-types was generated with; run `cargo xtask proto`").into()
            );
        }
        return Ok(());
    }
    let mut zip = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    zip.write_all(&bytes)?;
    let zipped = zip.finish()?;
    std::fs::write(&path, &zipped)?;
    println!("{OUTPUT}: {} files, {} bytes, {} unpacked", set.file.len(), zipped.len(), bytes.len());
    Ok(())
}

fn envoy_types_dir(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let out = Command::new("cargo").args(["metadata", "--format-version", "1"]).current_dir(root).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|p| p["name"] == "envoy-types")
        .and_then(|p| Path::new(p["manifest_path"].as_str()?).parent().map(Path::to_owned))
        .ok_or_else(|| "envoy-types is not among the dependencies".into())
}
