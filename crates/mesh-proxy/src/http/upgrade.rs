//! After a 101 response: bytes go both ways between client and upstream, and
//! nobody looks at them any more.

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::response::{ResponseBody, Source};
use crate::io::Io;
use crate::tcp::copy::{self, Moved};
use crate::upstream::h1::H1;

/// Answers 101 and, once that is sent, joins both connections.
pub(crate) fn switch(
    parts: Parts,
    source: Source,
    mut exchange: Box<Exchange>,
    on_upgrade: Option<OnUpgrade>,
) -> Response<ResponseBody> {
    let h1 = match source {
        Source::Http1(body) => body.into_h1(),
        _ => None,
    };
    let (Some(h1), Some(on_upgrade)) = (h1, on_upgrade) else {
        // Only an HTTP/1 request can get here, and it always carries both.
        let mut response = Response::new(ResponseBody::new(Source::Local(Bytes::new()), exchange));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return response;
    };
    let down = exchange.down.clone();
    exchange.complete = true;
    // The exchange lives as long as the tunnel; the head that goes down needs
    // one of its own.
    let head = Exchange::silent(&down);
    tokio::task::spawn_local(join(exchange, h1, on_upgrade));
    Response::from_parts(parts, ResponseBody::new(Source::Local(Bytes::new()), head))
}

async fn join(mut exchange: Box<Exchange>, h1: Box<H1>, on_upgrade: OnUpgrade) {
    let stats = exchange.down.stats.clone();
    let Some((upstream, first_up, counted)) = h1.into_upgraded().await else { return };
    let Ok(Ok(client)) = on_upgrade.await.map(|u| u.downcast::<Io>()) else { return };
    stats.downstream_cx_upgrades_total.inc();
    stats.downstream_cx_upgrades_active.inc();
    let (mut client_io, mut upstream_io) = (client.io, upstream);
    let idle = exchange.idle_timeout();
    let mut moved = Moved::default();
    copy::both_ways(&mut client_io, &mut upstream_io, client.read_buf, first_up, idle, &mut moved).await;
    exchange.bytes_sent += moved.received;
    stats.downstream_cx_upgrades_active.dec();
    drop(counted);
}
