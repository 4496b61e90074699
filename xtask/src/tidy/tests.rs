#![allow(clippy::unwrap_used)]

use super::{docs, features, sizes};

#[test]
fn a_function_of_sixty_lines_fits_and_one_more_does_not() {
    let check = |body_lines: usize, expected: &[(&str, usize)]| {
        let text = format!(
            "struct S;\nimpl S {{\n    fn long() {{\n{}    }}\n}}\n",
            "        let _ = 1;\n".repeat(body_lines)
        );
        let found = sizes::long_functions(&text).unwrap();
        let expected: Vec<_> = expected.iter().map(|(name, lines)| ((*name).to_owned(), *lines)).collect();
        assert_eq!(found, expected);
    };
    check(58, &[]);
    check(59, &[("S::long", 61)]);
}

#[test]
fn an_invariant_counts_only_in_its_own_crates_section() {
    let document = "## `mesh-xds`: protocol\n**Invariant:** one.\n## `mesh-xds-more`\ntext\n";
    assert!(docs::states_invariant(document, "mesh-xds"));
    assert!(!docs::states_invariant(document, "mesh-xds-more"));
    assert!(!docs::states_invariant(document, "mesh"));
}

#[test]
fn a_feature_that_is_claimed_needs_a_proof_that_is_there() {
    let check = |row: &str, expected: usize| {
        let there = |link: &features::Link<'_>| link.target == "../a.rs" && link.text == "`works`";
        let (line, row) = features::rows(row).next().unwrap();
        assert_eq!(features::wrong(line, &row, &there).len(), expected);
    };
    check("| `host` | yes | yes | - | [`works`](../a.rs) |", 0);
    check("| `host` | untested | untested | - | |", 0);
    check("| `host` | yes | yes | - | |", 1);
    check("| `host` | yes | perhaps | - | [`works`](../a.rs), [`is gone`](../a.rs) |", 2);
}
