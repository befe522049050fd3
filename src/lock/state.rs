//! The decoded state of a group.

use std::sync::Arc;

use super::audit::AuditLog;
use super::codec::{self, DecodeError, Revision, Stored};
use super::semaphore::Semaphore;

/// The value of a group as the store had it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupState {
    /// The revision and the bytes, with which the next commit compares.
    pub(crate) stored: Arc<Stored>,
    /// The semaphore, or the reason why the stored value cannot be used. An absent value counts as the one that its
    /// first use would create: the configured slots, all of them free.
    pub(crate) semaphore: Result<Arc<Semaphore>, DecodeError>,
    /// The latest commands of administrators.
    pub(crate) audit_log: AuditLog,
}

impl GroupState {
    /// Decodes `stored`. `configured_slots` applies where the store has no value.
    pub(crate) fn new(stored: Stored, configured_slots: u64) -> Self {
        let decoded = match &stored.value {
            Some(value) => codec::decode(value),
            None => Ok((Semaphore::new(configured_slots), AuditLog::default())),
        };
        let (semaphore, audit_log) = match decoded {
            Ok((semaphore, audit_log)) => (Ok(Arc::new(semaphore)), audit_log),
            Err(invalid) => (Err(invalid), AuditLog::default()),
        };
        GroupState {
            stored: Arc::new(stored),
            semaphore,
            audit_log,
        }
    }

    /// Reports whether `stored` has the value of this state, of any revision.
    pub(crate) fn has_value_of(&self, stored: &Stored) -> bool {
        stored.value.is_some() && stored.value == self.stored.value
    }

    /// Returns the store's own clock at that moment; a larger one is newer.
    pub(crate) fn as_of(&self) -> Revision {
        self.stored.as_of
    }
}
