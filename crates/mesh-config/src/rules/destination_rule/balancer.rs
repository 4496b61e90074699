//! Load balancers, and the keys by which requests are hashed.
//!
//! Source: `validateLoadBalancer`, istio `pkg/config/validation/validation.go`.

use mesh_model::Code;
use mesh_model::rules::destination_rule::{
    Algorithm, ConsistentHash, Cookie, HashAlgorithm, HashKey, LoadBalancer, Warmup,
};

use super::locality;
use crate::reader::{Fields, Value};

/// `watched`: whether outlier detection stands beside it.
pub(super) fn read(value: &Value<'_>, watched: bool) -> Option<LoadBalancer> {
    let fields = value.fields()?;
    one_of(&fields, &["simple", "consistentHash", "backendUtilization"]);
    let simple = fields.optional("simple").map(|v| {
        v.one_of(&[
            ("LEAST_REQUEST", Simple::LeastRequest),
            ("ROUND_ROBIN", Simple::RoundRobin),
            ("RANDOM", Simple::Random),
            ("PASSTHROUGH", Simple::Passthrough),
            ("LEAST_CONN", Simple::LeastRequest),
            ("UNSPECIFIED", Simple::LeastRequest),
        ])
    });
    let consistent = fields.optional("consistentHash").and_then(|v| consistent_hash(&v));
    let consequence = "LEAST_REQUEST is used and the rest of the object applies";
    fields.not_applied_but(&["backendUtilization"], consequence);
    let algorithm = match (consistent, simple) {
        (Some(hash), _) => Algorithm::ConsistentHash(hash),
        (None, None) => Algorithm::LeastRequest,
        (None, Some(simple)) => match simple? {
            Simple::LeastRequest => Algorithm::LeastRequest,
            Simple::RoundRobin => Algorithm::RoundRobin,
            Simple::Random => Algorithm::Random,
            Simple::Passthrough => Algorithm::Passthrough,
        },
    };
    one_of(&fields, &["localityLbSetting", "zoneAwareLbSetting"]);
    let locality = fields.optional("localityLbSetting").and_then(|v| locality::read(&v, Some(watched)));
    let zone_aware = fields.optional("zoneAwareLbSetting").and_then(|v| locality::read_zone_aware(&v, Some(watched)));
    let old = fields.optional("warmupDurationSecs").and_then(|v| v.duration());
    let warmup = match fields.optional("warmup") {
        Some(v) => warmup(&v),
        None => old.map(|duration| Warmup { duration, minimum_percent: None, aggression: None }),
    };
    fields.finish();
    Some(LoadBalancer { algorithm, locality, zone_aware, warmup })
}

#[derive(Clone, Copy)]
enum Simple {
    LeastRequest,
    RoundRobin,
    Random,
    Passthrough,
}

/// Reports it if more than one of these fields is there.
fn one_of(fields: &Fields<'_>, names: &[&'static str]) {
    let found: Vec<&str> = names.iter().copied().filter(|name| fields.has(name)).collect();
    if found.len() > 1 {
        fields.error::<()>(format!("found {} together, expected only one of them", found.join(" and ")));
    }
}

fn warmup(value: &Value<'_>) -> Option<Warmup> {
    let fields = value.fields()?;
    let duration = fields.required("duration", "a duration").and_then(|v| v.duration());
    let minimum_percent = fields.optional("minimumPercent").and_then(|v| v.number(0.0, 100.0));
    let aggression = fields.optional("aggression").and_then(|v| match v.number(0.0, f64::INFINITY)? {
        0.0 => v.invalid("a number greater than 0"),
        aggression => Some(aggression),
    });
    fields.finish();
    Some(Warmup { duration: duration?, minimum_percent, aggression })
}

fn consistent_hash(value: &Value<'_>) -> Option<ConsistentHash> {
    let fields = value.fields()?;
    one_of(&fields, &["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"]);
    let header = fields.optional("httpHeaderName").and_then(|v| header_name(&v)).map(HashKey::Header);
    let cookie = fields.optional("httpCookie").and_then(|v| cookie(&v)).map(HashKey::Cookie);
    let source = fields.optional("useSourceIp").and_then(|v| v.boolean()).filter(|used| *used);
    let query = fields.optional("httpQueryParameterName").and_then(|v| v.filled_text("a query parameter's name"));
    let key = header.or(cookie).or(source.map(|_| HashKey::SourceIp)).or(query.map(HashKey::Query));
    let algorithm = algorithm(&fields);
    fields.finish();
    Some(ConsistentHash { key, algorithm: algorithm? })
}

fn algorithm(fields: &Fields<'_>) -> Option<HashAlgorithm> {
    one_of(fields, &["ringHash", "maglev"]);
    let ring_size = |v: &Value<'_>| v.integer(0, RING_SIZE_MAX).and_then(|size| u64::try_from(size).ok());
    if let Some(value) = fields.optional("minimumRingSize") {
        let size = ring_size(&value)?;
        if size != 0 && (fields.has("ringHash") || fields.has("maglev")) {
            return value
                .error("found minimumRingSize beside ringHash or maglev, expected only one of them".to_owned());
        }
        if size != 0 {
            let message = "found a deprecated field, expected ringHash.minimumRingSize";
            value.warn(Code::InvalidValue, message.to_owned(), "it applies all the same");
            return Some(HashAlgorithm::RingHash(Some(size)));
        }
    }
    if let Some(value) = fields.optional("maglev") {
        let maglev = value.fields()?;
        let size = maglev.required("tableSize", TABLE_SIZE).and_then(|v| {
            let size = v.integer(0, i64::MAX).and_then(|size| u64::try_from(size).ok())?;
            if size < TABLE_SIZE_END && is_prime(size) { Some(size) } else { v.invalid(TABLE_SIZE) }
        });
        maglev.finish();
        return size.map(HashAlgorithm::Maglev);
    }
    let Some(value) = fields.optional("ringHash") else { return Some(HashAlgorithm::RingHash(None)) };
    let ring = value.fields()?;
    let size = ring.optional("minimumRingSize").map_or(Some(0), |v| ring_size(&v));
    ring.finish();
    size.map(|size| HashAlgorithm::RingHash(Some(size).filter(|size| *size > 0)))
}

fn header_name(value: &Value<'_>) -> Option<mesh_model::Name> {
    let expected = "a header's name";
    let name = value.filled_text(expected)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&b);
    if name.bytes().all(token) { Some(name) } else { value.invalid(expected) }
}

fn cookie(value: &Value<'_>) -> Option<Cookie> {
    let fields = value.fields()?;
    let name = fields.required("name", "a cookie's name").and_then(|v| v.filled_text("a cookie's name"));
    let path = fields.optional("path").map_or(Some("".into()), |v| part_of_a_cookie(&v));
    let ttl = fields.optional("ttl").and_then(|v| v.duration_or_zero());
    let attributes = fields.optional("attributes").map_or(Some(Vec::new()), |v| attributes(&v));
    fields.finish();
    Some(Cookie { name: name?, path: path?, ttl, attributes: attributes? })
}

fn attributes(value: &Value<'_>) -> Option<Vec<(mesh_model::Name, mesh_model::Name)>> {
    let mut attributes: Vec<(mesh_model::Name, mesh_model::Name)> = Vec::new();
    for item in value.items()? {
        let fields = item.fields()?;
        let name = fields.required("name", "an attribute's name").and_then(|v| {
            v.filled_text("an attribute's name")?;
            part_of_a_cookie(&v)
        });
        let content = fields.optional("value").map_or(Some("".into()), |v| part_of_a_cookie(&v));
        fields.finish();
        let (Some(name), Some(content)) = (name, content) else { continue };
        if attributes.iter().any(|(other, _)| *other == name) {
            item.error::<()>(format!("attribute {name} stands twice, expected each name once"));
        }
        attributes.push((name, content));
    }
    Some(attributes)
}

/// What stands between `;` in a `Set-Cookie`. A proxy refuses other characters
/// with the whole route table.
fn part_of_a_cookie(value: &Value<'_>) -> Option<mesh_model::Name> {
    let text = value.text()?;
    let fits = text.len() <= COOKIE_PART_BYTES_MAX && text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b';');
    if fits { Some(text) } else { value.invalid("at most 16384 printable characters without ;") }
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|factor| factor * factor <= number).all(|factor: u64| !number.is_multiple_of(factor))
}

/// Envoy's bound of a ring.
const RING_SIZE_MAX: i64 = 8_388_608;
/// Istio's bound of a table; sizes stay below it.
const TABLE_SIZE_END: u64 = 5_000_011;
const TABLE_SIZE: &str = "a prime number below 5000011";
/// Envoy's bound of an attribute.
const COOKIE_PART_BYTES_MAX: usize = 16_384;
