//! Which PeerAuthentication holds for a port.

use mesh_model::{Kind, Meta};

use super::*;

fn rule(namespace: &str, selector: &[(&str, &str)], mode: Option<MutualTls>) -> PeerAuthentication {
    PeerAuthentication {
        meta: Arc::new(Meta::new(Kind::PeerAuthentication, namespace, format!("{namespace}-{}", selector.len()))),
        selector: selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        mode,
        port_modes: BTreeMap::new(),
    }
}

fn check(rules: &[PeerAuthentication], port: u16, expected: MutualTls) {
    let rules: Vec<_> = rules.iter().cloned().map(Arc::new).collect();
    let labels: Labels = [("app".to_owned(), "a".to_owned())].into_iter().collect();
    assert_eq!(Modes::of(&rules, "shop", &labels, "istio-system").of_port(port), expected);
}

#[test]
fn without_rules_both_kinds_of_connection_are_accepted() {
    check(&[], 80, MutualTls::Permissive);
}

#[test]
fn the_nearest_rule_that_says_something_holds() {
    let mesh = rule("istio-system", &[], Some(MutualTls::Strict));
    let namespace = rule("shop", &[], Some(MutualTls::Disable));
    let silent = rule("shop", &[("app", "a")], None);
    let other = rule("shop", &[("app", "b")], Some(MutualTls::Permissive));
    let elsewhere = rule("bank", &[], Some(MutualTls::Permissive));
    check(&[mesh.clone(), elsewhere], 80, MutualTls::Strict);
    check(&[mesh.clone(), namespace.clone(), other], 80, MutualTls::Disable);
    check(&[mesh, namespace, silent], 80, MutualTls::Disable);
}

#[test]
fn a_port_may_differ_and_an_unset_port_is_as_the_workload() {
    let mut own = rule("shop", &[("app", "a")], Some(MutualTls::Strict));
    own.port_modes = BTreeMap::from([(80, Some(MutualTls::Disable)), (81, None)]);
    check(&[own.clone()], 80, MutualTls::Disable);
    check(&[own.clone()], 81, MutualTls::Strict);
    check(&[own], 82, MutualTls::Strict);
}
