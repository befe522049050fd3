//! The known state of a group: one copy, which the task, the gauges and the page share.
//!
//! It may be outdated at any time. No request is answered from it without asking the store (invariant 4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::foreign::ForeignWrites;
use crate::lock::audit::AuditLog;
use crate::lock::codec::{Revision, Stored};
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::store::Update;

/// The latest [`GroupState`] of a group.
pub(super) struct Cache {
    group: GroupName,
    state: Mutex<CacheState>,
}

struct CacheState {
    /// The number of slots that a group without a value in the store starts with.
    configured_slots: u64,
    known: Option<GroupState>,
    /// The state after the latest write, at an unknown revision: the store may have refused it.
    written: Option<GroupState>,
    /// The audit entries that are in the log already, or were written before this server started.
    logged: Option<AuditLog>,
    /// The holders whose time of grant is unknown, with the times at which they were first seen here; `None`: no policy
    /// needs them.
    first_seen: Option<FirstSeen>,
    /// The latest times at which a new holder was seen, oldest first; `None`: no policy needs them.
    grants: Option<VecDeque<Instant>>,
    foreign: ForeignWrites,
}

/// The maximum number of grants of which the time is kept: no answer of a gate allows more.
const MAX_GRANTS: usize = 100;

/// The times at which holders were first seen.
type FirstSeen = Arc<BTreeMap<Arc<str>, Timestamp>>;

// === impl Cache ===

impl Cache {
    pub(super) fn new(group: GroupName, configured_slots: u64) -> Self {
        let state = CacheState {
            configured_slots,
            known: None,
            written: None,
            logged: None,
            first_seen: None,
            grants: None,
            foreign: ForeignWrites::default(),
        };
        Cache {
            group,
            state: Mutex::new(state),
        }
    }

    pub(super) fn configured_slots(&self) -> u64 {
        self.state.lock().configured_slots
    }

    /// Changes the configured slots after a reload.
    pub(super) fn set_configured_slots(&self, slots: u64) {
        let mut state = self.state.lock();
        state.configured_slots = slots;
        state.correct_slots();
    }

    /// Starts or stops taking note of holders whose time of grant is unknown.
    pub(super) fn track_holders(&self, tracks: bool) {
        let mut state = self.state.lock();
        match tracks {
            true if state.first_seen.is_none() => {
                state.first_seen = Some(FirstSeen::default());
                state.see_holders(None);
            }
            true => {}
            false => state.first_seen = None,
        }
    }

    /// Starts or stops taking note of grants.
    pub(super) fn track_grants(&self, tracks: bool) {
        let mut state = self.state.lock();
        match tracks {
            true => drop(state.grants.get_or_insert_default()),
            false => state.grants = None,
        }
    }

    /// Starts to take note of writes by other programs, which do not know these caps.
    pub(super) fn track_foreign_writes(&self, caps: Vec<Arc<str>>) {
        self.state.lock().foreign.set_caps(caps);
    }

    /// Reports whether another program has written the group of a cap lately.
    pub(super) fn is_written_by_others(&self) -> bool {
        self.state.lock().foreign.is_recent()
    }

    /// Returns the number of grants, by any server, of which this one has taken note since then; at most
    /// [`MAX_GRANTS`].
    pub(super) fn granted_since(&self, since: Instant) -> u64 {
        let state = self.state.lock();
        let grants = state.grants.iter().flatten().rev();
        grants.take_while(|seen| **seen >= since).count() as u64
    }

    /// Returns the times at which the holders whose time of grant is unknown were first seen.
    pub(super) fn first_seen(&self) -> FirstSeen {
        self.state.lock().first_seen.clone().unwrap_or_default()
    }

    pub(super) fn get(&self) -> Option<GroupState> {
        self.state.lock().known.clone()
    }

    /// Takes a value that was read while the state as of `before` was known.
    ///
    /// It replaces a newer one, because an etcd restored from a backup continues at an earlier revision. But if the newer
    /// one came during the read, the reply is merely late, and the watch will not report the newer one again.
    pub(super) fn set(&self, read: Stored, before: Option<Revision>) {
        self.set_decoded(self.decode(read), before);
    }

    fn set_decoded(&self, read: GroupState, before: Option<Revision>) {
        let mut state = self.state.lock();
        let known = state.known.as_ref().map(GroupState::as_of);
        let is_late = known > Some(read.as_of()) && known != before;
        if !is_late {
            self.replace(&mut state, read);
        }
    }

    /// Takes note of a value that is about to be written. The watch often reports it before the store replies to the
    /// commit; in a large group, decoding it would take longer than the rest of the change.
    pub(super) fn will_write(&self, written: GroupState) {
        self.state.lock().written = Some(written);
    }

    /// Takes a value that was written, unless a newer one is known.
    pub(super) fn set_if_newer(&self, known: GroupState) {
        let mut state = self.state.lock();
        if is_newer(&state, known.as_of()) {
            self.replace(&mut state, known);
        }
    }

    /// Takes an update from the store.
    pub(super) fn observe(&self, update: Update) {
        match update {
            // The watch reports all changes after it.
            Update::Current(stored) => {
                let current = self.decode(stored);
                self.replace(&mut self.state.lock(), current);
            }
            // Compared before it is decoded: most changes are this server's own writes.
            Update::Change(stored) if !is_newer(&self.state.lock(), stored.as_of) => {}
            Update::Change(stored) => self.set_if_newer(self.decode(stored)),
            Update::Contention { .. } => {}
        }
    }

    /// Decodes a value, unless it is a known one. That can take long, so that the state is not locked meanwhile.
    fn decode(&self, stored: Stored) -> GroupState {
        let (slots, candidates) = {
            let state = self.state.lock();
            let candidates = [state.written.clone(), state.known.clone()];
            (state.configured_slots, candidates)
        };
        let mut candidates = candidates.into_iter().flatten();
        match candidates.find(|state| state.has_value_of(&stored)) {
            Some(state) => GroupState {
                stored: Arc::new(stored),
                ..state
            },
            None => GroupState::new(stored, slots),
        }
    }

    fn replace(&self, state: &mut CacheState, mut known: GroupState) {
        if let Some(before) = &state.known {
            known.keep_records_of(before);
            state.foreign.observe(&self.group, before, &known);
        }
        self.log_new_entries(&mut state.logged, &known.audit_log);
        state.see_grants(&known);
        let before = state.known.replace(known);
        // A reload may have changed them since the value was decoded.
        state.correct_slots();
        state.see_holders(before.as_ref());
    }

    /// Logs new audit entries as warnings: each server logs each entry once, at any verbosity.
    fn log_new_entries(&self, logged: &mut Option<AuditLog>, audit_log: &AuditLog) {
        if let Some(logged) = logged {
            for entry in audit_log.iter().filter(|entry| !logged.contains(entry)) {
                let (group, at, by) = (&self.group, entry.at, &entry.by);
                tracing::warn!(%group, %by, %at, "an administrator has {}", entry.action);
            }
        }
        // A writer that keeps no audit log does not make the old entries new.
        if logged.is_none() || !audit_log.is_empty() {
            *logged = Some(Arc::clone(audit_log));
        }
    }
}

// === impl CacheState ===

impl CacheState {
    /// Gives a group without a value the configured slots.
    fn correct_slots(&mut self) {
        if let Some(known) = &mut self.known
            && known.stored.value.is_none()
        {
            known.semaphore = Ok(Arc::new(Semaphore::new(self.configured_slots)));
        }
    }

    /// Takes note of the grants between the known state and the next one, if a policy needs that.
    fn see_grants(&mut self, next: &GroupState) {
        let (Some(grants), Ok(next)) = (&mut self.grants, &next.semaphore) else {
            return;
        };
        let known = self.known.as_ref().map(|known| &known.semaphore);
        let is_new = |id: &&Arc<str>| match known {
            Some(Ok(known)) => !known.holders.contains_key(id),
            Some(Err(_)) | None => true,
        };
        let new = next.holders.keys().filter(is_new).count().min(MAX_GRANTS);
        grants.extend(std::iter::repeat_n(Instant::now(), new));
        grants.drain(..grants.len().saturating_sub(MAX_GRANTS));
    }

    /// Takes note of the holders whose time of grant is unknown, if a policy needs that. The time of one that was known
    /// `before` is not forgotten: another program has written the value since.
    fn see_holders(&mut self, before: Option<&GroupState>) {
        let (Some(seen), Some(Ok(semaphore))) = (
            &mut self.first_seen,
            self.known.as_ref().map(|known| &known.semaphore),
        ) else {
            return;
        };
        let now = Timestamp::now();
        let before = before.and_then(|before| before.semaphore.as_ref().ok());
        let unknown = semaphore
            .holders
            .iter()
            .filter(|(_, hold)| hold.since.is_none());
        let times = unknown.map(|(id, _)| {
            let known = before.and_then(|before| before.holders.get(id)?.since);
            let earlier = seen.get(id).copied().or(known);
            (Arc::clone(id), earlier.unwrap_or(now))
        });
        *seen = Arc::new(times.collect());
    }
}

fn is_newer(state: &CacheState, as_of: Revision) -> bool {
    state
        .known
        .as_ref()
        .is_none_or(|known| known.as_of() < as_of)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use jiff::Timestamp;

    use super::*;
    use crate::lock::audit::{Action, AuditEntry};
    use crate::lock::codec;
    use crate::lock::history::History;
    use crate::logging;

    const SLOTS: u64 = 3;

    fn absent(revision: i64) -> Stored {
        Stored::absent(Revision(revision))
    }

    fn known(revision: i64) -> GroupState {
        GroupState::new(absent(revision), SLOTS)
    }

    #[test]
    fn a_late_write_or_a_late_change_does_not_replace_a_newer_value() {
        let cache = Cache::new(GroupName::new("g").unwrap(), SLOTS);
        cache.set(absent(5), None);
        cache.set_if_newer(known(4));
        assert_eq!(cache.get(), Some(known(5)));
        cache.observe(Update::Change(absent(4)));
        assert_eq!(cache.get(), Some(known(5)));
        let other = Stored {
            revision: Revision(3),
            ..absent(5)
        };
        cache.observe(Update::Change(other));
        assert_eq!(cache.get(), Some(known(5)));
        cache.set_if_newer(known(6));
        assert_eq!(cache.get(), Some(known(6)));
        cache.observe(Update::Change(absent(7)));
        assert_eq!(cache.get(), Some(known(7)));
        cache.observe(Update::Current(absent(2)));
        assert_eq!(cache.get(), Some(known(2)));
    }

    #[test]
    fn a_group_without_a_value_has_the_slots_of_the_latest_reload() {
        let cache = Cache::new(GroupName::new("g").unwrap(), SLOTS);
        let slots = || cache.get().unwrap().semaphore.unwrap().slots;
        cache.set(absent(1), None);
        assert_eq!(slots(), SLOTS);
        cache.set_configured_slots(4);
        assert_eq!((slots(), cache.configured_slots()), (4, 4));
        // This one was decoded before the reload.
        cache.set_if_newer(known(2));
        assert_eq!(slots(), 4);
    }

    #[test]
    fn a_late_read_does_not_replace_what_the_watch_reported_during_it() {
        let cache = Cache::new(GroupName::new("g").unwrap(), SLOTS);
        cache.set(absent(5), None);
        cache.observe(Update::Change(absent(7)));
        cache.set(absent(6), Some(Revision(5)));
        assert_eq!(cache.get(), Some(known(7)));
        cache.set(absent(8), Some(Revision(5)));
        assert_eq!(cache.get(), Some(known(8)));
        // Nothing changed during this read: the store was restored.
        cache.set(absent(3), Some(Revision(8)));
        assert_eq!(cache.get(), Some(known(3)));
    }

    #[test]
    fn a_value_that_is_known_or_about_to_be_written_is_not_decoded_again() {
        let cache = Cache::new(GroupName::new("g").unwrap(), SLOTS);
        let state = |slots, revision| {
            let value = codec::encode(&Semaphore::new(slots), &[], &History::default());
            GroupState::new(Stored::written(value, Revision(revision)), SLOTS)
        };
        let reported = |slots, revision| {
            let stored = Arc::unwrap_or_clone(state(slots, revision).stored);
            cache.observe(Update::Change(stored));
            assert_eq!(cache.get(), Some(state(slots, revision)));
            cache.get().unwrap().semaphore.unwrap()
        };
        let first = reported(1, 5);
        assert!(Arc::ptr_eq(&first, &reported(1, 6)));
        let written = state(2, 6);
        cache.will_write(written.clone());
        assert!(Arc::ptr_eq(&written.semaphore.unwrap(), &reported(2, 7)));
        assert!(!Arc::ptr_eq(&first, &reported(1, 8)));
    }

    #[test]
    fn each_audit_entry_is_logged_once_except_those_from_before_the_start() {
        let cache = Cache::new(GroupName::new("g").unwrap(), SLOTS);
        let entry = |second| AuditEntry {
            at: Timestamp::from_second(second).unwrap(),
            by: "root@ops".into(),
            action: Action::Pause,
        };
        let warnings = |entries: &[AuditEntry]| {
            let known = GroupState {
                audit_log: entries.iter().cloned().collect(),
                ..known(1)
            };
            logging::warnings(|| cache.set_decoded(known, None))
        };
        let [first, second, third] = [entry(1), entry(2), entry(3)];
        assert_eq!(warnings(slice::from_ref(&first)), 0);
        assert_eq!(warnings(&[first.clone(), second.clone()]), 1);
        // coreos/airlock writes no entries.
        assert_eq!(warnings(&[]), 0);
        assert_eq!(warnings(&[first, second.clone()]), 0);
        assert_eq!(warnings(&[second, third]), 1);
    }
}
