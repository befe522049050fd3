//! The authentication of etcd, which an administrator enables and disables while the servers have a user.

use super::{Active, Stage};

const ENABLED: u64 = 1;
const DISABLED: u64 = 0;

pub(super) fn begin(active: &mut Active, stage: &mut Stage<'_>) {
    toggle(active, stage);
}

pub(super) fn tick(active: &mut Active, stage: &mut Stage<'_>) {
    if stage.random.bool() {
        toggle(active, stage);
    }
}

/// A command that fails may have taken effect nevertheless. The next one assumes that it has not.
fn toggle(active: &mut Active, stage: &Stage<'_>) {
    let etcd = &stage.cluster.etcd;
    let Some(leader) = etcd.known_leader() else {
        return;
    };
    let (command, after) = match active.memory {
        DISABLED => ("enable", ENABLED),
        _ => ("disable", DISABLED),
    };
    if etcd
        .try_ctl_at(&etcd.members[leader], &["auth", command])
        .is_ok()
    {
        active.memory = after;
        active.effect += 1;
    }
}
