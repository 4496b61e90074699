//! Whether one match holds wherever another does.

use crate::analysis::selector;
use crate::schema::At;

/// What a match asks of the path, to tell most pairs apart at once.
pub(super) struct Uri<'a> {
    exact: &'a str,
    prefix: &'a str,
    regex: &'a str,
    ignores_case: bool,
}

impl<'a> Uri<'a> {
    pub(super) fn of(at: &At<'a>) -> Self {
        let uri = at.get("uri");
        let text = |name| uri.get(name).text();
        let ignores_case = at.get("ignoreUriCase").is_true();
        Self { exact: text("exact"), prefix: text("prefix"), regex: text("regex"), ignores_case }
    }

    /// `false` if this path's condition surely leaves something of the other's.
    pub(super) fn may_cover(&self, later: &Uri<'_>) -> bool {
        match (self.exact, self.prefix, self.regex) {
            _ if self.ignores_case => true,
            ("", "", "") => true,
            ("", "", regex) => later.regex == regex,
            ("", prefix, _) => later.exact.starts_with(prefix) || later.prefix.starts_with(prefix),
            (exact, _, _) => later.exact == exact,
        }
    }
}

/// Whether every request that `later` takes is taken by `earlier`, both matches
/// of a rule for `gateways`.
pub(super) fn covers(protocol: &str, earlier: &At<'_>, later: &At<'_>, gateways: &[&str]) -> bool {
    let equal = |name: &str| {
        !earlier.get(name).exists() || earlier.get(name).node().map(value) == later.get(name).node().map(value)
    };
    let labels = |at: &At<'_>| selector::labels(&at.get("sourceLabels"));
    equal("port")
        && equal("sourceNamespace")
        && equal("sourceSubnet")
        && labels(earlier).selects(&labels(later))
        && gateways_cover(earlier, later, gateways)
        && match protocol {
            "http" => http_covers(earlier, later),
            "tls" => snis_cover(earlier, later) && subnets_cover(earlier, later),
            _ => subnets_cover(earlier, later),
        }
}

fn value(node: &crate::yaml::Node) -> &crate::yaml::Value {
    &node.value
}

fn gateways_cover(earlier: &At<'_>, later: &At<'_>, gateways: &[&str]) -> bool {
    let own = earlier.get("gateways").texts();
    let theirs = later.get("gateways").texts();
    let theirs = if theirs.is_empty() { gateways.to_vec() } else { theirs };
    own.is_empty() || (!theirs.is_empty() && theirs.iter().all(|gateway| own.contains(gateway)))
}

fn snis_cover(earlier: &At<'_>, later: &At<'_>) -> bool {
    let own = earlier.get("sniHosts").texts();
    let covered = |host: &&str| {
        own.iter().any(|own| match own.strip_prefix('*') {
            Some(suffix) => host.trim_start_matches('*').ends_with(suffix),
            None => own == host,
        })
    };
    let theirs = later.get("sniHosts").texts();
    !theirs.is_empty() && theirs.iter().all(covered)
}

fn subnets_cover(earlier: &At<'_>, later: &At<'_>) -> bool {
    let own = earlier.get("destinationSubnets").texts();
    let theirs = later.get("destinationSubnets").texts();
    own.is_empty() || (!theirs.is_empty() && theirs.iter().all(|subnet| own.contains(subnet)))
}

fn http_covers(earlier: &At<'_>, later: &At<'_>) -> bool {
    ["scheme", "method", "authority"].iter().all(|name| string(&earlier.get(name), &later.get(name)))
        && uri(earlier, later)
        && named(earlier, later, "headers", true)
        && named(earlier, later, "queryParams", false)
        && without(earlier, later)
}

/// Whether a condition on a text holds wherever another one does.
fn string(earlier: &At<'_>, later: &At<'_>) -> bool {
    let part = |at: &At<'_>, name: &str| Some(at.get(name)).filter(At::exists).map(|at| at.text().to_owned());
    let (exact, prefix, regex) = (part(later, "exact"), part(later, "prefix"), part(later, "regex"));
    match (part(earlier, "exact"), part(earlier, "prefix"), part(earlier, "regex")) {
        (Some(own), _, _) => exact == Some(own),
        (_, Some(own), _) => [exact, prefix].into_iter().flatten().any(|text| text.starts_with(&own)),
        (_, _, Some(own)) => regex == Some(own),
        _ => true,
    }
}

fn uri(earlier: &At<'_>, later: &At<'_>) -> bool {
    let ignores = |at: &At<'_>| at.get("ignoreUriCase").is_true();
    let (a, b) = (earlier.get("uri"), later.get("uri"));
    if !a.exists() {
        return true;
    }
    match (ignores(earlier), ignores(later)) {
        // The later one takes spellings that the earlier one does not.
        (false, true) => false,
        _ => string(&a, &b),
    }
}

fn named(earlier: &At<'_>, later: &At<'_>, field: &str, any_case: bool) -> bool {
    let theirs = later.get(field).entries();
    let same = |a: &str, b: &str| if any_case { a.eq_ignore_ascii_case(b) } else { a == b };
    earlier
        .get(field)
        .entries()
        .iter()
        .all(|(name, own)| theirs.iter().any(|(other, at)| same(name, other) && string(own, at)))
}

/// What must not be there for the earlier one must not be there for the later.
fn without(earlier: &At<'_>, later: &At<'_>) -> bool {
    let theirs = later.get("withoutHeaders").entries();
    earlier
        .get("withoutHeaders")
        .entries()
        .iter()
        .all(|(name, own)| theirs.iter().any(|(other, at)| name.eq_ignore_ascii_case(other) && string(at, own)))
}

/// Why a match holds for no request at all.
pub(super) fn impossible(at: &At<'_>, gateways: &[&str]) -> Option<String> {
    let (exact, prefix) = (at.path(&["uri", "exact"]).text(), at.path(&["uri", "prefix"]).text());
    if !exact.is_empty() && !exact.starts_with('/') && exact != "*" {
        return Some(format!("no path is {exact:?}, since paths begin with a slash"));
    }
    if !prefix.is_empty() && !prefix.starts_with('/') && prefix != "*" {
        return Some(format!("no path begins with {prefix:?}, since paths begin with a slash"));
    }
    let without = at.get("withoutHeaders").entries();
    for (name, own) in at.get("headers").entries() {
        if without.iter().any(|(other, forbidden)| name.eq_ignore_ascii_case(other) && string(forbidden, &own)) {
            return Some(format!("it asks for the header {name} and forbids it"));
        }
    }
    let own = at.get("gateways").texts();
    let bound: &[&str] = if gateways.is_empty() { &["mesh"] } else { gateways };
    let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).split('.').next().unwrap_or(name).to_owned();
    let meets = |name: &str| bound.iter().any(|other| bare(other) == bare(name));
    if !own.is_empty() && !own.iter().any(|name| meets(name)) {
        return Some(format!("it is for the gateways {}, and the rule is not", own.join(", ")));
    }
    None
}
