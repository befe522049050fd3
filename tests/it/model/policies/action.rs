//! What happens in a fleet with policies, and the faulty servers that the search has to find.

use super::super::action::Fate;
use super::state::Endpoint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A node asks a server. It no longer waits for its earlier request.
    Ask {
        node: usize,
        endpoint: Endpoint,
        server: usize,
    },
    /// The task of a group reads the value if it is outdated, and attempts a commit.
    Commit {
        server: usize,
        group: usize,
        fate: Fate,
    },
    /// A late write arrives at the store.
    Arrive {
        late: usize,
    },
    /// A server learns the current value: from the watch, or by a read.
    Follow {
        server: usize,
        group: usize,
    },
    /// The server crashes and starts again without any state.
    Crash {
        server: usize,
    },
    Tick,
    /// An administrator unlocks a holder.
    Unlock {
        node: usize,
    },
    /// The administrator's lock reads a group.
    AdminRead {
        group: usize,
    },
    AdminCommit {
        fate: Fate,
    },
}

/// The real policies, or faulty ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Real,
    /// A commit compares only its own group.
    ComparesOwnGroupOnly,
    /// A refusal by a cap compares only its own group.
    RefusesByOwnGroupOnly,
    /// A refusal by a cap is answered from the copy, without the store.
    RefusesFromTheCopy,
    /// A release compares the other group too.
    ReleasesCompareBoth,
    /// A batch that changes nothing is confirmed even while a write on the same revision is in flight.
    NoFence,
    /// A cap refuses a holder that asks again.
    RefusesHolders,
    /// The time of the latest release is kept in memory.
    KeepsReleasesInMemory,
    /// The time of the release that is committed last is stored, even if a later one is known.
    StoresLastCommittedRelease,
    /// An administrator's unlock counts as a release.
    CountsUnlocks,
    /// The time of a grant counts from when the server first saw the group.
    ForgetsGrants,
    /// An administrator's lock compares only its own group.
    AdminComparesOwnGroupOnly,
    /// An administrator's lock does not obey caps.
    AdminIgnoresCaps,
}
