//! The decoded state of a group.

use std::sync::Arc;

use super::audit::AuditLog;
use super::codec::{self, DecodeError, Decoded, LockTimes, Revision, Stored};
use super::history::History;
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
    /// The last completed holds.
    pub(crate) history: History,
}

impl GroupState {
    /// Decodes `stored`. `configured_slots` applies where the store has no value.
    pub(crate) fn new(stored: Stored, configured_slots: u64) -> Self {
        let decoded = match &stored.value {
            Some(value) => codec::decode(value).map_err(|invalid| (invalid, value)),
            None => Ok(Decoded::absent(configured_slots)),
        };
        let (semaphore, audit_log, history) = match decoded {
            Ok(decoded) => (
                Ok(Arc::new(decoded.semaphore)),
                decoded.audit_log,
                decoded.history,
            ),
            // The next write, after the repair, keeps them.
            Err((invalid, value)) => {
                let (audit_log, history) = codec::decode_records(value);
                (Err(invalid), audit_log, history)
            }
        };
        GroupState {
            stored: Arc::new(stored),
            semaphore,
            audit_log,
            history,
        }
    }

    /// Takes over what the state `before` recorded, if the store reported a write by another program without what is
    /// stored beside it. That program has left it alone.
    pub(crate) fn keep_records_of(&mut self, before: &GroupState) {
        let value = self.stored.value.as_ref();
        if value.is_some_and(|value| value.lock_times == LockTimes::Unknown) {
            self.audit_log = Arc::clone(&before.audit_log);
            self.history = before.history.clone().with_gap();
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
