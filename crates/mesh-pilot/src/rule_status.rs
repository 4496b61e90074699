//! What has become of each rule object: accepted, in conflict, in effect.
//!
//! ```text
//! mesh + diagnostics + what each proxy was sent and acknowledged ──► RuleStatus per object
//! ```
//!
//! An object is *effective* on a proxy when the proxy has acknowledged every
//! resource of its own that the object shaped, as it is now. Which those are
//! stands in the resources' own metadata.
//!
//! Deliberately absent: writing statuses to a platform.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_model::{Code, Diagnostic, MeshSnapshot, ObjectRef, Severity, SourceLocation};
use mesh_proto::resource::ResourceSet;
use mesh_xds::server::{Pending, TypeStatus};

use crate::objects;

mod json;
#[cfg(test)]
mod tests;

/// What has become of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStatus {
    /// Which.
    pub object: ObjectRef,
    /// Where it stands, if it came from a file.
    pub location: Option<SourceLocation>,
    /// `Accepted`, `Conflicting` and, if proxies were asked, `Effective`.
    pub conditions: Vec<Condition>,
    /// Where it is in effect; `None` if no proxies were asked.
    pub reach: Option<Reach>,
}

/// One condition, in the shape of Kubernetes' `.status.conditions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `Conflicting`, `Effective`.
    pub kind: String,
    /// Whether it holds; `None`: nobody knows.
    pub holds: Option<bool>,
    /// Why, in one word that programs may read.
    pub reason: String,
    /// Why, for people; may be empty.
    pub message: String,
}

/// Which proxies an object is for, and which of them have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Proxies whose resources it shapes.
    pub of: usize,
    /// Those that have acknowledged all of these.
    pub on: usize,
    /// Those that have not, at most [`WAITING_MAX`].
    pub waiting: Vec<Waiting>,
}

/// A proxy that has not acknowledged what an object shaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its node id.
    pub proxy: String,
    /// What it refused, in its own words; `None`: it has not answered.
    pub error: Option<String>,
}

/// What a proxy should have, and what it has said about it.
pub(crate) struct Member<'a> {
    pub(crate) proxy: &'a str,
    pub(crate) resources: BTreeMap<&'a str, &'a Arc<ResourceSet>>,
    pub(crate) watches: Vec<&'a TypeStatus>,
}

/// Proxies that a status names of those that wait.
pub const WAITING_MAX: usize = 20;

/// The status of every rule of `mesh`, and of every object that `diagnostics`
/// set aside. `members`: the connected proxies, if there is a control plane.
pub(crate) fn of(mesh: &MeshSnapshot, diagnostics: &[Diagnostic], members: Option<&[Member<'_>]>) -> Vec<RuleStatus> {
    let mut found: BTreeMap<&ObjectRef, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in diagnostics {
        if let Some(object) = diagnostic.object.as_ref().filter(|o| mesh_config::rules::is_rule(o.kind)) {
            found.entry(object).or_default().push(diagnostic);
        }
    }
    let mut all: BTreeMap<&ObjectRef, Option<SourceLocation>> =
        mesh.rules.all().iter().map(|r| (&r.meta.object, r.meta.location.clone())).collect();
    for (object, list) in &found {
        // Where it begins is not known of an object that was never accepted.
        all.entry(object).or_insert_with(|| list.iter().filter_map(|d| d.location.clone()).min());
    }
    let mut reaches = members.map(reaches);
    let status = |(object, location): (&ObjectRef, Option<SourceLocation>)| {
        let about = found.get(object).map(Vec::as_slice).unwrap_or_default();
        let in_force = mesh.rules.all().iter().any(|r| r.meta.object == *object);
        let reach = reaches.as_mut().map(|r| r.remove(object).unwrap_or_default());
        let mut conditions = vec![accepted(about, in_force), conflicting(about)];
        conditions.extend(reach.as_ref().map(effective));
        RuleStatus { object: object.clone(), location, conditions, reach }
    };
    all.into_iter().map(status).collect()
}

impl RuleStatus {
    /// The condition of this kind.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}

fn condition(kind: &str, holds: Option<bool>, reason: &str, message: String) -> Condition {
    Condition { kind: kind.to_owned(), holds, reason: reason.to_owned(), message }
}

fn accepted(about: &[&Diagnostic], in_force: bool) -> Condition {
    let worst = |severity| about.iter().filter(move |d| d.severity == severity && d.code != Code::Refused);
    let errors: Vec<String> = worst(Severity::Error).map(|d| text(d)).collect();
    if !errors.is_empty() {
        let reason = if in_force { "PreviousVersion" } else { "Invalid" };
        return condition("Accepted", Some(false), reason, errors.join("; "));
    }
    let partly: Vec<String> = worst(Severity::Warning).filter(|d| d.code != Code::Conflict).map(|d| text(d)).collect();
    let reason = if partly.is_empty() { "Accepted" } else { "PartlyApplied" };
    condition("Accepted", Some(true), reason, partly.join("; "))
}

fn conflicting(about: &[&Diagnostic]) -> Condition {
    let conflicts: Vec<String> =
        about.iter().filter(|d| matches!(d.code, Code::Conflict | Code::Duplicate)).map(|d| text(d)).collect();
    match conflicts.is_empty() {
        true => condition("Conflicting", Some(false), "NoConflict", String::new()),
        false => condition("Conflicting", Some(true), "Conflict", conflicts.join("; ")),
    }
}

fn effective(reach: &Reach) -> Condition {
    let refused: Vec<String> =
        reach.waiting.iter().filter_map(|w| Some(format!("{} refused it: {}", w.proxy, w.error.as_ref()?))).collect();
    let (holds, reason) = match (reach.of, reach.on) {
        (0, _) => (None, "NoProxy"),
        (of, on) if of == on => (Some(true), "Effective"),
        _ if !refused.is_empty() => (Some(false), "Refused"),
        _ => (Some(false), "Waiting"),
    };
    let mut message = format!("on {} of {} proxies", reach.on, reach.of);
    if reach.of == 0 {
        "it shapes nothing that a connected proxy was given".clone_into(&mut message);
    }
    for text in refused {
        message.push_str("; ");
        message.push_str(&text);
    }
    condition("Effective", holds, reason, message)
}

/// Field, finding and consequence, without place and object.
fn text(diagnostic: &Diagnostic) -> String {
    let bare = Diagnostic { location: None, object: None, ..diagnostic.clone() };
    bare.to_string()
}

/// Where each object is in effect. A resource that proxies share is read once.
fn reaches(members: &[Member<'_>]) -> HashMap<ObjectRef, Reach> {
    let mut read: HashMap<(&str, &str, u64), Arc<[ObjectRef]>> = HashMap::new();
    let mut reaches: HashMap<ObjectRef, Reach> = HashMap::new();
    for member in members {
        // Every object that shapes something here, and whether all of it is there.
        let mut objects: BTreeMap<ObjectRef, Option<&TypeStatus>> = BTreeMap::new();
        let mut complete: BTreeSet<ObjectRef> = BTreeSet::new();
        for (type_url, set) in &member.resources {
            let Some(watch) = member.watches.iter().find(|w| *w.type_url == **type_url) else { continue };
            for resource in set.iter().filter(|r| watch.wildcard || watch.names.binary_search(&r.name).is_ok()) {
                let key = (*type_url, &*resource.name, resource.version);
                let origins = read.entry(key).or_insert_with(|| {
                    objects::origins(type_url, &resource.body).iter().filter_map(objects::parse).collect()
                });
                let pending = watch.pending.contains(&resource.name);
                for object in origins.iter() {
                    if pending {
                        objects.insert(object.clone(), Some(watch));
                    } else {
                        complete.insert(object.clone());
                    }
                }
            }
        }
        for object in complete {
            objects.entry(object).or_insert(None);
        }
        for (object, waits_for) in objects {
            let reach = reaches.entry(object).or_default();
            reach.of += 1;
            match waits_for {
                None => reach.on += 1,
                Some(watch) if reach.waiting.len() < WAITING_MAX => reach.waiting.push(Waiting {
                    proxy: member.proxy.to_owned(),
                    error: watch.last_error.as_deref().filter(|_| watch.pending != Pending::All).map(str::to_owned),
                }),
                Some(_) => {}
            }
        }
    }
    reaches
}
