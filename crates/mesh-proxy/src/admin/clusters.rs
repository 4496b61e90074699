//! `/clusters`, as text and JSON.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use mesh_engine::balance::Member;
use mesh_engine::cluster::Discovery;
use mesh_engine::endpoint::Health;
use regex::Regex;
use serde_json::{Value, json};

use super::query::Query;
use super::{Admin, Answer};
use crate::upstream::Upstream;
use crate::xds::store::Store;

pub(super) fn answer(admin: &Admin, query: &Query, _: &RefCell<Store>) -> Answer {
    let filter = match query.value("filter").filter(|f| !f.is_empty()).map(Regex::new) {
        Some(Err(error)) => return Answer::status(StatusCode::BAD_REQUEST, format!("Invalid re2 regex: {error}\n")),
        Some(Ok(filter)) => Some(filter),
        None => None,
    };
    let mut all = admin.shared.upstreams.all();
    all.retain(|u| filter.as_ref().is_none_or(|f| f.is_match(u.cluster.name())));
    let fixed: Vec<bool> = {
        let records = admin.records.lock();
        all.iter().map(|u| records.clusters.get(&**u.cluster.name()).is_some_and(|e| e.fixed)).collect()
    };
    match query.value("format").unwrap_or("text") {
        "json" => {
            let statuses: Vec<Value> = all.iter().zip(fixed).map(|(u, fixed)| status(u, fixed)).collect();
            Answer::json(&json!({ "cluster_statuses": statuses }))
        }
        _ => {
            let mut out = String::new();
            all.iter().zip(fixed).for_each(|(u, fixed)| text(u, fixed, &mut out));
            Answer::text(out)
        }
    }
}

/// `{"socket_address": {"address", "port_value"}}`
pub(super) fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn text(upstream: &Upstream, fixed: bool, out: &mut String) {
    let config = upstream.cluster.config();
    let name = upstream.cluster.name();
    let _ = writeln!(out, "{name}::observability_name::{}", config.stat_name);
    if config.outlier_detection.is_some() {
        for what in [
            "success_rate_average",
            "success_rate_ejection_threshold",
            "local_origin_success_rate_average",
            "local_origin_success_rate_ejection_threshold",
        ] {
            let _ = writeln!(out, "{name}::outlier::{what}::-1");
        }
    }
    for (priority, limits) in ["default_priority", "high_priority"].iter().zip(&config.thresholds) {
        let _ = writeln!(out, "{name}::{priority}::max_connections::{}", limits.max_connections);
        let _ = writeln!(out, "{name}::{priority}::max_pending_requests::{}", limits.max_pending_requests);
        let _ = writeln!(out, "{name}::{priority}::max_requests::{}", limits.max_requests);
        let _ = writeln!(out, "{name}::{priority}::max_retries::{}", limits.max_retries);
    }
    let _ = writeln!(out, "{name}::added_via_api::{}", !fixed);
    if let Discovery::Eds { service_name } = &config.discovery {
        let _ = writeln!(out, "{name}::eds_service_name::{service_name}");
    }
    for member in &upstream.cluster.hosts().members {
        member_text(name, member, out);
    }
}

fn member_text(name: &Arc<str>, member: &Member, out: &mut String) {
    let (address, stats) = (member.host.address, &member.host.stats);
    let numbers: [(&str, u64); 8] = [
        ("cx_active", u64::from(stats.cx_active.load(Relaxed))),
        ("cx_connect_fail", stats.cx_connect_fail.load(Relaxed)),
        ("cx_total", stats.cx_total.load(Relaxed)),
        ("rq_active", u64::from(stats.rq_active.load(Relaxed))),
        ("rq_error", stats.rq_error.load(Relaxed)),
        ("rq_success", stats.rq_success.load(Relaxed)),
        ("rq_timeout", stats.rq_timeout.load(Relaxed)),
        ("rq_total", stats.rq_total.load(Relaxed)),
    ];
    for (what, value) in numbers {
        let _ = writeln!(out, "{name}::{address}::{what}::{value}");
    }
    let _ = writeln!(out, "{name}::{address}::hostname::{}", member.host.hostname);
    let _ = writeln!(out, "{name}::{address}::health_flags::{}", health_flags(member));
    let _ = writeln!(out, "{name}::{address}::weight::{}", member.weight);
    let _ = writeln!(out, "{name}::{address}::region::{}", member.locality.region);
    let _ = writeln!(out, "{name}::{address}::zone::{}", member.locality.zone);
    let _ = writeln!(out, "{name}::{address}::sub_zone::{}", member.locality.sub_zone);
    let _ = writeln!(out, "{name}::{address}::canary::false");
    let _ = writeln!(out, "{name}::{address}::priority::{}", member.priority);
    let _ = writeln!(out, "{name}::{address}::success_rate::-1");
    let _ = writeln!(out, "{name}::{address}::local_origin_success_rate::-1");
}

fn health_flags(member: &Member) -> String {
    let mut flags = String::new();
    if member.ejected {
        flags.push_str("/failed_outlier_check");
    }
    flags.push_str(match member.health {
        Health::Unhealthy => "/failed_eds_health",
        Health::Draining => "/eds_status_draining",
        Health::Timeout => "/failed_eds_health",
        Health::Degraded => "/degraded_eds_health",
        Health::Unknown | Health::Healthy => "",
    });
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}

fn status(upstream: &Upstream, fixed: bool) -> Value {
    let config = upstream.cluster.config();
    let mut status = serde_json::Map::new();
    status.insert("name".to_owned(), json!(&**upstream.cluster.name()));
    if !fixed {
        status.insert("added_via_api".to_owned(), json!(true));
    }
    let hosts = upstream.cluster.hosts();
    if !hosts.members.is_empty() {
        let hosts: Vec<Value> = hosts.members.iter().map(host_status).collect();
        status.insert("host_statuses".to_owned(), Value::from(hosts));
    }
    let thresholds: Vec<Value> = [None, Some("HIGH")]
        .iter()
        .zip(&config.thresholds)
        .map(|(priority, limits)| {
            let mut one = serde_json::Map::new();
            if let Some(priority) = priority {
                one.insert("priority".to_owned(), json!(priority));
            }
            one.insert("max_connections".to_owned(), json!(limits.max_connections));
            one.insert("max_pending_requests".to_owned(), json!(limits.max_pending_requests));
            one.insert("max_requests".to_owned(), json!(limits.max_requests));
            one.insert("max_retries".to_owned(), json!(limits.max_retries));
            Value::Object(one)
        })
        .collect();
    status.insert("circuit_breakers".to_owned(), json!({ "thresholds": thresholds }));
    status.insert("observability_name".to_owned(), json!(&*config.stat_name));
    if let Discovery::Eds { service_name } = &config.discovery {
        status.insert("eds_service_name".to_owned(), json!(&**service_name));
    }
    Value::Object(status)
}

fn host_status(member: &Member) -> Value {
    let stats = &member.host.stats;
    let counter = |name: &str, value: u64| match value {
        0 => json!({ "name": name }),
        _ => json!({"value": value.to_string(), "name": name}),
    };
    let gauge = |name: &str, value: u32| match value {
        0 => json!({"type": "GAUGE", "name": name}),
        _ => json!({"type": "GAUGE", "value": value.to_string(), "name": name}),
    };
    let mut health = serde_json::Map::new();
    if member.ejected {
        health.insert("failed_outlier_check".to_owned(), json!(true));
    }
    let eds = match member.health {
        Health::Unknown | Health::Healthy => "HEALTHY",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
        Health::Timeout => "TIMEOUT",
        Health::Degraded => "DEGRADED",
    };
    health.insert("eds_health_status".to_owned(), json!(eds));
    let mut locality = serde_json::Map::new();
    let place = &member.locality;
    for (name, value) in [("region", &place.region), ("zone", &place.zone), ("sub_zone", &place.sub_zone)] {
        if !value.is_empty() {
            locality.insert(name.to_owned(), json!(&**value));
        }
    }
    let mut status = serde_json::Map::new();
    status.insert("address".to_owned(), address(member.host.address));
    status.insert(
        "stats".to_owned(),
        json!([
            counter("cx_connect_fail", stats.cx_connect_fail.load(Relaxed)),
            counter("cx_total", stats.cx_total.load(Relaxed)),
            counter("rq_error", stats.rq_error.load(Relaxed)),
            counter("rq_success", stats.rq_success.load(Relaxed)),
            counter("rq_timeout", stats.rq_timeout.load(Relaxed)),
            counter("rq_total", stats.rq_total.load(Relaxed)),
            gauge("cx_active", stats.cx_active.load(Relaxed)),
            gauge("rq_active", stats.rq_active.load(Relaxed)),
        ]),
    );
    status.insert("health_status".to_owned(), Value::Object(health));
    status.insert("weight".to_owned(), json!(member.weight));
    if !member.host.hostname.is_empty() {
        status.insert("hostname".to_owned(), json!(&*member.host.hostname));
    }
    if member.priority > 0 {
        status.insert("priority".to_owned(), json!(member.priority));
    }
    status.insert("locality".to_owned(), Value::Object(locality));
    Value::Object(status)
}
