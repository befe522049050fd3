//! Servers that end: one that is stopped is forgotten, and one that is killed is lost.

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

/// Waits until a server counts so many running and lost servers.
fn wait_for(airlock: &Airlock, running: f64, lost: f64) {
    eventually("the other servers to be known", || {
        let counted = ["airlock_servers", "airlock_servers_gone"].map(|name| airlock.metric(name));
        (counted == [Some(running), Some(lost)]).then_some(())
    });
}

/// Revokes the lease that expires 45 s after the end of a server, which etcd would do then.
fn expire(etcd: &Etcd, key: &str) {
    let listed = etcd.ctl(&["lease", "list"]);
    let leases = listed.lines().filter(|lease| !lease.contains(' '));
    let expired = leases.filter(|lease| {
        let told = etcd.ctl(&["lease", "timetolive", lease, "--keys"]);
        told.contains("granted with TTL(45s)") && told.contains(key)
    });
    let expired: Vec<&str> = expired.collect();
    assert_eq!(expired.len(), 1, "{listed}");
    etcd.ctl(&["lease", "revoke", expired[0]]);
}

#[test]
fn a_stopped_server_is_forgotten_and_a_killed_one_is_lost_until_its_document_is_deleted() {
    let etcd = Etcd::start();
    let mut servers = [(); 3].map(|()| Airlock::on_etcd(&etcd.endpoints(), ""));
    wait_for(&servers[0], 3.0, 0.0);
    servers[1].terminate();
    servers[1].process().wait();
    wait_for(&servers[0], 2.0, 0.0);

    let url = servers[2].url();
    let (_, port) = url.rsplit_once(':').unwrap();
    servers[2].process().kill();
    let name = format!("%3A{port}/");
    expire(&etcd, &name);
    wait_for(&servers[0], 1.0, 1.0);
    let status = servers[0].command(&["status"]);
    let text = String::from_utf8(status.stdout).unwrap();
    let lost = text.lines().find(|line| line.contains(port));
    assert!(lost.is_some_and(|line| line.contains("lost")), "{text}");
    assert_eq!(status.status.code(), Some(1), "{text}");

    // As docs/operations.md says.
    let keys = "com.coreos.airlock/groups/#servers/";
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", keys]);
    let document = keys
        .lines()
        .find(|key| key.ends_with(&format!("{name}document")));
    assert_eq!(etcd.ctl(&["del", document.unwrap()]).trim(), "1");
    wait_for(&servers[0], 1.0, 0.0);
    assert!(servers[0].command(&["status"]).status.success());
}
