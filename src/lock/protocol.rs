//! The commit protocol of one group: what to send to the store next, and what its result means.
//!
//! The attempt loop executes it. The model in tests/it/model checks it in every order of events.

use std::sync::Arc;

use super::codec::Revision;
use super::history::CompletedHold;
use super::policy::Conditions;
use super::semaphore::{Applied, Command, Outcome, Semaphore};

/// The memory of a server about a group between two attempts, besides the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// The known value may be outdated: the next attempt has to read the store first.
    pub must_read: bool,
    /// The revision on which a write of unknown outcome was based.
    pub in_doubt: Option<Revision>,
}

/// One commit, and the outcomes that depend on it.
#[derive(Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The revision that the commit compares with.
    pub expected: Revision,
    /// The semaphore after the commit.
    pub next: Arc<Semaphore>,
    /// Whether the commit writes `next`; otherwise it only compares.
    pub writes: bool,
    /// Whether the commit also compares the other groups of the caps, because an outcome depends on them
    /// (invariant 13).
    pub compares_members: bool,
    /// The outcomes of as many commands, from the front, as this commit answers.
    pub outcomes: Vec<Outcome>,
    /// The holds that the commit ends: one for each [`Outcome::Unlocked`], in order.
    pub released: Vec<CompletedHold>,
}

// === impl Attempt ===

impl Attempt {
    /// Returns a function that tells for one command of this attempt after the other whether a write that the store
    /// refused was needed for it. The attempt was based on the value `known`.
    ///
    /// A write is needed for the grants; without grants for the releases, which may pass where a grant does not,
    /// because they make the value smaller; without either, for all commands. The refusals by a cap need a comparison that
    /// the store can refuse as well.
    pub fn needs_write<'a>(&'a self, known: &'a Semaphore) -> impl FnMut(&Command) -> bool + 'a {
        let has_grants = self.outcomes.contains(&Outcome::Locked);
        let has_changes = self.outcomes.iter().any(Outcome::changes);
        let mut outcomes = self.outcomes.iter();
        move |command| {
            let outcome = outcomes.next();
            let changes = outcome.is_some_and(Outcome::changes);
            let holds = |id: &str| known.holders.contains_key(id);
            match command {
                // Nothing is granted: it may be the comparison of the other groups that the store refused.
                _ if !has_grants && self.compares_members => {
                    outcome.is_some_and(Outcome::depends_on_members)
                }
                _ if !has_changes => true,
                // A request that is refused because of the grants before it would be the next to be granted a lock.
                Command::Lock { id, .. } => {
                    let would_be_next = match outcome {
                        Some(Outcome::Refused(refusal)) => refusal.depends_on_grants(),
                        Some(_) => changes,
                        None => true,
                    };
                    has_grants && would_be_next && (changes || !holds(id.as_str()))
                }
                Command::Unlock { id, .. } => !has_grants && (changes || holds(id)),
                Command::Renew { .. } => false,
            }
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// Plans the commit of `commands` on top of the known value, under these conditions.
    pub fn attempt<'a>(
        &self,
        expected: Revision,
        known: &Arc<Semaphore>,
        conditions: &Conditions,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Attempt {
        let Applied {
            next,
            outcomes,
            released,
        } = known.apply_all(conditions, commands);
        // SUBTLE: as long as a write based on this revision may still arrive, a comparison without a write proves
        // nothing: that write could remove a confirmed holder a moment later. If this attempt writes on top of the
        // same revision, one of the two writes fails for good (invariant 6).
        let writes = !Arc::ptr_eq(&next, known) || self.in_doubt == Some(expected);
        let depends_on_members = outcomes.iter().any(Outcome::depends_on_members);
        Attempt {
            expected,
            next,
            writes,
            compares_members: depends_on_members && !conditions.caps.is_empty(),
            outcomes,
            released,
        }
    }

    /// Reports whether it can no longer be determined what became of a command that was part of an attempt of unknown
    /// outcome, based on the revision `in_doubt`.
    ///
    /// SUBTLE: once another commit has been written on top of that revision, the attempt has happened or never will.
    /// If the store shows the result that the command asked for, the command is done. Otherwise it may have been
    /// applied and then undone by another request of the same node. Applying it again could make one command take
    /// effect twice; refusing it would deny that it did. The only correct answer is that the outcome is unknown.
    pub fn is_ambiguous(
        command: &Command,
        in_doubt: Option<Revision>,
        known: Revision,
        semaphore: &Semaphore,
    ) -> bool {
        let moved = in_doubt.is_some_and(|in_doubt| in_doubt != known);
        moved && !Protocol::is_done(command, semaphore)
    }

    /// Reports whether the value shows what a command asks for.
    pub fn is_done(command: &Command, semaphore: &Semaphore) -> bool {
        match command {
            Command::Lock { id, .. } => semaphore.holders.contains_key(id.as_str()),
            Command::Renew { id } => semaphore.holders.contains_key(id),
            Command::Unlock { id, .. } => !semaphore.holders.contains_key(id),
        }
    }

    /// Records that the store was read.
    pub fn has_read(&mut self) {
        self.must_read = false;
    }

    /// Records that the attempt was committed.
    pub fn committed(&mut self, attempt: &Attempt) {
        if attempt.writes {
            self.in_doubt = None;
        }
    }

    /// Records a conflict with another group of a cap that had no value, while the value of the own group is the expected
    /// one.
    ///
    /// SUBTLE: a copy of the write that the network delivers later finds what it expects if the other group has lost its
    /// value again: no revision distinguishes that from one that never had a value. So the next attempt has to be a write,
    /// after which the copy conflicts with the own group.
    pub fn conflicted_with_absent(&mut self, attempt: &Attempt) {
        if attempt.writes {
            self.in_doubt = Some(attempt.expected);
        }
    }

    /// Records that the known value may be outdated: a write has an effect that only a read tells, but no write is on
    /// its way any more that could change the semaphore. No fence is needed.
    ///
    /// This holds for a write that the store refused for want of space, for the creation of an empty value, and for a
    /// write by another program that was reported without the records beside it.
    pub fn outdated(&mut self) {
        self.must_read = true;
    }

    /// Records that the outcome of the attempt is unknown: the store may have applied it, or may still do so
    /// (invariant 6).
    pub fn unknown(&mut self, attempt: &Attempt) {
        self.must_read = true;
        if attempt.writes {
            self.in_doubt = Some(attempt.expected);
        }
    }
}
