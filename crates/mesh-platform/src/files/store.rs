//! What all files say, kept so that only what changed is read again.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_config::document;
use mesh_model::rules::MeshConfig;
use mesh_model::{Code, Diagnostic, ObjectRef, Severity, SourceLocation};

use self::file::{File, Good};
use super::Options;
use super::scan::{FILES_MAX, Scan};
use crate::{Known, kubernetes};

/// The contents of all files.
#[derive(Debug)]
pub(super) struct Store {
    /// What holds where no file says anything.
    base: MeshConfig,
    /// What holds now.
    mesh: MeshConfig,
    files: BTreeMap<PathBuf, File>,
    /// The file whose settings go before all others.
    mesh_config: Option<PathBuf>,
    /// Folders that cannot be listed.
    unlisted: BTreeMap<PathBuf, String>,
    truncated: bool,
}

impl Store {
    pub(super) fn new(options: &Options) -> Self {
        let base = MeshConfig { domain: options.domain.clone(), ..MeshConfig::default() };
        Self {
            mesh: base.clone(),
            base,
            files: BTreeMap::new(),
            mesh_config: options.mesh_config.clone(),
            unlisted: BTreeMap::new(),
            truncated: false,
        }
    }

    /// Reads every file that is new or different in `scan`, and those of
    /// `touched` even if they look the same (two writes may fall into one tick of
    /// the file system's clock). A file that is suddenly empty may be half
    /// written: it is taken for empty only if `believe_empty`.
    pub(super) fn refresh(&mut self, scan: &Scan, touched: &BTreeSet<PathBuf>, believe_empty: bool) -> Refreshed {
        let mut refreshed = Refreshed::default();
        let gone: Vec<PathBuf> = self.files.keys().filter(|path| !self.is_there(scan, path)).cloned().collect();
        for path in gone {
            self.files.remove(&path);
            refreshed.changed = true;
        }
        for (path, stamp) in &scan.files {
            let touched = touched.contains(path);
            let plain = self.mesh_config.as_ref() == Some(path);
            let file = self.files.entry(path.clone()).or_insert_with(|| File::new(path, plain));
            match file.refresh(path, *stamp, touched, believe_empty) {
                file::Outcome::Same => {}
                file::Outcome::Different => refreshed.changed = true,
                file::Outcome::Emptied => refreshed.emptied = true,
                file::Outcome::Gone => {
                    self.files.remove(path);
                    refreshed.changed = true;
                }
            }
        }
        refreshed.changed |= self.unlisted != scan.unlisted || self.truncated != scan.truncated;
        self.unlisted.clone_from(&scan.unlisted);
        self.truncated = scan.truncated;
        if refreshed.changed {
            self.settle();
        }
        refreshed
    }

    /// A file below a folder that cannot be listed may still be there.
    fn is_there(&self, scan: &Scan, path: &Path) -> bool {
        scan.files.contains_key(path) || scan.unlisted.keys().any(|folder| path.starts_with(folder))
    }

    /// Decodes what is not decoded yet; everything, if the mesh's settings
    /// changed on which it depends.
    fn settle(&mut self) {
        for file in self.files.values_mut() {
            file.decode_mesh(&self.base);
        }
        let first = self.mesh_config.as_ref().and_then(|path| self.files.get(path)?.mesh());
        let mesh = first.or_else(|| self.files.values().find_map(|file| file.mesh()));
        let mesh = mesh.map_or_else(|| self.base.clone(), |mesh| (*mesh).clone());
        let all = mesh != self.mesh;
        self.mesh = mesh;
        for file in self.files.values_mut() {
            file.decode(&self.mesh, all);
        }
    }

    /// All that the files say, together.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::default();
        let mut first: BTreeMap<&ObjectRef, &Good> = BTreeMap::new();
        for good in self.files.values().flat_map(File::goods) {
            match first.get(good.object()) {
                Some(winner) => known.diagnostics.push(duplicate(winner, good)),
                None => {
                    first.insert(good.object(), good);
                }
            }
        }
        let resources = first.values().filter_map(|good| good.resource());
        let assembled = kubernetes::assemble(resources);
        known.services = assembled.services;
        known.endpoints = assembled.endpoints;
        known.workloads = assembled.workloads;
        known.namespaces = assembled.namespaces;
        known.secrets = assembled.secrets;
        known.diagnostics.extend(assembled.diagnostics);
        for good in first.values() {
            if let Some(rule) = good.rule() {
                known.rules.insert(rule.object().clone(), rule.clone());
            }
            if let Some(workload) = good.workload() {
                // A Pod of the same name is what really runs.
                known.workloads.entry(workload.key()).or_insert_with(|| workload.clone());
            }
        }
        // A domain of the adapter's own must reach the world too.
        let said = self.mesh != MeshConfig::default();
        known.mesh = said.then(|| Arc::new(self.mesh.clone()));
        self.describe(&mut known.diagnostics);
        known
    }

    /// Diagnostics about the files themselves, and what every file has found.
    fn describe(&self, diagnostics: &mut Vec<Diagnostic>) {
        for file in self.files.values() {
            diagnostics.extend(file.diagnostics().cloned());
        }
        diagnostics.extend(document::unknown_kinds(self.files.values().map(File::contents)));
        for (folder, why) in &self.unlisted {
            diagnostics.push(unreadable(folder, why, "the files in it are ignored"));
        }
        if self.truncated {
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                code: Code::Unreadable,
                object: None,
                location: None,
                field: String::new(),
                message: format!("found more than {FILES_MAX} files, expected fewer"),
                consequence: "the others are not read".to_owned(),
            });
        }
        let place = |d: &Diagnostic| (d.location.clone(), d.object.clone(), d.field.clone(), d.message.clone());
        diagnostics.sort_by_cached_key(place);
        diagnostics.dedup();
    }
}

/// What a look at the files brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refreshed {
    /// Something is different, in objects or in diagnostics.
    pub(super) changed: bool,
    /// A file that held something is empty, and this was not believed.
    pub(super) emptied: bool,
}

fn duplicate(winner: &Good, loser: &Good) -> Diagnostic {
    let place = winner.location().map_or_else(|| "elsewhere".to_owned(), |location| location.to_string());
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Duplicate,
        object: Some(loser.object().clone()),
        location: loser.location().cloned(),
        field: String::new(),
        message: format!("the same object stands at {place}"),
        consequence: "that one is in force, this one is ignored".to_owned(),
    }
}

/// A file or folder that cannot be read.
pub(super) fn unreadable(path: &Path, why: &str, consequence: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::Unreadable,
        object: None,
        location: Some(SourceLocation { file: path.to_string_lossy().into(), line: 1 }),
        field: String::new(),
        message: format!("cannot be read: {why}"),
        consequence: consequence.to_owned(),
    }
}
