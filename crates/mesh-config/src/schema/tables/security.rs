//! AuthorizationPolicy, PeerAuthentication and RequestAuthentication.

use super::common::{SELECTOR, TARGET, TARGETS};
use crate::schema::shape::{ANY, DURATION, FILLED, Form, Is, Shape, TEXT, TEXTS, opt, req};

pub(super) static AUTHORIZATION_POLICY: Shape = Shape::new(&[
    opt("action", Is::Word(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
    opt("provider", Is::Map1(&PROVIDER)),
    opt("rules", Is::List(&Is::Map1(&RULE), 0, 512)),
    opt("selector", Is::Map1(&SELECTOR)),
    opt("targetRef", TARGET),
    opt("targetRefs", TARGETS),
]);

static PROVIDER: Shape = Shape::new(&[opt("name", TEXT)]);

static RULE: Shape = Shape::new(&[
    opt("from", Is::List(&Is::Map1(&FROM), 0, 512)),
    opt("to", Is::List(&Is::Map1(&TO), 0, ANY)),
    opt("when", Is::List(&Is::Map1(&WHEN), 0, ANY)),
]);
static FROM: Shape = Shape::new(&[opt("source", Is::Map1(&SOURCE))]);
static TO: Shape = Shape::new(&[opt("operation", Is::Map1(&OPERATION))]);
static WHEN: Shape = Shape::new(&[req("key", TEXT), opt("notValues", TEXTS), opt("values", TEXTS)]);

const ACCOUNTS: Is = Is::List(&Is::Text(0, 320), 0, 16);

static SOURCE: Shape = Shape::new(&[
    opt("ipBlocks", TEXTS),
    opt("namespaces", TEXTS),
    opt("notIpBlocks", TEXTS),
    opt("notNamespaces", TEXTS),
    opt("notPrincipals", TEXTS),
    opt("notRemoteIpBlocks", TEXTS),
    opt("notRequestPrincipals", TEXTS),
    opt("notServiceAccounts", ACCOUNTS),
    opt("notTrustDomains", TEXTS),
    opt("principals", TEXTS),
    opt("remoteIpBlocks", TEXTS),
    opt("requestPrincipals", TEXTS),
    opt("serviceAccounts", ACCOUNTS),
    opt("trustDomains", TEXTS),
]);

static OPERATION: Shape = Shape::new(&[
    opt("hosts", TEXTS),
    opt("methods", TEXTS),
    opt("notHosts", TEXTS),
    opt("notMethods", TEXTS),
    opt("notPaths", TEXTS),
    opt("notPorts", TEXTS),
    opt("paths", TEXTS),
    opt("ports", TEXTS),
]);

pub(super) static PEER_AUTHENTICATION: Shape = Shape::new(&[
    opt("mtls", Is::Map1(&MTLS)),
    opt("portLevelMtls", Is::Map(&Is::Map1(&MTLS), 1, ANY)),
    opt("selector", Is::Map1(&SELECTOR)),
]);
static MTLS: Shape = Shape::new(&[opt("mode", Is::Word(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]))]);

pub(super) static REQUEST_AUTHENTICATION: Shape = Shape::new(&[
    opt("jwtRules", Is::List(&Is::Map1(&JWT_RULE), 0, 4096)),
    opt("selector", Is::Map1(&SELECTOR)),
    opt("targetRef", TARGET),
    opt("targetRefs", TARGETS),
]);

const FILLED_TEXTS: Is = Is::List(&FILLED, 0, ANY);
const JWKS_URI: Is = Is::Text(1, 2048);

static JWT_RULE: Shape = Shape::new(&[
    opt("audiences", FILLED_TEXTS),
    opt("forwardOriginalToken", Is::Bool),
    opt("fromCookies", FILLED_TEXTS),
    opt("fromHeaders", Is::List(&Is::Map1(&JWT_HEADER), 0, ANY)),
    opt("fromParams", FILLED_TEXTS),
    opt("issuer", FILLED),
    opt("jwks", TEXT),
    opt("jwks_uri", JWKS_URI),
    opt("jwksUri", JWKS_URI),
    opt("outputClaimToHeaders", Is::List(&Is::Map1(&CLAIM_TO_HEADER), 0, ANY)),
    opt("outputPayloadToHeader", TEXT),
    opt("presence", Is::Word(&["OPTIONAL", "REQUIRED"])),
    opt("spaceDelimitedClaims", Is::List(&FILLED, 0, 64)),
    opt("timeout", DURATION),
])
.at_most_one(&[&["jwksUri", "jwks_uri", "jwks"]]);
static JWT_HEADER: Shape = Shape::new(&[req("name", FILLED), opt("prefix", TEXT)]);
static CLAIM_TO_HEADER: Shape = Shape::new(&[req("claim", FILLED), req("header", Is::Form(Form::Header))]);
