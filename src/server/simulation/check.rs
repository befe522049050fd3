//! Checks the history of a run against all values that the store had.
//!
//! Each request and command has an interval, from its sending to its reply. A success and a refusal must be true at
//! some moment of it. Each change must be the effect of exactly one request or command, within its interval; the
//! interval of a request without a definite reply ends when a later reply proves that it can no longer take effect.
//! After a restore of the store, some intervals are open: see `Values::end`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fleet::{Fleet, time_of};
use super::history::{AdminRequest, Kind, Reply, Request};
use super::trace::{Moment, Violation};
use super::world::{Cause, State};
use crate::admin::{Change, ExecuteError};
use crate::lock::GroupName;
use crate::lock::command::Decision;
use crate::lock::policy::Refusal;
use crate::lock::semaphore::{Outcome, Semaphore};

/// All values of a group, and the changes between them.
struct Values {
    group: GroupName,
    states: Vec<State>,
    changes: Vec<ChangeOfNode>,
    /// The moments at which an older state was restored.
    restores: Vec<Moment>,
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

/// The interval in which a request may take effect.
struct Claim<'a> {
    request: &'a Request,
    ends: Moment,
    /// The epochs in which it had its effect. A server that had no reply before an older state was restored applies the
    /// request again.
    used: BTreeSet<u32>,
}

/// Checks the whole history of a run.
pub(super) fn check(fleet: &Fleet) -> Result<(), Violation> {
    let requests = fleet.history.requests.lock();
    let commands = fleet.history.commands.lock();
    for group in &fleet.groups {
        let values = Values::new(group, fleet.world.states(group));
        let of_group = |request: &&Request| request.group == *group;
        let requests: Vec<&Request> = requests.iter().filter(of_group).collect();
        for request in &requests {
            values.check_reply(request)?;
        }
        values.check_changes(&requests)?;
        let of_group = |command: &&AdminRequest| command.group == *group;
        for command in commands.iter().filter(of_group) {
            values.check_command(command)?;
        }
    }
    Ok(())
}

// === impl Values ===

impl Values {
    fn new(group: &GroupName, states: Vec<State>) -> Self {
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
            group: group.clone(),
            restores,
            states,
            changes,
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
                    _ => false,
                };
                is_true && (changed || states.iter().any(|state| !state.holds(node)))
            }
            Reply::Refused | Reply::Unknown => true,
        };
        match true_reply {
            true => Ok(()),
            false => Err(violation(
                to,
                format!(
                    "request {} ({:?} {node} in {}): no value between {from} and {to} explains the reply {:?} \
                 (invariants 1, 3, 4)",
                    request.number, request.kind, self.group, request.reply
                ),
            )),
        }
    }

    /// Checks that each change is the effect of one request, and that each request that had an effect, according to its
    /// reply, had one.
    fn check_changes(&self, requests: &[&Request]) -> Result<(), Violation> {
        let claims = |wanted: &dyn Fn(&Request) -> bool, end: &dyn Fn(&Request) -> Moment| {
            let wanted = requests.iter().filter(|request| wanted(request));
            let claims = wanted.map(|request| Claim {
                request,
                ends: end(request),
                used: BTreeSet::new(),
            });
            claims.collect::<Vec<_>>()
        };
        let may_have_effect = |request: &Request| {
            may_have_effect(&request.reply)
                || self.spans_restore(request.sent, request.answered)
                || self.may_use_lost_value(request, requests)
        };
        let mut possible = claims(&may_have_effect, &|request| self.end(request, requests));
        for change in &self.changes {
            if !assign(change, &mut possible) {
                return Err(violation(
                    change.at,
                    format!(
                        "{}: no request explains the {:?} of {}",
                        self.group, change.kind, change.node
                    ),
                ));
            }
        }
        let has_effect = |request: &Request| has_effect(&request.reply);
        let mut certain = claims(&has_effect, &|request| request.answered);
        for change in &self.changes {
            assign(change, &mut certain);
        }
        // Requests of one node at the same time may share a commit, of which only the result can be seen.
        let is_alone = |claim: &&Claim<'_>| {
            let claimed = claim.request;
            requests.iter().all(|other| {
                other.node != claimed.node
                    || other.number == claimed.number
                    || other.answered < claimed.sent
                    || claimed.answered < other.sent
            })
        };
        let unused = certain.iter().filter(|claim| claim.used.is_empty());
        match unused.into_iter().find(is_alone) {
            None => Ok(()),
            Some(claim) => Err(violation(
                claim.request.answered,
                format!(
                    "request {} had the reply {:?}, but no effect since {}",
                    claim.request.number, claim.request.reply, claim.request.sent
                ),
            )),
        }
    }

    /// Returns the end of the interval in which a request may take effect.
    ///
    /// It ends with the reply, unless the write may be based on a value that was lost: a restored store can return to
    /// that value, and then accept a copy of the write that arrives late.
    ///
    /// Without a definite reply, it ends with a later reply by the same run of the same server, which fences its own lost
    /// writes (invariant 6), or with a success of the same node at any server: the value that this is based on is not
    /// the one on which the lost write was based.
    fn end(&self, request: &Request, requests: &[&Request]) -> Moment {
        if self.may_use_lost_value(request, requests) {
            return Moment::MAX;
        }
        if request.reply != Reply::Unknown {
            return request.answered;
        }
        let later = requests
            .iter()
            .filter(|later| later.sent > request.answered);
        let proof = later.filter(|later| {
            let fenced = request.server.is_some()
                && request.server == later.server
                && matches!(later.reply, Reply::Outcome(_));
            let same = later.node == request.node && later.kind == request.kind;
            fenced || (same && later.reply.is_success(later.kind))
        });
        let proven = proof.map(|later| later.answered).min();
        let proven = proven.unwrap_or(Moment::MAX);
        // A restored store can return to the value on which a lost write was based.
        match self.restores.first() {
            Some(restored) if *restored < proven => Moment::MAX,
            _ => proven,
        }
    }

    /// Reports whether the server may have had no reply about the group since the store was restored, when the request
    /// reached it. coreos/airlock reads the store for each request.
    fn may_use_lost_value(&self, request: &Request, requests: &[&Request]) -> bool {
        let knows = |restored: Moment| match request.server {
            None => restored < request.sent,
            Some(_) => requests.iter().any(|earlier| {
                earlier.server == request.server
                    && matches!(earlier.reply, Reply::Outcome(_))
                    && restored < earlier.sent
                    && earlier.answered < request.sent
            }),
        };
        let restores = self.restores.iter();
        restores
            .take_while(|restored| **restored < request.answered)
            .any(|restored| !knows(*restored))
    }

    /// Checks that the result of an administrator's command is true.
    fn check_command(&self, command: &AdminRequest) -> Result<(), Violation> {
        let executed = self.executions(command)?;
        let states = self.during(command.sent, command.answered);
        let decides = |wanted: fn(&Decision) -> bool| {
            states.iter().any(|state| {
                let absent = || Arc::new(Semaphore::new(command.slots_if_absent));
                let known = state.semaphore.clone().unwrap_or_else(absent);
                wanted(&command.command.decide(&known, time_of(command.number), &[]))
            })
        };
        let none = executed.is_empty() || self.spans_restore(command.sent, command.answered);
        let true_result = match &command.result {
            Some(Ok(Change { before, after })) if before == after => {
                none && decides(|decision| *decision == Decision::Unchanged)
            }
            Some(Ok(change)) => executed.iter().any(|(known, next)| {
                next.from <= command.answered
                    && next.semaphore.as_ref() == Some(&change.after)
                    && known.semaphore.as_ref() == Some(&change.before)
            }),
            Some(Err(ExecuteError::Refused(_))) => {
                none && decides(|decision| matches!(decision, Decision::Refused(_)))
            }
            Some(Err(
                ExecuteError::Unavailable(_) | ExecuteError::Contended | ExecuteError::Damaged(_),
            )) => none,
            Some(Err(ExecuteError::Unknown(_) | ExecuteError::NoTrace)) | None => true,
        };
        match true_result {
            true => Ok(()),
            false => {
                let at: Vec<Moment> = executed.iter().map(|(_, next)| next.from).collect();
                Err(violation(
                    command.answered,
                    format!(
                        "command {} ({:?}) was executed at {at:?}, which its result does not say: {:?}",
                        command.number, command.command, command.result
                    ),
                ))
            }
        }
    }

    /// Returns the commits of a command, and checks that there is at most one, which does what the command says.
    fn executions(&self, command: &AdminRequest) -> Result<Vec<(&State, &State)>, Violation> {
        let mut found = Vec::new();
        for pair in self.states.windows(2) {
            let [before, after] = pair else { continue };
            if after.cause != Cause::Commit || !after.new_entries(before).contains(&command.number)
            {
                continue;
            }
            let known = before.semaphore.as_deref();
            let decision =
                known.map(|known| command.command.decide(known, time_of(command.number), &[]));
            let does_it = match (&decision, &after.semaphore) {
                (Some(Decision::Change { next, .. }), Some(found)) => *next == **found,
                _ => false,
            };
            if !does_it || after.from < command.sent {
                return Err(violation(
                    after.from,
                    format!(
                        "command {} has another effect, not {decision:?}",
                        command.number
                    ),
                ));
            }
            found.push((before, after));
        }
        // After an older state was restored, the command may have to be executed again.
        let epochs: BTreeSet<u32> = found.iter().map(|(_, after)| after.epoch).collect();
        if epochs.len() < found.len() {
            let at: Vec<Moment> = found.iter().map(|(_, after)| after.from).collect();
            return Err(violation(
                at[at.len() - 1],
                format!(
                    "command {} was executed more than once, at {at:?}",
                    command.number
                ),
            ));
        }
        Ok(found)
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

fn may_have_effect(reply: &Reply) -> bool {
    match reply {
        Reply::Unknown => true,
        Reply::Refused => false,
        // A request of unknown outcome is answered as if it had been repeated.
        Reply::Outcome(outcome) => !matches!(outcome, Outcome::Refused(_)),
    }
}

fn has_effect(reply: &Reply) -> bool {
    matches!(reply, Reply::Outcome(outcome) if outcome.changes())
}

/// Assigns a change to the request that can wait least. Returns `false` if there is none.
fn assign(change: &ChangeOfNode, claims: &mut [Claim<'_>]) -> bool {
    let open = claims.iter_mut().filter(|claim| {
        let request = claim.request;
        let is_it = match change.request {
            Some(number) => request.number == number,
            // coreos/airlock stores no times.
            None => change.kind == Kind::Unlock || request.server.is_none(),
        };
        !claim.used.contains(&change.epoch)
            && is_it
            && request.kind == change.kind
            && request.node == change.node
            && request.sent < change.at
            && change.at <= claim.ends
    });
    match open.min_by_key(|claim| claim.ends) {
        Some(claim) => claim.used.insert(change.epoch),
        None => false,
    }
}
