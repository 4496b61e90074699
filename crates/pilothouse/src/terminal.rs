//! How text meets the terminal: its width, its colours, and lines that wrap
//! with a hanging indent.
//!
//! Colours are written as escape sequences and removed by `anstream` where
//! standard output is not a terminal or `NO_COLOR` is set, so nothing above
//! this module asks.

use clap::builder::styling::{AnsiColor, Style};

/// Names: listeners, routes, clusters.
pub(crate) const NAME: Style = Style::new().bold();
/// What stands beside the point.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// It works.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Look here.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// It failed.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default();

/// `text` in `style`.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Columns to write for: `COLUMNS`, else the terminal's, else 100.
pub(crate) fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let seen = || comfy_table::Table::new().width().map(usize::from);
    told.or_else(seen).unwrap_or(COLUMNS).max(COLUMNS_MIN)
}

/// Writes `text` to standard output, with colour only where it is seen. A
/// reader that has gone (`| head`) ends the process quietly.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    if anstream::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// `text` broken at spaces into lines of at most `width` columns: the first
/// starts with `first`, the others with as many spaces as `first` is wide. A
/// word that is longer than a line stands alone on one and is not cut: a name
/// must stay whole to be copied.
pub(crate) fn wrap(first: &str, text: &str, width: usize) -> Vec<String> {
    let indent = first.chars().count();
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut used = indent;
    for word in text.split_whitespace() {
        let columns = word.chars().count();
        if used > indent && used + 1 + columns > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
        }
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += columns;
    }
    lines.push(line);
    lines
}

/// Where no terminal says how wide it is.
const COLUMNS: usize = 100;
/// Narrower than this, wrapping helps nobody.
const COLUMNS_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hang_under_the_first_word() {
        let lines = wrap("  - ", "one two three four", 12);
        assert_eq!(lines, ["  - one two", "    three", "    four"]);
    }

    #[test]
    fn a_long_name_is_not_cut() {
        let lines = wrap("", "to outbound|8000||backend.default.svc.cluster.local now", 20);
        assert_eq!(lines, ["to", "outbound|8000||backend.default.svc.cluster.local", "now"]);
    }
}
