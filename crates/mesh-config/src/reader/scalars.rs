//! Typed values of single nodes.

use std::net::IpAddr;
use std::time::Duration;

use mesh_model::{Hostname, Labels, Name};
use regex::RegexBuilder;

use super::Value;
use super::fields::closest;
use crate::yaml;

/// Bytes of a regular expression that a rule may hold. Envoy's own limit of
/// RE2 program size allows about as much.
const REGEX_BYTES_MAX: usize = 1024;
/// Bytes of a compiled expression.
const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Longest duration that a rule may set: protobuf's own bound.
const DURATION_MAX: Duration = Duration::from_secs(315_576_000_000);

impl<'a> Value<'a> {
    /// Text, which may be empty.
    pub fn text(&self) -> Option<Name> {
        match &self.node().value {
            yaml::Value::Text(text) => Some(text.clone()),
            yaml::Value::Bool(_) | yaml::Value::Int(_) | yaml::Value::Float { .. } => {
                self.invalid("text (put the value in quotes)")
            }
            _ => self.invalid("text"),
        }
    }

    /// Text of at least one character.
    pub fn filled_text(&self, expected: &str) -> Option<Name> {
        let text = self.text()?;
        if text.is_empty() { self.invalid(expected) } else { Some(text) }
    }

    /// A boolean.
    pub fn boolean(&self) -> Option<bool> {
        match self.node().value {
            yaml::Value::Bool(value) => Some(value),
            _ => self.invalid("true or false"),
        }
    }

    /// A whole number between `min` and `max`.
    pub fn integer(&self, min: i64, max: i64) -> Option<i64> {
        let whole = match &self.node().value {
            yaml::Value::Int(value) => Some(*value),
            // JSON knows one kind of number: 5.0 is a whole one.
            yaml::Value::Float { value, .. } if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            _ => None,
        };
        match whole {
            Some(value) if (min..=max).contains(&value) => Some(value),
            _ => self.invalid(&format!("a whole number from {min} to {max}")),
        }
    }

    /// Any number between `min` and `max`.
    pub fn number(&self, min: f64, max: f64) -> Option<f64> {
        let number = match &self.node().value {
            yaml::Value::Int(value) => Some(*value as f64),
            yaml::Value::Float { value, .. } => Some(*value),
            _ => None,
        };
        match number {
            Some(value) if value >= min && value <= max => Some(value),
            _ if max.is_finite() => self.invalid(&format!("a number from {min} to {max}")),
            _ => self.invalid(&format!("a number of at least {min}")),
        }
    }

    /// A whole number of 32 bits, 0 or more.
    pub fn unsigned(&self) -> Option<u32> {
        self.integer(0, i64::from(u32::MAX)).and_then(|value| u32::try_from(value).ok())
    }

    /// A count as Istio has them: of 31 bits, 0 or more.
    pub fn count(&self) -> Option<u32> {
        self.integer(0, i64::from(i32::MAX)).and_then(|value| u32::try_from(value).ok())
    }

    /// A port.
    pub fn port(&self) -> Option<u16> {
        self.integer(1, 65535).and_then(|value| u16::try_from(value).ok())
    }

    /// A duration of at least 1 ms, as Go writes them: `1.5s`, `1h30m`.
    pub fn duration(&self) -> Option<Duration> {
        let parsed = self.node().text().and_then(|text| parse_duration(text));
        match parsed {
            Some(value) if value >= Duration::from_millis(1) => Some(value),
            _ => self.invalid("a duration of at least 1ms, such as 1.5s, 250ms or 1h30m"),
        }
    }

    /// As [`Value::duration`], or zero.
    pub fn duration_or_zero(&self) -> Option<Duration> {
        match self.node().text().and_then(|text| parse_duration(text)) {
            Some(Duration::ZERO) => Some(Duration::ZERO),
            _ => self.duration(),
        }
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let found = self.node().text().map_or("", |text| &**text);
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == found) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match closest(found, &names) {
            Some(name) => self.invalid(&format!("one of {}; did you mean {name}?", names.join(", "))),
            None => self.invalid(&format!("one of {}", names.join(", "))),
        }
    }

    /// A list of texts.
    pub fn texts(&self) -> Option<Vec<Name>> {
        let items = self.items()?;
        let texts: Vec<Option<Name>> = items.iter().map(Value::text).collect();
        texts.into_iter().collect()
    }

    /// A map of texts.
    pub fn labels(&self) -> Option<Labels> {
        let entries = self.entries()?;
        let pairs: Vec<Option<(String, String)>> =
            entries.into_iter().map(|(key, value)| Some((key.to_string(), value.text()?.to_string()))).collect();
        pairs.into_iter().collect::<Option<Vec<_>>>().map(Labels::from_iter)
    }

    /// The text of an address. In `[2001:db8::]` YAML 1.2 sees a map with the
    /// key `2001:db8:`, where Kubernetes' parser sees the address that was meant.
    pub(crate) fn address_text(&self) -> Option<Name> {
        match &self.node().value {
            yaml::Value::Map(map) if map.len() == 1 => {
                let (key, value) = map.iter().next()?;
                (value.is_null() && key.text.ends_with(':')).then(|| format!("{}:", key.text).into())
            }
            _ => self.node().text().cloned(),
        }
    }

    /// An IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.address_text().and_then(|text| text.parse().ok()) {
            Some(ip) => Some(ip),
            None => self.invalid("an IP address"),
        }
    }

    /// A regular expression that compiles within bounds, here and in RE2, which
    /// Envoy matches with.
    pub fn regex(&self) -> Option<Name> {
        let text = self.text()?;
        if text.len() > REGEX_BYTES_MAX {
            let message =
                format!("found a regular expression of {} bytes, expected at most {REGEX_BYTES_MAX}", text.len());
            return self.error(message);
        }
        if let Some(why) = refused_by_re2(&text) {
            return self
                .error(format!("found {}, expected a regular expression of RE2's syntax: {why}", yaml::quote(&text)));
        }
        match RegexBuilder::new(&text).size_limit(REGEX_COMPILED_BYTES_MAX).build() {
            Ok(_) => Some(text),
            Err(regex::Error::CompiledTooBig(limit)) => self.error(format!(
                "found {}, expected a regular expression that compiles to at most {limit} bytes",
                yaml::quote(&text)
            )),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.error(format!("found {}, expected a regular expression: {why}", yaml::quote(&text)))
            }
        }
    }

    /// A host name that may begin with `*`; `short` names are allowed and not
    /// resolved here.
    pub fn host(&self) -> Option<Name> {
        let text = self.text()?;
        match is_wildcard_domain(&text) {
            true => Some(text),
            false => self.invalid("a host name such as reviews, a.example.com or *.example.com"),
        }
    }

    /// A fully resolved host name: short ones are meant in `namespace`.
    pub fn resolved_host(&self, namespace: &str, domain: &str) -> Option<Hostname> {
        self.host().map(|text| Hostname::resolve(&text, namespace, domain))
    }
}

/// What RE2 does not understand though Rust's `regex` does; `None` if nothing
/// is found. An unmodified Envoy would refuse the whole route table.
fn refused_by_re2(text: &str) -> Option<&'static str> {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{', '(']) {
        let (here, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match here {
            b'\\' => {
                let escaped = after.chars().next()?;
                if matches!(escaped, 'u' | 'U' | '<' | '>') || after.starts_with("b{") {
                    return Some("it has no such escape");
                }
                rest = &after[escaped.len_utf8()..];
            }
            b'{' => {
                let bounds = after.split('}').next().unwrap_or_default();
                if bounds.split(',').any(|n| n.trim().parse::<u64>().is_ok_and(|n| n > RE2_REPEATS_MAX)) {
                    return Some("at most 1000 repetitions");
                }
            }
            _ => {
                let flags: &str =
                    after.strip_prefix('?').map_or("", |f| f.split([':', ')', '<', 'P']).next().unwrap_or(""));
                if flags.contains(['x', 'u', 'R']) {
                    return Some("its flags are i, m, s and U");
                }
            }
        }
    }
    None
}

const RE2_REPEATS_MAX: u64 = 1000;

/// Reads a duration as Go's `time.ParseDuration` does; `None` if it is none, is
/// negative or beyond protobuf's bound.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: f64 = 0.0;
    let mut nanos: u128 = 0;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = &rest[..digits];
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: u64 = match &rest[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[unit_end..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(u128::from(whole) * u128::from(unit))?;
        if !fraction.is_empty() {
            total += format!("0.{fraction}").parse::<f64>().ok()? * unit as f64;
        }
    }
    let nanos = nanos.checked_add(total.round() as u128)?;
    let duration =
        Duration::new(u64::try_from(nanos / 1_000_000_000).ok()?, u32::try_from(nanos % 1_000_000_000).ok()?);
    (duration <= DURATION_MAX).then_some(duration)
}

/// Whether `text` is a host name, one that begins with `*`, or `*` alone.
///
/// Source: `ValidateWildcardDomain`, istio `pkg/config/validation/agent`.
pub fn is_wildcard_domain(text: &str) -> bool {
    match text.strip_prefix('*') {
        Some("") => true,
        Some(rest) => match rest.strip_prefix('.') {
            Some(rest) => is_domain(rest),
            // `*foo.com` and `*-foo.com` are allowed.
            None => is_domain(&format!("a{rest}")),
        },
        None => is_domain(text),
    }
}

/// Whether `text` is a DNS name: labels of at most 63 letters, digits and `-`,
/// at most 255 bytes in all. `_` is allowed, since names in the wild have it.
pub fn is_domain(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let right = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    text.len() <= 255 && text.split('.').all(right)
}
