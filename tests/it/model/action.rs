//! What happens in a fleet, and the faulty protocols that the search has to find.

use super::state::Endpoint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Ask {
        node: usize,
        endpoint: Endpoint,
        server: usize,
    },
    HangUp {
        node: usize,
    },
    Read {
        server: usize,
    },
    /// The store rejects the read of a server.
    ReadRejected {
        server: usize,
    },
    Commit {
        server: usize,
        fate: Fate,
    },
    /// A late write arrives at the store.
    Arrive {
        late: usize,
    },
    /// The watch delivers the current value.
    Follow {
        server: usize,
    },
    /// The server crashes and starts again without any state.
    Crash {
        server: usize,
    },
    /// An administrator unlocks a holder.
    Release {
        node: usize,
    },
    /// A coreos/airlock server handles a request of a node.
    CoreosAirlock {
        node: usize,
        endpoint: Endpoint,
    },
    Pause,
    Resume,
    /// Another administrator's command writes an audit entry.
    EarlierCommand,
    /// The administrator's command reads the value.
    AdminRead,
    AdminCommit {
        fate: Fate,
    },
    /// The time of the administrator's command is over, or the store rejects its read.
    AdminGivesUp,
    Delete,
    BackUp,
    Restore,
}

/// The fate of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
    Late,
    /// The store rejects the write.
    Rejected,
    /// The store replies that it has no space for the write.
    NoSpace {
        applied: bool,
    },
}

/// The real protocol, or a faulty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Real,
    /// A batch that changes nothing is answered from the copy, without the store.
    AnswersFromTheCopy,
    /// A batch that changes nothing is confirmed even while a write on the same revision is in flight.
    NoFence,
    /// The server does not read after an unknown outcome.
    NoRead,
    /// An unknown outcome is treated as a success.
    TreatsUnknownAsSuccess,
    /// An unknown outcome is treated as a call that had no effect.
    TreatsUnknownAsUnreachable,
    /// After an unknown outcome the same value is written again, over the value that is current by then.
    ResendsBlindly,
    /// A command that may have been applied and undone is applied again.
    RepeatsTheAmbiguous,
    /// A commit compares only the revision.
    ComparesRevisionsOnly,
    /// The first grant of a group creates its value.
    CreatesWithHolder,
    /// The slots are compared with `<=`.
    GrantsOneTooMany,
    /// A request is refused at once if the store has no space.
    RefusesWithoutRead,
    /// A request is refused although an earlier write for it has an unknown outcome.
    RefusesInDoubt,
    /// An administrator's command fails after a write for which there was no space, although no read has succeeded.
    FailsWithoutRead,
    /// An administrator's command of unknown outcome is reported as failed.
    ReportsUnknownAsFailed,
    /// An administrator's command is repeated although coreos/airlock may have dropped its audit entry.
    RepeatsWithoutTrace,
    /// Writes in flight still arrive after a restoration.
    WritesOutliveTheStore,
}
