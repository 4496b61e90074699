//! New hosts grow into their share.

use std::time::Duration;

use super::*;

fn warming(policy: &str) -> Cluster {
    let config = match policy {
        "ROUND_ROBIN" => "round_robin_lb_config",
        _ => "least_request_lb_config",
    };
    let yaml = format!("lb_policy: {policy}, {config}: {{slow_start_config: {{slow_start_window: 100s}}}}");
    cluster(&yaml, vec![locality("a", 0, None, vec![endpoint(1, 1, Health::Healthy)])])
}

fn share_of_new(cluster: &Cluster) -> f64 {
    cluster.hosts().probabilities()[1]
}

#[test]
fn a_new_host_begins_with_a_tenth_and_grows_evenly() {
    for policy in ["ROUND_ROBIN", "LEAST_REQUEST"] {
        let cluster = warming(policy);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        cluster.tick(begin, &mut rng());
        cluster.tick(at(200), &mut rng());
        let both = vec![endpoint(1, 1, Health::Healthy), endpoint(2, 1, Health::Healthy)];
        cluster
            .update_endpoints(&LoadAssignment { localities: vec![locality("a", 0, None, both)], ..Default::default() });
        for (seconds, weight) in [(200, 0.1), (250, 0.5), (290, 0.9), (300, 1.0), (900, 1.0)] {
            cluster.tick(at(seconds), &mut rng());
            let expected = weight / (1.0 + weight);
            let share = share_of_new(&cluster);
            assert!((share - expected).abs() < 0.005, "{policy} at {seconds}: {share}, expected {expected}");
        }
        let settled = cluster.hosts();
        cluster.tick(at(901), &mut rng());
        assert!(Arc::ptr_eq(&settled, &cluster.hosts()), "nothing is arranged again once all are grown");
    }
}

#[test]
fn aggression_leads_up_sooner() {
    let slow = |aggression| crate::cluster::SlowStart {
        window: Duration::from_secs(100),
        aggression,
        min_weight_percent: 10.0,
    };
    let half = Duration::from_secs(25);
    assert!((slow(1.0).factor(half) - 0.25).abs() < 1e-9);
    assert!((slow(2.0).factor(half) - 0.5).abs() < 1e-9);
    assert!((slow(1.0).factor(Duration::ZERO) - 0.1).abs() < 1e-9);
    assert!((slow(1.0).factor(Duration::from_secs(100)) - 1.0).abs() < 1e-9);
}
