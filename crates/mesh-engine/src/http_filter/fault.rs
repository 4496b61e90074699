//! Fault injection: requests are delayed or answered with an error.

use std::time::Duration;

use http::StatusCode;
use mesh_proto::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier as Delay;
use mesh_proto::envoy::extensions::filters::http::fault::v3 as xds;
use rand::RngCore;

use super::RequestDecision;
use crate::error::{At, ConfigError};
use crate::flags::ResponseFlags;
use crate::grpc;
use crate::hcm::LocalReply;
use crate::matcher::HeaderMatcher;
use crate::parse::{self, honour};
use crate::route::{Matched, RequestView};

/// A parsed `HttpFault`. Shares are in parts per million.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    /// How long, for which share.
    pub delay: Option<(Duration, u32)>,
    /// With what, for which share.
    pub abort: Option<(Abort, u32)>,
    /// Only for this cluster.
    pub upstream_cluster: Option<Box<str>>,
    /// Only for requests that match all of these.
    pub headers: Vec<HeaderMatcher>,
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub struct Abort {
    /// HTTP status.
    pub status: StatusCode,
    /// gRPC status, if the rule names one.
    pub grpc_status: Option<u32>,
    /// Body.
    pub body: bytes::Bytes,
}

impl Fault {
    pub(super) fn parse(at: &At<'_>, proto: &xds::HttpFault) -> Result<Self, ConfigError> {
        honour!(at, proto, xds::HttpFault =>
            honour [delay abort upstream_cluster headers]
            // Keys of a runtime that there is not; statistics and metadata.
            ignore [
                delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime
                max_active_faults_runtime response_rate_limit_percent_runtime abort_grpc_status_runtime
                disable_downstream_cluster_stats filter_metadata
            ]
            refuse [downstream_nodes max_active_faults response_rate_limit]
        );
        let headers: Result<_, ConfigError> =
            proto.headers.iter().enumerate().map(|(i, h)| HeaderMatcher::parse(&at.index("headers", i), h)).collect();
        Ok(Self {
            delay: delay(&at.field("delay"), proto.delay.as_ref())?,
            abort: abort(&at.field("abort"), proto.abort.as_ref())?,
            upstream_cluster: (!proto.upstream_cluster.is_empty()).then(|| proto.upstream_cluster.as_str().into()),
            headers: headers?,
        })
    }

    pub(super) fn inject(
        &self,
        request: &RequestView<'_>,
        matched: &Matched,
        rng: &mut impl RngCore,
        decision: &mut RequestDecision,
    ) {
        if self.delay.is_none() && self.abort.is_none() {
            return;
        }
        let other_cluster = |wanted: &str| matched.cluster(request.headers) != Some(wanted);
        if self.upstream_cluster.as_deref().is_some_and(other_cluster)
            || !self.headers.iter().all(|h| h.matches(request))
        {
            return;
        }
        let mut drawn = |ppm: u32| rng.next_u32() % 1_000_000 < ppm;
        if let Some((delay, ppm)) = self.delay
            && drawn(ppm)
        {
            decision.delay = Some(decision.delay.unwrap_or_default() + delay);
        }
        if let Some((abort, ppm)) = &self.abort
            && drawn(*ppm)
        {
            let flags = ResponseFlags::FAULT_INJECTED;
            let mut reply = LocalReply::new(abort.status, abort.body.clone(), flags, "fault_filter_abort");
            reply.grpc_status = abort.grpc_status;
            decision.reply = Some(reply);
        }
    }
}

fn delay(
    at: &At<'_>,
    proto: Option<&mesh_proto::envoy::extensions::filters::common::fault::v3::FaultDelay>,
) -> Result<Option<(Duration, u32)>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    let duration = match &proto.fault_delay_secifier {
        Some(Delay::FixedDelay(fixed)) => parse::positive_duration(at, "fixed_delay", Some(fixed))?,
        Some(Delay::HeaderDelay(_)) => return Err(at.field("header_delay").unsupported()),
        None => return Err(at.missing("fixed_delay")),
    };
    Ok(duration.zip(share(at, proto.percentage.as_ref())?))
}

fn abort(at: &At<'_>, proto: Option<&xds::FaultAbort>) -> Result<Option<(Abort, u32)>, ConfigError> {
    use xds::fault_abort::ErrorType as E;
    let Some(proto) = proto else { return Ok(None) };
    let bytes = if proto.response_body.is_empty() { "fault filter abort" } else { &proto.response_body };
    let body = bytes::Bytes::from(bytes.to_owned());
    let abort = match &proto.error_type {
        Some(E::HttpStatus(code)) => {
            let status = u16::try_from(*code).ok().filter(|c| (200..600).contains(c));
            let status = status.and_then(|c| StatusCode::from_u16(c).ok());
            let status = status.ok_or_else(|| at.field("http_status").invalid(code, "200 to 599"))?;
            Abort { status, grpc_status: None, body }
        }
        Some(E::GrpcStatus(code)) => {
            let status = StatusCode::from_u16(grpc::http_from_status(*code)).unwrap_or(StatusCode::OK);
            Abort { status, grpc_status: Some(*code), body }
        }
        Some(E::HeaderAbort(_)) => return Err(at.field("header_abort").unsupported()),
        None => return Err(at.missing("http_status or grpc_status")),
    };
    Ok(Some(abort).zip(share(at, proto.percentage.as_ref())?))
}

fn share(
    at: &At<'_>,
    value: Option<&mesh_proto::envoy::r#type::v3::FractionalPercent>,
) -> Result<Option<u32>, ConfigError> {
    match value {
        None => Ok(Some(0)),
        Some(value) => parse::parts_per_million(&at.field("percentage"), value).map(Some),
    }
}
