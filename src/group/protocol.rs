//! The commit protocol of one group, pure: what to send next, and what its outcome means.
//!
//! The task carries it out. tests/model.rs checks it in every order of events.

use std::sync::Arc;

use crate::semaphore::{Applied, Command, Outcome, Semaphore};
use crate::store::Revision;

/// What a server remembers of a group from one attempt to the next, besides the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// What is known cannot be built upon: the store is to be read first.
    pub must_read: bool,
    /// A write on top of this revision was sent and not answered.
    pub in_doubt: Option<Revision>,
}

/// One commit, and the answers that rest on it.
#[derive(Debug, PartialEq, Eq)]
pub struct Attempt {
    pub expected: Revision,
    /// The value afterwards.
    pub next: Arc<Semaphore>,
    /// Whether it is written, or the comparison alone made.
    pub writes: bool,
    /// For as many commands, from the front, as this commit can answer.
    pub outcomes: Vec<Outcome>,
}

// === impl Protocol ===

impl Protocol {
    /// The commit for `commands` on top of what is known.
    pub fn attempt<'a>(
        &self,
        expected: Revision,
        known: &Arc<Semaphore>,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Attempt {
        let Applied { next, outcomes } = known.apply_all(commands);
        // SUBTLE: while a write on top of this very revision may still arrive, a bare confirmation proves
        // nothing: the node confirmed as a holder could be removed by it a moment later. A write of
        // ours on top of the same revision makes either it or us fail for good (invariant 6).
        let writes = !Arc::ptr_eq(&next, known) || self.in_doubt == Some(expected);
        Attempt {
            expected,
            next,
            writes,
            outcomes,
        }
    }

    /// The store was read.
    pub fn has_read(&mut self) {
        self.must_read = false;
    }

    /// What is known is no semaphore: somebody has to mend it.
    pub fn is_damaged(&mut self) {
        self.must_read = true;
    }

    /// The attempt was committed.
    pub fn committed(&mut self, attempt: &Attempt) {
        if attempt.writes {
            self.in_doubt = None;
        }
    }

    /// Nobody knows whether the attempt happened, or will (invariant 6).
    pub fn unknown(&mut self, attempt: &Attempt) {
        self.must_read = true;
        if attempt.writes {
            self.in_doubt = Some(attempt.expected);
        }
    }
}
