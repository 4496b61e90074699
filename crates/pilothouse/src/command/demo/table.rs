//! The demo's table: calls per replica and how even they are, without the mesh
//! and with it.

use super::balance::Balance;
use crate::terminal::{FAINT, GOOD, NAME, WARNING, paint};

/// The two runs side by side, in at most `width` columns from 40 on.
pub(super) fn render(replicas: &[String], without: &Balance, with: &Balance, width: usize) -> String {
    let mut table = Table::new(replicas, width);
    let rule = table.rule();
    table.head();
    table.text.push_str(&rule);
    for (index, name) in replicas.iter().enumerate() {
        table.replica(name, count(without, index), count(with, index), sum(without), sum(with));
    }
    table.text.push_str(&rule);
    table.figure("CoV", format!("{:.2}", without.cov), format!("{:.2}", with.cov), Some(with.cov < EVEN));
    let (before, after) = (without.max_over_mean, with.max_over_mean);
    table.figure("max/mean", format!("{before:.2}"), format!("{after:.2}"), Some(after < 1.0 + EVEN));
    table.figure("p50", milliseconds(without.p50_ms), milliseconds(with.p50_ms), None);
    table.figure("p99", milliseconds(without.p99_ms), milliseconds(with.p99_ms), None);
    table.text
}

struct Table {
    text: String,
    /// Columns for names.
    names: usize,
    /// Columns for the bar after each count; 0 leaves the bars out.
    bar: usize,
}

impl Table {
    fn new(replicas: &[String], width: usize) -> Self {
        let names = replicas.iter().map(|r| r.chars().count()).max().unwrap_or(0).max("max/mean".len());
        let bare = names + 2 * (GAP + COUNT);
        let bar = (width.saturating_sub(bare) / 2).saturating_sub(1).min(BAR_MAX);
        Self { text: String::new(), names, bar: if bar < BAR_MIN { 0 } else { bar } }
    }

    /// Columns of one run: its count and its bar.
    fn column(&self) -> usize {
        if self.bar == 0 { COUNT } else { COUNT + 1 + self.bar }
    }

    fn rule(&self) -> String {
        let line = "-".repeat(self.names + 2 * (GAP + self.column()));
        format!("{}\n", paint(FAINT, &line))
    }

    fn head(&mut self) {
        let pad = " ".repeat(self.column() - COUNT);
        let (names, gap) = (self.names, " ".repeat(GAP));
        let text = format!("{:<names$}{gap}{:>COUNT$}{pad}{gap}{:>COUNT$}", "", "without mesh", "with mesh");
        self.line(&paint(NAME, text.trim_end()));
    }

    fn replica(&mut self, name: &str, before: u64, after: u64, total_before: u64, total_after: u64) {
        let (names, gap) = (self.names, " ".repeat(GAP));
        let (left, right) = (self.bar(before, total_before), self.bar(after, total_after));
        let text = format!(
            "{name:<names$}{gap}{:>COUNT$}{}{gap}{:>COUNT$}{}",
            thousands(before),
            paint(WARNING, &left),
            thousands(after),
            paint(GOOD, right.trim_end())
        );
        self.line(&text);
    }

    fn figure(&mut self, name: &str, before: String, after: String, good: Option<bool>) {
        let (names, gap) = (self.names, " ".repeat(GAP));
        let pad = " ".repeat(self.column() - COUNT);
        let after = format!("{after:>COUNT$}");
        let after = match good {
            Some(true) => paint(GOOD, &after),
            Some(false) => paint(WARNING, &after),
            None => after,
        };
        self.line(&format!("{name:<names$}{gap}{before:>COUNT$}{pad}{gap}{after}"));
    }

    /// A space and a bar as long as `part` is of `total`, filled up with spaces.
    fn bar(&self, part: u64, total: u64) -> String {
        if self.bar == 0 {
            return String::new();
        }
        let length = (self.bar as u64 * part).div_ceil(total.max(1)) as usize;
        format!(" {:<width$}", "#".repeat(length), width = self.bar)
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// `3000` as `3,000`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn count(balance: &Balance, index: usize) -> u64 {
    balance.per_replica.get(index).copied().unwrap_or(0)
}

fn sum(balance: &Balance) -> u64 {
    balance.per_replica.iter().sum()
}

fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.1} ms") }
}

const GAP: usize = 2;
/// As wide as `without mesh`, which stands above the counts.
const COUNT: usize = 12;
const BAR_MAX: usize = 24;
const BAR_MIN: usize = 6;
/// A coefficient of variation below this is printed as 0.00.
const EVEN: f64 = 0.005;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: usize, expected: &str) {
        let replicas = ["backend-1".to_owned(), "backend-2".to_owned(), "backend-3".to_owned()];
        let balance = |per_replica: [u64; 3], cov, max_over_mean| Balance {
            per_replica: per_replica.to_vec(),
            cov,
            max_over_mean,
            p50_ms: 0.5,
            p99_ms: 12.25,
        };
        let without = balance([0, 3000, 0], 1.41, 3.0);
        let text = render(&replicas, &without, &balance([1000; 3], 0.0, 1.0), width);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text, expected, "\n{text}");
        assert!(text.lines().all(|line| line.len() <= width), "\n{text}");
    }

    #[test]
    fn forty_columns_hold_the_figures() {
        check(
            40,
            "           without mesh     with mesh
-------------------------------------
backend-1             0         1,000
backend-2         3,000         1,000
backend-3             0         1,000
-------------------------------------
CoV                1.41          0.00
max/mean           3.00          1.00
p50             0.50 ms       0.50 ms
p99             12.2 ms       12.2 ms
",
        );
    }

    #[test]
    fn wider_terminals_get_bars() {
        check(
            60,
            "           without mesh                with mesh
-----------------------------------------------------------
backend-1             0                    1,000 ####
backend-2         3,000 ##########         1,000 ####
backend-3             0                    1,000 ####
-----------------------------------------------------------
CoV                1.41                     0.00
max/mean           3.00                     1.00
p50             0.50 ms                  0.50 ms
p99             12.2 ms                  12.2 ms
",
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
