#![allow(clippy::unwrap_used)]
use super::*;
use mesh_proto::types;

fn encode<M: mesh_proto::Message + mesh_proto::Name + Default>(yaml: &str) -> Vec<u8> {
    mesh_proto::json::from_yaml::<M>(yaml).unwrap().encode_to_vec()
}

#[test]
fn a_broken_resource_costs_itself_only() {
    use mesh_proto::envoy::config::cluster::v3::Cluster as Proto;
    let (good, bad) = (encode::<Proto>("{name: good}"), encode::<Proto>("{name: bad, lb_policy: CLUSTER_PROVIDED}"));
    let all = [
        (types::CLUSTER, good.as_slice()),
        (types::CLUSTER, &bad),
        (types::LISTENER, b"\xff\xff"),
        ("other.Type", b"x"),
    ];
    let (config, errors) = RuntimeConfig::from_resources(all);
    assert!(config.clusters.get("good").is_some() && config.clusters.get("bad").is_none());
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with("cluster bad: "), "{texts:?}");
    assert!(texts[1].starts_with("listener (unnamed): the bytes do not decode"), "{texts:?}");
}

#[test]
fn a_slot_shows_its_table_to_those_who_asked_before() {
    let routes = Routes::default();
    let slot = routes.slot("r");
    assert!(slot.load().is_none());
    let proto = mesh_proto::json::from_yaml("{name: r}").unwrap();
    routes.set(Arc::new(RouteTable::parse(&proto).unwrap()));
    assert!(slot.load().is_some());
    assert_eq!(routes.tables().len(), 1);
    routes.clear("r");
    assert!(slot.load().is_none());
}

#[test]
fn a_cluster_outlives_its_configuration_and_not_its_removal() {
    let clusters = Clusters::default();
    let config = |yaml: &str| ClusterConfig::parse(&mesh_proto::json::from_yaml(yaml).unwrap()).unwrap();
    let first = clusters.upsert(config("{name: c}"), None);
    let second = clusters.upsert(config("{name: c, connect_timeout: 1s}"), None);
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.config().connect_timeout.as_secs(), 1);
    assert!(clusters.remove("c").is_some() && clusters.get("c").is_none());
}

mod no_input_panics {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn whatever_the_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let all = types::PUSH_ORDER.map(|t| (t, body.as_slice()));
            let _ = RuntimeConfig::from_resources(all);
        }
    }
}
