//! Reads the policies that choose a host by hash.

use mesh_proto::envoy::config::cluster::v3 as xds;
use mesh_proto::envoy::extensions::load_balancing_policies as lb;
use mesh_proto::google::protobuf::{UInt32Value, UInt64Value};

use super::LbPolicy;
use crate::error::{At, ConfigError};
use crate::parse::honour;

/// `lb_policy: RING_HASH` with its options.
pub(super) fn ring(at: &At<'_>, proto: &xds::Cluster) -> Result<LbPolicy, ConfigError> {
    use xds::cluster::{LbConfig, RingHashLbConfig};
    let default = RingHashLbConfig::default();
    let config = match &proto.lb_config {
        Some(LbConfig::RingHashLbConfig(config)) => config,
        _ => &default,
    };
    let options = at.field("ring_hash_lb_config");
    honour!(&options, config, RingHashLbConfig =>
        honour [minimum_ring_size maximum_ring_size hash_function]
        ignore []
        refuse []
    );
    if config.hash_function != 0 {
        return Err(options.field("hash_function").unsupported_value("MURMUR_HASH_2", "XX_HASH"));
    }
    let by_hostname = by_hostname(at, proto.common_lb_config.as_ref())?;
    ring_of(&options, config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref(), by_hostname)
}

/// `lb_policy: MAGLEV` with its options.
pub(super) fn maglev(at: &At<'_>, proto: &xds::Cluster) -> Result<LbPolicy, ConfigError> {
    use xds::cluster::LbConfig;
    let size = match &proto.lb_config {
        Some(LbConfig::MaglevLbConfig(config)) => config.table_size.as_ref(),
        _ => None,
    };
    maglev_of(&at.field("maglev_lb_config"), size, by_hostname(at, proto.common_lb_config.as_ref())?)
}

/// The extension; also whether localities are weighed.
pub(super) fn typed_ring(at: &At<'_>, proto: &lb::ring_hash::v3::RingHash) -> Result<(LbPolicy, bool), ConfigError> {
    #[allow(deprecated, reason = "every field must be listed")]
    {
        honour!(at, proto, lb::ring_hash::v3::RingHash =>
            honour [
                hash_function minimum_ring_size maximum_ring_size consistent_hashing_lb_config
                locality_weighted_lb_config
            ]
            ignore []
            refuse [use_hostname_for_hashing hash_balance_factor]
        );
    }
    // The default of the extension is Envoy's choice, which is this one.
    if !matches!(proto.hash_function, 0 | 1) {
        return Err(at.field("hash_function").unsupported_value("MURMUR_HASH_2", "XX_HASH"));
    }
    let by_hostname = typed_by_hostname(at, proto.consistent_hashing_lb_config.as_ref())?;
    let policy = ring_of(at, proto.minimum_ring_size.as_ref(), proto.maximum_ring_size.as_ref(), by_hostname)?;
    Ok((policy, proto.locality_weighted_lb_config.is_some()))
}

/// The extension; also whether localities are weighed.
pub(super) fn typed_maglev(at: &At<'_>, proto: &lb::maglev::v3::Maglev) -> Result<(LbPolicy, bool), ConfigError> {
    honour!(at, proto, lb::maglev::v3::Maglev =>
        honour [table_size consistent_hashing_lb_config locality_weighted_lb_config]
        ignore []
        refuse []
    );
    let by_hostname = typed_by_hostname(at, proto.consistent_hashing_lb_config.as_ref())?;
    Ok((maglev_of(at, proto.table_size.as_ref(), by_hostname)?, proto.locality_weighted_lb_config.is_some()))
}

fn by_hostname(at: &At<'_>, proto: Option<&xds::cluster::CommonLbConfig>) -> Result<bool, ConfigError> {
    let Some(hashing) = proto.and_then(|p| p.consistent_hashing_lb_config.as_ref()) else { return Ok(false) };
    let at = at.field("common_lb_config");
    unbounded(&at.field("consistent_hashing_lb_config"), hashing.hash_balance_factor.as_ref())?;
    Ok(hashing.use_hostname_for_hashing)
}

fn typed_by_hostname(
    at: &At<'_>,
    proto: Option<&lb::common::v3::ConsistentHashingLbConfig>,
) -> Result<bool, ConfigError> {
    let Some(hashing) = proto else { return Ok(false) };
    let at = at.field("consistent_hashing_lb_config");
    honour!(&at, hashing, lb::common::v3::ConsistentHashingLbConfig =>
        honour [use_hostname_for_hashing hash_balance_factor]
        ignore []
        refuse [hash_policy]
    );
    unbounded(&at, hashing.hash_balance_factor.as_ref())?;
    Ok(hashing.use_hostname_for_hashing)
}

/// A host takes as much as hashes to it.
fn unbounded(at: &At<'_>, factor: Option<&UInt32Value>) -> Result<(), ConfigError> {
    match factor.map(|f| f.value) {
        None | Some(0) => Ok(()),
        Some(_) => Err(at.field("hash_balance_factor").unsupported()),
    }
}

fn ring_of(
    at: &At<'_>,
    minimum: Option<&UInt64Value>,
    maximum: Option<&UInt64Value>,
    by_hostname: bool,
) -> Result<LbPolicy, ConfigError> {
    let size = |field: &str, value: Option<&UInt64Value>, default: u64| match value.map_or(default, |v| v.value) {
        size if size <= RING_SIZE_MAX => Ok(size),
        size => Err(at.field(field).invalid(size, format!("at most {RING_SIZE_MAX}"))),
    };
    let minimum = size("minimum_ring_size", minimum, RING_SIZE_DEFAULT)?;
    let maximum = size("maximum_ring_size", maximum, RING_SIZE_MAX)?;
    if minimum > maximum {
        return Err(at.rule(format!("ring hash: minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})")));
    }
    Ok(LbPolicy::RingHash { minimum, maximum, by_hostname })
}

fn maglev_of(at: &At<'_>, size: Option<&UInt64Value>, by_hostname: bool) -> Result<LbPolicy, ConfigError> {
    let table_size = size.map_or(TABLE_SIZE_DEFAULT, |v| v.value);
    if table_size > TABLE_SIZE_MAX {
        return Err(at.field("table_size").invalid(table_size, format!("at most {TABLE_SIZE_MAX}")));
    }
    if !is_prime(table_size) {
        return Err(at.rule("The table size of maglev must be prime number"));
    }
    Ok(LbPolicy::Maglev { table_size, by_hostname })
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..).take_while(|factor| factor * factor <= number).all(|f: u64| !number.is_multiple_of(f))
}

const RING_SIZE_DEFAULT: u64 = 1024;
/// Envoy's bounds.
const RING_SIZE_MAX: u64 = 8_388_608;
const TABLE_SIZE_MAX: u64 = 5_000_011;
const TABLE_SIZE_DEFAULT: u64 = 65_537;
