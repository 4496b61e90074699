//! The table of pages.

use std::cell::RefCell;

use http::StatusCode;
use regex::RegexBuilder;

use super::query::Query;
use super::{Admin, Answer, Page, certs, clusters, config_dump, server};
use crate::stats::render::{self, Kind};
use crate::xds::store::Store;

/// In the order of `/help`.
pub(super) const PAGES: &[Page] = &[
    page("/", "Admin home page", |_, _, _| home()),
    page("/certs", "print certs on machine", |a, _, _| certs::answer(a)),
    Page {
        parameters: &[
            ("filter", "Regular expression (Google re2) for filtering clusters by name"),
            ("format", "Format to use; One of (text, json)"),
        ],
        ..page("/clusters", "upstream cluster status", clusters::answer)
    },
    Page {
        parameters: &[
            ("resource", "The resource to dump"),
            (
                "mask",
                "The mask to apply. When both resource and mask are specified, the mask is applied to every element in the desired repeated field so that only a subset of fields are returned. The mask is parsed as a Protobuf::FieldMask",
            ),
            (
                "name_regex",
                "Dump only the currently loaded configurations whose names match the specified regex. Can be used with both resource and mask query parameters.",
            ),
            (
                "include_eds",
                "Dump currently loaded configuration including EDS. See the response definition for more information",
            ),
        ],
        ..page("/config_dump", "dump current Envoy configs", config_dump::answer)
    },
    page("/contention", "dump current Envoy mutex contention stats (if enabled)", |_, _, _| {
        Answer::text("Mutex contention tracing is not enabled. There is none here.")
    }),
    Page {
        changes: true,
        parameters: &[
            (
                "graceful",
                "When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and duration is configurable via server options or CLI",
            ),
            (
                "skip_exit",
                "When draining listeners, drain the connections but never stop the listeners. The graceful parameter has no effect when this is set, since the drain period only delays stopping the listeners",
            ),
            (
                "inboundonly",
                "Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is inbound or outbound.",
            ),
        ],
        ..page("/drain_listeners", "drain listeners", |_, query, store| {
            store.borrow_mut().drain_listeners(query.has("inboundonly"), query.has("skip_exit"));
            Answer::ok()
        })
    },
    Page {
        changes: true,
        ..page("/healthcheck/fail", "cause the server to fail health checks", |a, _, _| server::fail(a, true))
    },
    Page {
        changes: true,
        ..page("/healthcheck/ok", "cause the server to pass health checks", |a, _, _| server::fail(a, false))
    },
    page("/help", "print out list of admin commands", |_, _, _| Answer::text(help())),
    page("/hot_restart_version", "print the hot restart compatibility version", |_, _, _| Answer::text("disabled")),
    Page {
        parameters: &[(
            "mask",
            "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For example, get the unready targets of all listeners with /init_dump?mask=listener`",
        )],
        ..page("/init_dump", "dump current Envoy init manager information (experimental)", server::init_dump)
    },
    Page {
        parameters: &[("format", "File format to use; One of (text, json)")],
        ..page("/listeners", "print listener info", server::listeners)
    },
    Page {
        changes: true,
        parameters: &[
            (
                "paths",
                "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>.",
            ),
            (
                "level",
                "desired logging level, this will change all loggers's level; One of (, trace, debug, info, warning, error, critical, off)",
            ),
        ],
        ..page("/logging", "query/change logging levels", server::logging)
    },
    page("/memory", "print current allocation/heap usage", |_, _, _| server::memory()),
    Page { changes: true, ..page("/quitquitquit", "exit the server", |a, _, _| server::quit(a)) },
    page("/ready", "print server state, return 200 if LIVE, otherwise return 503", |a, _, _| server::ready(a)),
    Page {
        changes: true,
        ..page("/reopen_logs", "reopen access logs", |a, _, _| {
            a.shared.logs.reopen();
            Answer::ok()
        })
    },
    Page {
        changes: true,
        ..page("/reset_counters", "reset all counters to zero", |a, _, _| {
            a.shared.stats.store.reset_counters();
            Answer::ok()
        })
    },
    page("/runtime", "print runtime values", |_, _, _| Answer::json(&serde_json::json!({"entries": {}, "layers": []}))),
    page("/server_info", "print server version/status information", |a, _, _| server::info(a)),
    Page {
        parameters: &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("invert_filter", "Invert the filter regex"),
            ("format", "Format to use; One of (text, json, prometheus)"),
            ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
        ],
        ..page("/stats", "print server stats", |a, q, _| stats(a, q, q.value("format").unwrap_or("text")))
    },
    Page {
        parameters: &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("text_readouts", "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("invert_filter", "Invert the filter regex"),
        ],
        ..page("/stats/prometheus", "print server stats in prometheus format", |a, q, _| stats(a, q, "prometheus"))
    },
];

const fn page(path: &'static str, about: &'static str, answer: fn(&Admin, &Query, &RefCell<Store>) -> Answer) -> Page {
    Page { path, changes: false, about, parameters: &[], answer }
}

/// The list of pages, as `/help` and 404 answers show it.
pub(super) fn help() -> String {
    let mut out = "admin commands are:\n".to_owned();
    for page in PAGES {
        let post = if page.changes { " (POST)" } else { "" };
        out.push_str(&format!("  {}{post}: {}\n", page.path, page.about));
        for (name, about) in page.parameters {
            out.push_str(&format!("      {name}: {about}\n"));
        }
    }
    out
}

fn home() -> Answer {
    let rows: Vec<String> = PAGES
        .iter()
        .map(|p| match p.changes {
            true => {
                format!("<tr><td><form action=\"{0}\" method=post><button>{0}</button></form><td>{1}", p.path, p.about)
            }
            false => format!("<tr><td><a href=\"{0}\">{0}</a><td>{1}", p.path, p.about),
        })
        .collect();
    let body = format!("<!doctype html><title>Pilothouse proxy admin</title><table>{}</table>\n", rows.join("\n"));
    Answer { content_type: "text/html; charset=UTF-8", ..Answer::text(body) }
}

fn stats(admin: &Admin, query: &Query, format: &str) -> Answer {
    let filter = match query.value("filter").filter(|f| !f.is_empty()).map(|f| RegexBuilder::new(f).build()) {
        Some(Err(error)) => return Answer::status(StatusCode::BAD_REQUEST, format!("Invalid re2 regex: {error}\n")),
        Some(Ok(filter)) => Some(filter),
        None => None,
    };
    let kind = match query.value("type").map(str::to_ascii_lowercase).as_deref() {
        None | Some("all" | "") => None,
        Some("counters") => Some(Kind::Counters),
        Some("gauges") => Some(Kind::Gauges),
        Some("histograms") => Some(Kind::Histograms),
        Some("textreadouts") => Some(Kind::TextReadouts),
        Some(_) => {
            let text = "invalid ?type=, expected All, Counters, Gauges, Histograms or TextReadouts\n";
            return Answer::status(StatusCode::BAD_REQUEST, text);
        }
    };
    server::refresh(admin);
    let wanted = render::Query {
        used_only: query.has("usedonly"),
        filter,
        invert_filter: query.has("invert_filter"),
        kind,
        text_readouts: query.has("text_readouts"),
    };
    let store = &admin.shared.stats.store;
    match format {
        "text" | "" => Answer::text(render::text(store, &wanted)),
        "json" => Answer { content_type: "application/json", ..Answer::text(render::json(store, &wanted).to_string()) },
        "prometheus" => Answer {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            ..Answer::text(render::prometheus(store, &wanted))
        },
        _ => Answer::status(StatusCode::BAD_REQUEST, "usage: /stats?format=(text|json|prometheus)\n"),
    }
}
