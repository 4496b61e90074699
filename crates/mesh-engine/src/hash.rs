//! A fast hasher for maps whose keys come from the configuration.
//!
//! Lookups are by strings that clients choose, but they cannot put keys in, so
//! that nobody can make the map degenerate.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map with XXH3 for its hash.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<Xxh3>>;

/// XXH3 of all that is written.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
