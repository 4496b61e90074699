//! Selectors of labels, and how they are written.

use mesh_model::Labels;

use crate::schema::At;

/// The selector in a map of labels. An empty one selects everything.
pub(super) fn labels(at: &At<'_>) -> Labels {
    at.pairs().into_iter().collect()
}

/// `a=b,c=d`
pub(super) fn text(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Where the first of a selector's labels stands, to point at.
pub(super) fn first<'a>(map: &At<'a>) -> At<'a> {
    let mut entries = map.entries();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().next().map_or_else(|| map.clone(), |(_, at)| at)
}

/// Whether a Kubernetes label selector (`matchLabels` and `matchExpressions`)
/// selects `labels`. One that is absent or empty selects everything; one that
/// makes no sense selects nothing.
pub(super) fn matches(selector: &At<'_>, labels: &Labels) -> bool {
    let expression = |at: &At<'_>| {
        let key = at.get("key");
        let value = labels.get(key.text());
        let values = at.get("values").texts();
        match at.get("operator").text() {
            "In" => value.is_some_and(|value| values.contains(&value)),
            "NotIn" => value.is_none_or(|value| !values.contains(&value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    self::labels(&selector.get("matchLabels")).selects(labels)
        && selector.get("matchExpressions").items().iter().all(expression)
}
