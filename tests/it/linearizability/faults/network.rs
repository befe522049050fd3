//! The networks between the members, and between the servers and the members.

use std::time::Duration;

use super::{Active, Fault, Stage};
use crate::linearizability::cluster::SIZE;
use airlock_test_support::proxy::{Direction, Network, Proxy};

/// Longer than the time after which a server gives up a call to an endpoint, so that the call arrives beside others.
const LATE: Duration = Duration::from_millis(900);

pub(super) fn begin(active: &mut Active, stage: &mut Stage<'_>) {
    let network = match active.fault {
        Fault::MemberUnreachable => {
            let member = stage.random.usize(..SIZE);
            stage.cluster.proxies[member].set(Network::Frozen);
            return;
        }
        // The round trip takes 200 ms.
        Fault::AllMembersSlow => Network::Slow(Duration::from_millis(100)),
        Fault::LeaderPartitioned | Fault::LeaderCannotSend | Fault::LeaderCannotReceive => {
            return partition(active, stage);
        }
        _ => return,
    };
    set_all(stage, network);
}

fn set_all(stage: &Stage<'_>, network: Network) {
    for proxy in &stage.cluster.proxies {
        proxy.set(network);
    }
}

fn set_open(stage: &Stage<'_>, network: Network) {
    for proxy in &stage.cluster.proxies {
        proxy.set_open(network);
    }
}

fn partition(active: &mut Active, stage: &mut Stage<'_>) {
    let etcd = &stage.cluster.etcd;
    let Some(leader) = etcd.known_leader() else {
        return;
    };
    // A member that is being replaced has no id.
    let others = (0..SIZE).filter(|other| *other != leader && etcd.members[*other].is_running());
    for other in others {
        if active.fault != Fault::LeaderCannotReceive {
            etcd.block(leader, other);
        }
        if active.fault != Fault::LeaderCannotSend {
            etcd.block(other, leader);
        }
    }
}

pub(super) fn tick(active: &mut Active, stage: &mut Stage<'_>) {
    match active.fault {
        Fault::ConnectionsCut => {
            set_all(stage, Network::Cut);
            set_all(stage, Network::Works);
            active.effect += 1;
        }
        // The servers replace the connections that no longer work; the new ones work until the next time.
        Fault::ResponsesLost => set_open(stage, Network::Held(Direction::Responses)),
        Fault::RequestsLate => set_open(stage, Network::Late(Direction::Requests, LATE)),
        Fault::LeaderMoved => {
            let etcd = &stage.cluster.etcd;
            let Some(leader) = etcd.known_leader() else {
                return;
            };
            let next = &etcd.members[(leader + stage.random.usize(1..SIZE)) % SIZE];
            if !next.is_running() {
                return;
            }
            let next = format!("{:x}", next.id());
            let moved = etcd.try_ctl_at(&etcd.members[leader], &["move-leader", &next]);
            active.effect += u64::from(moved.is_ok());
        }
        _ => {}
    }
}

pub(super) fn end(active: &mut Active, stage: &mut Stage<'_>) {
    match active.fault {
        Fault::LeaderPartitioned | Fault::LeaderCannotSend | Fault::LeaderCannotReceive => {
            active.effect += stage.cluster.etcd.heal();
        }
        Fault::LeaderMoved | Fault::ConnectionsCut => {}
        _ => {
            if active.fault == Fault::ResponsesLost {
                set_all(stage, Network::Cut);
            }
            active.effect += stage.cluster.proxies.iter().map(Proxy::reset).sum::<u64>();
        }
    }
}
