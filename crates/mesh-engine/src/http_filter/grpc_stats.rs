//! gRPC statistics: which requests are counted, and under what names. The
//! proxy keeps the counters.

use mesh_proto::envoy::extensions::filters::http::grpc_stats::v3 as xds;

use crate::error::{At, ConfigError};
use crate::grpc;
use crate::parse::honour;

/// Counts gRPC requests per cluster, service and method.
#[derive(Debug, Clone, Default)]
pub struct GrpcStats {
    /// Count per method, for every method.
    pub all_methods: bool,
    /// Count per method for these `(service, method)` only.
    pub allowlist: Vec<(Box<str>, Box<str>)>,
    /// `.` in service names becomes `_`.
    pub replace_dots: bool,
    /// Also count upstream latency.
    pub upstream_stats: bool,
}

impl GrpcStats {
    pub(super) fn parse(at: &At<'_>, proto: &xds::FilterConfig) -> Result<Self, ConfigError> {
        use xds::filter_config::PerMethodStatSpecifier as S;
        honour!(at, proto, xds::FilterConfig =>
            // Filter state would be for other filters and for access-log operators that are empty here.
            honour [enable_upstream_stats replace_dots_in_grpc_service_name per_method_stat_specifier]
            ignore [emit_filter_state]
            refuse []
        );
        let mut parsed = Self {
            replace_dots: proto.replace_dots_in_grpc_service_name,
            upstream_stats: proto.enable_upstream_stats,
            ..Self::default()
        };
        match &proto.per_method_stat_specifier {
            None => {}
            Some(S::StatsForAllMethods(all)) => parsed.all_methods = all.value,
            Some(S::IndividualMethodStatsAllowlist(list)) => {
                parsed.allowlist = list
                    .services
                    .iter()
                    .flat_map(|s| s.method_names.iter().map(move |m| (s.name.as_str().into(), m.as_str().into())))
                    .collect();
            }
        }
        Ok(parsed)
    }

    /// Service and method under which a request with this path is counted;
    /// `None`: under the cluster alone.
    pub fn names<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let (service, method) = grpc::service_and_method(path)?;
        let listed = || self.allowlist.iter().any(|(s, m)| **s == *service && **m == *method);
        (self.all_methods || listed()).then_some((service, method))
    }
}
