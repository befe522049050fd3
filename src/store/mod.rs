//! Where the semaphores are kept: the contract that every backend fulfils.
//!
//! A store keeps one [`Value`] for each group, with a [`Revision`] that changes with every write. It
//! knows nothing of holders and slots. One suite (tests/conformance.rs) runs against all backends.

pub mod etcd;
pub mod measured;
pub mod memory;
pub mod open;
pub mod sqlite;

#[cfg(test)]
pub mod faulty;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

/// The name of a reboot group: not empty. Made once, by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

/// The bytes kept for one group. Both are written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What Airlock reads and writes.
    pub semaphore: Vec<u8>,
    /// Who holds since when; `None` when it does not belong to this semaphore.
    pub lock_times: Option<Vec<u8>>,
}

/// Which write a value stems from. Comparable only for one group of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub i64);

impl Revision {
    /// There is no value.
    pub const ABSENT: Revision = Revision(0);
}

/// What a store had for a group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// [`Revision::ABSENT`] if and only if there is no value.
    pub revision: Revision,
    pub value: Option<Value>,
    /// The store's own clock when this was so; a larger one is newer.
    pub as_of: Revision,
}

/// What came of a commit that the store has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The expected revision was the current one. The value has this revision now: a new one if a
    /// value was written, the expected one if it was only confirmed.
    Committed(Revision),
    /// The expected revision was not the current one; this is. Nothing was written.
    Conflict(Stored),
}

/// Why a store gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not happen, and asking again cannot help until somebody mends something.
    #[error("{0}")]
    Rejected(String),
    /// It did not happen; the store could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// It may have happened, now or later. The default for any error that is not known better.
    #[error("{0}")]
    Unknown(String),
}

/// A place for the semaphores of all groups.
///
/// Every method is bounded in time by the store itself, and linearizable: what it returns was so at
/// some moment between the call and the return. None of them sends anything twice.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The current value.
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError>;

    /// One compare-and-swap. If the current revision is `expected` ([`Revision::ABSENT`]: there is no
    /// value), `new` is written; without `new` the comparison alone is the result.
    async fn commit(
        &self,
        group: &GroupName,
        expected: Revision,
        new: Option<&Value>,
    ) -> Result<Commit, StoreError>;

    /// Where a group's value is, for a person who has to look at it: the key, or the file.
    fn place(&self, group: &GroupName) -> String;

    /// Reports the current value of each group, then every change of them by anyone, soon after it
    /// happened. Values in between may be left out, the last one never is. Returns only when it
    /// cannot go on; then values may have been missed and it is to be called again.
    async fn follow(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError;
}

/// Takes what [`Store::follow`] sees.
pub type Report<'a> = dyn FnMut(&GroupName, Seen) + Send + 'a;

/// One sight of a group's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Read just now: it replaces whatever was known.
    Current(Stored),
    /// A change as it was reported; older ones than what is known may still come in.
    Change(Stored),
}

// === impl GroupName ===

impl GroupName {
    /// `None` for an empty name.
    pub fn new(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| GroupName(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Stored ===

impl Stored {
    /// No value, at that moment.
    pub fn absent(as_of: Revision) -> Self {
        Stored {
            revision: Revision::ABSENT,
            value: None,
            as_of,
        }
    }
}
