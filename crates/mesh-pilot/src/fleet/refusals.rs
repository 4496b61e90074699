//! What proxies refuse, and whose rules that is about.
//!
//! Invariant: a refusal lasts until the same stream accepts a response of the
//! same type, or ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Code, Diagnostic, MeshSnapshot, ObjectRef, Severity};
use mesh_proto::resource::{Resource, ResourceSet};
use mesh_proto::types;

use crate::objects;

/// One response that one stream refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) stream: u64,
    pub(crate) node_id: Arc<str>,
    pub(crate) type_url: Arc<str>,
    pub(crate) version: Arc<str>,
    /// The proxy's own words.
    pub(crate) error: Arc<str>,
}

/// The refusals that last, by stream and type.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<(u64, Arc<str>), Refusal>);

/// Resources that one diagnostic names.
const NAMED_MAX: usize = 5;
/// A name shorter than this is found in any text by chance.
const NAME_BYTES_MIN: usize = 3;
/// How much of the proxy's words a diagnostic repeats; Envoy may add a whole resource.
const WORDS_CHARS_MAX: usize = 500;

impl Refusals {
    pub(super) fn refused(&mut self, refusal: Refusal) {
        self.0.insert((refusal.stream, refusal.type_url.clone()), refusal);
    }

    /// Returns whether something was refused before.
    pub(super) fn accepted(&mut self, stream: u64, type_url: &Arc<str>) -> bool {
        // Nothing is refused nearly always, and this is called for every ACK.
        !self.0.is_empty() && self.0.remove(&(stream, type_url.clone())).is_some()
    }

    /// Returns whether something was refused before.
    pub(super) fn forget(&mut self, stream: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|(s, _), _| *s != stream);
        self.0.len() != before
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.values()
    }
}

/// One diagnostic for each thing that is refused, however many proxies do.
/// `sent` gives the resources that a stream was sent.
pub(super) fn diagnostics(
    refusals: &[Refusal],
    mesh: &MeshSnapshot,
    sent: impl Fn(u64, &str) -> Option<Arc<ResourceSet>>,
) -> Vec<Diagnostic> {
    let mut alike: BTreeMap<(&str, &str), Vec<&Refusal>> = BTreeMap::new();
    for refusal in refusals {
        alike.entry((&refusal.type_url, &refusal.error)).or_default().push(refusal);
    }
    let mut found = Vec::new();
    for ((type_url, error), refusals) in alike {
        let set = sent(refusals[0].stream, type_url);
        let named = set.as_ref().map(|set| named_in(error, set)).unwrap_or_default();
        found.push(diagnostic(type_url, error, &refusals, &named, mesh));
    }
    found
}

fn diagnostic(
    type_url: &str,
    error: &str,
    refusals: &[&Refusal],
    named: &[&Resource],
    mesh: &MeshSnapshot,
) -> Diagnostic {
    let origins: Vec<ObjectRef> = {
        let mut origins = Vec::new();
        for origin in named.iter().flat_map(|r| objects::origins(type_url, &r.body)) {
            if let Some(object) = objects::parse(&origin).filter(|o| !origins.contains(o)) {
                origins.push(object);
            }
        }
        origins
    };
    // A rule is more likely at fault than the service that it is about.
    let object = origins.iter().find(|o| o.kind != mesh_model::Kind::Service).or(origins.first()).cloned();
    let who = match refusals {
        [one] => format!("proxy {}", one.node_id),
        more => format!("{} proxies, such as {},", more.len(), more[0].node_id),
    };
    let what = match named {
        [] => format!("a {} response", types::short(type_url)),
        named => named.iter().map(|r| &*r.name).collect::<Vec<_>>().join(", "),
    };
    let shaped = match origins.as_slice() {
        [] | [_] => String::new(),
        origins => {
            let all: Vec<String> = origins.iter().map(ObjectRef::to_string).collect();
            format!(" (shaped by {})", all.join(", "))
        }
    };
    let words: String = error.chars().take(WORDS_CHARS_MAX).collect();
    Diagnostic {
        severity: Severity::Error,
        code: Code::Refused,
        location: object.as_ref().and_then(|o| objects::location(mesh, o)),
        object,
        field: String::new(),
        message: format!("{who} refused {what}{shaped}: {words}"),
        consequence: "the last version that was accepted stays in force there".to_owned(),
    }
}

/// The resources of `set` that the proxy's words name: the longest names, since
/// a short one may stand inside a longer.
fn named_in<'a>(error: &str, set: &'a ResourceSet) -> Vec<&'a Resource> {
    let mut named: Vec<&Resource> =
        set.iter().filter(|r| r.name.len() >= NAME_BYTES_MIN && error.contains(&*r.name)).collect();
    named.sort_by_key(|r| std::cmp::Reverse(r.name.len()));
    let mut kept: Vec<&Resource> = Vec::new();
    for resource in named {
        if kept.len() < NAMED_MAX && !kept.iter().any(|k| k.name.contains(&*resource.name)) {
            kept.push(resource);
        }
    }
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mesh_proto::envoy::config::cluster::v3::Cluster;
    use mesh_proto::envoy::config::core::v3::Metadata;
    use mesh_proto::origin::{self, Origin};

    use super::*;

    fn cluster(name: &str, rule: &str) -> Resource {
        let mut metadata = Metadata::default();
        origin::write(&mut metadata, [Origin::parse("Service/shop/a").unwrap(), Origin::parse(rule).unwrap()]);
        Resource::new(name, &Cluster { name: name.to_owned(), metadata: Some(metadata), ..Cluster::default() })
    }

    fn refusal(stream: u64, error: &str) -> Refusal {
        Refusal {
            stream,
            node_id: format!("node-{stream}").into(),
            type_url: types::CLUSTER.into(),
            version: "1".into(),
            error: error.into(),
        }
    }

    #[test]
    fn a_refusal_names_the_resource_and_the_rule_behind_it() {
        let set = Arc::new(ResourceSet::new([
            cluster("outbound|80||a.shop", "DestinationRule/shop/rule-a"),
            cluster("outbound|80||a.shop.svc", "DestinationRule/shop/rule-b"),
        ]));
        let error = "Error adding/updating cluster(s) outbound|80||a.shop.svc: bad";
        let found = diagnostics(&[refusal(1, error)], &MeshSnapshot::default(), |_, _| Some(set.clone()));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].object.as_ref().unwrap().to_string(), "DestinationRule shop/rule-b");
        assert!(found[0].message.contains("proxy node-1 refused outbound|80||a.shop.svc (shaped by"), "{}", found[0]);
    }

    #[test]
    fn proxies_that_refuse_the_same_are_one_finding() {
        let refusals = [refusal(1, "bad"), refusal(2, "bad"), refusal(3, "worse")];
        let found = diagnostics(&refusals, &MeshSnapshot::default(), |_, _| None);
        assert_eq!(found.len(), 2);
        assert!(found[0].message.starts_with("2 proxies, such as node-1, refused a CDS response: bad"), "{}", found[0]);
    }

    #[test]
    fn a_refusal_lasts_until_its_type_is_accepted_or_the_stream_ends() {
        let mut refusals = Refusals::default();
        refusals.refused(refusal(1, "bad"));
        assert!(!refusals.accepted(2, &types::CLUSTER.into()));
        assert!(!refusals.accepted(1, &types::LISTENER.into()));
        assert!(refusals.accepted(1, &types::CLUSTER.into()));
        refusals.refused(refusal(1, "bad"));
        assert!(refusals.forget(1) && !refusals.forget(1));
        assert_eq!(refusals.iter().count(), 0);
    }
}
