//! Routes and matches that nothing is left for, with the one that takes all.
//!
//! Only what is proved is told: a regular expression covers none but itself, and
//! a rule that delegates covers nothing, since its delegate may let a request
//! pass.

mod covers;

use super::Shared;
use super::codes::{IMPOSSIBLE_MATCH, SHADOWED_MATCH, SHADOWED_ROUTE};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::VIRTUAL_SERVICE;
use crate::schema::At;

/// Matches of one rule that later ones are compared with.
const MATCHES_MAX: usize = 2_000;
/// Pairs of matches of one rule that are compared as a whole; with more, the
/// rest is not looked at, so that the time stays bounded.
const PAIRS_MAX: usize = 100_000;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for rule in mesh.all(VIRTUAL_SERVICE) {
        for protocol in ["http", "tls", "tcp"] {
            check(rule, protocol, findings);
        }
    }
}

/// A match that stands before others.
struct Earlier<'a> {
    at: At<'a>,
    uri: covers::Uri<'a>,
    title: String,
}

fn check(rule: &Shared, protocol: &str, findings: &mut Findings) {
    let spec = rule.spec();
    let gateways = spec.get("gateways").texts();
    let mut before: Vec<Earlier<'_>> = Vec::new();
    let mut pairs = 0;
    for (index, route) in spec.get(protocol).items().iter().enumerate() {
        let title = title(protocol, route, index);
        let matches = route.get("match").items();
        if matches.is_empty() {
            // What comes after it has Istio's own code.
            return;
        }
        let mut taken_by = |at: &At<'_>| {
            let uri = covers::Uri::of(at);
            before.iter().find(|b| {
                let may = b.uri.may_cover(&uri) && pairs < PAIRS_MAX;
                pairs += usize::from(may);
                may && covers::covers(protocol, &b.at, at, &gateways)
            })
        };
        let taken: Vec<Option<&Earlier<'_>>> = matches.iter().map(&mut taken_by).collect();
        let said: Vec<String> = taken.iter().flatten().map(|b| format!("{} (line {})", b.title, b.at.line())).collect();
        if said.len() == matches.len() {
            let mut takers = said;
            takers.dedup();
            let message = format!(
                "Route {title} never matches: {} comes first and takes all that it would",
                takers.join(" and ")
            );
            findings.push_at(&SHADOWED_ROUTE, rule, route, message);
        } else {
            for (at, taker) in matches.iter().zip(&taken).filter_map(|(at, taker)| taker.map(|taker| (at, taker))) {
                let message = format!(
                    "A match of route {title} never applies: {} (line {}) comes first and wins",
                    taker.title,
                    taker.at.line()
                );
                findings.push_at(&SHADOWED_MATCH, rule, at, message);
            }
        }
        for at in &matches {
            if let Some(why) = covers::impossible(at, &gateways) {
                findings.push_at(
                    &IMPOSSIBLE_MATCH,
                    rule,
                    at,
                    format!("A match of route {title} can never hold: {why}"),
                );
            }
        }
        if !route.get("delegate").exists() && before.len() < MATCHES_MAX {
            before.extend(matches.into_iter().map(|at| Earlier {
                uri: covers::Uri::of(&at),
                at,
                title: title.clone(),
            }));
        }
    }
}

fn title(protocol: &str, route: &At<'_>, index: usize) -> String {
    match route.get("name").text() {
        "" => format!("{protocol}[{index}]"),
        name => format!("{name:?}"),
    }
}
