//! Addresses that no other test uses: each test gets a loopback network of its
//! own, on which any port is free.
//!
//! On Linux all of 127.0.0.0/8 is this machine. The second byte comes from the
//! process id, the third from a counter, so two runs at once rarely meet; a
//! port that is asked for free is looked up with the kernel in any case.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

/// A loopback network of one test: 127.A.B.0/24.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    second: u8,
    third: u8,
}

static NEXT: AtomicU8 = AtomicU8::new(1);

impl Network {
    /// A network that no other test of this process has.
    #[must_use]
    pub fn new() -> Self {
        let second = 16 + u8::try_from(std::process::id() % 200).unwrap_or_default();
        Self { second, third: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The address with this last byte.
    #[must_use]
    pub fn ip(&self, last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, self.second, self.third, last))
    }

    /// That address with a port that is free now.
    ///
    /// # Panics
    /// If the kernel has no port left.
    #[must_use]
    pub fn free(&self, last: u8) -> SocketAddr {
        free(self.ip(last))
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// A port of `ip` that is free now.
///
/// # Panics
/// If the kernel has no port left.
#[must_use]
pub fn free(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap_or_else(|error| panic!("no free port on {ip}: {error}"));
    listener.local_addr().unwrap_or_else(|error| panic!("{ip}: {error}"))
}

/// A port of 127.0.0.1 that is free now.
#[must_use]
pub fn free_port() -> u16 {
    free(IpAddr::V4(Ipv4Addr::LOCALHOST)).port()
}
