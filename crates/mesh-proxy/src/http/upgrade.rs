//! After an upgrade was accepted: bytes go both ways between client and
//! upstream, and nobody looks at them any more.
//!
//! On HTTP/1.1 an upgrade is a 101 response, on HTTP/2 an extended CONNECT
//! that is answered with 200 (RFC 8441); either side may speak either.

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Exchange;
use super::response::{ResponseBody, Source};
use crate::io::Io;
use crate::tcp::copy::{self, Moved};
use crate::upstream::h1::H1;
use crate::upstream::h2::H2Stream;

/// The upstream's side.
enum Far {
    Connection(Box<H1>),
    Stream(Box<H2Stream>),
}

/// Accepts the upgrade and, once that is sent, joins both sides.
pub(crate) fn switch(
    mut parts: Parts,
    source: Source,
    mut exchange: Box<Exchange>,
    on_upgrade: Option<OnUpgrade>,
) -> Response<ResponseBody> {
    let far = match source {
        Source::Http1(body) => body.into_h1().map(Far::Connection),
        Source::Upgraded(stream) => Some(Far::Stream(stream)),
        _ => None,
    };
    let (Some(far), Some(on_upgrade)) = (far, on_upgrade) else {
        // Only a request that can be upgraded gets here, and it always carries both.
        let mut response = Response::new(ResponseBody::new(Source::Local(Bytes::new()), exchange));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return response;
    };
    if exchange.version == Version::HTTP_2 {
        parts.status = StatusCode::OK;
        parts.headers.remove(header::CONNECTION);
        parts.headers.remove(header::UPGRADE);
        exchange.status = Some(StatusCode::OK.as_u16());
    }
    let down = exchange.down.clone();
    exchange.complete = true;
    // The exchange lives as long as the tunnel; the head that goes down needs
    // one of its own.
    let head = Exchange::silent(&down);
    tokio::task::spawn_local(serve(exchange, far, on_upgrade));
    Response::from_parts(parts, ResponseBody::new(Source::Local(Bytes::new()), head))
}

async fn serve(mut exchange: Box<Exchange>, far: Far, on_upgrade: OnUpgrade) {
    match far {
        Far::Stream(mut stream) => client(&mut exchange, on_upgrade, &mut *stream, Bytes::new()).await,
        Far::Connection(h1) => {
            let Some((mut upstream, first, counted)) = h1.into_upgraded().await else { return };
            client(&mut exchange, on_upgrade, &mut upstream, first).await;
            drop(counted);
        }
    }
}

/// Waits for the client's side. `first` came from `upstream` too early.
async fn client<U>(exchange: &mut Exchange, on_upgrade: OnUpgrade, upstream: &mut U, first: Bytes)
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(upgraded) = on_upgrade.await else { return };
    match upgraded.downcast::<Io>() {
        Ok(mut client) => join(exchange, &mut client.io, client.read_buf, upstream, first).await,
        // A stream of an HTTP/2 connection.
        Err(stream) => join(exchange, &mut TokioIo::new(stream), Bytes::new(), upstream, first).await,
    }
}

async fn join<C, U>(exchange: &mut Exchange, client: &mut C, sent: Bytes, upstream: &mut U, first: Bytes)
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let stats = exchange.down.stats.clone();
    stats.downstream_cx_upgrades_total.inc();
    stats.downstream_cx_upgrades_active.inc();
    let mut moved = Moved::default();
    copy::both_ways(client, upstream, sent, first, exchange.idle_timeout(), &mut moved).await;
    exchange.bytes_sent += moved.received;
    stats.downstream_cx_upgrades_active.dec();
}
