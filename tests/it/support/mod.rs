//! The real parts that tests are made of. Each ends its own processes and removes its own files.

pub mod airlock;
pub mod airlock_go;
pub mod client;
pub mod etcd;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod proxy;

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
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

/// Sets a flag when it goes, also by a panic: the threads of a scope that look at it end, and the scope
/// with them.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A port on loopback that is free right now, and that nobody else here is told.
///
/// It is below those that the kernel gives to outgoing connections: one of these could take it before
/// the server that it is for.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    loop {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Lets this process open so many files at once.
pub fn raise_open_files(needed: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(
        maximum.is_none_or(|most| most >= needed),
        "this test needs a hard limit of {needed} open files: ulimit -Hn"
    );
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
