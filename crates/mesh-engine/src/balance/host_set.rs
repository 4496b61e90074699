//! The hosts of a cluster at one moment, arranged so that a pick is a few
//! array reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mesh_proto::origin::Origin;
use rand::RngCore;

use super::Host;
use super::consistent::{Entry, Table};
use super::priority::{PriorityLoad, Tally};
use super::schedule::{Schedule, below};
use super::slow_start;
use crate::cluster::{ClusterConfig, Discovery, LbPolicy, OriginalDst, SlowStart};
use crate::endpoint::{Health, LoadAssignment, Locality, Target};

/// A host in a host set.
#[derive(Debug, Clone)]
pub struct Member {
    /// The host.
    pub host: Arc<Host>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Its weight as it counts now: less than others' of the same weight while
    /// it is new, in a unit of its own.
    pub(super) current: u32,
    /// Its priority.
    pub priority: u32,
    /// Where it is.
    pub locality: Locality,
    /// What the control plane says of its health.
    pub health: Health,
    /// Whether outlier detection has it ejected.
    pub ejected: bool,
    /// Which rule objects brought it about.
    pub origins: Vec<Origin>,
    /// Index of its locality in the load assignment.
    group: usize,
}

impl Member {
    /// Whether it may be used before any other.
    pub fn is_healthy(&self) -> bool {
        !self.ejected && matches!(self.health, Health::Unknown | Health::Healthy)
    }

    /// Whether it may be used if healthy ones do not suffice.
    pub fn is_degraded(&self) -> bool {
        !self.ejected && self.health == Health::Degraded
    }
}

/// The hosts of a cluster at one moment.
#[derive(Debug, Default)]
pub struct HostSet {
    /// All hosts in the order of the resource, each address once.
    pub members: Vec<Member>,
    /// How traffic is shared between priorities.
    pub load: PriorityLoad,
    pub(super) original_dst: Option<OriginalDst>,
    pub(super) drops: Vec<(Box<str>, u32)>,
    priorities: Vec<Level>,
    policy: Policy,
    fail_on_panic: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Policy(Option<LbPolicy>);

/// The hosts of one priority.
#[derive(Debug, Default)]
struct Level {
    all: Option<Pool>,
    healthy: Source,
    degraded: Source,
    /// Where hashes lead, and which members the table's entries are.
    table: Option<(Arc<Table>, Box<[u32]>)>,
}

/// Where hosts of one priority and kind of health come from.
#[derive(Debug, Default)]
enum Source {
    #[default]
    None,
    /// From one pool.
    Pool(Pool),
    /// A locality takes its turn first.
    Localities(Schedule, Vec<Pool>),
}

/// Hosts that take turns; never empty.
#[derive(Debug)]
struct Pool {
    /// Indices into `HostSet::members`.
    members: Box<[u32]>,
    schedule: Schedule,
}

impl HostSet {
    pub(super) fn build(
        config: &ClusterConfig,
        assignment: &LoadAssignment,
        hosts: &HashMap<SocketAddr, Arc<Host>>,
        previous: &Self,
        now: Option<Instant>,
    ) -> Self {
        let members = members(assignment, hosts, config.slow_start.as_ref(), now);
        let levels = members.iter().map(|m| m.priority as usize + 1).max().unwrap_or(0);
        let tally = |weigh: bool| -> Vec<Tally> { (0..levels).map(|p| tally(&members, p, weigh)).collect() };
        let counted = tally(false);
        let weighed = if assignment.weighted_priority_health { tally(true) } else { counted.clone() };
        let load =
            PriorityLoad::new(&counted, &weighed, assignment.overprovisioning_factor, config.panic_threshold_percent);
        let build =
            Build { members: &members, assignment, locality_weighted: config.locality_weighted, policy: config.policy };
        let panic = |p: usize| load.panic.get(p).copied().unwrap_or(false);
        let priorities = (0..levels).map(|p| build.level(p, panic(p), previous.priorities.get(p))).collect();
        Self {
            load,
            original_dst: match &config.discovery {
                Discovery::OriginalDst(original) => Some(original.clone()),
                _ => None,
            },
            drops: assignment.drop_overloads.clone(),
            priorities,
            policy: Policy(Some(config.policy)),
            fail_on_panic: config.fail_traffic_on_panic,
            members,
        }
    }

    /// A host for one request. `start` is where round robin begins.
    pub(super) fn pick(&self, start: u64, rng: &mut impl RngCore) -> Option<&Arc<Host>> {
        let (priority, healthy) = match self.priorities.len() {
            0 => return None,
            1 if self.load.healthy[0] == 100 => (0, true),
            _ => self.load.choose(below(rng, 100) as u32)?,
        };
        let level = &self.priorities[priority];
        let pool = match (self.load.panic[priority], healthy) {
            (true, _) if self.fail_on_panic => return None,
            (true, _) => level.all.as_ref()?,
            (false, true) => level.healthy.pool(start)?,
            (false, false) => level.degraded.pool(start)?,
        };
        let member = pool.pick(self.policy, &self.members, start, rng);
        Some(&self.members[member].host)
    }

    /// Whether hosts are chosen by hash.
    pub(super) fn is_hashed(&self) -> bool {
        matches!(self.policy.0, Some(LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. }))
    }

    /// The host for `hash`; another one, most likely, if `refuses` it, up to
    /// `attempts` times.
    ///
    /// As in Envoy, degraded hosts take no part, and in panic all do.
    pub(super) fn pick_hashed(
        &self,
        hash: u64,
        attempts: u32,
        refuses: impl Fn(&Arc<Host>) -> bool,
    ) -> Option<&Arc<Host>> {
        let host = |attempt: u32| self.hashed(hash, attempt).map(|member| &self.members[member].host);
        (0..attempts).filter_map(host).find(|host| !refuses(host)).or_else(|| host(attempts))
    }

    /// The member for `hash`.
    fn hashed(&self, hash: u64, attempt: u32) -> Option<usize> {
        let (priority, _) = self.load.choose((hash % 100) as u32)?;
        let (table, members) = self.priorities.get(priority)?.table.as_ref()?;
        Some(members[table.pick(hash, attempt)] as usize)
    }

    /// As [`HostSet::probabilities`], for a request with `hash`.
    pub fn probabilities_for(&self, hash: Option<u64>) -> Vec<f64> {
        match hash.filter(|_| self.is_hashed()) {
            None => self.probabilities(),
            Some(hash) => {
                let chosen = self.hashed(hash, 0);
                (0..self.members.len()).map(|member| if chosen == Some(member) { 1.0 } else { 0.0 }).collect()
            }
        }
    }

    /// How likely each member is picked next, with no request in flight. In
    /// the order of `members`; all zero if no host may be used.
    pub fn probabilities(&self) -> Vec<f64> {
        let mut chances = vec![0.0; self.members.len()];
        for (priority, level) in self.priorities.iter().enumerate() {
            let share = |percent: u32| f64::from(percent) / 100.0;
            let (healthy, degraded) = (share(self.load.healthy[priority]), share(self.load.degraded[priority]));
            if self.is_hashed() {
                if let Some((table, members)) = &level.table {
                    for (member, part) in members.iter().zip(table.shares()) {
                        chances[*member as usize] += (healthy + degraded) * part;
                    }
                }
            } else if self.load.panic[priority] {
                if let (Some(pool), false) = (&level.all, self.fail_on_panic) {
                    pool.spread(healthy + degraded, &self.members, &mut chances);
                }
            } else {
                level.healthy.spread(healthy, &self.members, &mut chances);
                level.degraded.spread(degraded, &self.members, &mut chances);
            }
        }
        chances
    }
}

fn members(
    assignment: &LoadAssignment,
    hosts: &HashMap<SocketAddr, Arc<Host>>,
    slow_start: Option<&SlowStart>,
    now: Option<Instant>,
) -> Vec<Member> {
    let mut seen = HashSet::new();
    let mut members = Vec::new();
    for (group, locality) in assignment.localities.iter().enumerate() {
        for endpoint in &locality.endpoints {
            let Target::Address(address) = endpoint.target else { continue };
            let Some(host) = hosts.get(&address).filter(|_| seen.insert(address)) else { continue };
            members.push(Member {
                host: host.clone(),
                weight: endpoint.weight,
                current: match slow_start {
                    None => endpoint.weight,
                    Some(slow) => slow_start::parts(slow, endpoint.weight, host.since(), now),
                },
                priority: locality.priority,
                locality: locality.locality.clone(),
                health: endpoint.health,
                ejected: host.is_ejected(),
                origins: endpoint.origins.clone(),
                group,
            });
        }
    }
    members
}

fn tally(members: &[Member], priority: usize, weigh: bool) -> Tally {
    let mut tally = Tally::default();
    for member in members.iter().filter(|m| m.priority as usize == priority) {
        let amount = if weigh { u64::from(member.weight) } else { 1 };
        tally.total += amount;
        tally.healthy += if member.is_healthy() { amount } else { 0 };
        tally.degraded += if member.is_degraded() { amount } else { 0 };
    }
    tally
}

struct Build<'a> {
    members: &'a [Member],
    assignment: &'a LoadAssignment,
    locality_weighted: bool,
    policy: LbPolicy,
}

impl Build<'_> {
    fn level(&self, priority: usize, panic: bool, previous: Option<&Level>) -> Level {
        let of = |keep: &dyn Fn(&Member) -> bool| -> Vec<u32> {
            let all = self.members.iter().enumerate();
            all.filter(|(_, m)| m.priority as usize == priority && keep(m)).map(|(i, _)| i as u32).collect()
        };
        let everyone = of(&|_| true);
        let (healthy, degraded) = (of(&Member::is_healthy), of(&Member::is_degraded));
        let hashed = if panic { &everyone } else { &healthy };
        Level {
            table: self.table(hashed, previous.and_then(|p| p.table.as_ref())),
            healthy: self.source(&everyone, healthy, previous.map(|p| &p.healthy)),
            degraded: self.source(&everyone, degraded, previous.map(|p| &p.degraded)),
            all: self.pool(everyone, previous.and_then(|p| p.all.as_ref())),
        }
    }

    fn source(&self, everyone: &[u32], usable: Vec<u32>, previous: Option<&Source>) -> Source {
        if self.locality_weighted
            && let Some(localities) = self.localities(everyone, &usable, previous)
        {
            return localities;
        }
        let previous = match previous {
            Some(Source::Pool(pool)) => Some(pool),
            _ => None,
        };
        self.pool(usable, previous).map_or(Source::None, Source::Pool)
    }

    /// Where hashes lead among `members`, if the policy hashes.
    fn table(&self, members: &[u32], previous: Option<&(Arc<Table>, Box<[u32]>)>) -> Option<(Arc<Table>, Box<[u32]>)> {
        let by_hostname = match self.policy {
            LbPolicy::RingHash { by_hostname, .. } | LbPolicy::Maglev { by_hostname, .. } => by_hostname,
            _ => return None,
        };
        let (entries, members) = self
            .shares(members)
            .into_iter()
            .map(|(member, share)| {
                let host = &self.members[member as usize].host;
                let key = if by_hostname && !host.hostname.is_empty() {
                    host.hostname.to_string()
                } else {
                    host.address.to_string()
                };
                (Entry { key, share }, member)
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let table = Table::of(self.policy, entries, previous.map(|(table, _)| table))?;
        Some((table, members.into()))
    }

    /// The share of each of `members` by weight, of localities first if those
    /// have weights. Here the health of a locality does not count, as in Envoy.
    fn shares(&self, members: &[u32]) -> Vec<(u32, f64)> {
        let weight = |i: &u32| u64::from(self.members[*i as usize].weight);
        let among = |members: &[u32], share: f64| -> Vec<(u32, f64)> {
            let total: u64 = members.iter().map(weight).sum();
            members.iter().map(|i| (*i, weight(i) as f64 * share / total as f64)).collect()
        };
        let mut by_locality: BTreeMap<&Locality, (u64, Vec<u32>)> = BTreeMap::new();
        let priority = members.first().map(|i| self.members[*i as usize].priority);
        for locality in self.assignment.localities.iter().filter(|l| Some(l.priority) == priority) {
            let entry = by_locality.entry(&locality.locality).or_default();
            entry.0 += u64::from(locality.weight.unwrap_or(0));
        }
        let total: u64 = by_locality.values().map(|(weight, _)| weight).sum();
        if !self.locality_weighted || total == 0 {
            return among(members, 1.0);
        }
        for i in members {
            let group = &self.assignment.localities[self.members[*i as usize].group];
            by_locality.entry(&group.locality).or_default().1.push(*i);
        }
        let weighed = by_locality.into_values().filter(|(weight, _)| *weight > 0);
        weighed.flat_map(|(weight, members)| among(&members, weight as f64 / total as f64)).collect()
    }

    /// Localities with weights as far as their health allows; `None` if no
    /// locality has a weight.
    fn localities(&self, everyone: &[u32], usable: &[u32], previous: Option<&Source>) -> Option<Source> {
        let group = |i: &u32| self.members[*i as usize].group;
        let mut by_locality: BTreeMap<&Locality, (u64, u64, Vec<u32>)> = BTreeMap::new();
        for i in everyone {
            let locality = &self.assignment.localities[group(i)];
            let entry = by_locality.entry(&locality.locality).or_default();
            entry.0 = u64::from(locality.weight.unwrap_or(0));
            entry.1 += 1;
        }
        for i in usable {
            by_locality.entry(&self.assignment.localities[group(i)].locality).or_default().2.push(*i);
        }
        let factor = u64::from(self.assignment.overprovisioning_factor);
        let (mut weights, mut pools) = (Vec::new(), Vec::new());
        let (old_turns, old_pools) = match previous {
            Some(Source::Localities(schedule, pools)) => (Some(schedule), pools.as_slice()),
            _ => (None, [].as_slice()),
        };
        for (weight, total, usable) in by_locality.into_values() {
            // In hundredths of a percent, so that health is told finely enough.
            let availability = (factor * 100 * usable.len() as u64 / total.max(1)).min(10_000);
            let effective = weight * availability;
            if let (Some(pool), true) = (self.pool(usable, old_pools.get(pools.len())), effective > 0) {
                weights.push(effective);
                pools.push(pool);
            }
        }
        if pools.is_empty() {
            return None;
        }
        Some(Source::Localities(Schedule::new(&fit(&weights), old_turns), pools))
    }

    fn pool(&self, members: Vec<u32>, previous: Option<&Pool>) -> Option<Pool> {
        if members.is_empty() {
            return None;
        }
        let weights: Vec<u32> = members.iter().map(|i| self.members[*i as usize].current).collect();
        Some(Pool { members: members.into(), schedule: Schedule::new(&weights, previous.map(|p| &p.schedule)) })
    }
}

/// The weights, divided as far as they need to fit 32 bits.
fn fit(weights: &[u64]) -> Vec<u32> {
    let greatest = weights.iter().copied().max().unwrap_or(1);
    let divisor = greatest.div_ceil(u64::from(u32::MAX)).max(1);
    weights.iter().map(|w| ((w / divisor) as u32).max(1)).collect()
}

impl Source {
    fn pool(&self, start: u64) -> Option<&Pool> {
        match self {
            Self::None => None,
            Self::Pool(pool) => Some(pool),
            Self::Localities(schedule, pools) => pools.get(schedule.next(start)),
        }
    }

    fn spread(&self, share: f64, members: &[Member], chances: &mut [f64]) {
        match self {
            Self::None => {}
            Self::Pool(pool) => pool.spread(share, members, chances),
            Self::Localities(schedule, pools) => {
                for (pool, part) in pools.iter().zip(schedule.shares()) {
                    pool.spread(share * part, members, chances);
                }
            }
        }
    }
}

impl Pool {
    fn pick(&self, policy: Policy, members: &[Member], start: u64, rng: &mut impl RngCore) -> usize {
        let item = match policy.0 {
            Some(LbPolicy::LeastRequest { choices, ignore_active }) => {
                self.least_loaded(choices, ignore_active, members, start, rng)
            }
            Some(LbPolicy::Random) => self.schedule.sample(rng),
            // The last four never come here: hashes lead elsewhere.
            Some(
                LbPolicy::RoundRobin | LbPolicy::ClusterProvided | LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. },
            )
            | None => self.schedule.next(start),
        };
        self.members[item] as usize
    }

    /// Equal weights: the one with the fewest requests in flight of `choices`
    /// drawn at random, the first two of which differ. Unequal weights: the
    /// same, but heavier hosts are drawn more often, and requests in flight
    /// count in proportion to weight, so that an idle cluster is shared by
    /// weight and a busy one too.
    fn least_loaded(
        &self,
        choices: u32,
        ignore_active: bool,
        members: &[Member],
        start: u64,
        rng: &mut impl RngCore,
    ) -> usize {
        let count = self.members.len();
        if count == 1 {
            return 0;
        }
        let member = |item: usize| &members[self.members[item] as usize];
        if self.schedule.is_equal() {
            let first = below(rng, count as u64) as usize;
            let mut best = (first, member(first).host.active());
            for draw in 1..choices {
                let item = match draw {
                    1 => (first + 1 + below(rng, count as u64 - 1) as usize) % count,
                    _ => below(rng, count as u64) as usize,
                };
                let active = member(item).host.active();
                if active < best.1 {
                    best = (item, active);
                }
            }
            return best.0;
        }
        if ignore_active {
            return self.schedule.next(start);
        }
        let load = |item: usize| (u64::from(member(item).host.active()), u64::from(member(item).current));
        let mut best = self.schedule.sample(rng);
        for _ in 1..choices {
            let item = self.schedule.sample(rng);
            let ((active, weight), (best_active, best_weight)) = (load(item), load(best));
            if active * best_weight < best_active * weight {
                best = item;
            }
        }
        best
    }

    fn spread(&self, share: f64, members: &[Member], chances: &mut [f64]) {
        let total: f64 = self.members.iter().map(|i| f64::from(members[*i as usize].current)).sum();
        for i in &self.members {
            chances[*i as usize] += share * f64::from(members[*i as usize].current) / total;
        }
    }
}
