//! Patches of the network filters of a chain, and of the HTTP filters of a
//! connection manager.
//!
//! A filter that ends its chain must stand last: "at the end" is before it,
//! where Istio's own order would be refused by every proxy.

use mesh_model::rules::envoy_filter::{FilterClass, Operation};
use mesh_proto::any;
use mesh_proto::envoy::config::listener::v3::{Filter, filter};
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use mesh_proto::google::protobuf::Any;

use super::compile::Patch;
use super::list::Edit;
use super::listener::{Levels, named_filters};
use super::merge;

/// Patches the filters of one chain, which the patches are all about.
pub(super) fn patch<'a>(
    levels: &Levels<'a>,
    network: &[&'a Patch],
    http: &[&'a Patch],
    filters: &mut Vec<Filter>,
    by: &mut Vec<&'a Patch>,
) {
    for patch in network {
        let named = named_filters(patch).0;
        let is_it = |filter: &Filter| named.is_some_and(|name| filter.name == name);
        let edit = Edit {
            operation: patch.operation,
            named: if named.is_some() { Some(&is_it) } else { None },
            end: end_of_network(filters),
        };
        if patch.merges().is_none() && edit.apply(filters, || patch.added()) {
            by.push(patch);
        }
    }
    for filter in filters {
        for patch in network.iter().filter(|p| p.merges().is_some()) {
            let named = named_filters(patch).0;
            if named.is_none_or(|name| filter.name == name) && merge_network(filter, patch, named.is_some()) {
                by.push(patch);
            }
        }
        patch_manager(levels, http, filter, by);
    }
}

fn merge_network(filter: &mut Filter, patch: &Patch, named: bool) -> bool {
    use filter::ConfigType as C;
    let Some(value) = patch.added::<Filter>() else { return false };
    match (&mut filter.config_type, &value.config_type) {
        (Some(C::TypedConfig(old)), Some(C::TypedConfig(new))) if named || old.type_url == new.type_url => {
            merge::merge_any(old, new);
        }
        (_, None) if named => {}
        _ => return false,
    }
    if !value.name.is_empty() {
        filter.name = value.name;
    }
    true
}

fn patch_manager<'a>(levels: &Levels<'a>, http: &[&'a Patch], filter: &mut Filter, by: &mut Vec<&'a Patch>) {
    let Some(filter::ConfigType::TypedConfig(packed)) = &mut filter.config_type else { return };
    let of_filter = |p: &&&'a Patch| named_filters(p).0.is_none_or(|name| filter.name == name);
    let http: Vec<&'a Patch> = http.iter().filter(of_filter).copied().collect();
    if http.is_empty() && !levels.routes {
        return;
    }
    let Ok(mut manager) = any::unpack::<HttpConnectionManager>(packed) else { return };
    let before = manager.clone();
    if let (true, Some(RouteSpecifier::RouteConfig(table))) = (levels.routes, &mut manager.route_specifier) {
        by.extend(levels.patches.patch_routes(levels.context, table));
    }
    for patch in &http {
        if patch.merges().is_none() && edit_http(&mut manager.http_filters, patch) {
            by.push(patch);
        }
    }
    for filter in &mut manager.http_filters {
        for patch in http.iter().filter(|p| p.merges().is_some()) {
            let named = named_filters(patch).1;
            if named.is_none_or(|name| filter.name == name) && merge_http(filter, patch, named.is_some()) {
                by.push(patch);
            }
        }
    }
    if manager != before {
        *packed = any::pack(&manager);
    }
}

fn edit_http(filters: &mut Vec<HttpFilter>, patch: &Patch) -> bool {
    let named = named_filters(patch).1;
    let is_it = |filter: &HttpFilter| named.is_some_and(|name| filter.name == name);
    // A class says where an added filter goes better than the end does.
    let (operation, end) = match (patch.operation, patch.filter_class) {
        (Operation::Add | Operation::InsertBefore | Operation::InsertAfter | Operation::InsertFirst, class)
            if named.is_none() && class != FilterClass::Unspecified =>
        {
            (Operation::Add, end_of_class(filters, class))
        }
        (operation, _) => (operation, end_of_http(filters)),
    };
    let edit = Edit { operation, named: if named.is_some() { Some(&is_it) } else { None }, end };
    edit.apply(filters, || patch.added())
}

fn merge_http(filter: &mut HttpFilter, patch: &Patch, named: bool) -> bool {
    use http_filter::ConfigType as C;
    let Some(value) = patch.added::<HttpFilter>() else { return false };
    match (&mut filter.config_type, &value.config_type) {
        (Some(C::TypedConfig(old)), Some(C::TypedConfig(new))) if named || old.type_url == new.type_url => {
            merge::merge_any(old, new);
        }
        (_, None) if named => {}
        _ => return false,
    }
    if !value.name.is_empty() {
        filter.name = value.name;
    }
    filter.is_optional |= value.is_optional;
    filter.disabled |= value.disabled;
    true
}

fn end_of_network(filters: &[Filter]) -> usize {
    let ends =
        |f: &Filter| matches!(&f.config_type, Some(filter::ConfigType::TypedConfig(c)) if is_one_of(c, &NETWORK_ENDS));
    filters.len() - usize::from(filters.last().is_some_and(ends))
}

fn end_of_http(filters: &[HttpFilter]) -> usize {
    filters.len() - usize::from(filters.last().is_some_and(|f| has_type(f, &[ROUTER])))
}

/// After the last filter of the class, and of those that go before it.
fn end_of_class(filters: &[HttpFilter], class: FilterClass) -> usize {
    let before: &[&str] = match class {
        FilterClass::Unspecified => &[],
        FilterClass::Authn => &AUTHENTICATION,
        FilterClass::Authz => &[AUTHENTICATION[0], AUTHORIZATION[0], AUTHORIZATION[1]],
        FilterClass::Stats => {
            let first = filters.iter().position(|f| has_type(f, &STATISTICS));
            return first.unwrap_or_else(|| end_of_http(filters));
        }
    };
    filters.iter().rposition(|f| has_type(f, before)).map_or(0, |at| at + 1)
}

fn has_type(filter: &HttpFilter, types: &[&str]) -> bool {
    matches!(&filter.config_type, Some(http_filter::ConfigType::TypedConfig(config)) if is_one_of(config, types))
}

fn is_one_of(config: &Any, types: &[&str]) -> bool {
    types.contains(&any::message_name(&config.type_url))
}

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const AUTHENTICATION: [&str; 1] = ["envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"];
const AUTHORIZATION: [&str; 2] =
    ["envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"];
const STATISTICS: [&str; 2] = ["stats.PluginConfig", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"];
/// Network filters that end a chain.
const NETWORK_ENDS: [&str; 5] = [
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
    "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
    "envoy.extensions.filters.network.echo.v3.Echo",
];
