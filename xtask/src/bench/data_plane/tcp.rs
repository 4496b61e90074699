//! TCP throughput, one direction: a source that sends a file from the page
//! cache, and a sink that drops what it received inside the kernel, so that
//! neither end copies a byte.
//!
//! A unit is 64 KiB: `cpu_s_per_million` is processor seconds per million
//! units, 65.536 GB, and a latency is the time in which one connection
//! received one unit.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, recv};

use super::Load;
use crate::bench::affinity;

const CONNECTIONS: usize = 4;
/// Bytes of a unit.
const UNIT: usize = 64 * 1024;
/// Bytes asked of the kernel in one call.
const BATCH: usize = 1 << 20;

/// Sends without end to whoever connects, until the process ends.
pub(super) fn serve() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut file = tempfile::tempfile().map_err(|error| error.to_string())?;
    file.write_all(&vec![b'x'; BATCH]).map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        affinity::pin(affinity::LOAD).ok();
        for stream in listener.incoming().flatten() {
            let Ok(file) = file.try_clone() else { return };
            std::thread::spawn(move || send(&stream, &file));
        }
    });
    Ok(address)
}

fn send(stream: &TcpStream, file: &File) {
    let mut sent = 0;
    while sent < BATCH {
        let mut offset = sent as i64;
        match sendfile(stream, file, Some(&mut offset), BATCH - sent) {
            Ok(n @ 1..) => sent = (sent + n) % BATCH,
            _ => return,
        }
    }
}

/// Receives on all connections for so many seconds.
pub(super) fn load(address: SocketAddr, seconds: f64) -> Result<Load, String> {
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let threads: Vec<_> = (0..CONNECTIONS).map(|_| std::thread::spawn(move || receive(address, deadline))).collect();
    let mut total = Load::default();
    for thread in threads {
        let load = thread.join().map_err(|_| "a receiving thread panicked")?;
        total.add(load.map_err(|error| format!("{address}: {error}"))?);
    }
    Ok(total)
}

fn receive(address: SocketAddr, deadline: Instant) -> std::io::Result<Load> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut buffer = vec![0; BATCH];
    let (mut load, mut bytes, mut unit_begun) = (Load::default(), 0, Instant::now());
    loop {
        bytes += match recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => n,
        };
        let now = Instant::now();
        let units = bytes / UNIT;
        for _ in 0..units {
            load.latency.record((now - unit_begun) / u32::try_from(units).unwrap_or(u32::MAX));
        }
        if units > 0 {
            load.done += units as u64;
            bytes %= UNIT;
            unit_begun = now;
        }
        if now >= deadline {
            return Ok(load);
        }
    }
}
