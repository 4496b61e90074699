//! `extensionProviders` and `defaultProviders`.

use std::collections::BTreeMap;

use mesh_model::rules::provider::{Collector, DefaultProviders, GrpcLog, LogFormat, Provider, ProviderKind};
use mesh_model::{Code, Name};

use crate::reader::{Fields, NOT_APPLIED, Value};

/// Kinds that are accepted and not yet applied.
const KINDS_NOT_APPLIED: [&str; 8] = [
    "envoyExtAuthzHttp",
    "envoyExtAuthzGrpc",
    "lightstep",
    "datadog",
    "stackdriver",
    "opencensus",
    "skywalking",
    "sds",
];

type Reader = fn(&Fields<'_>) -> Option<ProviderKind>;

pub(super) fn read(value: &Value<'_>) -> Vec<Provider> {
    let mut providers: Vec<Provider> = Vec::new();
    for item in value.items().unwrap_or_default() {
        let Some(provider) = provider(&item) else { continue };
        if providers.iter().any(|p| p.name.eq_ignore_ascii_case(&provider.name)) {
            item.error::<()>(format!("found a second provider called {}, expected each name once", provider.name));
        }
        providers.push(provider);
    }
    providers
}

pub(super) fn read_defaults(value: &Value<'_>) -> Option<DefaultProviders> {
    let fields = value.fields()?;
    let names = |name| fields.optional(name).and_then(|v| v.texts()).unwrap_or_default();
    let defaults = DefaultProviders {
        access_logging: names("accessLogging"),
        tracing: names("tracing"),
        metrics: names("metrics"),
    };
    fields.finish();
    Some(defaults)
}

fn provider(value: &Value<'_>) -> Option<Provider> {
    let fields = value.fields()?;
    let name = fields.required("name", "a name").and_then(|v| v.filled_text("a name"));
    let readers: [(&'static str, Reader); 6] = [
        ("envoyFileAccessLog", file_log),
        ("envoyHttpAls", |f| grpc_log(f, "http_envoy_accesslog").map(ProviderKind::HttpLog)),
        ("envoyTcpAls", |f| grpc_log(f, "tcp_envoy_accesslog").map(ProviderKind::TcpLog)),
        ("envoyOtelAls", otlp_log),
        ("zipkin", zipkin),
        ("opentelemetry", otlp),
    ];
    let mut kinds = Vec::new();
    for (kind, reader) in readers {
        if let Some(found) = fields.optional(kind) {
            kinds.push(found.fields().and_then(|f| {
                let read = reader(&f);
                f.finish();
                read
            }));
        }
    }
    if fields.has("prometheus") {
        fields.ignore(&["prometheus"]);
        kinds.push(Some(ProviderKind::Prometheus));
    }
    for kind in KINDS_NOT_APPLIED {
        if let Some(found) = fields.optional(kind) {
            found.warn(Code::NotApplied, NOT_APPLIED.to_owned(), "nothing goes to this provider");
            kinds.push(Some(ProviderKind::NotApplied(kind)));
        }
    }
    fields.finish();
    match kinds.len() {
        1 => Some(Provider { name: name?, kind: kinds.pop()?? }),
        0 => value.invalid("a provider of some kind, such as envoyFileAccessLog"),
        _ => value.invalid("a provider of one kind"),
    }
}

fn file_log(fields: &Fields<'_>) -> Option<ProviderKind> {
    let path = fields.required("path", "a file")?.filled_text("a file");
    let format = match fields.optional("logFormat") {
        Some(value) => log_format(&value)?,
        None => LogFormat::Mesh,
    };
    let omit_empty = fields.optional("omitEmptyValues").and_then(|v| v.boolean()).unwrap_or(false);
    Some(ProviderKind::FileLog { path: path?, format, omit_empty })
}

fn log_format(value: &Value<'_>) -> Option<LogFormat> {
    let fields = value.fields()?;
    let text = fields.optional("text").and_then(|v| v.text());
    let labels = fields.optional("labels");
    fields.finish();
    match (text, labels) {
        (Some(_), Some(_)) => value.invalid("only one of text and labels"),
        (Some(text), None) => Some(LogFormat::Text(text)),
        (None, Some(labels)) => {
            labels.entries()?;
            let json = labels.node().to_json();
            let empty = json.as_object().is_some_and(serde_json::Map::is_empty);
            Some(LogFormat::Json(if empty { "".into() } else { json.to_string().into() }))
        }
        (None, None) => Some(LogFormat::Mesh),
    }
}

fn grpc_log(fields: &Fields<'_>, default_name: &str) -> Option<GrpcLog> {
    let names = |name| fields.optional(name).and_then(|v| v.texts()).unwrap_or_default();
    let stated = fields.optional("logName").and_then(|v| v.text()).filter(|n| !n.is_empty());
    Some(GrpcLog {
        log_name: stated.unwrap_or_else(|| default_name.into()),
        request_headers: names("additionalRequestHeadersToLog"),
        response_headers: names("additionalResponseHeadersToLog"),
        response_trailers: names("additionalResponseTrailersToLog"),
        filter_state: names("filterStateObjectsToLog"),
        collector: collector(fields)?,
    })
}

fn otlp_log(fields: &Fields<'_>) -> Option<ProviderKind> {
    let log_name = fields.optional("logName").and_then(|v| v.text()).unwrap_or_default();
    let (mut text, mut labels) = (None, BTreeMap::new());
    if let Some(format) = fields.optional("logFormat").and_then(|v| v.fields()) {
        text = format.optional("text").and_then(|v| v.text()).filter(|t| !t.is_empty());
        for (name, value) in format.optional("labels").and_then(|v| v.entries()).unwrap_or_default() {
            labels.insert(name, value.text()?);
        }
        format.finish();
    }
    Some(ProviderKind::OtlpLog { collector: collector(fields)?, log_name, text, labels })
}

fn zipkin(fields: &Fields<'_>) -> Option<ProviderKind> {
    let mut collector = collector(fields);
    let path = fields.optional("path").and_then(|v| v.text()).unwrap_or_default();
    let short_ids = fields.optional("enable64bitTraceId").and_then(|v| v.boolean()).unwrap_or(false);
    let options = [("USE_B3", false), ("USE_B3_WITH_W3C_PROPAGATION", true)];
    let with_w3c = fields.optional("traceContextOption").and_then(|v| v.one_of(&options)).unwrap_or(false);
    deliveries(fields, "headers", collector.as_mut());
    Some(ProviderKind::Zipkin {
        collector: collector?,
        path,
        short_ids,
        with_w3c,
        max_tag_length: max_tag_length(fields),
    })
}

fn otlp(fields: &Fields<'_>) -> Option<ProviderKind> {
    let mut collector = collector(fields);
    let mut http_path = None;
    if let Some(http) = fields.optional("http").and_then(|v| v.fields()) {
        http_path = Some(http.required("path", "a path")?.filled_text("a path")?);
        deliveries(&http, "headers", collector.as_mut());
        http.finish();
    }
    if let Some(grpc) = fields.optional("grpc").and_then(|v| v.fields()) {
        deliveries(&grpc, "initialMetadata", collector.as_mut());
        grpc.finish();
    }
    let mut environment = false;
    if let Some(detectors) = fields.optional("resourceDetectors").and_then(|v| v.fields()) {
        environment = detectors.has("environment");
        detectors.ignore(&["environment"]);
        detectors.not_applied(&["dynatrace"]);
        detectors.finish();
    }
    fields.not_applied(&["dynatraceSampler"]);
    Some(ProviderKind::Otlp { collector: collector?, http_path, max_tag_length: max_tag_length(fields), environment })
}

fn max_tag_length(fields: &Fields<'_>) -> u32 {
    fields.optional("maxTagLength").and_then(|v| v.unsigned()).unwrap_or(0)
}

/// `timeout`, and the headers in the field called `headers`.
fn deliveries(fields: &Fields<'_>, headers: &'static str, collector: Option<&mut Collector>) -> Option<()> {
    let timeout = fields.optional("timeout").and_then(|v| v.duration());
    let mut read = Vec::new();
    for item in fields.optional(headers).and_then(|v| v.items()).unwrap_or_default() {
        let header = item.fields()?;
        let name = header.required("name", "a header's name")?.filled_text("a header's name");
        let value = header.optional("value").and_then(|v| v.text());
        header.not_applied_but(&["envName"], "the header is not sent");
        header.finish();
        read.extend(name.zip(value));
    }
    let collector = collector?;
    (collector.timeout, collector.headers) = (timeout, read);
    Some(())
}

/// `service` and `port`.
fn collector(fields: &Fields<'_>) -> Option<Collector> {
    let service = fields.required("service", "a host, or namespace/host").and_then(|v| v.filled_text("a host"));
    let port = fields.required("port", "a port number").and_then(|v| v.port());
    let service = service?;
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(Name::from(namespace)), Name::from(host)),
        None => (None, service),
    };
    Some(Collector { namespace, host, port: port?, timeout: None, headers: Vec::new() })
}
