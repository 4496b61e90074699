//! Retry policies.
//!
//! Source: istio `pilot/pkg/networking/core/route/retry/retry.go`.

use mesh_model::rules::virtual_service::Retries;
use mesh_proto::envoy::config::route::v3::RetryPolicy;
use mesh_proto::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate};
use mesh_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use crate::xds;

/// The policy that a rule asks for; Istio's default if it says nothing. `None`:
/// nothing is repeated.
pub(super) fn policy(retries: Option<&Retries>) -> Option<RetryPolicy> {
    let Some(retries) = retries else { return Some(default_policy()) };
    if retries.attempts == 0 {
        return None;
    }
    let mut policy = RetryPolicy { num_retries: xds::number(retries.attempts), ..default_policy() };
    if !retries.ignore_previous_hosts {
        policy.retry_host_predicate.clear();
        policy.host_selection_retry_max_attempts = 0;
    }
    let mut words: Vec<&str> = retries.retry_on.iter().map(|w| &**w).collect();
    if !words.is_empty() || !retries.retriable_status_codes.is_empty() {
        if !retries.retriable_status_codes.is_empty() && !words.contains(&BY_STATUS) {
            words.push(BY_STATUS);
        }
        policy.retry_on = words.join(",");
        policy.retriable_status_codes = retries.retriable_status_codes.clone();
    }
    policy.per_try_timeout = retries.per_try_timeout.and_then(xds::duration);
    policy.retry_back_off =
        retries.backoff.map(|base| RetryBackOff { base_interval: xds::duration(base), max_interval: None });
    Some(policy)
}

/// Requests to the workload's own application are repeated only if nothing of
/// them was sent.
pub(super) fn inbound_policy() -> RetryPolicy {
    RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: xds::number(ATTEMPTS),
        ..Default::default()
    }
}

fn default_policy() -> RetryPolicy {
    RetryPolicy {
        retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes".to_owned(),
        num_retries: xds::number(ATTEMPTS),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(xds::pack(
                &PreviousHostsPredicate::default(),
            ))),
        }],
        host_selection_retry_max_attempts: HOST_SELECTIONS,
        ..Default::default()
    }
}

/// Retries besides the first attempt.
const ATTEMPTS: u32 = 2;
/// Picks before a host that failed already is taken nevertheless.
const HOST_SELECTIONS: i64 = 5;
const BY_STATUS: &str = "retriable-status-codes";
