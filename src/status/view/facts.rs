//! The view of a group as a running server knows it, or as the store tells it.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::blocked::BlockView;
use super::condition::Condition;
use super::conditions::{conditions, detail, needs_attention};
use super::denials::DenialView;
use super::gates::{closed_gate, gates_of_group};
use super::group::{GroupView, MAX_LISTED};
use super::policies::SharedPolicies;
use super::rows::{CompletedHoldView, LockView, WaiterView};
use super::windows::{CalendarLine, WindowView};
use crate::config::GroupSettings;
use crate::coordinator::{Block, Outside};
use crate::fleet::{GateState, Waiting, WaitingNode};
use crate::lock::history::History;
use crate::lock::policy::Conditions;
use crate::lock::semaphore::Semaphore;
use crate::lock::window::{Calendar, Freezes, Windows};
use crate::lock::{GroupName, GroupState};
use crate::names::NodeNames;

/// The known facts about a group, from a running server or from the store.
pub(crate) struct GroupFacts<'a> {
    pub(crate) name: &'a GroupName,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: the store has not replied about the group yet.
    pub(crate) state: Option<&'a GroupState>,
    /// `None`: the group is not configured.
    pub(crate) settings: Option<&'a GroupSettings>,
    /// What a lock depends on besides the state of the group.
    pub(crate) conditions: Conditions,
    /// What is known about gates and caps.
    pub(crate) policies: &'a SharedPolicies,
    /// The maximum number of lines of the calendar.
    pub(crate) max_calendar: usize,
    /// The nodes that wait at all servers; `None`: unknown.
    pub(crate) waiting: Option<Waiting>,
    /// The clients that were rejected lately, of all groups.
    pub(crate) denials: &'a [DenialView],
    /// The names of nodes, which take precedence over stored ones.
    pub(crate) names: &'a NodeNames,
}

// === impl GroupFacts ===

impl GroupFacts<'_> {
    /// Returns the view at `now` of a state that the store confirmed just now.
    pub(crate) fn view(self, now: Timestamp) -> GroupView {
        self.view_as_of(now, now)
    }

    /// Returns the view at `now` of a state that the store confirmed at `known` for the last time.
    pub(super) fn view_as_of(self, known: Timestamp, now: Timestamp) -> GroupView {
        let facts = self;
        let history = facts.state.map(|state| &state.history);
        let usual_hold_seconds = history
            .and_then(History::usual)
            .map(|usual| usual.as_secs());
        let (lock, damaged) = match facts.state.map(|state| &state.semaphore) {
            None => (None, None),
            Some(Ok(semaphore)) => (
                Some(LockView::new(semaphore, usual_hold_seconds, known)),
                None,
            ),
            Some(Err(reason)) => (None, Some(reason.to_string())),
        };
        let rejected_clients = rejected_clients(&facts);
        let name = facts.name.as_str();
        let (windows, freezes) = (Windows::default(), Freezes::default());
        let always = Calendar {
            windows: &windows,
            freezes: &freezes,
        };
        let calendar = facts.settings.map_or(always, GroupSettings::calendar);
        let gate = closed_gate(&facts.policies.gates, name);
        let failed = gate.as_ref();
        let failed = failed.filter(|(gate, _)| gate.state == GateState::Failed);
        let gate_failure = failed.map(|(_, closed)| closed.to_string());
        let outside = Outside {
            closed: Block::of_calendar(calendar.state(now)),
            gate: gate.map(|(_, closed)| closed),
        };
        let semaphore = facts.state.and_then(|state| state.semaphore.as_ref().ok());
        let blocks = match semaphore {
            Some(semaphore) => Block::all(semaphore, &facts.conditions, &outside, known),
            None => outside
                .closed
                .into_iter()
                .chain(outside.gate.map(Block::GateClosed))
                .collect(),
        };
        let caps = &facts.policies.caps;
        let reason = |block: &Block| BlockView::new(block, caps, facts.names, known);
        let reasons: Vec<BlockView> = blocks.iter().map(reason).collect();
        let override_until = semaphore.and_then(|semaphore| active_override(semaphore, known));
        let is_told = override_until.is_some() || facts.has_policies();
        let waiting = facts
            .waiting
            .map(|waiting| still_waiting(waiting, facts.state));
        let listed = |waiting: &Waiting| {
            let nodes = waiting.nodes.iter().take(MAX_LISTED);
            nodes.map(WaiterView::new).collect()
        };
        let entries = facts.state.iter().flat_map(|state| state.audit_log.iter());
        let mut view = GroupView {
            name: facts.name.to_string(),
            state: Condition::Unknown,
            conditions: Vec::new(),
            needs_attention: false,
            details: Vec::new(),
            rejected_clients,
            configured_slots: facts.configured_slots,
            lock,
            damaged,
            windows: WindowView::new(calendar, now),
            blocked: is_told.then(|| reasons.clone()),
            override_until,
            blocks,
            reasons,
            gate_failure,
            caps_in_danger: facts
                .policies
                .caps_in_danger(name)
                .map(str::to_owned)
                .collect(),
            calendar: CalendarLine::first(calendar, now, facts.max_calendar),
            waiting_count: waiting.as_ref().map(|waiting| waiting.count),
            more_may_wait: waiting.as_ref().is_some_and(|waiting| waiting.may_be_more),
            waiting: waiting.as_ref().map(listed),
            audit_log: entries.rev().cloned().collect(),
            history: history
                .into_iter()
                .flat_map(History::holds)
                .map(CompletedHoldView::new)
                .collect(),
            history_has_gap: history.is_some_and(History::has_gap),
            usual_hold_seconds,
        };
        name_nodes(&mut view, facts.names);
        view.conditions = conditions(&view, known);
        let details = view
            .conditions
            .iter()
            .map(|condition| detail(&view, *condition, known));
        view.details = details.collect();
        view.state = view.conditions[0];
        view.needs_attention = needs_attention(&view, view.state, now);
        view
    }

    /// Reports whether the group has policies other than windows.
    fn has_policies(&self) -> bool {
        let own = self.settings.is_some_and(|settings| {
            settings.stall_after.is_some()
                || settings.settle.is_some()
                || !settings.freezes.0.is_empty()
        });
        let name = self.name.as_str();
        let has_gates = gates_of_group(&self.policies.gates, name).next().is_some();
        own || has_gates || self.policies.caps_of(name).next().is_some()
    }
}

/// Returns the end of the override that is active.
fn active_override(semaphore: &Semaphore, now: Timestamp) -> Option<Timestamp> {
    semaphore
        .override_until
        .filter(|_| semaphore.is_overridden(now))
}

/// Gives the nodes their present names.
fn name_nodes(view: &mut GroupView, names: &NodeNames) {
    let give = |id: &str, name: &mut Option<String>| {
        if let Some(present) = names.name(id) {
            *name = Some(present.to_string());
        }
    };
    for holder in view.lock.iter_mut().flat_map(|lock| &mut lock.holders) {
        give(&holder.id, &mut holder.name);
    }
    for waiter in view.waiting.iter_mut().flatten() {
        give(&waiter.id, &mut waiter.name);
    }
    for hold in &mut view.history {
        give(&hold.id, &mut hold.name);
    }
}

/// Returns the number of clients of a group that are rejected and need attention.
fn rejected_clients(facts: &GroupFacts<'_>) -> usize {
    let of_group = facts.denials.iter().filter(|client| {
        client.needs_attention && client.group.as_deref() == Some(facts.name.as_str())
    });
    of_group
        .map(|client| client.peer)
        .collect::<HashSet<_>>()
        .len()
}

/// Removes the nodes that another server has served in the meantime: they hold a slot, or have released one since.
fn still_waiting(waiting: Waiting, state: Option<&GroupState>) -> Waiting {
    let Some(state) = state else { return waiting };
    let mut released: HashMap<&str, Timestamp> = HashMap::new();
    for hold in state.history.holds() {
        released.entry(&*hold.id).or_insert(hold.until);
    }
    let holds = |id: &str| {
        let semaphore = state.semaphore.as_ref();
        semaphore.is_ok_and(|semaphore| semaphore.holders.contains_key(id))
    };
    waiting.without(|node: &WaitingNode| {
        let since = released.get(node.id.as_str());
        holds(&node.id) || since.is_some_and(|until| *until > node.first_asked)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::codec::{Revision, Stored};
    use crate::lock::holders::Hold;

    #[test]
    fn ages_are_those_of_the_time_at_which_the_state_was_known() {
        let minute = |minute| Timestamp::from_second(60_i64 * minute).unwrap();
        let hold = Hold {
            since: Some(minute(0)),
            ..Hold::default()
        };
        let semaphore = Semaphore {
            holders: [("node".into(), hold)].into_iter().collect(),
            ..Semaphore::new(1)
        };
        let state = GroupState {
            semaphore: Ok(semaphore.into()),
            ..GroupState::new(Stored::absent(Revision::ABSENT), 1)
        };
        let name = GroupName::new("workers").unwrap();
        let shown = |known, now| {
            let facts = GroupFacts {
                name: &name,
                configured_slots: Some(1),
                state: Some(&state),
                settings: None,
                conditions: Conditions::default(),
                policies: &SharedPolicies::default(),
                max_calendar: 0,
                waiting: None,
                denials: &[],
                names: &NodeNames::default(),
            };
            let view = facts.view_as_of(known, now);
            (view.state, view.details[0].clone())
        };
        assert_eq!(
            shown(minute(10), minute(190)),
            (Condition::Full, "oldest hold 10 min".into())
        );
        let (overdue, _) = shown(minute(190), minute(190));
        assert_eq!(overdue, Condition::Overdue);
    }
}
