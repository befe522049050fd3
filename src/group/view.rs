//! What is known of a group's value: the one copy that the task, the gauges and the page share.
//!
//! It may be old at any time. No request is answered from it without asking the store (invariant 4).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::act::Acts;
use crate::semaphore::Semaphore;
use crate::store::{GroupName, Revision, Seen, Stored};
use crate::stored::{self, Invalid};

/// A value of the group, as the store had it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub revision: Revision,
    pub as_of: Revision,
    /// An absent value counts as what its first use would make of it: the configured slots, all free.
    pub semaphore: Result<Arc<Semaphore>, Invalid>,
    /// What administrators did lately.
    pub acts: Acts,
}

/// The latest [`Known`].
pub(super) struct View {
    group: GroupName,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// The acts that are logged, or were done before this server ran.
    logged: Option<Acts>,
}

// === impl View ===

impl View {
    pub fn new(group: GroupName) -> Self {
        View {
            group,
            state: Mutex::default(),
        }
    }

    pub fn get(&self) -> Option<Known> {
        self.state().known.clone()
    }

    /// Takes a value that was read. It replaces a newer one too: an etcd restored from a backup counts
    /// from an earlier revision. If it was merely late, the changes after it are still to be reported.
    pub fn set(&self, known: Known) {
        self.replace(&mut self.state(), known);
    }

    /// Takes a value that somebody wrote, unless a newer one is known.
    pub fn set_if_newer(&self, known: Known) {
        let mut state = self.state();
        if is_news(&state, known.as_of) {
            self.replace(&mut state, known);
        }
    }

    /// Takes what somebody saw in the store.
    pub fn see(&self, seen: Seen, configured_slots: u64) {
        match seen {
            Seen::Current(stored) => self.set(Known::new(stored, configured_slots)),
            // Looked at before it is decoded: most are the echo of what this server wrote.
            Seen::Change(stored) if !is_news(&self.state(), stored.as_of) => {}
            Seen::Change(stored) => self.set_if_newer(Known::new(stored, configured_slots)),
        }
    }

    /// Other slots are configured, which is what a group without a value begins with.
    pub fn set_slots_if_absent(&self, slots: u64) {
        if let Some(known) = &mut self.state().known
            && known.revision == Revision::ABSENT
        {
            known.semaphore = Ok(Arc::new(Semaphore::new(slots)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, state: &mut State, known: Known) {
        self.log_new_acts(&mut state.logged, &known.acts);
        state.known = Some(known);
    }

    /// What an administrator did is in the log of every server, once, and at any verbosity.
    fn log_new_acts(&self, logged: &mut Option<Acts>, acts: &Acts) {
        if let Some(logged) = logged {
            for act in acts.iter().filter(|act| !logged.contains(act)) {
                let (group, at, by) = (&self.group, act.at, &act.by);
                tracing::warn!(%group, %by, %at, "an administrator has {}", act.action);
            }
        }
        // A writer that keeps no acts makes none of them new.
        if logged.is_none() || !acts.is_empty() {
            *logged = Some(Arc::clone(acts));
        }
    }
}

fn is_news(state: &State, as_of: Revision) -> bool {
    state.known.as_ref().is_none_or(|known| known.as_of < as_of)
}

// === impl Known ===

impl Known {
    pub fn new(stored: Stored, configured_slots: u64) -> Self {
        let decoded = match &stored.value {
            Some(value) => stored::decode(value),
            None => Ok((Semaphore::new(configured_slots), Acts::default())),
        };
        let (semaphore, acts) = match decoded {
            Ok((semaphore, acts)) => (Ok(Arc::new(semaphore)), acts),
            Err(invalid) => (Err(invalid), Acts::default()),
        };
        Known {
            revision: stored.revision,
            as_of: stored.as_of,
            semaphore,
            acts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(revision: i64) -> Known {
        let absent = Stored::absent(Revision(revision));
        Known::new(absent, u64::try_from(revision).unwrap())
    }

    #[test]
    fn what_was_written_late_or_seen_late_hides_nothing_newer() {
        let view = View::new(GroupName::new("g").unwrap());
        view.set(known(5));
        view.set_if_newer(known(4));
        view.see(Seen::Change(Stored::absent(Revision(5))), 9);
        assert_eq!(view.get(), Some(known(5)));
        view.set_if_newer(known(6));
        assert_eq!(view.get(), Some(known(6)));
        view.see(Seen::Change(Stored::absent(Revision(7))), 7);
        assert_eq!(view.get(), Some(known(7)));
        view.see(Seen::Current(Stored::absent(Revision(2))), 2);
        assert_eq!(view.get(), Some(known(2)));
    }
}
