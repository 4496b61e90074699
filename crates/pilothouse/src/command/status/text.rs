//! Statuses as lines for people: one per object, and beneath it what its author
//! should read.

use std::fmt::Write as _;

use mesh_pilot::rule_status::RuleStatus;

use super::reason;
use crate::terminal::{self, paint};

/// `statuses` for a terminal of `width` columns.
pub(super) fn render(statuses: &[RuleStatus], width: usize) -> String {
    let mut text = String::new();
    for status in statuses {
        let word = summary(status);
        let style = match word.as_str() {
            "accepted" => terminal::GOOD,
            w if w.starts_with("effective") => terminal::GOOD,
            w if w.starts_with("waiting") || w.starts_with("no proxy") => terminal::WARNING,
            _ => terminal::ERROR,
        };
        let _ = writeln!(text, "{}  {}", paint(terminal::NAME, &status.object.to_string()), paint(style, &word));
        if let Some(location) = &status.location {
            let _ = writeln!(text, "  {}", paint(terminal::FAINT, &location.to_string()));
        }
        for condition in &status.conditions {
            for line in reason(condition).into_iter().flat_map(|r| terminal::wrap("  ", r, width)) {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    if statuses.is_empty() {
        text.push_str("There are no rules.\n");
    }
    text
}

/// The one thing to know first.
fn summary(status: &RuleStatus) -> String {
    let condition = |kind| status.condition(kind);
    if let Some(accepted) = condition("Accepted").filter(|c| c.holds != Some(true)) {
        return match accepted.reason.as_str() {
            "PreviousVersion" => "refused; the previous version is in force".to_owned(),
            _ => "refused".to_owned(),
        };
    }
    if condition("Conflicting").is_some_and(|c| c.holds == Some(true)) {
        return "in conflict".to_owned();
    }
    let Some(reach) = &status.reach else { return "accepted".to_owned() };
    let on = format!("on {} of {} proxies", reach.on, reach.of);
    match condition("Effective").map(|c| c.reason.as_str()) {
        Some("Effective") => format!("effective {on}"),
        Some("NoProxy") => "no proxy needs it".to_owned(),
        Some("Refused") => format!("refused by a proxy; {on}"),
        _ => format!("waiting: {on}"),
    }
}

#[cfg(test)]
mod tests {
    //! The lines of one object, in each of its states.

    use mesh_model::{Kind, ObjectRef};
    use mesh_pilot::rule_status::{Condition, Reach};

    use super::*;

    fn check(conditions: &[(&str, Option<bool>, &str, &str)], reach: Option<Reach>, expected: &str) {
        let condition = |(kind, holds, reason, message): &(&str, Option<bool>, &str, &str)| Condition {
            kind: (*kind).to_owned(),
            holds: *holds,
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
        };
        let object = ObjectRef { kind: Kind::Sidecar, namespace: "shop".into(), name: "a".into() };
        let conditions = conditions.iter().map(condition).collect();
        let status = RuleStatus { object, location: None, conditions, reach };
        assert_eq!(anstream::adapter::strip_str(&render(&[status], 40)).to_string(), expected);
    }

    #[test]
    fn the_first_line_says_what_to_know_first() {
        let well = ("Accepted", Some(true), "Accepted", "");
        check(&[well], None, "Sidecar shop/a  accepted\n");
        let reach = Reach { on: 2, of: 2, waiting: Vec::new() };
        let effective = ("Effective", Some(true), "Effective", "on 2 of 2 proxies");
        check(&[well, effective], Some(reach), "Sidecar shop/a  effective on 2 of 2 proxies\n");
        let wrong = ("Accepted", Some(false), "Invalid", "spec.egress: found 1, expected a list; it is ignored");
        check(&[wrong], None, "Sidecar shop/a  refused\n  spec.egress: found 1, expected a list;\n  it is ignored\n");
    }
}
