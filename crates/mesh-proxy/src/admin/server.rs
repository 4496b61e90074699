//! Pages about the process.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use http::StatusCode;
use mesh_proto::json;
use serde_json::{Value, json};

use super::query::Query;
use super::{Admin, Answer};
use crate::options::{DrainStrategy, Mode};
use crate::process::Stop;
use crate::xds::store::Store;

pub(super) fn ready(admin: &Admin) -> Answer {
    let state = admin.state();
    let status = if state == "LIVE" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::status(status, format!("{state}\n"))
}

pub(super) fn fail(admin: &Admin, fail: bool) -> Answer {
    admin.shared.failing.store(fail, Ordering::Relaxed);
    admin.shared.stats.server.state.set(u64::from(fail));
    admin.shared.stats.server.live.set(u64::from(!fail));
    Answer::ok()
}

pub(super) fn quit(admin: &Admin) -> Answer {
    let stop = admin.stop.clone();
    // The answer goes out first.
    tokio::task::spawn_local(async move {
        tokio::time::sleep(QUIT_DELAY).await;
        stop.send_replace(Stop::Now);
    });
    Answer::ok()
}

pub(super) fn info(admin: &Admin) -> Answer {
    let options = &admin.options;
    let uptime = format!("{}s", admin.started.elapsed().as_secs());
    let node = admin.records.lock().bootstrap.node.clone().unwrap_or_default();
    let seconds = |d: std::time::Duration| format!("{}s", d.as_secs_f64());
    Answer::json(&json!({
        "version": VERSION,
        "state": admin.state(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {
            "base_id": options.base_id.to_string(),
            "concurrency": options.workers(),
            "config_path": options.config_path.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
            "config_yaml": options.config_yaml.clone().unwrap_or_default(),
            "allow_unknown_static_fields": options.allow_unknown_static_fields,
            "local_address_ip_version": options.local_address_ip_version,
            "log_level": options.log_level,
            "component_log_level": options.component_log_level,
            "log_format": options.log_format,
            "service_cluster": options.service_cluster.clone().unwrap_or_default(),
            "service_node": options.service_node.clone().unwrap_or_default(),
            "service_zone": options.service_zone.clone().unwrap_or_default(),
            "file_flush_interval": seconds(options.file_flush_interval),
            "drain_time": seconds(options.drain_time),
            "parent_shutdown_time": seconds(options.parent_shutdown_time),
            "mode": match options.mode { Mode::Serve => "Serve", Mode::Validate => "Validate" },
            "disable_hot_restart": true,
            "restart_epoch": options.restart_epoch,
            "drain_strategy": match options.drain_strategy {
                DrainStrategy::Gradual => "Gradual",
                DrainStrategy::Immediate => "Immediate",
            },
        },
        "node": json::to_json(&node),
    }))
}

pub(super) fn listeners(admin: &Admin, query: &Query, _: &RefCell<Store>) -> Answer {
    let records = admin.records.lock();
    let bound = records.bound.iter().filter_map(|(name, all)| Some((name, all.split_first()?)));
    match query.value("format").unwrap_or("text") {
        "json" => {
            let statuses: Vec<Value> = bound
                .map(|(name, (first, more))| {
                    let mut status = json!({"name": name, "local_address": super::clusters::address(*first)});
                    if !more.is_empty() {
                        let more: Vec<Value> = more.iter().map(|a| super::clusters::address(*a)).collect();
                        status["additional_local_addresses"] = Value::from(more);
                    }
                    status
                })
                .collect();
            Answer::json(&json!({ "listener_statuses": statuses }))
        }
        _ => {
            let lines: Vec<String> = bound
                .map(|(name, (first, more))| {
                    let more: String = more.iter().map(|a| format!(",{a}")).collect();
                    format!("{name}::{first}{more}\n")
                })
                .collect();
            Answer::text(lines.concat())
        }
    }
}

pub(super) fn logging(admin: &Admin, query: &Query, _: &RefCell<Store>) -> Answer {
    // `?level=debug`, `?paths=http:debug,router:trace` or, as of old, `?http=debug`.
    let wanted = match (query.value("level"), query.value("paths"), query.first()) {
        (Some(level), _, _) => Some(level.to_owned()),
        (None, Some(paths), _) => paths.split(',').next_back().and_then(|p| p.split(':').nth(1)).map(str::to_owned),
        (None, None, Some((_, level))) => Some(level.to_owned()),
        (None, None, None) => None,
    };
    let mut note = String::new();
    if let Some(level) = wanted {
        if crate::logging::level(&level).is_none() {
            let text = format!("error: invalid logger level {level:?}\n");
            return Answer::status(StatusCode::BAD_REQUEST, text);
        }
        if !crate::logging::change(&level) {
            let text = "error: this process's log is not set up by the proxy; its level cannot be changed here\n";
            return Answer::status(StatusCode::BAD_REQUEST, text);
        }
        if query.value("level").is_none() {
            note = "(all loggers have one level here)\n".to_owned();
        }
        *admin.log_level.lock() = level;
    }
    let level = admin.log_level.lock().clone();
    let lines: String = LOGGERS.iter().map(|name| format!("  {name}: {level}\n")).collect();
    Answer::text(format!("active loggers:\n{lines}{note}\n"))
}

pub(super) fn init_dump(admin: &Admin, _: &Query, _: &RefCell<Store>) -> Answer {
    let unready = admin.records.lock().unready.clone();
    if unready.is_empty() {
        return Answer::json(&json!({}));
    }
    Answer::json(&json!({"unready_targets_dumps": [{"name": "init manager Server", "target_names": unready}]}))
}

pub(super) fn memory() -> Answer {
    let (resident, data) = resident_bytes();
    let text = |n: u64| n.to_string();
    Answer::json(&json!({
        "allocated": text(data),
        "heap_size": text(data),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": text(resident),
    }))
}

/// Brings the gauges up to date that nobody else does.
pub(super) fn refresh(admin: &Admin) {
    let stats = &admin.shared.stats.server;
    let (resident, data) = resident_bytes();
    stats.memory_allocated.set(data);
    stats.memory_heap_size.set(data);
    stats.memory_physical_size.set(resident);
    stats.total_connections.set(admin.shared.open.load(Ordering::Relaxed));
    stats.uptime.set(admin.started.elapsed().as_secs());
}

/// Resident and data bytes of this process, as the kernel counts them.
fn resident_bytes() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
    let (resident, data) = (pages.nth(1).unwrap_or(0), pages.nth(3).unwrap_or(0));
    (resident * PAGE_BYTES, data * PAGE_BYTES)
}

const PAGE_BYTES: u64 = 4096;
const QUIT_DELAY: std::time::Duration = std::time::Duration::from_millis(50);
/// As Envoy writes it: revision, version, status, build, TLS library.
const VERSION: &str = concat!("pilothouse/", env!("CARGO_PKG_VERSION"), "/Clean/RELEASE/none");
/// Envoy's names for what this proxy logs about.
const LOGGERS: [&str; 14] = [
    "admin",
    "client",
    "config",
    "connection",
    "conn_handler",
    "dns",
    "filter",
    "http",
    "http2",
    "init",
    "main",
    "pool",
    "router",
    "upstream",
];
