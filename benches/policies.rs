//! What policies cost: the same load on a group without policies, and on groups with one policy each.

use airlock_test_support::etcd::Etcd;

use crate::harness::{Bench, Case, lock, nodes, unlock};
use crate::load;
use crate::server::Server;

/// The number of groups that share a cap.
const CAPPED: usize = 10;

/// Measures clients of which each locks and unlocks, in groups with different policies.
///
/// The gate is a server that does nothing, and its answers are young enough for one grant each.
pub(crate) fn policies(bench: &mut Bench) {
    let etcd = Etcd::start();
    let capped: Vec<String> = (0..CAPPED).map(|group| format!("capped{group}")).collect();
    let mut config = String::from("[lock]\ndefault_slots = 512\n");
    config.push_str("[[lock.groups]]\nname = \"free\"\n");
    config.push_str("[[lock.groups]]\nname = \"stall\"\nstall_after_minutes = 60\n");
    for group in &capped {
        config.push_str(&format!("[[lock.groups]]\nname = \"{group}\"\n"));
    }
    config.push_str(&format!(
        "[[lock.groups]]\nname = \"gated\"\n[[lock.groups.gates]]\nname = \"gate\"\nhttp = \"http://{}/\"\n",
        load::echo()
    ));
    config.push_str(&format!(
        "[[lock.caps]]\nname = \"cap\"\ngroups = {capped:?}\nmax_held = 512\n"
    ));
    let server = [Server::on_etcd(&etcd, &config)];
    let address = [server[0].address()];
    for clients in [1, 64] {
        for (name, group) in [
            ("no policy", "free"),
            ("stall", "stall"),
            ("a cap over 10 groups", "capped0"),
            ("a gate", "gated"),
        ] {
            let case = Case {
                scenario: "policies",
                case: format!("lock and unlock, {name}"),
                writes: true,
                until: bench.until(),
            };
            let connections = nodes(&address, clients, |id| {
                vec![lock(group, id), unlock(group, id)]
            });
            bench.measure(case, connections, &server, Some(&etcd));
        }
    }
}
