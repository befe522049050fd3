//! The real parts that tests are made of. Each ends its own processes and removes its own files.

pub mod airlock;
pub mod airlock_go;
pub mod client;
pub mod etcd;
pub mod pki;
pub mod process;
pub mod proxy;

use std::time::{Duration, Instant};

/// The upper bound of every wait: against a hang, not a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` returns something, looking again every few milliseconds.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port on loopback that is free right now.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
