//! Rows of figures, as a table for people or JSON for programs.

use serde_json::{Map, Value, json};

use super::Format;

/// One side's figures of a row, by name, in the order in which they are printed.
pub(super) type Figures = Vec<(&'static str, f64)>;

/// One row: the figures of one or both sides.
pub(super) struct Row {
    pub(super) name: String,
    /// The figure that counts most, ours over Envoy's; below 1 is better.
    pub(super) ratio: Option<f64>,
    pub(super) ours: Figures,
    pub(super) envoy: Option<Figures>,
}

/// Prints all rows.
pub(super) fn print(rows: &[Row], format: Format) {
    match format {
        Format::Json => println!("{:#}", Value::Array(rows.iter().map(Row::json).collect())),
        Format::Table => rows.iter().for_each(|row| print!("{}", row.text())),
    }
}

/// The middle one of some figures; the mean of the middle two of an even number.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}

impl Row {
    fn json(&self) -> Value {
        let mut row = Map::new();
        row.insert("row".into(), json!(self.name));
        row.insert("ours".into(), object(&self.ours));
        if let Some(envoy) = &self.envoy {
            row.insert("envoy".into(), object(envoy));
        }
        if let Some(ratio) = self.ratio {
            row.insert("ratio".into(), json!(rounded(ratio)));
        }
        Value::Object(row)
    }

    fn text(&self) -> String {
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2}x Envoy's CPU")).unwrap_or_default();
        let mut text = format!("{:<22} {ratio}\n", self.name);
        text += &line("ours", &self.ours);
        if let Some(envoy) = &self.envoy {
            text += &line("envoy", envoy);
        }
        text
    }
}

fn line(who: &str, figures: &Figures) -> String {
    let parts: Vec<String> = figures.iter().map(|(name, figure)| format!("{name} {}", rounded(*figure))).collect();
    format!("    {who:<6} {}\n", parts.join("  "))
}

fn object(figures: &Figures) -> Value {
    Value::Object(figures.iter().map(|(name, figure)| ((*name).to_owned(), json!(rounded(*figure)))).collect())
}

/// Three digits after the point are more than the noise leaves.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
