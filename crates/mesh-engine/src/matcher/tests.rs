#![allow(clippy::unwrap_used)]
use super::*;
use crate::error::Kind;
use http::Method;

fn string(yaml: &str) -> Result<StringMatcher, ConfigError> {
    let proto: types::StringMatcher = mesh_proto::json::from_yaml(yaml).unwrap();
    StringMatcher::parse(&At::root(Kind::Route, "r"), &proto)
}

fn header(yaml: &str) -> HeaderMatcher {
    let proto: xds::HeaderMatcher = mesh_proto::json::from_yaml(yaml).unwrap();
    HeaderMatcher::parse(&At::root(Kind::Route, "r"), &proto).unwrap()
}

#[test]
fn each_kind_of_string_match_looks_at_its_part() {
    for (yaml, yes, no) in [
        ("exact: ab", "ab", "abc"),
        ("{exact: Ab, ignore_case: true}", "aB", "b"),
        ("prefix: ab", "abc", "a"),
        ("suffix: bc", "abc", "c"),
        ("contains: b", "abc", "ac"),
        ("{contains: B, ignore_case: true}", "abc", "ac"),
        ("safe_regex: {regex: 'a.c|x'}", "abc", "abcd"),
    ] {
        let matcher = string(yaml).unwrap();
        assert!(matcher.matches(yes) && !matcher.matches(no), "{yaml}");
    }
}

#[test]
fn a_broken_expression_is_refused_as_it_was_written() {
    let error = string("safe_regex: {regex: '(a'}").unwrap_err().to_string();
    assert!(error.starts_with("route r: safe_regex.regex: (a: "), "{error}");
    assert!(string("prefix: ''").is_err());
    assert!(string("{safe_regex: {regex: a}, ignore_case: true}").is_err());
}

#[test]
fn a_missing_header_matches_only_absence_or_as_an_empty_value() {
    let (method, mut headers) = (Method::GET, HeaderMap::new());
    let check = |yaml: &str, headers: &HeaderMap| {
        let view = RequestView { method: &method, authority: "a", path: "/", scheme: "http", headers };
        header(yaml).matches(&view)
    };
    assert!(!check("{name: x, string_match: {exact: a}, invert_match: true}", &headers));
    assert!(check(
        "{name: x, string_match: {exact: a}, invert_match: true, treat_missing_header_as_empty: true}",
        &headers
    ));
    assert!(check("{name: x, present_match: false}", &headers));
    assert!(check("{name: x, present_match: true, invert_match: true}", &headers));
    assert!(check("{name: ':method', string_match: {exact: GET}}", &headers));
    headers.append("x", "1".parse().unwrap());
    assert!(check("{name: x, range_match: {start: 1, end: 2}}", &headers));
    headers.append("x", "2".parse().unwrap());
    assert!(check("{name: x, string_match: {exact: '1,2'}}", &headers));
    assert!(!check("{name: x, range_match: {start: 1, end: 2}}", &headers));
}

#[test]
fn query_parameters_are_decoded_and_the_first_counts() {
    assert_eq!(query_parameter("/p?a=1%202&b&a=3#f", "a").as_deref(), Some("1 2"));
    assert_eq!(query_parameter("/p?a=1&b", "b").as_deref(), Some(""));
    assert_eq!(query_parameter("/p", "b"), None);
    assert_eq!(query_parameter("/p?x=%zz%4", "x").as_deref(), Some("%zz%4"));
}

#[test]
fn a_cookie_is_found_among_others() {
    let mut headers = HeaderMap::new();
    headers.append(http::header::COOKIE, "a=1; session=\"s2\"".parse().unwrap());
    assert_eq!(cookie(&headers, "session"), Some("s2"));
    assert_eq!(cookie(&headers, "b"), None);
}

#[test]
fn a_substitution_refers_to_groups_and_nothing_else() {
    let parse = |pattern: &str, substitution: &str| {
        let proto = types::RegexMatchAndSubstitute {
            pattern: Some(types::RegexMatcher { regex: pattern.into(), ..Default::default() }),
            substitution: substitution.into(),
        };
        super::substitution(&At::root(Kind::Route, "r"), &proto)
    };
    let (regex, text) = parse("^/a/([^/]+)", r"/b$/\1").unwrap();
    assert_eq!(regex.replace_all("/a/x/y", &*text), "/b$/x/y");
    assert!(parse("a", r"\1").is_err());
    assert!(parse("a", r"\x").is_err());
}
