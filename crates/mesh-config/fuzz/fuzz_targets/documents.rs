//! Whatever stands in a file, reading, judging and analyzing it ends without a
//! panic.
//!
//! Run with `cargo +nightly fuzz run documents` from `crates/mesh-config`;
//! `testdata/*/input.yaml` make a good corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_config::analysis::{self, Mesh, Settings};
use mesh_config::document;
use mesh_config::reader::Fallback;
use mesh_config::rules::{self, mesh_config as settings, workload_entry};
use mesh_config::schema;
use mesh_model::rules::MeshConfig;

fuzz_target!(|bytes: &[u8]| {
    let base = MeshConfig::default();
    let contents = document::read(&"f.yaml".into(), bytes);
    for object in &contents.objects {
        rules::parse(object, &base, Fallback::Ignored);
        workload_entry::parse(object, Fallback::Ignored);
        settings::parse(object, &base, Fallback::Ignored);
    }
    document::unknown_kinds([&contents]);
    schema::verdict(&contents, &base);
    let (objects, _) = analysis::read(&"f.yaml".into(), bytes, "default");
    analysis::analyze(&Mesh::new(objects, Settings::default()), analysis::ANALYZERS);
});
