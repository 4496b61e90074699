//! A finding with the line that it is about, for a terminal or a pipe.
//!
//! On a terminal, texts wrap and lines are cut to its width. In a pipe a
//! finding is one line, so that `grep` finds it whole.

use std::io::IsTerminal;

use clap::builder::styling::Style;

use crate::sources::Lines;
use crate::terminal;

/// How findings are laid out.
pub(crate) struct Layout {
    /// Columns, if texts must fit into some.
    width: Option<usize>,
}

/// Columns of a line of a file that are shown in a pipe.
const PIPE_COLUMNS: usize = 160;

impl Layout {
    /// For standard output: its width if it is a terminal, or `COLUMNS`.
    pub(crate) fn of_stdout() -> Self {
        let bounded = std::io::stdout().is_terminal() || std::env::var_os("COLUMNS").is_some();
        Self { width: bounded.then(terminal::width) }
    }

    /// For as many columns; none: for a pipe.
    #[cfg(test)]
    pub(crate) fn new(width: Option<usize>) -> Self {
        Self { width }
    }

    /// `head`, painted, then `text`; under them line `number` of `file` with a
    /// caret below its first character, if there is such a line.
    pub(crate) fn finding(
        &self,
        style: Style,
        head: &str,
        text: &str,
        lines: &Lines,
        file: &str,
        number: u32,
    ) -> String {
        let whole = format!("{head} {text}");
        let mut wrapped = match self.width {
            Some(width) => terminal::wrap("", &whole, width.saturating_sub(HANG)),
            None => vec![whole],
        };
        for line in wrapped.iter_mut().skip(1) {
            line.insert_str(0, &" ".repeat(HANG));
        }
        // Only the level is coloured, as istioctl does it.
        let (level, rest) = wrapped[0].split_once(' ').unwrap_or((&wrapped[0], ""));
        wrapped[0] = format!("{} {rest}", terminal::paint(style, level)).trim_end().to_owned();
        wrapped.extend(lines.line(file, number).into_iter().flat_map(|line| self.excerpt(style, line, number)));
        wrapped.iter().map(|line| format!("{line}\n")).collect()
    }

    fn excerpt(&self, style: Style, line: &str, number: u32) -> [String; 2] {
        let gutter = format!("{number:>5} | ");
        let columns = self.width.map_or(PIPE_COLUMNS, |width| width.saturating_sub(gutter.len())).max(COLUMNS_MIN);
        let line = line.replace('\t', "  ");
        let indent = line.len() - line.trim_start().len();
        // Deep lines lose their indentation before they lose their text.
        let skip = if line.chars().count() > columns { indent.saturating_sub(2) } else { 0 };
        let rest: Vec<char> = line.chars().skip(skip).collect();
        let shown: String = match rest.len() > columns {
            true => rest[..columns - 1].iter().chain(['…'].iter()).collect(),
            false => rest.iter().collect(),
        };
        let caret = format!("{}{}", " ".repeat(indent - skip), terminal::paint(style, "^"));
        [format!("{gutter}{}", shown.trim_end()), format!("      | {caret}")]
    }
}

/// Continued lines stand this far in.
const HANG: usize = 2;
/// Fewer columns of a line say nothing.
const COLUMNS_MIN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Source;

    fn shown(width: Option<usize>, line: &str, text: &str) -> String {
        let source = Source { name: "f.yaml".into(), bytes: format!("a:\n{line}\n").into_bytes() };
        let lines = Lines::of(&[source]);
        let painted =
            Layout::new(width).finding(Style::new(), "Error [IST0101] (Pod a f.yaml:2)", text, &lines, "f.yaml", 2);
        anstream::adapter::strip_str(&painted).to_string()
    }

    #[test]
    fn a_pipe_gets_one_line_and_the_place_under_it() {
        assert_eq!(
            shown(None, "    host: nope", "Referenced host not found: \"nope\""),
            "Error [IST0101] (Pod a f.yaml:2) Referenced host not found: \"nope\"\n    2 |     host: nope\n      |     ^\n"
        );
    }

    #[test]
    fn forty_columns_are_enough() {
        let text = shown(Some(40), &format!("{}host: {}", " ".repeat(20), "x".repeat(60)), &"word ".repeat(20));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("host: xxx") && text.contains('…'), "{text}");
    }

    #[test]
    fn a_line_that_is_not_there_is_left_out() {
        let text = Layout::new(None).finding(Style::new(), "Info", "text", &Lines::default(), "f.yaml", 2);
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "Info text\n");
    }
}
