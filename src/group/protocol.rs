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

    /// Whether it cannot be known any more what became of a command that was part of an attempt of
    /// unknown outcome, built on the revision `in_doubt`.
    ///
    /// SUBTLE: once somebody has written on top of that revision, the attempt has happened or never
    /// will. If the store shows what the command wanted, it is done. If not, it may have been done and
    /// undone by another request of the same node: to do it again would let one command take effect
    /// twice, to refuse it would deny that it did. The honest answer is that nobody knows.
    pub fn is_ambiguous(
        command: &Command,
        in_doubt: Option<Revision>,
        known: Revision,
        semaphore: &Semaphore,
    ) -> bool {
        let moved = in_doubt.is_some_and(|in_doubt| in_doubt != known);
        let done = match command {
            Command::Lock { id, .. } | Command::Renew { id } => {
                semaphore.holders.contains_key(id.as_str())
            }
            Command::Unlock { id } => !semaphore.holders.contains_key(id.as_str()),
        };
        moved && !done
    }

    /// The store was read.
    pub fn has_read(&mut self) {
        self.must_read = false;
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
