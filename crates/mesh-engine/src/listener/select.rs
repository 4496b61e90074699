//! The choice of a filter chain.
//!
//! Envoy walks nested maps, from destination port to source port; at each step
//! the most specific entry that matches is taken and the others are out, even
//! if nothing below it matches. The same is done here on the list of chains:
//! each step keeps those chains whose criterion matches most specifically.
//! Chains are few, and no step allocates.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{ChainMatch, Connection, FilterChain, SourceType};

/// Shortcuts for the choice.
#[derive(Debug, Default)]
pub(super) struct Selector {
    /// The only chain, if it matches everything.
    only: Option<usize>,
}

impl Selector {
    pub(super) fn new(chains: &[Arc<FilterChain>]) -> Self {
        let only = (chains.len() == 1 && chains[0].matches == ChainMatch::default()).then_some(0);
        Self { only }
    }

    /// Index of the chain that takes `connection`.
    pub(super) fn select(&self, chains: &[Arc<FilterChain>], connection: &Connection<'_>) -> Option<usize> {
        if self.only.is_some() {
            return self.only;
        }
        // One pass: a chain's rank is its specificity at every step, most important step first; a chain that does
        // not match at some step counts only up to there, and wins there against those that match less.
        let mut best: Option<(Rank, usize)> = None;
        for (index, chain) in chains.iter().enumerate() {
            let rank = rank(&chain.matches, connection);
            if best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, index));
            }
        }
        best.filter(|(rank, _)| rank.iter().all(Option::is_some)).map(|(_, index)| index)
    }
}

/// Specificity at each of the nine steps; `None` from the first that does not match.
type Rank = [Option<u32>; STEPS];
const STEPS: usize = 9;

fn rank(matches: &ChainMatch, connection: &Connection<'_>) -> Rank {
    let steps: [fn(&ChainMatch, &Connection<'_>) -> Option<u32>; STEPS] = [
        |m, c| match m.destination_port {
            None => Some(0),
            Some(port) => (port == c.destination.port()).then_some(1),
        },
        |m, c| network(&m.prefix_ranges, c.destination.ip()),
        |m, c| server_name(&m.server_names, c.server_name),
        |m, c| match &*m.transport_protocol {
            "" => Some(0),
            wanted => (wanted == c.transport_protocol).then_some(1),
        },
        |m, c| {
            if m.application_protocols.is_empty() {
                return Some(0);
            }
            // The client's first choice that some chain has wins.
            let listed = |p: &&str| m.application_protocols.iter().any(|known| **known == **p);
            let position = c.application_protocols.iter().position(listed);
            position.map(|at| u32::MAX - at as u32)
        },
        |m, c| network(&m.direct_source_prefix_ranges, c.direct_source),
        |m, c| match m.source_type {
            SourceType::Any => Some(0),
            SourceType::SameIpOrLoopback => is_local(c).then_some(1),
            SourceType::External => (!is_local(c)).then_some(1),
        },
        |m, c| network(&m.source_prefix_ranges, c.source.ip()),
        |m, c| match m.source_ports.is_empty() {
            true => Some(0),
            false => m.source_ports.contains(&c.source.port()).then_some(1),
        },
    ];
    let mut rank = [None; STEPS];
    for (slot, step) in rank.iter_mut().zip(steps) {
        match step(matches, connection) {
            Some(specificity) => *slot = Some(specificity),
            None => break,
        }
    }
    rank
}

/// The first criterion of `matches` that `connection` does not meet, in words;
/// `None` if it meets all.
pub(crate) fn why_not(matches: &ChainMatch, connection: &Connection<'_>) -> Option<String> {
    let step = rank(matches, connection).iter().position(Option::is_none)?;
    let networks = |list: &[IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(match step {
        0 => format!(
            "destination port is {}, not {}",
            connection.destination.port(),
            matches.destination_port.unwrap_or(0)
        ),
        1 => format!("destination {} is not in {}", connection.destination.ip(), networks(&matches.prefix_ranges)),
        2 => format!(
            "server name is {}, not {}",
            connection.server_name.unwrap_or("unknown"),
            matches.server_names.join(", ")
        ),
        3 => format!("transport is {}, not {}", connection.transport_protocol, matches.transport_protocol),
        4 => {
            let found = connection.application_protocols.join(", ");
            let found = if found.is_empty() { "unknown" } else { &found };
            format!("application protocol is {found}, not {}", matches.application_protocols.join(", "))
        }
        5 => format!("peer {} is not in {}", connection.direct_source, networks(&matches.direct_source_prefix_ranges)),
        6 => "the source is not where it should be (local or external)".to_owned(),
        7 => format!("source {} is not in {}", connection.source.ip(), networks(&matches.source_prefix_ranges)),
        _ => format!("source port {} is not listed", connection.source.port()),
    })
}

/// The longest prefix that holds `address`, plus one.
fn network(networks: &[IpNet], address: IpAddr) -> Option<u32> {
    if networks.is_empty() {
        return Some(0);
    }
    let address = address.to_canonical();
    networks.iter().filter(|n| n.contains(&address)).map(|n| u32::from(n.prefix_len()) + 1).max()
}

/// The whole name beats a wildcard, a longer wildcard a shorter one.
fn server_name(names: &[Box<str>], asked: Option<&str>) -> Option<u32> {
    if names.is_empty() {
        return Some(0);
    }
    let asked = asked.filter(|n| !n.is_empty())?;
    let specificity = |name: &str| match name.strip_prefix('*') {
        None => (name == asked).then_some(u32::MAX),
        Some(suffix) => (asked.len() > suffix.len() && asked.ends_with(suffix)).then_some(1 + suffix.len() as u32),
    };
    names.iter().filter_map(|n| specificity(n)).max()
}

fn is_local(connection: &Connection<'_>) -> bool {
    let source = connection.source.ip().to_canonical();
    source.is_loopback() || source == connection.destination.ip().to_canonical()
}
