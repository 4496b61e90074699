//! What is said of an object, from what proxies have acknowledged.

#![allow(clippy::unwrap_used)]

use mesh_model::Kind;
use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3::Metadata;
use mesh_proto::origin::{self, Origin};
use mesh_proto::resource::Resource;
use mesh_proto::types;

use super::*;

fn cluster(name: &str) -> Resource {
    let mut metadata = Metadata::default();
    origin::write(&mut metadata, [Origin::parse("DestinationRule/shop/a").unwrap()]);
    Resource::new(name, &Cluster { name: name.to_owned(), metadata: Some(metadata), ..Cluster::default() })
}

fn watch(pending: Pending, error: Option<&str>) -> TypeStatus {
    TypeStatus {
        type_url: types::CLUSTER.into(),
        wildcard: true,
        names: Vec::new(),
        version_sent: None,
        version_acked: None,
        nonce_sent: None,
        nonce_acked: None,
        nonce_nacked: None,
        last_error: error.map(Into::into),
        sent_at: None,
        in_sync: false,
        pending,
    }
}

fn object() -> ObjectRef {
    ObjectRef { kind: Kind::DestinationRule, namespace: "shop".into(), name: "a".into() }
}

fn diagnostic(severity: Severity, code: Code) -> Diagnostic {
    Diagnostic {
        severity,
        code,
        object: Some(object()),
        location: None,
        field: "spec.host".to_owned(),
        message: "found x".to_owned(),
        consequence: "y wins".to_owned(),
    }
}

fn check(diagnostics: &[Diagnostic], watches: &[TypeStatus], kind: &str, holds: Option<bool>, message: &str) {
    let set = Arc::new(ResourceSet::new([cluster("c1"), cluster("c2")]));
    let member =
        |watch| Member { proxy: "node", resources: BTreeMap::from([(types::CLUSTER, &set)]), watches: vec![watch] };
    let members: Vec<Member<'_>> = watches.iter().map(member).collect();
    let mut mesh = MeshSnapshot::default();
    let rule = mesh_model::Rule {
        meta: Arc::new(mesh_model::Meta::new(Kind::DestinationRule, "shop", "a")),
        spec: mesh_model::rules::Spec::NotApplied,
        document: Arc::default(),
    };
    mesh.rules = Arc::new(mesh_model::world::RuleIndex::new([Arc::new(rule)]));
    let all = of(&mesh, diagnostics, Some(&members));
    let condition = all[0].condition(kind).unwrap();
    assert_eq!((condition.holds, condition.message.as_str()), (holds, message));
    assert_eq!(RuleStatus::from_json(&all[0].to_json()).unwrap(), all[0]);
}

#[test]
fn a_rule_is_effective_where_all_that_it_shaped_is_acknowledged() {
    let done = || watch(Pending::Names(Vec::new()), None);
    let waits = watch(Pending::Names(vec!["c2".into()]), None);
    check(&[], &[done(), done()], "Effective", Some(true), "on 2 of 2 proxies");
    check(&[], &[done(), waits], "Effective", Some(false), "on 1 of 2 proxies");
    check(&[], &[watch(Pending::All, None)], "Effective", Some(false), "on 0 of 1 proxies");
    check(&[], &[], "Effective", None, "it shapes nothing that a connected proxy was given");
}

#[test]
fn a_refusal_is_told_in_the_proxys_words() {
    let refused = watch(Pending::Names(vec!["c1".into()]), Some("bad cluster"));
    check(&[], &[refused], "Effective", Some(false), "on 0 of 1 proxies; node refused it: bad cluster");
}

#[test]
fn errors_conflicts_and_parts_that_are_not_applied_are_told_apart() {
    let text = "spec.host: found x; y wins";
    check(&[diagnostic(Severity::Error, Code::InvalidValue)], &[], "Accepted", Some(false), text);
    check(&[diagnostic(Severity::Warning, Code::NotApplied)], &[], "Accepted", Some(true), text);
    check(&[diagnostic(Severity::Warning, Code::Conflict)], &[], "Conflicting", Some(true), text);
    check(&[diagnostic(Severity::Warning, Code::Conflict)], &[], "Accepted", Some(true), "");
    check(&[], &[], "Conflicting", Some(false), "");
}
