//! The database of etcd: old revisions, free space, the quota, and deleted keys.

use super::{Active, Fault, Stage};
use crate::linearizability::BY_HAND;
use crate::linearizability::check::{Reply, Request};
use crate::linearizability::cluster::{Cluster, SIZE};
use airlock_test_support::etcd::Status;
use airlock_test_support::eventually_ok;

pub(super) fn begin(active: &mut Active, stage: &mut Stage<'_>) {
    if active.fault == Fault::OutOfSpace {
        // The quota is 16 MiB.
        let value = "x".repeat(1_000_000);
        for key in 0..24 {
            let put = stage.cluster.etcd.try_put(&format!("fill/{key}"), &value);
            if let Err(error) = put {
                active.effect += u64::from(error.stderr.contains("database space exceeded"));
                break;
            }
        }
    }
}

pub(super) fn tick(active: &mut Active, stage: &mut Stage<'_>) {
    if active.fault == Fault::Compaction {
        active.effect += u64::from(stage.cluster.compact().is_ok());
    }
    let etcd = &stage.cluster.etcd;
    match active.fault {
        Fault::Defragmented => {
            let member = &etcd.members[stage.random.usize(..SIZE)];
            active.effect += u64::from(etcd.try_ctl_at(member, &["defrag"]).is_ok());
        }
        Fault::KeyDeleted => {
            // Each command that has no reply takes several seconds.
            let Some(leader) = etcd.known_leader() else {
                return;
            };
            for recorder in stage.recorders.iter() {
                recorder.record(BY_HAND, Request::Delete, || {
                    let delete = ["del", &recorder.group().key()];
                    let deleted = etcd.try_ctl_at(&etcd.members[leader], &delete);
                    active.effect += u64::from(deleted.is_ok());
                    Some(deleted.map_or(Reply::Unknown, |_| Reply::Yes))
                });
            }
        }
        _ => {}
    }
}

pub(super) fn end(active: &mut Active, stage: &mut Stage<'_>) {
    if active.fault == Fault::OutOfSpace {
        make_space(stage.cluster);
    }
}

/// The remedy that docs/operations.md names.
pub(crate) fn make_space(cluster: &mut Cluster) {
    let etcd = &cluster.etcd;
    let deleted = ["del", "--prefix", "fill/"];
    eventually_ok("etcd to make space", || etcd.try_ctl_anywhere(&deleted));
    // A compaction of a revision that is compacted already is an error.
    let _ = cluster.compact();
    let etcd = &cluster.etcd;
    let anywhere = |arguments: &[&str]| {
        eventually_ok("etcd to make space", || etcd.try_ctl_anywhere(arguments));
    };
    // A learner refuses the command in etcd 3.5.1.
    let is_learner = |status: Option<Status>| status.is_some_and(|status| status.is_learner);
    let members = etcd.members.iter().filter(|member| member.is_running());
    for member in members.filter(|member| !is_learner(member.status())) {
        eventually_ok("a member to make space", || {
            etcd.try_ctl_at(member, &["defrag"])
        });
    }
    anywhere(&["alarm", "disarm"]);
    eventually_ok("etcd to accept a write", || {
        etcd.try_ctl_anywhere(&["put", "fill/end", "1"])
    });
}
