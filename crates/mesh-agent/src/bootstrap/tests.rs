//! Golden bootstraps, and what is refused.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mesh_proto::envoy::config::bootstrap::v3::Bootstrap;

use super::*;

/// `testdata/bootstrap/<case>/`: `env` (`NAME=value` lines, `\n` for a line
/// break), optionally `mesh.yaml` and `labels`; gives `bootstrap.json` and
/// `notes`.
#[test]
fn each_case_gives_its_bootstrap() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bootstrap");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let read = |name: &str| std::fs::read_to_string(case.join(name)).ok();
        let env = read("env").unwrap();
        let env = env.lines().filter_map(|line| line.split_once('='));
        let inputs = Inputs {
            env: env.map(|(name, value)| (name.to_owned(), value.replace("\\n", "\n"))).collect(),
            mesh_config: read("mesh.yaml"),
            labels: read("labels"),
            addresses: vec!["10.0.0.9".parse().unwrap()],
            ..Inputs::default()
        };
        let (settings, notes) = settle(&inputs).unwrap();
        let bootstrap = render(&settings);
        let parsed: Bootstrap = mesh_proto::json::from_json(&bootstrap).unwrap();
        assert_eq!(parsed.node.unwrap().id, settings.node_id);
        golden(&case.join("bootstrap.json"), &format!("{bootstrap:#}\n"));
        golden(&case.join("notes"), &notes.iter().map(|note| format!("{note}\n")).collect::<String>());
    }
}

fn golden(path: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
}

fn with(env: &[(&str, &str)], flags: Flags) -> Result<(Settings, Vec<String>), SettingsError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    settle(&Inputs { env, flags, addresses: vec!["10.0.0.9".parse().unwrap()], ..Inputs::default() })
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    for (env, expected) in [
        (("INSTANCE_IP", "ten"), "environment variable INSTANCE_IP: found \"ten\", expected an IP address"),
        (("ENVOY_STATUS_PORT", "0"), "environment variable ENVOY_STATUS_PORT: found \"0\", expected a port"),
        (("ISTIO_DELTA_XDS", "maybe"), "environment variable ISTIO_DELTA_XDS: found \"maybe\", expected true or false"),
        (("PROXY_CONFIG", "a: [b"), "PROXY_CONFIG: "),
        (("PROXY_CONFIG", "concurrency: many"), "PROXY_CONFIG: concurrency: found \"many\", expected a whole number"),
        (("PROXY_CONFIG", "[1]"), "expected an object"),
        (("PROXY_CONFIG", "drainDuration: 5 parsecs"), "drainDuration: found \"5 parsecs\", expected a duration"),
        (("PROXY_CONFIG", "tracing: {zipkin: {address: 7}}"), "tracing.zipkin.address: found 7, expected a string"),
        (("ISTIO_PROMETHEUS_ANNOTATIONS", "yes"), "expected a JSON object with scrape"),
    ] {
        let error = with(&[env], Flags::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(settle(&Inputs::default()), Err(SettingsError::NoAddress)));
}

#[test]
fn what_has_no_effect_is_noted() {
    let annotations = r#"{"scrape":"true","port":"15020"}"#;
    let (settings, notes) = with(
        &[
            ("ISTIO_METAJSON_BROKEN", "{"),
            ("ISTIO_KUBE_APP_PROBERS", "{}"),
            ("ISTIO_PROMETHEUS_ANNOTATIONS", annotations),
            (
                "PROXY_CONFIG",
                "discoveryAddress: istiod:15012\nimage: {imageType: distroless}\ntracing: {stackdriver: {}}",
            ),
        ],
        Flags::default(),
    )
    .unwrap();
    assert_eq!(settings.scrape, None);
    for expected in [
        "ISTIO_METAJSON_BROKEN: found no JSON",
        "ISTIO_KUBE_APP_PROBERS",
        "port 15020 is the mesh's own",
        "15012 is a TLS port",
        "image is accepted, not yet applied",
        "tracing.stackdriver is accepted, not yet applied",
    ] {
        assert!(notes.iter().any(|note| note.contains(expected)), "{expected}: {notes:?}");
    }
}

#[test]
fn flags_win_over_documents_and_documents_over_defaults() {
    let config = ("PROXY_CONFIG", "discoveryAddress: a:1\nconcurrency: 2\nproxyAdminPort: 16000\nserviceCluster: doc");
    let (settings, _) = with(&[config], Flags::default()).unwrap();
    assert_eq!((&*settings.discovery_address, settings.concurrency, settings.admin_port), ("a:1", Some(2), 16000));
    assert_eq!((settings.status_port, &*settings.cluster), (15020, "doc"));
    let flags = Flags {
        discovery_address: Some("b:2".to_owned()),
        concurrency: Some(4),
        admin_port: Some(17000),
        service_cluster: Some("flag".to_owned()),
        delta: Some(false),
        ..Flags::default()
    };
    let (settings, _) = with(&[config, ("ISTIO_DELTA_XDS", "true")], flags).unwrap();
    assert_eq!((&*settings.discovery_address, settings.concurrency, settings.admin_port), ("b:2", Some(4), 17000));
    assert!(!settings.delta && settings.cluster == "flag");
}

#[test]
fn durations_are_read_in_gos_form() {
    for (text, expected) in [
        ("5s", Some(5_000)),
        ("1m30s", Some(90_000)),
        ("0.5s", Some(500)),
        ("250ms", Some(250)),
        ("1h", Some(3_600_000)),
        ("", None),
        ("5", None),
        ("-1s", None),
        ("1d", None),
        ("9999999999999999999999h", None),
    ] {
        assert_eq!(proxy_config::duration(text), expected.map(Duration::from_millis), "{text}");
    }
}
