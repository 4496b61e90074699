//! VirtualService.

use super::common::DESTINATION;
use crate::schema::shape::{
    ANY, DURATION, Form, INT32, Is, NUMBER, Shape, TEXT, TEXT_MAP, TEXTS, UINT32, nul, old, opt, req,
};

pub(super) static VIRTUAL_SERVICE: Shape = Shape::new(&[
    opt("exportTo", TEXTS),
    opt("gateways", TEXTS),
    opt("hosts", TEXTS),
    opt("http", Is::List(&Is::Map1(&HTTP), 0, ANY)),
    opt("tcp", Is::List(&Is::Map1(&TCP), 0, ANY)),
    opt("tls", Is::List(&Is::Map1(&TLS), 0, ANY)),
]);

static HTTP: Shape = Shape::new(&[
    opt("corsPolicy", Is::Map1(&CORS)),
    opt("delegate", Is::Map1(&DELEGATE)),
    opt("directResponse", Is::Map1(&DIRECT_RESPONSE)),
    opt("fault", Is::Map1(&FAULT)),
    opt("headers", Is::Map1(&HEADERS)),
    opt("match", Is::List(&Is::Map1(&HTTP_MATCH), 0, ANY)),
    opt("mirror", Is::Map1(&DESTINATION)),
    old("mirror_percent", UINT32, "mirrorPercentage"),
    old("mirrorPercent", UINT32, "mirrorPercentage"),
    opt("mirrorPercentage", Is::Map1(&PERCENTAGE)),
    opt("mirrors", Is::List(&Is::Map1(&MIRROR), 0, ANY)),
    opt("name", TEXT),
    opt("redirect", Is::Map1(&REDIRECT)),
    opt("retries", Is::Map1(&RETRIES)),
    opt("rewrite", Is::Map1(&REWRITE)),
    opt("route", Is::List(&Is::Map1(&HTTP_ROUTE), 0, ANY)),
    opt("timeout", DURATION),
]);

static STRING_MATCH: Shape = Shape::new(&[opt("exact", TEXT), opt("prefix", TEXT), opt("regex", TEXT)])
    .at_most_one(&[&["exact", "prefix", "regex"]]);
const MATCH: Is = Is::Map1(&STRING_MATCH);
const MATCHES: Is = Is::Map(&MATCH, 0, ANY);

static HTTP_MATCH: Shape = Shape::new(&[
    opt("authority", MATCH),
    opt("gateways", TEXTS),
    opt("headers", MATCHES),
    opt("ignoreUriCase", Is::Bool),
    opt("method", MATCH),
    opt("name", TEXT),
    opt("port", UINT32),
    opt("queryParams", MATCHES),
    opt("scheme", MATCH),
    opt("sourceLabels", TEXT_MAP),
    opt("sourceNamespace", TEXT),
    opt("statPrefix", TEXT),
    opt("uri", MATCH),
    opt("withoutHeaders", MATCHES),
]);

static CORS: Shape = Shape::new(&[
    nul("allowCredentials", Is::Bool),
    opt("allowHeaders", TEXTS),
    opt("allowMethods", TEXTS),
    old("allowOrigin", TEXTS, "allowOrigins"),
    opt("allowOrigins", Is::List(&MATCH, 0, ANY)),
    opt("exposeHeaders", TEXTS),
    opt("maxAge", DURATION),
    opt("unmatchedPreflights", Is::Word(&["UNSPECIFIED", "FORWARD", "IGNORE"])),
]);

static DELEGATE: Shape = Shape::new(&[opt("name", TEXT), opt("namespace", TEXT)]);

static DIRECT_RESPONSE: Shape = Shape::new(&[opt("body", Is::Map1(&BODY)), req("status", UINT32)]);
static BODY: Shape =
    Shape::new(&[opt("bytes", Is::Form(Form::Base64)), opt("string", TEXT)]).at_most_one(&[&["string", "bytes"]]);

static FAULT: Shape = Shape::new(&[opt("abort", Is::Map1(&ABORT)), opt("delay", Is::Map1(&DELAY))]);
static ABORT: Shape = Shape::new(&[
    opt("grpcStatus", TEXT),
    opt("http2Error", TEXT),
    opt("httpStatus", INT32),
    opt("percentage", Is::Map1(&PERCENTAGE)),
])
.at_most_one(&[&["httpStatus", "grpcStatus", "http2Error"]]);
static DELAY: Shape = Shape::new(&[
    opt("exponentialDelay", DURATION),
    opt("fixedDelay", DURATION),
    old("percent", INT32, "percentage"),
    opt("percentage", Is::Map1(&PERCENTAGE)),
])
.at_most_one(&[&["fixedDelay", "exponentialDelay"]]);
static PERCENTAGE: Shape = Shape::new(&[opt("value", NUMBER)]);

static HEADERS: Shape = Shape::new(&[opt("request", Is::Map1(&OPERATIONS)), opt("response", Is::Map1(&OPERATIONS))]);
static OPERATIONS: Shape = Shape::new(&[opt("add", TEXT_MAP), opt("remove", TEXTS), opt("set", TEXT_MAP)]);

static MIRROR: Shape =
    Shape::new(&[req("destination", Is::Map1(&DESTINATION)), opt("percentage", Is::Map1(&PERCENTAGE))]);

static REDIRECT: Shape = Shape::new(&[
    opt("authority", TEXT),
    opt("derivePort", Is::Word(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])),
    opt("port", UINT32),
    opt("prefixRewrite", TEXT),
    opt("redirectCode", UINT32),
    opt("scheme", TEXT),
    opt("uri", TEXT),
])
.at_most_one(&[&["port", "derivePort"]]);

static RETRIES: Shape = Shape::new(&[
    opt("attempts", INT32),
    opt("backoff", DURATION),
    opt("perTryTimeout", DURATION),
    nul("retryIgnorePreviousHosts", Is::Bool),
    opt("retryOn", TEXT),
    nul("retryRemoteLocalities", Is::Bool),
]);

static REWRITE: Shape =
    Shape::new(&[opt("authority", TEXT), opt("uri", TEXT), opt("uriRegexRewrite", Is::Map1(&REGEX_REWRITE))]);
static REGEX_REWRITE: Shape = Shape::new(&[opt("match", TEXT), opt("rewrite", TEXT)]);

static HTTP_ROUTE: Shape =
    Shape::new(&[req("destination", Is::Map1(&DESTINATION)), opt("headers", Is::Map1(&HEADERS)), opt("weight", INT32)]);

static ROUTE: Shape = Shape::new(&[req("destination", Is::Map1(&DESTINATION)), opt("weight", INT32)]);

static TCP: Shape = Shape::new(&[
    opt("match", Is::List(&Is::Map1(&TCP_MATCH), 0, ANY)),
    opt("route", Is::List(&Is::Map1(&ROUTE), 0, ANY)),
]);
static TCP_MATCH: Shape = Shape::new(&[
    opt("destinationSubnets", TEXTS),
    opt("gateways", TEXTS),
    opt("port", UINT32),
    opt("sourceLabels", TEXT_MAP),
    opt("sourceNamespace", TEXT),
    old("sourceSubnet", TEXT, "an AuthorizationPolicy"),
]);

static TLS: Shape = Shape::new(&[
    req("match", Is::List(&Is::Map1(&TLS_MATCH), 0, ANY)),
    opt("route", Is::List(&Is::Map1(&ROUTE), 0, ANY)),
]);
static TLS_MATCH: Shape = Shape::new(&[
    opt("destinationSubnets", TEXTS),
    opt("gateways", TEXTS),
    opt("port", UINT32),
    req("sniHosts", TEXTS),
    opt("sourceLabels", TEXT_MAP),
    opt("sourceNamespace", TEXT),
]);
