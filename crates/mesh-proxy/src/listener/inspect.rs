//! Listener filters: what the first bytes of a connection are.

use std::time::Duration;

use bytes::BytesMut;
use mesh_engine::Listener;
use mesh_engine::listener::{ListenerFilterKind, PortPredicate};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::client_hello::{self, Found};
use crate::http::serve::PREFACE;

/// What inspectors found out.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) tls: bool,
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) protocols: Vec<Box<str>>,
    /// What was read meanwhile.
    pub(crate) first: BytesMut,
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It ended, or failed, before the inspectors were done.
    RemoteClose,
    /// The inspectors waited too long.
    Timeout,
}

/// Whether `listener` wants `kind` for a connection to `port`.
pub(crate) fn wants(listener: &Listener, kind: ListenerFilterKind, port: u16) -> bool {
    listener.listener_filters.iter().any(|f| f.kind == kind && !f.disabled.as_ref().is_some_and(|p| holds(p, port)))
}

fn holds(predicate: &PortPredicate, port: u16) -> bool {
    match predicate {
        PortPredicate::Or(all) => all.iter().any(|p| holds(p, port)),
        PortPredicate::And(all) => all.iter().all(|p| holds(p, port)),
        PortPredicate::Not(inner) => !holds(inner, port),
        PortPredicate::Any => true,
        PortPredicate::Range(start, end) => (*start..*end).contains(&i32::from(port)),
    }
}

/// Runs the inspectors that `listener` has for `port`, adding to `findings`.
pub(crate) async fn run(
    listener: &Listener,
    port: u16,
    stream: &mut TcpStream,
    findings: &mut Findings,
) -> Result<(), Refusal> {
    let tls = wants(listener, ListenerFilterKind::TlsInspector, port);
    let http = wants(listener, ListenerFilterKind::HttpInspector, port);
    if !tls && !http {
        return Ok(());
    }
    let looking = look(tls, http, stream, findings);
    match listener.listener_filters_timeout.filter(|t| !t.is_zero()) {
        None => looking.await,
        Some(longest) => match tokio::time::timeout(longest.min(WAIT_MAX), looking).await {
            Ok(result) => result,
            Err(_) if listener.continue_on_listener_filters_timeout => Ok(()),
            Err(_) => Err(Refusal::Timeout),
        },
    }
}

async fn look(tls: bool, http: bool, stream: &mut TcpStream, findings: &mut Findings) -> Result<(), Refusal> {
    let (mut tls, mut http) = (tls, http);
    loop {
        if tls {
            match client_hello::parse(&findings.first) {
                Found::Partial if !findings.first.is_empty() => {}
                Found::Partial => {}
                Found::Other => tls = false,
                Found::Hello(hello) => {
                    findings.tls = true;
                    findings.server_name = hello.server_name;
                    findings.protocols = hello.alpn;
                    return Ok(());
                }
            }
        }
        if http && !tls {
            match http_version(&findings.first) {
                Http::Partial => {}
                Http::No => http = false,
                Http::Version(version) => {
                    findings.protocols = vec![version.into()];
                    return Ok(());
                }
            }
        }
        if !tls && !http {
            return Ok(());
        }
        findings.first.reserve(READ_BYTES);
        match stream.read_buf(&mut findings.first).await {
            Ok(n) if n > 0 => {}
            // A peer that only closes its half after a few bytes may still
            // want an answer: what is known so far must do.
            Ok(_) if !findings.first.is_empty() => return Ok(()),
            _ => return Err(Refusal::RemoteClose),
        }
    }
}

enum Http {
    Partial,
    No,
    Version(&'static str),
}

/// Looks for an HTTP/2 preface or an HTTP/1 request line.
fn http_version(bytes: &[u8]) -> Http {
    let seen = bytes.len().min(PREFACE.len());
    if bytes[..seen] == PREFACE[..seen] {
        return if seen == PREFACE.len() { Http::Version("h2c") } else { Http::Partial };
    }
    let method = bytes.iter().take_while(|b| b.is_ascii_alphabetic() || **b == b'-').count();
    if method == 0 || method > METHOD_BYTES_MAX || bytes.get(method).is_some_and(|b| *b != b' ') {
        return Http::No;
    }
    let known = METHODS.iter().any(|m| m.starts_with(&bytes[..method.min(m.len())]) && method <= m.len());
    if !known {
        return Http::No;
    }
    match bytes.iter().position(|b| *b == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            if line.ends_with(b" HTTP/1.1") {
                Http::Version("http/1.1")
            } else if line.ends_with(b" HTTP/1.0") {
                Http::Version("http/1.0")
            } else {
                Http::No
            }
        }
        None if bytes.len() > LINE_BYTES_MAX => Http::No,
        None => Http::Partial,
    }
}

const METHODS: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
const METHOD_BYTES_MAX: usize = 16;
/// A longer request line is not waited for.
const LINE_BYTES_MAX: usize = 64 * 1024;
const READ_BYTES: usize = 4096;
/// However long a listener would wait.
const WAIT_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_other_bytes_as_early_as_possible() {
        let check = |bytes: &[u8]| match http_version(bytes) {
            Http::Partial => "partial",
            Http::No => "no",
            Http::Version(v) => v,
        };
        assert_eq!(check(b"GET /x HTTP/1.1\r\n"), "http/1.1");
        assert_eq!(check(b"POST / HTTP/1.0\n"), "http/1.0");
        assert_eq!(check(b"PRI * HT"), "partial");
        assert_eq!(check(PREFACE), "h2c");
        assert_eq!(check(b"GE"), "partial");
        assert_eq!(check(b"ping"), "no");
        assert_eq!(check(b"\x00\x01"), "no");
        assert_eq!(check(b"GET / SPDY\r\n"), "no");
    }
}
