//! One file: its objects as they are now, and the last good version of each.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use mesh_config::document::{self, Contents, Object};
use mesh_config::reader::Fallback;
use mesh_config::rules::{self, mesh_config as settings, workload_entry};
use mesh_model::rules::MeshConfig;
use mesh_model::{Code, Diagnostic, Kind, Meta, Name, ObjectRef, Rule, Severity, SourceLocation, Workload};

use super::unreadable;
use crate::files::scan::Stamp;
use crate::kubernetes::{self, Resource};

/// A good version of an object.
#[derive(Debug, Clone)]
pub(in crate::files) struct Good {
    meta: Arc<Meta>,
    /// Which document of the file it stood in.
    document: usize,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Rule(Arc<Rule>),
    Workload(Arc<Workload>),
    Resource(Box<Resource>),
}

impl Good {
    pub(super) fn object(&self) -> &ObjectRef {
        &self.meta.object
    }

    pub(super) fn location(&self) -> Option<&SourceLocation> {
        self.meta.location.as_ref()
    }

    pub(super) fn rule(&self) -> Option<&Arc<Rule>> {
        if let Value::Rule(rule) = &self.value { Some(rule) } else { None }
    }

    pub(super) fn workload(&self) -> Option<&Arc<Workload>> {
        if let Value::Workload(workload) = &self.value { Some(workload) } else { None }
    }

    pub(super) fn resource(&self) -> Option<&Resource> {
        if let Value::Resource(resource) = &self.value { Some(resource) } else { None }
    }
}

/// What a look at a file brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Same,
    Different,
    /// It held something and is empty. It may be half written: what it said
    /// stays.
    Emptied,
    /// It vanished since it was listed.
    Gone,
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    name: Name,
    /// Whether it holds the mesh's settings themselves, and no objects.
    plain: bool,
    stamp: Option<Stamp>,
    bytes: Vec<u8>,
    /// Whether the last look found it empty and did not believe it.
    emptied: bool,
    /// Why it cannot be read, if so.
    unreadable: Option<Diagnostic>,
    contents: Contents,
    /// How many documents it had when the good versions were read.
    documents_before: usize,
    /// Whether `contents` is not decoded yet.
    stale: bool,
    goods: Vec<Good>,
    mesh: Option<Arc<MeshConfig>>,
    mesh_diagnostics: Vec<Diagnostic>,
    diagnostics: Vec<Diagnostic>,
}

impl File {
    /// `plain`: it holds the mesh's settings themselves, and no objects.
    pub(super) fn new(path: &Path, plain: bool) -> Self {
        Self {
            name: path.to_string_lossy().into(),
            plain,
            stamp: None,
            bytes: Vec::new(),
            emptied: false,
            unreadable: None,
            contents: Contents::default(),
            documents_before: 0,
            stale: false,
            goods: Vec::new(),
            mesh: None,
            mesh_diagnostics: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Reads the file if it looks different from the last time, or was
    /// `touched`. That it is empty now, where it was not, counts only if
    /// `believe_empty` says so.
    pub(super) fn refresh(
        &mut self,
        path: &Path,
        stamp: Result<Stamp, io::ErrorKind>,
        touched: bool,
        believe_empty: bool,
    ) -> Outcome {
        let stamp = match stamp {
            Ok(stamp) => stamp,
            Err(kind) => return self.failed(path, kind.into()),
        };
        if self.stamp == Some(stamp) && !touched && !self.emptied && self.unreadable.is_none() {
            return Outcome::Same;
        }
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Gone,
            Err(error) => return self.failed(path, error),
        };
        self.stamp = Some(stamp);
        let was_unreadable = self.unreadable.take().is_some();
        self.emptied = bytes.is_empty() && !self.bytes.is_empty() && !believe_empty;
        if self.emptied {
            return Outcome::Emptied;
        }
        if bytes == self.bytes {
            return if was_unreadable { Outcome::Different } else { Outcome::Same };
        }
        if !self.plain {
            self.contents = document::read(&self.name, &bytes);
        }
        self.bytes = bytes;
        self.stale = true;
        Outcome::Different
    }

    fn failed(&mut self, path: &Path, error: io::Error) -> Outcome {
        if error.kind() == io::ErrorKind::NotFound {
            // A file that the user named and that is deleted is no different
            // from one that vanished from a folder, but for being reported.
            *self = Self { unreadable: self.unreadable.take(), ..Self::new(path, self.plain) };
        }
        let consequence = if self.goods.is_empty() && self.mesh.is_none() {
            "the file is ignored"
        } else {
            "what it said before stays in force"
        };
        let now = Some(unreadable(path, &error.to_string(), consequence));
        if self.unreadable == now {
            return Outcome::Same;
        }
        self.unreadable = now;
        Outcome::Different
    }

    pub(super) fn goods(&self) -> impl Iterator<Item = &Good> {
        self.goods.iter()
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(super) fn mesh(&self) -> Option<Arc<MeshConfig>> {
        self.mesh.clone()
    }

    pub(super) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.unreadable.iter().chain(&self.mesh_diagnostics).chain(&self.diagnostics)
    }

    /// Reads mesh-wide settings, if the file has any and is stale.
    pub(super) fn decode_mesh(&mut self, base: &MeshConfig) {
        if !self.stale {
            return;
        }
        self.mesh_diagnostics.clear();
        let previous = self.mesh.take();
        if self.plain {
            let fallback = if previous.is_some() { Fallback::PreviousStays } else { Fallback::Ignored };
            let parsed = settings::parse_file(&self.name, &self.bytes, base, fallback);
            self.mesh_diagnostics = parsed.diagnostics;
            self.mesh = parsed.value.map(Arc::new).or(previous);
            return;
        }
        let config_maps = self.contents.objects.iter().filter(|o| o.kind() == Kind::ConfigMap);
        for object in config_maps.filter(|o| &**o.meta.name() == settings::CONFIG_MAP) {
            if !settings::is_mesh_config(object, &base.root_namespace) {
                self.mesh_diagnostics.extend(not_the_meshs(object, base));
                continue;
            }
            let fallback = if previous.is_some() { Fallback::PreviousStays } else { Fallback::Ignored };
            let parsed = settings::parse(object, base, fallback);
            let failed = parsed.value.is_none() && !parsed.diagnostics.is_empty();
            self.mesh_diagnostics.extend(parsed.diagnostics);
            self.mesh = parsed.value.map(Arc::new).or_else(|| previous.clone().filter(|_| failed));
            return;
        }
        if !self.contents.broken.is_empty() {
            self.mesh = previous;
        }
    }

    /// Decodes all objects, if the file is stale or `all` says so.
    pub(super) fn decode(&mut self, mesh: &MeshConfig, all: bool) {
        if !self.stale && !all {
            return;
        }
        self.stale = false;
        self.diagnostics.clear();
        let before = std::mem::take(&mut self.goods);
        let previous: BTreeMap<&ObjectRef, &Good> = before.iter().map(|good| (good.object(), good)).collect();
        let mut present: HashSet<&ObjectRef> = HashSet::new();
        let mut goods = Vec::with_capacity(self.contents.objects.len());
        for object in &self.contents.objects {
            present.insert(&object.meta.object);
            let old = previous.get(&object.meta.object).copied();
            let fallback = if old.is_some() { Fallback::PreviousStays } else { Fallback::Ignored };
            let (value, diagnostics) = decode(object, mesh, fallback);
            self.diagnostics.extend(diagnostics);
            let good = value.map(|value| Good { meta: object.meta.clone(), document: object.document, value });
            goods.extend(good.or_else(|| old.cloned()));
        }
        let kept = kept_of_broken(&self.contents, self.documents_before, &before, &present);
        self.diagnostics.extend(self.contents.diagnostics.iter().cloned().map(|d| with_kept(d, &kept)));
        goods.extend(kept.into_iter().cloned());
        if self.contents.broken.is_empty() {
            self.documents_before = self.contents.documents;
        }
        self.goods = goods;
    }
}

/// Reads a file within bounds, so that not even a device or an endless pipe
/// takes all memory.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut bytes = Vec::new();
    let limit = mesh_config::yaml::BYTES_MAX as u64 + 1;
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode(object: &Object, mesh: &MeshConfig, fallback: Fallback) -> (Option<Value>, Vec<Diagnostic>) {
    if rules::is_rule(object.kind()) {
        let parsed = rules::parse(object, mesh, fallback);
        return (parsed.value.map(|rule| Value::Rule(Arc::new(rule))), parsed.diagnostics);
    }
    if object.kind() == Kind::WorkloadEntry {
        let parsed = workload_entry::parse(object, fallback);
        return (parsed.value.map(|workload| Value::Workload(Arc::new(workload))), parsed.diagnostics);
    }
    let parsed = kubernetes::read(object, mesh, fallback);
    (parsed.value.map(|resource| Value::Resource(Box::new(resource))), parsed.diagnostics)
}

/// Good versions whose document is broken now: those of the same place, if the
/// file has as many documents as before, else all that the file lacks.
fn kept_of_broken<'a>(
    contents: &Contents,
    documents_before: usize,
    before: &'a [Good],
    present: &HashSet<&ObjectRef>,
) -> Vec<&'a Good> {
    let same_places = contents.documents == documents_before;
    let is_lost = |good: &&Good| {
        let broken = if same_places { contents.broken.contains(&good.document) } else { !contents.broken.is_empty() };
        broken && !present.contains(good.object())
    };
    before.iter().filter(is_lost).collect()
}

/// Says of a broken document what goes on in its place.
fn with_kept(mut diagnostic: Diagnostic, kept: &[&Good]) -> Diagnostic {
    if diagnostic.severity != Severity::Error || diagnostic.object.is_some() {
        return diagnostic;
    }
    if let Some((first, rest)) = kept.split_first() {
        let others = if rest.is_empty() { String::new() } else { format!(" and {} others", rest.len()) };
        diagnostic.consequence = format!("the previous version of {}{others} stays in force", first.object());
    }
    diagnostic
}

/// A ConfigMap that looks like the mesh's own and stands in another namespace.
fn not_the_meshs(object: &Object, base: &MeshConfig) -> Option<Diagnostic> {
    object.root.get("data")?.get(settings::KEY)?;
    Some(Diagnostic {
        severity: Severity::Warning,
        code: Code::NotApplied,
        object: Some(object.meta.object.clone()),
        location: object.meta.location.clone(),
        field: "metadata.namespace".to_owned(),
        message: format!(
            "found namespace {}, expected {}, where the mesh's settings stand",
            object.meta.namespace(),
            base.root_namespace
        ),
        consequence: "it is ignored".to_owned(),
    })
}
