//! The stores of semaphores: the contract that every backend fulfils.
//!
//! A store keeps one [`Value`] for each group, with a [`Revision`] that changes with every write. It does not interpret
//! values. One conformance suite (tests/it/conformance/) runs against all backends.

pub mod etcd;
pub(crate) mod findings;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod instrumented;
pub mod memory;
pub(crate) mod open;
pub mod presence;
pub mod sqlite;

#[cfg(test)]
pub(crate) mod faulty;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::lock::codec::{DecodeError, Revision, Stored, Value};
use crate::lock::{GroupName, MAX_CAP_MEMBERS};
use presence::Published;

/// The result of a commit to which the store has replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The expected content was the current one. The value now has this revision: a new one if a value was written,
    /// the expected one if it was only confirmed.
    Committed(Revision),
    /// The content of the group, or of a member, was not the expected one. Nothing was written.
    Conflict(Conflict),
}

/// The current contents of the groups that a commit compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The content of the group itself.
    pub current: Stored,
    /// The contents of the members, in the order in which they were given.
    pub members: Vec<Stored>,
}

/// Another group whose content a commit compares too: the revision and the bytes of the semaphore, but not the lock
/// times, which a watch may not report.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The group.
    pub group: &'a GroupName,
    /// The expected content.
    pub stored: &'a Stored,
}

/// A [`Member`] that outlives the call.
#[derive(Clone, Debug)]
pub(crate) struct OwnedMember {
    group: GroupName,
    stored: Stored,
}

/// The maximum number of members of one commit, in every store. etcd limits the comparisons of a transaction, and the
/// operations in each of its branches, to 128 (`--max-txn-ops`): the group takes up to three of them, a member two.
pub const MAX_MEMBERS: usize = 62;

// The configuration allows no more.
const _: () = assert!(MAX_CAP_MEMBERS <= MAX_MEMBERS);

/// The reason why a store returned no result. The cause names the endpoint or the file.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The call had no effect, and a repetition cannot succeed until an operator fixes the cause. The whole store would
    /// reject it, not only the part of it that was asked.
    #[error(transparent)]
    Rejected(Cause),
    /// The store has no space for the write. The write has taken effect or never will; a read tells.
    #[error(transparent)]
    NoSpace(Cause),
    /// The call had no effect, because the store could not be reached. A repetition may succeed.
    #[error(transparent)]
    Unreachable(Cause),
    /// The call may have taken effect, or may still do so. Every error that is not known to be of another class has
    /// this one.
    #[error(transparent)]
    Unknown(Cause),
}

/// The error of a backend.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A store for the semaphores of all groups.
///
/// Every method is bounded in time by the store itself, and linearizable: its result was true at some moment between
/// the call and the return. A write is not sent again once its outcome is unknown (invariant 6).
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads the current value.
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError>;

    /// Performs one compare-and-swap. If the current content is `expected`, both the revision and the bytes (invariant
    /// 11), `new` is written; without `new`, the comparison is the result. `expected.as_of` does not count. Up to
    /// [`MAX_MEMBERS`] other groups (`also`) are compared at the same moment, and not written.
    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError>;

    /// Verifies that the store would accept a write to the value of a group, without changing it.
    ///
    /// # Errors
    /// If it would not, or does not reply.
    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError>;

    /// Verifies that the parts of the store that are not in use belong to it. [`Store::notices`] has the result.
    async fn verify(&self) {}

    /// Returns the facts that an operator should know although calls succeed.
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }

    /// Returns what the latest [`Store::verify`] has found about the endpoints; `None` if the store has none, or they have
    /// not been verified yet.
    fn endpoints(&self) -> Option<Endpoints> {
        None
    }

    /// Accepts the store that is there now, although it is another one than before: an operator says that it is the
    /// right one.
    fn accept_current(&self) {}

    /// Returns the location of the value of a group, for the inspection or repair by an administrator.
    fn location(&self, group: &GroupName) -> Location;

    /// Tells the other servers that this one keeps losing comparisons against them, because one commit takes it
    /// `round_trip`: their [`Store::watch`] reports [`Update::Contention`]. This is a hint without a guarantee. A store
    /// without distant servers does nothing.
    async fn announce_contention(&self, _group: &GroupName, _round_trip: Duration) {}

    /// Returns the groups that have a value, configured or not.
    async fn groups(&self) -> Result<Vec<GroupName>, StoreError> {
        Ok(Vec::new())
    }

    /// Shows a document to all that use the store, under the name of this server. The caller repeats it every
    /// [`presence::INTERVAL`]; a document that has not changed is not written again, and a store that keeps old versions
    /// writes large ones less often. Like the two methods below, this is for information only, and not linearizable.
    async fn publish(&self, _server: &str, _document: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes the document of this server.
    async fn withdraw(&self, _server: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the documents of all servers, also of those that are gone since less than a day, sorted by name.
    async fn published(&self) -> Result<Vec<Published>, StoreError> {
        Ok(Vec::new())
    }

    /// Reports the current value of each group, then every change by any writer soon after it happened. Intermediate
    /// values may be skipped, the latest never is. A change by a program that writes the semaphore alone has
    /// [`LockTimes::Unreported`](crate::lock::codec::LockTimes::Unreported). Returns only if it cannot continue; changes
    /// may have been missed then, and the caller calls it again.
    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError;
}

/// The endpoints of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoints {
    /// The id of the etcd cluster, in hexadecimal digits; `None` if it is not known.
    pub cluster_id: Option<String>,
    /// The number of configured endpoints.
    pub configured: usize,
    /// The number of endpoints that replied, and belong to the cluster.
    pub replied: usize,
}

/// A fact about a store that does not stop it. The message contains the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// An endpoint belongs to another etcd cluster.
    #[error(
        "the endpoint {url} belongs to the etcd cluster {found}, not to the cluster {expected} that this server uses; it \
         is not used; remove it from etcd3.endpoints, or, if etcd was restored, follow docs/operations.md, \
         \"Restore etcd\""
    )]
    ForeignEndpoint {
        /// The endpoint.
        url: String,
        /// The id of its cluster, in hexadecimal digits.
        found: String,
        /// The id of the cluster that the server uses, in hexadecimal digits.
        expected: String,
    },
    /// A user is configured, but etcd has authentication disabled.
    #[error(
        "etcd has authentication disabled, so the user {user:?} (etcd3.username) is not used; run `etcdctl auth enable`, \
         or remove etcd3.username and etcd3.password_path"
    )]
    AuthDisabled {
        /// The configured user.
        user: String,
    },
}

/// Receives the updates of [`Store::watch`].
pub type Report<'a> = dyn FnMut(&GroupName, Update) + Send + 'a;

/// A value that [`Store::watch`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The value was read just now: it replaces any known value.
    Current(Stored),
    /// The store reported a change. It may be older than the known value.
    Change(Stored),
    /// Another server announced contention ([`Store::announce_contention`]).
    Contention {
        /// The time that one commit takes that server. A store bounds it.
        round_trip: Duration,
    },
}

/// The location of a stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The key or file, for example `etcd key com.coreos.airlock/groups/default/v1/semaphore`.
    pub description: String,
    /// The shell command that overwrites the value by hand, with placeholders for the slots and holders.
    pub repair_command: String,
}

/// A stored value that cannot be used. Nodes can read the message, so it contains neither the stored value, which names
/// other nodes, nor the repair command, which names files of the server.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the value of {location} cannot be used: {} (docs/operations.md, \"Repair a damaged value\")",
    reason.without_value()
)]
pub(crate) struct DamagedValue {
    /// The location of the value.
    pub(crate) location: Location,
    /// The reason.
    pub(crate) reason: DecodeError,
}

// === impl StoreError ===

impl StoreError {
    /// Creates an error of the class [`StoreError::Rejected`].
    pub fn rejected(cause: impl Error + Send + Sync + 'static) -> Self {
        StoreError::Rejected(Arc::new(cause))
    }

    /// Creates an error of the class [`StoreError::NoSpace`].
    pub fn no_space(cause: impl Error + Send + Sync + 'static) -> Self {
        StoreError::NoSpace(Arc::new(cause))
    }

    /// Returns the error of the backend.
    pub fn cause(&self) -> &Cause {
        match self {
            StoreError::Rejected(cause)
            | StoreError::NoSpace(cause)
            | StoreError::Unreachable(cause)
            | StoreError::Unknown(cause) => cause,
        }
    }

    /// Creates an error of the class [`StoreError::Unreachable`].
    pub fn unreachable(cause: impl Error + Send + Sync + 'static) -> Self {
        StoreError::Unreachable(Arc::new(cause))
    }

    /// Creates an error of the class [`StoreError::Unknown`].
    pub fn unknown(cause: impl Error + Send + Sync + 'static) -> Self {
        StoreError::Unknown(Arc::new(cause))
    }
}

// === impl Notice ===

impl Notice {
    /// Reports whether the fact is an endpoint of another cluster.
    pub fn is_foreign_endpoint(&self) -> bool {
        matches!(self, Notice::ForeignEndpoint { .. })
    }
}

// === impl Member ===

impl Member<'_> {
    /// Copies the expected content.
    pub(crate) fn owned(&self) -> OwnedMember {
        OwnedMember {
            group: self.group.clone(),
            stored: self.stored.clone(),
        }
    }

    /// Reports whether a commit finds the expected content in `current`.
    pub(crate) fn is_still(&self, current: &Stored) -> bool {
        let semaphores = [self.stored, current].map(|stored| {
            let value = stored.value.as_ref();
            value.map(|value| &value.semaphore)
        });
        self.stored.revision == current.revision && semaphores[0] == semaphores[1]
    }
}

// === impl OwnedMember ===

impl OwnedMember {
    /// Returns the member without copying it.
    pub(crate) fn borrowed(&self) -> Member<'_> {
        Member {
            group: &self.group,
            stored: &self.stored,
        }
    }
}

// === impl Location ===

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_foreign_endpoint_is_one() {
        let foreign = Notice::ForeignEndpoint {
            url: "http://b:2379".into(),
            found: "2".into(),
            expected: "1".into(),
        };
        assert!(foreign.is_foreign_endpoint());
        // After a restoration, every endpoint is one.
        assert!(foreign.to_string().contains("\"Restore etcd\""));
        let other = Notice::AuthDisabled { user: "u".into() };
        assert!(!other.is_foreign_endpoint());
    }

    #[test]
    fn a_location_is_shown_without_the_command() {
        let location = Location {
            description: "the key k".into(),
            repair_command: "etcdctl del k".into(),
        };
        assert_eq!(location.to_string(), "the key k");
    }
}
