//! Which virtual host has a host among its domains.
//!
//! Precedence is Envoy's: the whole host, then the longest `*suffix`, then the
//! longest `prefix*`, then `*`. Each is a hash lookup; for wildcards one per
//! length that occurs.

use std::borrow::Cow;

use crate::error::{At, ConfigError};
use crate::hash::FastMap;

/// Domains of all virtual hosts of a table.
#[derive(Debug, Default)]
pub(super) struct Domains {
    exact: FastMap<Box<str>, u32>,
    /// `*suffix`, by length, longest first.
    suffixes: Vec<(usize, FastMap<Box<str>, u32>)>,
    /// `prefix*`, by length, longest first.
    prefixes: Vec<(usize, FastMap<Box<str>, u32>)>,
    any: Option<u32>,
}

impl Domains {
    /// Enters one domain of the virtual host at `index`.
    pub(super) fn insert(&mut self, at: &At<'_>, table: &str, domain: &str, index: u32) -> Result<(), ConfigError> {
        let lower = domain.to_ascii_lowercase();
        if lower == "*" {
            if self.any.replace(index).is_some() {
                return Err(at.rule(format!("Only a single wildcard domain is permitted in route {table}")));
            }
            return Ok(());
        }
        let (map, key) = match (lower.strip_prefix('*'), lower.strip_suffix('*')) {
            (Some(suffix), _) => (by_length(&mut self.suffixes, suffix.len()), suffix),
            (None, Some(prefix)) => (by_length(&mut self.prefixes, prefix.len()), prefix),
            (None, None) => (&mut self.exact, lower.as_str()),
        };
        if map.insert(key.into(), index).is_some() {
            return Err(at.rule(format!(
                "Only unique values for domains are permitted. Duplicate entry of domain {lower} in route {table}"
            )));
        }
        Ok(())
    }

    /// The virtual host for `host`, whose case does not matter.
    pub(super) fn find(&self, host: &str) -> Option<u32> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        if let Some(index) = self.exact.get(&*host) {
            return Some(*index);
        }
        // The wildcard stands for at least one character.
        let shorter = |(length, _): &&(usize, FastMap<Box<str>, u32>)| *length < host.len();
        let by_suffix = |(length, map): &(usize, FastMap<Box<str>, u32>)| {
            host.get(host.len() - length..).and_then(|s| map.get(s)).copied()
        };
        let by_prefix =
            |(length, map): &(usize, FastMap<Box<str>, u32>)| host.get(..*length).and_then(|p| map.get(p)).copied();
        self.suffixes
            .iter()
            .filter(shorter)
            .find_map(by_suffix)
            .or_else(|| self.prefixes.iter().filter(shorter).find_map(by_prefix))
            .or(self.any)
    }
}

fn by_length(maps: &mut Vec<(usize, FastMap<Box<str>, u32>)>, length: usize) -> &mut FastMap<Box<str>, u32> {
    let at = maps.partition_point(|(l, _)| *l > length);
    if maps.get(at).is_none_or(|(l, _)| *l != length) {
        maps.insert(at, (length, FastMap::default()));
    }
    &mut maps[at].1
}

/// `host` without a port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((name, port)) if !port.contains(']') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
