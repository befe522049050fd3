//! The files of a server without requests.

use std::thread;
use std::time::{Duration, Instant};

use super::{Fleet, mv};
use airlock_test_support::eventually;

/// The time between two calls of the server's probe to an idle store.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// A busy machine may delay the server until the next call of the probe.
const ATTEMPTS: usize = 5;

/// The server checks its files four times a second, also while no node sends a request. Its probe would notice a moved
/// file, too. So the file is moved right after a call of the probe, and has to be noticed before the next one.
#[test]
fn a_moved_database_is_noticed_without_a_call_to_the_store() {
    let is_noticed = |_| {
        let fleet = Fleet::new();
        let calls = r#"airlock_store_duration_seconds_count{call="confirm"}"#;
        let before = fleet.airlock.metric(calls);
        eventually("a call of the probe", || {
            (fleet.airlock.metric(calls) != before).then_some(())
        });
        let called = Instant::now();
        mv(&fleet.database, &fleet.file(".moved"));
        while called.elapsed() < PROBE_INTERVAL * 3 / 4 {
            let (code, text) = fleet.airlock.status("/readyz");
            if code == 503 {
                assert!(text.contains("airlock.db was moved or deleted"), "{text}");
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    };
    assert!((0..ATTEMPTS).any(is_noticed), "nothing noticed it");
}
