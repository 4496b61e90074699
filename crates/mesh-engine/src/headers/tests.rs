#![allow(clippy::unwrap_used)]
use super::*;
use crate::error::Kind;

fn parse(add: &str, remove: &[&str]) -> Result<HeaderMutations, String> {
    let list: Vec<core::HeaderValueOption> =
        if add.is_empty() { Vec::new() } else { vec![mesh_proto::json::from_yaml(add).unwrap()] };
    let remove: Vec<String> = remove.iter().map(|r| (*r).to_owned()).collect();
    HeaderMutations::parse(&At::root(Kind::Route, "r"), "request", &list, &remove).map_err(|e| e.to_string())
}

fn apply(add: &str, before: &[&str]) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for value in before {
        headers.append("x", value.parse().unwrap());
    }
    let facts = Facts { route_name: Some("r1"), ..Facts::default() };
    parse(add, &[]).unwrap().apply(&mut headers, &facts);
    headers.get_all("x").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

#[test]
fn each_append_action_does_what_it_says() {
    let add = |action: &str| format!("{{header: {{key: x, value: b}}, append_action: {action}}}");
    for (action, absent, present) in [
        ("APPEND_IF_EXISTS_OR_ADD", vec!["b"], vec!["a", "b"]),
        ("ADD_IF_ABSENT", vec!["b"], vec!["a"]),
        ("OVERWRITE_IF_EXISTS_OR_ADD", vec!["b"], vec!["b"]),
        ("OVERWRITE_IF_EXISTS", vec![], vec!["b"]),
    ] {
        assert_eq!(apply(&add(action), &[]), absent, "{action}");
        assert_eq!(apply(&add(action), &["a"]), present, "{action}");
    }
    assert_eq!(apply("{header: {key: x, value: b}, append: false}", &["a"]), ["b"]);
}

#[test]
fn operators_are_filled_in_and_an_empty_value_is_left_out() {
    assert_eq!(apply("{header: {key: x, value: 'via %ROUTE_NAME% 100%%'}}", &[]), ["via r1 100%"]);
    assert!(apply("{header: {key: x, value: '%UPSTREAM_CLUSTER%'}}", &[]).is_empty());
    assert_eq!(apply("{header: {key: x, value: '%UPSTREAM_CLUSTER%'}, keep_empty_value: true}", &[]), [""]);
}

#[test]
fn what_must_not_be_touched_is_refused() {
    let error = parse("{header: {key: ':path', value: x}}", &[]).unwrap_err();
    assert!(
        error.contains("request_headers_to_add[0].header: :-prefixed or host headers may not be modified"),
        "{error}"
    );
    assert!(parse("", &["Host"]).unwrap_err().contains("may not be removed"));
    assert!(
        parse("{header: {key: x, value: '%NO_SUCH%'}}", &[])
            .unwrap_err()
            .contains("Not supported field in StreamInfo: NO_SUCH")
    );
    assert!(parse("{header: {key: x, value: '%REQ('}}", &[]).is_err());
}
