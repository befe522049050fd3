//! Servers that are killed, frozen, or reloaded.

use rustix::process::Signal;

use super::{Active, Fault, Stage};
use crate::linearizability::cluster::SIZE;
use crate::linearizability::record::GROUPS;
use airlock_test_support::eventually;

/// How many more slots the reloaded configuration has. They have no effect on a group that exists.
const MORE: u32 = 2;

pub(super) fn begin(active: &mut Active, stage: &mut Stage<'_>) {
    let (cluster, server) = (&mut *stage.cluster, stage.random.usize(..SIZE));
    active.targets = vec![server];
    match active.fault {
        Fault::ServerKilled => {
            cluster.servers.lock().unwrap()[server] = None;
            cluster.airlocks[server] = None;
            active.effect += 1;
        }
        Fault::ServerFrozen => {
            cluster.airlocks[server]
                .as_mut()
                .unwrap()
                .process()
                .freeze();
            active.effect += 1;
        }
        Fault::SlotsReloaded => {
            let config = cluster.config(server, MORE);
            let airlock = cluster.airlocks[server].as_ref().unwrap();
            airlock.reload_with(&config);
            let gauge = "airlock_config_semaphore_slots{group=\"default\"}";
            let wanted = Some(f64::from(GROUPS[0].slots + MORE));
            eventually("the reload", || {
                (airlock.metric(gauge) == wanted).then_some(())
            });
            active.effect += 1;
        }
        _ => {}
    }
}

pub(super) fn end(active: &mut Active, stage: &mut Stage<'_>) {
    let server = active.targets[0];
    let config = stage.cluster.config(server, 0);
    match (active.fault, &mut stage.cluster.airlocks[server]) {
        (Fault::ServerFrozen, Some(airlock)) => airlock.process().signal(Signal::CONT),
        (Fault::SlotsReloaded, Some(airlock)) => airlock.reload_with(&config),
        _ => stage.cluster.start_servers(),
    }
}
