//! What is known of a group's value: the one copy that the task, the gauges and the page share.
//!
//! It may be old at any time. No request is answered from it without asking the store (invariant 4).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

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
    known: watch::Sender<Option<Known>>,
    /// The acts that are logged, or were done before this server ran.
    logged: Mutex<Option<Acts>>,
}

// === impl View ===

impl View {
    pub fn new(group: GroupName) -> Self {
        View {
            group,
            known: watch::Sender::new(None),
            logged: Mutex::default(),
        }
    }

    pub fn get(&self) -> Option<Known> {
        self.known.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<Known>> {
        self.known.subscribe()
    }

    pub fn set(&self, known: Known) {
        self.log_new_acts(&known.acts);
        self.known.send_if_modified(|view| {
            let changed = view.as_ref() != Some(&known);
            *view = Some(known);
            changed
        });
    }

    /// Takes a value that was read, and of reported changes those that are newer than what is known.
    ///
    /// A value that was read replaces a newer one too: an etcd restored from a backup counts from an
    /// earlier revision. If it was merely late, the changes after it are still to be reported.
    pub fn see(&self, seen: Seen, configured_slots: u64) {
        let stored = match seen {
            Seen::Current(stored) => stored,
            Seen::Change(stored) => {
                let known = self.known.borrow().as_ref().map(|known| known.as_of);
                if known.is_some_and(|known| known >= stored.as_of) {
                    return;
                }
                stored
            }
        };
        self.set(Known::new(stored, configured_slots));
    }

    /// Other slots are configured, which is what a group without a value begins with.
    pub fn set_slots_if_absent(&self, slots: u64) {
        self.known.send_if_modified(|view| match view {
            Some(known) if known.revision == Revision::ABSENT => {
                known.semaphore = Ok(Arc::new(Semaphore::new(slots)));
                true
            }
            _ => false,
        });
    }

    /// What an administrator did is in the log of every server, once, and at any verbosity.
    fn log_new_acts(&self, acts: &Acts) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(logged) = logged.as_ref() {
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
