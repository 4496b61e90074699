//! ServiceEntry, WorkloadEntry and WorkloadGroup.

use super::common::WORKLOAD_SELECTOR;
use crate::schema::shape::{ANY, FILLED, Form, Is, PORT, Shape, TEXT, TEXTS, UINT32, opt, req};

pub(super) static SERVICE_ENTRY: Shape = Shape::new(&[
    opt("addresses", Is::List(&Is::Text(0, 64), 0, 256)),
    opt("endpoints", Is::List(&Is::Map1(&WORKLOAD_ENTRY), 0, 4096)),
    opt("exportTo", TEXTS),
    req("hosts", Is::List(&TEXT, 1, 256)),
    opt("location", Is::Word(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
    opt("ports", Is::Keyed(&Is::Map1(&SERVICE_PORT), 256, "name")),
    opt("resolution", Is::Word(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])),
    opt("subjectAltNames", TEXTS),
    opt("workloadSelector", Is::Map1(&WORKLOAD_SELECTOR)),
]);

static SERVICE_PORT: Shape = Shape::new(&[
    req("name", Is::Text(0, 256)),
    req("number", PORT),
    opt("protocol", Is::Text(0, 256)),
    opt("targetPort", PORT),
]);

pub(super) static WORKLOAD_ENTRY: Shape = Shape::new(&[
    opt("address", Is::Text(0, 256)),
    opt("labels", Is::Map(&TEXT, 0, 256)),
    opt("locality", Is::Text(0, 2048)),
    opt("network", Is::Text(0, 2048)),
    opt("ports", Is::Map(&PORT, 0, 128)),
    opt("serviceAccount", Is::Text(0, 253)),
    opt("weight", UINT32),
]);

pub(super) static WORKLOAD_GROUP: Shape = Shape::new(&[
    opt("metadata", Is::Map1(&METADATA)),
    opt("probe", Is::Map1(&PROBE)),
    req("template", Is::Map1(&WORKLOAD_ENTRY)),
]);

static METADATA: Shape =
    Shape::new(&[opt("annotations", Is::Map(&TEXT, 0, 256)), opt("labels", Is::Map(&TEXT, 0, 256))]);

/// Seconds and counts of a probe.
const COUNT: Is = Is::Int(0, i32::MAX as i64);

static PROBE: Shape = Shape::new(&[
    opt("exec", Is::Map1(&EXEC)),
    opt("failureThreshold", COUNT),
    opt("grpc", Is::Map1(&GRPC)),
    opt("httpGet", Is::Map1(&HTTP_GET)),
    opt("initialDelaySeconds", COUNT),
    opt("periodSeconds", COUNT),
    opt("successThreshold", COUNT),
    opt("tcpSocket", Is::Map1(&TCP_SOCKET)),
    opt("timeoutSeconds", COUNT),
])
.at_most_one(&[&["httpGet", "tcpSocket", "exec", "grpc"]]);

static EXEC: Shape = Shape::new(&[req("command", Is::List(&FILLED, 0, ANY))]);
static GRPC: Shape = Shape::new(&[opt("port", PORT), opt("service", TEXT)]);
static TCP_SOCKET: Shape = Shape::new(&[opt("host", TEXT), req("port", PORT)]);
static HTTP_GET: Shape = Shape::new(&[
    opt("host", TEXT),
    opt("httpHeaders", Is::List(&Is::Map1(&PROBE_HEADER), 0, ANY)),
    opt("path", TEXT),
    req("port", PORT),
    opt("scheme", Is::Word(&["", "HTTP", "HTTPS"])),
]);
static PROBE_HEADER: Shape = Shape::new(&[opt("name", Is::Form(Form::Header)), opt("value", TEXT)]);
