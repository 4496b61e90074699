#![allow(clippy::unwrap_used)]
use super::*;
use crate::error::Kind;
use crate::flags::ResponseFlags;

fn parse(yaml: &str) -> Result<AccessLog, String> {
    let proto: xds::AccessLog = mesh_proto::json::from_yaml(yaml).unwrap();
    AccessLog::parse(&At::root(Kind::Listener, "l"), &proto).map_err(|e| e.to_string())
}

fn file(rest: &str) -> String {
    format!(
        "{{name: f, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, {rest}}}}}"
    )
}

fn line(log: &AccessLog, facts: &Facts<'_>) -> String {
    let mut out = String::new();
    log.write(facts, &mut out);
    out
}

#[test]
fn a_json_line_keeps_types_and_escapes_strings() {
    let log = parse(&file("path: /dev/stdout, log_format: {json_format: {code: '%RESPONSE_CODE%', route: '%ROUTE_NAME%', none: '%UPSTREAM_HOST%', nested: {text: 'd=%DURATION%'}, n: 3}}")).unwrap();
    assert_eq!(log.sink, Sink::Stdout);
    let facts = Facts { response_code: Some(200), route_name: Some("a\"b"), ..Facts::default() };
    assert_eq!(
        line(&log, &facts),
        "{\"code\":200,\"n\":3.0,\"nested\":{\"text\":\"d=-\"},\"none\":null,\"route\":\"a\\\"b\"}\n"
    );
}

#[test]
fn empty_values_can_be_left_out() {
    let log = parse(&file(
        "path: /x, log_format: {omit_empty_values: true, json_format: {a: '%ROUTE_NAME%', b: '%RESPONSE_CODE%'}}",
    ))
    .unwrap();
    assert_eq!(line(&log, &Facts::default()), "{\"b\":0}\n");
}

#[test]
fn the_default_format_is_envoys() {
    let log = parse(&file("path: /x")).unwrap();
    assert_eq!(line(&log, &Facts::default()), "[-] \"- - -\" 0 - 0 0 - - \"-\" \"-\" \"-\" \"-\" \"-\"\n");
}

#[test]
fn filters_decide_by_status_and_flags() {
    let with = |filter: &str| {
        parse(&format!("{{name: f, filter: {filter}, {}", file("path: /x").split_once(", ").unwrap().1)).unwrap()
    };
    let facts = Facts { response_code: Some(503), flags: ResponseFlags::NO_ROUTE_FOUND, ..Facts::default() };
    let ge = "status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: k}}}";
    assert!(with(&format!("{{{ge}}}")).wants(&facts, 0));
    assert!(!with(&format!("{{{ge}}}")).wants(&Facts::default(), 0));
    assert!(with("{response_flag_filter: {flags: [NR]}}").wants(&facts, 0));
    assert!(!with("{response_flag_filter: {flags: [UF]}}").wants(&facts, 0));
    assert!(with(&format!("{{or_filter: {{filters: [{{{ge}}}, {{response_flag_filter: {{}}}}]}}}}")).wants(&facts, 0));
}

#[test]
fn an_unknown_logger_is_refused_by_name() {
    let yaml = "{name: als, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig}}";
    let error = parse(yaml).unwrap_err();
    assert!(error.contains("Didn't find a registered implementation for 'als'"), "{error}");
}
