//! `/debug` and `/debug/list`.

use std::fmt::Write;

use serde_json::json;

use super::{PAGES, Query, Reply, View};

pub(super) fn index(_: &View, query: &Query) -> Reply {
    if query.get("format") == Some("text") {
        let width = PAGES.iter().map(|p| p.path.len()).max().unwrap_or_default();
        return Reply::Text(PAGES.iter().map(|p| format!("{:width$}  {}\n", p.path, p.summary)).collect());
    }
    let mut html = String::from(HEAD);
    for page in PAGES {
        // Writing to a string does not fail; paths and summaries are our own.
        let _ = writeln!(html, "<tr><td><a href=\"{0}\">{0}</a></td><td>{1}</td></tr>", page.path, page.summary);
    }
    html.push_str("</table>\n<p>Every JSON page takes <code>?pretty</code>.</p>\n</body>\n</html>\n");
    Reply::Html(html)
}

pub(super) fn list(_: &View, _: &Query) -> Reply {
    let names = PAGES.iter().filter_map(|p| p.path.strip_prefix("/debug/"));
    Reply::Json(json!(names.collect::<Vec<_>>()))
}

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Pilothouse debug</title>\n\
<style>body{font:14px sans-serif;margin:2em}td{padding:.2em 1em .2em 0}</style></head>\n<body>\n\
<h1>Pilothouse control plane</h1>\n<table>\n";
