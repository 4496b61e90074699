//! Telemetry and ProxyConfig.

use super::common::{PROVIDERS, SELECTOR, TARGET, TARGETS};
use crate::schema::shape::{ANY, DURATION, FILLED, Is, PERCENT, Shape, TEXT, nul, opt, req};

pub(super) static TELEMETRY: Shape = Shape::new(&[
    opt("accessLogging", Is::List(&Is::Map1(&ACCESS_LOGGING), 0, ANY)),
    opt("metrics", Is::List(&Is::Map1(&METRICS), 0, ANY)),
    opt("selector", Is::Map1(&SELECTOR)),
    opt("targetRef", TARGET),
    opt("targetRefs", TARGETS),
    opt("tracing", Is::List(&Is::Map1(&TRACING), 0, ANY)),
]);

const MODE: Is = Is::Word(&["CLIENT_AND_SERVER", "CLIENT", "SERVER"]);
static MODE_MATCH: Shape = Shape::new(&[opt("mode", MODE)]);

static ACCESS_LOGGING: Shape = Shape::new(&[
    nul("disabled", Is::Bool),
    opt("filter", Is::Map1(&FILTER)),
    opt("match", Is::Map1(&MODE_MATCH)),
    opt("providers", PROVIDERS),
]);
static FILTER: Shape = Shape::new(&[opt("expression", TEXT)]);

static METRICS: Shape = Shape::new(&[
    opt("overrides", Is::List(&Is::Map1(&OVERRIDE), 0, ANY)),
    opt("providers", PROVIDERS),
    opt("reportingInterval", DURATION),
]);
static OVERRIDE: Shape = Shape::new(&[
    nul("disabled", Is::Bool),
    opt("match", Is::Map1(&METRIC_MATCH)),
    opt("tagOverrides", Is::Map(&Is::Map1(&TAG_OVERRIDE), 0, ANY)),
]);
static TAG_OVERRIDE: Shape = Shape::new(&[opt("operation", Is::Word(&["UPSERT", "REMOVE"])), opt("value", TEXT)]);
static METRIC_MATCH: Shape = Shape::new(&[
    opt("customMetric", FILLED),
    opt(
        "metric",
        Is::Word(&[
            "ALL_METRICS",
            "REQUEST_COUNT",
            "REQUEST_DURATION",
            "REQUEST_SIZE",
            "RESPONSE_SIZE",
            "TCP_OPENED_CONNECTIONS",
            "TCP_CLOSED_CONNECTIONS",
            "TCP_SENT_BYTES",
            "TCP_RECEIVED_BYTES",
            "GRPC_REQUEST_MESSAGES",
            "GRPC_RESPONSE_MESSAGES",
        ]),
    ),
    opt("mode", MODE),
])
.at_most_one(&[&["metric", "customMetric"]]);

static TRACING: Shape = Shape::new(&[
    opt("customTags", Is::Map(&Is::Map1(&CUSTOM_TAG), 0, ANY)),
    nul("disableContextPropagation", Is::Bool),
    nul("disableSpanReporting", Is::Bool),
    nul("enableIstioTags", Is::Bool),
    opt("match", Is::Map1(&MODE_MATCH)),
    opt("providers", PROVIDERS),
    nul("randomSamplingPercentage", PERCENT),
    nul("useRequestIdForTraceSampling", Is::Bool),
]);
static CUSTOM_TAG: Shape = Shape::new(&[
    opt("environment", Is::Map1(&NAMED_TAG)),
    opt("formatter", Is::Map1(&VALUE_TAG)),
    opt("header", Is::Map1(&NAMED_TAG)),
    opt("literal", Is::Map1(&VALUE_TAG)),
])
.at_most_one(&[&["literal", "environment", "header", "formatter"]]);
static NAMED_TAG: Shape = Shape::new(&[opt("defaultValue", TEXT), req("name", FILLED)]);
static VALUE_TAG: Shape = Shape::new(&[req("value", FILLED)]);

pub(super) static PROXY_CONFIG: Shape = Shape::new(&[
    nul("concurrency", Is::Int(0, i32::MAX as i64)),
    opt("environmentVariables", Is::Map(&Is::Text(0, 2048), 0, ANY)),
    opt("image", Is::Map1(&IMAGE)),
    opt("selector", Is::Map1(&SELECTOR)),
]);
static IMAGE: Shape = Shape::new(&[opt("imageType", TEXT)]);
