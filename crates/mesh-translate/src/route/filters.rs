//! What a route says to filters: faults and CORS.

use std::collections::HashMap;

use mesh_model::rules::virtual_service::{AbortStatus, Cors, Fault, HttpRoute, Millionths, StringMatch};
use mesh_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use mesh_proto::envoy::extensions::filters::common::fault::v3::FaultDelay;
use mesh_proto::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use mesh_proto::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use mesh_proto::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use mesh_proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use mesh_proto::envoy::r#type::matcher::v3::StringMatcher;
use mesh_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_proto::envoy::r#type::v3::FractionalPercent;
use mesh_proto::envoy::r#type::v3::fractional_percent::DenominatorType;
use mesh_proto::google::protobuf::Any;

use super::matches;
use crate::http_filters::{CORS, FAULT};
use crate::proxy::Generator;
use crate::xds;

/// The route's own configuration of filters, by filter name. gRPC libraries
/// refuse a filter that they do not have: they are told of faults only.
pub(super) fn of_route(http: &HttpRoute, generator: Generator) -> HashMap<String, Any> {
    let mut filters = HashMap::new();
    if let Some(fault) = &http.fault {
        filters.insert(FAULT.to_owned(), xds::pack(&self::fault(fault)));
    }
    if let Some(cors) = http.cors.as_ref().filter(|_| generator == Generator::Envoy) {
        filters.insert(CORS.to_owned(), xds::pack(&self::cors(cors)));
    }
    filters
}

/// A share as Envoy counts it.
pub(super) fn share(share: Millionths) -> FractionalPercent {
    FractionalPercent { numerator: share.0, denominator: DenominatorType::Million as i32 }
}

fn fault(fault: &Fault) -> HttpFault {
    HttpFault {
        delay: fault.delay.map(|(delay, part)| FaultDelay {
            percentage: Some(share(part)),
            fault_delay_secifier: xds::duration(delay).map(FaultDelaySecifier::FixedDelay),
        }),
        abort: fault.abort.map(|(status, part)| FaultAbort {
            percentage: Some(share(part)),
            error_type: Some(match status {
                AbortStatus::Http(status) => ErrorType::HttpStatus(u32::from(status)),
                AbortStatus::Grpc(status) => ErrorType::GrpcStatus(status),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Source: `TranslateCORSPolicy`, istio `pilot/pkg/networking/core/route/route.go`.
fn cors(cors: &Cors) -> CorsPolicy {
    let all = RuntimeFractionalPercent { default_value: Some(share(Millionths::ALL)), ..Default::default() };
    CorsPolicy {
        allow_origin_string_match: cors.allow_origins.iter().map(origin).collect(),
        allow_methods: cors.allow_methods.join(","),
        allow_headers: cors.allow_headers.join(","),
        expose_headers: cors.expose_headers.join(","),
        max_age: cors.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: cors.allow_credentials.and_then(xds::truth),
        filter_enabled: Some(all),
        forward_not_matching_preflights: xds::truth(!cors.ignore_unmatched_preflights),
        ..Default::default()
    }
}

fn origin(origin: &StringMatch) -> StringMatcher {
    let any =
        || StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(matches::regex(".*"))), ..Default::default() };
    matches::string(origin).unwrap_or_else(any)
}
