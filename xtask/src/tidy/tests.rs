#![allow(clippy::unwrap_used)]

use super::{docs, sizes};

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
