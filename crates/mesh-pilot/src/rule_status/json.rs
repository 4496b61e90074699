//! Statuses as JSON, for `/debug/rule_status`, and read back.

use serde_json::{Value, json};

use super::{Condition, Reach, RuleStatus, Waiting};
use crate::objects;
use crate::view::JsonError;

impl RuleStatus {
    /// `{"object": "Kind/namespace/name", "file", "line", "conditions": [..], "reach": {"on", "of", "waiting": [..]}}`.
    pub fn to_json(&self) -> Value {
        let conditions = self.conditions.iter().map(|c| {
            let status = match c.holds {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            json!({ "type": c.kind, "status": status, "reason": c.reason, "message": c.message })
        });
        let reach = self.reach.as_ref().map(|reach| {
            let waiting = reach.waiting.iter().map(|w| json!({ "proxy": w.proxy, "error": w.error }));
            json!({ "on": reach.on, "of": reach.of, "waiting": waiting.collect::<Vec<_>>() })
        });
        json!({
            "object": objects::key(&self.object),
            "file": self.location.as_ref().map(|l| &*l.file),
            "line": self.location.as_ref().map(|l| l.line),
            "conditions": conditions.collect::<Vec<_>>(),
            "reach": reach,
        })
    }

    /// Reads what [`RuleStatus::to_json`] wrote.
    ///
    /// # Errors
    /// [`JsonError`] with the field that is not as it should be.
    pub fn from_json(value: &Value) -> Result<Self, JsonError> {
        let key = value["object"].as_str().unwrap_or_default();
        let object = mesh_proto::origin::Origin::parse(key).as_ref().and_then(objects::parse);
        let object = object.ok_or_else(|| JsonError {
            field: "object".to_owned(),
            found: value["object"].to_string(),
            expected: "Kind/namespace/name".to_owned(),
        })?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = value["line"].as_u64().and_then(|line| u32::try_from(line).ok());
        let location =
            value["file"].as_str().zip(line).map(|(file, line)| mesh_model::SourceLocation { file: file.into(), line });
        let conditions = list(&value["conditions"]).map(|c| Condition {
            kind: text(&c["type"]),
            holds: match c["status"].as_str() {
                Some("True") => Some(true),
                Some("False") => Some(false),
                _ => None,
            },
            reason: text(&c["reason"]),
            message: text(&c["message"]),
        });
        let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let reach = value["reach"].as_object().map(|_| {
            let reach = &value["reach"];
            let waiting = list(&reach["waiting"])
                .map(|w| Waiting { proxy: text(&w["proxy"]), error: w["error"].as_str().map(str::to_owned) });
            Reach { on: count(&reach["on"]), of: count(&reach["of"]), waiting: waiting.collect() }
        });
        Ok(Self { object, location, conditions: conditions.collect(), reach })
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
