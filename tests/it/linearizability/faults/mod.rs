//! The faults that a cluster is exposed to, as data: what each affects, when it may be used, and how it begins and ends.

mod access;
mod members;
mod network;
mod servers;
mod storage;
mod writers;

use std::sync::Arc;

use airlock_test_support::etcd::{Bug, Version};

use super::cluster::Cluster;
use super::record::Recorder;
pub(crate) use storage::make_space;
use writers::Writer;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    LeaderKilled,
    FollowerKilled,
    QuorumLost,
    ClusterRestarted,
    LeaderFrozen,
    MemberReplaced,
    LearnerAdded,
    Restored,
    LeaderPartitioned,
    LeaderCannotSend,
    LeaderCannotReceive,
    LeaderMoved,
    MemberUnreachable,
    AllMembersSlow,
    ResponsesLost,
    RequestsLate,
    ConnectionsCut,
    Compaction,
    Defragmented,
    OutOfSpace,
    KeyDeleted,
    ServerKilled,
    ServerFrozen,
    SlotsReloaded,
    AdministratorAtWork,
    CoreosAirlockAtWork,
    AuthenticationToggled,
}

/// What a fault affects. Faults that affect the same cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Members,
    Peers,
    Clients,
    Data,
    Servers,
    Writers,
    Access,
}

/// A fault that has begun.
pub(crate) struct Active {
    pub(crate) fault: Fault,
    /// The members or the servers that it affects.
    targets: Vec<usize>,
    /// A number that the fault remembers until its end.
    memory: u64,
    /// How often the fault took effect, as far as the test can observe it.
    pub(crate) effect: u64,
    writer: Option<Writer>,
}

/// What a fault works with.
pub(crate) struct Stage<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) recorders: &'a Arc<Vec<Recorder>>,
    pub(crate) random: &'a mut fastrand::Rng,
}

// === impl Fault ===

impl Fault {
    pub(crate) const ALL: [Fault; 27] = [
        Fault::LeaderKilled,
        Fault::FollowerKilled,
        Fault::QuorumLost,
        Fault::ClusterRestarted,
        Fault::LeaderFrozen,
        Fault::MemberReplaced,
        Fault::LearnerAdded,
        Fault::Restored,
        Fault::LeaderPartitioned,
        Fault::LeaderCannotSend,
        Fault::LeaderCannotReceive,
        Fault::LeaderMoved,
        Fault::MemberUnreachable,
        Fault::AllMembersSlow,
        Fault::ResponsesLost,
        Fault::RequestsLate,
        Fault::ConnectionsCut,
        Fault::Compaction,
        Fault::Defragmented,
        Fault::OutOfSpace,
        Fault::KeyDeleted,
        Fault::ServerKilled,
        Fault::ServerFrozen,
        Fault::SlotsReloaded,
        Fault::AdministratorAtWork,
        Fault::CoreosAirlockAtWork,
        Fault::AuthenticationToggled,
    ];

    pub(crate) fn area(self) -> Area {
        match self {
            Fault::LeaderKilled
            | Fault::FollowerKilled
            | Fault::QuorumLost
            | Fault::ClusterRestarted
            | Fault::LeaderFrozen
            | Fault::MemberReplaced
            | Fault::LearnerAdded
            | Fault::Restored => Area::Members,
            Fault::LeaderPartitioned
            | Fault::LeaderCannotSend
            | Fault::LeaderCannotReceive
            | Fault::LeaderMoved => Area::Peers,
            Fault::MemberUnreachable
            | Fault::AllMembersSlow
            | Fault::ResponsesLost
            | Fault::RequestsLate
            | Fault::ConnectionsCut => Area::Clients,
            Fault::Compaction | Fault::Defragmented | Fault::OutOfSpace | Fault::KeyDeleted => {
                Area::Data
            }
            Fault::ServerKilled | Fault::ServerFrozen | Fault::SlotsReloaded => Area::Servers,
            Fault::AdministratorAtWork | Fault::CoreosAirlockAtWork => Area::Writers,
            Fault::AuthenticationToggled => Area::Access,
        }
    }

    /// How often the fault is chosen in a long run, relative to the others.
    pub(crate) fn weight(self) -> usize {
        match self {
            Fault::ResponsesLost
            | Fault::RequestsLate
            | Fault::LeaderPartitioned
            | Fault::LeaderCannotSend
            | Fault::LeaderCannotReceive => 3,
            Fault::AdministratorAtWork | Fault::CoreosAirlockAtWork => 2,
            _ => 1,
        }
    }

    /// Returns whether a history is worth checking: the fault does not trigger a known bug of this etcd.
    pub(crate) fn is_decidable_on(self, version: Version) -> bool {
        match self {
            Fault::LeaderFrozen => !version.has(Bug::StaleReadAfterPause),
            Fault::LeaderKilled
            | Fault::FollowerKilled
            | Fault::QuorumLost
            | Fault::ClusterRestarted => !version.has(Bug::DivergenceAfterKill),
            _ => true,
        }
    }

    /// Returns whether two faults may be combined.
    pub(crate) fn fits(self, other: Fault) -> bool {
        let unfit =
            |first, second| (self, other) == (first, second) || (other, self) == (first, second);
        self.area() != other.area()
            // coreos/airlock compares the version of the key, which is reused.
            && !unfit(Fault::CoreosAirlockAtWork, Fault::KeyDeleted)
            && !unfit(Fault::CoreosAirlockAtWork, Fault::Restored)
            // The slots of a key that is created anew depend on the server.
            && !unfit(Fault::SlotsReloaded, Fault::KeyDeleted)
    }

    /// Causes the fault.
    pub(crate) fn begin(self, stage: &mut Stage<'_>) -> Active {
        let mut active = Active {
            fault: self,
            targets: Vec::new(),
            memory: 0,
            effect: 0,
            writer: None,
        };
        match self.area() {
            Area::Members => members::begin(&mut active, stage),
            Area::Peers | Area::Clients => network::begin(&mut active, stage),
            Area::Data => storage::begin(&mut active, stage),
            Area::Servers => servers::begin(&mut active, stage),
            Area::Writers => writers::begin(&mut active, stage),
            Area::Access => access::begin(&mut active, stage),
        }
        active
    }

    /// Whether the end of the fault needs a working cluster. Such faults end after the others.
    pub(crate) fn ends_last(self) -> bool {
        matches!(
            self,
            Fault::MemberReplaced
                | Fault::LearnerAdded
                | Fault::Restored
                | Fault::OutOfSpace
                | Fault::AuthenticationToggled
        )
    }
}

// === impl Active ===

impl Active {
    /// Repeats what the fault does repeatedly.
    pub(crate) fn tick(&mut self, stage: &mut Stage<'_>) {
        match self.fault.area() {
            Area::Peers | Area::Clients => network::tick(self, stage),
            Area::Data => storage::tick(self, stage),
            Area::Access => access::tick(self, stage),
            Area::Members | Area::Servers | Area::Writers => {}
        }
    }

    /// Ends the fault.
    pub(crate) fn end(&mut self, stage: &mut Stage<'_>) {
        match self.fault.area() {
            Area::Members => members::end(self, stage),
            Area::Peers | Area::Clients => network::end(self, stage),
            Area::Data => storage::end(self, stage),
            Area::Servers => servers::end(self, stage),
            Area::Writers => writers::end(self),
            // `Cluster::repair` disables authentication: a snapshot may restore that it is enabled.
            Area::Access => {}
        }
    }
}
