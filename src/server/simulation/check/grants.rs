//! Checks the policies: no grant violates one, and each refusal by one is true.
//!
//! Writes by coreos/airlock, deletions, and restores of the store may exceed a cap. The grants on top of them may not.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::fleet::time_of;
use super::super::history::Request;
use super::super::trace::{Moment, Violation};
use super::super::world::{Cause, State};
use super::policies::{current, held};
use super::{Values, violation};
use crate::lock::policy::{CapLimit, CapReached, Refusal};

/// A value of the group at a moment, and the one from which its commit, if it began with one at that moment, went out.
struct Step<'a> {
    at: Moment,
    before: &'a State,
    after: &'a State,
}

// === impl Step ===

impl Step<'_> {
    /// Returns the holders before the commit, after it, or between its changes.
    fn holders_together(&self) -> BTreeSet<Arc<str>> {
        let states = [self.before, self.after];
        let semaphores = states.iter().flat_map(|state| state.semaphore.iter());
        semaphores
            .flat_map(|semaphore| semaphore.holders.keys().cloned())
            .collect()
    }
}

// === impl Values ===

impl Values<'_> {
    /// Returns the moments of an interval, from its beginning on, at which the group or another one of its caps has a
    /// new value.
    pub(super) fn moments(&self, from: Moment, to: Moment) -> BTreeSet<Moment> {
        let mut moments = self.policies.changes_elsewhere(from, to);
        let own = self.during(from, to).iter().map(|state| state.from);
        moments.extend(own.filter(|at| *at > from));
        moments.insert(from);
        moments
    }

    /// Returns the value at a moment.
    pub(super) fn current(&self, at: Moment) -> &State {
        current(self.states, at)
    }

    fn steps(&self, from: Moment, to: Moment) -> impl Iterator<Item = Step<'_>> {
        let moments = self.moments(from, to).into_iter();
        moments.map(|at| {
            let next = self.states.partition_point(|state| state.from <= at);
            let after = &self.states[next.saturating_sub(1)];
            let is_commit = after.from == at && after.cause == Cause::Commit;
            let before = match is_commit {
                true => &self.states[next.saturating_sub(2)],
                false => after,
            };
            Step { at, before, after }
        })
    }

    /// Reports whether a refusal by a policy was true at some moment between the request and the reply.
    pub(super) fn explains(&self, refusal: &Refusal, request: &Request) -> bool {
        let (from, to, at) = (request.sent, request.answered, time_of(request.number));
        match refusal {
            Refusal::CapReached(reached) => {
                let mut steps = self.steps(from, to);
                steps.any(|step| self.is_reached(reached, &step))
            }
            Refusal::Settling { until } => {
                let mut steps = self.steps(from, to);
                steps.any(|step| self.settles(*until, at, &step))
            }
            Refusal::Stalled(stalled) => {
                let mut states = self.during(from, to).iter();
                let is_held = match stalled.is_exact {
                    true => {
                        states.any(|state| state.time(&stalled.id) == Some(Some(stalled.since)))
                    }
                    // Another program has written the value since the server knew the time.
                    false => {
                        let mut earlier = self.states.iter().take_while(|state| state.from <= to);
                        let since = Some(Some(stalled.since));
                        states.any(|state| state.time(&stalled.id) == Some(None))
                            && earlier.any(|state| state.time(&stalled.id) == since)
                    }
                };
                is_held && self.is_stalled(stalled.since, at)
            }
            Refusal::CapUnusable { cap, group } => {
                self.policies.is_unreadable(cap, group, from, to)
            }
            _ => false,
        }
    }

    fn is_reached(&self, reached: &CapReached, step: &Step<'_>) -> bool {
        let caps = self.policies.caps(step.at).into_iter();
        let mut caps = caps.filter(|cap| cap.name == reached.cap);
        caps.any(|cap| match reached.limit {
            CapLimit::Held(max) => {
                let together = step.holders_together().len() as u64;
                cap.max_held == Some(max) && cap.held_elsewhere + together >= max
            }
            CapLimit::Groups(max) => cap.max_groups == Some(max) && cap.groups_elsewhere >= max,
        })
    }

    /// Reports whether a group that settles until then did so as of a request of the time `at`.
    fn settles(&self, until: Timestamp, at: Timestamp, step: &Step<'_>) -> bool {
        let Some(settle) = self.policies.settle else {
            return false;
        };
        let [before, after] = [step.before, step.after].map(State::released_at);
        let released = Some(until - settle);
        until > at && before <= released && released <= after
    }

    fn is_stalled(&self, since: Timestamp, at: Timestamp) -> bool {
        let after = self.policies.stall_after;
        after.is_some_and(|after| at.duration_since(since) > after)
    }

    /// Checks that no commit of ours grants a lock against a policy.
    pub(super) fn check_grants(&self) -> Result<(), Violation> {
        for pair in self.states.windows(2) {
            let [before, after] = pair else { continue };
            if !after.is_ours || after.cause != Cause::Commit {
                continue;
            }
            let granted = after.granted(before);
            if granted.is_empty() {
                continue;
            }
            self.check_caps(before, after)?;
            // An administrator obeys only caps.
            if after.new_entries(before).is_empty() {
                for node in granted {
                    self.check_times(before, after, &node)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that the grants of a commit take the groups of no cap above its limits.
    fn check_caps(&self, before: &State, after: &State) -> Result<(), Violation> {
        for cap in self.policies.caps(after.from) {
            let together = cap.held_elsewhere + held(after);
            let groups = cap.groups_elsewhere + 1;
            let is_opened = held(before) == 0;
            let exceeds_held = cap.max_held.is_some_and(|max| together > max);
            let exceeds_groups = is_opened && cap.max_groups.is_some_and(|max| groups > max);
            if exceeds_held || exceeds_groups {
                let (name, group) = (&cap.name, &self.group);
                return Err(violation(
                    after.from,
                    format!(
                        "{group}: the commit violates invariant 13: with its grant, {together} nodes hold slots in the \
                         groups of {name}, and {groups} of its groups have holders: {cap:?}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Checks that the group neither settled nor was stalled as of the request to which a lock was granted.
    fn check_times(&self, before: &State, after: &State, node: &str) -> Result<(), Violation> {
        let Some(at) = after.time(node).flatten() else {
            return Ok(());
        };
        let stays = |state: &State| -> BTreeSet<(Arc<str>, Option<Timestamp>)> {
            let semaphore = state.semaphore.iter();
            let holders = semaphore.flat_map(|known| known.holders.iter());
            holders
                .map(|(id, hold)| (Arc::clone(id), hold.since))
                .collect()
        };
        // The holders that the commit has released may have been so before the grant.
        let held_throughout = &stays(before) & &stays(after);
        let mut times = held_throughout.iter().filter_map(|(_, since)| *since);
        let stalled = times.find(|since| self.is_stalled(*since, at));
        let released = before.released_at().max(self.first_release(before, after));
        let settles = self.policies.settle.zip(released);
        let settles = settles.is_some_and(|(settle, released)| released + settle > at);
        if stalled.is_none() && !settles {
            return Ok(());
        }
        let group = &self.group;
        Err(violation(
            after.from,
            format!(
                "{group}: the commit grants {node} a lock as of {at}, but the group settles since {released:?}, or is \
                 stalled by a hold since {stalled:?}"
            ),
        ))
    }

    /// Returns the earliest release in a commit, if no grant of it can have preceded all releases: every slot was held.
    fn first_release(&self, before: &State, after: &State) -> Option<Timestamp> {
        let is_full = before
            .semaphore
            .as_ref()
            .is_some_and(|known| known.free() == 0);
        let released = after.released(before).len();
        let new = after.history.holds().take(released);
        is_full.then(|| new.map(|hold| hold.until).min()).flatten()
    }
}
