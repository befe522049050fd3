//! The simulated store itself, with every value that it ever had. Calls to it are atomic; `link` adds the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::trace::{Moment, Trace, Violation};
use crate::lock::GroupName;
use crate::lock::audit::AuditLog;
use crate::lock::codec::{self, LockTimes, Stored, Value};
use crate::lock::history::History;
use crate::lock::semaphore::Semaphore;
use crate::store::memory::Content;
use crate::store::{CommitOutcome, Member};

/// The store and what is known about the whole run.
pub(super) struct World {
    pub(super) trace: Trace,
    inner: Mutex<Inner>,
    calm: AtomicBool,
    numbers: AtomicU64,
}

/// A value of a group, from one moment until the next one.
#[derive(Clone)]
pub(super) struct State {
    pub(super) from: Moment,
    /// `None` if the group has no value.
    pub(super) semaphore: Option<Arc<Semaphore>>,
    pub(super) audit_log: AuditLog,
    pub(super) history: History,
    pub(super) cause: Cause,
    /// Whether Airlock wrote the value. coreos/airlock leaves the lock times alone.
    pub(super) is_ours: bool,
    /// The number of times that an older state was restored.
    pub(super) epoch: u32,
}

/// The reason why a group has a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Commit,
    /// The store was empty, was emptied by an operator, or was restored.
    Operator,
}

/// A value of a group, and the time at which it was written.
type Change = (Instant, GroupName, Stored);

#[derive(Default)]
struct Inner {
    content: Content,
    epoch: u32,
    states: BTreeMap<GroupName, Vec<State>>,
    watchers: Vec<mpsc::UnboundedSender<Change>>,
    violation: Option<Violation>,
}

// === impl World ===

impl World {
    pub(super) fn new(groups: &[GroupName]) -> Arc<Self> {
        let start = State {
            from: 0,
            semaphore: None,
            audit_log: AuditLog::default(),
            history: History::default(),
            cause: Cause::Operator,
            is_ours: false,
            epoch: 0,
        };
        let states = groups
            .iter()
            .map(|group| (group.clone(), vec![start.clone()]));
        let inner = Inner {
            states: states.collect(),
            ..Inner::default()
        };
        Arc::new(World {
            trace: Trace::new(),
            inner: Mutex::new(inner),
            calm: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
        })
    }

    /// Returns a new number for a request or a command. It is also its time in seconds, so that a stored time tells
    /// which request was granted.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends all faults.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn epoch(&self) -> u32 {
        self.inner.lock().epoch
    }

    pub(super) fn stored(&self, group: &GroupName) -> Stored {
        self.inner.lock().content.stored(group)
    }

    /// Returns all values that a group ever had.
    pub(super) fn states(&self, group: &GroupName) -> Vec<State> {
        self.inner.lock().states[group].clone()
    }

    /// Returns the first violation of an invariant that a value on its own shows.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.inner.lock().violation.clone()
    }

    /// Performs a compare-and-swap in the name of `by`.
    pub(super) fn commit(
        &self,
        by: &str,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> CommitOutcome {
        let mut inner = self.inner.lock();
        if let Some(conflict) = inner.content.conflict(group, expected, also) {
            let what = if new.is_some() {
                "write"
            } else {
                "confirmation"
            };
            let mut event = format!(
                "store: {group}: conflict of a {what} by {by}, {} is not {}",
                expected.revision.0, conflict.current.revision.0
            );
            for (Member { group, stored }, current) in also.iter().zip(&conflict.members) {
                let [expected, current] = [stored, current].map(|stored| stored.revision.0);
                let _ = write!(event, "; {group}: {expected}, found {current}");
            }
            self.trace.record(&event);
            return CommitOutcome::Conflict(conflict);
        }
        let Some(value) = new else {
            let revision = expected.revision;
            self.trace
                .record(&format!("store: {group}: {by} confirms {}", revision.0));
            return CommitOutcome::Committed(revision);
        };
        let revision = inner.content.write(group, Some(value.clone()));
        let semaphore = String::from_utf8_lossy(&value.semaphore);
        let event = format!("store: {group}: {by} writes {}: {semaphore}", revision.0);
        let at = self.trace.record(&event);
        inner.changed(group, at, Cause::Commit);
        CommitOutcome::Committed(revision)
    }

    /// Performs the write of coreos/airlock, which knows only one of the two keys.
    pub(super) fn foreign_commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        semaphore: Vec<u8>,
    ) -> bool {
        let current = self.stored(group);
        let bytes = |stored: &Stored| stored.value.as_ref().map(|value| value.semaphore.clone());
        if current.revision != expected.revision || bytes(&current) != bytes(expected) {
            return false;
        }
        let left_alone = current.value.as_ref().map(|value| &value.lock_times);
        let value = Value {
            semaphore,
            lock_times: match left_alone {
                Some(LockTimes::Current(bytes) | LockTimes::Outdated(bytes)) => {
                    LockTimes::Outdated(bytes.clone())
                }
                Some(LockTimes::Absent | LockTimes::Unreported) | None => LockTimes::Absent,
            },
        };
        let outcome = self.commit("coreos/airlock", group, &current, Some(&value), &[]);
        matches!(outcome, CommitOutcome::Committed(_))
    }

    /// Deletes the value of a group, as an operator does.
    pub(super) fn delete(&self, group: &GroupName) {
        let mut inner = self.inner.lock();
        inner.content.write(group, None);
        let at = self.trace.record(&format!("store: {group}: deleted"));
        inner.changed(group, at, Cause::Operator);
    }

    pub(super) fn backup(&self) -> Content {
        self.trace.record("store: backup");
        self.inner.lock().content.clone()
    }

    /// Restores an older content. The store restarts with it: all connections break.
    pub(super) fn restore(&self, content: Content) {
        let mut inner = self.inner.lock();
        let event = format!("store: restored as of {}", content.clock);
        let at = self.trace.record(&event);
        inner.content = content;
        inner.epoch += 1;
        inner.watchers.clear();
        let groups: Vec<GroupName> = inner.states.keys().cloned().collect();
        for group in groups {
            inner.changed(&group, at, Cause::Operator);
        }
    }

    /// Returns the current values, and all changes after them. The channel closes when the connection breaks.
    pub(super) fn watch(
        &self,
        groups: &[GroupName],
    ) -> (Vec<Stored>, mpsc::UnboundedReceiver<Change>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.inner.lock();
        inner.watchers.push(sender);
        let current = groups.iter().map(|group| inner.content.stored(group));
        (current.collect(), receiver)
    }
}

// === impl Inner ===

impl Inner {
    /// Records the new value of a group, and checks what it shows on its own.
    fn changed(&mut self, group: &GroupName, from: Moment, cause: Cause) {
        let stored = self.content.stored(group);
        let decoded = stored.value.as_ref().map(codec::decode);
        let history = match &decoded {
            Some(Ok(decoded)) => decoded.history.clone(),
            Some(Err(_)) | None => History::default(),
        };
        let is_ours = stored
            .value
            .as_ref()
            .is_some_and(|value| value.lock_times.current().is_some());
        let (semaphore, audit_log) = match decoded {
            Some(Ok(decoded)) => (Some(Arc::new(decoded.semaphore)), decoded.audit_log),
            Some(Err(error)) => {
                let problem = format!("{group}: the written value is damaged: {error}");
                let violation = Violation { at: from, problem };
                self.violation.get_or_insert(violation);
                (None, AuditLog::default())
            }
            None => (None, AuditLog::default()),
        };
        let state = State {
            from,
            semaphore,
            audit_log,
            history,
            cause,
            is_ours,
            epoch: self.epoch,
        };
        let states = self.states.entry(group.clone()).or_default();
        if let (Cause::Commit, true, Some(before)) = (cause, is_ours, states.last()) {
            let released = state.released(before);
            let recorded = state.recorded(before);
            let is_exact = recorded
                .as_ref()
                .is_some_and(|nodes| released.iter().eq(nodes));
            if !is_exact {
                let problem = format!("{group}: {released:?} released, {recorded:?} recorded");
                let violation = Violation { at: from, problem };
                self.violation.get_or_insert(violation);
            }
        }
        if let (Cause::Commit, Some(before)) = (cause, states.last())
            && let Err(problem) = check_commit(before, &state)
        {
            let problem = format!("{group}: the commit {problem}");
            let violation = Violation { at: from, problem };
            self.violation.get_or_insert(violation);
        }
        states.push(state);
        // A watch reports what has changed.
        let mut reported = stored;
        if let Some(value) = &mut reported.value
            && value.lock_times.current().is_none()
        {
            value.lock_times = LockTimes::Unreported;
        }
        let change = (Instant::now(), group.clone(), reported);
        self.watchers
            .retain(|watcher| watcher.send(change.clone()).is_ok());
    }
}

/// Checks one commit without knowledge of the requests.
fn check_commit(before: &State, after: &State) -> Result<(), String> {
    let Some(next) = &after.semaphore else {
        return Err("removes the value".into());
    };
    let Some(known) = &before.semaphore else {
        return match next.holders.is_empty() {
            true => Ok(()),
            false => Err("creates a value with holders".into()),
        };
    };
    let grants = after.granted(before);
    if !grants.is_empty() && next.holders.len() as u64 > next.slots {
        let (holders, slots) = (next.holders.len(), next.slots);
        return Err(format!(
            "violates invariant 2: it grants {grants:?}, and {holders} nodes hold {slots} slots"
        ));
    }
    if known.slots != next.slots && after.new_entries(before).is_empty() {
        let (from, to) = (known.slots, next.slots);
        return Err(format!(
            "changes the slots from {from} to {to} without an audit entry"
        ));
    }
    Ok(())
}

// === impl State ===

impl State {
    pub(super) fn holds(&self, node: &str) -> bool {
        let semaphore = self.semaphore.as_ref();
        semaphore.is_some_and(|semaphore| semaphore.holders.contains_key(node))
    }

    /// Returns the nodes that were granted a slot between `before` and this state. A node that has released its slot
    /// and was granted a new one in the same commit has another time.
    pub(super) fn granted(&self, before: &State) -> BTreeSet<Arc<str>> {
        let next = self.semaphore.iter().flat_map(|next| next.holders.iter());
        let granted = next.filter(|(node, hold)| match before.time(node) {
            None => true,
            Some(known) => hold.since.is_some() && hold.since != known,
        });
        granted.map(|(node, _)| Arc::clone(node)).collect()
    }

    /// Returns the nodes that released their slots between `before` and this state.
    pub(super) fn released(&self, before: &State) -> BTreeSet<Arc<str>> {
        let granted = self.granted(before);
        let known = before
            .semaphore
            .iter()
            .flat_map(|known| known.holders.keys());
        let released = known.filter(|node| !self.holds(node) || granted.contains(*node));
        released.cloned().collect()
    }

    /// Returns the nodes of the holds that were recorded between `before` and this state, sorted; `None` if the earlier
    /// ones have changed.
    pub(super) fn recorded(&self, before: &State) -> Option<Vec<Arc<str>>> {
        let holds: Vec<_> = self.history.holds().collect();
        let earlier: Vec<_> = before.history.holds().collect();
        let is_new = |new: &usize| earlier.starts_with(&holds[*new..]);
        let new = (0..=holds.len()).find(is_new)?;
        let is_lost = earlier.len() + new > holds.len() && holds.len() < History::MAX_HOLDS;
        let mut nodes: Vec<_> = holds[..new]
            .iter()
            .map(|hold| Arc::clone(&hold.id))
            .collect();
        nodes.sort();
        (!is_lost).then_some(nodes)
    }

    /// Returns the time of the latest release by a node, if it is known.
    pub(super) fn released_at(&self) -> Option<jiff::Timestamp> {
        self.semaphore.as_ref()?.released_at
    }

    /// Returns the time of the grant of a holder, if it is known.
    pub(super) fn time(&self, node: &str) -> Option<Option<jiff::Timestamp>> {
        let semaphore = self.semaphore.as_ref()?;
        semaphore.holders.get(node).map(|hold| hold.since)
    }

    /// Returns the administrators' commands that were executed between `before` and this state, by their number.
    pub(super) fn new_entries(&self, before: &State) -> Vec<u64> {
        let known = &before.audit_log;
        let new = self.audit_log.iter().filter(|entry| !known.contains(entry));
        new.filter_map(|entry| u64::try_from(entry.at.as_second()).ok())
            .collect()
    }
}
