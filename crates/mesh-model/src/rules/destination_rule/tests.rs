//! How the levels of a traffic policy are put together.
#![allow(clippy::unwrap_used)]

use super::*;

fn balanced(algorithm: Algorithm) -> PortPolicy {
    PortPolicy { load_balancer: Some(LoadBalancer { algorithm, ..Default::default() }), ..Default::default() }
}

fn pooled(max_connections: u32) -> PortPolicy {
    let pool = ConnectionPool { max_connections: Some(max_connections), ..Default::default() };
    PortPolicy { connection_pool: Some(pool), ..Default::default() }
}

fn budget() -> Option<RetryBudget> {
    Some(RetryBudget { percent: Some(50.0), min_retry_concurrency: None, budget_interval: None })
}

/// Algorithm, connections and retry budget on `port`, as far as they are said.
fn check(
    host: &TrafficPolicy,
    subset: Option<&TrafficPolicy>,
    port: u16,
    expected: (Option<Algorithm>, Option<u32>, bool),
) {
    let found = TrafficPolicy::effective(Some(host), subset, port);
    let algorithm = found.load_balancer.map(|b| b.algorithm.clone());
    let connections = found.connection_pool.and_then(|p| p.max_connections);
    assert_eq!((algorithm, connections, found.retry_budget.is_some()), expected);
}

#[test]
fn settings_of_a_port_replace_those_of_the_destination_as_a_whole() {
    let host = TrafficPolicy {
        destination: PortPolicy { connection_pool: pooled(7).connection_pool, ..balanced(Algorithm::Random) },
        ports: vec![(80, balanced(Algorithm::RoundRobin))],
        retry_budget: budget(),
        ..Default::default()
    };
    check(&host, None, 443, (Some(Algorithm::Random), Some(7), true));
    check(&host, None, 80, (Some(Algorithm::RoundRobin), None, false));
}

#[test]
fn a_subset_goes_before_its_host_setting_by_setting_and_for_a_port_as_a_whole() {
    let host = TrafficPolicy {
        destination: PortPolicy { connection_pool: pooled(7).connection_pool, ..balanced(Algorithm::Random) },
        retry_budget: budget(),
        ..Default::default()
    };
    let subset = TrafficPolicy {
        destination: pooled(9),
        ports: vec![(80, balanced(Algorithm::RoundRobin))],
        ..Default::default()
    };
    check(&host, Some(&subset), 443, (Some(Algorithm::Random), Some(9), true));
    check(&host, Some(&subset), 80, (Some(Algorithm::RoundRobin), None, true));
    check(&host, Some(&TrafficPolicy::default()), 80, (Some(Algorithm::Random), Some(7), true));
}
