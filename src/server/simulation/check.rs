//! Checks the history of a run against all values that the store had.
//!
//! Each request and command has an interval, from its sending to its reply. A success and a refusal must be true at
//! some moment of it. Each change must be the effect of exactly one request or command, within its interval; the
//! interval of a request without a definite reply ends when a later reply proves that it can no longer take effect.
//! After a restore of the store, some intervals are open: see `Values::end`.

mod changes;
mod commands;
mod grants;
mod policies;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fleet::Fleet;
use super::history::{AdminRequest, Kind, Reply, Request};
use super::trace::{Moment, Violation};
use super::world::{Cause, State};
use crate::lock::GroupName;
use crate::lock::policy::Refusal;
use crate::lock::semaphore::Outcome;
use policies::{AllStates, Policies};

/// All values of a group, and the changes between them.
struct Values<'a> {
    group: &'a GroupName,
    states: &'a [State],
    changes: Vec<ChangeOfNode>,
    /// The moments at which an older state was restored.
    restores: Vec<Moment>,
    policies: Policies<'a>,
}

/// A node became a holder, or ceased to be one, by a request.
struct ChangeOfNode {
    at: Moment,
    epoch: u32,
    node: Arc<str>,
    kind: Kind,
    /// The number of the request that was granted, if the value tells it.
    request: Option<u64>,
}

/// Checks the whole history of a run.
pub(super) fn check(fleet: &Fleet) -> Result<(), Violation> {
    let requests = fleet.history.requests.lock();
    let commands = fleet.history.commands.lock();
    let groups = fleet.groups.iter();
    let all: AllStates = groups
        .map(|group| (group.clone(), fleet.world.states(group)))
        .collect();
    for (group, states) in &all {
        let policies = Policies::of(group, fleet, &all);
        let values = Values::new(group, states, policies);
        let of_group = |request: &&Request| request.group == *group;
        let requests: Vec<&Request> = requests.iter().filter(of_group).collect();
        for request in &requests {
            values.check_reply(request)?;
        }
        values.check_changes(&requests)?;
        values.check_grants()?;
        let of_group = |command: &&AdminRequest| command.group == *group;
        for command in commands.iter().filter(of_group) {
            values.check_command(command)?;
        }
    }
    Ok(())
}

// === impl Values ===

impl<'a> Values<'a> {
    fn new(group: &'a GroupName, states: &'a [State], policies: Policies<'a>) -> Self {
        let mut changes = Vec::new();
        for pair in states.windows(2) {
            let [before, after] = pair else { continue };
            if after.cause != Cause::Commit || !after.new_entries(before).is_empty() {
                continue;
            }
            let change = |node, kind, request| ChangeOfNode {
                at: after.from,
                epoch: after.epoch,
                node,
                kind,
                request,
            };
            for node in after.released(before) {
                changes.push(change(node, Kind::Unlock, None));
            }
            for node in after.granted(before) {
                let time = after.time(&node).flatten();
                let request = time.and_then(|time| u64::try_from(time.as_second()).ok());
                changes.push(change(node, Kind::Lock, request));
            }
        }
        let pairs = states.iter().zip(states.iter().skip(1));
        let restores = pairs.filter(|(before, after)| before.epoch < after.epoch);
        let restores = restores.map(|(_, after)| after.from).collect();
        Values {
            group,
            restores,
            states,
            changes,
            policies,
        }
    }

    /// Returns the values during an interval.
    fn during(&self, from: Moment, to: Moment) -> &[State] {
        let first = self.states.partition_point(|state| state.from <= from);
        let end = self.states.partition_point(|state| state.from <= to);
        &self.states[first.saturating_sub(1)..end]
    }

    /// Reports whether an older state was restored during an interval. Effects before that are lost.
    fn spans_restore(&self, from: Moment, to: Moment) -> bool {
        let states = self.during(from, to).iter();
        let epochs: BTreeSet<u32> = states.map(|state| state.epoch).collect();
        epochs.len() > 1
    }

    fn changed_during(&self, node: &str, from: Moment, to: Moment) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| *change.node == *node && (from..=to).contains(&change.at))
    }

    /// Checks that a reply was true at some moment between the request and the reply.
    fn check_reply(&self, request: &Request) -> Result<(), Violation> {
        let (from, to, node) = (request.sent, request.answered, &*request.node);
        let states = self.during(from, to);
        // One commit may contain a release and a grant of the same node, between which there is no value.
        let changed = self.changed_during(node, from, to);
        let true_reply = match &request.reply {
            Reply::Outcome(Outcome::Locked | Outcome::AlreadyHeld) => {
                states.iter().any(|state| state.holds(node))
            }
            Reply::Outcome(Outcome::Unlocked | Outcome::NotHeld) => {
                changed || states.iter().any(|state| !state.holds(node))
            }
            Reply::Outcome(Outcome::Refused(refusal)) => {
                let is_true = match refusal {
                    Refusal::Full { slots } => is_full(states, *slots),
                    Refusal::Paused => is_full(states, 0),
                    policy => self.explains(policy, request),
                };
                // Invariant 12: neither a holder that asks again nor a release is ever refused.
                let may_be_refused = changed || states.iter().any(|state| !state.holds(node));
                is_true && may_be_refused && request.kind == Kind::Lock
            }
            Reply::Refused | Reply::Unknown => true,
        };
        match true_reply {
            true => Ok(()),
            false => Err(violation(
                to,
                format!(
                    "request {} ({:?} {node} in {}): no value between {from} and {to} explains the reply {:?} \
                 (invariants 1, 3, 4, 12)",
                    request.number, request.kind, self.group, request.reply
                ),
            )),
        }
    }
}

fn violation(at: Moment, problem: String) -> Violation {
    Violation { at, problem }
}

/// Reports whether every slot was held at some moment, perhaps within a commit.
fn is_full(states: &[State], slots: u64) -> bool {
    let holders = |state: &State| -> BTreeSet<Arc<str>> {
        let semaphore = state.semaphore.iter();
        semaphore
            .flat_map(|known| known.holders.keys().cloned())
            .collect()
    };
    let has_slots = |state: &State| {
        let semaphore = state.semaphore.as_ref();
        semaphore.is_none_or(|semaphore| semaphore.slots == slots)
    };
    let pairs = states
        .iter()
        .zip(states.iter().skip(1).chain(states.last()));
    pairs.into_iter().any(|(state, next)| {
        let together = match next.cause {
            Cause::Commit => &holders(state) | &holders(next),
            Cause::Operator => holders(state),
        };
        has_slots(state) && together.len() as u64 >= slots
    })
}
