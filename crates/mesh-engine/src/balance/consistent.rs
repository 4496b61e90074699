//! Consistent hashing: the ring and Maglev's table, as Envoy lays them.
//!
//! A [`Table`] is made once for a set of hosts and then only read; equal hosts
//! give equal tables in every process, here and in Envoy, so that a client
//! keeps its host whichever proxy it goes through.
//!
//! Source: Envoy's documentation, "Ring hash" and "Maglev"; for the ring also
//! <https://www.metabrew.com/article/libketama-consistent-hashing-algo-memcached-clients>,
//! for the table <https://research.google/pubs/pub44824/>, listing 1.

use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

use crate::cluster::LbPolicy;

/// A host on a table: what it is called by, and its share (of 1 in all).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) share: f64,
}

/// Where hashes lead: indices into the entries that it was made from.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// Sorted by hash.
    Ring(Box<[(u64, u32)]>),
    /// As many as the table's size.
    Maglev(Box<[u32]>),
}

impl Table {
    /// The table of `entries`; `previous`, if it is of the same ones. `None` if
    /// there are none, or if the policy hashes nothing.
    pub(super) fn of(policy: LbPolicy, entries: Vec<Entry>, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if entries.is_empty() {
            return None;
        }
        let size = match policy {
            LbPolicy::RingHash { minimum, maximum, .. } => {
                return Some(Self::ring(entries, minimum, maximum, previous));
            }
            LbPolicy::Maglev { table_size, .. } => table_size,
            _ => return None,
        };
        if let Some(same) = previous.filter(|p| p.entries == entries && p.len() == size as usize) {
            return Some(same.clone());
        }
        let places = Places::Maglev(maglev(&entries, size));
        Some(Arc::new(Self { entries, places }))
    }

    fn ring(entries: Vec<Entry>, minimum: u64, maximum: u64, previous: Option<&Arc<Self>>) -> Arc<Self> {
        let scale = scale(&entries, minimum, maximum);
        if let Some(same) = previous.filter(|p| p.entries == entries && p.len() == scale.ceil() as usize) {
            return same.clone();
        }
        let places = Places::Ring(ring(&entries, scale));
        Arc::new(Self { entries, places })
    }

    fn len(&self) -> usize {
        match &self.places {
            Places::Ring(places) => places.len(),
            Places::Maglev(places) => places.len(),
        }
    }

    /// The entry for `hash`; a later `attempt` gives another one, most likely.
    pub(super) fn pick(&self, hash: u64, attempt: u32) -> usize {
        match &self.places {
            Places::Ring(places) => {
                let next = places.partition_point(|(place, _)| *place < hash) % places.len();
                places[(next + attempt as usize) % places.len()].1 as usize
            }
            Places::Maglev(places) => {
                let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - u64::from(attempt) + 1) };
                places[(hash % places.len() as u64) as usize] as usize
            }
        }
    }

    /// The share of each entry, for hashes that are spread evenly.
    pub(super) fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.entries.len()];
        match &self.places {
            Places::Maglev(places) => {
                places.iter().for_each(|entry| shares[*entry as usize] += 1.0 / places.len() as f64);
            }
            Places::Ring(places) => {
                let mut before = places.last().map_or(0, |(hash, _)| *hash);
                for (hash, entry) in places {
                    // The first place also gets what lies behind the last.
                    shares[*entry as usize] += hash.wrapping_sub(before) as f64 / 2f64.powi(64);
                    before = *hash;
                }
                if places.len() == 1 {
                    shares[places[0].1 as usize] = 1.0;
                }
            }
        }
        shares
    }
}

/// How many places the whole ring has: as many as give the host with the
/// smallest share a whole number of them.
fn scale(entries: &[Entry], minimum: u64, maximum: u64) -> f64 {
    let least = entries.iter().map(|e| e.share).fold(1.0, f64::min);
    ((least * minimum as f64).ceil() / least).min(maximum as f64)
}

fn ring(entries: &[Entry], scale: f64) -> Box<[(u64, u32)]> {
    let mut places = Vec::with_capacity(scale.ceil() as usize);
    // Running sums, since a host's number of places need not be whole.
    let (mut current, mut target) = (0.0, 0.0);
    for (index, entry) in entries.iter().enumerate() {
        target += scale * entry.share;
        let mut key = format!("{}_", entry.key);
        let name = key.len();
        let mut number = 0u64;
        while current < target {
            key.truncate(name);
            key.push_str(&number.to_string());
            places.push((xxh64(key.as_bytes(), 0), index as u32));
            number += 1;
            current += 1.0;
        }
    }
    places.sort_by_key(|(hash, _)| *hash);
    places.into()
}

fn maglev(entries: &[Entry], size: u64) -> Box<[u32]> {
    struct Turn {
        entry: u32,
        offset: u64,
        skip: u64,
        next: u64,
        share: f64,
        target: f64,
    }
    let mut order: Vec<u32> = (0..entries.len() as u32).collect();
    // The order of hosts must not matter.
    order.sort_by(|a, b| entries[*a as usize].key.cmp(&entries[*b as usize].key));
    let turn = |entry: u32| {
        let key = entries[entry as usize].key.as_bytes();
        // Envoy's remainder is by one less; in a table of one place it would be by nothing.
        let skip = xxh64(key, 1) % (size - 1).max(1) + 1;
        Turn { entry, offset: xxh64(key, 0) % size, skip, next: 0, share: entries[entry as usize].share, target: 0.0 }
    };
    let mut turns: Vec<Turn> = order.into_iter().map(turn).collect();
    let greatest = turns.iter().map(|t| t.share).fold(0.0, f64::max);
    let mut places = vec![FREE; size as usize];
    let mut taken = 0;
    let mut round = 0u32;
    while taken < size {
        round += 1;
        for turn in &mut turns {
            // A host with half the greatest share takes part in every second round.
            if taken == size || f64::from(round) * turn.share < turn.target {
                continue;
            }
            turn.target += greatest;
            let mut at = (turn.offset + turn.skip * turn.next) % size;
            while places[at as usize] != FREE {
                turn.next += 1;
                at = (turn.offset + turn.skip * turn.next) % size;
            }
            places[at as usize] = turn.entry;
            turn.next += 1;
            taken += 1;
        }
    }
    places.into()
}

const FREE: u32 = u32::MAX;
