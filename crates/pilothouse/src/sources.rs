//! Manifests that a command is given: files, folders, and standard input.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::{Failure, Result};

/// One file.
pub(crate) struct Source {
    /// Its path as findings say it; `-` for standard input.
    pub(crate) name: Arc<str>,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
}

/// Files whose names end so are read where a folder is given.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// Folders in folders; a loop of links ends here.
const LEVELS_MAX: usize = 32;
/// Bytes of one file: what the parser refuses anyway.
const BYTES_MAX: u64 = (mesh_config::yaml::BYTES_MAX + 1) as u64;

/// Reads `paths`: files, folders with all below them, and `-` for standard
/// input. Files come in the order of their names, each once.
///
/// # Errors
/// If a path cannot be read.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(path.clone());
            continue;
        }
        let of = std::fs::metadata(path).map_err(|error| Failure::Data(format!("{}: {error}", path.display())))?;
        match of.is_dir() {
            true => walk(path, 0, &mut files)?,
            false => files.push(path.clone()),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    files.iter().map(|file| source(file)).collect()
}

fn walk(folder: &Path, level: usize, files: &mut Vec<PathBuf>) -> Result {
    let failure = |error: std::io::Error| Failure::Data(format!("{}: {error}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(failure)?.collect::<std::io::Result<Vec<_>>>().map_err(failure)?;
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if level < LEVELS_MAX {
                walk(&path, level + 1, files)?;
            }
        } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
            files.push(path);
        }
    }
    Ok(())
}

fn source(path: &Path) -> Result<Source> {
    let name: Arc<str> = path.display().to_string().into();
    let mut bytes = Vec::new();
    let read = match &*name {
        "-" => std::io::stdin().lock().take(BYTES_MAX).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Failure::Data(format!("{name}: {error}")))?;
    Ok(Source { name, bytes })
}

/// The lines of files, to be shown beside findings.
#[derive(Default)]
pub(crate) struct Lines {
    files: BTreeMap<Arc<str>, Vec<String>>,
}

impl Lines {
    /// The lines of `sources`.
    pub(crate) fn of(sources: &[Source]) -> Self {
        let lines = |source: &Source| {
            let text = String::from_utf8_lossy(&source.bytes);
            (source.name.clone(), text.lines().map(str::to_owned).collect())
        };
        Self { files: sources.iter().map(lines).collect() }
    }

    /// Line `number`, counted from 1, of `file`.
    pub(crate) fn line(&self, file: &str, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.files.get(file)?.get(index).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_are_read_with_all_below_them_and_each_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "a: 1\n").unwrap();
            path
        };
        let b = write("sub/b.yml");
        write("a.yaml");
        write("c.txt");
        write(".hidden/d.yaml");
        let sources = read(&[folder.path().to_owned(), b]).unwrap();
        let names: Vec<_> = sources.iter().map(|s| s.name.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yml"]);
        assert_eq!(Lines::of(&sources).line(&sources[0].name, 1), Some("a: 1"));
        assert!(read(&[folder.path().join("absent")]).is_err());
    }
}
