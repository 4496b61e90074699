//! The order in which weighted things take turns.
//!
//! A schedule is made once and then only read, but for one shared cursor: any
//! number of workers draw from one sequence, in which each item's share is
//! exactly its weight's and its turns are spread out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngCore;

/// Turns of items `0..len`.
#[derive(Debug)]
pub(super) struct Schedule {
    len: usize,
    turns: Turns,
    /// Running sums of the weights; empty if they are equal.
    sums: Box<[u64]>,
    cursor: Cursor,
}

#[derive(Debug)]
enum Turns {
    /// Equal weights: one after the other.
    Equal,
    /// Items in the order of their turns; one cycle.
    Table(Box<[u32]>),
    /// Weights whose cycle would be too long, scaled to 16 bits.
    Stride(Box<[u16]>),
}

/// Alone on its cache line: every pick of every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicU64);

impl Schedule {
    /// A schedule for these weights, of which at least one is greater than
    /// zero. It goes on where `previous` stands.
    pub(super) fn new(weights: &[u32], previous: Option<&Self>) -> Self {
        let equal = weights.windows(2).all(|w| w[0] == w[1]);
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let cycle: u64 = weights.iter().map(|w| u64::from(w / divisor)).sum();
        let turns = match () {
            () if equal => Turns::Equal,
            () if cycle <= CYCLE_MAX => Turns::Table(table(weights, divisor, cycle as usize)),
            () => Turns::Stride(scaled(weights)),
        };
        let sums = if equal { Box::default() } else { running_sums(weights) };
        let cursor = Cursor(AtomicU64::new(previous.map_or(0, |p| p.cursor.0.load(Ordering::Relaxed))));
        Self { len: weights.len(), turns, sums, cursor }
    }

    pub(super) fn is_equal(&self) -> bool {
        matches!(self.turns, Turns::Equal)
    }

    /// Whose turn it is. `start` shifts the whole sequence.
    pub(super) fn next(&self, start: u64) -> usize {
        let turn = || self.cursor.0.fetch_add(1, Ordering::Relaxed).wrapping_add(start);
        match &self.turns {
            Turns::Equal => (turn() % self.len as u64) as usize,
            Turns::Table(table) => table[(turn() % table.len() as u64) as usize] as usize,
            Turns::Stride(weights) => loop {
                // Each item is visited once a round and lets pass what its weight lacks of the greatest: after
                // STRIDE rounds it has been taken exactly its scaled weight's number of times.
                let turn = turn();
                let (item, round) = ((turn % self.len as u64) as usize, turn / self.len as u64);
                let weight = u64::from(weights[item]);
                if (round.wrapping_mul(weight).wrapping_add(item as u64 * STRIDE / 2)) % STRIDE >= STRIDE - weight {
                    return item;
                }
            },
        }
    }

    /// The share of each item.
    pub(super) fn shares(&self) -> Vec<f64> {
        let Some(total) = self.sums.last() else { return vec![1.0 / self.len as f64; self.len] };
        let mut before = 0;
        let part = |sum: &u64| {
            let own = sum - before;
            before = *sum;
            own as f64 / *total as f64
        };
        self.sums.iter().map(part).collect()
    }

    /// An item at random, by weight.
    pub(super) fn sample(&self, rng: &mut impl RngCore) -> usize {
        let Some(total) = self.sums.last() else { return below(rng, self.len as u64) as usize };
        let point = below(rng, *total);
        self.sums.partition_point(|sum| *sum <= point)
    }
}

/// A number below `bound` (0 if that is 0), nearly uniform.
pub(super) fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Turn `k` of an item of weight `w` is due at `(k + 1/2) / w`; turns are taken
/// by due time, so that each item's are evenly spaced.
fn table(weights: &[u32], divisor: u32, cycle: usize) -> Box<[u32]> {
    #[derive(PartialEq, Eq)]
    struct Due {
        item: u32,
        taken: u64,
        weight: u64,
    }
    impl Ord for Due {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            // Exact comparison of fractions; both products fit, for weights and turns are below 2^13 here.
            let (left, right) = ((2 * self.taken + 1) * other.weight, (2 * other.taken + 1) * self.weight);
            left.cmp(&right).then(self.item.cmp(&other.item))
        }
    }
    impl PartialOrd for Due {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    let with_weight = weights.iter().enumerate().filter(|(_, w)| **w > 0);
    let mut due: BinaryHeap<Reverse<Due>> = with_weight
        .map(|(item, w)| Reverse(Due { item: item as u32, taken: 0, weight: u64::from(w / divisor) }))
        .collect();
    let mut turns = Vec::with_capacity(cycle);
    while turns.len() < cycle {
        let Some(Reverse(next)) = due.pop() else { break };
        turns.push(next.item);
        due.push(Reverse(Due { taken: next.taken + 1, ..next }));
    }
    turns.into()
}

fn scaled(weights: &[u32]) -> Box<[u16]> {
    let greatest = weights.iter().copied().max().unwrap_or(1).max(1);
    weights
        .iter()
        .map(|w| match u64::from(*w) * (STRIDE - 1) / u64::from(greatest) {
            // A share that is too small to be told is rounded up: every host gets a turn sometimes.
            0 if *w > 0 => 1,
            scaled => scaled as u16,
        })
        .collect()
}

fn running_sums(weights: &[u32]) -> Box<[u64]> {
    weights
        .iter()
        .scan(0u64, |sum, w| {
            *sum += u64::from(*w);
            Some(*sum)
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Longest table: 32 KiB. Weights as people write them stay far below.
const CYCLE_MAX: u64 = 8192;
/// One more than the greatest scaled weight.
const STRIDE: u64 = 65_536;
