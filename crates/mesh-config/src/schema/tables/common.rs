//! Parts that several kinds share.

use crate::schema::shape::{
    ANY, DURATION, DURATION_OR_ZERO, FILLED, Form, INT32, Is, Shape, TEXT, TEXTS, UINT32, nul, opt, req,
};

/// `selector`: workloads by their labels.
pub(super) static SELECTOR: Shape = Shape::new(&[opt("matchLabels", Is::Map(&Is::Text(0, 63), 0, 4096))]);

/// `workloadSelector` of the older kinds.
pub(super) static WORKLOAD_SELECTOR: Shape = Shape::new(&[opt("labels", Is::Map(&Is::Text(0, 63), 0, 256))]);

static TARGET_REF: Shape = Shape::new(&[
    opt("group", Is::Form(Form::Group)),
    req("kind", Is::Form(Form::Kind)),
    req("name", Is::Text(1, 253)),
    opt("namespace", TEXT),
]);
/// `targetRef`
pub(super) const TARGET: Is = Is::Map1(&TARGET_REF);
/// `targetRefs`
pub(super) const TARGETS: Is = Is::List(&TARGET, 0, 16);

/// `http` and `tcp` of `connectionPool`.
pub(super) static CONNECTION_POOL: Shape = Shape::new(&[opt("http", Is::Map1(&HTTP)), opt("tcp", Is::Map1(&TCP))]);

static HTTP: Shape = Shape::new(&[
    opt("h2UpgradePolicy", Is::Word(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])),
    opt("http1MaxPendingRequests", INT32),
    opt("http2KeepAlive", Is::Map1(&HTTP2_KEEP_ALIVE)),
    opt("http2MaxRequests", INT32),
    opt("idleTimeout", DURATION),
    opt("maxConcurrentStreams", INT32),
    opt("maxRequestsPerConnection", INT32),
    opt("maxRetries", INT32),
    opt("useClientProtocol", Is::Bool),
]);

static HTTP2_KEEP_ALIVE: Shape = Shape::new(&[opt("interval", DURATION), opt("timeout", DURATION)]);

static TCP: Shape = Shape::new(&[
    opt("connectTimeout", DURATION),
    opt("idleTimeout", DURATION_OR_ZERO),
    opt("maxConnectionDuration", DURATION),
    opt("maxConnections", INT32),
    opt("tcpKeepalive", Is::Map1(&TCP_KEEPALIVE)),
]);

static TCP_KEEPALIVE: Shape = Shape::new(&[opt("interval", DURATION), opt("probes", UINT32), opt("time", DURATION)]);

/// `tls` of a server.
pub(super) static SERVER_TLS: Shape = Shape::new(&[
    opt("caCertCredentialName", TEXT),
    opt("caCertificates", TEXT),
    opt("caCrl", TEXT),
    opt("cipherSuites", TEXTS),
    opt("credentialName", TEXT),
    opt("credentialNames", Is::List(&TEXT, 1, 2)),
    opt("ecdhCurves", TEXTS),
    opt("httpsRedirect", Is::Bool),
    nul("insecureSkipVerify", Is::Bool),
    opt("maxProtocolVersion", TLS_VERSION),
    opt("minProtocolVersion", TLS_VERSION),
    opt("mode", Is::Word(&["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"])),
    opt("privateKey", TEXT),
    opt("serverCertificate", TEXT),
    opt("subjectAltNames", TEXTS),
    opt("tlsCertificates", Is::List(&Is::Map1(&TLS_CERTIFICATE), 1, 2)),
    opt("verifyCertificateHash", TEXTS),
    opt("verifyCertificateSpki", TEXTS),
])
.at_most_one(&[&["tlsCertificates", "credentialNames"], &["credentialName", "credentialNames"]]);

const TLS_VERSION: Is = Is::Word(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);

static TLS_CERTIFICATE: Shape =
    Shape::new(&[opt("caCertificates", TEXT), opt("privateKey", TEXT), opt("serverCertificate", TEXT)]);

/// `destination`
pub(super) static DESTINATION: Shape =
    Shape::new(&[req("host", TEXT), opt("port", Is::Map1(&PORT_SELECTOR)), opt("subset", TEXT)]);

/// `port` with a number only.
pub(super) static PORT_SELECTOR: Shape = Shape::new(&[opt("number", UINT32)]);

static PROVIDER: Shape = Shape::new(&[req("name", FILLED)]);
/// `providers`
pub(super) const PROVIDERS: Is = Is::List(&Is::Map1(&PROVIDER), 0, ANY);
