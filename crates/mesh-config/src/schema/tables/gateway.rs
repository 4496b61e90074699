//! Gateway and Sidecar: what listens.

use super::common::{CONNECTION_POOL, DESTINATION, SERVER_TLS, WORKLOAD_SELECTOR};
use crate::schema::shape::{ANY, Is, Shape, TEXT, TEXT_MAP, TEXTS, UINT32, opt, req};

pub(super) static GATEWAY: Shape =
    Shape::new(&[opt("selector", TEXT_MAP), opt("servers", Is::List(&Is::Map1(&SERVER), 0, ANY))]);

static SERVER: Shape = Shape::new(&[
    opt("bind", TEXT),
    opt("defaultEndpoint", TEXT),
    req("hosts", TEXTS),
    opt("name", TEXT),
    req("port", Is::Map1(&SERVER_PORT)),
    opt("tls", Is::Map1(&SERVER_TLS)),
]);

static SERVER_PORT: Shape =
    Shape::new(&[req("name", TEXT), req("number", UINT32), req("protocol", TEXT), opt("targetPort", UINT32)]);

pub(super) static SIDECAR: Shape = Shape::new(&[
    opt("egress", Is::List(&Is::Map1(&EGRESS), 0, ANY)),
    opt("inboundConnectionPool", Is::Map1(&CONNECTION_POOL)),
    opt("ingress", Is::List(&Is::Map1(&INGRESS), 0, ANY)),
    opt("outboundTrafficPolicy", Is::Map1(&OUTBOUND)),
    opt("workloadSelector", Is::Map1(&WORKLOAD_SELECTOR)),
]);

const CAPTURE: Is = Is::Word(&["DEFAULT", "IPTABLES", "NONE"]);

static EGRESS: Shape = Shape::new(&[
    opt("bind", TEXT),
    opt("captureMode", CAPTURE),
    req("hosts", TEXTS),
    opt("port", Is::Map1(&SIDECAR_PORT)),
]);

static INGRESS: Shape = Shape::new(&[
    opt("bind", TEXT),
    opt("captureMode", CAPTURE),
    opt("connectionPool", Is::Map1(&CONNECTION_POOL)),
    opt("defaultEndpoint", TEXT),
    req("port", Is::Map1(&SIDECAR_PORT)),
    opt("tls", Is::Map1(&SERVER_TLS)),
]);

static SIDECAR_PORT: Shape =
    Shape::new(&[opt("name", TEXT), opt("number", UINT32), opt("protocol", TEXT), opt("targetPort", UINT32)]);

static OUTBOUND: Shape =
    Shape::new(&[opt("egressProxy", Is::Map1(&DESTINATION)), opt("mode", Is::Word(&["REGISTRY_ONLY", "ALLOW_ANY"]))]);
