//! The admin interface: Envoy's paths and JSON shapes.
//!
//! It runs on the control thread: an expensive answer delays configuration,
//! never a request. Pages are one table; each is a function from the query to
//! an answer. What changes something wants POST.
//!
//! Deliberately absent: pages about things this process does not have (profilers,
//! runtime layers that can be modified, TCMalloc).

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::options::Options;
use crate::process::Stop;
use crate::worker::Shared;
use crate::xds::record::Records;
use crate::xds::store::Store;

mod certs;
mod clusters;
mod config_dump;
mod pages;
mod query;
mod server;

pub(crate) use certs::days_left;
use query::Query;

/// What pages read and change.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    records: Arc<Mutex<Records>>,
    options: Options,
    stop: watch::Sender<Stop>,
    started: Instant,
    log_level: Mutex<String>,
}

/// One page.
struct Page {
    path: &'static str,
    /// Changes something: only by POST.
    changes: bool,
    about: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    answer: fn(&Admin, &Query, &RefCell<Store>) -> Answer,
}

/// A page's answer.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=UTF-8", body: body.into() }
    }

    fn ok() -> Self {
        Self::text("OK\n")
    }

    fn status(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, ..Self::text(body) }
    }

    fn json(value: &Value) -> Self {
        Self { content_type: "application/json", ..Self::text(pretty(value)) }
    }
}

/// JSON as Envoy indents it: one space.
fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if serde::Serialize::serialize(value, &mut serializer).is_err() {
        return value.to_string();
    }
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_default()
}

impl Admin {
    pub(crate) fn new(
        shared: Arc<Shared>,
        records: Arc<Mutex<Records>>,
        options: Options,
        stop: watch::Sender<Stop>,
    ) -> Self {
        let log_level = Mutex::new(options.log_level.clone());
        Self { shared, records, options, stop, started: Instant::now(), log_level }
    }

    /// `LIVE`, `PRE_INITIALIZING` or `DRAINING`.
    fn state(&self) -> &'static str {
        if self.shared.failing.load(Ordering::Relaxed) {
            "DRAINING"
        } else if self.records.lock().live {
            "LIVE"
        } else {
            "PRE_INITIALIZING"
        }
    }

    fn respond(&self, method: &Method, path: &str, query: &str, store: &RefCell<Store>) -> Answer {
        let Some(page) = pages::PAGES.iter().find(|p| p.path == path) else {
            let text = format!("invalid path. {}", pages::help());
            return Answer::status(StatusCode::NOT_FOUND, text);
        };
        if page.changes && method != Method::POST {
            let text = format!("Method {method} not allowed, POST required.");
            return Answer::status(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        (page.answer)(self, &Query::parse(query), store)
    }
}

/// Binds the admin interface.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = std::net::TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("address: cannot bind {address}: port in use"),
        _ => format!("address: cannot bind {address}: {error}"),
    })
}

/// Serves until the control thread ends.
pub(crate) async fn serve(socket: TcpListener, admin: Admin, store: Rc<RefCell<Store>>) {
    let admin = Rc::new(admin);
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (admin, store) = (admin.clone(), store.clone());
        tokio::task::spawn_local(async move {
            let _place = place;
            let service = service_fn(move |request| answer(admin.clone(), store.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is its own affair.
            let _ = connection.await;
        });
    }
}

async fn answer(
    admin: Rc<Admin>,
    store: Rc<RefCell<Store>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    let answer = admin.respond(request.method(), request.uri().path(), query, &store);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::SERVER, HeaderValue::from_static("envoy"));
    Ok(response)
}

/// Admin connections at once.
const CONNECTIONS_MAX: usize = 256;
/// An admin connection without a request ends after this.
const IDLE_MAX: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
