//! How far endpoints are from a client, and what follows for its requests.
//!
//! A [`Place`] is where a client is; [`Nearness`] is what a rule makes of it.
//! [`Nearness::arrange`] turns the endpoints of a cluster into groups with a
//! priority and a weight.
//!
//! Invariant: no endpoint is in two groups, priorities are counted from 0
//! without a gap, and the order of groups depends on nothing but the input.
//!
//! Source: istio `pilot/pkg/networking/core/loadbalancer/loadbalancer.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::rules::MeshConfig;
use mesh_model::rules::destination_rule::{
    Distribute, Effective, Failover, LocalityBalancing, TrafficPolicy, ZoneAware,
};
use mesh_model::{Endpoint, Labels, Locality, Name};

#[cfg(test)]
mod tests;

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) locality: Arc<Locality>,
    /// Its labels, as far as nearness depends on them, with those that say
    /// where it is.
    pub(crate) labels: Labels,
}

/// What a client makes of where endpoints are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Nearness {
    /// Shares by place.
    Shares(Vec<(Locality, u32)>),
    /// The nearest endpoints first, others if those fail.
    Failover {
        place: Place,
        failover: Vec<Failover>,
        /// Labels, most important first, with the value that near ones have.
        labels: Vec<(Name, String)>,
    },
    /// The client's region first, zones by size.
    Zones(Zones),
}

/// What a client makes of zones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Zones {
    pub(crate) enabled: bool,
    pub(crate) min_cluster_size: Option<u32>,
    place: Place,
    failover: Vec<Failover>,
    labels: Vec<(Name, String)>,
}

/// Endpoints of one place and priority.
#[derive(Debug, PartialEq)]
pub(crate) struct Group<'a> {
    pub(crate) locality: &'a Locality,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    pub(crate) endpoints: Vec<&'a Endpoint>,
}

/// Which of the levels' settings hold.
enum Setting<'a> {
    Locality(&'a LocalityBalancing),
    Zones(&'a ZoneAware),
}

/// The rule's word goes before the mesh's, zones before localities.
fn setting<'a>(policy: &Effective<'a>, mesh: &'a MeshConfig) -> Option<Setting<'a>> {
    let rule = policy.load_balancer;
    if let Some(zones) = rule.and_then(|r| r.zone_aware.as_ref()) {
        return Some(Setting::Zones(zones));
    }
    if let Some(locality) = rule.and_then(|r| r.locality.as_ref()) {
        return locality.enabled.then_some(Setting::Locality(locality));
    }
    if let Some(zones) = &mesh.zone_aware {
        return Some(Setting::Zones(zones));
    }
    mesh.locality_balancing.enabled.then_some(Setting::Locality(&mesh.locality_balancing))
}

impl Nearness {
    /// What `policy` makes of it for a client in `place`; `None`: nothing.
    pub(crate) fn of(policy: &Effective<'_>, mesh: &MeshConfig, place: Option<&Place>) -> Option<Self> {
        let place = place?;
        match setting(policy, mesh)? {
            Setting::Zones(zones) => Some(Self::Zones(Zones {
                enabled: zones.enabled,
                min_cluster_size: zones.min_cluster_size,
                place: place.clone(),
                failover: zones.failover.clone(),
                labels: priorities(&zones.failover_priority, place),
            })),
            Setting::Locality(locality) if !locality.distribute.is_empty() => {
                let holds = |d: &&Distribute| covers(&d.from, &place.locality);
                Some(Self::Shares(locality.distribute.iter().find(holds).map(|d| d.to.clone()).unwrap_or_default()))
            }
            // Without outlier detection nobody would notice a failure.
            Setting::Locality(_) if policy.outlier_detection.is_none() => None,
            Setting::Locality(locality) => Some(Self::Failover {
                place: place.clone(),
                failover: locality.failover.clone(),
                labels: priorities(&locality.failover_priority, place),
            }),
        }
    }

    /// Whether the weights of groups count.
    pub(crate) fn is_weighted(&self) -> bool {
        match self {
            Self::Shares(_) => true,
            Self::Failover { failover, labels, .. } => !failover.is_empty() || !labels.is_empty(),
            Self::Zones(_) => false,
        }
    }

    /// The groups of a cluster's endpoints.
    pub(crate) fn arrange<'a>(this: Option<&Self>, endpoints: impl Iterator<Item = &'a Endpoint>) -> Vec<Group<'a>> {
        let mut groups: BTreeMap<(&Locality, u32), Vec<&Endpoint>> = BTreeMap::new();
        for endpoint in endpoints {
            let rank = this.map_or(0, |nearness| nearness.rank(endpoint));
            groups.entry((&endpoint.locality, rank)).or_default().push(endpoint);
        }
        let weight =
            |endpoints: &[&Endpoint]| endpoints.iter().fold(0u32, |sum, e| sum.saturating_add(e.weight.max(1)));
        let group = |((locality, priority), endpoints): ((&'a Locality, u32), Vec<&'a Endpoint>)| Group {
            locality,
            priority,
            weight: weight(&endpoints),
            endpoints,
        };
        let mut groups: Vec<Group<'a>> = groups.into_iter().map(group).collect();
        match this {
            Some(Self::Shares(shares)) if !shares.is_empty() => share(&mut groups, shares),
            Some(_) => close_gaps(&mut groups),
            None => {}
        }
        groups
    }

    /// How far `endpoint` is; 0 is nearest. Ranks may have gaps.
    fn rank(&self, endpoint: &Endpoint) -> u32 {
        match self {
            Self::Shares(_) => 0,
            Self::Failover { place, failover, labels } => {
                let by_label = differing(labels, endpoint);
                // With labels, places count only if failover between them is asked for.
                match labels.is_empty() || !failover.is_empty() {
                    true => by_label * RANKS_OF_PLACES + distance(place, failover, &endpoint.locality),
                    false => by_label,
                }
            }
            Self::Zones(zones) if !zones.enabled => 0,
            Self::Zones(zones) => {
                let region = &endpoint.locality.region;
                let own = &zones.place.locality.region;
                let stands_in = zones.failover.iter().find(|f| f.from == *own).is_some_and(|f| f.to == *region);
                let by_region = match (region == own, stands_in) {
                    (true, _) => 0,
                    (false, true) => 1,
                    (false, false) => 2,
                };
                differing(&zones.labels, endpoint) * RANKS_OF_PLACES + by_region
            }
        }
    }
}

/// 0 in the same sub-zone, then zone, region, a region that stands in, another.
fn distance(place: &Place, failover: &[Failover], there: &Locality) -> u32 {
    let here = &*place.locality;
    match () {
        () if here == there => 0,
        () if (&here.region, &here.zone) == (&there.region, &there.zone) => 1,
        () if here.region == there.region => 2,
        () => match failover.iter().find(|f| f.from == here.region) {
            Some(failover) if failover.to != there.region => 4,
            _ => 3,
        },
    }
}

/// How many labels are left from the first in which `endpoint` differs.
fn differing(labels: &[(Name, String)], endpoint: &Endpoint) -> u32 {
    let differs = |(key, value): &(Name, String)| *value != of_endpoint(endpoint, key);
    labels.iter().position(differs).map_or(0, |first| (labels.len() - first) as u32)
}

/// Splits `name=value`; without a value the client's own counts. A client
/// without any label compares nothing.
fn priorities(written: &[Name], place: &Place) -> Vec<(Name, String)> {
    let one = |written: &Name| match written.split_once('=') {
        Some((key, value)) => (key.into(), value.to_owned()),
        None => (written.clone(), place.labels.get(written).unwrap_or_default().to_owned()),
    };
    written.iter().map(one).collect()
}

/// Gives each group its part of the share of its place; drops groups whose
/// place has no share.
fn share(groups: &mut Vec<Group<'_>>, shares: &[(Locality, u32)]) {
    let place_of = |group: &Group<'_>| shares.iter().position(|(place, _)| covers(place, group.locality));
    let mut totals = vec![0u64; shares.len()];
    for group in groups.iter() {
        if let Some(place) = place_of(group) {
            totals[place] += u64::from(group.weight);
        }
    }
    groups.retain_mut(|group| {
        let Some(place) = place_of(group) else { return false };
        let weight = (u64::from(group.weight) * u64::from(shares[place].1)).div_ceil(totals[place].max(1));
        group.weight = u32::try_from(weight).unwrap_or(u32::MAX);
        true
    });
}

/// A proxy refuses priorities that leave one out.
fn close_gaps(groups: &mut [Group<'_>]) {
    let mut ranks: Vec<u32> = groups.iter().map(|g| g.priority).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for group in groups {
        group.priority = ranks.partition_point(|rank| *rank < group.priority) as u32;
    }
}

/// Whether `there` lies in `place`, whose parts may be `*` or left out.
fn covers(place: &Locality, there: &Locality) -> bool {
    let part = |wanted: &str, found: &str| wanted == "*" || wanted == found;
    let narrower = |wanted: &str, found: &str| wanted.is_empty() || part(wanted, found);
    part(&place.region, &there.region) && narrower(&place.zone, &there.zone) && narrower(&place.subzone, &there.subzone)
}

/// The value of a label of an endpoint, whether its workload bears it or its
/// place says it.
fn of_endpoint<'a>(endpoint: &'a Endpoint, key: &str) -> &'a str {
    endpoint.labels.get(key).unwrap_or_else(|| topology(key, &endpoint.locality, &endpoint.network, &endpoint.node))
}

/// The value of a label that says where something is; empty for others.
pub(crate) fn topology<'a>(key: &str, locality: &'a Locality, network: &'a str, node: &'a str) -> &'a str {
    match key {
        "topology.kubernetes.io/region" => &locality.region,
        "topology.kubernetes.io/zone" => &locality.zone,
        "topology.istio.io/subzone" => &locality.subzone,
        "topology.istio.io/network" => network,
        "kubernetes.io/hostname" => node,
        _ => "",
    }
}

/// Whether what `rules` or the mesh say depends on where a client is.
pub(crate) fn matters<'a>(policies: impl Iterator<Item = &'a TrafficPolicy>, mesh: &MeshConfig) -> bool {
    let by_mesh = mesh.zone_aware.is_some()
        || (mesh.locality_balancing.enabled && !mesh.locality_balancing.distribute.is_empty());
    let said = |policy: &mesh_model::rules::destination_rule::PortPolicy| {
        let balancer = policy.load_balancer.as_ref();
        policy.outlier_detection.is_some() || balancer.is_some_and(|b| b.locality.is_some() || b.zone_aware.is_some())
    };
    by_mesh || policies.flat_map(TrafficPolicy::settings).any(said)
}

/// Keys of the labels by which `policies` or the mesh tell near from far.
pub(crate) fn label_keys<'a>(policies: impl Iterator<Item = &'a TrafficPolicy>) -> impl Iterator<Item = &'a str> {
    let of_rule = policies.flat_map(TrafficPolicy::settings).filter_map(|p| p.load_balancer.as_ref()).flat_map(|b| {
        let locality = b.locality.iter().flat_map(|l| &l.failover_priority);
        locality.chain(b.zone_aware.iter().flat_map(|z| &z.failover_priority))
    });
    of_rule.map(|written| key_of(written))
}

/// The key of `name` or `name=value`.
pub(crate) fn key_of(written: &str) -> &str {
    written.split_once('=').map_or(written, |(key, _)| key)
}

/// Places are told apart in at most so many ranks.
const RANKS_OF_PLACES: u32 = 5;
