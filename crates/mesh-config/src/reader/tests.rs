#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::scalars::is_wildcard_domain;
use super::*;

fn read<T>(text: &str, decode: impl FnOnce(Value<'_>) -> T) -> (T, Vec<String>) {
    let root = yaml::parse(text.as_bytes()).remove(0).root.unwrap();
    let log = Log::new(None, "f.yaml".into(), Fallback::Ignored);
    let value = decode(log.root(&root, ""));
    (value, log.finish().iter().map(|d| format!("{}: {d}", d.severity)).collect())
}

#[test]
fn a_misspelt_field_is_reported_with_the_one_that_was_meant() {
    let (_, found) = read("spec:\n  timeot: 5s\n  bogus: 1\n  mirror_percent: 3\n", |root| {
        let spec = root.fields().unwrap();
        let inner = spec.optional("spec").unwrap().fields().unwrap();
        assert!(inner.optional("timeout").is_none());
        inner.not_applied(&["mirrorPercent"]);
        inner.finish();
        spec.finish();
    });
    let rest = "it is ignored and the rest of the object applies";
    assert_eq!(
        found,
        [
            format!("warning: f.yaml:2: spec.timeot: unknown field \"timeot\", did you mean timeout?; {rest}"),
            format!(
                "warning: f.yaml:3: spec.bogus: unknown field \"bogus\", expected one of mirrorPercent, timeout; {rest}"
            ),
            format!(
                "warning: f.yaml:4: spec.mirror_percent: unknown field \"mirror_percent\", did you mean mirrorPercent?; {rest}"
            ),
        ]
    );
}

#[test]
fn a_bad_value_says_what_was_found_and_expected_and_what_follows() {
    let check = |text: &str, decode: &dyn Fn(Value<'_>), expected: &str| {
        let (_, found) = read(&format!("v: {text}"), |root| decode(root.fields().unwrap().optional("v").unwrap()));
        assert_eq!(found, [format!("error: f.yaml:1: v: {expected}; the object is ignored")]);
    };
    check(
        "5 minutes",
        &|v| {
            v.duration();
        },
        "found \"5 minutes\", expected a duration of at least 1ms, such as 1.5s, 250ms or 1h30m",
    );
    check(
        "0s",
        &|v| {
            v.duration();
        },
        "found \"0s\", expected a duration of at least 1ms, such as 1.5s, 250ms or 1h30m",
    );
    check(
        "70000",
        &|v| {
            v.port();
        },
        "found 70000, expected a whole number from 1 to 65535",
    );
    check("1.10", &|v| drop(v.text()), "found 1.10, expected text (put the value in quotes)");
    check(
        "[a, 1]",
        &|v| {
            v.boolean();
        },
        "found a list of 2, expected true or false",
    );
    check("'a('", &|v| drop(v.regex()), "found \"a(\", expected a regular expression: unclosed group");
    check(
        "'((a{100}){100}){100}'",
        &|v| drop(v.regex()),
        "found \"((a{100}){100}){100}\", expected a regular expression that compiles to at most 1048576 bytes",
    );
    check(
        "ROUNDROBIN",
        &|v| {
            v.one_of(&[("ROUND_ROBIN", 1), ("RANDOM", 2)]);
        },
        "found \"ROUNDROBIN\", expected one of ROUND_ROBIN, RANDOM; did you mean ROUND_ROBIN?",
    );
    check(
        "'a b'",
        &|v| drop(v.host()),
        "found \"a b\", expected a host name such as reviews, a.example.com or *.example.com",
    );
}

#[test]
fn an_expression_that_envoy_would_refuse_is_refused_here() {
    let check = |text: &str, right: bool| {
        let (value, _) = read(&format!("v: '{text}'"), |root| root.fields().unwrap().optional("v").unwrap().regex());
        assert_eq!(value.is_some(), right, "{text}");
    };
    for text in ["a{1000}", r"\{1001}", "(?i)a", "(?P<n>a)", "(?i:a)", r"\d+\.x", "[(]x", "é(a|b)"] {
        check(text, true);
    }
    for text in ["a{1001}", "a{0,2000}", "(?x) a", r"\u0041", r"\<a", "(?=a)", r"(a)\1"] {
        check(text, false);
    }
    check(&"a".repeat(1025), false);
}

#[test]
fn durations_are_read_as_go_reads_them() {
    let check = |text: &str, expected: Option<Duration>| assert_eq!(parse_duration(text), expected, "{text}");
    check("1.5s", Some(Duration::from_millis(1500)));
    check("1h30m", Some(Duration::from_secs(5400)));
    check("100us", Some(Duration::from_micros(100)));
    check(".5m", Some(Duration::from_secs(30)));
    check("0", Some(Duration::ZERO));
    for bad in ["", "5", "s", "-1s", "1.2.3s", "1d", "1 s", ".s", "99999999999999999999s", "9999999999999h"] {
        check(bad, None);
    }
}

#[test]
fn hosts_are_names_with_at_most_one_star_in_front() {
    let good = ["*", "a", "*.com", "*x", "*-x.com", "a.b.", "a_b.c", "A.com", "1.2.3.4"];
    let bad = ["", "a..b", ".a", "a*", "*.*", "a b", "-a", "a-", "*.", "a/b"];
    for text in good {
        assert!(is_wildcard_domain(text), "{text}");
    }
    for text in bad {
        assert!(!is_wildcard_domain(text), "{text}");
    }
    assert!(!is_wildcard_domain(&"a".repeat(64)) && !is_wildcard_domain(&vec!["abc"; 70].join(".")));
}

#[test]
fn findings_about_one_object_are_bounded() {
    let text: String = (0..1000).map(|i| format!("k{i}: 1\n")).collect();
    let (_, found) = read(&text, |root| root.fields().unwrap().finish());
    assert_eq!(found.len(), DIAGNOSTICS_MAX + 1);
    assert_eq!(found[DIAGNOSTICS_MAX], "warning: f.yaml:1: 900 further findings are not listed");
}
