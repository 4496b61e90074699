//! One request of a case: asked of the engine, compared field by field.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_engine::explain::{Explanation, Outcome, Question, Request, StepKind, Traffic, explain};
use mesh_engine::runtime::RuntimeConfig;
use serde_json::{Map, Value, json};

/// Asks where `request` goes and compares what it expects.
///
/// `to` is `address:port` as the application connects; `captured_by` the
/// listener that the kernel redirects it to (`0.0.0.0:15001` unless said;
/// null: none). `host`, `path`, `method`, `headers`, `http2` make it HTTP,
/// `sni` TLS, neither bytes.
pub(crate) fn check(config: &RuntimeConfig, request: &Value, fail: &mut dyn FnMut(String)) {
    let name = request["name"].as_str().unwrap();
    let question = question(request);
    let answer = describe(&explain(config, &question));
    for (field, expected) in request["expect"].as_object().into_iter().flatten() {
        let got = answer.get(field).unwrap_or(&Value::Null);
        if got != expected {
            fail(format!("request {name:?}: {field}: got {got}, expected {expected}"));
        }
    }
}

fn question(request: &Value) -> Question {
    let captured_by = match request.get("captured_by") {
        None => Some("0.0.0.0:15001".parse().unwrap()),
        Some(address) => address.as_str().map(|a| a.parse().unwrap()),
    };
    let text = |field: &str| request[field].as_str();
    let traffic = match (text("host"), text("sni")) {
        (Some(host), _) => Traffic::Http(Box::new(Request {
            http2: request["http2"].as_bool().unwrap_or(false),
            method: Method::from_bytes(text("method").unwrap_or("GET").as_bytes()).unwrap(),
            authority: host.to_owned(),
            path: text("path").unwrap_or("/").to_owned(),
            headers: headers(&request["headers"]),
        })),
        (None, Some(sni)) => Traffic::Tls { server_name: Some(sni.to_owned()) },
        (None, None) => Traffic::Tcp,
    };
    Question {
        source: text("from").unwrap_or("10.0.0.1:40000").parse().unwrap(),
        destination: text("to").unwrap().parse().unwrap(),
        captured_by,
        traffic,
    }
}

fn headers(value: &Value) -> HeaderMap {
    let pairs = value.as_object().into_iter().flatten();
    let pair = |(name, value): (&String, &Value)| {
        let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
    };
    pairs.map(pair).collect()
}

fn describe(explanation: &Explanation) -> Map<String, Value> {
    let mut out = Map::new();
    for step in &explanation.steps {
        if step.kind != StepKind::Endpoints {
            out.insert(step.kind.as_str().to_owned(), json!(step.name));
        }
        let because: Vec<String> = step.because.iter().map(ToString::to_string).collect();
        out.insert(format!("{}_because", step.kind.as_str()), json!(because));
    }
    match &explanation.outcome {
        Outcome::Forward(forward) => {
            let names = forward.clusters.iter().map(|(name, _)| name.as_str());
            let weighted: Map<String, Value> =
                forward.clusters.iter().map(|(name, weight)| (name.clone(), json!(weight))).collect();
            out.insert("outcome".to_owned(), json!("forward"));
            out.insert("cluster".to_owned(), json!(names.collect::<Vec<_>>().join(",")));
            out.insert("clusters".to_owned(), Value::Object(weighted));
            out.insert("path".to_owned(), json!(forward.path));
            out.insert("authority".to_owned(), json!(forward.authority));
            out.insert("timeout_ms".to_owned(), json!(forward.timeout.map(|t| t.as_millis() as u64)));
            out.insert("retries".to_owned(), json!(forward.retries));
            out.insert("delay_ms".to_owned(), json!(forward.delay.map(|t| t.as_millis() as u64)));
            let copies: Map<String, Value> =
                forward.mirrors.iter().map(|(name, ppm)| (name.clone(), json!(ppm))).collect();
            out.insert("mirrors".to_owned(), Value::Object(copies));
            for (name, value) in &forward.headers {
                out.insert(format!("header {name}"), json!(value.to_str().unwrap()));
            }
        }
        Outcome::Respond { status, headers } => {
            out.insert("outcome".to_owned(), json!("respond"));
            out.insert("status".to_owned(), json!(status.as_u16()));
            for (name, value) in headers {
                out.insert(format!("header {name}"), json!(value.to_str().unwrap()));
            }
        }
        Outcome::Refuse { status, .. } => {
            out.insert("outcome".to_owned(), json!("refuse"));
            out.insert("status".to_owned(), json!(status.map(|s| s.as_u16())));
        }
    }
    let endpoints: Vec<String> = explanation.endpoints.iter().map(|e| e.address.to_string()).collect();
    out.insert("endpoints".to_owned(), json!(endpoints));
    let chances = explanation.endpoints.iter().filter(|e| e.probability > 0.0);
    let reached: Vec<String> = chances.map(|e| e.address.to_string()).collect();
    out.insert("reached".to_owned(), json!(reached));
    out
}
