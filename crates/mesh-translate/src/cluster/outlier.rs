//! When a cluster's endpoints are put aside.
//!
//! Source: `applyOutlierDetection` and `applyOutlierDetectionErrorCodes`, istio
//! `pilot/pkg/networking/core/cluster_traffic_policy.go`.

use mesh_model::rules::destination_rule::OutlierDetection;
use mesh_proto::envoy::config::cluster::v3 as api;
use mesh_proto::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use mesh_proto::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};
use mesh_proto::envoy::config::route::v3::HeaderMatcher;
use mesh_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use mesh_proto::envoy::r#type::matcher::v3::StringMatcher;
use mesh_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_proto::envoy::r#type::v3::Percent;

use crate::xds;

/// Sets what is counted, and the bound below which nobody is put aside.
pub(super) fn apply(cluster: &mut api::Cluster, outlier: &OutlierDetection) {
    cluster.outlier_detection = Some(outlier_detection(outlier));
    // Envoy would use ejected hosts again once half are ejected; Istio sets the
    // bound to what the rule says, 0 by default.
    let value = f64::from(outlier.min_health_percent.unwrap_or(0));
    cluster.common_lb_config.get_or_insert_default().healthy_panic_threshold = Some(Percent { value });
}

fn outlier_detection(outlier: &OutlierDetection) -> api::OutlierDetection {
    let enforced = |value: Option<u32>| value.and_then(|v| xds::number(if v > 0 { 100 } else { 0 }));
    let local = outlier.consecutive_local_origin_failures.filter(|_| outlier.split_external_local_origin_errors);
    let local = local.filter(|count| *count > 0);
    api::OutlierDetection {
        consecutive_5xx: outlier.consecutive_5xx.and_then(xds::number),
        enforcing_consecutive_5xx: enforced(outlier.consecutive_5xx),
        consecutive_gateway_failure: outlier.consecutive_gateway_errors.and_then(xds::number),
        enforcing_consecutive_gateway_failure: enforced(outlier.consecutive_gateway_errors),
        split_external_local_origin_errors: outlier.split_external_local_origin_errors,
        consecutive_local_origin_failure: local.and_then(xds::number),
        enforcing_consecutive_local_origin_failure: enforced(local),
        interval: outlier.interval.and_then(xds::duration),
        base_ejection_time: outlier.base_ejection_time.and_then(xds::duration),
        max_ejection_percent: outlier.max_ejection_percent.and_then(xds::number),
        // By rate nothing is ejected unless a rule could say so.
        enforcing_success_rate: xds::number(0),
        enforcing_local_origin_success_rate: xds::number(0).filter(|_| outlier.split_external_local_origin_errors),
        ..Default::default()
    }
}

/// Which responses count as errors, if the rule names them.
pub(super) fn error_matcher(outlier: &OutlierDetection) -> Option<MatchPredicate> {
    let mut each: Vec<MatchPredicate> = outlier.http_error_codes.iter().map(|code| has_status(*code)).collect();
    match each.len() {
        0 | 1 => each.pop(),
        _ => Some(MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules: each })) }),
    }
}

fn has_status(status: u16) -> MatchPredicate {
    let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact(status.to_string())), ..Default::default() };
    let header = HeaderMatcher {
        name: ":status".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
        ..Default::default()
    };
    MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch { headers: vec![header] })) }
}
