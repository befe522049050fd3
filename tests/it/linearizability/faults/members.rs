//! Members of etcd that are killed, frozen, replaced, added, or restored from a snapshot.

use std::time::Instant;

use super::{Active, Fault, Stage};
use crate::linearizability::check::{Reply, Request};
use crate::linearizability::{BY_HAND, cluster::SIZE, note};
use airlock_test_support::{eventually, eventually_ok};

const LEARNER: &str = "learner";
const SNAPSHOT: &str = "snapshot";

pub(super) fn begin(active: &mut Active, stage: &mut Stage<'_>) {
    let etcd = &mut stage.cluster.etcd;
    let leader = etcd.leader();
    let follower = (leader + stage.random.usize(1..SIZE)) % SIZE;
    active.targets = match active.fault {
        Fault::LeaderKilled | Fault::LeaderFrozen => vec![leader],
        Fault::FollowerKilled | Fault::MemberReplaced => vec![follower],
        Fault::QuorumLost => vec![leader, follower],
        Fault::ClusterRestarted => (0..SIZE).collect(),
        Fault::LearnerAdded => vec![SIZE],
        _ => Vec::new(),
    };
    match active.fault {
        Fault::LeaderFrozen => {
            etcd.members[leader].freeze();
            active.effect += 1;
        }
        Fault::MemberReplaced => {
            active.memory = etcd.members[follower].id();
            // etcd refuses until all members have been connected for 5 s.
            eventually_ok("a member to be removed", || {
                etcd.remove_member(follower, active.memory)
            });
        }
        Fault::LearnerAdded => {
            eventually_ok("a learner to be added", || {
                etcd.add_member(LEARNER, &["--learner"])
            });
            let endpoint = etcd.members[SIZE].endpoint();
            stage.cluster.spare.set_target(&endpoint);
        }
        Fault::Restored => save(active, stage),
        _ => {
            for member in &active.targets {
                etcd.members[*member].kill();
                active.effect += 1;
            }
        }
    }
}

/// SUBTLE: a snapshot has the state of one member. The linearizable read before it makes sure that the member knows
/// everything that was committed before the operation began.
fn save(active: &mut Active, stage: &mut Stage<'_>) {
    let file = stage.cluster.folder.path().join(SNAPSHOT);
    let invoked = Instant::now();
    let etcd = &stage.cluster.etcd;
    let saved = etcd
        .try_ctl(&["get", "ready"])
        .and_then(|_| etcd.save_snapshot(&file));
    if saved.is_ok() {
        active.targets = (0..SIZE).collect();
        for recorder in stage.recorders.iter() {
            recorder.add(
                BY_HAND,
                Request::Snapshot,
                Reply::Yes,
                invoked,
                Instant::now(),
            );
        }
    }
}

pub(super) fn end(active: &mut Active, stage: &mut Stage<'_>) {
    if active.targets.is_empty() {
        return;
    }
    match active.fault {
        Fault::LeaderFrozen => stage.cluster.etcd.members[active.targets[0]].thaw(),
        Fault::MemberReplaced => replace(active, stage),
        Fault::LearnerAdded => remove_learner(active, stage),
        Fault::Restored => restore(active, stage),
        _ => {
            for member in &active.targets {
                stage.cluster.etcd.members[*member].spawn();
            }
        }
    }
}

fn replace(active: &mut Active, stage: &mut Stage<'_>) {
    let (etcd, member) = (&mut stage.cluster.etcd, active.targets[0]);
    eventually_ok("a member to be replaced", || etcd.replace_member(member));
    if etcd.members[member].id() != active.memory {
        active.effect += 1;
    }
}

fn remove_learner(active: &mut Active, stage: &mut Stage<'_>) {
    let etcd = &mut stage.cluster.etcd;
    let status = eventually("the learner to respond", || etcd.members[SIZE].status());
    if status.is_learner {
        active.effect += 1;
    }
    eventually_ok("the learner to be removed", || {
        etcd.remove_member(SIZE, status.id)
    });
    etcd.members.truncate(SIZE);
}

/// Restores the snapshot while the servers run, as the same cluster or as another one. A server uses another cluster
/// only after a reload.
fn restore(active: &mut Active, stage: &mut Stage<'_>) {
    let file = stage.cluster.folder.path().join(SNAPSHOT);
    let is_same = stage.random.bool();
    let token = if is_same {
        "etcd-cluster".to_owned()
    } else {
        format!("restored-{}", stage.random.u32(..))
    };
    // What is lost is checked before, as far as it is committed by now.
    let _ = stage.cluster.committed.read(&stage.cluster.etcd);
    let invoked = Instant::now();
    stage.cluster.etcd.restore_snapshot(&file, &token);
    stage.cluster.committed.restart();
    for recorder in stage.recorders.iter() {
        recorder.add(
            BY_HAND,
            Request::Restore,
            Reply::Yes,
            invoked,
            Instant::now(),
        );
    }
    stage.cluster.etcd.wait_until_ready();
    note(&format!("  restored as the same cluster: {is_same}"));
    active.effect += 1;
    // A server accepts another cluster only while every endpoint belongs to it.
    let member = stage.cluster.proxies[0].endpoint();
    stage.cluster.spare.set_target(&member);
    for index in 0..SIZE {
        if let Some(airlock) = &stage.cluster.airlocks[index] {
            airlock.reload_with(&stage.cluster.config(index, 0));
        }
    }
}
