//! The history of a run: all requests and commands, with their replies.

use std::sync::Arc;

use parking_lot::Mutex;

use super::trace::Moment;
use crate::admin::{Change, ExecuteError};
use crate::lock::GroupName;
use crate::lock::command::AdminCommand;
use crate::lock::semaphore::Outcome;

/// All requests and commands that have ended.
#[derive(Default)]
pub(super) struct History {
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) commands: Mutex<Vec<AdminRequest>>,
}

/// A request of a node.
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) group: GroupName,
    /// The run of a server that received it; `None` for coreos/airlock.
    pub(super) server: Option<u64>,
    pub(super) node: Arc<str>,
    pub(super) kind: Kind,
    pub(super) sent: Moment,
    pub(super) answered: Moment,
    pub(super) reply: Reply,
}

/// What a node asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Lock,
    Renew,
    Unlock,
}

/// The reply to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Outcome(Outcome),
    /// The request had no effect and never will.
    Refused,
    /// The request may take effect now, later or never.
    Unknown,
}

/// A command of an administrator.
pub(super) struct AdminRequest {
    pub(super) number: u64,
    pub(super) group: GroupName,
    pub(super) command: AdminCommand,
    pub(super) slots_if_absent: u64,
    pub(super) sent: Moment,
    pub(super) answered: Moment,
    /// `None` if the process of the command was killed.
    pub(super) result: Option<Result<Change, ExecuteError>>,
}

// === impl Reply ===

impl Reply {
    /// Reports whether the node reads the reply as success.
    pub(super) fn is_success(&self, kind: Kind) -> bool {
        match self {
            Reply::Outcome(outcome) => matches!(
                (kind, outcome),
                (
                    Kind::Lock | Kind::Renew,
                    Outcome::Locked | Outcome::AlreadyHeld
                ) | (Kind::Unlock, Outcome::Unlocked | Outcome::NotHeld)
            ),
            Reply::Refused | Reply::Unknown => false,
        }
    }
}
