//! A server whose user of etcd is replaced by another one.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::{ALL_GROUPS, Etcd, ROOT, USER, Version, keys_of_user};
use airlock_test_support::pki::secret;
use airlock_test_support::{SetOnDrop, eventually};

/// docs/operations.md has these steps: a second user takes the place of the first one, whose password etcd would forget at
/// once.
#[test]
fn the_password_is_changed_without_an_outage() {
    Version::for_all(|version| {
        let mut etcd = Etcd::with(version, 1, &[]);
        etcd.require_users(&[ALL_GROUPS]);
        etcd.authenticate_as(ROOT);
        let folder = tempfile::tempdir().unwrap();
        let endpoints = etcd.endpoints();
        let first = keys_of_user(folder.path(), USER.1);
        let mut servers = [(); 2].map(|()| Airlock::on_etcd(&endpoints, &first));
        // Nodes send no requests to a server that is being restarted.
        let in_use = Mutex::new([(); 2].map(|()| None));
        let use_server = |index: usize, server: Option<&Airlock>| {
            in_use.lock()[index] = server.map(Airlock::client);
        };
        for (index, server) in servers.iter().enumerate() {
            use_server(index, Some(server));
        }
        let (stop, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
        let node = || {
            let _stop = SetOnDrop(&stop);
            while !stop.load(Ordering::Relaxed) {
                for client in in_use.lock().iter().flatten() {
                    let locked = client.lock("default", "a");
                    assert!(locked.granted(), "{version:?}: {locked:?}");
                    let unlocked = client.unlock("default", "a");
                    assert!(unlocked.granted(), "{version:?}: {unlocked:?}");
                    requests.fetch_add(2, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(5));
            }
        };
        let more = || {
            let enough = requests.load(Ordering::Relaxed) + 40;
            eventually("more requests", || {
                let is_enough = requests.load(Ordering::Relaxed) >= enough;
                (is_enough || stop.load(Ordering::Relaxed)).then_some(())
            });
        };
        thread::scope(|scope| {
            let _stop = SetOnDrop(&stop);
            scope.spawn(node);
            more();
            etcd.ctl(&["user", "add", "second:second-secret"]);
            more();
            etcd.ctl(&["user", "grant-role", "second", "airlock"]);
            more();
            // A server uses a changed password at once, and a changed user after its restart, so the password has a file
            // of its own.
            let password_path = folder.path().join("second-password");
            secret(&password_path, "second-secret\n");
            let second = format!("username = \"second\"\npassword_path = {password_path:?}\n");
            for (index, server) in servers.iter_mut().enumerate() {
                let config = format!("{LISTEN}[etcd3]\nendpoints = {endpoints:?}\n{second}");
                fs::write(server.folder().join("config.toml"), config).unwrap();
                use_server(index, None);
                more();
                server.restart();
                use_server(index, Some(server));
                more();
            }
            etcd.ctl(&["user", "delete", USER.0]);
            more();
        });
    });
}
