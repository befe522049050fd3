//! The view of a group.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::condition::Condition;
use super::rows::{CompletedHoldView, HolderView, LockView, WaiterView};
use super::windows::WindowView;
use crate::config::command_line;
use crate::fleet::{Waiting, WaitingNode};
use crate::lock::audit::{Action, AuditEntry};
use crate::lock::history::History;
use crate::lock::window::Windows;
use crate::lock::{GroupName, GroupState, NodeId};
use crate::names::NodeNames;
use crate::text::duration::{age, seconds};
use crate::text::escape::shortened;

/// The maximum number of waiting nodes that are listed for a group. All of them are counted.
pub(crate) const MAX_LISTED: usize = 300;

/// The known facts about a group, from a running server or from the store.
pub(crate) struct GroupFacts<'a> {
    pub(crate) name: &'a GroupName,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: the store has not replied about the group yet.
    pub(crate) state: Option<&'a GroupState>,
    pub(crate) windows: &'a Windows,
    /// The nodes that wait at all servers; `None`: unknown.
    pub(crate) waiting: Option<Waiting>,
    /// The names of nodes, which take precedence over stored ones.
    pub(crate) names: &'a NodeNames,
}

/// The view of a group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupView {
    pub(crate) name: String,
    /// What matters most about the group.
    pub(crate) state: Condition,
    /// Whether an operator should look at it.
    pub(crate) needs_attention: bool,
    /// The state in more words.
    #[serde(skip)]
    pub(crate) detail: String,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: not known yet, or the stored value is damaged.
    pub(crate) lock: Option<LockView>,
    /// The reason why the stored value cannot be used.
    pub(crate) damaged: Option<String>,
    pub(crate) windows: WindowView,
    /// The number of waiting nodes that are known; `None` if unknown.
    pub(crate) waiting_count: Option<usize>,
    /// More nodes may wait.
    #[serde(skip)]
    pub(crate) more_may_wait: bool,
    /// The longest waiting nodes, at most [`MAX_LISTED`]; `None` if unknown.
    pub(crate) waiting: Option<Vec<WaiterView>>,
    /// The latest administrators' commands, the latest first.
    pub(crate) audit_log: Vec<AuditEntry>,
    /// The last completed holds, the latest first.
    pub(crate) history: Vec<CompletedHoldView>,
    /// Whether another program has changed the group since the latest of them.
    pub(crate) history_has_gap: bool,
    /// The usual duration of a hold, if enough of them are known.
    pub(crate) usual_hold_seconds: Option<i64>,
}

// === impl GroupView ===

impl GroupView {
    pub(crate) fn new(facts: GroupFacts<'_>, now: Timestamp) -> Self {
        GroupView::as_of(facts, now, now)
    }

    /// Returns the view at `now` of a state that the store confirmed at `known` for the last time.
    pub(super) fn as_of(facts: GroupFacts<'_>, known: Timestamp, now: Timestamp) -> Self {
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
            needs_attention: false,
            detail: String::new(),
            configured_slots: facts.configured_slots,
            lock,
            damaged,
            windows: WindowView::new(facts.windows, now),
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
        view.name_nodes(facts.names);
        view.state = condition(&view);
        view.needs_attention = needs_attention(&view);
        view.detail = detail(&view, known);
        view
    }

    /// Gives the nodes their present names.
    fn name_nodes(&mut self, names: &NodeNames) {
        let give = |id: &str, name: &mut Option<String>| {
            if let Some(present) = names.name(id) {
                *name = Some(present.to_string());
            }
        };
        for holder in self.lock.iter_mut().flat_map(|lock| &mut lock.holders) {
            give(&holder.id, &mut holder.name);
        }
        for waiter in self.waiting.iter_mut().flatten() {
            give(&waiter.id, &mut waiter.name);
        }
        for hold in &mut self.history {
            give(&hold.id, &mut hold.name);
        }
    }

    /// Returns the entry of the latest pause.
    pub(crate) fn paused_by(&self) -> Option<&AuditEntry> {
        let mut log = self.audit_log.iter();
        log.find(|entry| entry.action == Action::Pause)
    }

    /// Returns the command that ends what is unusual about the group, if there is one.
    pub(crate) fn remedy(&self, config: &Path) -> Option<String> {
        let command = |command, arguments: &[&str]| command_line(config, command, arguments);
        let name = self.name.as_str();
        match self.state {
            Condition::Damaged => Some(command("get slots", &[name])),
            Condition::Overdue => {
                let holder = self.lock.as_ref()?.holders.first()?;
                Some(command("unlock", &[name, &holder.id]))
            }
            Condition::SlotsDiffer => {
                let slots = self.configured_slots?.to_string();
                Some(command("set slots", &[name, &slots]))
            }
            Condition::Paused => Some(command("resume", &[name])),
            Condition::Unknown
            | Condition::Closed
            | Condition::Full
            | Condition::Rebooting
            | Condition::Free => None,
        }
    }

    /// Returns the number of waiting nodes, as far as they are known.
    pub(crate) fn waiting_nodes(&self) -> usize {
        self.waiting_count.unwrap_or_default()
    }
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

/// Returns what matters most about a group.
fn condition(group: &GroupView) -> Condition {
    let Some(lock) = &group.lock else {
        return match group.damaged {
            Some(_) => Condition::Damaged,
            None => Condition::Unknown,
        };
    };
    match () {
        () if lock.holders.iter().any(|holder| holder.overdue) => Condition::Overdue,
        () if lock.paused => Condition::Paused,
        () if group
            .configured_slots
            .is_some_and(|slots| slots != lock.slots) =>
        {
            Condition::SlotsDiffer
        }
        () if !group.windows.open => Condition::Closed,
        () if lock.held == 0 => Condition::Free,
        () if lock.held as u64 >= lock.slots => Condition::Full,
        () => Condition::Rebooting,
    }
}

/// Reports whether an operator should look at a group.
fn needs_attention(group: &GroupView) -> bool {
    match group.state {
        Condition::Damaged | Condition::Overdue | Condition::Unknown | Condition::SlotsDiffer => {
            true
        }
        // A pause is on purpose, until nodes wait for its end.
        Condition::Paused => group.waiting_nodes() > 0,
        Condition::Closed | Condition::Full | Condition::Rebooting | Condition::Free => false,
    }
}

/// Describes the state in one line.
fn detail(group: &GroupView, now: Timestamp) -> String {
    let lock = group.lock.as_ref();
    let oldest = lock.and_then(|lock| lock.holders.first());
    match group.state {
        Condition::Damaged => group.damaged.clone().unwrap_or_default(),
        Condition::Overdue => match oldest {
            Some(holder) => {
                let node = shortened(holder.node(), NodeId::MAX_BYTES);
                format!("{node} has held for {}", hold_age(holder, group))
            }
            None => String::new(),
        },
        Condition::Unknown => "the store has not replied about this group".into(),
        Condition::SlotsDiffer => {
            let (stored, configured) = (lock.map_or(0, |lock| lock.slots), group.configured_slots);
            let configured = configured.unwrap_or_default();
            format!("{stored} in the store, which count, and {configured} in the configuration")
        }
        Condition::Paused => match group.paused_by() {
            Some(entry) => format!("by {}, {} ago", entry.by, age(entry.at, now)),
            None => "the group has no slots".into(),
        },
        Condition::Closed => {
            let text = group.windows.text.as_deref().unwrap_or_default();
            text.strip_prefix("closed, ").unwrap_or(text).to_owned()
        }
        Condition::Full | Condition::Rebooting => match oldest {
            Some(holder) => format!("oldest hold {}", hold_age(holder, group)),
            None => String::new(),
        },
        Condition::Free => match group.history.first() {
            Some(hold) => format!("last reboot {} ago", age(hold.until, now)),
            None => "no reboot recorded".into(),
        },
    }
}

/// Formats how long a slot has been held, next to the usual time.
pub(crate) fn hold_age(holder: &HolderView, group: &GroupView) -> String {
    let age = holder.age.as_deref().unwrap_or("an unknown time");
    match group.usual_hold_seconds {
        Some(usual) => format!("{age} (usually {})", seconds(usual)),
        None => age.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::codec::{Revision, Stored};
    use crate::lock::holders::Hold;
    use crate::lock::semaphore::Semaphore;

    #[test]
    fn ages_are_those_of_the_time_at_which_the_state_was_known() {
        let minute = |minute| Timestamp::from_second(60_i64 * minute).unwrap();
        let hold = Hold {
            since: Some(minute(0)),
            ..Hold::default()
        };
        let semaphore = Semaphore {
            slots: 1,
            holders: [("node".into(), hold)].into_iter().collect(),
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
                windows: &Windows::default(),
                waiting: None,
                names: &NodeNames::default(),
            };
            let view = GroupView::as_of(facts, known, now);
            (view.state, view.detail)
        };
        assert_eq!(
            shown(minute(10), minute(190)),
            (Condition::Full, "oldest hold 10 min".into())
        );
        let (overdue, _) = shown(minute(190), minute(190));
        assert_eq!(overdue, Condition::Overdue);
    }
}
