//! The demo as a user runs it, on our own proxies.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

const CALLS: u64 = 300;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn calls(run: &Value) -> Vec<u64> {
    run["per_replica"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

#[test]
fn round_robin_is_even_to_one_call_and_the_document_has_its_keys() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilothouse"));
    command.args(["demo", "-o", "json", "--requests", &CALLS.to_string()]);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    let report: Value = serde_json::from_str(&out).unwrap();

    assert_eq!(keys(&report), ["without_mesh", "with_mesh", "explain"]);
    for run in [&report["without_mesh"], &report["with_mesh"]] {
        assert_eq!(keys(run), ["per_replica", "cov", "max_over_mean", "p50_ms", "p99_ms"]);
        assert_eq!(calls(run).iter().sum::<u64>(), CALLS);
        assert!(run["p50_ms"].as_f64().unwrap() > 0.0 && run["p99_ms"].as_f64() >= run["p50_ms"].as_f64(), "{run}");
    }
    let without = calls(&report["without_mesh"]);
    assert_eq!(without.iter().filter(|n| **n == 0).count(), 2, "one replica gets everything: {without:?}");
    let with = calls(&report["with_mesh"]);
    assert!(with.len() == 3 && with.iter().all(|n| n.abs_diff(CALLS / 3) <= 1), "{with:?}");

    let explain = &report["explain"];
    assert_eq!(explain["from"], "frontend.default");
    assert_eq!(explain["outcome"]["kind"], "forward", "{explain:#}");
    let steps = explain["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().filter_map(|s| s["kind"].as_str()).collect();
    assert_eq!(kinds, ["listener", "filter_chain", "virtual_host", "route", "cluster", "endpoints"]);
    let cluster = steps.iter().find(|s| s["kind"] == "cluster").unwrap();
    let rule = cluster["because"].as_array().unwrap().iter().find(|b| b["kind"] == "DestinationRule").unwrap();
    assert_eq!(
        (&rule["name"], &rule["file"]),
        (&"backend".into(), &"examples/grpc-balance/destination-rule.yaml".into())
    );
    let chances: Vec<f64> =
        explain["endpoints"].as_array().unwrap().iter().map(|e| e["probability"].as_f64().unwrap()).collect();
    assert_eq!(chances.len(), 3);
    assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{chances:?}");
}
