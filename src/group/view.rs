//! What is known of a group's value: the one copy that the task, the gauges and the page share.
//!
//! It may be old at any time. No request is answered from it without asking the store (invariant 4).

use std::sync::Arc;

use tokio::sync::watch;

use crate::semaphore::Semaphore;
use crate::store::{Revision, Seen, Stored};
use crate::stored::{self, Invalid};

/// A value of the group, as the store had it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub revision: Revision,
    pub as_of: Revision,
    /// An absent value counts as what its first use would make of it: the configured slots, all free.
    pub semaphore: Result<Arc<Semaphore>, Invalid>,
}

/// The latest [`Known`].
#[derive(Default)]
pub(super) struct View(watch::Sender<Option<Known>>);

// === impl View ===

impl View {
    pub fn get(&self) -> Option<Known> {
        self.0.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<Known>> {
        self.0.subscribe()
    }

    pub fn set(&self, known: Known) {
        self.0.send_if_modified(|view| {
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
                let known = self.0.borrow().as_ref().map(|known| known.as_of);
                if known.is_some_and(|known| known >= stored.as_of) {
                    return;
                }
                stored
            }
        };
        self.set(Known::new(stored, configured_slots));
    }
}

// === impl Known ===

impl Known {
    pub fn new(stored: Stored, configured_slots: u64) -> Self {
        Known {
            revision: stored.revision,
            as_of: stored.as_of,
            semaphore: match &stored.value {
                Some(value) => stored::decode(value).map(Arc::new),
                None => Ok(Arc::new(Semaphore::new(configured_slots))),
            },
        }
    }
}
