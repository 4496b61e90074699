//! EnvoyFilter.

use super::common::{TARGETS, WORKLOAD_SELECTOR};
use crate::schema::shape::{ANY, INT32, Is, PORT, Shape, TEXT, TEXT_MAP, UINT32, opt};

pub(super) static ENVOY_FILTER: Shape = Shape::new(&[
    opt("configPatches", Is::List(&Is::Map1(&CONFIG_PATCH), 0, ANY)),
    opt("priority", INT32),
    opt("targetRefs", TARGETS),
    opt("workloadSelector", Is::Map1(&WORKLOAD_SELECTOR)),
]);

static CONFIG_PATCH: Shape = Shape::new(&[
    opt(
        "applyTo",
        Is::Word(&[
            "INVALID",
            "LISTENER",
            "FILTER_CHAIN",
            "NETWORK_FILTER",
            "HTTP_FILTER",
            "ROUTE_CONFIGURATION",
            "VIRTUAL_HOST",
            "HTTP_ROUTE",
            "CLUSTER",
            "EXTENSION_CONFIG",
            "BOOTSTRAP",
            "LISTENER_FILTER",
        ]),
    ),
    opt("match", Is::Map1(&MATCH)),
    opt("patch", Is::Map1(&PATCH)),
]);

static PATCH: Shape = Shape::new(&[
    opt("filterClass", Is::Word(&["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"])),
    opt(
        "operation",
        Is::Word(&[
            "INVALID",
            "MERGE",
            "ADD",
            "REMOVE",
            "INSERT_BEFORE",
            "INSERT_AFTER",
            "INSERT_FIRST",
            "REPLACE",
            "MERGE_AND_REPLACE_LIST",
        ]),
    ),
    opt("value", Is::Free),
]);

static MATCH: Shape = Shape::new(&[
    opt("cluster", Is::Map1(&CLUSTER)),
    opt("context", Is::Word(&["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"])),
    opt("listener", Is::Map1(&LISTENER)),
    opt("proxy", Is::Map1(&PROXY)),
    opt("routeConfiguration", Is::Map1(&ROUTE_CONFIGURATION)),
    opt("waypoint", Is::Map1(&WAYPOINT)),
])
.at_most_one(&[&["listener", "routeConfiguration", "cluster", "waypoint"]]);

static CLUSTER: Shape =
    Shape::new(&[opt("name", TEXT), opt("portNumber", UINT32), opt("service", TEXT), opt("subset", TEXT)]);
static PROXY: Shape = Shape::new(&[opt("metadata", TEXT_MAP), opt("proxyVersion", TEXT)]);

static LISTENER: Shape = Shape::new(&[
    opt("filterChain", Is::Map1(&FILTER_CHAIN)),
    opt("listenerFilter", TEXT),
    opt("name", TEXT),
    opt("portName", TEXT),
    opt("portNumber", UINT32),
]);
static FILTER_CHAIN: Shape = Shape::new(&[
    opt("applicationProtocols", TEXT),
    opt("destinationPort", UINT32),
    opt("filter", Is::Map1(&FILTER)),
    opt("name", TEXT),
    opt("sni", TEXT),
    opt("transportProtocol", TEXT),
    opt("transportSocket", TEXT),
]);
static FILTER: Shape = Shape::new(&[opt("name", TEXT), opt("subFilter", Is::Map1(&NAMED))]);
static NAMED: Shape = Shape::new(&[opt("name", TEXT)]);

static ROUTE_CONFIGURATION: Shape = Shape::new(&[
    opt("gateway", TEXT),
    opt("name", TEXT),
    opt("portName", TEXT),
    opt("portNumber", UINT32),
    opt("vhost", Is::Map1(&VHOST)),
]);
static VHOST: Shape = Shape::new(&[opt("domainName", TEXT), opt("name", TEXT), opt("route", Is::Map1(&ROUTE))]);
static ROUTE: Shape =
    Shape::new(&[opt("action", Is::Word(&["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"])), opt("name", TEXT)]);

static WAYPOINT: Shape =
    Shape::new(&[opt("filter", Is::Map1(&FILTER)), opt("portNumber", PORT), opt("route", Is::Map1(&NAMED))]);
