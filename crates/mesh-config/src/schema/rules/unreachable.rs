//! Rules and matches of one VirtualService that an earlier rule leaves nothing
//! for, as Istio finds them.
//!
//! What is found here is what Istio says, with its codes (IST0130, IST0131). The
//! stricter proof, which has no false alarms, is `analysis::shadowed`.
//!
//! Source: `analyzeUnreachableHTTPRules` and its siblings, istio
//! `pkg/config/validation`.

use std::collections::{BTreeMap, HashMap};

use crate::schema::At;

/// Something that an earlier rule leaves nothing for.
pub(crate) enum Finding<'a> {
    /// A whole rule.
    Rule {
        /// The rule.
        at: At<'a>,
        /// Its name in quotes, or its number.
        rule: String,
        /// Why.
        reason: &'static str,
    },
    /// One match of a rule.
    Match {
        /// The match.
        at: At<'a>,
        /// Its rule.
        rule: String,
        /// Its name in quotes, or its number.
        name: String,
        /// The rule that comes before.
        before: String,
    },
}

/// All rules and matches of `spec` that are never used.
pub(crate) fn find<'a>(spec: &At<'a>) -> Vec<Finding<'a>> {
    let mut found = Vec::new();
    let http = spec.get("http").items();
    let matches = repeated(&http, &mut found);
    covered(&matches, &mut found);
    for name in ["tcp", "tls"] {
        repeated(&spec.get(name).items(), &mut found);
    }
    found
}

/// A match with its rule, both with their names.
struct Match<'a> {
    at: At<'a>,
    rule: String,
    name: String,
}

/// Finds rules behind one without matches, and matches that stand twice;
/// returns the others.
fn repeated<'a>(rules: &[At<'a>], found: &mut Vec<Finding<'a>>) -> Vec<Match<'a>> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut rest = Vec::new();
    let mut catch_all = false;
    for (index, rule) in rules.iter().enumerate() {
        let title = title(rule, index);
        let matches = rule.get("match").items();
        if matches.is_empty() {
            if catch_all {
                let reason = "only the last rule can have no matches";
                found.push(Finding::Rule { at: rule.clone(), rule: title, reason });
            }
            catch_all = true;
            continue;
        }
        let mut repeats = 0;
        for (number, at) in matches.iter().enumerate() {
            if catch_all {
                let reason = "a rule without matches stands before it";
                found.push(Finding::Rule { at: rule.clone(), rule: title.clone(), reason });
                continue;
            }
            let name = self::title(at, number);
            if let Some(before) = first.get(&content(at)) {
                repeats += 1;
                let before = self::title(&rules[*before], *before);
                found.push(Finding::Match { at: at.clone(), rule: title.clone(), name, before });
                continue;
            }
            first.insert(content(at), index);
            rest.push(Match { at: at.clone(), rule: title.clone(), name });
        }
        if repeats == matches.len() {
            let reason = "all its matches stand in rules before it";
            found.push(Finding::Rule { at: rule.clone(), rule: title, reason });
        }
    }
    rest
}

/// A rule's or match's name in quotes, or its number.
fn title(at: &At<'_>, index: usize) -> String {
    match at.get("name").text() {
        "" => format!("#{index}"),
        name => format!("{name:?}"),
    }
}

/// What a match says, but for its name, in an order that does not matter.
fn content(at: &At<'_>) -> String {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value as Json;
        match value {
            Json::Object(map) => {
                let ordered: BTreeMap<String, Json> =
                    map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, sorted(v))).collect();
                Json::Object(ordered.into_iter().collect())
            }
            Json::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    let mut json = at.node().map(|node| node.to_json()).unwrap_or_default();
    if let Some(map) = json.as_object_mut() {
        map.remove("name");
    }
    sorted(json).to_string()
}

/// Matches by prefix that are compared with each other: with more, a rule for
/// each pair would be too many.
const PREFIXES_MAX: usize = 2_000;

/// What Istio looks at in a match by prefix.
struct Prefix<'m, 'a> {
    of: &'m Match<'a>,
    uri: &'a str,
    port: i64,
    method: String,
    authority: String,
    conditions: [BTreeMap<&'a str, String>; 3],
}

fn covered<'a>(matches: &[Match<'a>], found: &mut Vec<Finding<'a>>) {
    let prefixes: Vec<Prefix<'_, 'a>> = matches.iter().filter_map(prefix).take(PREFIXES_MAX).collect();
    for (index, earlier) in prefixes.iter().enumerate() {
        for later in &prefixes[index + 1..] {
            if earlier.uri != later.uri && covers(earlier, later) {
                found.push(Finding::Match {
                    at: later.of.at.clone(),
                    rule: later.of.rule.clone(),
                    name: format!("{} of prefix {}", later.of.name, later.uri),
                    before: format!("{} of prefix {} on {}", earlier.of.name, earlier.uri, earlier.of.rule),
                });
            }
        }
    }
}

fn prefix<'m, 'a>(of: &'m Match<'a>) -> Option<Prefix<'m, 'a>> {
    let at = &of.at;
    let uri = at.path(&["uri", "prefix"]).text();
    if uri.is_empty() {
        return None;
    }
    let conditions = |name: &str| at.get(name).entries().into_iter().map(|(key, at)| (key, kind_of(&at))).collect();
    let method = Some(kind_of(&at.get("method"))).filter(|m| !m.is_empty());
    Some(Prefix {
        of,
        uri,
        port: at.get("port").int().unwrap_or(0),
        method: method.unwrap_or_else(|| format!("{EXACT}GET")),
        authority: kind_of(&at.get("authority")),
        conditions: [conditions("headers"), conditions("queryParams"), conditions("withoutHeaders")],
    })
}

const EXACT: &str = "exact ";

fn kind_of(at: &At<'_>) -> String {
    match (at.get("exact").text(), at.get("prefix").text()) {
        ("", "") => String::new(),
        ("", prefix) => format!("prefix {prefix}"),
        (exact, _) => format!("{EXACT}{exact}"),
    }
}

/// The comparison is Istio's, with what is odd about it: its codes are kept
/// comparable.
fn covers(earlier: &Prefix<'_, '_>, later: &Prefix<'_, '_>) -> bool {
    let narrower = |a: &str, b: &str| a == b || a.starts_with(b);
    later.uri.starts_with(earlier.uri)
        && later.port == earlier.port
        && narrower(&earlier.method, &later.method)
        && narrower(&earlier.authority, &later.authority)
        && earlier.conditions.iter().zip(&later.conditions).all(|(a, b)| {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| narrower(value, other)))
        })
}
