#![allow(clippy::unwrap_used)]

use super::*;

fn json(text: &str) -> Vec<String> {
    parse(text.as_bytes())
        .into_iter()
        .map(|document| match document.root {
            Ok(root) => format!("{}: {}", document.line, root.to_json()),
            Err(error) => format!("{}: {}:{}", document.line, error.line, error),
        })
        .collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(json(text), expected, "{text}");
}

#[test]
fn scalars_mean_what_they_mean_to_kubernetes() {
    check(
        "[yes, No, on, 'yes', 1_000, 0x1f, 017, 0o17, 1.50, 1e3, 1.2.3, .5, -3, +4, 08, ~, 2024-01-01, --1, .]",
        &[r#"1: [true,false,true,"yes",1000,31,15,15,1.5,1000.0,"1.2.3",0.5,-3,4,8,null,"2024-01-01","--1","."]"#],
    );
    check("a: !!str 12\nb: !custom 12\n1: x\n", &[r#"1: {"a":"12","b":12,"1":"x"}"#]);
}

#[test]
fn every_document_of_a_file_is_read_with_its_line() {
    check(
        "# head\n%YAML 1.2\n---\na: 1\n---\n---\n# nothing\n---\nb: |\n  ---\n  x\n...\nc: 2\n",
        &[r#"4: {"a":1}"#, r#"9: {"b":"---\nx\n"}"#, r#"13: {"c":2}"#],
    );
    check("\u{feff}--- {a: 1}\r\n---\r\nb: 2\r\n", &[r#"1: {"a":1}"#, r#"3: {"b":2}"#]);
    check("{\n\t\"a\": [1, \"\\u00e9\\/\"]\n}\n", &["1: {\"a\":[1,\"é/\"]}"]);
    check(r#"{"a":"\ud83d\ude00"}"#, &["1: {\"a\":\"\u{1f600}\"}"]);
    check("", &[]);
}

#[test]
fn a_broken_document_costs_only_itself() {
    check(
        "a: 1\n---\nb: [1\n---\nc: 3\n",
        &[
            r#"1: {"a":1}"#,
            "3: 4:column 1: not YAML: while parsing a flow sequence, expected ',' or ']'",
            r#"5: {"c":3}"#,
        ],
    );
}

#[test]
fn a_key_stands_once() {
    check(
        "a: 1\nb:\n  x: 1\n  y: 2\n  x: 3\n",
        &["1: 5:column 3: key \"x\" stands twice in one map, first on line 3; expected each key once"],
    );
}

#[test]
fn aliases_and_merge_keys_are_expanded() {
    check(
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n",
        &[r#"1: {"a":{"x":1,"y":2},"b":{"y":3,"x":1},"c":{"x":1,"y":2}}"#],
    );
    check("a: &a [*a]\n", &["1: 1:column 8: found an alias to a value that contains it"]);
    check(
        "a:\n  <<: 1\n",
        &["1: 2:column 7: found 1 as value of the merge key `<<`, expected a map or a list of maps"],
    );
}

#[test]
fn an_alias_bomb_is_refused_before_it_is_expanded() {
    let mut text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{},", level - 1).repeat(10);
        text += &format!("a{level}: &a{level} [{before}]\n");
    }
    let error = parse(text.as_bytes()).remove(0).root.unwrap_err();
    assert_eq!((error.problem, error.line), (Problem::TooManyNodes, 7));
}

#[test]
fn depth_is_bounded_however_it_is_written() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse(deep(100).as_bytes())[0].root.is_ok());
    assert_eq!(parse(deep(101).as_bytes()).remove(0).root.unwrap_err().problem, Problem::TooDeep);
    assert!(parse(deep(100_000).as_bytes())[0].root.is_err());
    let block: String = (0..100_000).map(|_| "- ").collect();
    assert!(parse(block.as_bytes())[0].root.is_err());
    let mut chained = "a0: &a0 [1]\n".to_owned();
    for level in 1..200 {
        chained += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert_eq!(parse(chained.as_bytes()).remove(0).root.unwrap_err().problem, Problem::TooDeep);
}

#[test]
fn bytes_that_are_no_text_are_named_by_line() {
    let error = parse(b"a: 1\nb: \xff\n").remove(0).root.unwrap_err();
    assert_eq!((error.line, error.column, error.problem), (2, 4, Problem::NotText));
}

#[test]
fn nodes_and_keys_know_where_they_stand() {
    let root = parse(b"# c\nspec:\n  hosts:\n    - a\n    - b\n").remove(0).root.unwrap();
    let hosts = root.get("spec").unwrap().get("hosts").unwrap();
    let Value::List(items) = &hosts.value else { panic!("{hosts:?}") };
    assert_eq!((items[1].line, items[1].column), (5, 7));
    let Value::Map(map) = &root.value else { panic!("{root:?}") };
    assert_eq!(map.iter().next().unwrap().0.line, 2);
}
