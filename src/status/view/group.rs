//! The view of a group.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::blocked::{BlockView, end};
use super::condition::Condition;
use super::rows::{CompletedHoldView, HolderView, LockView, WaiterView};
use super::windows::{CalendarLine, WindowView};
use crate::config::command_line;
use crate::coordinator::Block;
use crate::lock::audit::{Action, AuditEntry};
use crate::text::duration::seconds;

/// The maximum number of waiting nodes that are listed for a group. All of them are counted.
pub(crate) const MAX_LISTED: usize = 300;

/// The view of a group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupView {
    pub(crate) name: String,
    /// The first of the conditions.
    pub(crate) state: Condition,
    /// All conditions that apply, the most severe one first.
    pub(crate) conditions: Vec<Condition>,
    /// Whether an operator should look at it.
    pub(crate) needs_attention: bool,
    /// Each condition in more words.
    #[serde(skip)]
    pub(crate) details: Vec<String>,
    /// The number of rejected clients that claim to belong to the group and need attention.
    pub(crate) rejected_clients: usize,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: not known yet, or the stored value is damaged.
    pub(crate) lock: Option<LockView>,
    /// The reason why the stored value cannot be used.
    pub(crate) damaged: Option<String>,
    pub(crate) windows: WindowView,
    /// The reasons why the group grants no new lock, the one that a node is told first; `None`: no policy but the windows
    /// applies to the group, and the other fields have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocked: Option<Vec<BlockView>>,
    /// The end of an override that is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) override_until: Option<Timestamp>,
    /// The reasons why the group grants no new lock.
    #[serde(skip)]
    pub(crate) blocks: Vec<Block>,
    /// The same in words.
    #[serde(skip)]
    pub(crate) reasons: Vec<BlockView>,
    /// A gate that has failed, in words.
    #[serde(skip)]
    pub(crate) gate_failure: Option<String>,
    /// The caps that another program may exceed.
    #[serde(skip)]
    pub(crate) caps_in_danger: Vec<String>,
    /// The calendar of the next days.
    #[serde(skip)]
    pub(crate) calendar: Vec<CalendarLine>,
    /// The number of waiting nodes that are known; `None` if unknown.
    pub(crate) waiting_count: Option<usize>,
    /// More nodes may wait.
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
    /// Returns the entry of the latest pause, unless another command has set the slots since.
    pub(crate) fn paused_by(&self) -> Option<&AuditEntry> {
        let mut log = self.audit_log.iter();
        let latest = log.find(|entry| match entry.action {
            Action::Pause | Action::Resume { .. } | Action::SetSlots { .. } => true,
            Action::Lock { .. }
            | Action::Unlock { .. }
            | Action::Override { .. }
            | Action::EndOverride => false,
        });
        latest.filter(|entry| entry.action == Action::Pause)
    }

    /// Returns the state in more words.
    pub(crate) fn detail(&self) -> &str {
        self.details.first().map_or("", String::as_str)
    }

    /// Returns the command that ends a condition of the group, if there is one.
    pub(crate) fn remedy(&self, condition: Condition, config: &Path) -> Option<String> {
        let command = |command, arguments: &[&str]| command_line(config, command, arguments);
        let name = self.name.as_str();
        match condition {
            Condition::Damaged => Some(command("get slots", &[name])),
            Condition::Stalled => {
                let holder = self.blocks.iter().find_map(|block| match block {
                    Block::Stalled { holder, .. } => Some(holder),
                    _ => None,
                });
                Some(command("unlock", &[name, &holder?.id]))
            }
            Condition::CapUnusable => {
                let group = self.blocks.iter().find_map(|block| match block {
                    Block::CapUnusable { group, .. } => Some(group),
                    _ => None,
                });
                Some(command("get slots", &[group?.as_str()]))
            }
            Condition::Overdue => {
                let holder = self.lock.as_ref()?.holders.first()?;
                Some(command("unlock", &[name, &holder.id]))
            }
            Condition::SlotsDiffer => {
                let slots = self.configured_slots?.to_string();
                Some(command("set slots", &[name, &slots]))
            }
            Condition::Paused if self.configured_slots.is_some() => {
                Some(command("resume", &[name]))
            }
            Condition::Overridden => Some(command("override --end", &[name])),
            Condition::Paused
            | Condition::RejectedClients
            | Condition::Failing
            | Condition::GateFailed
            | Condition::Unknown
            | Condition::ForeignWriter
            | Condition::NotConfigured
            | Condition::Frozen
            | Condition::Closed
            | Condition::GateClosed
            | Condition::CapReached
            | Condition::Settling
            | Condition::Full
            | Condition::Rebooting
            | Condition::Free => None,
        }
    }

    /// Returns what ends the most lasting of the policies, other than windows, for which the group grants no lock.
    pub(crate) fn end_of_refusal(&self) -> Option<String> {
        self.blocks.iter().find_map(end)
    }

    /// Returns the number of waiting nodes, as far as they are known.
    pub(crate) fn waiting_nodes(&self) -> usize {
        self.waiting_count.unwrap_or_default()
    }

    /// Returns the words before a number of waiting nodes, if there may be more.
    pub(crate) fn at_least(&self) -> &'static str {
        if self.more_may_wait { "at least " } else { "" }
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
