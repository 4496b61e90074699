//! DestinationRule.

use super::common::{CONNECTION_POOL, PORT_SELECTOR, SELECTOR};
use crate::schema::shape::{
    ANY, DURATION, DURATION_OR_ZERO, INT32, Is, PERCENT, Shape, TEXT, TEXT_MAP, TEXTS, UINT32, UINT64, nul, old, opt,
    req,
};

pub(super) static DESTINATION_RULE: Shape = Shape::new(&[
    opt("exportTo", TEXTS),
    req("host", TEXT),
    opt("subsets", Is::List(&Is::Map1(&SUBSET), 0, ANY)),
    opt("trafficPolicy", Is::Map1(&TRAFFIC_POLICY)),
    opt("workloadSelector", Is::Map1(&SELECTOR)),
]);

static SUBSET: Shape =
    Shape::new(&[opt("labels", TEXT_MAP), req("name", TEXT), opt("trafficPolicy", Is::Map1(&TRAFFIC_POLICY))]);

static TRAFFIC_POLICY: Shape = Shape::new(&[
    opt("connectionPool", Is::Map1(&CONNECTION_POOL)),
    opt("loadBalancer", Is::Map1(&LOAD_BALANCER)),
    opt("outlierDetection", Is::Map1(&OUTLIER_DETECTION)),
    opt("portLevelSettings", Is::List(&Is::Map1(&PORT_POLICY), 0, 4096)),
    opt("proxyProtocol", Is::Map1(&PROXY_PROTOCOL)),
    opt("retryBudget", Is::Map1(&RETRY_BUDGET)),
    opt("tls", Is::Map1(&CLIENT_TLS)),
    opt("tunnel", Is::Map1(&TUNNEL)),
]);

static PORT_POLICY: Shape = Shape::new(&[
    opt("connectionPool", Is::Map1(&CONNECTION_POOL)),
    opt("loadBalancer", Is::Map1(&LOAD_BALANCER)),
    opt("outlierDetection", Is::Map1(&OUTLIER_DETECTION)),
    opt("port", Is::Map1(&PORT_SELECTOR)),
    opt("tls", Is::Map1(&CLIENT_TLS)),
]);

static PROXY_PROTOCOL: Shape = Shape::new(&[opt("version", Is::Word(&["V1", "V2"]))]);
static RETRY_BUDGET: Shape =
    Shape::new(&[opt("budgetInterval", DURATION_OR_ZERO), opt("minRetryConcurrency", UINT32), nul("percent", PERCENT)]);
static TUNNEL: Shape = Shape::new(&[opt("protocol", TEXT), req("targetHost", TEXT), req("targetPort", UINT32)]);

static CLIENT_TLS: Shape = Shape::new(&[
    opt("caCertificates", TEXT),
    opt("caCrl", TEXT),
    opt("clientCertificate", TEXT),
    opt("credentialName", TEXT),
    nul("insecureSkipVerify", Is::Bool),
    opt("mode", Is::Word(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])),
    opt("privateKey", TEXT),
    opt("sni", TEXT),
    opt("subjectAltNames", TEXTS),
]);

static OUTLIER_DETECTION: Shape = Shape::new(&[
    opt("baseEjectionTime", DURATION),
    nul("consecutive5xxErrors", UINT32),
    old("consecutiveErrors", INT32, "consecutiveGatewayErrors or consecutive5xxErrors"),
    nul("consecutiveGatewayErrors", UINT32),
    nul("consecutiveLocalOriginFailures", UINT32),
    opt("interval", DURATION),
    opt("maxEjectionPercent", INT32),
    opt("minHealthPercent", INT32),
    opt("outlierDetectionHttpErrorCodes", Is::List(&Is::Int(100, 599), 0, ANY)),
    opt("splitExternalLocalOriginErrors", Is::Bool),
]);

static LOAD_BALANCER: Shape = Shape::new(&[
    opt("backendUtilization", Is::Map1(&BACKEND_UTILIZATION)),
    opt("consistentHash", Is::Map1(&CONSISTENT_HASH)),
    opt("localityLbSetting", Is::Map1(&LOCALITY)),
    opt("simple", Is::Word(&["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"])),
    opt("warmup", Is::Map1(&WARMUP)),
    old("warmupDurationSecs", DURATION, "warmup"),
    opt("zoneAwareLbSetting", Is::Map1(&ZONE_AWARE)),
])
.at_most_one(&[&["simple", "consistentHash", "backendUtilization"]]);

static BACKEND_UTILIZATION: Shape = Shape::new(&[
    opt("errorUtilizationPenaltyPercent", UINT32),
    opt("metricNamesForComputingUtilization", TEXTS),
    opt("weightExpirationPeriod", DURATION_OR_ZERO),
    opt("weightStabilizationPeriod", DURATION_OR_ZERO),
    opt("weightUpdatePeriod", DURATION_OR_ZERO),
]);

static CONSISTENT_HASH: Shape = Shape::new(&[
    opt("httpCookie", Is::Map1(&COOKIE)),
    opt("httpHeaderName", TEXT),
    opt("httpQueryParameterName", TEXT),
    opt("maglev", Is::Map1(&MAGLEV)),
    old("minimumRingSize", UINT64, "ringHash.minimumRingSize"),
    opt("ringHash", Is::Map1(&RING_HASH)),
    opt("useSourceIp", Is::Bool),
])
.at_most_one(&[&["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"], &["ringHash", "maglev"]]);

static COOKIE: Shape = Shape::new(&[
    opt("attributes", Is::List(&Is::Map1(&COOKIE_ATTRIBUTE), 0, ANY)),
    req("name", TEXT),
    opt("path", TEXT),
    opt("ttl", DURATION_OR_ZERO),
]);
static COOKIE_ATTRIBUTE: Shape = Shape::new(&[req("name", TEXT), opt("value", TEXT)]);
static MAGLEV: Shape = Shape::new(&[opt("tableSize", UINT64)]);
static RING_HASH: Shape = Shape::new(&[opt("minimumRingSize", UINT64)]);

static LOCALITY: Shape = Shape::new(&[
    opt("distribute", Is::List(&Is::Map1(&DISTRIBUTE), 0, ANY)),
    nul("enabled", Is::Bool),
    opt("failover", Is::List(&Is::Map1(&FAILOVER), 0, ANY)),
    opt("failoverPriority", TEXTS),
]);
static DISTRIBUTE: Shape = Shape::new(&[opt("from", TEXT), opt("to", Is::Map(&UINT32, 0, ANY))]);
static FAILOVER: Shape = Shape::new(&[opt("from", TEXT), opt("to", TEXT)]);

static ZONE_AWARE: Shape = Shape::new(&[
    nul("enabled", Is::Bool),
    opt("failover", Is::List(&Is::Map1(&FAILOVER), 0, ANY)),
    opt("failoverPriority", TEXTS),
    nul("minClusterSize", Is::Int(1, u32::MAX as i64)),
]);

static WARMUP: Shape = Shape::new(&[
    nul("aggression", Is::Number(0.0, f64::MAX)),
    req("duration", DURATION),
    nul("minimumPercent", PERCENT),
]);
