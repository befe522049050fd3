//! The parts that Airlock's integration tests and benchmarks share: the server under test, etcd, Prometheus,
//! certificates, clients and a network that can be broken. Each part ends its own processes and removes its
//! own files. Every function panics when its part cannot do what the test needs.
#![warn(missing_docs, unreachable_pub)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics on an unexpected result"
)]

pub mod airlock;
pub mod browser;
pub mod client;
pub mod coreos_airlock;
pub mod etcd;
pub mod history;
pub mod hostile;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod proxy;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The upper bound of every wait. It ends a test that hangs; it is not a measure of speed.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Returns the root folder of the repository.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3);
    root.unwrap().to_owned()
}

/// Waits until `condition` returns a value. Evaluates it every few milliseconds.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    eventually_ok(what, || condition().ok_or("it has not happened"))
}

/// Waits until `attempt` succeeds, like [`eventually`]. Panics with the last error if it does not.
pub fn eventually_ok<T, E: std::fmt::Display>(
    what: &str,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if started.elapsed() >= MAX_WAIT => {
                panic!("still waiting for {what}: {error}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// A guard that sets a flag when it is dropped, including by a panic. Threads of a scope that watch the flag
/// end, so the scope ends too.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns a free port of the loopback interface that this process has not returned before.
///
/// The port is below the range that the kernel assigns to outgoing connections: such a connection could take
/// the port before the server under test binds it.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    loop {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Raises the limit of open files of this process.
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
