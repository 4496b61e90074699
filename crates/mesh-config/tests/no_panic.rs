//! Whatever stands in a file, reading it ends, and says something about what it
//! does not take.

use std::fs;
use std::path::Path;

use mesh_config::analysis::{self, Mesh, Settings};
use mesh_config::document;
use mesh_config::reader::Fallback;
use mesh_config::rules::{self, mesh_config as settings, workload_entry};
use mesh_config::schema;
use mesh_model::rules::MeshConfig;
use proptest::prelude::*;
use proptest::sample::Index;

/// Reads `bytes` with everything that reads documents, and judges them.
fn read(bytes: &[u8]) {
    let base = MeshConfig::default();
    let contents = document::read(&"f.yaml".into(), bytes);
    for object in &contents.objects {
        let parsed = rules::parse(object, &base, Fallback::Ignored);
        assert!(parsed.value.is_some() || !parsed.diagnostics.is_empty(), "{} vanished", object.meta.object);
        workload_entry::parse(object, Fallback::Ignored);
        settings::parse(object, &base, Fallback::Ignored);
    }
    document::unknown_kinds([&contents]);
    schema::verdict(&contents, &base);
    let (objects, _) = analysis::read(&"f.yaml".into(), bytes, "default");
    analysis::analyze(&Mesh::new(objects, Settings::default()), analysis::ANALYZERS);
}

/// One change of a text.
#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, u8),
    Delete(Index, usize),
    Copy(Index, Index, usize),
    Insert(Index, &'static str),
}

/// Pieces that YAML, or a rule, may stumble over.
const PIECES: [&str; 24] = [
    "\n",
    "\t",
    "  ",
    "- ",
    ": ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: ",
    "---\n",
    "|\n",
    "> ",
    "!!str ",
    "\"",
    "'",
    "null",
    "99999999999999999999",
    "-1",
    "1e999",
    "é\u{0}",
];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Edit::Delete(at, length)),
        (any::<Index>(), any::<Index>(), 1..200usize).prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
        (any::<Index>(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Edit::Insert(at, piece)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    match edit {
        Edit::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Edit::Delete(at, length) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Edit::Copy(from, to, length) => {
            let from = from.index(bytes.len());
            let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
            let to = to.index(bytes.len());
            bytes.splice(to..to, piece);
        }
        Edit::Insert(at, piece) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece.bytes());
        }
    }
}

fn inputs() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> = fs::read_dir(folder).expect("testdata is there").flatten().map(|e| e.path()).collect();
    cases.sort();
    cases.iter().map(|case| fs::read(case.join("input.yaml")).expect("input.yaml is there")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_spoilt_document_is_read_or_reported(
        which in any::<Index>(),
        edits in prop::collection::vec(edit(), 1..12),
    ) {
        let inputs = inputs();
        let mut bytes = inputs[which.index(inputs.len())].clone();
        for edit in &edits {
            apply(&mut bytes, edit);
        }
        read(&bytes);
    }

    #[test]
    fn noise_is_read_or_reported(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        read(pieces.concat().as_bytes());
    }

    #[test]
    fn bytes_are_read_or_reported(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }
}
