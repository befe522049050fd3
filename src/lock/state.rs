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

    /// Takes over what the state `before` recorded, if the records of this one were not reported. The other program has
    /// probably left them alone.
    pub(crate) fn keep_records_of(&mut self, before: &GroupState) {
        if !self.has_reported_records() {
            self.audit_log = Arc::clone(&before.audit_log);
            self.history = before.history.clone().with_gap();
            if let (Ok(semaphore), Ok(before)) = (&mut self.semaphore, &before.semaphore) {
                let semaphore = Arc::make_mut(semaphore);
                semaphore.released_at = before.released_at;
                semaphore.override_until = before.override_until;
            }
        }
    }

    /// Reports whether the audit log and the history are those of the store. Otherwise no commit may write them: they may
    /// lack entries, or the store may have been emptied since.
    pub(crate) fn has_reported_records(&self) -> bool {
        let value = self.stored.value.as_ref();
        value.is_none_or(|value| value.lock_times != LockTimes::Unreported)
    }

    /// Reports whether `stored` has the value of this state, of any revision.
    pub(crate) fn has_value_of(&self, stored: &Stored) -> bool {
        stored.value.is_some() && stored.value == self.stored.value
    }

    /// Returns the number of holders, if the stored value can be used.
    pub(crate) fn held(&self) -> Option<u64> {
        let semaphore = self.semaphore.as_ref().ok()?;
        Some(semaphore.holders.len() as u64)
    }

    /// Returns the store's own clock at that moment; a larger one is newer.
    pub(crate) fn as_of(&self) -> Revision {
        self.stored.as_of
    }
}
