//! Which files there are, and how to tell that one is different.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that are read at most. A folder with more is most likely not meant.
pub(super) const FILES_MAX: usize = 20_000;
/// Folders inside one another; symbolic links may make circles.
const LEVELS_MAX: usize = 32;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What tells one state of a file from another, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// All files below some paths.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Files by path; the error if one cannot even be looked at.
    pub(super) files: BTreeMap<PathBuf, Result<Stamp, io::ErrorKind>>,
    /// Folders that cannot be listed, and why.
    pub(super) unlisted: BTreeMap<PathBuf, String>,
    /// Every folder that was listed.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Whether there are more files than [`FILES_MAX`]; the rest is not there.
    pub(super) truncated: bool,
}

/// Looks at all `paths`, folders with everything below them. Does not read
/// files.
pub(super) fn scan(paths: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => scan.folder(path, LEVELS_MAX),
            Ok(metadata) => scan.file(path, Ok(Stamp::of(&metadata))),
            Err(error) => scan.file(path, Err(error.kind())),
        }
    }
    scan
}

impl Scan {
    fn file(&mut self, path: &Path, stamp: Result<Stamp, io::ErrorKind>) {
        if self.files.len() >= FILES_MAX && !self.files.contains_key(path) {
            self.truncated = true;
            return;
        }
        self.files.insert(path.to_owned(), stamp);
    }

    fn folder(&mut self, path: &Path, levels: usize) {
        if levels == 0 {
            self.unlisted.insert(path.to_owned(), format!("more than {LEVELS_MAX} folders inside one another"));
            return;
        }
        self.folders.insert(path.to_owned());
        let entries = match fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
            Ok(entries) => entries,
            Err(error) => {
                // A folder that went in this moment is just gone.
                if error.kind() != io::ErrorKind::NotFound {
                    self.unlisted.insert(path.to_owned(), error.to_string());
                }
                return;
            }
        };
        let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names.into_iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
            let path = path.join(name);
            // Links are followed: a mounted ConfigMap is made of them.
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, levels - 1),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                    self.file(&path, Ok(Stamp::of(&metadata)));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if is_manifest(&path) => self.file(&path, Err(error.kind())),
                Err(_) => {}
            }
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&&*extension))
}
