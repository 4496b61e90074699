//! Serves the pages over HTTP: gathers what a page shows, has it answer, and
//! sends that.
//!
//! Debug pages tell everything about the mesh, and ask nobody who they are.
//! So they answer only to whoever is on this machine already ([`guard`]).
//!
//! Invariant: at most [`PAGES_AT_ONCE`] debug pages are made at a time, whatever
//! is asked; others wait. No page is made on an async thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query as Pairs, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use mesh_model::{Diagnostic, MeshSnapshot};
use mesh_xds::transport::server::{StreamStatus, Streams};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) mod guard;

use crate::debug::{Audience, Connected, PAGES, Page, Query, Reply, View};
use crate::fleet::{Fleet, Served};
use crate::metrics::Metrics;

/// What the pages are made from.
pub(crate) struct Ops {
    pub(crate) snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    pub(crate) synced: watch::Receiver<Option<Served>>,
    pub(crate) diagnostics: watch::Receiver<Arc<[Diagnostic]>>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) streams: Streams,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pushes: mpsc::Sender<()>,
    pub(crate) started: Instant,
    pub(crate) busy: Semaphore,
}

/// A dump of a large mesh takes tens of megabytes while it is made.
pub(crate) const PAGES_AT_ONCE: usize = 4;

/// Serves all pages on `listener` until `stop`.
pub(crate) async fn serve(listener: TcpListener, ops: Arc<Ops>, stop: CancellationToken) {
    let service = router(ops).into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "A monitoring server has ended; its pages are gone until a restart.");
    }
}

fn router(ops: Arc<Ops>) -> Router {
    let mut router = Router::new();
    for page in PAGES {
        let handler = move |state, peer, headers, uri| answer(page, state, peer, headers, uri);
        router = router.route(page.path, get(handler));
    }
    router.fallback(unknown).with_state(ops)
}

async fn answer(
    page: &'static Page,
    State(ops): State<Arc<Ops>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if page.audience == Audience::Loopback
        && let Err(refusal) = guard::admit(peer.ip(), &headers, uri.authority().map(|a| a.as_str()))
    {
        tracing::warn!(%peer, path = page.path, reason = %refusal, "A debug page is refused.");
        return text(StatusCode::FORBIDDEN, format!("{refusal}\n"));
    }
    let Ok(Pairs(pairs)) = Pairs::<Vec<(String, String)>>::try_from_uri(&uri) else {
        return text(StatusCode::BAD_REQUEST, "the query string cannot be read\n".to_owned());
    };
    let query = Query::new(pairs);
    let pretty = query.flag("pretty");
    // Whoever asks whether this process is ready must not wait for a dump. The
    // semaphore is never closed.
    let _turn = match page.audience {
        Audience::Loopback => ops.busy.acquire().await.ok(),
        Audience::Everybody => None,
    };
    let streams = if page.streams { Some(ops.streams.status().await) } else { None };
    let view = ops.view(streams);
    let proxies = view.connected.len();
    let made = tokio::task::spawn_blocking(move || render((page.answer)(&view, &query), pretty)).await;
    match made {
        Ok(Rendered::Done(response)) => response,
        Ok(Rendered::Push) => ops.push(proxies),
        Err(error) => {
            tracing::error!(path = page.path, %error, "A page could not be made.");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made; the log says why\n".to_owned())
        }
    }
}

async fn unknown(method: Method, uri: Uri) -> Response {
    let message = format!("there is no page {method} {}; /debug lists those that there are\n", uri.path());
    text(StatusCode::NOT_FOUND, message)
}

impl Ops {
    fn view(&self, streams: Option<Vec<StreamStatus>>) -> View {
        let members = self.fleet.members();
        let by_stream = streams.unwrap_or_default().into_iter().map(|s| (s.peer.stream, s));
        let mut statuses: BTreeMap<u64, StreamStatus> = by_stream.collect();
        let connected = members.iter().map(|(stream, member)| {
            let status = statuses.remove(stream);
            let (peer, types, snapshot) = match status {
                Some(status) => (Some(status.peer), status.types, status.snapshot),
                None => (None, Vec::new(), None),
            };
            Connected {
                proxy: member.proxy.clone(),
                node: member.node.clone(),
                stream: *stream,
                peer,
                types,
                snapshot: snapshot.or_else(|| member.snapshot()),
            }
        });
        View {
            mesh: self.snapshots.borrow().clone(),
            synced: self.synced.borrow().is_some(),
            diagnostics: self.diagnostics.borrow().clone(),
            refusals: self.fleet.refusals(),
            connected: connected.collect(),
            metrics: self.metrics.clone(),
            uptime: self.started.elapsed(),
        }
    }

    fn push(&self, proxies: usize) -> Response {
        match self.pushes.try_send(()) {
            // One that waits already does what this one would.
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => {
                text(StatusCode::OK, format!("Pushed to {proxies} servers\n"))
            }
            Err(mpsc::error::TrySendError::Closed(())) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the control plane is stopping\n".to_owned())
            }
        }
    }
}

enum Rendered {
    Done(Response),
    Push,
}

fn render(reply: Reply, pretty: bool) -> Rendered {
    Rendered::Done(match reply {
        Reply::Push => return Rendered::Push,
        Reply::Json(value) => json(&value, pretty),
        Reply::Text(body) => text(StatusCode::OK, body),
        Reply::Html(body) => typed(StatusCode::OK, "text/html; charset=utf-8", body),
        Reply::Metrics(body) => typed(StatusCode::OK, crate::metrics::CONTENT_TYPE, body),
        Reply::Failure(status, reason) => text(status, format!("{reason}\n")),
    })
}

fn json(value: &Value, pretty: bool) -> Response {
    let encoded = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    match encoded {
        Ok(mut body) => {
            body.push(b'\n');
            typed(StatusCode::OK, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body.into()).into_response()
}
