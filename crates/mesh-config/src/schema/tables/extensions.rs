//! WasmPlugin and TrafficExtension.

use super::common::{SELECTOR, TARGET, TARGETS};
use crate::schema::shape::{ANY, FILLED, Form, INT32, Is, PORT, Shape, TEXT, nul, opt, req};

const FAIL: Is = Is::Word(&["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]);
const PULL: Is = Is::Word(&["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]);
const TYPE: Is = Is::Word(&["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]);
const MATCHES: Is = Is::List(&Is::Map1(&MATCH), 0, ANY);

pub(super) static WASM_PLUGIN: Shape = Shape::new(&[
    opt("failStrategy", FAIL),
    opt("imagePullPolicy", PULL),
    opt("imagePullSecret", Is::Text(1, 253)),
    opt("match", MATCHES),
    opt("phase", Is::Word(&["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"])),
    opt("pluginConfig", Is::Free),
    opt("pluginName", Is::Text(1, 256)),
    nul("priority", INT32),
    opt("selector", Is::Map1(&SELECTOR)),
    opt("sha256", Is::Form(Form::Sha256)),
    opt("targetRef", TARGET),
    opt("targetRefs", TARGETS),
    opt("type", TYPE),
    req("url", FILLED),
    opt("verificationKey", TEXT),
    opt("vmConfig", Is::Map1(&VM_CONFIG)),
]);

pub(super) static TRAFFIC_EXTENSION: Shape = Shape::new(&[
    opt("lua", Is::Map1(&LUA)),
    opt("match", MATCHES),
    opt("phase", Is::Word(&["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"])),
    nul("priority", INT32),
    opt("selector", Is::Map1(&SELECTOR)),
    opt("targetRefs", TARGETS),
    opt("wasm", Is::Map1(&WASM)),
]);

static LUA: Shape = Shape::new(&[req("inlineCode", Is::Text(1, 65536))]);

static WASM: Shape = Shape::new(&[
    opt("failStrategy", FAIL),
    opt("imagePullPolicy", PULL),
    opt("imagePullSecret", Is::Text(1, 253)),
    opt("pluginConfig", Is::Free),
    opt("pluginName", Is::Text(1, 256)),
    opt("sha256", Is::Form(Form::Sha256)),
    opt("type", TYPE),
    req("url", FILLED),
    opt("verificationKey", TEXT),
    opt("vmConfig", Is::Map1(&VM_CONFIG)),
]);

static MATCH: Shape = Shape::new(&[
    opt("mode", Is::Word(&["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"])),
    opt("ports", Is::Keyed(&Is::Map1(&MATCH_PORT), ANY, "number")),
]);
static MATCH_PORT: Shape = Shape::new(&[req("number", PORT)]);

static VM_CONFIG: Shape = Shape::new(&[opt("env", Is::Keyed(&Is::Map1(&ENV), 256, "name"))]);
static ENV: Shape = Shape::new(&[
    req("name", Is::Text(1, 256)),
    opt("value", Is::Text(0, 2048)),
    opt("valueFrom", Is::Word(&["INLINE", "HOST"])),
]);
