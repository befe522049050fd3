//! The real parts that tests are made of. Each ends its own processes and removes its own files.

pub mod airlock;
pub mod airlock_go;
pub mod client;
pub mod etcd;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod proxy;

use std::sync::atomic::{AtomicBool, Ordering};
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

/// A port on loopback that is free right now.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
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
